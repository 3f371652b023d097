"""Means over clusters, and differences of two such means, by bets that hold for any number of clusters."""

# Samples of one cluster (a subclass, an annotator) depend on each other, and the claim is about clusters to come. The
# share of a cluster's samples that hold is one draw x in 0..1; the mean of the clusters to come is mu.
#
# 1. Against mu <= m bet with a stake s in 0..1: the capital is the product over clusters of 1 + s (x - m) / m, at most
#    1 in expectation under the null. It reaches 1 / alpha with probability at most alpha (Markov).
# 2. A difference mu_1 - mu_2 >= d is ruled out if, for every mu_1, the capital against "mu_1 or more" times the capital
#    against "mu_2 <= mu_1 - d" is 1 / alpha or more.

from __future__ import annotations

from math import ceil, log

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.rule import Interval

Floats = NDArray[np.float64]

# A bootstrap and Student's t fail here: if one cluster in twenty is lost, ten clusters often show no loss, hence next
# to no variance, and a false claim passes in a fifth of the runs. The price of the bets is that n clusters that all
# hold show no more than mu >= alpha ** (1 / n).
_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0])
# The mean over several stakes counts. The full stake has a third of the capital: it shows most if no cluster is lost,
# and with few clusters no other stake shows anything. One cluster lost altogether ruins it, and the others play on.
_WEIGHTS = np.array([2 / 3 / 8] * 8 + [1 / 3])

# Cells of 0..1 in which means are tested; an end of an interval lies at most two of them too far out.
_CELLS = 1024


def cluster_mean_interval(values: Floats, alpha: float) -> Interval:
    """Return an interval of the mean of the clusters to come; each end errs with probability alpha at most.

    Args:
        values: (n,) one per cluster, in 0..1, n >= 1; clusters are independent draws.
    """
    limit = -np.log(alpha)
    low, high = 0.0, 1.0
    if (above := capital_above(values) >= limit).any():
        # Capitals fall with the mean that is bet against: all means up to the last one refuted are ruled out.
        low = float(np.flatnonzero(above)[-1]) / _CELLS
    if (below := capital_above(1 - values) >= limit).any():
        high = 1 - float(np.flatnonzero(below)[-1]) / _CELLS
    return low, high


def cluster_difference_interval(first: Floats, second: Floats, alpha: float) -> Interval:
    """Return an interval of the first mean minus the second; each end errs with probability alpha at most.

    Args:
        first, second: (n,) and (m,) values of different clusters, in 0..1.
    """
    # One mu_1 is the true one, and the product of two capitals from different clusters is at most 1 in expectation:
    # no error is spent twice.
    return -_largest_difference(second, first, alpha), _largest_difference(first, second, alpha)


def fewest_clusters(distance: float, alpha: float) -> int:
    """Return the fewest clusters that show a mean of at least 1 - distance, in (0, 1), if all of their samples
    hold.
    """
    # With all x = 1 the full stake's capital is weight * m ** -n; / 2 is the half that differences do not stake.
    return ceil(log(alpha * float(_WEIGHTS[-1]) / 2) / log(1 - distance))


def capital_above(values: Floats) -> Floats:
    """Return (cells + 1,) log capitals of bets that the mean is larger than each of 0, 1 / cells, ..., 1."""
    # The product does not depend on the order of clusters, so that equal values are counted once.
    levels, counts = np.unique(values, return_counts=True)
    means = np.arange(1, _CELLS + 1) / _CELLS
    with np.errstate(divide="ignore"):
        surprise = (levels[:, None] - means) / means  # (levels, cells), at least -1
        logs = np.log1p(np.maximum(surprise[:, :, None] * _STAKES, -1.0))
    mixed = np.logaddexp.reduce(np.tensordot(counts, logs, 1) + np.log(_WEIGHTS), axis=1)
    # A mean of 0 leaves no room for a value above it: one such value, and the capital is without bound.
    return np.concatenate([[np.inf if levels[-1] > 0 else 0.0], mixed])


def _largest_difference(first: Floats, second: Floats, alpha: float) -> float:
    """Return the smallest multiple of 1 / cells above which all differences, first minus second, are ruled out."""
    limit = -np.log(alpha)
    # By the mean that the first has at least. Half of the capital is not staked: a first mean of 1 that no outcome
    # contradicts must not cost the bets on the second mean their winnings.
    against_first = np.logaddexp(0.0, capital_above(1 - first)[::-1]) - np.log(2)
    against_second = capital_above(second)  # by the mean that the second has at most
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
