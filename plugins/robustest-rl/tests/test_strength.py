"""Attacks on trained policies: what breaks them is found, and what does not is not believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
from robustest_rl import Observation, measure_robust_return, tuning
from torch import nn

from robustest.results import Result

Trained = Callable[[str], nn.Module]
PLAIN = [f"CartPole-v1_plain_{k}" for k in range(3)]
EPISODES = 32


def cart(policy: nn.Module, eps: float, attack: Any) -> Result:
    threat = Observation(eps, scale=(1, 1, 0.1, 1))
    words: Any = {"mean": True, "return_range": (0, 500), "episodes": EPISODES, "exact": True, "attack": attack}
    return measure_robust_return(policy, "CartPole-v1", threat, **words)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """CPU seconds of each search for a director."""
    spent: list[float] = []
    inner = tuning.search

    def timed(*args: Any) -> Any:
        before = time.process_time()
        found = inner(*args)
        spent.append(time.process_time() - before)
        return found

    monkeypatch.setattr(tuning, "search", timed)
    return spent


def say(name: str, eps: float, result: Result, spent: list[float]) -> None:
    took = f", searched in {', '.join(f'{one:.1f}' for one in spent)} CPU s" if spent else ""
    print(  # noqa: T201 - benchmarks/RESULTS.md has these lines
        f"{name} {eps}: {result.details['mean_untouched']:.0f} untouched, {attacked(result):.1f} under "
        f"{result.details['attack']} at {result.details['share of the radius']:g} of the radius{took}"
    )
    spent.clear()


def attacked(result: Result) -> float:
    return float(result.details["mean_attacked"])


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_noise_is_shrugged_off_gradients_hurt_and_the_cascade_hurts_more(
    trained: Trained, searches: list[float], name: str
) -> None:
    policy = trained(name)
    noise, alone, all_of_them = (cart(policy, 0.1, attack) for attack in ("noise", "pgd", "agent-fast"))
    for found in (noise, alone, all_of_them):
        say(name, 0.1, found, searches if found is all_of_them else [])
    assert attacked(noise) >= 0.9 * noise.details["mean_untouched"]
    assert attacked(alone) <= 200
    assert attacked(all_of_them) <= 120


@pytest.mark.slow
def test_gradients_alone_leave_two_of_three_at_twice_the_radius_and_a_health_check_says_so(
    trained: Trained, searches: list[float]
) -> None:
    left = 0
    for name in PLAIN:
        policy = trained(name)
        alone, both = cart(policy, 0.2, "pgd"), cart(policy, 0.2, "agent-fast")
        say(
            f"{name}, gradients alone at the whole radius {alone.details['tried'][0]['mean return']:.0f}",
            0.2,
            alone,
            [],
        )
        say(name, 0.2, both, searches)
        if alone.details["tried"][0]["mean return"] >= 499:
            left += 1
            assert "not_monotone" in {finding["name"] for finding in alone.details["health"]}
        assert attacked(both) <= 70
    assert left == 2


@pytest.mark.slow
def test_a_policy_trained_on_gradients_holds_against_gradients_alone(trained: Trained, searches: list[float]) -> None:
    policy = trained("CartPole-v1_adv_0")
    alone, both = (cart(policy, 0.1, attack) for attack in ("pgd", "agent-fast"))
    for found in (alone, both):
        say("CartPole-v1_adv_0", 0.1, found, searches if found is both else [])
    assert alone.details["tried"][0]["mean return"] >= 499
    assert attacked(both) < 200


@pytest.mark.slow
def test_the_cascade_costs_a_pendulum_400(trained: Trained, searches: list[float]) -> None:
    def pendulum() -> gymnasium.Env[Any, Any]:
        return gymnasium.wrappers.ClipAction(gymnasium.make("Pendulum-v1"))

    words: Any = {"mean": True, "return_range": (-3300, 0), "episodes": EPISODES, "exact": True}
    threat = Observation(0.2, scale=(0.3, 0.3, 2))
    found = measure_robust_return(trained("Pendulum-v1_plain_0"), pendulum, threat, **words)
    say("Pendulum-v1_plain_0", 0.2, found, searches)
    assert found.details["mean_untouched"] - attacked(found) >= 400
