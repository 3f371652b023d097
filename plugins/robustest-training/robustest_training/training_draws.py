"""Accuracies of learners, with their variance over draws of training samples and of test samples.

Other draws of one training set are not available. With accuracies a and b of its two halves, the variance of the whole
is the mean of (a - b)^2 / 4, as for a mean (balanced repeated replication; McCarthy, Review of the International
Statistical Institute 1969).
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
    """Learners of equally many samples, each on another draw."""

    size: int  # training samples of each
    right: Floats  # (t,) share of learners that are right on each test sample, 0..1
    variance: float  # of their mean accuracy over draws of the training samples
    freedom: float  # degrees of freedom of that variance
    draws: int  # number of learners

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the approximate interval of the accuracy for other training and test samples, alpha on each side."""
        low, high = _interval(self.right, [(self.variance, self.freedom)], alpha)
        return max(0.0, low), min(1.0, high)


def halves_variance(pairs: ArrayLike) -> float:
    """Return the variance of a whole's accuracy over draws, from accuracies (r, 2) on the halves of r random splits."""
    both = np.asarray(pairs, dtype=np.float64)
    return float((((both[:, 0] - both[:, 1]) / 2) ** 2).mean())


def difference_interval(first: Trained, second: Trained, alpha: float) -> tuple[float, float]:
    """Return the interval of the difference of two accuracies, for other draws of training and test sets."""
    # Student's t with Welch's degrees of freedom (Biometrika 1947); the test samples are paired.
    sides = [(first.variance, first.freedom), (second.variance, second.freedom)]
    low, high = _interval(first.right - second.right, sides, alpha)
    return max(-1.0, low), min(1.0, high)


def _interval(values: Floats, others: list[tuple[float, float]], alpha: float) -> tuple[float, float]:
    """Return the interval of the mean of (t,) values in -1..1, with further variances and their degrees of freedom."""
    t, value = len(values), float(values.mean())
    # Pseudo-observations as for a share (Agresti and Coull 1998): equal values prove nothing about others.
    more = float(ndtri(alpha)) ** 2
    spread = (float(((values - value) ** 2).sum()) + more) / (t * (t + more))
    parts = [(spread, max(1.0, t - 1.0)), *others]
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / free for variance, free in parts)
    reach = -float(stdtrit(freedom, alpha)) * sqrt(total)
    return value - reach, value + reach
