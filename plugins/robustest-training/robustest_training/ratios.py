"""A ratio of two positive values, measured in each of a few runs that were drawn independently."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from robustest.packs import Decision, Verdict, judge_interval


def decide_ratio(ratios: NDArray[np.float64], threshold: float | None, *, alpha: float) -> Decision:
    """A verdict on the geometric mean of a ratio over all runs that could be drawn, from a few of them.

    Logarithms of the ratios are taken to be normal, and Student's t is what so few of them allow: the error is about
    alpha, and no claim about a population can rest on it.

    Args:
        ratios: (n,) positive and finite, n >= 2, one a run.
        threshold: the ratio claimed at most; None where nothing is claimed.
        alpha: error on each side.
    """
    logs = np.log(ratios)
    n, mean = len(logs), float(logs.mean())
    reach = float(student.ppf(1 - alpha, n - 1)) * float(logs.std(ddof=1)) / sqrt(n)
    interval = (exp(mean - reach), exp(mean + reach))
    if threshold is None:
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    else:
        verdict = judge_interval(interval, threshold, at_least=False)
        rule = f"runs to come, about alpha = {alpha:g} a side"
    return Decision(verdict=verdict, rule=rule, estimate=exp(mean), interval=interval, at_alpha=threshold is not None)
