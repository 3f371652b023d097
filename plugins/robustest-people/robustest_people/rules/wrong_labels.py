"""Verdicts on how many labels of a set are wrong."""

from __future__ import annotations

from robustest.packs import Decision, Verdict, clopper_pearson, count_at_most
from robustest_people.statistics.finite_set import count_bounds


def decide_wrong(
    wrong: int,
    undecided: int,
    looked: int,
    total: int,
    at_most: float | None,
    *,
    scope: str,
    alpha: float,
    chosen: str = "",
) -> Decision:
    """A verdict on the share of a set that is wrong.

    Args:
        wrong: how many of the sample are.
        undecided: how many of it may be: they count as wrong for a pass, and as right for a failure.
        looked, total: sizes of the sample and of the set.
        at_most: the share claimed at count_at_most, in 0..1; None where nothing is claimed.
        scope: "set" (this very set) or "population" (what the set was drawn from).
        alpha: error allowed on each side.
        chosen: why the sample cannot have been drawn uniformly; empty where nothing speaks against it. A chosen sample
            says nothing of the other labels: what was looked at is all that counts, and of a population nothing does.
    """
    if chosen:
        low, high = wrong, total - looked + wrong + undecided
        interval, rule = (low / total, high / total), "certain: whatever the labels are that nobody looked at"
        if scope != "set":
            low, high, interval = 0, total, (0.0, 1.0)
    elif scope == "set":
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
    verdict, at_alpha = Verdict.INCONCLUSIVE, not chosen and (scope != "set" or looked < total)
    if at_most is None:
        rule = "no threshold given"
    elif (high <= count_at_most(at_most, total)) if scope == "set" else interval[1] <= at_most:
        verdict = Verdict.PASSED
    elif (low > count_at_most(at_most, total)) if scope == "set" else interval[0] > at_most:
        verdict = Verdict.FAILED
    elif chosen:
        rule = f"no uniform sample, so that it says nothing of the other labels. {chosen}"
    return Decision(
        verdict=verdict,
        rule=rule,
        estimate=None if chosen else wrong / looked,
        interval=interval,
        at_alpha=at_alpha and at_most is not None,
    )
