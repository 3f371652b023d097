"""The exact interval of a fall between paired outcomes: its errors summed over all outcomes, and its power."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from robustest.decisions import clopper_pearson
from robustest.decisions.paired import paired_interval, pairs_needed

ALPHAS = [0.001, 0.01, 0.05, 0.25]


@lru_cache
def every_outcome(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lost, gained = np.array([(b, c) for b in range(n + 1) for c in range(n + 1 - b)]).T
    return lost, gained


def chances(n: int, p_lost: NDArray[np.float64], p_gained: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance of every outcome (columns) at each pair of shares (rows)."""
    b, c = every_outcome(n)
    logs = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    p, q = p_lost[:, None], p_gained[:, None]
    return np.exp(logs + xlogy(b, p) + xlogy(c, q) + xlogy(n - b - c, np.maximum(1 - p - q, 0)))


def bonferroni(lost: int, gained: int, n: int, alpha: float) -> tuple[float, float]:
    (b_low, b_high), (c_low, c_high) = (clopper_pearson(one, n, alpha / 2) for one in (lost, gained))
    return b_low - c_high, b_high - c_low


@pytest.mark.thinned
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 12, 25])
def test_no_population_lies_beyond_an_end_more_often_than_alpha(n: int, alpha: float) -> None:
    """Exact: at each fall that an end can take, and 150 shares of gains, the outcomes whose end lies below it."""
    lost, gained = every_outcome(n)
    high = np.array([paired_interval(b, c, n, alpha)[1] for b, c in zip(lost.tolist(), gained.tolist(), strict=True)])
    largest = 0.0
    ends = np.unique(np.round(high, 11))
    for fall in ends[:: max(1, len(ends) // 40)] + 1e-9:
        low, top = max(0.0, -fall), (1 - fall) / 2
        if top < low:
            continue
        nuisance = low + (top - low) * np.sin(np.linspace(0, np.pi / 2, 150)) ** 2
        missed = chances(n, nuisance + fall, nuisance)[:, high < fall].sum(1)
        largest = max(largest, float(missed.max(initial=0.0)))
    assert largest <= alpha * (1 + 1e-6)
    assert largest >= 0.9 * alpha  # and it spends what it may


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
@settings(max_examples=60, deadline=None)
def test_losses_and_gains_exchanged_turn_the_interval(counts: tuple[int, int, int]) -> None:
    n, lost, gained = counts[0], min(counts[1:]), max(counts[1:]) - min(counts[1:])
    low, high = paired_interval(lost, gained, n, 0.05)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert paired_interval(gained, lost, n, 0.05) == (-high, -low)


@pytest.mark.parametrize("n", [6, 13])
def test_more_losses_move_both_ends_up_and_more_gains_down(n: int) -> None:
    for alpha in (0.01, 0.1):
        for gained in range(n + 1):
            ends = [paired_interval(lost, gained, n, alpha) for lost in range(n + 1 - gained)]
            for before, after in pairwise(ends):
                assert before[0] <= after[0] + 1e-9
                assert before[1] <= after[1] + 1e-9


@pytest.mark.parametrize("n", [1, 20, 400, 5000])
def test_of_pairs_that_all_stay_it_is_the_bound_of_a_share(n: int) -> None:
    """Where nothing may be gained, no change among n has the chance (1 - fall)^n."""
    assert paired_interval(0, 0, n, 0.05)[1] == pytest.approx(1 - 0.05 ** (1 / n), rel=0.02)
    assert paired_interval(0, 0, n, 0.05)[1] >= 1 - 0.05 ** (1 / n)


def test_of_no_pairs_nothing_is_known_and_of_all_lost_the_upper_end_is_one() -> None:
    assert paired_interval(0, 0, 0, 0.05) == (-1.0, 1.0)
    assert paired_interval(9, 0, 9, 0.05)[1] == 1.0
    assert paired_interval(9, 0, 9, 0.05)[0] > 0.4


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("n", [5, 12, 25])
def test_it_lies_inside_of_two_exact_shares_at_half_of_alpha(n: int, alpha: float) -> None:
    for lost, gained in zip(*(one.tolist() for one in every_outcome(n)), strict=True):
        low, high = paired_interval(lost, gained, n, alpha)
        wide = bonferroni(lost, gained, n, alpha)
        assert wide[0] - 5e-4 <= low  # at n = 12 one end of 182 is longer by .0004
        assert high <= wide[1] + 5e-4


def test_it_is_narrower_by_a_third_where_many_change() -> None:
    low, high = paired_interval(40, 35, 2000, 0.05)
    wide = bonferroni(40, 35, 2000, 0.05)
    assert high - low < 0.65 * (wide[1] - wide[0])


def test_a_hundred_thousand_pairs_have_the_interval_of_a_normal_sum() -> None:
    n, lost, gained = 100_000, 2000, 1900
    spread = np.sqrt((lost + gained - (lost - gained) ** 2 / n) / n / n)
    low, high = paired_interval(lost, gained, n, 0.05)
    assert high == pytest.approx((lost - gained) / n + 1.645 * spread, abs=0.02 * spread)
    assert low == pytest.approx((lost - gained) / n - 1.645 * spread, abs=0.02 * spread)


@pytest.mark.parametrize(("lost", "gained", "n", "fall"), [(6, 5, 100, 0.05), (0, 0, 40, 0.02), (30, 10, 400, 0.02)])
def test_about_as_many_pairs_as_are_needed_decide(lost: int, gained: int, n: int, fall: float) -> None:
    needed = pairs_needed(lost, gained, n, fall, 0.05)
    assert needed is not None
    assert needed > n

    def decides(factor: float) -> bool:
        more = factor * needed / n
        low, high = paired_interval(round(lost * more), round(gained * more), round(n * more), 0.05)
        return high <= fall or low > fall

    assert decides(1.3)
    assert not decides(0.75)


def test_no_number_of_pairs_decides_a_fall_that_is_as_large_as_the_tolerance() -> None:
    assert pairs_needed(5, 0, 100, 0.05, 0.01) is None
    assert pairs_needed(0, 0, 100, 0.0, 0.01) is None
