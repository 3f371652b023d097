"""Numbers of the schedules that the docstrings state, told apart from their neighbours by one step each."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from robustest import L0, L2, rng
from robustest.attacks import DDN, FMN, Evaluation, ODIMargin, Problem
from robustest.threats import Threat

WIDE = (-100.0, 100.0)


def problem(threat: Threat, x: Tensor, bounds: tuple[float, float] = WIDE) -> Problem:
    return Problem(threat, threat.region(x, bounds), torch.zeros(len(x), dtype=torch.int64), 2, bounds)


def share(step: int, steps: int) -> float:
    """Of the way from the last value to the first that is left."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


FOOLED, RIGHT = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])


@pytest.mark.parametrize("step", [0, 4, 9, 10])
def test_ddn_s_steps_fall_to_a_hundredth(step: int) -> None:
    """The gradient is at a right angle to what has moved, so the quotient of the two gives the step's length."""
    given, attack = problem(L2(2.0), torch.zeros(1, 2)), DDN(steps=10, step_size=0.5)
    state = {**attack.init(given, rng.keys(0, torch.arange(1))), "step": torch.tensor([step])}
    seen = Evaluation(torch.tensor([[0.7, 0.0]]), RIGHT, torch.tensor([[0.0, 3.0]]))
    along, across = attack.tell(given, state, seen)["z"][0].tolist()
    unit = 2.0
    assert 0.7 * across / along == pytest.approx(unit * (0.005 + 0.495 * share(step, 10)), rel=1e-4)


@pytest.mark.parametrize("step", [0, 4, 9, 10])
def test_fmn_s_gamma_falls_to_a_fiftieth(step: int) -> None:
    given, attack = problem(L2(2.0), torch.zeros(1, 2)), FMN(steps=10, gamma=0.4)
    state = {**attack.init(given, rng.keys(0, torch.arange(1))), "step": torch.tensor([step])}
    seen = Evaluation(torch.tensor([[0.6, 0.0]]), FOOLED, torch.tensor([[1.0, 0.0]]))
    gamma = 0.008 + 0.392 * share(step, 10)
    assert attack.tell(given, state, seen)["radius"].item() == pytest.approx(0.6 * (1 - gamma), rel=1e-5)


@pytest.mark.parametrize("step", [0, 9, 10])
def test_fmn_s_steps_fall_to_a_hundredth(step: int) -> None:
    given, attack = problem(L2(2.0), torch.zeros(1, 2), (-0.5, 0.5)), FMN(steps=10, step_size=0.2)
    state = attack.init(given, rng.keys(0, torch.arange(1)))
    far = {"radius": torch.tensor([9.0]), "smallest": torch.tensor([9.0]), "step": torch.tensor([step])}
    seen = Evaluation(torch.tensor([[0.1, 0.0]]), RIGHT, torch.tensor([[0.0, 5.0]]))
    z = attack.tell(given, {**state, **far}, seen)["z"][0].tolist()
    assert z == pytest.approx([0.1, 0.002 + 0.198 * share(step, 10)], rel=1e-4)


def test_fmn_stays_inside_the_bounds() -> None:
    given, attack = problem(L2(2.0), torch.tensor([[0.9, 0.2]]), (0.0, 1.0)), FMN(steps=10, step_size=5.0)
    state = attack.init(given, rng.keys(0, torch.arange(1)))
    far = {"radius": torch.tensor([9.0]), "smallest": torch.tensor([9.0])}
    seen = Evaluation(given.x, RIGHT, torch.tensor([[1.0, -1.0]]))
    assert attack.tell(given, {**state, **far}, seen)["z"].tolist() == [[1.0, 0.0]]


def test_fmn_s_count_of_pixels_ends_at_none() -> None:
    given, attack = problem(L0(3), torch.zeros(1, 4)), FMN(steps=10)
    state = {**attack.init(given, rng.keys(0, torch.arange(1))), "radius": torch.tensor([0.0])}
    seen = Evaluation(given.x, FOOLED, torch.ones(1, 4))
    assert attack.tell(given, state, seen)["radius"].item() == 0


def test_odi_s_weights_are_uniform_between_minus_one_and_one() -> None:
    given = Problem(L2(1.0), L2(1.0).region(torch.zeros(500, 2), WIDE), torch.zeros(500, dtype=torch.int64), 10, WIDE)
    weights = ODIMargin().init(given, rng.keys(0, torch.arange(500)))["direction"]
    assert weights.shape == (500, 10)
    assert -1 <= float(weights.min()) < -0.99
    assert 0.99 < float(weights.max()) <= 1
    counts = torch.histc(weights, bins=4, min=-1, max=1)
    assert float((counts / 1250 - 1).abs().max()) < 0.1
