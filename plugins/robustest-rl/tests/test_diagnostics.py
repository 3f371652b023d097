"""Diagnostics on estimators whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from robustest_rl import measure_gradient_concentration, measure_surrogate, measure_value_quality

from robustest import ConfigError, DataError


def estimator(noise: float, offset: int, size: int = 200) -> Any:
    """Gradients of length 1 whose samples have a total variance of `noise`, which is K0."""
    truth = np.zeros(size)
    truth[0] = 1

    def gradient(k: int, seed: int) -> Any:
        random = np.random.default_rng((offset, k, seed))
        return truth + random.standard_normal(size) * (noise / size / k) ** 0.5

    return gradient


@pytest.mark.parametrize("noise", [300.0, 3000.0])
def test_the_interval_covers_a_known_k0(noise: float) -> None:
    covered = 0
    for offset in range(100):
        found = measure_gradient_concentration(estimator(noise, offset), (100, 400, 1600))
        covered += found.interval[0] <= noise <= found.interval[1]
    assert covered >= 97


def test_cosines_rise_as_the_law_says() -> None:
    found = measure_gradient_concentration(estimator(400.0, 0), (100, 400, 1600), repeats=40)
    assert found.cosines == pytest.approx([0.2, 0.5, 0.8], abs=0.06)
    assert found.noise == pytest.approx(400, rel=0.15)


def test_estimates_that_agree_from_the_first_say_so() -> None:
    assert measure_gradient_concentration(estimator(1.0, 0), (100, 400)).told == "below the smallest K"


def test_pure_noise_has_no_upper_end() -> None:
    found = measure_gradient_concentration(lambda _, seed: np.random.default_rng(seed).standard_normal(50), (10, 20))
    assert found.interval[1] == np.inf
    assert found.noise is None


def test_value_quality() -> None:
    returns = np.arange(10.0)
    assert measure_value_quality(returns, returns).explained == 1
    assert measure_value_quality(np.full(10, 4.5), returns).explained == pytest.approx(0)


def test_a_surrogate_may_rise_where_the_return_falls() -> None:
    found = measure_surrogate(lambda w: float(w[0]), lambda w: -float(w[0] ** 2), np.zeros(5), np.eye(5)[0])
    assert found.along[-1] == 8
    assert found.along_return[-1] == -64
    assert abs(found.random[-1]) < 8


@pytest.mark.parametrize(
    "gradient", [lambda *_: np.zeros(3), lambda *_: np.full(3, np.nan), lambda _, seed: np.ones(seed + 1)]
)
def test_gradients_that_are_none_are_errors(gradient: Any) -> None:
    with pytest.raises(DataError):
        measure_gradient_concentration(gradient, (10,))


def test_arguments_out_of_range() -> None:
    with pytest.raises(ConfigError):
        measure_gradient_concentration(estimator(1, 0), ())
    with pytest.raises(DataError):
        measure_value_quality([1, 1], [2, 2])
    with pytest.raises(DataError):
        measure_surrogate(lambda _: 0.0, lambda _: 0.0, [1.0], [0.0])
