"""Accuracies that depend on the draw of the training samples."""

from __future__ import annotations

import numpy as np
import pytest
from robustest_training.synthetic_rule import Trained, difference_interval, halves_variance

from robustest.decisions.share import clopper_pearson

Floats = np.ndarray


def trained(right: Floats, variance: float = 0.0, freedom: float = 8.0) -> Trained:
    return Trained(size=10, right=np.asarray(right, dtype=float), variance=variance, freedom=freedom, draws=1)


def test_halves_tell_the_variance_of_a_mean() -> None:
    """Of a mean of n draws it is the sample's variance over n."""
    random = np.random.default_rng(0)
    pairs = []
    values = random.standard_normal(400)
    for _ in range(4000):
        order = random.permutation(values)
        pairs.append((order[:200].mean(), order[200:].mean()))
    assert halves_variance(pairs) == pytest.approx(values.var(ddof=1) / 400, rel=0.1)


def test_answers_that_are_all_alike_prove_no_more_than_an_exact_interval() -> None:
    for t in (10, 20, 100, 1000):
        low, high = difference_interval(trained(np.ones(t)), trained(np.ones(t)), 0.01)
        assert high == -low
        assert high >= clopper_pearson(0, t, 0.01)[1]


def test_pairs_count_and_so_do_draws() -> None:
    random = np.random.default_rng(1)
    right = random.random(2000) < 0.8
    alike = np.where(random.random(2000) < 0.02, ~right, right)
    other = random.random(2000) < 0.8

    def width(second: Floats, variance: float = 0.0) -> float:
        return float(np.ptp(difference_interval(trained(right), trained(second, variance), 0.01)))

    assert 2 * width(alike) < width(other)
    assert width(alike, 0.01**2) > 2 * width(alike)


def test_a_difference_is_missed_no_oftener_than_alpha() -> None:
    """Accuracies vary with the draw of training samples; the variance is known from eight splits."""
    random = np.random.default_rng(2)
    missed = [0, 0]
    for _ in range(500):
        sides = []
        for share in (0.8, 0.75):
            drawn = share + 0.02 * random.standard_normal()
            variance = 0.02**2 * random.chisquare(8) / 8
            sides.append(trained(random.random(800) < drawn, variance))
        low, high = difference_interval(*sides, 0.05)
        missed[0] += low > 0.05
        missed[1] += high < 0.05
    assert max(missed) <= 500 * 0.05 + 2 * (500 * 0.05 * 0.95) ** 0.5
    assert min(missed) >= 5, "and it is no idle bound"
