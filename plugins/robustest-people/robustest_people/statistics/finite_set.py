"""How many of a finite set are wrong, from a uniform sample of it that was looked at.

The number of wrong ones in a sample without replacement is hypergeometric, so that its test can be turned round
exactly: a number in the whole set is ruled out where as few (or as many) in the sample would come with a chance of
alpha at most (Buonaccorsi, The American Statistician 1987).
"""

from __future__ import annotations

from collections.abc import Callable

from scipy.stats import hypergeom


def count_bounds(wrong: int, looked: int, total: int, alpha: float) -> tuple[int, int]:
    """The fewest and the most that may be wrong in the set, each with a chance of error of alpha at most.

    Args:
        wrong: how many of the sample are.
        looked: the size of the sample, 1..total.
        total: the size of the set.
        alpha: error allowed on each side.
    """
    fewest, largest = wrong, total - looked + wrong  # what was seen is certain
    low = _first(lambda count: hypergeom.sf(wrong - 1, total, count, looked) > alpha, fewest, largest)
    high = _first(lambda count: hypergeom.cdf(wrong, total, count, looked) <= alpha, fewest, largest + 1) - 1
    return low, high


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first number from low on for which something holds that holds for all later ones; high where for none."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
