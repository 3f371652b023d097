"""Claims on the mean of scores in 0..1, and on the mean IoU of a whole set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.averages.means import MeanRule
from robustest.rules.rule import Columns, Terms, partial
from robustest.statistics.fixed import Decision
from robustest.statistics.resampling.bootstrap import resampled
from robustest.statistics.sequential import Settled

SCORE, COUNTS, PIXELS = "score", "counts", "pixels"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRule:
    """A claim that the mean of a column of scores in 0..1 is at least a threshold.

    Attributes:
        threshold: the mean claimed, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
    """

    threshold: float | None
    terms: Terms

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Rule.settled`."""
        return self._bets.settled(_spread(columns), n)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Rule.decide`."""
        found = self._bets.decide(_spread(columns), n, settled)
        low, high = ((1 - end) / 2 for end in found.interval[::-1])
        estimate = None if found.estimate is None else float(np.mean(columns[SCORE]))
        return replace(found, estimate=estimate, interval=(low, high))

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`; how far a score falls is not known before."""
        return False

    @property
    def _bets(self) -> MeanRule:
        """The same claim about 1 - 2 score, which spans the -1..1 that bets are made on."""
        return MeanRule(threshold=None if self.threshold is None else 1 - 2 * self.threshold, terms=self.terms)


def _spread(columns: Columns) -> Columns:
    return {"value": 1 - 2 * columns[SCORE]}


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

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Rule.settled`: only what is certain."""
        if self.threshold is None:
            return None
        low, high = self._between(columns, n)
        read, slack = len(columns[COUNTS]), 1e-12
        if low >= self.threshold + slack:
            return Settled(Verdict.PASSED, read, certain=True, alpha=self.terms.alpha)
        if high < self.threshold - slack:
            return Settled(Verdict.FAILED, read, certain=True, alpha=self.terms.fail_alpha)
        return None

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Rule.decide`."""
        counts = columns[COUNTS]
        if len(counts) < n:
            within = self._between(columns, n)
            return partial(self.threshold, within, len(counts), n, settled, at_least=True, terms=self.terms)
        value = float(mean_iou(counts.sum(0)))
        interval = resampled(counts, mean_iou, alpha=self.terms.alpha, seed=self.seed)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None:
            verdict = Verdict.PASSED if value >= self.threshold - 1e-12 else Verdict.FAILED
            rule = "certain: exact on this set"
        return Decision(verdict=verdict, rule=f"{rule}; the interval is a bootstrap", estimate=value, interval=interval)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`; what a sample weighs is not known before."""
        return False

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
