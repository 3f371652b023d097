"""How far the class shares of two sets are apart, and how far apart chance alone would put them."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

_DRAWS = 10_000
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variation:
    """The total variation of the class shares of two sets, and how far it may be off.

    What is measured is never too low on average, and often too high: chance moves every share. So the two ends differ.
    Below, the measured value exceeds the true one by no more than the total variation of the noise, whose quantile is
    drawn from multinomials. Above, the true value is the difference of the shares of some group of classes, which the
    measured one is no less than in these samples; Hoeffding's inequality (1963) bounds how far their shares are off.

    Attributes:
        value: as measured, 0..1.
        noise: (draws,) total variations of noise.
        spread: the sum of one over each set's size.
    """

    value: float
    noise: NDArray[np.float64]
    spread: float

    @classmethod
    def of(cls, first: Counts, second: Counts, *, seed: int) -> Variation:
        """Of two sets.

        Args:
            first, second: as for `total_variation`.
            seed: seeds the draws, any whole number.
        """
        random = np.random.default_rng(seed % 2**64)
        noise = np.zeros((_DRAWS, len(first)))
        for counts, sign in ((first, 1), (second, -1)):
            # Half a sample more of each class: one that was seen nowhere is not known to be absent.
            shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
            noise += sign * (random.multinomial(int(counts.sum()), shares, size=_DRAWS) / counts.sum() - shares)
        spread = 1 / int(first.sum()) + 1 / int(second.sum())
        return cls(value=total_variation(first, second), noise=np.abs(noise).sum(1) / 2, spread=spread)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Of the total variation between the populations that the sets were drawn from; alpha on each side."""
        below, above = float(np.quantile(self.noise, 1 - alpha)), sqrt(log(1 / alpha) / 2 * self.spread)
        return max(0.0, self.value - below), min(1.0, self.value + above)
