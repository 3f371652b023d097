"""The noise floor of an evaluation: by how much two runs of one system differ, and what it takes to show a loss."""

# Let item i of n have the mean m_i and the variance v_i over its runs (unbiased), v their mean, and b the variance of
# the items' true means. With R runs of each item, for large n:
#
# - two runs of one system differ by a normal variable of variance 2 v / (R n), as the items are the same;
# - pairs of items differ by 2 v / R + d (1 - d), if the second system loses a share d of the items outright;
# - unpaired, as if the items were others, a rate has the variance (b + v / R) / n, and a difference twice that.
#
# A one-sided test at alpha shows a loss d with probability `POWER` from (z_alpha + z_power)^2 variance / d^2 items on.
# All figures are about right for some fifty items or more; verdicts use exact rules instead.

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.distributions import norm
from robustest.errors import DataError

POWER = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """Noise of an evaluation.

    Attributes:
        n: number of items.
        rate: mean score, in 0..1.
        within: v, the mean variance of an item's scores over its runs.
        between: b, the variance of the items' means beyond that.
        step: distance between two possible scores of one run, 1 for right and wrong; 0 for graded scores.
    """

    n: int
    rate: float
    within: float
    between: float
    step: float

    @classmethod
    def of(cls, place: NDArray[np.int64], score: NDArray[np.float64]) -> NoiseFloor:
        """Return the noise of scores.

        Args:
            place: (m,) number of each row's item, from 0 on without gaps.
            score: (m,) in 0..1.

        Raises:
            DataError: no item has two runs.
        """
        runs = np.bincount(place)
        mean = np.bincount(place, score) / runs
        several = runs >= 2
        if not several.any():
            raise DataError("Expected several runs of the items but every item has one. Give the files of two runs.")
        off = np.bincount(place, (score - mean[place]) ** 2)
        within = float((off[several] / (runs[several] - 1)).mean())
        n = len(runs)
        spread = float(mean.var(ddof=1)) if n > 1 else 0.0
        between = max(0.0, spread - within * float((1 / runs).mean()))
        step = float(np.isin(score, (0.0, 1.0)).all())
        return cls(n=n, rate=float(mean.mean()), within=within, between=between, step=step)

    def spread(self, runs: int = 1) -> float:
        """Return the standard deviation of the difference of two rates of one system."""
        return math.sqrt(2 * self.within / (runs * self.n))

    def red(self, tolerance: float) -> float:
        """Return the chance that a gate on the difference of two rates is red for one system."""
        sd = self.spread()
        if not sd:
            return 0.0
        # Rates of right and wrong items move in steps of 1 / n: a fall beyond the tolerance is the next step at least.
        unit = self.step / self.n
        beyond = (math.floor(tolerance * self.n + 1e-9) + 0.5) * unit if unit else tolerance
        return float(norm.sf(beyond / sd))

    def items(self, loss: float, alpha: float, *, runs: int = 1, paired: bool = True) -> int:
        """Return the number of items from which on a loss is shown with probability `POWER`."""
        pair = 2 * self.within / runs + loss * (1 - loss)
        return self._needed(pair if paired else 2 * (self.between + self.within / runs), loss, alpha)

    def runs(self, loss: float, alpha: float) -> int | None:
        """Return the number of runs of each item with which these items show a loss; None if no number does."""
        left = self.n * loss**2 / _distance(alpha) - loss * (1 - loss)
        return max(1, math.ceil(2 * self.within / left)) if left > 0 else None

    def items_of_claim(self, below: float, alpha: float, *, runs: int = 1) -> int:
        """Return the number of items from which on a rate is shown to be above `below` less than it is."""
        return self._needed(self.between + self.within / runs, below, alpha)

    def _needed(self, variance: float, loss: float, alpha: float) -> int:
        return max(2, math.ceil(_distance(alpha) * variance / loss**2))


def _distance(alpha: float) -> float:
    return float(norm.isf(alpha) + norm.ppf(POWER)) ** 2
