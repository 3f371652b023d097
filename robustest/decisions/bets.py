"""Verdicts on a mean of paired changes as early as they are certain enough, drawn without replacement.

Each sample's change is -1 (gained), 0 or 1 (lost). Whoever claims that the changes of all N sum to D or more can
be bet against: before each draw, the mean of what is left is then known to be at least (D - sum so far) / (left),
and a stake on smaller changes keeps its value at best. If the capital ever reaches 1 / alpha, the claim is wrong but
for a chance of alpha (Waudby-Smith and Ramdas, JRSS B 2024, section 5: betting without replacement; Ville, 1939).
Several stakes are played side by side, and their mean counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
"""Shares of the largest stake that cannot lose more than there is."""


MANY = 1 << 40
"""A set so large that draws from it are as good as draws from a population."""


def capital(change: NDArray[Any], n: int, null: float, *, above: bool) -> NDArray[np.float64]:
    """(t,) log of the capital after each draw, betting against a sum of `null`, on larger sums or on smaller.

    Args:
        change: (t,) of values in -1..1.
        n: size of the set.
        null: the sum under the null hypothesis; sums on its other side are spoken against as well.
        above: whether the bet is that the sum is larger.
    """
    before = np.concatenate([[0], np.cumsum(change)[:-1]])
    left = n - np.arange(len(change))
    mean = (null - before) / left  # of what is left, if the null is true
    surprise = (change - mean) if above else (mean - change)
    most = 1 / (1 + np.abs(np.clip(mean, -1, 1)))
    logs = np.cumsum(np.log1p(np.maximum(np.outer(_STAKES, most * surprise), -1 + 1e-12)), axis=1)
    mixed = np.logaddexp.reduce(logs, axis=0) - np.log(len(_STAKES))
    impossible = np.maximum.accumulate(mean < -1 if above else mean > 1)
    return np.where(impossible, np.inf, mixed)


def bets_won(
    lower: NDArray[np.float64], higher: NDArray[np.float64], *, pass_alpha: float, fail_alpha: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(t,) where the bet on a smaller sum has won, and where the one on a larger sum has, but not both.

    Outcomes that turn round on the way can let both bets win, each with a small chance. Then no sum near the claimed
    one is left that neither rules out, and nothing is settled until it is certain.

    Args:
        lower, higher: (t,) logs of the capital of the two bets.
        pass_alpha, fail_alpha: chance allowed for a pass, and for a failure, that is wrong.
    """
    limit = -np.log(pass_alpha)
    once_lower, once_higher = np.maximum.accumulate(lower) >= limit, np.maximum.accumulate(higher) >= limit
    passes: NDArray[np.bool_] = (lower >= limit) & ~once_higher
    fails: NDArray[np.bool_] = (higher >= -np.log(fail_alpha)) & ~once_lower
    return passes, fails


def p_above_zero(change: NDArray[Any]) -> float:
    """One-sided p-value that draws from a population have a mean above 0 by chance.

    One over the most that bets on it ever made, which is as much as 1 / p with probability p at most (Ville, 1939),
    whatever the distribution on -1..1.

    Args:
        change: (n,) of values in -1..1, in an order that says nothing of them, n >= 1.
    """
    return float(np.exp(-max(0.0, float(capital(change, MANY, 0.0, above=True).max()))))


def betting_interval(change: NDArray[Any], n: int, alpha: float) -> tuple[float, float]:
    """Mean changes over the whole set that these bets do not rule out at any time, alpha on each side.

    Args:
        change: (t,) of values in -1..1, in the order drawn, t >= 1.
        n: size of the set.
        alpha: error allowed on each side.

    Returns:
        The ends, which are whole sums over n where the values are whole; else up to a sum further out. What the values
        not yet drawn cannot reach is left out.
    """
    whole = np.issubdtype(change.dtype, np.integer)
    total, left, limit = round(float(change.sum())), n - len(change) + (not whole), -np.log(alpha)

    def too_small(null: int) -> bool:
        return bool(capital(change, n, null, above=True).max() >= limit)

    def too_large(negated: int) -> bool:
        return bool(capital(change, n, -negated, above=False).max() >= limit)

    low, high = _edge(total - left, total + left, too_small), -_edge(-total - left, left - total, too_large)
    reached, rest = float(change.sum()), n - len(change)
    return overlap((low - (not whole), high + (not whole)), (reached - rest, reached + rest), over=n)


def overlap(bets: tuple[float, float], certain: tuple[float, float], *, over: float = 1) -> tuple[float, float]:
    """What bets leave of what is certain, over a number; where they contradict each other, what lies between them."""
    low, high = max(min(bets), certain[0]), min(max(bets), certain[1])
    low, high = (low, high) if low <= high else certain
    return low / over, high / over


def _edge(smallest: int, largest: int, ruled_out: Callable[[int], bool]) -> int:
    """The smallest sum that is not ruled out; a sum is ruled out where a larger one is."""
    while smallest < largest:
        middle = (smallest + largest) // 2
        if ruled_out(middle):
            smallest = middle + 1
        else:
            largest = middle
    return smallest
