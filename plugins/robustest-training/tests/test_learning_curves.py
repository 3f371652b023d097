"""Learning curves read backwards."""

from __future__ import annotations

import numpy as np
import pytest
from robustest_training.synthetic_rule import Trained, at_size, rising, teaches_as
from scipy.optimize import LinearConstraint, minimize

T = 4000


def trained(size: int, accuracy: float, variance: float = 1e-6) -> Trained:
    """The same test samples are hard for all, so that pairs differ by little."""
    right = np.clip(accuracy * T - np.arange(T), 0, 1)
    return Trained(size=size, right=right, variance=variance, freedom=50, draws=1)


CURVE = [trained(100 * 2**k, 0.5 + 0.1 * k) for k in range(5)]


def test_a_curve_that_rises_is_left_as_it_is_and_another_pooled() -> None:
    ones = np.ones(4)
    assert rising(np.array([1.0, 2, 3, 4]), ones).tolist() == [1, 2, 3, 4]
    assert rising(np.array([1.0, 3, 2, 4]), ones).tolist() == [1, 2.5, 2.5, 4]
    assert rising(np.array([4.0, 1, 1, 0]), np.array([1.0, 1, 1, 3])).tolist() == [1, 1, 1, 1]


def test_pooling_is_least_squares() -> None:
    random = np.random.default_rng(0)
    values, weights = random.random(6), random.random(6) + 0.1
    steps = LinearConstraint(np.eye(6)[1:] - np.eye(6)[:-1], 0, np.inf)
    best = minimize(
        lambda v: (weights * (v - values) ** 2).sum(), values.mean() * np.ones(6), constraints=steps, tol=1e-12
    )
    assert rising(values, weights) == pytest.approx(best.x, abs=1e-4)


def test_between_two_sizes_lies_what_their_logarithms_say() -> None:
    between = at_size(CURVE, 100 * 2**1.5)
    assert between is not None
    assert between.accuracy == pytest.approx(0.65)
    assert at_size(CURVE, 100) is not None
    assert at_size(CURVE, 99) is None
    assert at_size(CURVE, 1601) is None


def test_a_set_teaches_as_much_as_the_curve_says() -> None:
    found = teaches_as(CURVE, trained(1600, 0.75), 0.01)
    assert found.size == pytest.approx(100 * 2**2.5, rel=0.01)
    assert found.low is not None
    assert found.high is not None
    assert 450 < found.low < found.size < found.high < 700


def test_beyond_the_curve_one_end_is_known() -> None:
    below = teaches_as(CURVE, trained(1600, 0.3), 0.01)
    assert (below.size, below.low, below.high) == (None, None, pytest.approx(100))
    above = teaches_as(CURVE, trained(1600, 0.99), 0.01)
    assert (above.size, above.low, above.high) == (None, pytest.approx(1600), None)
    top = teaches_as(CURVE, trained(1600, 0.9), 0.01)
    assert top.size == pytest.approx(1600)
    assert top.high is None


def test_a_flat_curve_tells_nothing() -> None:
    flat = [trained(100 * 2**k, 0.9) for k in range(5)]
    found = teaches_as(flat, trained(1600, 0.9), 0.01)
    assert (found.size, found.low, found.high) == (None, None, None)


def test_a_leap_is_placed_where_it_is() -> None:
    """So sure of every size that none between two is the same."""
    sharp = [trained(100, 0.1, 1e-12), trained(200, 0.9, 1e-12)]
    found = teaches_as(sharp, trained(200, 0.5003, 1e-12), 0.4)
    assert found.size is not None
    assert 100 < found.size < 200
