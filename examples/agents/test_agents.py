"""What balances a pole for 100 steps, with other poles, a sensor that is off, and a sensor that is against it."""

import pytest

pytest.importorskip("robustest_rl", reason="robustest-rl, in plugins/, brings claims on agents")

import gymnasium
from robustest_rl import Dynamics, Observation, SensorBias, assert_robust_return

from .policies import careful, student

pytestmark = pytest.mark.robust


def cart():
    return gymnasium.make("CartPole-v1", max_episode_steps=100)


def test_the_pole_may_be_half_as_long_or_thrice():
    assert_robust_return(careful, cart, Dynamics({"length": (0.25, 1.5)}), at_least=100, min_share=0.9)


def test_the_angle_may_be_read_wrong_by_three_degrees():
    assert_robust_return(careful, cart, SensorBias(0.05, scale=(0, 0, 1, 0)), at_least=100, min_share=0.9)


def test_a_small_net_under_attack():
    threat = Observation(0.05, scale=(1, 1, 0.1, 1))
    assert_robust_return(student(), cart, threat, at_least=80, min_share=0.7)
