"""Multiplicity: levels for each of several claims, groups or tests that keep their joint error at alpha."""

# A green run needs no correction: the run is wrongly green only if one of its claims is (an intersection-union test;
# Berger, Technometrics 1982). A red run does: if 200 claims lie at their thresholds, most runs refute one of
# them wrongly. So early failures share alpha (Bonferroni): each has the level alpha / `family_size`. A claim too close
# to its threshold to fail at this level is evaluated further until its verdict is certain. Verdicts that more samples
# cannot make certain (on a population, against a baseline) are not corrected: their failures are wrong with probability
# alpha at most, as their passes are.

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import accumulate
from math import expm1, log1p


def failure_level(alpha: float, family_size: int) -> float:
    """Return the level of one claim's early failure that keeps the error of a family of claims at alpha.

    Args:
        alpha: error of the family, in (0, 0.5).
        family_size: claims in the family, >= 1.
    """
    # The size is a setting, not a count: the selection of tests, and claims that ran before in the same process, must
    # not change a verdict.
    return max(alpha / family_size, sys.float_info.min)  # never 0: its logarithm is infinite


def group_level(alpha: float, groups: int, *, disjoint: bool) -> float:
    """Return the one-sided level of each of several groups that keeps their joint error at alpha.

    Args:
        disjoint: True if no sample is in two groups.
    """
    # Disjoint groups are independent: Sidak's level (JASA 1967) is exact. Bonferroni's holds for any.
    return -expm1(log1p(-alpha) / groups) if disjoint else alpha / groups


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, for any dependence between them.

    Holm, Scandinavian Journal of Statistics 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    raw = (min(1.0, (len(p_values) - rank) * p_values[i]) for rank, i in enumerate(order))
    # A p-value is never corrected below a smaller one.
    return [p for _, p in sorted(zip(order, accumulate(raw, max), strict=True))]
