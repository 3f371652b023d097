"""What became of a row of a report, in one word, for every report alike."""

from __future__ import annotations

from robustest.results import Result, Verdict

STATES = ("failed", "error", "inconclusive", "measured", "passed")
"""The words, worst first. An error could not be measured; of what was measured alone, nothing was claimed."""

QUIET = frozenset({"measured", "passed"})
"""What asks nothing of the reader."""


def state(result: Result | None) -> str:
    """One of `STATES`; None is what could not be measured."""
    if result is None:
        return "error"
    if result.verdict is Verdict.INCONCLUSIVE and not result.is_claim:
        return "measured"
    return str(result.verdict)
