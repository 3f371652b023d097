"""The noise floor: estimates of known systems, and the errors and powers that it announces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from robustest.decisions.drop import mcnemar
from robustest.decisions.noise_floor import POWER, NoiseFloor
from robustest.errors import DataError


def runs_of(chance: NDArray[np.float64], runs: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of items that are right with these chances."""
    score = np.random.default_rng(seed).random((len(chance), runs)) < chance[:, None]
    return np.repeat(np.arange(len(chance)), runs), score.ravel().astype(float)


def chances(n: int, coins: float = 0.2) -> NDArray[np.float64]:
    """A share of the items are coin flips, nine in ten of the others are right."""
    place = np.arange(n) / n
    return np.where(place < coins, 0.5, (np.arange(n) % 10 != 0).astype(float))


@pytest.mark.parametrize("runs", [2, 5])
def test_variances_are_those_of_the_system(runs: int) -> None:
    chance = chances(20_000)
    found = NoiseFloor.of(*runs_of(chance, runs))
    assert found.rate == pytest.approx(chance.mean(), abs=0.01)
    assert found.within == pytest.approx((chance * (1 - chance)).mean(), rel=0.06)
    assert found.between == pytest.approx(chance.var(), rel=0.06)
    assert found.spread(4) == pytest.approx(found.spread() / 2)


def test_a_gate_is_red_as_often_as_announced() -> None:
    n, draws, random = 400, 4000, np.random.default_rng(2)
    chance = chances(n, 0.08)
    found = NoiseFloor.of(*runs_of(chances(20_000, 0.08), 3))
    noise = NoiseFloor(n=n, rate=found.rate, within=found.within, between=found.between, step=1.0)
    fall = (random.random((draws, n)) < chance).sum(1) - (random.random((draws, n)) < chance).sum(1)
    for tolerance in (0.0, 0.01, 0.02):
        assert noise.red(tolerance) == pytest.approx((fall > tolerance * n + 1e-9).mean(), abs=0.02)


def test_the_announced_number_of_items_shows_the_loss() -> None:
    noise = NoiseFloor.of(*runs_of(chances(20_000, 0.08), 3))
    loss, alpha, draws, random = 0.03, 0.01, 300, np.random.default_rng(3)
    n = noise.items(loss, alpha)
    assert n < noise.items(loss, alpha, paired=False) / 2
    chance, shown = chances(n, 0.08), 0
    for _ in range(draws):
        before, now = random.random(n) < chance, random.random(n) < chance
        now &= random.random(n) >= loss / chance.mean()
        shown += mcnemar(int((before & ~now).sum()), int((now & ~before).sum())) <= alpha
    assert shown / draws == pytest.approx(POWER, abs=0.06)


@pytest.mark.parametrize("loss", [0.01, 0.4])
def test_where_answers_never_change_only_the_lost_items_vary(loss: float) -> None:
    still = NoiseFloor(n=100, rate=0.9, within=0.0, between=0.09, step=1.0)
    distance = norm.isf(0.01) + norm.ppf(POWER)
    assert still.items(loss, 0.01) == math.ceil(distance**2 * (1 - loss) / loss)


def test_more_runs_help_until_the_items_are_too_few() -> None:
    noise = NoiseFloor.of(*runs_of(chances(3000), 2))
    need = noise.items(0.03, 0.01, runs=3)
    enough = noise.runs(0.03, 0.01)
    assert enough is not None
    assert noise.items(0.03, 0.01, runs=enough) <= noise.n
    assert enough == 1 or noise.items(0.03, 0.01, runs=enough - 1) > noise.n
    assert noise.runs(0.001, 0.01) is None
    assert noise.items_of_claim(0.03, 0.01, runs=3) < noise.items_of_claim(0.03, 0.01)
    assert need < noise.items(0.03, 0.01)


def test_graded_scores_have_no_steps_and_one_run_no_noise() -> None:
    place, score = runs_of(chances(100), 4)
    graded = NoiseFloor.of(place, 0.3 + score / 3)
    assert graded.step == 0
    assert graded.within == pytest.approx(NoiseFloor.of(place, score).within / 9)
    assert graded.red(0.0) == 0.5
    steady = NoiseFloor.of(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert (steady.within, steady.red(0.0)) == (0.0, 0.0)
    with pytest.raises(DataError, match="several runs"):
        NoiseFloor.of(np.arange(5), np.ones(5))
