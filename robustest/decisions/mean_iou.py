"""Mean IoU: decide if the mean over classes of intersection over union, summed over the set, is large enough."""

#     mIoU = mean over classes c that occur of  sum_i I_c(i) / sum_i U_c(i)
#
# It is no mean over samples, so that bets do not apply: verdicts are certain, because every sample was evaluated or
# because the pixels left could not change them.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.distributions import norm
from robustest.decisions.distributions import student as t
from robustest.decisions.mean import COUNTS, PIXELS, ScoreRule
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    Terms,
    ThresholdRule,
    decide_early,
    generator,
)
from robustest.results import Verdict

_BOOTSTRAP_DRAWS = 2000
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanIoURule(ThresholdRule):
    """A claim that the mean IoU of the set is at least a threshold; `seed` is of the bootstrap's draws."""

    seed: int

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if self.threshold is None:
            return None
        low, high = _reachable(columns, n)
        read = len(columns[COUNTS])
        if low >= self.threshold + _ROUNDING:
            return EarlyVerdict(Verdict.PASSED, read, certain=True, alpha=self.terms.alpha)
        if high < self.threshold - _ROUNDING:
            return EarlyVerdict(Verdict.FAILED, read, certain=True, alpha=self.terms.fail_alpha)
        return None

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        counts = columns[COUNTS]
        if len(counts) < n:
            interval = _reachable(columns, n)
            return decide_early(self.threshold, interval, len(counts), n, early, at_least=True, terms=self.terms)
        value = float(mean_iou(counts.sum(0)))
        # The bootstrap's level is approximate, so that it decides nothing: no claim is about a population.
        interval = bootstrap_interval(counts, alpha=self.terms.alpha, seed=self.seed)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None:
            verdict = Verdict.PASSED if value >= self.threshold - _ROUNDING else Verdict.FAILED
            rule = "certain: exact on this set"
        return Decision(verdict=verdict, rule=f"{rule}; the interval is a bootstrap", estimate=value, interval=interval)

    def for_part(self, terms: Terms) -> ScoreRule:
        """Return a rule that measures a part's mean score, without a claim."""
        return ScoreRule(threshold=None, terms=terms)


def _reachable(columns: Columns, n: int) -> Interval:
    """Return the range of the whole set's mean IoU over all outcomes of the samples left."""
    counts = columns[COUNTS]
    both, union = np.split(counts.sum(0).astype(float), 2)
    left = float((n - len(counts)) * columns[PIXELS].max())
    if not left:
        return (float(mean_iou(counts.sum(0))),) * 2
    there = union > 0
    # All pixels left may be false ones of a class, or true ones. A class without pixels so far may get IoU 0 or 1, or
    # not occur at all.
    low, high = both[there] / (union[there] + left), (both[there] + left) / (union[there] + left)
    absent = int((~there).sum())
    return float(low.sum() / len(union)), float((high.sum() + absent) / max(1, len(union)))


def mean_iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (...) the mean IoU over classes that occur; 0 if none does.

    Args:
        counts: (..., 2 C) pixels in each class's intersection, then in each class's union.
    """
    both, union = np.split(np.asarray(counts, dtype=np.float64), 2, axis=-1)
    shares = (both / np.maximum(union, 1)).sum(-1)
    return np.asarray(shares / np.maximum((union > 0).sum(-1), 1))


def bootstrap_interval(counts: NDArray[np.int64], *, alpha: float, seed: int) -> Interval:
    """Return percentiles of the mean IoU over sets drawn with replacement (Efron, Ann. Stat. 1979), no proven bound.

    Args:
        counts: (n, 2 C) pixels of each sample.
        alpha: error on each side, about.
    """
    n = len(counts)
    if n < 2:
        return 0.0, 1.0
    random = generator(seed)
    weights = random.multinomial(n, np.full(n, 1 / n), size=_BOOTSTRAP_DRAWS)
    # Few samples: widened as a t interval is wider than a normal one (Hesterberg, The American Statistician 2015,
    # section 5.3).
    side = float(norm.cdf(np.sqrt(n / (n - 1)) * t.ppf(alpha, n - 1)))
    low, high = np.quantile(mean_iou(weights @ counts), [side, 1 - side])
    return float(low), float(high)
