"""Bets: tests and intervals of a mean of values in -1..1, valid at any stopping point, or once all are drawn."""

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

from robustest.decisions.distributions import ndtri, ndtri_exp
from robustest.decisions.rule import Interval

# Stakes lambda. The best one depends on the unknown distance to the null, so that eight share the capital.
_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])

_LOG_ROOT_2_PI = float(np.log(2 * np.pi)) / 2

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


# Where all n draws of a population are read before the verdict, a bet may depend on how many are left and on how much
# is missing. With a capital of w, the share a w of the target 1 / a is a chance: z = Phi^-1(a w). To reach the target
# by the last draw with that chance, an investor in a random walk of standard deviation s stakes at the draw i
#
#     lambda_i = phi(z) / (Phi(z) s sqrt(n - i)),    at most 1 / (1 - m),
#
# on values below m: the capital is multiplied by 1 + lambda_i (m - x_i), which is positive, and at most 1 in
# expectation if the mean is at least m. So the error is at most a for any distribution in -1..1 (Ville, 1939), while
# the power is close to that of a z test (target-recalculating bets: Voracek and Orabona, 2025). The spread s is that
# of the values before, around m, and of one value at a distance of .5. Equal values x reach the target as soon as
# (1 - (m - x) / (1 - x))^n <= a, before which no valid test can refute a few losses of everything.
_SPREAD = 0.25
# Draws are read in at most so many blocks of one stake.
_BLOCKS = 500
# Means that are tried at once, and rounds: each narrows the interval's end to one of their gaps.
_TRIED, _ROUNDS = 24, 5


def fall_interval(values: NDArray[Any], alpha: float, beside: float) -> Interval:
    """Return bounds on a population's mean, alpha on each side, once all draws are read.

    Args:
        values: (n,) draws in -1..1, n >= 1, in an order that does not depend on them.
        alpha: the largest probability that the mean lies beyond one given end, in (0, .5).
        beside: a mean, inside of -1..1, that the interval excludes exactly if its own bet has won.
    """
    values = np.asarray(values, dtype=np.float64)
    return -_largest(-values, alpha, -beside), _largest(values, alpha, beside)


def values_needed(values: NDArray[Any], null: float, alpha: float) -> int | None:
    """Return about how many draws like these would refute a mean of `null`; None if no number of them would.

    Args:
        values, alpha: as for `fall_interval`.
    """
    apart = null - float(np.mean(values))
    if abs(apart) < 1e-12:
        return None
    most = 1 - null if apart > 0 else 1 + null
    certain = -np.log(alpha) / np.log1p(abs(apart) / max(most, 1e-9))
    spread = (ndtri(alpha) * float(np.std(values)) / apart) ** 2
    return max(len(values) + 1, int(np.ceil(min(certain + spread, 1e15))))


def _largest(values: NDArray[np.float64], alpha: float, beside: float) -> float:
    """Return the largest mean that bets on smaller values do not refute."""
    mean, top = float(values.mean()), 1 - 1e-9
    if mean >= top:
        return 1.0
    # Half a standard error to all there is, in growing steps; then between the last mean that stays and the next.
    step = max(float(values.std()) / np.sqrt(len(values)), 1e-6) / 2
    tried = np.minimum(mean + np.append(0.0, np.geomspace(min(step, (top - mean) / 2), top - mean, _TRIED - 1)), top)
    high = 1.0
    for _ in range(_ROUNDS):
        open_ = np.flatnonzero(~refuted(values, tried, alpha))
        last = int(open_[-1]) if len(open_) else 0
        high = float(tried[last + 1]) if last + 1 < len(tried) else high
        tried = np.linspace(tried[last], high, _TRIED + 2)[:-1]
    if not mean < beside < top:
        return high
    won = bool(refuted(values, np.array([beside]), alpha)[0])
    return min(high, beside) if won else max(high, float(np.nextafter(beside, 1.0)))


def refuted(values: NDArray[np.float64], null: NDArray[np.float64], alpha: float) -> NDArray[np.bool_]:
    """Return (k,) bool: True where bets on smaller values refute that the mean is `null` (k,) or more.

    Args:
        values: (n,) draws in -1..1, or (n, k), with a column for each null.
    """
    values = values if values.ndim > 1 else values[:, None]
    n, target = len(values), -np.log(alpha)
    most = 1 / (1 - null)
    log, reached = np.zeros(len(null)), np.zeros(len(null), dtype=bool)
    # Sums of squares around each null, of the values before each draw.
    empty = np.zeros((1, values.shape[1]))
    first, second = (np.concatenate([empty, np.cumsum(one, axis=0)]) for one in (values, values**2))
    starts = np.arange(0, n, max(1, -(-n // _BLOCKS)))
    for start, end in zip(starts, np.append(starts[1:], n), strict=True):
        spread = np.sqrt((_SPREAD + second[start] - 2 * null * first[start] + start * null**2) / (1 + start))
        chance = np.minimum(log - target, -1e-12)
        z = ndtri_exp(np.maximum(chance, -700.0))
        hazard = np.exp(-z * z / 2 - _LOG_ROOT_2_PI - np.maximum(chance, -700.0))
        stake = np.minimum(most, hazard / (spread * np.sqrt(n - start)))
        returns = stake * (null - values[start:end])
        path = log + np.cumsum(np.log1p(np.maximum(returns, -1 + 1e-12)), axis=0)
        reached |= path.max(axis=0) >= target
        log = path[-1]
        if reached.all():
            break
    return reached
