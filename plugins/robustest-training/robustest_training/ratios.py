"""A ratio of two positive values, measured in a few independent runs."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from robustest.packs import Decision, Verdict, judge_interval


def decide_ratio(ratios: NDArray[np.float64], threshold: float | None, *, alpha: float) -> Decision:
    """Return the verdict on the geometric mean of a ratio over all possible runs, from (n,) ratios of runs, n >= 2."""
    # Logarithms of ratios are taken to be normal; a few runs allow no better than Student's t, so no claim about a
    # population rests on it.
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
