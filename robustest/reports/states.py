"""What became of a row of a report, in one word, for every report alike."""

from __future__ import annotations

from typing import Protocol

from robustest.endings import Ending
from robustest.results import Result, Verdict

STATES = (
    "failed",
    "error",
    "unfinished",
    "inconclusive",
    "tolerated",
    "xfailed",
    "skipped",
    "rerun",
    "xpassed",
    "measured",
    "passed",
)
"""The words, worst first.

An error could not be measured, or happened outside the test's own call; of what was measured alone, nothing was
claimed. A tolerated claim did not hold, and its test passed all the same, because it caught the failure. A rerun is
of an attempt that did not pass, of a test that was run again and holds by the rule over all its attempts.
"""

RED = frozenset({"failed", "error", "unfinished", "inconclusive"})
"""What keeps a run from being green."""

TOLD = RED | {"tolerated"}
"""What a reader is told of at length, with the command that repeats it."""

COLOURS = {"passed": "green", "measured": "cyan", **dict.fromkeys(RED - {"inconclusive"}, "red")}
"""Of the terminal; the rest is yellow."""


class Reported(Protocol):
    """One claim of one test, or what else became of a test."""

    @property
    def test(self) -> str: ...
    @property
    def result(self) -> Result | None: ...
    @property
    def problem(self) -> str: ...
    @property
    def replay(self) -> str: ...
    @property
    def ending(self) -> Ending | None: ...


def state(row: Reported) -> str:
    """One of `STATES`.

    pytest's word for how the test ended comes before the claim's verdict: a claim that failed where that was expected
    is no failure, and neither is it a pass. Where no ending is known, the verdict stands alone.
    """
    outcome = None if row.ending is None else row.ending.outcome
    if row.result is None:
        return "error" if outcome in (None, "passed") else str(outcome)
    if not row.result.gated or (row.result.verdict is Verdict.INCONCLUSIVE and not row.result.is_claim):
        return "measured"
    if row.result.verdict is Verdict.PASSED:
        return "xpassed" if outcome == "xpassed" else "passed"
    if outcome in ("xfailed", "skipped", "rerun"):
        return str(outcome)
    return "tolerated" if outcome in ("passed", "xpassed") else str(row.result.verdict)


def red(row: Reported) -> bool:
    """Whether a row keeps a run from being green."""
    return state(row) in RED


def without_result(row: Reported) -> str:
    """A row that has no result, in a line."""
    first = next((line for line in row.problem.splitlines() if line.strip()), "no reason was given")
    ending = row.ending
    if ending is None or ending.outcome == "passed" or (ending.claimed and ending.outcome == "error"):
        return f"{attempt_of(row)}could not measure: {first}"
    words = {
        "failed": f"test failed in its {ending.phase}",
        "error": {"worker": "its worker was lost", "session": "the run", "collect": "could not be collected"}.get(
            ending.phase, f"error in {ending.phase}"
        ),
        "unfinished": f"stopped before its {ending.phase}",
        "xfailed": "failed as expected",
        "xpassed": "passed against expectation",
        "skipped": "skipped",
        "rerun": "did not pass, and was run again",
    }
    return f"{attempt_of(row)}{words[ending.outcome]}: {first}"


def attempt_of(row: Reported) -> str:
    """Return the number of the attempt that a row is of, to begin a line; empty where there was one alone."""
    return f"attempt {row.ending.attempt}: " if row.ending is not None and row.ending.attempt else ""


def aside(row: Reported) -> str:
    """What pytest adds to the verdict of a claim: empty where it adds nothing."""
    told = _aside(row)
    return f"{attempt_of(row)}{told}" if told else attempt_of(row).removesuffix(": ")


def _aside(row: Reported) -> str:
    ending = row.ending
    if row.result is None or ending is None:
        return ""
    why = " ".join(ending.reason.split()) or "no reason was given"
    return {
        "xfailed": f"failed as expected: {why}",
        "xpassed": f"passed against expectation: {why}",
        "skipped": f"skipped: {why}",
        "rerun": "did not hold, and the test was run again",
        "tolerated": "did not hold, and its test passed all the same",
    }.get(state(row), "")
