"""Shares among the samples beyond a quantile of a score that is itself estimated: exact for any number of samples.

How many samples of n lie beyond a population's quantile is binomial. Given that number, those samples are draws from
the population beyond the quantile. So an interval for each number that is likely, all of them joined, covers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def likely(n: int, share: float, alpha: float) -> tuple[int, int]:
    """The least and the largest number of n samples beyond a quantile, but for a chance of alpha / 2 in all."""
    return int(binom.ppf(alpha / 4, n, share)), int(binom.isf(alpha / 4, n, share))


def share_among_first(right: Bools, share: float, alpha: float) -> tuple[float, float]:
    """An interval for the share that is right among the `share` of a population that comes first, alpha on each side.

    Args:
        right: (n,) outcomes of samples in the order of their scores, first the highest; ties in an order of chance.
        share: of the population, in (0, 1].
        alpha: error allowed on each side.
    """
    fewest, most = likely(len(right), share, alpha)
    k = np.arange(max(1, fewest), most + 1)
    held = np.concatenate([[0], np.cumsum(right)])[k]
    with np.errstate(invalid="ignore"):
        low = np.where(held > 0, beta.ppf(alpha / 2, held, k - held + 1), 0.0)
        high = np.where(held < k, beta.isf(alpha / 2, held + 1, k - held), 1.0)
    if not len(k) or fewest < 1:
        return 0.0, 1.0
    return float(low.min()), float(high.max())


def share_accepted(inside: Floats, outside: Floats, tpr: float, alpha: float) -> tuple[float, float]:
    """An interval for the share of outside scores at or above the quantile that a share of the inside ones reach.

    Args:
        inside: (n,) scores of samples that should be accepted.
        outside: (m,) scores of samples that should not.
        tpr: the share of the inside population at or above the threshold, in (0, 1).
        alpha: error allowed on each side.
    """
    ordered = np.sort(inside)
    fewest, most = likely(len(inside), 1 - tpr, alpha)
    accepted = int((outside >= ordered[fewest - 1]).sum()) if fewest > 0 else len(outside)
    sure = int((outside >= ordered[most]).sum()) if most < len(inside) else 0
    m = len(outside)
    high = 1.0 if accepted == m else float(beta.isf(alpha / 2, accepted + 1, m - accepted))
    low = 0.0 if sure == 0 else float(beta.ppf(alpha / 2, sure, m - sure + 1))
    return low, high
