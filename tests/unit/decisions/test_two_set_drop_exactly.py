"""The interval of a difference of shares beside a slow one that sums over all outcomes and a fine grid of shares."""

from __future__ import annotations

from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, binom

from robustest.decisions import two_set_drop as two_shares
from robustest.decisions.two_set_drop import exceeds, share_difference_interval

GRID = 1500


def bounds(k: int, n: int, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson's exact bounds, as in a textbook."""
    low = float(beta.ppf(alpha, k, n - k + 1)) if k else 0.0
    return low, float(beta.isf(alpha, k + 1, n - k)) if k < n else 1.0


@cache
def newcombe(n_first: int, n_second: int, alpha: float) -> NDArray[np.float64]:
    """Newcombe's lower end for every outcome, (n_first + 1, n_second + 1)."""
    scores = np.empty((n_first + 1, n_second + 1))
    for i, j in product(range(n_first + 1), range(n_second + 1)):
        down = i / n_first - bounds(i, n_first, alpha)[0]
        up = bounds(j, n_second, alpha)[1] - j / n_second
        scores[i, j] = i / n_first - j / n_second - np.hypot(down, up)
    return scores


def chance(first: tuple[int, int], second: tuple[int, int], difference: float, alpha: float) -> float:
    """The largest chance of an outcome as far apart or further, over second shares in their interval."""
    (i, n_first), (j, n_second) = first, second
    further = newcombe(n_first, n_second, alpha) >= newcombe(n_first, n_second, alpha)[i, j] - 1e-12
    low, high = bounds(j, n_second, two_shares._OUTSIDE * alpha / 2)
    q = np.linspace(low, high, GRID)
    q = q[(q + difference >= 0) & (q + difference <= 1)]
    if not len(q):
        return 0.0
    firsts = binom.pmf(np.arange(n_first + 1)[:, None], n_first, q + difference)
    seconds = binom.pmf(np.arange(n_second + 1)[:, None], n_second, q)
    return float(np.einsum("ik,ij,jk->k", firsts, further, seconds).max())


OUTCOMES = [
    (9, 10, 4, 12, 0.05),
    (10, 10, 0, 10, 0.01),
    (3, 8, 7, 8, 0.1),
    (5, 9, 5, 15, 0.05),
    (0, 6, 0, 9, 0.05),
    (7, 7, 7, 12, 0.2),
    (12, 15, 2, 5, 0.02),
    (1, 1, 0, 1, 0.05),
    (2, 6, 9, 9, 0.05),
    (6, 6, 30, 40, 0.05),
    (4, 6, 40, 40, 0.05),
]


# The others are enumerated in `test_two_set_drop_numbers.py`, at fewer differences.
FEW = [*OUTCOMES[:2], *(pytest.param(*one, marks=pytest.mark.slow) for one in OUTCOMES[2:])]


@pytest.mark.parametrize(("i", "n_first", "j", "n_second", "alpha"), FEW)
def test_a_difference_is_exceeded_where_the_exact_chance_is_below_alpha(
    i: int, n_first: int, j: int, n_second: int, alpha: float
) -> None:
    """Never where the true chance, with what is spent on the second share's interval, is above; soon where below."""
    if n_first > n_second:  # the smaller set's share is the first: of what does not count the difference is the same
        i, n_first, j, n_second = n_second - j, n_second, n_first - i, n_first
    spent = two_shares._OUTSIDE + two_shares._TAIL
    decided = {True: 0, False: 0}
    end = share_difference_interval(i, n_first, j, n_second, alpha)[0]
    for difference in (*np.linspace(-0.98, 0.98, 29), *(end + np.linspace(-0.02, 0.02, 21))):
        found = exceeds(i, n_first, j, n_second, float(difference), alpha=alpha)
        exact = chance((i, n_first), (j, n_second), float(difference), alpha)
        decided[found] += 1
        low, high = bounds(j, n_second, two_shares._OUTSIDE * alpha / 2)
        if found:
            assert exact <= (1 - spent) * alpha
        elif low + difference >= 0 and high + difference <= 1:  # else it is careful where there is no first share
            assert exact > 0.95 * (1 - spent) * alpha
    assert decided[False] > 0


@pytest.mark.parametrize(("i", "n_first", "j", "n_second", "alpha"), OUTCOMES)
def test_the_ends_are_where_exceeding_ends(i: int, n_first: int, j: int, n_second: int, alpha: float) -> None:
    low, high = share_difference_interval(i, n_first, j, n_second, alpha)
    observed = i / n_first - j / n_second
    if low > -1:
        assert exceeds(i, n_first, j, n_second, low, alpha=alpha)
        assert not exceeds(i, n_first, j, n_second, low + 2e-3 * (observed - low), alpha=alpha)
    if high < 1:
        assert exceeds(j, n_second, i, n_first, -high, alpha=alpha)
        assert not exceeds(j, n_second, i, n_first, -(high - 2e-3 * (high - observed)), alpha=alpha)
    assert low <= observed <= high


def test_larger_samples_say_more_and_smaller_errors_less() -> None:
    widths = [np.ptp(share_difference_interval(9 * n, 10 * n, 6 * n, 10 * n, 0.05)) for n in (1, 3, 10, 30)]
    assert all(wide > 1.3 * narrow for wide, narrow in pairwise(widths))
    sure = [np.ptp(share_difference_interval(27, 30, 18, 30, alpha)) for alpha in (0.2, 0.05, 0.01, 1e-6)]
    assert all(wide > 1.1 * narrow for narrow, wide in pairwise(sure))


def test_it_does_not_matter_which_outcomes_count() -> None:
    """What does not count is a share, too, and differs by as much."""
    for i, n_first, j, n_second, alpha in OUTCOMES:
        low, high = share_difference_interval(i, n_first, j, n_second, alpha)
        turned = share_difference_interval(n_second - j, n_second, n_first - i, n_first, alpha)
        assert turned == pytest.approx((low, high), abs=2e-3)


@pytest.mark.parametrize(("n_first", "n_second", "alpha"), [(1, 1, 0.05), (6, 9, 0.05), (8, 8, 0.2), (15, 5, 0.01)])
def test_outcomes_are_ordered_by_the_ends_of_the_textbook(n_first: int, n_second: int, alpha: float) -> None:
    """At no and at all of a set's samples too, where a bound is the end of what shares can be."""
    first, second = np.indices((n_first + 1, n_second + 1)).reshape(2, -1)
    found = two_shares._Bounds.of(first, n_first, alpha).minus(two_shares._Bounds.of(second, n_second, alpha))
    assert found == pytest.approx(newcombe(n_first, n_second, alpha).ravel(), abs=1e-9)
