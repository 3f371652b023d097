"""Mixtures of beta distributions and splines over them."""

from __future__ import annotations

import numpy as np
import pytest
from robustest_people.beta_mixture import (
    BetaMixture,
    Cells,
    _loss,
    accuracy_by_mixture,
    fit_mixture,
    fit_spline,
    random_starts,
)
from scipy.optimize import approx_fprime
from scipy.stats import beta, betabinom, binom

GRID = (np.arange(1000) + 0.5) / 1000


def mixture(a: list[float], b: list[float], weight: list[float]) -> BetaMixture:
    return BetaMixture(np.array(a), np.array(b), np.array(weight), 0.0)


def test_the_gradient_is_that_of_the_loss() -> None:
    random = np.random.default_rng(0)
    k, n = random.integers(0, 11, 30).astype(float), np.full(30, 10.0)
    weight = random.dirichlet(np.ones(30))
    for _ in range(5):
        point = random.normal(0.5, 0.7, 9)
        assert _loss(point, k, n, weight)[1] == pytest.approx(
            approx_fprime(point, lambda p: _loss(p, k, n, weight)[0], 1e-7), abs=1e-5
        )


def test_the_loss_is_the_likelihood_of_beta_binomials() -> None:
    k, n = np.arange(11.0), np.full(11, 10.0)
    weight = np.full(11, 1 / 11)
    point = np.concatenate([np.log([2.0, 5.0]), np.log([3.0, 1.0]), np.log([0.25, 0.75])])
    each = 0.25 * betabinom.pmf(k, 10, 2, 3) + 0.75 * betabinom.pmf(k, 10, 5, 1)
    assert _loss(point, k, n, weight)[0] == pytest.approx(-np.log(each).mean())


def test_the_fit_is_as_likely_as_the_truth_and_has_its_moments() -> None:
    random = np.random.default_rng(1)
    s = np.where(random.random(40_000) < 0.3, random.beta(2, 4, 40_000), random.beta(9, 2, 40_000))
    shown = np.where(random.random(40_000) < 0.5, 12, 20)
    k = random.binomial(shown, s)
    fitted, start = fit_mixture(k, shown, np.ones(40_000, dtype=np.int64), random_starts(random))
    true = 0.3 * betabinom.pmf(k, shown, 2, 4) + 0.7 * betabinom.pmf(k, shown, 9, 2)
    assert fitted.loss <= -np.log(true).mean() + 1e-4
    assert fitted.weight.sum() == pytest.approx(1)
    masses = fitted.masses()
    assert masses.sum() == pytest.approx(1)
    assert masses @ GRID == pytest.approx(s.mean(), abs=0.005)
    assert masses @ GRID**2 == pytest.approx((s**2).mean(), abs=0.005)
    again, _ = fit_mixture(k, shown, np.ones(40_000, dtype=np.int64), [start])
    assert again.loss == pytest.approx(fitted.loss, abs=1e-6)


def test_masses_are_exact_where_a_density_has_no_bound() -> None:
    steep = mixture([0.2], [0.3], [1.0])
    assert steep.masses().sum() == pytest.approx(1)
    assert steep.masses()[0] == pytest.approx(beta.cdf(0.001, 0.2, 0.3))


@pytest.mark.parametrize(
    "given", [lambda s: 0.35 + 0.6 * s, lambda s: 0.2 + 0.7 * s**3, lambda s: np.full_like(s, 0.9)]
)
def test_a_spline_finds_the_accuracy_it_was_made_of(given: object) -> None:
    """From exact shares of items with each count; where there are items, that is: at small s there are hardly any."""
    assert callable(given)
    over = mixture([6.0, 2.0], [1.6, 2.0], [0.6, 0.4])
    right = binom.pmf(np.arange(41)[:, None], 40, GRID) @ (over.masses() * given(GRID))
    found = fit_spline(over, right, 40)
    assert found @ over.masses() == pytest.approx(given(GRID) @ over.masses(), abs=1e-4)
    assert np.abs(found - given(GRID))[GRID > 0.1].max() < 0.01


def test_a_spline_stays_a_probability_whatever_the_counts_say() -> None:
    over = mixture([3.0], [3.0], [1.0])
    wild = np.random.default_rng(2).random(11)
    found = fit_spline(over, wild, 10)
    assert (found >= -1e-12).all()
    assert (found <= 1 + 1e-12).all()


def test_the_accuracy_is_that_of_items_as_hard_as_the_originals() -> None:
    """The model is right on a share s of all items that a share s of annotators selects; the originals are easier."""
    random = np.random.default_rng(3)

    def items(a: float, b: float, shown: int) -> Cells:
        s = random.beta(a, b, 20_000)
        return Cells.of(random.binomial(shown, s), np.full(20_000, shown), random.random(20_000) < s)

    v1, v2 = items(8, 2, 10), items(4, 4, 20)
    points = v1.count[None], v2.count[None]
    draws = v1.resampled(2, random), v2.resampled(2, random)
    estimate, again = accuracy_by_mixture(v1, v2, points, draws, 20, random=random)
    assert estimate == pytest.approx(0.8, abs=0.06)
    assert again.shape == (2,)
    assert again == pytest.approx([0.8, 0.8], abs=0.06)
