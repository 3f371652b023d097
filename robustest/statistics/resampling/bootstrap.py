"""The bootstrap: for values of a set that are no means, where nothing exact is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

_DRAWS = 2000


def resampled(
    counts: NDArray[np.int64], value: Callable[[NDArray[np.int64]], NDArray[np.float64]], *, alpha: float, seed: int
) -> tuple[float, float]:
    """An interval of what a function of summed counts would be for the population of samples: about 1 - 2 alpha.

    Percentiles of the function over sets drawn with replacement (Efron, Ann. Stat. 1979), with the level widened for
    few samples as a t interval is wider than a normal one (Hesterberg, The American Statistician 2015, section 5.3).
    It is no proven bound.

    Args:
        counts: (n, S) what each sample counts.
        value: maps sums (..., S) to numbers (...).
        alpha: on each side.
        seed: of the draws.
    """
    n = len(counts)
    if n < 2:
        return 0.0, 1.0
    random = np.random.default_rng(seed)
    weights = random.multinomial(n, np.full(n, 1 / n), size=_DRAWS)
    values = value(weights @ counts)
    side = float(norm.cdf(np.sqrt(n / (n - 1)) * t.ppf(alpha, n - 1)))
    low, high = np.quantile(values, [side, 1 - side])
    return float(low), float(high)
