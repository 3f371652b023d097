"""The difference of two independent shares: alpha is held, whatever the sizes and the true shares."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from robustest.decisions import clopper_pearson
from robustest.decisions.two_set_drop import exceeds, share_difference_interval


def missed(n_first: int, n_second: int, p: float, q: float, alpha: float) -> float:
    """The chance that the lower end lies above p - q, summed over all outcomes but 1e-9 of them.

    For each first count, halving finds the largest second count at which it does: a smaller one is further apart.
    """
    chance = 0.0
    for first in _probable(n_first, p):
        among = _probable(n_second, q)
        low, high = int(among[0]) - 1, int(among[-1])
        while low < high:
            middle = (low + high + 1) // 2
            if exceeds(int(first), n_first, middle, n_second, p - q, alpha=alpha):
                low = middle
            else:
                high = middle - 1
        chance += float(binom.pmf(first, n_first, p) * binom.cdf(low, n_second, q))
    return chance


def _probable(n: int, p: float) -> NDArray[np.int64]:
    return np.arange(int(binom.ppf(5e-10, n, p)), int(binom.isf(5e-10, n, p)) + 1)


UNEQUAL = [(20, 500, 0.99, 0.9), (500, 20, 0.1, 0.01), (500, 20, 0.9, 0.99), (10, 200, 0.98, 0.85), (8, 8, 0.9, 0.5)]


@pytest.mark.parametrize(("n_first", "n_second", "p", "q"), UNEQUAL)
def test_each_end_holds_alpha_where_sizes_are_unequal(n_first: int, n_second: int, p: float, q: float) -> None:
    """20 of .99 against 500 of .9: squared and added bounds miss 1.8 times as often as they promise."""
    assert missed(n_first, n_second, p, q, 0.01) <= 0.01
    assert missed(n_second, n_first, q, p, 0.01) <= 0.01


SIZES = [(5, 5), (5, 100), (20, 20), (20, 500), (60, 25), (60, 60), (300, 30), (200, 200)]
SHARES = list(product((0.02, 0.3, 0.5, 0.8, 0.95, 0.99), (0.01, 0.3, 0.7, 0.9, 0.98, 0.99)))


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize(("n_first", "n_second"), SIZES)
def test_each_end_holds_alpha_on_a_grid_of_sizes_and_shares(n_first: int, n_second: int, alpha: float) -> None:
    rates = np.array([missed(n_first, n_second, p, q, alpha) for p, q in SHARES])
    assert rates.max() <= alpha
    if min(n_first, n_second) >= 60:
        assert rates.max() > alpha / 2, "and it is not so careful that it would see nothing"


counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(deadline=None, max_examples=15)
@given(counts, counts, st.sampled_from([1e-12, 1e-6, 0.01, 0.05, 0.4]))
def test_the_interval_holds_the_difference_and_turns_with_it(
    first: tuple[int, int], second: tuple[int, int], alpha: float
) -> None:
    low, high = share_difference_interval(*first, *second, alpha)
    assert -1 <= low <= first[0] / first[1] - second[0] / second[1] <= high <= 1
    assert share_difference_interval(*second, *first, alpha) == (-high, -low)


@settings(deadline=None, max_examples=15)
@given(counts, counts, st.floats(-0.9, 0.9))
def test_what_is_further_apart_is_never_less_sure(
    first: tuple[int, int], second: tuple[int, int], difference: float
) -> None:
    """Else the sums above would be of other outcomes than those that are rejected."""
    if not exceeds(*first, *second, difference, alpha=0.05):
        return
    assert exceeds(*first, *second, difference - 0.05, alpha=0.05)
    assert first[0] == first[1] or exceeds(first[0] + 1, first[1], *second, difference, alpha=0.05)
    assert second[0] == 0 or exceeds(*first, second[0] - 1, second[1], difference, alpha=0.05)


@pytest.mark.parametrize(
    ("first", "second"), [((95, 100), (90, 100)), ((190, 200), (850, 1000)), ((9500, 10_000), (9400, 10_000))]
)
def test_it_is_shorter_than_two_exact_bounds_at_half_alpha_each(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    low, high = share_difference_interval(*first, *second, 0.01)
    (low_a, high_a), (low_b, high_b) = (clopper_pearson(*share, 0.005) for share in (first, second))
    assert high - low < 0.85 * ((high_a - low_b) - (low_a - high_b))


def test_one_sample_says_almost_nothing_and_is_no_error() -> None:
    low, high = share_difference_interval(1, 1, 0, 1, 0.01)
    assert -1 <= low < -0.5
    assert high == 1
