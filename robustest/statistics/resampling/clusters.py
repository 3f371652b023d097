"""Shares over samples that come in clusters: samples of one cluster are alike, and other clusters will come."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from robustest.statistics.differences.two_shares import difference_interval, exceeds

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Counts by cluster.

    Attributes:
        held: (m,) samples that hold.
        n: (m,) samples, each >= 1.
    """

    held: Counts
    n: Counts

    @property
    def share(self) -> float:
        """The share of all samples that hold, 0..1."""
        return float(self.held.sum() / self.n.sum())


def cluster_variance(clusters: Clusters, resamples: int, random: np.random.Generator) -> float:
    """The bootstrap variance of the share when whole clusters are drawn again, with replacement.

    With m clusters the bootstrap takes (m - 1) / m of the variance; that factor is undone (Davison and Hinkley,
    "Bootstrap Methods and their Application", 1997, section 3.8).

    Args:
        clusters: two or more of them.
        resamples: how often they are drawn.
        random: draws them.
    """
    m = len(clusters.n)
    times = random.multinomial(m, np.full(m, 1 / m), size=resamples)
    shares = (times @ clusters.held) / (times @ clusters.n)
    return float(shares.var(ddof=1) * m / (m - 1))


def cluster_drop_interval(
    first: Clusters, second: Clusters, alpha: float, *, resamples: int, seed: int
) -> tuple[float, float]:
    """An interval of the fall in a share between two sets of clusters, for other clusters of the same kinds.

    The bootstrap's standard errors by Student's t, whose degrees of freedom are Welch's (Biometrika 1947) for as few
    clusters as there are; never inside the interval for samples without clusters, as clusters that happen to agree
    say nothing of how far their samples are known.

    Args:
        first, second: before and after, clusters of different samples.
        alpha: error on each side, about.
        resamples: bootstrap draws, >= 2.
        seed: seeds them, any whole number.

    Returns:
        The interval; (-1, 1) where a side has a single cluster, which says nothing of others.
    """
    if min(len(first.n), len(second.n)) < 2:
        return -1.0, 1.0
    random = np.random.default_rng(seed % 2**64)
    a, b = (cluster_variance(side, resamples, random) for side in (first, second))
    one, other = ((int(side.held.sum()), int(side.n.sum())) for side in (first, second))
    if a + b == 0:
        return difference_interval(*one, *other, alpha)
    freedom = (a + b) ** 2 / (a**2 / (len(first.n) - 1) + b**2 / (len(second.n) - 1))
    fall, reach = first.share - second.share, float(student.ppf(1 - alpha, freedom)) * sqrt(a + b)
    low, high = max(-1.0, fall - reach), min(1.0, fall + reach)
    if exceeds(*one, *other, low, alpha=alpha) and exceeds(*other, *one, -high, alpha=alpha):
        return low, high  # both ends lie outside the samples' own interval: it need not be searched for
    loose = difference_interval(*one, *other, alpha)
    return min(loose[0], low), max(loose[1], high)
