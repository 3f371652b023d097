"""How far the class shares of two sets are apart, and how far apart chance alone would put them."""

from __future__ import annotations

from math import log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

_DRAWS = 20_000
"""Draws of the noise: enough for a quantile at a quarter of the usual alpha."""


def total_variation(first: Counts, second: Counts) -> float:
    """Half the summed differences of the class shares, in 0..1.

    Args:
        first, second: (K,) samples of each class; either has some.
    """
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def chance_variation(first: Counts, second: Counts) -> float:
    """The total variation expected of two sets of these sizes that are drawn from one population.

    The mean of each share's difference by the normal approximation, at the shares of both sets together.

    Args:
        first, second: as for `total_variation`.
    """
    n, m = int(first.sum()), int(second.sum())
    shares = (first + second) / (n + m)
    return float(np.sqrt(2 * shares * (1 - shares) * (1 / n + 1 / m) / pi).sum() / 2)


def variation_interval(first: Counts, second: Counts, alpha: float, *, seed: int) -> tuple[float, float]:
    """An interval of the total variation between the populations that two sets were drawn from.

    What is measured is never too low on average, and often too high: chance moves every share. So the two ends differ.
    Below, the measured value exceeds the true one by no more than the total variation of the noise, whose quantile is
    drawn from multinomials. Above, the true value is the difference of the shares of some group of classes, which the
    measured one is no less than in these samples; Hoeffding's inequality (1963) bounds how far their shares are off.

    Args:
        first, second: as for `total_variation`.
        alpha: error on each side.
        seed: seeds the draws, any whole number.
    """
    random = np.random.default_rng(seed % 2**64)
    noise = np.zeros((_DRAWS, len(first)))
    for counts, sign in ((first, 1), (second, -1)):
        # Half a sample more of each class: one that was seen nowhere is not known to be absent.
        shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        noise += sign * (random.multinomial(int(counts.sum()), shares, size=_DRAWS) / counts.sum() - shares)
    found = total_variation(first, second)
    below = float(np.quantile(np.abs(noise).sum(1) / 2, 1 - alpha))
    above = sqrt(log(1 / alpha) / 2 * (1 / int(first.sum()) + 1 / int(second.sum())))
    return max(0.0, found - below), min(1.0, found + above)
