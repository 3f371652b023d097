"""How many of a finite set are wrong, from a uniform sample of it that was looked at.

The number of wrong ones in a sample without replacement is hypergeometric, so that its test can be turned round
exactly: a number in the whole set is ruled out where as few (or as many) in the sample would come with a chance of
alpha at most (Buonaccorsi, The American Statistician 1987).
"""

from __future__ import annotations

from collections.abc import Callable

from scipy.stats import hypergeom

from robustest.results import Verdict
from robustest.verdicts.fixed import Decision, clopper_pearson
from robustest.verdicts.thresholds import most


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


def decide_wrong(
    wrong: int, undecided: int, looked: int, total: int, at_most: float | None, *, scope: str, alpha: float
) -> Decision:
    """A verdict on the share of a set that is wrong.

    Args:
        wrong: how many of the sample are.
        undecided: how many of it may be: they count as wrong for a pass, and as right for a failure.
        looked, total: sizes of the sample and of the set.
        at_most: the share claimed at most, in 0..1; None where nothing is claimed.
        scope: "set" (this very set) or "population" (what the set was drawn from).
        alpha: error allowed on each side.
    """
    if scope == "set":
        low, high = (
            count_bounds(wrong, looked, total, alpha)[0],
            count_bounds(wrong + undecided, looked, total, alpha)[1],
        )
        interval = low / total, high / total
        rule = (
            f"uniform sample of the set, alpha = {alpha:g} a side" if looked < total else "certain: exact on this set"
        )
    else:
        interval = clopper_pearson(wrong, looked, alpha)[0], clopper_pearson(wrong + undecided, looked, alpha)[1]
        low, high = (round(end * total) for end in interval)
        rule = f"population, alpha = {alpha:g} a side"
    verdict, at_alpha = Verdict.INCONCLUSIVE, scope != "set" or looked < total
    if at_most is None:
        rule = "no threshold given"
    elif (high <= most(at_most, total)) if scope == "set" else interval[1] <= at_most:
        verdict = Verdict.PASSED
    elif (low > most(at_most, total)) if scope == "set" else interval[0] > at_most:
        verdict = Verdict.FAILED
    return Decision(
        verdict=verdict,
        rule=rule,
        estimate=wrong / looked,
        interval=interval,
        at_alpha=at_alpha and at_most is not None,
    )
