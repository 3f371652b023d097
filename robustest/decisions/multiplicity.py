"""Many claims in one run: how much error each may take, so that true claims seldom block a merge by chance.

A green run needs no correction: every claim must pass at alpha, and the run is wrongly green only if one of them is
(an intersection-union test, Berger, Technometrics 1982). A red run does: with 200 claims at their thresholds, one is
wrongly refuted in most runs. So what early failures may spend is shared out among a family of claims (Bonferroni): each
has alpha / `family_size`. The size is a setting, fixed before anything runs. It is never counted: which tests were
selected, what ran before in the same process and how many claims a test makes must not move a verdict. What is too
close to fail at such a level is not let off: it is looked at until it is certain. Verdicts without that second chance
(on a population, against a baseline) are not shared out: there a failure may err with alpha, as a pass may.

Verdicts on the worst of several groups, which is picked after looking.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import expm1, log1p


def failure_level(alpha: float, family_size: int) -> float:
    """The error that one claim's early failure may take, so that a family of claims takes alpha together.

    Args:
        alpha: error of all of them, in (0, 0.5).
        family_size: how many claims share it, >= 1.
    """
    return max(alpha / family_size, sys.float_info.min)  # never 0, whose logarithm there is not


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for all of them (Holm, Scandinavian Journal of Statistics 1979), in their order.

    Args:
        p_values: of tests that may depend on each other in any way, in 0..1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def group_level(alpha: float, groups: int, *, disjoint: bool) -> float:
    """The error that each of several groups may take on one side, so that all together take alpha.

    Args:
        alpha: error of all groups on that side, in (0, 1).
        groups: how many, >= 1.
        disjoint: whether no sample is in two groups: they are then independent, and Sidak's level (JASA 1967) is
            exact; Bonferroni's holds whatever they share.
    """
    return -expm1(log1p(-alpha) / groups) if disjoint else alpha / groups
