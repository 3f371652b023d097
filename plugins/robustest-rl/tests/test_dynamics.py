"""Other pole lengths on CartPole: who falls is named, with the mildest length that fells it."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from robustest_rl import Dynamics, SensorBias, measure_robust_return
from robustest_rl.episodes import Arena, search_keys
from robustest_rl.mildest import EPISODES
from robustest_rl.policies import as_policy
from robustest_rl.threats import Attacked
from robustest_rl.worlds import World
from walks import linear

from robustest import Verdict
from robustest.results import Result

LENGTHS = Dynamics({"length": (0.25, 1.5)})
BIAS = SensorBias(0.05, scale=(0, 0, 1, 0))
SHARE = 0.8
"""Claimed of every controller: the best of them reaches 475 in .92 of the episodes with the worst bias."""


def at_a_length(weights: tuple[float, ...], length: float, **words: Any) -> Result:
    def longer() -> Any:
        env: Any = gymnasium.make("CartPole-v1")
        env.unwrapped.length = length
        return env

    return measure_robust_return(linear(*weights), longer, at_least=475, min_share=SHARE, episodes=100, **words)


def under(weights: tuple[float, ...], threat: Any) -> Verdict:
    return measure_robust_return(linear(*weights), "CartPole-v1", threat, at_least=475, min_share=SHARE).verdict


@pytest.mark.slow
def test_a_controller_that_fails_with_the_longest_pole_alone() -> None:
    weights = (0.3, 0.6, 4, 1.2)
    assert at_a_length(weights, 1.5).verdict is Verdict.FAILED
    assert at_a_length(weights, 0.25).verdict is Verdict.PASSED


@pytest.mark.slow
def test_a_controller_that_fails_with_a_biased_angle_alone() -> None:
    weights = (0, 0, 1, 0.5)
    assert under(weights, LENGTHS) is Verdict.PASSED
    assert under(weights, BIAS) is Verdict.FAILED


@pytest.mark.slow
def test_a_controller_that_passes_all_three() -> None:
    assert under((0.05, 0.2, 1, 1), LENGTHS) is Verdict.PASSED
    assert under((0.05, 0.2, 1, 1), BIAS) is Verdict.PASSED


@pytest.mark.slow
def test_the_mildest_length_that_fails_is_that_of_bisection() -> None:
    weights = (0.3, 0.6, 4, 1.2)
    found = measure_robust_return(linear(*weights), "CartPole-v1", LENGTHS, at_least=475, min_share=0.9)
    assert found.verdict is Verdict.FAILED
    mildest = float(found.details["mildest"].partition("length=")[2].rstrip(")"))
    world = World.of("CartPole-v1")
    made = world.make()
    arena = Arena(as_policy(linear(*weights), made.observation_space, made.action_space), world)
    keys = search_keys(0, "the mildest", EPISODES)

    def fails(length: float) -> bool:
        threat = Dynamics({"length": (0.25, 1.5)}, values=(length,))
        return bool((arena.play(Attacked(threat), keys).returns >= 475).mean() < 0.9)

    low, high = 0.5, 1.5
    assert fails(high)
    assert not fails(low)
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (low, middle) if fails(middle) else (middle, high)
    assert mildest == pytest.approx(high, rel=0.05)
