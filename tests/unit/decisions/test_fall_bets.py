"""Bets on a mean fall once all draws are read: their errors, and their intervals beside exact ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from robustest.decisions.bets import MANY, betting_interval, fall_interval, values_needed
from robustest.decisions.paired import paired_interval

POPULATIONS = {
    "rare large gains": ((-1.0, 0.1), (0.1, 0.9)),
    "rare large losses": ((1.0, -0.1), (1 / 11, 10 / 11)),
    "even": ((-0.3, 0.3), (0.5, 0.5)),
    "all or nothing": ((-1.0, 1.0), (0.5, 0.5)),
    "most stay": ((-1.0, 0.0, 1.0), (0.05, 0.9, 0.05)),
}


def drawn(name: str, n: int, runs: int) -> NDArray[np.float64]:
    values, chances = POPULATIONS[name]
    return np.random.default_rng(5).choice(values, (runs, n), p=chances)


@pytest.mark.thinned
@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("n", [5, 30])
def test_a_mean_at_the_border_is_beyond_an_end_no_oftener_than_alpha(name: str, n: int) -> None:
    mean = float(np.dot(*POPULATIONS[name]))
    runs, alpha = 150, 0.05
    ends = [fall_interval(values, alpha, mean) for values in drawn(name, n, runs)]
    most = binom.ppf(1 - 1e-4, runs, alpha)
    assert sum(high <= mean for _, high in ends) <= most
    assert sum(low >= mean for low, _ in ends) <= most


@pytest.mark.parametrize("n", [1, 2, 30, 700])
def test_equal_values_are_bounded_as_no_valid_test_bounds_them_better(n: int) -> None:
    """If a loss of everything has the share p, none is drawn with the chance (1 - p)^n."""
    least = 1 - 0.05 ** (1 / n)
    low, high = fall_interval(np.zeros(n), 0.05, 0.5)
    assert least <= high <= 1.1 * least + 1e-6 or (n < 3 and high <= 1)
    assert low == pytest.approx(-high)


def test_the_interval_holds_the_mean_and_turns_with_the_values() -> None:
    for name in POPULATIONS:
        values = drawn(name, 80, 1)[0]
        low, high = fall_interval(values, 0.05, 0.02)
        assert -1 <= low <= values.mean() <= high <= 1
        turned = fall_interval(-values, 0.05, -0.02)
        assert turned == pytest.approx((-high, -low), abs=1e-6)


@pytest.mark.parametrize(
    ("shares", "n"), [((0.05, 0.9, 0.05), 400), ((0.05, 0.9, 0.05), 2000), ((0.0, 0.98, 0.02), 400)]
)
def test_it_is_narrower_than_bets_for_any_stopping_point_and_close_to_the_exact_interval(
    shares: tuple[float, ...], n: int
) -> None:
    random = np.random.default_rng(1)
    widths = np.zeros(3)
    for _ in range(5):
        values = random.choice([-1.0, 0.0, 1.0], n, p=shares)
        exact = paired_interval(int((values > 0).sum()), int((values < 0).sum()), n, 0.05)
        each = (fall_interval(values, 0.05, 0.5), betting_interval(values, MANY, 0.05), exact)
        widths += [high - low for low, high in each]
    assert widths[0] < 0.85 * widths[1]
    assert widths[0] < 1.35 * widths[2]


def test_the_interval_excludes_a_mean_exactly_if_its_own_bet_wins() -> None:
    values = drawn("most stay", 200, 1)[0]
    low, high = fall_interval(values, 0.05, 0.9)
    assert fall_interval(values, 0.05, high + 1e-3)[1] <= high + 1e-3
    for inside in (high - 1e-3, values.mean() + 1e-3):
        assert fall_interval(values, 0.05, inside)[1] > inside
    assert fall_interval(values, 0.05, low - 1e-3)[0] >= low - 1e-3


def test_many_values_are_read_in_blocks() -> None:
    values = np.random.default_rng(0).normal(0.01, 0.1, 40_000).clip(-1, 1)
    low, high = fall_interval(values, 0.05, 0.02)
    spread = values.std() / 200
    assert high == pytest.approx(values.mean() + 1.645 * spread, abs=0.3 * spread)
    assert low == pytest.approx(values.mean() - 1.645 * spread, abs=0.3 * spread)


@pytest.mark.parametrize(("name", "null"), [("most stay", 0.05), ("even", -0.1), ("rare large losses", 0.1)])
def test_about_as_many_values_as_are_needed_refute_a_mean(name: str, null: float) -> None:
    few = drawn(name, 50, 1)[0]
    few = few - few.mean() + np.dot(*POPULATIONS[name])
    needed = values_needed(few.clip(-1, 1), null, 0.05)
    assert needed is not None
    many = np.random.default_rng(2).permutation(np.resize(few.clip(-1, 1), 2 * needed))
    low, high = fall_interval(many, 0.05, null)
    assert high <= null or low >= null


def test_no_number_of_values_refutes_their_own_mean() -> None:
    assert values_needed(np.array([0.5, -0.5]), 0.0, 0.05) is None
