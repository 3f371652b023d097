"""What cannot be measured is a named error, that says what was expected, what came, and often what mends it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from robustest_rl import (
    ActionAttack,
    ActionDelay,
    ActionNoise,
    Dynamics,
    Observation,
    SensorBias,
    SensorDelay,
    SensorDropout,
    Shown,
    Sometimes,
    measure_robust_return,
)
from torch import nn
from walks import Line, right

from robustest import ConfigError, DataError, ModelError


class Forgetful(Line):
    """Keeps where it was."""

    def reset(self, **words: Any) -> Any:
        at = getattr(self, "at", 0.0)
        found = super().reset(**words)
        self.at += 1e-3 * at
        return found


class Broken(Line):
    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        return seen * np.nan, reward, *rest


class Endless(Line):
    def __init__(self) -> None:
        super().__init__()
        self.steps = 10**9


class Textual(Line):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gymnasium.spaces.Text(3)


class Flat(Line):
    def reset(self, **words: Any) -> Any:
        return super().reset(**words)[0][:1], {}


class Late(Line):
    """Breaks in its third step alone."""

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        return (seen * np.nan if self.t == 3 else seen), reward, *rest


class Unpaid(Line):
    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen, float("nan"), *rest


class Pairs(Line):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.MultiDiscrete([2, 2])


class Pictured(Line):
    def __init__(self) -> None:
        super().__init__()
        inner = gymnasium.spaces.Dict({"at": self.observation_space})
        self.observation_space = inner


class Cells(Line):
    """Shows the number of its step, 1..5, in a space that counts from `start`."""

    start = 1

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gymnasium.spaces.Discrete(5, start=self.start)

    def _seen(self) -> Any:
        return self.t + 1


class Astray(Cells):
    start = 0


class Pushed(gymnasium.Env[Any, Any]):
    """A walk by actions in -1..1."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.full(1, self.t, np.float32), float(action[0]), self.t >= 5, False, {}


def far(seen: Any) -> Any:
    return 2 * np.ones((len(seen), 1), np.float32)


def unsure(seen: Any) -> Any:
    return np.full((len(seen), 2), np.nan, np.float32)


def short(seen: Any) -> Any:
    return np.zeros((len(seen), 3), np.float32)


def fractions(seen: Any) -> Any:
    return np.full(len(seen), 0.5)


def inside(module: Any) -> Any:
    """A net one of whose parts is in train mode."""
    net = nn.Sequential(nn.Linear(2, 2), module).eval()
    net[1].train()
    return net


class Two(nn.Module):
    """Gives a pair, as an actor and its critic do."""

    def forward(self, seen: Any) -> Any:
        return torch.zeros(len(seen), 2), torch.zeros(len(seen))


def predicting(action: int) -> Any:
    """By its shape, a model of stable-baselines3 that can only predict."""

    def predict(seen: Any, *, deterministic: bool) -> Any:
        return np.full(len(seen), action), None if deterministic else ()

    return SimpleNamespace(policy=SimpleNamespace(), predict=predict)


def wavering() -> Callable[[Any], Any]:
    random = np.random.default_rng(0)
    return lambda seen: random.integers(0, 2, len(seen))


def training() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Dropout())


def outside(seen: Any) -> Any:
    return np.full(len(seen), 2)


