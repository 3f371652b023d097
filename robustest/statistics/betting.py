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

from robustest.results import Verdict
from robustest.statistics.sequential import Settled

_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
"""Shares of the largest stake that cannot lose more than there is."""


def settle_drop(
    change: NDArray[np.int64], n: int, most: int, *, pass_alpha: float, fail_alpha: float
) -> Settled | None:
    """The first point at which changes in seeded random order settle "they sum to `most` or less over all n".

    Args:
        change: (t,) of -1, 0 and 1, in the order drawn, t <= n.
        n: size of the set.
        most: largest sum claimed, -n..n.
        pass_alpha, fail_alpha: chance allowed for a pass, and for a failure, that is wrong.

    Returns:
        None where t changes do not settle it.
    """
    if most >= n:
        return Settled(Verdict.PASSED, 0, certain=True, alpha=pass_alpha)
    total, left = np.cumsum(change), n - np.arange(1, len(change) + 1)
    sure_pass, sure_fail = total + left <= most, total - left > most
    against = capital(change, n, most, above=True)
    passes = sure_pass | (outbid(capital(change, n, most + 1, above=False), against, pass_alpha))
    fails = sure_fail | (against >= -np.log(fail_alpha))
    either = passes | fails
    if not either.any():
        return None
    at = int(either.argmax())
    if passes[at]:
        return Settled(Verdict.PASSED, at + 1, certain=bool(sure_pass[at]), alpha=pass_alpha)
    return Settled(Verdict.FAILED, at + 1, certain=bool(sure_fail[at]), alpha=fail_alpha)


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


def outbid(bet: NDArray[np.float64], against: NDArray[np.float64], alpha: float) -> NDArray[np.bool_]:
    """(t,) where a bet for a claim has won, and the contrary bet had not won before.

    Outcomes that turn round on the way can let both bets win. Then the interval, which is what neither rules out, is
    empty, and the claim is left open until more is seen.

    Args:
        bet, against: (t,) logs of the capital of the two bets.
        alpha: the chance allowed to either.
    """
    limit = -np.log(alpha)
    won: NDArray[np.bool_] = (bet >= limit) & (np.maximum.accumulate(against) < limit)
    return won


def drop_interval(change: NDArray[Any], n: int, alpha: float) -> tuple[float, float]:
    """Mean changes over the whole set that these bets do not rule out at any time, alpha on each side.

    Args:
        change: (t,) of values in -1..1, in the order drawn, t >= 1.
        n: size of the set.
        alpha: error allowed on each side.

    Returns:
        The ends, which are whole sums over n where the values are whole; else a sum further out.
    """
    whole = np.issubdtype(change.dtype, np.integer)
    total, left, limit = round(float(change.sum())), n - len(change) + (not whole), -np.log(alpha)

    def too_small(null: int) -> bool:
        return bool(capital(change, n, null, above=True).max() >= limit)

    def too_large(negated: int) -> bool:
        return bool(capital(change, n, -negated, above=False).max() >= limit)

    low, high = _edge(total - left, total + left, too_small), -_edge(-total - left, left - total, too_large)
    return (low - (not whole)) / n, (high + (not whole)) / n


def _edge(smallest: int, largest: int, ruled_out: Callable[[int], bool]) -> int:
    """The smallest sum that is not ruled out; a sum is ruled out where a larger one is."""
    while smallest < largest:
        middle = (smallest + largest) // 2
        if ruled_out(middle):
            smallest = middle + 1
        else:
            largest = middle
    return smallest
