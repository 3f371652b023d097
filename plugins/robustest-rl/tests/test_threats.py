"""Threats one by one: what is shown and done, step by step, on a walk whose observations are known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from robustest_rl import (
    ActionAttack,
    ActionDelay,
    ActionNoise,
    Away,
    Directed,
    Dynamics,
    Lower,
    Noise,
    Observation,
    SensorBias,
    SensorDelay,
    SensorDropout,
    Shown,
    Sometimes,
)
from robustest_rl.episodes import Arena, search_keys
from robustest_rl.moments import Stepped, Untouched
from robustest_rl.policies import as_policy
from robustest_rl.threats import Attacked, Threat
from robustest_rl.worlds import World
from torch import nn
from walks import Line, right

from robustest import ConfigError, DataError

N = 64
KEYS = search_keys(2, "a test", N)


class Push(gymnasium.Env[Any, Any]):
    """Moves by the action in -1..1, from 0, five times; returns where it is."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.speed = 1.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at, self.t = 0.0, 0
        return np.array([self.at, self.t], np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += self.speed * float(action[0])
        self.t += 1
        return np.array([self.at, self.t], np.float32), self.at, self.t >= 5, False, {}


def half(seen: Any) -> Any:
    return np.full((len(seen), 1), 0.5, np.float32)


def played(threat: Threat, attack: Any = Noise(), *, policy: Any = right, env: Any = Line, n: int = N) -> list[Stepped]:  # noqa: B008
    world, steps = World.of(env), list[Stepped]()
    made = world.make()
    acting = as_policy(policy, made.observation_space, made.action_space)
    threat.check(acting)
    Arena(acting, world, n).play(Attacked(threat, attack), KEYS[:n], record=steps.append)
    return steps


def shifts(steps: list[Stepped]) -> torch.Tensor:
    """(T, 64, 2) what was shown minus the truth, of the first block of episodes."""
    first = [step for step in steps if step.rows[0] == 0]
    return torch.stack([step.shown - step.moment.seen for step in first])


@pytest.mark.parametrize("attack", [Noise(), Noise(corners=True), Away(steps=3)], ids=["noise", "corners", "pgd"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_observations_stay_in_their_ball(norm: str, attack: Any) -> None:
    net = nn.Linear(2, 2).eval().requires_grad_(False)
    change = shifts(played(Observation(0.5, norm, scale=(0.1, 0)), attack, policy=net))
    assert change[..., 1].abs().max() == 0
    assert 0.02 < change[..., 0].abs().max() <= 0.05 + 1e-5
    if attack == Noise(corners=True):
        edge = change[..., 0].abs() if norm == "linf" else torch.zeros(0)
        assert bool((edge - 0.05).abs().le(1e-5).all())


def test_a_bias_is_one_amount_for_the_whole_episode() -> None:
    change = shifts(played(SensorBias(0.3, (1, 0), bias=(0.3, 0))))
    assert change[..., 0].numpy() == pytest.approx(0.3, abs=1e-6)
    assert change[..., 1].abs().max() == 0


def test_a_reading_that_drops_out_stays_where_it_was_as_often_as_said() -> None:
    steps = [step for step in played(SensorDropout(0.3)) if step.rows[0] == 0]
    assert torch.equal(steps[0].shown, steps[0].moment.seen)
    same = []
    for before, now in pairwise(steps):
        stayed, true = now.shown == before.shown, now.shown == now.moment.seen
        assert bool((stayed | true).all())
        same.append(stayed.float().mean())
    assert float(torch.stack(same).mean()) == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("late", [1, 3])
def test_a_late_sensor_shows_what_was_and_at_first_the_first(late: int) -> None:
    steps = [step for step in played(SensorDelay(late)) if step.rows[0] == 0]
    for t, step in enumerate(steps):
        assert torch.equal(step.shown, steps[max(0, t - late)].moment.seen)


def test_noisy_actions_slip_as_often_as_said_and_stay_inside_the_space() -> None:
    slips = torch.cat([step.actions == 0 for step in played(ActionNoise(0.4))])
    assert float(slips.float().mean()) == pytest.approx(0.2, abs=0.05)  # half of the draws are the action itself
    done = torch.cat([step.actions for step in played(ActionNoise(0.8), policy=half, env=Push)])
    assert done.min() >= -0.3 - 1e-6
    assert done.max() == 1
    assert done.unique().numel() > 100


def test_late_actions_are_those_chosen_before() -> None:
    def alternate(seen: Any) -> Any:
        return seen[:, 1].astype(np.int64) % 2

    steps = [step for step in played(ActionDelay(2), policy=alternate) if step.rows[0] == 0]
    assert [int(step.actions[0]) for step in steps] == [0, 0, 0, 1, 0]


def test_an_attack_on_actions_takes_what_its_critic_likes_least() -> None:
    critic = Lower(lambda seen: torch.tensor([[1.0, 2.0]]).expand(len(seen), 2))
    assert all(bool((step.actions == 0).all()) for step in played(ActionAttack(), critic))
    pushed = Lower(lambda _, actions: actions.squeeze(1))
    for step in played(ActionAttack(0.25), pushed, policy=half, env=Push):
        assert step.actions.numpy() == pytest.approx(0.25, abs=1e-6)


def test_a_director_gets_the_action_it_names_as_far_as_its_radius_goes() -> None:
    down = Directed(weights=(0.0, 0.0, -9.0))
    for step in played(ActionAttack(0.25), down, policy=half, env=Push):
        assert step.actions.numpy() == pytest.approx(0.25, abs=1e-6)


def test_values_of_dynamics_reach_the_environment_and_are_checked() -> None:
    slow = Dynamics({"speed": (0.5, 2)}, values=(0.5,))
    last = next(step for step in played(slow, policy=half, env=Push, n=3) if step.step == 4)
    assert last.moment.seen[0, 0] == 1.0
    calls = list[Any]()
    played(Dynamics({"speed": (0.5, 2)}, lambda _, values: calls.append(dict(values)), (0.5,)), policy=half, env=Push)
    assert calls[0] == {"speed": 0.5}
    with pytest.raises(ConfigError, match="'mass'"):
        Dynamics({"mass": (1, 2)}).nominal(Push())
    with pytest.raises(ConfigError, match="low < high"):
        Dynamics({"speed": (2, 1)})


def test_what_is_shown_is_one_of_the_candidates_and_the_worst_for_its_critic() -> None:
    def three(seen: torch.Tensor) -> torch.Tensor:
        return torch.stack([seen, seen, seen + 1, seen - 1], 1)

    change = shifts(played(Shown(three)))[..., 0]
    assert sorted({round(v, 4) for v in change.flatten().tolist()}) == [-1, 0, 1]
    assert float((change.abs() < 0.5).float().mean()) == pytest.approx(1 / 3, abs=0.12)  # the truth counts once
    with pytest.raises(DataError, match="candidates"):
        played(Shown(lambda seen: seen))


def test_sometimes_is_in_as_many_steps_as_said_and_for_threats_of_steps_alone() -> None:
    change = shifts(played(Sometimes(Observation(1, scale=(1, 0)), 0.25)))[..., 0]
    assert float((change != 0).float().mean()) == pytest.approx(0.25, abs=0.1)
    with pytest.raises(ConfigError, match="single steps"):
        Sometimes(SensorDelay(1), 0.5)


def test_an_untouched_episode_is_shown_the_truth() -> None:
    steps = list[Stepped]()
    world = World.of(Line)
    made = world.make()
    acting = as_policy(right, made.observation_space, made.action_space)
    Arena(acting, world, 8).play(Untouched(), KEYS[:8], record=steps.append)
    assert all(torch.equal(step.shown, step.moment.seen) for step in steps)
