"""Multiplicity: levels for each of several groups or tests that keep their joint error at alpha."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import expm1, log1p


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
