"""Reliability: the chance that at least j of k independent runs of an item succeed, and the lowest rate of an item."""

# An item i succeeds in a run with the chance p_i. Of n_i >= k recorded runs c_i succeeded. Among k of them, drawn
# without replacement, the chance of at least j successes is
#
#     h(c, n; j, k) = sum over s >= j of C(c, s) C(n - c, k - s) / C(n, k),
#
# and its mean over the runs is P(Binomial(k, p_i) >= j): no other function of c is unbiased. With j = k it is
# C(c, k) / C(n, k), the estimator of pass^k (Yao et al., 2024); with j = 1 it is 1 - C(n - c, k) / C(n, k), that of
# pass@k (Chen et al., 2021). (c / n)^k would be too high.
#
# Over items the h are independent values in 0..1, whose mean is the reliability; so the bounds of shares (n = k, each h
# is 0 or 1) and of means hold, by item or by cluster. Runs of an item are never further draws.
#
# The lowest rate min p_i of m given items is at least f exactly if every p_i is. So
#
# - "at least f" passes if each item's own lower bound at alpha is at least f (an intersection-union test; Berger,
#   Technometrics 1982): no correction for m;
# - it fails if an item's upper bound at alpha / m is below f (Bonferroni).

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.bets import fall_interval
from robustest.decisions.rule import Decision, Interval, Terms, generator, judge_interval
from robustest.decisions.share import clopper_pearson
from robustest.decisions.thresholds import count_at_least
from robustest.results import Verdict

# Rounding of a mean of scores.
_ROUNDED = 1e-9


@lru_cache(maxsize=1 << 14)  # items repeat their counts
def chance_of_draws(successes: int, runs: int, k: int, needed: int) -> float:
    """Return the chance that at least `needed` of k runs succeed, drawn without replacement from the runs of an item.

    Args:
        successes: runs that succeeded, 0..runs.
        runs: recorded runs, at least k.
        k: runs drawn, at least 1.
        needed: 1..k.
    """
    ways = sum(
        math.comb(successes, at) * math.comb(runs - successes, k - at) for at in range(needed, min(k, successes) + 1)
    )
    return ways / math.comb(runs, k)


def chances_of_draws(successes: NDArray[np.int64], runs: NDArray[np.int64], k: int, needed: int) -> NDArray[np.float64]:
    """Return `chance_of_draws` of each item, (m,)."""
    both = zip(successes.tolist(), runs.tolist(), strict=True)
    return np.array([chance_of_draws(c, n, k, needed) for c, n in both], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class ItemRate:
    """The rate of one item over its runs.

    Attributes:
        mean: of its runs, in 0..1.
        runs: their number.
        low, high: bounds of the chance behind it, each at the alpha that it decides with.
        below: True if its runs break the threshold.
    """

    mean: float
    runs: int
    low: float
    high: float
    below: bool


def item_rates(
    scores: Sequence[NDArray[np.float64]], threshold: float | None, terms: Terms, seed: int
) -> list[ItemRate]:
    """Return the rate of each item, with bounds of its chance.

    Args:
        scores: of the runs of each item, in 0..1, one or more.
        threshold: the rate claimed of every item, or None.
        terms: the pass's alpha is each item's; a failure's is divided by the number of items.
        seed: of the order of the bets on scores that are neither 0 nor 1.
    """
    found, shared = [], terms.alpha / len(scores)
    single = all(bool(np.isin(one, (0.0, 1.0)).all()) for one in scores)
    for one in scores:
        n, total = len(one), math.fsum(one.tolist())
        if single:
            low, high = clopper_pearson(round(total), n, terms.alpha)[0], clopper_pearson(round(total), n, shared)[1]
        else:
            low, high = _bets(one, terms.alpha, threshold, seed)[0], _bets(one, shared, threshold, seed)[1]
        below = False
        if threshold is not None:
            fewest = count_at_least(threshold, n) if single else threshold * n - _ROUNDED * n
            below = total < fewest
        found.append(ItemRate(min(total / n, 1.0), n, low, high, below))
    return found


def decide_worst_item(rates: Sequence[ItemRate], threshold: float | None, terms: Terms) -> Decision:
    """Return the decision on the lowest rate of these items."""
    estimate = min(one.mean for one in rates)
    interval = min(one.low for one in rates), min(one.high for one in rates)
    if threshold is None:
        return Decision(verdict=Verdict.INCONCLUSIVE, rule="no threshold given", estimate=estimate, interval=interval)
    if terms.scope == "set":
        verdict = Verdict.FAILED if any(one.below for one in rates) else Verdict.PASSED
        rule = "certain: the runs of each item, as they are"
        return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval)
    verdict = judge_interval(interval, threshold, at_least=True)
    rule = f"chance of each of these {len(rates)} items, alpha = {terms.alpha:g} for all of them"
    if verdict is Verdict.INCONCLUSIVE:
        short = sum(one.low < threshold for one in rates)
        needed, most = runs_needed(threshold, terms.alpha), max(one.runs for one in rates)
        rule = f"not shown for {short} of {len(rates)} items; {rule}"
        if needed is None:
            rule = f"{rule}: no number of runs shows a chance of 1"
        elif most < needed:
            rule = f"{rule}: {needed} runs of an item that all succeed would show it"
        rule = f'{rule}; of these runs alone: scope="set"'
        return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, reasons=("few_runs",))
    return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=True)


def runs_needed(threshold: float, alpha: float) -> int | None:
    """Return the fewest runs that, if all succeed, show an item's chance to be at least a threshold; None if none do.

    Args:
        threshold: in (0, 1].
    """
    # The lower bound of n successes of n is alpha^(1 / n).
    return None if threshold >= 1 else max(1, math.ceil(math.log(alpha) / math.log(threshold) - _ROUNDED))


def _bets(scores: NDArray[np.float64], alpha: float, threshold: float | None, seed: int) -> Interval:
    """Return bounds of the mean of one item's scores, alpha on each side."""
    values = 1 - 2 * scores[generator(seed).permutation(len(scores))]
    low, high = ((1 - end) / 2 for end in fall_interval(values, alpha, 1 - 2 * (threshold or 0.5))[::-1])
    return low, high
