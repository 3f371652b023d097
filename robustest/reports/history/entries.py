"""What a run adds to a history: an entry for each claim, and for each test that ended otherwise than its claims say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from robustest.history import Claim, Entry, Origin, without_thresholds
from robustest.history.claim import thresholds_of
from robustest.history.entry import short
from robustest.reports.states import Reported, state
from robustest.results import Result

_LONGEST = 200
"""Characters of a problem that are kept."""
_DIGITS = 7
RUN = "pytest"
"""The name under which a run is told of that lost results."""


def entries_of(rows: Iterable[Reported], lost: Sequence[str], origin: Origin) -> dict[Claim, list[Entry]]:
    """The entries of a run.

    Args:
        rows: all that its reports show.
        lost: what did not arrive, in sentences: the run then has an entry that says so.
        origin: when and of what the run was.
    """
    entries: dict[Claim, list[Entry]] = {}
    places: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        if row.result is None:
            claim, entry = Claim(row.test), _unmeasured(origin, state(row), row.problem)
        else:
            named = (row.test, row.result.kind, without_thresholds(row.result.statement))
            claim, entry = Claim(*named, places[named]), _measured(origin, state(row), row.result)
            places[named] += 1
        entries.setdefault(claim, []).append(entry)
    if lost:
        entries.setdefault(Claim(RUN), []).append(_unmeasured(origin, "error", lost[0]))
    return entries


def _unmeasured(origin: Origin, word: str, problem: str) -> Entry:
    first = next((line for line in problem.splitlines() if line.strip()), "")
    return Entry(
        time=origin.time,
        commit=short(origin.commit),
        committed=origin.committed,
        dirty=origin.dirty,
        state=word,
        versions=origin.versions,
        problem=first[:_LONGEST],
    )


def _measured(origin: Origin, word: str, result: Result) -> Entry:
    left = _rounded(result.left_interval)
    low, high = _rounded(result.interval)
    return Entry(
        time=origin.time,
        commit=short(origin.commit),
        committed=origin.committed,
        dirty=origin.dirty,
        state=word,
        verdict=str(result.verdict),
        estimate=None if result.estimate is None else _short(result.estimate),
        low=low,
        high=high,
        left_low=None if left == (low, high) else left[0],
        left_high=None if left == (low, high) else left[1],
        bounds=result.bounds,
        used=result.n_used,
        total=result.n_total,
        threshold=result.threshold,
        comparison=result.comparison,
        asked=_asked(result),
        forward=result.cost.forward,
        backward=result.cost.backward,
        seconds=round(result.cost.seconds, 3),
        seed=result.seed,
        cached=bool(result.cached),
        model=short(result.model),
        data=short(result.data),
        versions=origin.versions,
    )


def _asked(result: Result) -> str:
    """All that is asked for, of the samples or of what they were drawn from."""
    scope = "" if result.scope == "set" else result.scope
    claimed = thresholds_of(result.statement) or _claimed(result)
    return ", ".join(part for part in (claimed, scope) if part)[:_LONGEST]


def _claimed(result: Result) -> str:
    return "" if result.threshold is None else f"{result.comparison} {result.threshold:g}"


def _rounded(interval: tuple[float, float]) -> tuple[float, float]:
    return _short(interval[0]), _short(interval[1])


def _short(value: float) -> float:
    """Seven figures; an end that is no number is as far as any can be."""
    if not math.isfinite(value):
        return math.copysign(1e100, value)
    return float(f"{value:.{_DIGITS}g}")
