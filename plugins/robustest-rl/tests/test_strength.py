"""Attacks on trained policies: what breaks them is found, and what does not is not believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
from robustest_rl import Observation, measure_robust_return
from torch import nn

from robustest.results import Result

Trained = Callable[[str], nn.Module]
PLAIN = [f"CartPole-v1_plain_{k}" for k in range(3)]
EPISODES = 32


def cart(policy: nn.Module, eps: float, attack: Any) -> Result:
    threat = Observation(eps, scale=(1, 1, 0.1, 1))
    words: Any = {"mean": True, "return_range": (0, 500), "episodes": EPISODES, "exact": True, "attack": attack}
    return measure_robust_return(policy, "CartPole-v1", threat, **words)


def attacked(result: Result) -> float:
    return float(result.details["mean_attacked"])


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_noise_is_shrugged_off_gradients_hurt_and_the_cascade_hurts_more(trained: Trained, name: str) -> None:
    policy = trained(name)
    noise = cart(policy, 0.1, "noise")
    assert attacked(noise) >= 0.9 * noise.details["mean_untouched"]
    assert attacked(cart(policy, 0.1, "pgd")) <= 200
    before = time.process_time()
    found = attacked(cart(policy, 0.1, "agent-fast"))
    print(f"{name}: {found:.1f} in {time.process_time() - before:.1f} s")  # noqa: T201
    assert found <= 120


@pytest.mark.slow
def test_gradients_alone_leave_two_of_three_at_twice_the_radius_and_a_health_check_says_so(trained: Trained) -> None:
    left = 0
    for name in PLAIN:
        policy = trained(name)
        alone = cart(policy, 0.2, "pgd")
        if alone.details["tried"][0]["mean return"] >= 499:
            left += 1
            assert "not_monotone" in {finding["name"] for finding in alone.details["health"]}
        assert attacked(cart(policy, 0.2, "agent-fast")) <= 70
    assert left == 2


@pytest.mark.slow
def test_a_policy_trained_on_gradients_holds_against_gradients_alone(trained: Trained) -> None:
    policy = trained("CartPole-v1_adv_0")
    assert cart(policy, 0.1, "pgd").details["tried"][0]["mean return"] >= 499
    assert attacked(cart(policy, 0.1, "agent-fast")) < 200


@pytest.mark.slow
def test_the_cascade_costs_a_pendulum_400(trained: Trained) -> None:
    def pendulum() -> gymnasium.Env[Any, Any]:
        return gymnasium.wrappers.ClipAction(gymnasium.make("Pendulum-v1"))

    words: Any = {"mean": True, "return_range": (-3300, 0), "episodes": EPISODES, "exact": True}
    threat = Observation(0.2, scale=(0.3, 0.3, 2))
    found = measure_robust_return(trained("Pendulum-v1_plain_0"), pendulum, threat, **words)
    assert found.details["mean_untouched"] - attacked(found) >= 400
