"""Accuracies of learners, which depend on the draw of their training samples as well as on that of the test samples.

Of one training set the draws that it might have been are not there to see. They are estimated from its halves: what a
statistic of the whole varies by is half of what those of two halves are apart, as of a sample's mean (balanced
repeated replication; McCarthy, Review of the International Statistical Institute 1969).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """How often learners that were trained on as many samples are right, each on another draw.

    Attributes:
        size: training samples of each.
        right: (t,) for each test sample the share of the learners that are right, 0..1.
        variance: of their mean accuracy over draws of the training samples.
        freedom: degrees of freedom of that variance.
        draws: how many learners.
    """

    size: int
    right: Floats
    variance: float
    freedom: float
    draws: int

    @property
    def accuracy(self) -> float:
        """Over learners and test samples, 0..1."""
        return float(self.right.mean())

    def interval(self, alpha: float) -> tuple[float, float]:
        """Of the accuracy, for other training samples and other test samples; alpha on each side, about."""
        low, high = _interval(self.right, [(self.variance, self.freedom)], alpha)
        return max(0.0, low), min(1.0, high)


def halves_variance(pairs: ArrayLike) -> float:
    """The variance of a whole's accuracy over draws, from the accuracies on its halves.

    Args:
        pairs: (r, 2) accuracies on both halves of each of r random splits.
    """
    both = np.asarray(pairs, dtype=np.float64)
    return float((((both[:, 0] - both[:, 1]) / 2) ** 2).mean())


def difference_interval(first: Trained, second: Trained, alpha: float) -> tuple[float, float]:
    """An interval of the difference of two accuracies, for other draws of both training sets and of the test set.

    Student's t, with Welch's degrees of freedom (Biometrika 1947). The test samples are paired.

    Args:
        first, second: learners judged on the same test samples.
        alpha: error on each side, about.
    """
    sides = [(first.variance, first.freedom), (second.variance, second.freedom)]
    low, high = _interval(first.right - second.right, sides, alpha)
    return max(-1.0, low), min(1.0, high)


def _interval(values: Floats, others: list[tuple[float, float]], alpha: float) -> tuple[float, float]:
    """Of the mean of (t,) values in -1..1, with further variances and their degrees of freedom."""
    t, value = len(values), float(values.mean())
    # As many pairs more as Agresti and Coull (1998) add to a share: values that are all alike prove nothing of others.
    more = float(ndtri(alpha)) ** 2
    spread = (float(((values - value) ** 2).sum()) + more) / (t * (t + more))
    parts = [(spread, max(1.0, t - 1.0)), *others]
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / free for variance, free in parts)
    reach = -float(stdtrit(freedom, alpha)) * sqrt(total)
    return value - reach, value + reach
