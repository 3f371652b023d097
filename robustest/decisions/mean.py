"""Means of bounded values: decide if the mean of a column is at most, or at least, a threshold."""

# Rules by the same bets (see `bets`), whose errors hold in finite samples for any distribution in the range:
#
# - `MeanRule`: values in -1..1 of the samples of a set, or of a population;
# - `ScoreRule`: scores s in 0..1, by bets on 1 - 2 s;
# - `WholeScoreRule`: the same where all are read before the verdict, as of recorded outcomes: bets that aim at the last
#   one give shorter intervals (for 200 scores by a third);
# - `DrawsRule`: independent draws in any range, as a simulation makes them (Waudby-Smith and Ramdas, JRSS B 2024,
#   section 4);
# - `ItemsRule`: items that are asked one after the other, whose rate is to be known as soon as possible.

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from robustest.checks import require
from robustest.decisions.bets import MANY, bets_won, betting_interval, capital, fall_interval
from robustest.decisions.clusters import (
    FEWEST,
    capital_by_cluster,
    cluster_interval,
    clusters_of,
    count_clusters,
    decide_by_cluster,
    one_by_one,
)
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    Rule,
    Terms,
    ThresholdRule,
    anytime_interval,
    decide_early,
    decide_whole,
    first_verdict,
    judge_interval,
)
from robustest.decisions.share import ShareRule
from robustest.errors import ConfigError, DataError, expected
from robustest.results import Verdict

SCORE, COUNTS, PIXELS, CONSTANT_COUNTS = "score", "counts", "pixels", "constant_counts"
"""Columns of scores in 0..1; of pixels in each class's intersection and union; of pixels per sample."""

# Values are sums of fractions, so that a difference this small is rounding.
_ROUNDED = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanRule(ThresholdRule):
    """A claim that the mean of a column of values in -1..1 is at most a threshold.

    "At least" is claimed of the negated column; `sign` turns the shown values back.

    Attributes:
        threshold: in the column's units.
        sign: 1, or -1 if the column holds negated values.
        scale: the shown value of a column value of 1.
    """

    column: str = "value"
    sign: int = 1
    scale: float = 1.0

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if self.threshold is None or self.terms.scope != "set":
            return None
        value, most = columns[self.column], _sum_at_most(self.threshold, n)
        total, left = np.cumsum(value), n - np.arange(1, len(value) + 1)
        slack = _ROUNDED * n
        # The values left are at least -1 and at most 1.
        sure_pass, sure_fail = total + left <= most - slack, total - left > most + slack
        lower, higher = capital(value, n, most, above=False), capital(value, n, most, above=True)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        passes, fails = bets_won(lower, higher, **alphas)
        return first_verdict(sure_pass | passes, sure_fail | fails, **alphas, sure=(sure_pass, sure_fail))

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        value, scope, alpha = columns[self.column], self.terms.scope, self.terms.alpha
        read, factor = len(value), self.sign * self.scale
        if (clusters := clusters_of(columns, self.terms)) is not None:
            claimed = None if self.threshold is None else factor * self.threshold
            return one_by_one(columns, clusters, lambda alone: self.decide(alone, n, early)) or decide_by_cluster(
                factor * value,
                clusters,
                n,
                claimed,
                at_least=self.sign < 0,
                terms=self.terms,
                low=-self.scale,
                high=self.scale,
            )
        # The samples of a set are drawn without replacement; once all are evaluated, only the population is
        # uncertain.
        size = MANY if read == n or scope != "set" else n

        interval = anytime_interval(lambda t: betting_interval(value[:t], size, alpha), read, early)
        ends = sorted((factor * interval[0], factor * interval[1]))
        shown = ends[0], ends[1]
        if read < n:
            threshold = None if self.threshold is None else factor * self.threshold
            return decide_early(threshold, shown, read, n, early, at_least=self.sign < 0, terms=self.terms)
        decision = decide_whole(
            self.mean_of(columns),
            interval,
            self.threshold,
            at_least=False,
            scope=scope,
            alpha=alpha,
            holds=lambda claimed: float(value.sum()) <= _sum_at_most(claimed, n) + _ROUNDED * n,
        )
        return replace(decision, interval=shown)

    def for_part(self, terms: Terms) -> MeanRule:
        return replace(self, terms=terms)

    def mean_of(self, columns: Columns) -> float:
        """Return the mean over these samples, in shown units."""
        return self.sign * self.scale * float(columns[self.column].mean())


