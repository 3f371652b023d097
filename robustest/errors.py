"""The errors of robustest: one small hierarchy, each also the builtin that a caller would catch."""

# A failed claim is an `AssertionError`; a claim that could not be measured is a `RobustestError`. Messages have
# expectation, given value and remedy.

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustest.results import Result


# Frames of the user's own code that a notebook shows, and characters of a line of the error there.
_FRAMES, _WIDE = 2, 500


class InNotebooks:
    """Exceptions that a notebook shows by the user's own frames and the message: IPython asks for this method."""

    __traceback__: Any
    __cause__: Any

    def _render_traceback_(self) -> list[str]:
        # A measurement has dozens of frames, each with source and arguments, and none is the user's to mend.
        ours, lines = Path(__file__).parent, []
        frames = [one for one in traceback.extract_tb(self.__traceback__) if not _foreign(one.filename, ours)]
        cause = [] if self.__cause__ is None else traceback.extract_tb(self.__cause__.__traceback__)
        cause = [one for one in cause if not _foreign(one.filename, ours) and "site-packages" not in one.filename]
        for frame in [*frames[-_FRAMES:], *(one for one in cause[-1:] if one not in frames)]:
            cell = "ipykernel" in frame.filename or frame.filename.startswith("<")
            lines.append(f"{'cell' if cell else frame.filename}, line {frame.lineno}: {frame.line}")
        message = [line[:_WIDE] for line in str(self).splitlines()]
        return [*lines, f"{type(self).__name__}: {message[0] if message else ''}", *message[1:]]


def _foreign(filename: str, ours: Path) -> bool:
    path = Path(filename)
    return path.is_relative_to(ours) or (path.parent.name == "core" and path.parent.parent.name == "IPython")


class RobustestError(InNotebooks, Exception):
    """A claim could not be measured; no verdict was reached."""


class ConfigError(RobustestError, ValueError):
    """An argument, option or setting is invalid."""


class UnknownNameError(ConfigError):
    """A name (attack, shift, option, profile ...) does not exist."""


class NotInstalledError(ConfigError, ImportError):
    """A name or a feature needs an extra of robustest that is not installed, or is imported from its package."""


class PackError(ConfigError):
    """An installed pack cannot be loaded, or violates the interface of `robustest.extensions`."""


class DataError(RobustestError, ValueError):
    """The samples or labels are invalid (NaN, out of bounds, wrong type or length)."""


class ModelError(RobustestError, RuntimeError):
    """The model's answers are invalid (NaN or misshapen logits, random forward, no gradient)."""


class TryAgain(ModelError):
    """A call got no answer, and may get one later: raise it in a function that is asked, and the call is repeated.

    Args:
        message: the reason.
        after: seconds to wait before the next try, >= 0.
    """

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after

    def __reduce__(self) -> tuple[type[TryAgain], tuple[str, float]]:
        return type(self), (str(self), self.after)


class DeviceError(RobustestError, RuntimeError):
    """The requested device is absent, or ran out of memory at a batch of one."""


class StoreError(RobustestError, ValueError):
    """A file is unreliable: missing, damaged, of other data, or contradicted by a fresh measurement."""


class TruthValueError(RobustestError, TypeError):
    """A result or a verdict was used as a truth value, which would be true for any verdict."""


class NoClaimError(RobustestError):
    """A robustness test ended without a claim or a measurement: it would pass for any model."""


class OutsideTestError(RobustestError):
    """A claim was made while pytest runs and no test does: no report would show it, and nothing was measured."""


class NotSearched(RobustestError):
    """Known counterexamples were replayed and refuted nothing, and no search followed: the test is skipped."""

    def __init__(self, statement: str, reason: str) -> None:
        super().__init__(f"{statement}: {reason}")
        self.statement, self.reason = statement, reason
        self.claim = ""  # the key of the claim, once the measurement that raised has named it

    def __reduce__(self) -> tuple[type[NotSearched], tuple[str, str], dict[str, str]]:
        return type(self), (self.statement, self.reason), {"claim": self.claim}


class ClaimFailed(InNotebooks, AssertionError):
    """A claim about a model does not hold; `result` has the numbers."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result

    # Exceptions with further arguments cannot be unpickled by default; workers send them.
    def __reduce__(self) -> tuple[type[ClaimFailed], tuple[str, Result]]:
        return type(self), (str(self), self.result)


class ClaimInconclusive(ClaimFailed):
    """The samples do not decide the claim; the gate does not pass."""


class AttemptsFailed(AssertionError):
    """A test held in its last attempt after a failed one: its rule over all attempts is not met."""


# Characters of a value that a message shows: tensors and state_dicts would bury it.
_LONGEST = 200
# Entries of a list, tuple or dict of arrays that a message shows.
_PARTS = 4


def expected(what: str, got: object, mend: str = "") -> str:
    """Return the sentence for a bad argument: expectation, given value with its type, remedy."""
    shown = " ".join(_shown(got).split())
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
    text = f"Expected {what} but got {shown} ({type(got).__name__})"
    return f"{text}. {mend}" if mend else text


def _shown(value: object) -> str:
    """Return the repr of a value; arrays and tensors by shape and type, as their numbers say nothing of a mistake."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and shape and (dtype is not None or hasattr(value, "columns")):
        kind = "" if dtype is None else f" {dtype}"
        return f"<{type(value).__name__.lower()} {tuple(shape)}{kind}>"
    if type(value) in (list, tuple) and any(hasattr(one, "shape") for one in value[:_PARTS]):  # type: ignore[index]
        parts = [_shown(one) for one in value[:_PARTS]]  # type: ignore[index]
        more = ["..."] if len(value) > _PARTS else []  # type: ignore[arg-type]
        return f"({', '.join([*parts, *more])})"
    if isinstance(value, dict) and any(hasattr(one, "shape") for one in value.values()):
        parts = [f"{key!r}: {_shown(one)}" for key, one in list(value.items())[:_PARTS]]
        return f"{{{', '.join([*parts, *(['...'] if len(value) > _PARTS else [])])}}}"
    return repr(value)


def not_installed(what: str, extra: str) -> NotInstalledError:
    """Return an error for a package, and its use in words, that an extra of robustest installs."""
    return NotInstalledError(f"Expected {what} but it is not installed: pip install 'robustest[{extra}]'")


@contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """Raise ConfigError, which says what to install, if torch is missing where the block imports it.

    Args:
        what: what needs torch, in words.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("torch", "torchvision"):
            raise
        raise ConfigError(
            f"Expected torch for {what} but it is not installed: pip install robustest. The package robustest-base "
            "alone has recorded outcomes, and asking a function or a model behind a network."
        ) from missing


def unknown(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """Return an error for a name that does not exist, with the nearest known one.

    Args:
        kind: noun for the name, e.g. "attack".
        name: the given name.
        known: the names that exist.
    """
    names, given = sorted(known), str(name).lower()
    # A part of a name, as "jpeg", is nearer to the whole than any name that merely looks like it.
    within = [one for one in names if given and (given in one.split("_") or given in one.split("-"))]
    near = within[:3] or difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return UnknownNameError(f"Unknown {kind} {name!r}. {hint}Known: {', '.join(names)}.")
