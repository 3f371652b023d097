"""Bets: tests and intervals of a mean of values in -1..1, valid at any stopping point."""

# To refute "the values of all N sum to D or more" (drawn in random order, without replacement), start with a capital of
# 1 and bet before each draw. Under the null hypothesis the mean of the values left is at least m_t = (D - sum so far) /
# (values left). With a stake lambda the capital is multiplied by
#
#     1 + lambda (m_t - x_t) / (1 + |m_t|),    0 < lambda < 1,
#
# which is positive, and at most 1 in expectation. So the capital is a supermartingale, and reaches 1 / alpha with
# probability at most alpha (Ville, 1939; Waudby-Smith and Ramdas, JRSS B 2024, section 5). The mean over several stakes
# counts. An interval holds the sums that no bet has ruled out. A population is a set of 2^40 values.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.rule import Interval

# Stakes lambda. The best one depends on the unknown distance to the null, so that eight share the capital.
_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])

# Draws from a set of this size hardly change the mean of the rest: it stands for a population.
MANY = 1 << 40


def capital(values: NDArray[Any], n: int, null: float, *, above: bool) -> NDArray[np.float64]:
    """Return (t,) log capitals after each draw, of bets against a sum of `null` over all n values.

    Args:
        values: (t,) draws in -1..1, in the order drawn.
        n: size of the set.
        null: the sum under the null hypothesis; sums on its other side are refuted too.
        above: True to bet on a larger sum, False on a smaller one.
    """
    before = np.concatenate([[0], np.cumsum(values)[:-1]])
    left = n - np.arange(len(values))
    mean = (null - before) / left  # m_t
    surprise = (values - mean) if above else (mean - values)
    most = 1 / (1 + np.abs(np.clip(mean, -1, 1)))
    # An impossible null would make the argument of the logarithm negative; it is set to inf below.
    logs = np.cumsum(np.log1p(np.maximum(np.outer(_STAKES, most * surprise), -1 + 1e-12)), axis=1)
    mixed = np.logaddexp.reduce(logs, axis=0) - np.log(len(_STAKES))
    # Once the rest cannot reach the null any more, it is refuted for good.
    impossible = np.maximum.accumulate(mean < -1 if above else mean > 1)
    return np.where(impossible, np.inf, mixed)


def bets_won(
    lower: NDArray[np.float64], higher: NDArray[np.float64], *, pass_alpha: float, fail_alpha: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two (t,) masks: True where the bet on a smaller sum has won, and on a larger one.

    Args:
        lower, higher: (t,) log capitals.
        pass_alpha, fail_alpha: errors of a wrong pass and a wrong failure.
    """
    limit = -np.log(pass_alpha)
    # Outcomes whose trend reverses can let both bets win, each with a small probability. Both then rule out every sum
    # near the claimed one, and neither counts: the claim stays open until it is certain.
    once_lower, once_higher = np.maximum.accumulate(lower) >= limit, np.maximum.accumulate(higher) >= limit
    passes: NDArray[np.bool_] = (lower >= limit) & ~once_higher
    fails: NDArray[np.bool_] = (higher >= -np.log(fail_alpha)) & ~once_lower
    return passes, fails


def p_above_zero(values: NDArray[Any]) -> float:
    """Return a one-sided p-value of "the population's mean is at most 0", for any distribution on -1..1.

    Args:
        values: (n,) draws, n >= 1, in an order that does not depend on them.
    """
    # One over the largest capital of the bets is a p-value (Ville, 1939).
    return float(np.exp(-max(0.0, float(capital(values, MANY, 0.0, above=True).max()))))


def betting_interval(values: NDArray[Any], n: int, alpha: float) -> Interval:
    """Return bounds on the mean over the whole set that bets do not rule out, valid at any time, alpha on each side.

    Args:
        values: (t,) draws in -1..1, in the order drawn, t >= 1.
        n: size of the set.
    """
    # The search is over whole sums. Sums of real values lie between them, so that ends are widened by one unit.
    whole = np.issubdtype(values.dtype, np.integer)
    total, left, limit = round(float(values.sum())), n - len(values) + (not whole), -np.log(alpha)

    def too_small(null: int) -> bool:
        return bool(capital(values, n, null, above=True).max() >= limit)

    def too_large(negated: int) -> bool:
        return bool(capital(values, n, -negated, above=False).max() >= limit)

    low = _first_not(too_small, total - left, total + left)
    high = -_first_not(too_large, -total - left, left - total)
    reached, rest = float(values.sum()), n - len(values)
    # Sums that the values not yet drawn cannot reach are cut off.
    ends = overlap((low - (not whole), high + (not whole)), (reached - rest, reached + rest))
    return ends[0] / n, ends[1] / n


def overlap(bets: Interval, certain: Interval) -> Interval:
    """Return the part of the certain range that bets leave; if bets cross, the range between their ends."""
    low, high = max(min(bets), certain[0]), min(max(bets), certain[1])
    return (low, high) if low <= high else certain


def _first_not(ruled_out: Callable[[int], bool], smallest: int, largest: int) -> int:
    # Bisection: a sum is ruled out if a larger one is.
    while smallest < largest:
        middle = (smallest + largest) // 2
        if ruled_out(middle):
            smallest = middle + 1
        else:
            largest = middle
    return smallest
