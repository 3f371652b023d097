"""Rates: decide if the share of events among the samples that count is at most a threshold."""

# The number of samples that count is unknown before the end. Over a set of n samples with events e_i in {-1, 0, 1} and
# counts c_i in {0, 1}, e_i = 0 where c_i = 0:
#
#     sum e_i / sum c_i <= r    is the same as    mean of (e_i - r c_i) <= 0
#
# a claim on a mean over all samples, which bets decide (see `bets`). An interval holds the rates r that they do not
# rule out.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.bets import capital, overlap
from robustest.decisions.clusters import clusters_of, decide_by_cluster, one_by_one
from robustest.decisions.mean import MeanRule
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    ThresholdRule,
    anytime_interval,
    decide_early,
)
from robustest.decisions.share import clopper_pearson, decide_share
from robustest.results import Verdict

# Bisections for an end of an interval: to about 1e-4.
_HALVINGS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRule(ThresholdRule):
    """A claim that events, net, are at most a share of the samples of this set that count.

    Columns: "event" (t,) of -1, 0 and 1, which is 0 where "counts" (t,) bool is False.

    Attributes:
        signed: True if events may be -1, which makes up for an event of 1.
    """

    signed: bool = True

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if self.threshold is None:
            return None
        value = _values(columns, self.threshold, signed=self.signed)
        return MeanRule(threshold=0.0, terms=self.terms).settle({"value": value}, n)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        interval = anytime_rate_interval(columns, n, self.terms.alpha, early, signed=self.signed)
        return decide_early(self.threshold, interval, len(columns["event"]), n, early, at_least=False, terms=self.terms)


def anytime_rate_interval(
    columns: Columns, n: int, alpha: float, early: EarlyVerdict | None, *, signed: bool
) -> Interval:
    """Return bounds on a rate, on the side of an early verdict (see `anytime_interval`)."""

    def bounds(read: int) -> Interval:
        return rate_interval({name: columns[name][:read] for name in ("event", "counts")}, n, alpha, signed=signed)

    return anytime_interval(bounds, len(columns["event"]), early)


def rate_interval(columns: Columns, n: int, alpha: float, *, signed: bool = True) -> Interval:
    """Return bounds on the rate over the whole set that bets do not rule out at any time, alpha on each side.

    Args:
        columns: of t samples in the order drawn; see `RateRule`.
        n: size of the set.
        signed: True if the rate may be negative, even if no negative event occurred so far.
    """
    limit, smallest = -np.log(alpha), -1.0 if signed else 0.0

    def too_small(rate: float) -> bool:
        return bool(capital(_values(columns, rate, signed=signed), n, 0.0, above=True).max() >= limit)

    def too_large(rate: float) -> bool:
        return bool(capital(_values(columns, rate, signed=signed), n, 0.0, above=False).max() >= limit)

    # Certain bounds: the samples left are all events or, if signed, all their contrary.
    events, counts, left = int(columns["event"].sum()), int(columns["counts"].sum()), n - len(columns["event"])
    if counts + left == 0:
        certain = smallest, 1.0
    else:
        fewest = events - left if smallest < 0 else events
        certain = max(smallest, fewest / (counts + left)), min(1.0, (events + left) / (counts + left))
    return overlap((_edge(smallest, 1.0, too_small), _edge(1.0, smallest, too_large)), certain)


def _values(columns: Columns, rate: float, *, signed: bool) -> NDArray[np.float64]:
    values: NDArray[np.float64] = columns["event"] - rate * columns["counts"]
    # e - r c spans 1 + |r| on either side if events may be -1; bets need values in -1..1.
    if signed:
        values = values / (1 + abs(rate))
    return values


def _edge(start: float, end: float, ruled_out: Callable[[float], bool]) -> float:
    # The first rate from start towards end that is not ruled out, or a rate ruled out just before it: never too narrow.
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
class AgreementRule(ThresholdRule):
    """A claim that of the samples marked "counts" (bool) at least a share is marked "agreed" (bool) as well.

    Attributes:
        least: samples that must count before an early verdict.
    """

    least: int = 1

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if self.threshold is None or self.terms.scope != "set":
            return None
        counts, agreed = _counted_and_agreed(columns)
        if counts.sum() < self.least:
            return None
        # The share is at least the threshold if the mean of this is at most 0.
        value = self.threshold * counts - agreed  # in -1..1
        return MeanRule(threshold=0.0, terms=self.terms).settle({"value": value}, n)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        """Decide exactly once every sample was evaluated; inconclusive if no sample counts."""
        counts, agreed = _counted_and_agreed(columns)
        of, read, scope, alpha = int(counts.sum()), len(counts), self.terms.scope, self.terms.alpha
        if not of:
            rule = f"none of {read} samples counts"
            return Decision(verdict=Verdict.INCONCLUSIVE, rule=rule, estimate=None, interval=(0.0, 1.0))
        if (clusters := clusters_of(columns, self.terms)) is not None:
            # Among the samples that count, clusters have the sizes that are left of them.
            which = counts.astype(bool)
            alone = one_by_one(columns, clusters, lambda alone: self.decide(alone, n, early))
            return alone or decide_by_cluster(
                agreed[which],
                clusters[which],
                of if read == n else n,
                self.threshold,
                at_least=True,
                terms=self.terms,
            )
        if read == n:
            return decide_share(int(agreed.sum()), of, self.threshold, at_least=True, scope=scope, alpha=alpha)
        interval = clopper_pearson(int(agreed.sum()), of, alpha)
        if scope == "set":
            disagreed = {"event": counts - agreed, "counts": counts}
            low, high = anytime_rate_interval(disagreed, n, alpha, early, signed=False)
            interval = 1 - high, 1 - low
        return decide_early(self.threshold, interval, read, n, early, at_least=True, terms=self.terms)


def _counted_and_agreed(columns: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = columns["counts"].astype(bool)
    return counts.astype(float), (counts & columns["agreed"].astype(bool)).astype(float)
