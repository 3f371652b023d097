"""Ends of intervals of differences to the digit, and by enumeration of all outcomes."""

from __future__ import annotations

from functools import cache
from itertools import product
from math import comb, hypot

import numpy as np
import pytest
from scipy.optimize import brentq

from robustest.decisions.two_set_drop import (
    capital_above,
    cluster_mean_interval,
    exceeds,
    fewest_clusters,
    share_difference_interval,
)

COUNTS = [
    (0, 1, 0, 1, 0.05),
    (1, 1, 0, 1, 0.05),
    (0, 5, 5, 5, 0.05),
    (5, 5, 0, 5, 0.01),
    (8, 9, 2, 7, 0.05),
    (2, 7, 8, 9, 0.05),
    (3, 4, 6, 12, 0.1),
    (12, 12, 3, 4, 0.02),
    (0, 6, 11, 14, 0.025),
    (28, 30, 11, 25, 0.01),
]


@cache
def exact_bounds(k: int, n: int, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson, by roots of sums of binomial chances."""

    def at_least(p: float) -> float:
        return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

    def at_most(p: float) -> float:
        return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))

    low = brentq(lambda p: at_least(p) - alpha, 0, 1, xtol=1e-14) if k else 0.0
    high = brentq(lambda p: at_most(p) - alpha, 0, 1, xtol=1e-14) if k < n else 1.0
    return low, high


def newcombe(k: int, n: int, j: int, m: int, alpha: float) -> float:
    down, up = exact_bounds(k, n, alpha)[0], exact_bounds(j, m, alpha)[1]
    return k / n - j / m - hypot(k / n - down, up - j / m)


def slowly_exceeds(counts: tuple[int, ...], difference: float, alpha: float, slack: float) -> bool:
    """Steps 1 to 3 of the module's text, over all outcomes and 128 cells."""
    k, n, j, m = counts
    if n > m:
        k, n, j, m = m - j, m, n - k, n
    observed = newcombe(k, n, j, m, alpha) - 1e-12
    beyond = [(a, b) for a, b in product(range(n + 1), range(m + 1)) if newcombe(a, n, b, m, alpha) >= observed]
    low, high = exact_bounds(j, m, 0.02 * alpha / 2)
    for cell in range(128):
        start, end = low + (high - low) * cell / 128, low + (high - low) * (cell + 1) / 128
        if end + difference < 0:
            continue
        p, q = min(1.0, end + difference), start
        chance = sum(comb(n, a) * p**a * (1 - p) ** (n - a) * comb(m, b) * q**b * (1 - q) ** (m - b) for a, b in beyond)
        if chance > (1 - 0.02 - 0.001) * alpha + slack:
            return False
    return True


@pytest.mark.parametrize(("first", "n_first", "second", "n_second", "alpha"), COUNTS)
def test_an_end_is_the_last_difference_that_an_enumeration_refutes(
    first: int, n_first: int, second: int, n_second: int, alpha: float
) -> None:
    counts = (first, n_first, second, n_second)
    low, high = share_difference_interval(*counts, alpha)
    for counted, end in ((counts, low), ((second, n_second, first, n_first), -high)):
        observed = counted[0] / counted[1] - counted[2] / counted[3]
        if end == -1:  # no difference above it need be refuted
            continue
        assert slowly_exceeds(counted, end, alpha, 0.002 * alpha)
        # The end lies at most a thousandth of its distance too far out.
        assert not slowly_exceeds(counted, end + 0.0011 * (observed - end), alpha, -0.002 * alpha)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("difference", [-0.9, -0.5, -0.2, 0.0, 0.1, 0.3, 0.6])
def test_exceeding_is_what_an_enumeration_says(counts: tuple[int, int, int, int, float], difference: float) -> None:
    *shares, alpha = counts
    sure, possible = (slowly_exceeds(tuple(shares), difference, alpha, s * alpha) for s in (-0.002, 0.002))
    assert sure <= exceeds(*shares, difference, alpha=alpha) <= possible


PINNED = {
    (0, 1, 0, 1, 0.05): (-1, 1),
    (1, 1, 0, 1, 0.05): (-0.565693070631, 1),
    (0, 5, 5, 5, 0.05): (-1, -0.472938337896),
    (5, 5, 0, 5, 0.01): (0.252535607181, 1),
    (8, 9, 2, 7, 0.05): (0.141476495518, 0.867515525783),
    (2, 7, 8, 9, 0.05): (-0.867515525783, -0.141476495518),
    (3, 4, 6, 12, 0.1): (-0.181038011354, 0.546738281003),
    (12, 12, 3, 4, 0.02): (-0.128157419618, 0.864281459623),
    (0, 6, 11, 14, 0.025): (-0.969845460245, -0.327801153289),
    (28, 30, 11, 25, 0.01): (0.21302704691, 0.735523979579),
    (90, 100, 45, 60, 0.001): (-0.0441246371087, 0.364311856956),
    (500, 1000, 100, 250, 0.05): (0.0408382279068, 0.157729696405),
}


@pytest.mark.parametrize("counts", PINNED)
def test_ends_are_these_numbers(counts: tuple[int, int, int, int, float]) -> None:
    assert share_difference_interval(*counts) == pytest.approx(PINNED[counts], abs=1e-10)


# Clusters


def slow_capital(values: list[float], mean: float) -> float:
    """The module's text: a product over clusters for each stake, and their weighted mean."""
    stakes = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0]
    weights = [2 / 24] * 8 + [1 / 3]
    total = 0.0
    for stake, weight in zip(stakes, weights, strict=True):
        capital = weight
        for x in values:
            capital *= 1 + stake * (x - mean) / mean
        total += capital
    return total


