"""The errors of robustest: one small hierarchy, each also the builtin that a caller would catch.

A failed claim is an `AssertionError`; a claim that could not be measured is a `RobustestError`. Messages say what was
expected, what was given, and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest.results import Result


class RobustestError(Exception):
    """Something kept robustest from measuring; no verdict was reached."""


class ConfigError(RobustestError, ValueError):
    """An argument, option or setting is not one robustest can work with."""


class UnknownNameError(ConfigError):
    """A name (attack, shift, option, profile ...) that does not exist."""


class PackError(ConfigError):
    """A pack that is installed cannot be loaded, or does not keep the interface of `robustest.extensions`."""


class DataError(RobustestError, ValueError):
    """The samples or labels cannot be measured on (NaN, out of bounds, wrong type or length)."""


class ModelError(RobustestError, RuntimeError):
    """The model's answers cannot be judged (NaN or misshapen logits, random forward, no gradient)."""


class DeviceError(RobustestError, RuntimeError):
    """The device asked for is absent, or ran out of memory at a batch of one."""


class StoreError(RobustestError, ValueError):
    """A file cannot be relied on: a baseline that is missing, damaged or of other data, or a remembered outcome that a
    fresh measurement contradicts.
    """


class TruthValueError(RobustestError, TypeError):
    """A result or a verdict was used as a truth value, which would be true for any verdict."""


class NoClaimError(RobustestError):
    """A robustness test ended without a claim or a measurement: it would pass whatever the model does."""


class NotSearched(RobustestError):
    """Known counterexamples were replayed and nothing was searched for: a claim that they do not refute does not
    pass, and its test is skipped at its end.
    """

    def __init__(self, statement: str, reason: str) -> None:
        super().__init__(f"{statement}: {reason}")
        self.statement, self.reason = statement, reason
        self.claim = ""  # the key of the claim, once the measurement that raised has named it

    def __reduce__(self) -> tuple[type[NotSearched], tuple[str, str], dict[str, str]]:
        return type(self), (self.statement, self.reason), {"claim": self.claim}


class ClaimFailed(AssertionError):
    """A claim about a model does not hold; `result` has the numbers."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[ClaimFailed], tuple[str, Result]]:
        return type(self), (str(self), self.result)


class ClaimInconclusive(ClaimFailed):
    """The samples do not settle the claim either way; the gate does not pass on it."""


class AttemptsFailed(AssertionError):
    """A test held in its last attempt and had failed in an earlier one: its rule over all attempts is not kept."""


_LONGEST = 200
"""Characters of a value that a message shows: tensors and state_dicts would bury it."""


def expected(what: str, got: object, mend: str = "") -> str:
    """Return the sentence for a bad argument: expected, given (with its type), remedy."""
    shown = " ".join(repr(got).split())
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
    text = f"Expected {what} but got {shown} ({type(got).__name__})"
    return f"{text}. {mend}" if mend else text


def unknown(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """Return an error for a name that does not exist, with the nearest that does.

    Args:
        kind: the kind of thing with that name, e.g. "attack".
        name: the name as given.
        known: the names that exist.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UnknownNameError(f"Unknown {kind} {name!r}. {hint}Known: {', '.join(names)}.")