def _sum_at_most(mean: float, n: int) -> float:
    return float(Fraction(repr(float(mean))) * n)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRule(ThresholdRule):
    """A claim that the mean of the column "score", in 0..1, is at least a threshold."""

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        return self._bets.settle({"value": 1 - 2 * columns[SCORE]}, n)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        if (clusters := clusters_of(columns, self.terms)) is not None:
            return one_by_one(columns, clusters, lambda alone: self.decide(alone, n, early)) or decide_by_cluster(
                columns[SCORE], clusters, n, self.threshold, at_least=True, terms=self.terms
            )
        decision = self._bets.decide({"value": 1 - 2 * columns[SCORE]}, n, early)
        # 1 - 2 s falls with s: the ends change places.
        low, high = ((1 - end) / 2 for end in decision.interval[::-1])
        estimate = None if decision.estimate is None else float(np.mean(columns[SCORE]))
        return replace(decision, estimate=estimate, interval=(low, high))

    def for_part(self, terms: Terms) -> ScoreRule:
        return replace(self, terms=terms)

    @property
    def _bets(self) -> MeanRule:
        return MeanRule(threshold=None if self.threshold is None else 1 - 2 * self.threshold, terms=self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeScoreRule(ThresholdRule):
    """A claim that the mean of the column "score", in 0..1, is at least a threshold; all rows are there."""

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        score = np.asarray(columns[SCORE], dtype=np.float64)
        if (clusters := clusters_of(columns, self.terms)) is not None:
            return one_by_one(columns, clusters, lambda alone: self.decide(alone, n, early)) or decide_by_cluster(
                score, clusters, n, self.threshold, at_least=True, terms=self.terms
            )
        # Bets stake more, the smaller the range beyond their null: 1 - 2 s has all of -1..1.
        beside = 0.0 if self.threshold is None else 1 - 2 * self.threshold
        low, high = ((1 - end) / 2 for end in fall_interval(1 - 2 * score, self.terms.alpha, beside)[::-1])
        return decide_whole(
            float(np.mean(score)),
            (low, high),
            self.threshold,
            at_least=True,
            scope=self.terms.scope,
            alpha=self.terms.alpha,
            holds=lambda claimed: float(score.sum()) >= float(Fraction(repr(claimed)) * n) - _ROUNDED * n,
        )

    def for_part(self, terms: Terms) -> WholeScoreRule:
        return replace(self, terms=terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawsRule(ThresholdRule):
    """A claim that the mean of a column of independent draws is at least, or at most, a threshold, for either scope.

    Attributes:
        threshold: in the range of the draws.
        low, high: the range of every draw, declared beforehand: a draw outside is an error, and is never clipped.

    Raises:
        ConfigError: the range is empty, or the threshold outside.
    """

    at_least: bool
    column: str = "held"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        require(self.low < self.high, "a range (low, high) with low < high", (self.low, self.high))
        if self.threshold is not None and not self.low <= self.threshold <= self.high:
            raise ConfigError(expected(f"a threshold in the range {self.low:g}..{self.high:g}", self.threshold))

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if self.threshold is None:
            return None
        claimed = (1 - 2 * (self.threshold - self.low) / (self.high - self.low)) * (1 if self.at_least else -1)
        # Draws have no set that could be read to its end, as another seed gives other draws: no verdict is certain.
        value, null = self._values(columns), claimed * MANY
        lower, higher = capital(value, MANY, null, above=False), capital(value, MANY, null, above=True)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        passes, fails = bets_won(lower, higher, **alphas)
        return first_verdict(passes, fails, **alphas, sure=None)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        value, alpha = self._values(columns), self.terms.alpha
        low, high = anytime_interval(lambda t: betting_interval(value[:t], MANY, alpha), len(value), early)
        sign = 1 if self.at_least else -1
        ends = sorted(self.low + (self.high - self.low) * (1 - sign * end) / 2 for end in (low, high))
        interval = ends[0], ends[1]
        mean = float(columns[self.column].astype(np.float64).mean()) if len(value) == n else None
        if self.threshold is None:
            return Decision(verdict=Verdict.INCONCLUSIVE, rule="no threshold given", estimate=mean, interval=interval)
        if early is None:
            early = self.settle(columns, n)
        if early is not None:
            verdict, rule = early.verdict, f"alpha = {early.alpha:.2g} after {early.after} of {n}"
        else:
            verdict = judge_interval(interval, self.threshold, at_least=self.at_least)
            rule = f"alpha = {alpha:g} a side, {len(value)} of {n} drawn"
        return Decision(verdict=verdict, rule=rule, estimate=mean, interval=interval, at_alpha=True)

    def _values(self, columns: Columns) -> NDArray[np.float64]:
        # In -1..1, turned so that the claim is "their mean is small", as bets have it.
        share = (columns[self.column].astype(np.float64) - self.low) / (self.high - self.low)
        outside = ~((share >= -_ROUNDED) & (share <= 1 + _ROUNDED))  # NaN too
        if outside.any():
            got = float(columns[self.column][outside.argmax()])
            mend = "A draw is never clipped: declare the range of all that can come."
            raise DataError(expected(f"draws in the range {self.low:g}..{self.high:g}", got, mend))
        return (1 if self.at_least else -1) * (1 - 2 * np.clip(share, 0, 1))


# `ItemsRule`: a claim about the population may end in two ways, which share alpha:
#
# 1. after any item, by bets at a quarter of alpha (`DrawsRule`). Their error holds wherever reading stops, so
#    also where a budget ended it, and where a later run goes on from there;
# 2. after the last item, by the exact bound of a share, or bets, at the other three quarters; also where no early
#    verdict was wanted, or asking for one first and for all items then would spend alpha twice.
#
# A claim about the set of items has the rules of any other set, which may be looked at after each item.


EARLY = 0.25
"""Part of alpha that verdicts before the last item may spend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsRule(ThresholdRule):
    """A claim that the mean of the column "score", in 0..1, is at least a threshold.

    Items of one cluster are asked one after the other. A verdict is known at the end of a cluster only: rows are those
    of whole clusters then.

    Attributes:
        single: True if every score is 0 or 1, as the column "held" has it.
        largest: most items of any cluster, also of those not asked yet; None if there are no clusters.
    """

    single: bool
    largest: int | None = None

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if (clusters := self._clusters(columns)) is None or self.threshold is None:
            return (self._last if self.terms.scope == "set" else self._bets).settle(columns, n)
        score, terms = columns["score"], self._bets.terms
        bet = partial(capital_by_cluster, score, clusters, self.threshold, low=0.0, high=1.0, largest=self.largest)
        alphas = {"pass_alpha": terms.alpha, "fail_alpha": terms.fail_alpha}
        passes, fails = bets_won(bet(above=True), bet(above=False), **alphas)
        passes[: FEWEST - 1] = False
        found = first_verdict(passes, fails, **alphas, sure=None)
        return found and replace(found, after=int(np.unique(clusters, return_counts=True)[1].cumsum()[found.after - 1]))

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        if self.terms.scope == "set" or (early is None and len(columns["score"]) == n):
            return self._last.decide(columns, n, early)
        if (clusters := self._clusters(columns)) is not None:
            return self._before_the_last(columns["score"], clusters, n, early)
        # A part of the items has no exact bound: how many were read may depend on the answers.
        decision, read = self._bets.decide(columns, n, early), len(columns["score"])
        if early is None:
            rule = f"alpha = {self._bets.terms.alpha:g} a side, {read} of {n} items asked"
            decision = replace(decision, rule=rule if self.threshold is not None else f"no threshold given; {rule}")
        return replace(decision, estimate=decision.estimate if read == n else None)

    def doomed(self, broken: int, n: int) -> bool:
        return self._last.doomed(broken, n)

    def for_part(self, terms: Terms) -> ItemsRule:
        return replace(self, terms=terms)

    def _clusters(self, columns: Columns) -> NDArray[np.int64] | None:
        return None if self.largest in (None, 1) else clusters_of(columns, self.terms)

    def _before_the_last(
        self, score: NDArray[np.float64], clusters: NDArray[np.int64], n: int, early: EarlyVerdict | None
    ) -> Decision:
        """Return the decision by cluster where items are left: an interval at the part of alpha for early verdicts."""
        alpha = self._bets.terms.alpha

        def bounds(read: int) -> Interval:
            return cluster_interval(score[:read], clusters[:read], 0.0, 1.0, alpha, anytime=True, largest=self.largest)

        interval = anytime_interval(bounds, len(score), early)
        decision = decide_early(self.threshold, interval, len(score), n, early, at_least=True, terms=self._bets.terms)
        return count_clusters(decision, clusters)

    @property
    def _bets(self) -> DrawsRule:
        return DrawsRule(threshold=self.threshold, at_least=True, terms=self._part_of_alpha(EARLY), column="score")

    @property
    def _last(self) -> Rule:
        shared = self.threshold is not None and self.terms.scope != "set"
        terms = self._part_of_alpha(1 - EARLY) if shared else self.terms
        if self.single:
            return ShareRule(threshold=self.threshold, at_least=True, terms=terms)
        return ScoreRule(threshold=self.threshold, terms=terms)

    def _part_of_alpha(self, part: float) -> Terms:
        return replace(self.terms, alpha=part * self.terms.alpha, fail_alpha=part * self.terms.fail_alpha)