CLUSTERS = [[1.0] * 9, [1.0] * 9 + [0.0], [0.5, 0.75, 1.0, 1.0, 0.9] * 3, [0.0] * 4, [0.25], [0.9] * 40]


@pytest.mark.parametrize("values", CLUSTERS)
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_mean_of_clusters_is_bounded_where_the_slow_bets_end(values: list[float], alpha: float) -> None:
    low, high = cluster_mean_interval(np.array(values), alpha)
    refuted = [i for i in range(1, 1025) if slow_capital(values, i / 1024) >= 1 / alpha]
    lowest = max(refuted, default=0)
    refuted = [i for i in range(1, 1025) if slow_capital([1 - x for x in values], i / 1024) >= 1 / alpha]
    assert (low, high) == (lowest / 1024, 1 - max(refuted, default=0) / 1024)


def test_capital_is_without_bound_against_nothing_at_all() -> None:
    assert capital_above(np.array([0.0, 0.1]))[0] == np.inf
    assert capital_above(np.array([0.0, 0.0]))[0] == 0
    assert len(capital_above(np.array([0.5]))) == 1025
    found = np.exp(capital_above(np.array([0.5, 0.5, 1.0, 0.0])))
    assert found[[1, 512, 1024]] == pytest.approx([slow_capital([0.5, 0.5, 1, 0], m) for m in (1 / 1024, 0.5, 1.0)])


@pytest.mark.parametrize(("first", "second"), [(CLUSTERS[0], CLUSTERS[3]), ([0.25], [1.0])])
def test_a_difference_of_clusters_is_bounded_where_two_slow_bets_end(first: list[float], second: list[float]) -> None:
    alpha, cells = 0.05, range(1024)

    def largest(a: list[float], b: list[float]) -> float:
        above = [(1 + slow_capital([1 - x for x in a], 1 - i / 1024)) / 2 for i in cells]
        below = [np.inf if max(b) > 0 else 1.0, *(slow_capital(b, (i + 1) / 1024) for i in cells)]
        for difference in range(1024, -1025, -1):
            for i in cells:
                other = i + 1 - difference
                theirs = np.inf if other < 0 else below[min(other, 1024)]
                if above[i] * theirs < 1 / alpha:
                    return (difference + 1) / 1024
        return -1.0

    found = cluster_mean_interval(np.array(first), alpha, minus=np.array(second))
    assert found == pytest.approx((-largest(second, first), min(1.0, largest(first, second))))


@pytest.mark.parametrize(("distance", "alpha"), [(0.1, 0.05), (0.02, 0.01), (0.5, 0.05)])
def test_the_fewest_clusters_are_the_first_whose_full_stake_is_enough(distance: float, alpha: float) -> None:
    # A third of the capital is at the full stake, and half of that is bet; each cluster multiplies it by 1 / mean.
    enough = [n for n in range(1, 1000) if (1 - distance) ** -n / 3 / 2 >= 1 / alpha]
    assert fewest_clusters(distance, alpha) == enough[0]
