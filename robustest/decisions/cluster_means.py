"""Means over clusters, and differences of two such means, by bets that hold for any number of clusters.

Samples of one cluster (a subclass, an annotator) are alike, and other clusters will come. The share of a cluster that
holds is one draw x from 0..1, whatever depends on what inside the cluster, and the mean of the clusters to come is mu.

1. Whoever claims mu <= m is bet against with a stake s: the capital is the product of 1 + s (x - m) / m over the
   clusters, which is never negative for s in 0..1 and is expected to be 1 at most if the claim is true. It reaches
   1 / alpha with a chance of alpha at most (Markov). Several stakes are played side by side, and their mean counts.
   Whoever claims mu >= m is bet against in the same way, with 1 - x and 1 - m in place of x and m.
2. A difference mu_1 - mu_2 of d or more is ruled out where, for every mu_1, the capital against that mu_1 or more times
   the capital against mu_2 <= mu_1 - d is 1 / alpha or more: one of these mu_1 is the true one, and the product of two
   capitals from different clusters is expected to be 1 at most as well. No error is spent twice.

No bootstrap and no Student's t holds here: where one cluster in twenty is lost, ten clusters often show no loss at all,
their variance is next to nothing, and a claim that is false passes in a fifth of the runs. The price is that n clusters
that all hold show no more than mu >= alpha ** (1 / n): see `fewest_clusters`.

The product over clusters does not depend on their order, so that it does not matter how they are listed.
"""

from __future__ import annotations

from math import ceil, log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


Interval = tuple[float, float]


_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0])


_WEIGHTS = np.array([2 / 3 / 8] * 8 + [1 / 3])
"""The full stake has a third of the capital: it is the one that shows most where no cluster is lost, and with few
clusters no other shows anything. Once a cluster is lost altogether, the others play on."""


_CELLS = 1024
"""Cells of 0..1 that means are looked at in; an end of an interval lies at most two of them too far out."""


def cluster_mean_interval(values: Floats, alpha: float) -> Interval:
    """Return an interval of the mean of the clusters to come; each end errs with probability alpha at most.

    Args:
        values: (n,) one for each cluster, in 0..1, n >= 1; the clusters are independent draws.
        alpha: error on each side, in (0, 1).
    """
    limit = -np.log(alpha)
    low, high = 0.0, 1.0
    if (above := capital_above(values) >= limit).any():
        # Capitals fall with the mean that is bet against, so that all means up to the last such are ruled out.
        low = float(np.flatnonzero(above)[-1]) / _CELLS
    if (below := capital_above(1 - values) >= limit).any():
        high = 1 - float(np.flatnonzero(below)[-1]) / _CELLS
    return low, high


def cluster_difference_interval(first: Floats, second: Floats, alpha: float) -> Interval:
    """Return an interval of the first mean minus the second, of clusters to come; each end errs with alpha at most.

    Args:
        first, second: (n,) and (m,) values of different clusters, as for `mean_interval`.
        alpha: error on each side, in (0, 1).
    """
    return -_largest_difference(second, first, alpha), _largest_difference(first, second, alpha)


def fewest_clusters(distance: float, alpha: float) -> int:
    """Return how many clusters in which all samples hold show a mean of at least 1 - distance, by either interval.

    Args:
        distance: in (0, 1).
        alpha: error, in (0, 1).
    """
    return ceil(log(alpha * float(_WEIGHTS[-1]) / 2) / log(1 - distance))


def capital_above(values: Floats) -> Floats:
    """(cells + 1,) log capitals of bets that the mean is larger than each of 0, 1 / cells, ..., 1."""
    levels, counts = np.unique(values, return_counts=True)
    means = np.arange(1, _CELLS + 1) / _CELLS
    with np.errstate(divide="ignore"):
        surprise = (levels[:, None] - means) / means  # (levels, cells), -1 at least
        logs = np.log1p(np.maximum(surprise[:, :, None] * _STAKES, -1.0))
    mixed = np.logaddexp.reduce(np.tensordot(counts, logs, 1) + np.log(_WEIGHTS), axis=1)
    # A mean of 0 leaves no room for a value above it: one such value, and the capital is without bound.
    return np.concatenate([[np.inf if levels[-1] > 0 else 0.0], mixed])


def _largest_difference(first: Floats, second: Floats, alpha: float) -> float:
    """The smallest multiple of 1 / cells that no bets leave a larger difference, first minus second, than."""
    limit = -np.log(alpha)
    # By the mean that the first is claimed to have at least. Half of the capital is not staked: a first mean of 1 that
    # nothing speaks against must not cost the bets on the second one what they won.
    against_first = np.logaddexp(0.0, capital_above(1 - first)[::-1]) - np.log(2)
    against_second = capital_above(second)  # by the mean that the second is claimed to have at most
    cells = np.arange(_CELLS)

    def ruled_out(difference: int) -> bool:
        # In each cell of the first mean the capital against it is least at the lower end, and that against the second
        # mean at the upper end. A second mean below 0 cannot be; one above 1 is bet against as 1 is, at a loss.
        other = cells + 1 - difference
        theirs = np.where(other < 0, np.inf, against_second[np.clip(other, 0, _CELLS)])
        return bool((against_first[:-1] + theirs >= limit).all())

    low, high = -_CELLS, _CELLS
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if ruled_out(middle) else (middle + 1, high)
    return low / _CELLS
