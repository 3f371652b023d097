"""The distance of the class shares of two sets, and the distance expected by chance."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# Draws of the noise: enough for a quantile at a quarter of the usual alpha.
_DRAWS = 10_000


def total_variation(first: Counts, second: Counts) -> float:
    """Return half the summed differences of the class shares, in 0..1, from counts (K,)."""
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def chance_variation(first: Counts, second: Counts) -> float:
    """Return the expected total variation of two sets of these sizes from one population."""
    # Mean absolute value of a normal difference, at the shares of both sets together.
    n, m = int(first.sum()), int(second.sum())
    shares = (first + second) / (n + m)
    return float(np.sqrt(2 * shares * (1 - shares) * (1 / n + 1 / m) / pi).sum() / 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variation:
    """The total variation of the class shares of two sets, with its error."""

    value: float  # as measured, 0..1
    noise: NDArray[np.float64]  # (draws,) total variations of noise
    spread: float  # the sum of one over each set's size

    @classmethod
    def of(cls, first: Counts, second: Counts, *, seed: int) -> Variation:
        """Return the total variation of two sets of counts (K,), with draws by a seed."""
        random = np.random.default_rng(seed % 2**64)
        noise = np.zeros((_DRAWS, len(first)))
        for counts, sign in ((first, 1), (second, -1)):
            # Half a sample more of each class: a class without samples need not be absent.
            shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
            noise += sign * (random.multinomial(int(counts.sum()), shares, size=_DRAWS) / counts.sum() - shares)
        spread = 1 / int(first.sum()) + 1 / int(second.sum())
        return cls(value=total_variation(first, second), noise=np.abs(noise).sum(1) / 2, spread=spread)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the interval between the populations of the sets, alpha on each side."""
        # Chance moves every share, so the measured value is too high on average, and the ends differ. Below: it exceeds
        # the true one by at most the total variation of the noise, whose quantile is drawn from multinomials. Above:
        # the true value is the difference of the shares of some group of classes, which the measured value is at least
        # in these samples; Hoeffding's inequality (1963) bounds the error of their shares.
        below, above = float(np.quantile(self.noise, 1 - alpha)), sqrt(log(1 / alpha) / 2 * self.spread)
        return max(0.0, self.value - below), min(1.0, self.value + above)
