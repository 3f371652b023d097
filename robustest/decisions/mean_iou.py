"""Claims on the mean of scores in 0..1, and on the mean IoU of a whole set.

The bootstrap: for values of a set that are no means, where nothing exact is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from robustest.decisions.mean import COUNTS, PIXELS, ScoreRule
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Terms, decide_early
from robustest.results import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanIoURule:
    """A claim that the mean over classes of intersection over union, each summed over the set, is at least a threshold.

    It is no mean over samples, so nothing is inferred from some of them: every sample is looked at, or what is left
    could not change the verdict. The interval is a bootstrap over samples, no proven bound.

    Attributes:
        threshold: the mean IoU claimed, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on; about the set alone.
        seed: of the bootstrap's draws.
    """

    threshold: float | None
    terms: Terms
    seed: int

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Rule.settled`: only what is certain."""
        if self.threshold is None:
            return None
        low, high = self._between(columns, n)
        read, slack = len(columns[COUNTS]), 1e-12
        if low >= self.threshold + slack:
            return EarlyVerdict(Verdict.PASSED, read, certain=True, alpha=self.terms.alpha)
        if high < self.threshold - slack:
            return EarlyVerdict(Verdict.FAILED, read, certain=True, alpha=self.terms.fail_alpha)
        return None

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Rule.decide`."""
        counts = columns[COUNTS]
        if len(counts) < n:
            within = self._between(columns, n)
            return decide_early(self.threshold, within, len(counts), n, settled, at_least=True, terms=self.terms)
        value = float(mean_iou(counts.sum(0)))
        interval = bootstrap_interval(counts, mean_iou, alpha=self.terms.alpha, seed=self.seed)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None:
            verdict = Verdict.PASSED if value >= self.threshold - 1e-12 else Verdict.FAILED
            rule = "certain: exact on this set"
        return Decision(verdict=verdict, rule=f"{rule}; the interval is a bootstrap", estimate=value, interval=interval)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`; what a sample weighs is not known before."""
        return False

    def for_part(self, terms: Terms) -> ScoreRule:
        """Return a rule that measures the mean score of a part's samples, without a claim."""
        return ScoreRule(threshold=None, terms=terms)

    def _between(self, columns: Columns, n: int) -> tuple[float, float]:
        """What the value of the whole set lies between, whatever the samples that are left count."""
        counts = columns[COUNTS]
        both, union = np.split(counts.sum(0).astype(float), 2)
        left = float((n - len(counts)) * columns[PIXELS].max())
        if not left:
            return (float(mean_iou(counts.sum(0))),) * 2
        there = union > 0
        low, high = both[there] / (union[there] + left), (both[there] + left) / (union[there] + left)
        absent = int((~there).sum())  # a class not seen so far may yet be wrong, or right, or stay away
        return float(low.sum() / len(union)), float((high.sum() + absent) / max(1, len(union)))


def mean_iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(...) the mean over classes that occur of intersection over union; 0 where none does.

    Args:
        counts: (..., 2 C) pixels in the intersection, then in the union, of each class.
    """
    both, union = np.split(np.asarray(counts, dtype=np.float64), 2, axis=-1)
    shares = (both / np.maximum(union, 1)).sum(-1)
    return np.asarray(shares / np.maximum((union > 0).sum(-1), 1))


_DRAWS = 2000


def bootstrap_interval(
    counts: NDArray[np.int64], value: Callable[[NDArray[np.int64]], NDArray[np.float64]], *, alpha: float, seed: int
) -> tuple[float, float]:
    """An interval of what a function of summed counts would be for the population of samples: about 1 - 2 alpha.

    Percentiles of the function over sets drawn with replacement (Efron, Ann. Stat. 1979), with the level widened for
    few samples as a t interval is wider than a normal one (Hesterberg, The American Statistician 2015, section 5.3).
    It is no proven bound.

    Args:
        counts: (n, S) what each sample counts.
        value: maps sums (..., S) to numbers (...).
        alpha: on each side.
        seed: of the draws.
    """
    n = len(counts)
    if n < 2:
        return 0.0, 1.0
    random = np.random.default_rng(seed)
    weights = random.multinomial(n, np.full(n, 1 / n), size=_DRAWS)
    values = value(weights @ counts)
    side = float(norm.cdf(np.sqrt(n / (n - 1)) * t.ppf(alpha, n - 1)))
    low, high = np.quantile(values, [side, 1 - side])
    return float(low), float(high)
