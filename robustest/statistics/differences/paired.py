"""Verdicts on pairs: the same samples, judged twice."""

from __future__ import annotations

from scipy.stats import binom

from robustest.results import Verdict
from robustest.statistics.fixed import Decision, beyond, clopper_pearson
from robustest.statistics.thresholds import most


def mcnemar(lost: int, gained: int) -> float:
    """Exact one-sided McNemar p-value that losses do not outnumber gains by more than chance.

    Args:
        lost: pairs right first and wrong then.
        gained: pairs wrong first and right then.
    """
    return float(binom.sf(lost - 1, lost + gained, 0.5))


def decide_drop(
    lost: int,
    gained: int,
    n: int,
    max_drop: float | None,
    *,
    scope: str,
    alpha: float,
    fail_alpha: float | None = None,
) -> Decision:
    """A verdict on a fall in accuracy over n pairs.

    The interval joins exact one-sided bounds on the shares lost and gained, at alpha / 2 each, so that it
    covers whatever the dependence between them.

    Args:
        lost: pairs right first and wrong then.
        gained: pairs wrong first and right then.
        n: number of pairs.
        max_drop: the fall claimed at most, in 0..1; None where nothing is claimed.
        scope: "set" or "population", as for `decide_share`.
        alpha: error allowed on each side.
        fail_alpha: error allowed for a population claim's failure, where it is one of several that may fail.
    """
    interval = drop_bounds(lost, gained, n, alpha)
    if max_drop is None:
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    elif scope == "set":
        verdict = Verdict.PASSED if lost - gained <= most(max_drop, n) else Verdict.FAILED
        rule = "certain: exact on this set"
    else:
        wider = interval if fail_alpha is None else drop_bounds(lost, gained, n, fail_alpha)
        verdict = beyond(interval, max_drop, at_least=False, wider=wider)
        rule = f"population, alpha = {alpha:g} a side"
    at_alpha = max_drop is not None and scope != "set"
    return Decision(verdict=verdict, rule=rule, estimate=(lost - gained) / n, interval=interval, at_alpha=at_alpha)


def drop_bounds(lost: int, gained: int, n: int, alpha: float) -> tuple[float, float]:
    """Exact bounds on the share lost minus the share gained, alpha on each side."""
    lost_low, lost_high = clopper_pearson(lost, n, alpha / 2)
    gained_low, gained_high = clopper_pearson(gained, n, alpha / 2)
    return lost_low - gained_high, lost_high - gained_low
