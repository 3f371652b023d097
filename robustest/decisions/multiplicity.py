"""Multiplicity: the error that each of several claims, groups or tests may take, so that all together take alpha."""

# A green run needs no correction: the run is wrongly green only if one of its claims is (an intersection-union test;
# Berger, Technometrics 1982). A red run does: of 200 claims at their thresholds one is wrongly refuted in most runs. So
# early failures share their error (Bonferroni): each has alpha / `family_size`. A claim too close to fail at this level
# is evaluated further until its verdict is certain. Verdicts without that second chance (on a population, against a
# baseline) are not corrected: there a failure may err with alpha, as a pass may.

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import expm1, log1p


def failure_level(alpha: float, family_size: int) -> float:
    """Return the error of one claim's early failure, so that a family of claims takes alpha together.

    Args:
        alpha: error of the family, in (0, 0.5).
        family_size: claims in the family, >= 1.
    """
    # The size is a setting, and is never counted: the tests selected, or the claims that ran before in the same
    # process, must not move a verdict.
    return max(alpha / family_size, sys.float_info.min)  # never 0: its logarithm is infinite


def group_level(alpha: float, groups: int, *, disjoint: bool) -> float:
    """Return the error of each of several groups on one side, so that all together take alpha.

    Args:
        disjoint: True if no sample is in two groups.
    """
    # Disjoint groups are independent: Sidak's level (JASA 1967) is exact. Bonferroni's holds for any.
    return -expm1(log1p(-alpha) / groups) if disjoint else alpha / groups


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values of any dependence, corrected for their number (Holm, Scandinavian Journal of Statistics
    1979).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        # A p-value is never corrected below a smaller one.
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
