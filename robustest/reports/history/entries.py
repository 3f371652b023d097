"""What a run adds to a history: an entry for each claim, and for each test that ended otherwise than its claims say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from robustest.history import Claim, Entry, Origin
from robustest.history.entry import short
from robustest.reports.states import Reported, state
from robustest.results import Result
from robustest.words import exactly, further_limits

_LONGEST = 200
"""Characters of a problem that are kept."""
_DECIMALS = 3
_SMALLEST = 20
_LARGEST = 1e15
"""Beyond both, values are kept as they are: no accuracy, rate or radius is there."""
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
    places: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row.result is None:
            claim, entry = Claim(row.test), _unmeasured(origin, state(row), row.problem)
        else:
            named = (row.test, row.result.claim)
            claim, entry = Claim(*named, places[named]), _measured(origin, state(row), row.result)
            places[named] += 1
        entries.setdefault(claim, []).append(entry)
    if lost:
        entries.setdefault(Claim(RUN), []).append(_unmeasured(origin, "error", lost[0]))
    return entries


def _unmeasured(origin: Origin, word: str, problem: str) -> Entry:
    first = next((line for line in problem.splitlines() if line.strip()), "")
    return _begun(origin, word)._replace(problem=first[:_LONGEST])


def _begun(origin: Origin, word: str) -> Entry:
    """An entry with what its run says of it, measured or not."""
    return Entry(
        time=origin.time,
        commit=short(origin.commit),
        committed=origin.committed,
        dirty=origin.dirty,
        state=word,
        versions=origin.versions,
    )


def _measured(origin: Origin, word: str, result: Result) -> Entry:
    left = _outward(result.left_interval)
    low, high = _outward(result.interval)
    return _begun(origin, word)._replace(
        verdict=str(result.verdict),
        estimate=None if result.estimate is None else _short(result.estimate, ROUND_HALF_EVEN),
        low=low,
        high=high,
        left_low=None if left == (low, high) else left[0],
        left_high=None if left == (low, high) else left[1],
        bounds=result.bounds,
        used=result.n,
        total=result.n_total,
        threshold=result.threshold,
        comparison=result.comparison,
        asked=_all_asked(result),
        seconds=_figures(result.cost.seconds, 2),
        seed=result.seed,
        cached=bool(result.cached),
        model=short(result.model),
        data=short(result.data),
    )


def _all_asked(result: Result) -> str:
    """All that is asked for, of the samples or of what they were drawn from."""
    scope = "" if result.scope == "set" else result.scope
    asked = [] if result.threshold is None else [f"{result.comparison} {exactly(result.threshold)}"]
    asked += [f"{one.name} {one.comparison} {exactly(one.value)}" for one in further_limits(result)]
    return ", ".join((*asked, *([scope] if scope else ())))[:_LONGEST]


def _outward(interval: tuple[float, float]) -> tuple[float, float]:
    """An interval that has all of the given one inside, so that no slack is told that there is not."""
    return _short(interval[0], ROUND_FLOOR), _short(interval[1], ROUND_CEILING)


def _short(value: float, way: str) -> float:
    """To a thousandth, as reports show it; below 0.1 three figures. What is no number is as far as any can be."""
    if not math.isfinite(value):
        return math.copysign(1e100, value)
    exact = Decimal(repr(value))
    digits = _DECIMALS if abs(value) >= 0.1 or not value else _DECIMALS - 2 - exact.adjusted()
    return (
        value if digits > _SMALLEST or abs(value) > _LARGEST else float(exact.quantize(Decimal(1).scaleb(-digits), way))
    )


def _figures(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
