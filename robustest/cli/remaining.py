"""The time that the runs of a command still take, from the costs of their tests.

1. The cost of a test is its time; if its results were recalled, the seconds in which they were once measured.
2. In the first run, a test that is to come costs its weight times the mean cost of a unit of weight. Weights are
   guesses: nothing is said before tests with a quarter of all weight have ended, or have measured a first chunk of
   their samples. A test under way costs as much for each sample that is left as for each that was measured; an audit
   that follows the last chunk costs as much as a search of further samples.
3. In a later run, a test costs as much as in the first one, or a given share of that. Once tests with a quarter of
   these costs were measured, the others cost as many times as much as these did.
4. A run that follows takes the time of its tests, and the time between them: pytest's start, fixtures, reports.
5. Where a test was recalled, those that follow may be recalled too: the sum is the most that is left. Where a value
   changes with the seed, further seeds follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KNOWN = 1 / 4
"""Part of the tests, by weight or by cost, that must have ended before their cost says something of the others."""


@dataclass(frozen=True, slots=True)
class Spent:
    """A test that has ended.

    Attributes:
        seconds: that it took now.
        measured: seconds that its measurements took, now or when they were stored.
        recalled: True if nothing was measured now.
    """

    seconds: float
    measured: float = 0.0
    recalled: bool = False

    @property
    def cost(self) -> float:
        return max(self.seconds, self.measured)


# An audit of an attack searches up to so many samples that are left, each for so many times as long as the attack did.
# Measured on networks of one to four layers, 200 and 300 images.
_AUDITED, _LONGER = 59, 3.5


# A chunk that took this part of another's time, or less, was recalled.
_RECALLED = 0.1


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A test that has measured a part of its samples.

    Attributes:
        test: its id.
        seconds: that it took so far.
        cost: seconds that it would take if nothing were recalled.
        left: seconds that are left of it.
        recalled: True if a chunk was recalled.
    """

    test: str
    seconds: float
    cost: float
    left: float
    recalled: bool = False

    @classmethod
    def of(cls, test: str, chunks: Sequence[tuple[float, int]], *, total: int, broken: int, audited: bool) -> UnderWay:
        """Return a test after some chunks of its samples.

        Args:
            chunks: seconds and number of samples, at least one, of each chunk.
            total: number of all samples.
            broken: number of samples of these chunks that do not hold.
            audited: True if an audit of samples that hold follows.
        """
        slowest = max(seconds / n for seconds, n in chunks)
        fresh = [(seconds, n) for seconds, n in chunks if seconds / n >= _RECALLED * slowest]
        each = sum(seconds for seconds, _ in fresh) / sum(n for _, n in fresh)
        measured = sum(n for _, n in chunks)
        holding = (measured - broken) * total / measured
        audit = _LONGER * min(_AUDITED, holding) if audited else 0.0
        return cls(
            test,
            sum(seconds for seconds, _ in chunks),
            cost=each * (total + audit),
            left=each * (total - measured + audit),
            recalled=len(fresh) < len(chunks),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The run under way, and those that follow.

    Attributes:
        tests: ids of the run's tests.
        weights: of each test, in any unit; without a first run.
        before: of the first run, by test: its cost; None in the first run.
        share: part of these costs that this run is expected to take.
        between: seconds of a run that follows, without its tests.
        after: number of runs like the first one that follow.
        further: number of such runs that follow if a value changes with the seed.
        last: part of a run that follows in the end, or 0.
        resumed: True if the first run recalled a test.
    """

    tests: Sequence[str]
    weights: Mapping[str, float]
    before: Mapping[str, float] | None = None
    share: float = 1.0
    between: float = 0.0
    after: int = 0
    further: int = 0
    last: float = 0.0
    resumed: bool = False

    def left(self, ended: Mapping[str, Spent], here: float, now: UnderWay | None = None) -> str:
        """Return the time that is left, in words; "" if it is not known.

        Args:
            ended: tests of this run that have ended.
            here: seconds since the run's first test began, without its fixtures.
            now: the test under way, if it has measured anything.
        """
        if self.before is None:
            weights = {test: self.weights.get(test, 1.0) for test in self.tests}
            known = {test: one.cost for test, one in ended.items()}
            if now is not None:
                known[now.test] = now.cost
            done = sum(weights[test] for test in known)
            if not done or done < KNOWN * sum(weights.values()):
                return ""
            unit = sum(known.values()) / done
            costs = {test: known.get(test, unit * weights[test]) for test in self.tests}
            whole, to_come = sum(costs.values()), {test: costs[test] for test in self.tests if test not in ended}
        else:
            known = {test: self.before.get(test, 0.0) for test in self.tests}
            whole = sum(known.values())
            measured = {test: one for test, one in ended.items() if not one.recalled}
            expected = self.share * sum(known[test] for test in measured)
            ratio = sum(one.seconds for one in measured.values()) / expected if expected else 1.0
            if expected < KNOWN * self.share * whole:
                ratio = 1.0
            to_come = {test: ratio * self.share * known[test] for test in self.tests if test not in ended}
            whole *= ratio
        if now is not None:
            to_come[now.test] = min(now.left, to_come[now.test])
        rest = sum(to_come.values())
        # Workers of pytest-xdist run several tests at a time.
        took = sum(one.seconds for one in ended.values()) + (0.0 if now is None else now.seconds)
        pace = min(1.0, here / took) if took else 1.0
        rest, whole = rest * pace, whole * pace
        seconds = rest + self.after * (self.between + whole)
        if self.last:
            seconds += self.between + self.last * whole
        recalled = self.resumed or (now is not None and now.recalled) or any(one.recalled for one in ended.values())
        words = "at most" if recalled else "about"
        text = f"{words} {seconds:.0f} s left"
        if self.further:
            text += f", {seconds + self.further * (self.between + whole):.0f} s if values change with the seed"
        return text


def changed(first: Sequence[float | None] | None, second: Sequence[float | None]) -> bool:
    """Return True if another seed gave other values, or an early verdict."""
    if first is None or len(first) != len(second):
        return True
    pairs = zip(first, second, strict=True)
    return not all(
        a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in pairs
    )


def timing(
    ended: Mapping[str, Spent], values: Mapping[str, Sequence[float | None]], **seconds: float
) -> dict[str, Any]:
    """Return the costs and values of a run, for those that follow, as plain values.

    Args:
        ended: its tests.
        values: of each test: estimates and ends of intervals.
        seconds: further ones.
    """
    recalled = any(one.recalled for one in ended.values())
    tests = {test: one.cost for test, one in ended.items()}
    return {"tests": tests, "values": dict(values), "recalled": recalled, **seconds}
