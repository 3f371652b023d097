"""Multiplicity: the error that each of several claims, groups or tests may take, so that all together take alpha.

A green run needs no correction: every claim must pass at alpha, and the run is wrongly green only if one of them is
(an intersection-union test; Berger, Technometrics 1982). A red run does: of 200 claims at their thresholds one is
wrongly refuted in most runs. So early failures share their error (Bonferroni): each has alpha / `family_size`. The size
is a setting, fixed before anything runs. It is never counted: the tests selected, the claims that ran before in the
same process and the number of claims in a test must not move a verdict. A claim too close to fail at this level is
evaluated further until its verdict is certain. Verdicts without that second chance (on a population, against a
baseline) are not corrected: there a failure may err with alpha, as a pass may.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import expm1, log1p


def failure_level(alpha: float, family_size: int) -> float:
    """Return the error of one claim's early failure, so that a family of claims takes alpha together.

    Args:
        alpha: error of all of them, in (0, 0.5).
        family_size: number of claims that share it, >= 1.
    """
    return max(alpha / family_size, sys.float_info.min)  # never 0: its logarithm is infinite


def group_level(alpha: float, groups: int, *, disjoint: bool) -> float:
    """Return the error of each of several groups on one side, so that all together take alpha.

    Args:
        alpha: error of all groups on that side, in (0, 1).
        groups: their number, >= 1.
        disjoint: True if no sample is in two groups: they are then independent, and Sidak's level (JASA 1967) is
            exact; Bonferroni's holds for groups that share samples too.
    """
    return -expm1(log1p(-alpha) / groups) if disjoint else alpha / groups


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for all of them (Holm, Scandinavian Journal of Statistics 1979), in their order.

    Args:
        p_values: of tests that may depend on each other in any way, in 0..1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
