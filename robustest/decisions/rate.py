"""Claims on a rate among some of the samples, where how many of these there are is not known before the end.

Claims on the share of samples that somebody else agrees on, among those that count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.bets import capital, overlap
from robustest.decisions.mean import MeanRule
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Terms, anytime_interval, decide_early
from robustest.decisions.share import clopper_pearson, decide_share
from robustest.results import Verdict

_HALVINGS = 14
"""Steps of the bisection for an end of an interval: to about 1e-4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRule:
    """A claim that events, net, are at most a share of the samples that count, in this very set.

    It is a claim on a mean over all samples: that of event - share x counts is at most 0.

    Attributes:
        threshold: the share claimed at most, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
        signed: whether events may be -1, which makes up for one of 1.
    """

    threshold: float | None
    terms: Terms
    signed: bool = True

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`; "event" (t,) of -1, 0 and 1, which is 0 where "counts" (t,) bool is False."""
        if self.threshold is None:
            return None
        value = _values(columns, self.threshold, signed=self.signed)
        return MeanRule(threshold=0.0, terms=self.terms).settle({"value": value}, n)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`, before every sample was looked at: an interval, and no estimate."""
        both = anytime_rate_interval(columns, n, self.terms.alpha, settled, signed=self.signed)
        return decide_early(self.threshold, both, len(columns["event"]), n, settled, at_least=False, terms=self.terms)


def anytime_rate_interval(
    columns: Columns, n: int, alpha: float, settled: EarlyVerdict | None, *, signed: bool
) -> tuple[float, float]:
    """The interval of a rate that may have been read on after its verdict (see `streams.running`)."""

    def bounds(read: int) -> tuple[float, float]:
        return rate_interval({name: columns[name][:read] for name in ("event", "counts")}, n, alpha, signed=signed)

    return anytime_interval(bounds, len(columns["event"]), settled)


def rate_interval(columns: Columns, n: int, alpha: float, *, signed: bool = True) -> tuple[float, float]:
    """Rates over the whole set that bets on what was seen do not rule out at any time, alpha on each side.

    Args:
        columns: "event" and "counts" of t samples in the order drawn, as for `RateRule.settled`.
        n: size of the set.
        alpha: error allowed on each side.
        signed: as in `RateRule`; the rate may then be negative, whether or not such events were seen.
    """
    limit, smallest = -np.log(alpha), -1.0 if signed else 0.0

    def too_small(rate: float) -> bool:
        return bool(capital(_values(columns, rate, signed=signed), n, 0.0, above=True).max() >= limit)

    def too_large(rate: float) -> bool:
        return bool(capital(_values(columns, rate, signed=signed), n, 0.0, above=False).max() >= limit)

    certain = _reachable(columns, n, smallest)
    return overlap((_edge(smallest, 1.0, too_small), _edge(1.0, smallest, too_large)), certain)


def _reachable(columns: Columns, n: int, smallest: float) -> tuple[float, float]:
    """The rates that samples not yet drawn can still lead to, each an event or, where there are such, its contrary."""
    events, counts, left = int(columns["event"].sum()), int(columns["counts"].sum()), n - len(columns["event"])
    if counts + left == 0:
        return smallest, 1.0
    fewest = events - left if smallest < 0 else events
    return max(smallest, fewest / (counts + left)), min(1.0, (events + left) / (counts + left))


def _values(columns: Columns, rate: float, *, signed: bool) -> NDArray[np.float64]:
    """(t,) event - rate x counts, brought into -1..1: where no event is negative, it lies there."""
    values: NDArray[np.float64] = columns["event"] - rate * columns["counts"]
    if signed:
        values = values / (1 + abs(rate))
    return values


def _edge(start: float, end: float, ruled_out: Callable[[float], bool]) -> float:
    """The first rate from start towards end that is not ruled out, or one ruled out just before it."""
    if not ruled_out(start):
        return start
    for _ in range(_HALVINGS):
        middle = (start + end) / 2
        if ruled_out(middle):
            start = middle
        else:
            end = middle
    return start


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRule:
    """A claim that of the samples marked "counts" (bool) at least a share is marked "agreed" (bool) as well.

    Attributes:
        threshold: the share claimed, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
        least: samples that must count before anything is settled.
    """

    threshold: float | None
    terms: Terms
    least: int = 1

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`: a claim on the mean of threshold x counts - agreed, which is at most 0."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        counts, agreed = _counted_and_agreed(columns)
        if counts.sum() < self.least:
            return None
        value = self.threshold * counts - agreed  # in -1..1
        return MeanRule(threshold=0.0, terms=self.terms).settle({"value": value}, n)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`; inconclusive where no sample counts."""
        counts, agreed = _counted_and_agreed(columns)
        of, read = int(counts.sum()), len(counts)
        if not of:
            rule = f"none of {read} samples counts"
            return Decision(verdict=Verdict.INCONCLUSIVE, rule=rule, estimate=None, interval=(0.0, 1.0))
        if read == n:
            return decide_share(int(agreed.sum()), of, self.threshold, at_least=True, **self.terms.of())
        exact = clopper_pearson(int(agreed.sum()), of, self.terms.alpha)
        if self.terms.scope == "set":
            columns = {"event": counts - agreed, "counts": counts}
            low, high = anytime_rate_interval(columns, n, self.terms.alpha, settled, signed=False)
            exact = 1 - high, 1 - low
        return decide_early(self.threshold, exact, read, n, settled, at_least=True, terms=self.terms)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; how many samples count is not known before."""
        return False


def _counted_and_agreed(columns: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = columns["counts"].astype(bool)
    return counts.astype(float), (counts & columns["agreed"].astype(bool)).astype(float)
