"""How a test ended, as pytest tells it: the one value that every report's colours and counts come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from robustest.errors import expected

OUTCOMES = ("failed", "error", "unfinished", "xfailed", "skipped", "rerun", "xpassed", "passed")
"""What a phase of a test can come to, worst first.

An error is what failed outside the test's own call, or kept robustest from measuring; unfinished is what was to run
when the run was stopped. xfailed is a failure that a marker expected, xpassed a pass that it did not; a strict marker
makes that a failure. rerun is an attempt that did not pass, of a test that holds by the rule over all its attempts.
"""

RED = frozenset({"failed", "error", "unfinished"})
"""What keeps a run from being green."""

PHASES = ("collect", "setup", "call", "teardown", "worker", "session")
"""Where it happened; a worker is a process of pytest-xdist that was lost, the session is the run as a whole."""

_LONGEST = 4_000
"""Characters of a reason that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a phase of a test came to.

    Attributes:
        test: the test's node id; a module's, where it could not be collected.
        phase: one of `PHASES`.
        outcome: one of `OUTCOMES`.
        reason: why, in pytest's words; empty where it passed.
        robust: whether it is a robustness test.
        claimed: whether a claim, or what could not be measured, brought it about, so that a row of results tells it.
        replay: the command that repeats the test; empty where none is known.
        attempt: which attempt at the test this was, 1 for the first; 0 where there was one alone.
    """

    test: str
    phase: str
    outcome: str
    reason: str = ""
    robust: bool = True
    claimed: bool = False
    replay: str = ""
    attempt: int = 0

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise ValueError(expected(f"a phase among {', '.join(PHASES)}", self.phase))
        if self.outcome not in OUTCOMES:
            raise ValueError(expected(f"an outcome among {', '.join(OUTCOMES)}", self.outcome))
        if len(self.reason) > _LONGEST:
            object.__setattr__(self, "reason", f"{self.reason[: _LONGEST - 1]}…")

    @property
    def red(self) -> bool:
        """Whether it keeps a run from being green."""
        return self.outcome in RED

    def but(self, **changes: Any) -> Ending:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ending:
        """The ending that `to_dict` wrote.

        Raises:
            KeyError: a field is missing.
            TypeError: a field is unknown, or of another type.
            ValueError: phase or outcome is none.
        """
        texts = {name: data[name] for name in ("test", "phase", "outcome", "reason", "replay")}
        truths = {name: data[name] for name in ("robust", "claimed")}
        attempt = data["attempt"]
        if surplus := sorted(set(data) - set(texts) - set(truths) - {"attempt"}):
            raise TypeError(f"Expected the fields of an ending but got also {surplus}")
        for name, value in texts.items():
            if not isinstance(value, str):
                raise TypeError(expected(f"{name} of an ending to be text", value))
        for name, value in truths.items():
            if not isinstance(value, bool):
                raise TypeError(expected(f"{name} of an ending to be true or false", value))
        if type(attempt) is not int or attempt < 0:
            raise TypeError(expected("attempt of an ending to be a whole number", attempt))
        return cls(**texts, **truths, attempt=attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What pytest said of a run as a whole.

    Attributes:
        exit: pytest's exit status.
        stopped: why the run was stopped before its end; empty where it was not.
        collected: robustness tests found.
        deselected: ids of those that were found and left out (-k, -m, --lf, ids on the command line ...).
        ran: how many were set up, in this run or this shard of it.
        selection: what the command line selects by, as it was typed; empty where that is everything.
    """

    exit: int
    stopped: str = ""
    collected: int = 0
    deselected: tuple[str, ...] = ()
    ran: int = 0
    selection: str = ""

    @property
    def left_out(self) -> str:
        """Return the robustness tests that were found and deselected, in a line; empty where none was."""
        by = f" by {self.selection}" if self.selection else ""
        count = len(self.deselected)
        if not count:
            return ""
        more = f", and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
        tests = "one robustness test" if count == 1 else f"{count} robustness tests"
        return f"{tests} deselected{by}: {', '.join(self.deselected[:_MOST_NAMED])}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "deselected": list(self.deselected)}


_MOST_NAMED = 10
"""Tests that a line names; the run's file has all."""

_MEANINGS = {
    1: "something failed that no test is named for",
    2: "the run was interrupted, or a module could not be collected",
    3: "an internal error, or results that were lost",
    4: "pytest was called wrongly",
    5: "no test ran",
    6: "more warnings than allowed",
}


def meaning(status: int) -> str:
    """One of pytest's exit codes, in words."""
    return _MEANINGS.get(status, "a plugin, or pytest.exit(), gave that code")