CASES: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
    (right, Forgetful, {}, DataError, "repeat under its seed but step 1"),
    (right, Broken, {}, DataError, "finite observations"),
    (right, Endless, {"max_steps": 50}, DataError, "end within 50 steps"),
    (right, Textual, {}, ConfigError, "Box or Discrete"),
    (right, Flat, {}, DataError, "space's shape"),
    (wavering(), Line, {}, ModelError, "stochastic=True"),
    (training(), Line, {}, ConfigError, "eval mode"),
    (outside, Line, {}, ModelError, "inside the action space"),
    (predicting(2), Line, {}, ModelError, "inside the action space"),
    (predicting(-1), Line, {}, ModelError, "inside the action space"),
    (fractions, Line, {}, ModelError, "inside the action space"),
    (far, Pushed, {}, ModelError, "ClipAction"),
    (unsure, Line, {}, ModelError, "finite outputs"),
    (short, Line, {}, ModelError, "an action each"),
    (Two().eval(), Line, {}, ModelError, "a tensor"),
    (inside(nn.Dropout()), Line, {}, ConfigError, "eval mode"),
    (right, Late, {}, DataError, "finite observations"),
    (right, Unpaid, {}, DataError, "finite rewards"),
    (right, Pairs, {}, ConfigError, "Box or Discrete"),
    (right, Pictured, {}, ConfigError, "FlattenObservation"),
    (right, Astray, {}, DataError, "space"),
    (right, Cells, {"threat": Observation(0.1)}, ConfigError, "Shown"),
    (right, Cells, {"threat": SensorBias(0.1)}, ConfigError, "Shown"),
    (right, lambda: 3, {}, ConfigError, "gymnasium.Env"),
    (right, Line(), {}, ConfigError, "each lane needs its own"),
    (right, "NoSuch-v9", {}, ConfigError, "Gymnasium can make"),
    (3, Line, {}, ConfigError, "a policy"),
    (right, Line, {"episodes": 0}, ConfigError, "episodes"),
    (right, Line, {"episodes": 2.5}, ConfigError, "episodes"),
    (right, Line, {"lanes": 0}, ConfigError, "lanes"),
    (right, Line, {"max_steps": 0}, ConfigError, "max_steps"),
    (right, Line, {"at_least": float("nan")}, ConfigError, "at_least"),
    (right, Line, {"min_share": 1.5}, ConfigError, "min_share"),
    (right, Line, {"cost": "fuel"}, DataError, "cost 'fuel'"),
    (right, Line, {"min_share": None}, ConfigError, "min_share= or mean=True"),
    (right, Line, {"mean": True}, ConfigError, "both"),
    (right, Line, {"min_share": None, "mean": True}, ConfigError, "return_range"),
    (right, Line, {"min_share": None, "mean": True, "return_range": (0, 3)}, DataError, "never clipped"),
    (right, Line, {"min_share": None, "mean": True, "return_range": (0, float("inf"))}, ConfigError, "highest return"),
    (right, Line, {"threat": "Linf"}, ConfigError, "a threat"),
    (right, Line, {"threat": Observation(0.1, scale=(1, 1, 1))}, ConfigError, "scale of 1 or 2"),
    (right, Line, {"threat": Observation(0.1), "attack": "pdg"}, ConfigError, "pgd"),
    (right, Line, {"threat": Observation(0.1), "attack": "critic"}, ConfigError, "critic="),
]


@pytest.mark.parametrize(("policy", "env", "words", "error", "says"), CASES)
def test_misuse_is_a_named_error(
    policy: Any, env: Any, words: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        measure_robust_return(policy, env, **{"at_least": 1, "min_share": 0.5, "episodes": 8, **words})


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Observation(-0.1), "eps"),
        (lambda: Observation(float("nan")), "eps"),
        (lambda: Observation(0.1, "l1"), "norm"),
        (lambda: Observation(0.1, scale=(1, -1)), "scale"),
        (lambda: SensorBias(-0.1), "eps"),
        (lambda: SensorDropout(1.1), "share"),
        (lambda: SensorDelay(0), "steps"),
        (lambda: ActionNoise(-0.1), "size"),
        (lambda: ActionDelay(0), "steps"),
        (lambda: ActionAttack(-0.1), "eps"),
        (lambda: Dynamics({}), "one range"),
        (lambda: Dynamics({"length": (2, 1)}), "low < high"),
        (lambda: Sometimes(Observation(0.1), 2), "share"),
    ],
)
def test_a_threat_out_of_range_is_refused_where_it_is_made(made: Callable[[], Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made()


def test_a_discrete_space_may_count_from_one() -> None:
    """A director looks at one of five cells, whatever the number of the first."""
    found = measure_robust_return(
        right, Cells, Shown(lambda seen: seen.unsqueeze(1)), at_least=-1, min_share=0.5, episodes=4, attack="director"
    )
    assert found.details["attack"] == "director"
