"""Samples for an accuracy: on curves whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
from robustest_training.learning_curve import Curve, samples_interval, samples_reaching

SIZES = np.array([100.0, 400, 1600, 6400])


def law(n: float | np.ndarray) -> np.ndarray:
    return np.asarray(0.9 - 4 * np.asarray(n, float) ** -0.5)


def curve(accuracy: np.ndarray, error: float = 0.0, seeds: int = 5) -> Curve:
    errors = np.full(len(accuracy), error)
    return Curve(sizes=SIZES[: len(accuracy)], accuracy=accuracy, by_seed=errors, by_sample=errors, seeds=seeds)


def test_between_points_it_is_a_line_in_the_logarithm() -> None:
    found = samples_reaching(curve(law(SIZES)), float(law(SIZES)[:2].mean()), limit=25_600)
    assert found == pytest.approx(200)
    assert samples_reaching(curve(law(SIZES)), float(law(1600)), limit=25_600) == pytest.approx(1600)


def test_what_the_smallest_size_reaches_is_no_more_than_that() -> None:
    assert samples_reaching(curve(law(SIZES)), 0.1, limit=25_600) == 100


def test_beyond_the_points_the_law_goes_on_as_far_as_the_limit() -> None:
    target = float(law(12_800))
    assert samples_reaching(curve(law(SIZES)), target, limit=25_600) == pytest.approx(12_800, rel=0.05)
    assert samples_reaching(curve(law(SIZES)), target, limit=10_000) == np.inf
    assert samples_reaching(curve(law(SIZES)), 0.91, limit=25_600) == np.inf  # above the law's own limit


def test_two_points_show_no_law() -> None:
    assert samples_reaching(curve(law(SIZES)[:2]), 0.8, limit=25_600) == np.inf


def test_a_curve_that_falls_is_read_as_far_as_it_rose() -> None:
    assert samples_reaching(curve(np.array([0.5, 0.7, 0.6, 0.65])), 0.72, limit=1e9) == np.inf
    assert samples_reaching(curve(np.array([0.5, 0.7, 0.6, 0.65])), 0.6, limit=1e9) == pytest.approx(200)


@pytest.mark.parametrize("target", [float(law(800)), float(law(10_000))])
def test_intervals_cover_what_the_law_says(target: float) -> None:
    truth = samples_reaching(curve(law(SIZES)), target, limit=25_600)
    random, missed = np.random.default_rng(0), 0
    for _ in range(100):
        seeds = law(SIZES) + random.normal(0, 0.02, (5, 4))
        error = seeds.std(0, ddof=1) / np.sqrt(5)
        drawn = Curve(sizes=SIZES, accuracy=seeds.mean(0), by_seed=error, by_sample=0 * error, seeds=5)
        low, high = samples_interval(drawn, target, limit=25_600, alpha=0.05, random=random)
        missed += not low <= truth <= high
    assert missed <= 16  # ten, and two standard errors
