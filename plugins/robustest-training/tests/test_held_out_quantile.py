"""Shares below a quantile of held-out values."""

from __future__ import annotations

import numpy as np
import pytest
from robustest_training.synthetic_rule import fewest_held_out, share_below, share_below_interval


def test_a_share_by_hand() -> None:
    held_out = np.arange(1, 101) / 100
    share, cut = share_below(np.array([0.0, 0.01, 0.5, 0.6]), held_out, 0.1)
    assert (share, cut) == (0.5, pytest.approx(0.109))
    assert fewest_held_out(0.01) == 100


def test_zero_is_below_whatever_the_others_are() -> None:
    share, cut = share_below(np.array([0.0, 1.0]), np.zeros(50), 0.01)
    assert (share, cut) == (0.5, 0.0)
    assert share_below_interval(np.zeros(400), np.ones(20), 0.01, 0.05)[0] > 0.98


@pytest.mark.parametrize(("m", "t"), [(300, 300), (1500, 2000), (200, 50)])
def test_values_like_the_held_out_ones_are_accused_no_oftener_than_alpha(m: int, t: int) -> None:
    random = np.random.default_rng(0)
    ends = [share_below_interval(random.random(m), random.random(t), 0.01, 0.05) for _ in range(300)]
    assert sum(low > 0.01 for low, _ in ends) <= 300 * 0.05 + 2 * (300 * 0.05 * 0.95) ** 0.5
    assert sum(high < 0.01 for _, high in ends) <= 300 * 0.05 + 2 * (300 * 0.05 * 0.95) ** 0.5


def test_too_few_held_out_values_bound_nothing_above() -> None:
    assert share_below_interval(np.full(500, 0.9), np.ones(20), 0.01, 0.01)[1] == 1.0


def test_a_tenth_of_copies_is_seen() -> None:
    random = np.random.default_rng(3)
    values = np.concatenate([1e-4 * random.random(100), random.random(900)])
    low, high = share_below_interval(values, random.random(1000), 0.01, 0.01)
    assert 0.07 < low < 0.11 < high < 0.16
