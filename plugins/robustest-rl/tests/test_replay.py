"""Any episode of a result is played again as it was: every step, and the return to the last bit."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from robustest_rl import (
    ActionNoise,
    Away,
    Directed,
    Dynamics,
    Lower,
    Noise,
    Observation,
    SensorBias,
    Shown,
    Sometimes,
    Trace,
    measure_robust_return,
    replay,
)
from torch import nn
from walks import Line, left, right

from robustest import ConfigError, DataError
from robustest.results import Result

N = 8


class Weighted(Line):
    """Twelve steps that return where the walk is, so that a return is a sum whose last bits depend on its order."""

    scale = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.steps = 12

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen, self.scale * (10 + self.at) / 3, *rest


def net() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, 0.1], [-1.0, 0.0]])
    layer.bias.data.zero_()
    return layer.eval().requires_grad_(False)


def three(seen: torch.Tensor) -> torch.Tensor:
    return torch.stack([seen, seen + 1, seen - 1], 1)


def critic(seen: torch.Tensor) -> torch.Tensor:
    return torch.stack([seen[:, 0], -seen[:, 0]], 1)


def drawing(seen: Any) -> Any:
    return np.random.randint(0, 2, len(seen))


FREE = Observation(0.5)
SCALED = Observation(0.5, scale=(1, 0))
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "untouched": (None, {}),
    "noise": (SCALED, {"attack": Noise()}),
    "corners": (SCALED, {"attack": Noise(corners=True)}),
    "pgd, a scale that is measured": (FREE, {"attack": Away(steps=3)}),
    "director": (SCALED, {"attack": Directed(scale=(1.0, 1.0))}),
    "critic": (SCALED, {"attack": Lower(critic)}),
    "bias": (SensorBias(0.5), {}),
    "dynamics": (Dynamics({"scale": (0.5, 2.0)}), {}),
    "chance": (ActionNoise(0.3), {}),
    "sometimes": (Sometimes(FREE, 0.5), {"attack": Away(steps=2)}),
    "shown": (Shown(three), {"attack": "pgd"}),
    "draws": (ActionNoise(0.3), {"policy": drawing, "stochastic": True}),
    "cost": (ActionNoise(0.3), {"cost": "effort"}),
}


def measured(threat: Any, policy: Any = None, **words: Any) -> Result:
    words = {"at_least": -1e9, "min_share": 0.5, "episodes": N, "exact": True, "cache": False, **words}
    return measure_robust_return(policy or net(), Weighted, threat, **words)


@pytest.mark.parametrize("name", CASES)
def test_each_episode_returns_the_same_to_the_bit(name: str) -> None:
    threat, words = CASES[name]
    found = Result.from_dict(json.loads(json.dumps(measured(threat, **words).to_dict())))
    policy, returns = words.get("policy") or net(), found.details["returns"]
    assert returns["episode"] == list(range(N))
    for episode in (0, N - 1):
        again = replay(found, policy, Weighted, threat, episode=episode, critic=critic)
        clean = replay(found, policy, Weighted, threat, episode=episode, critic=critic, untouched=True)
        assert again.returned == returns["attacked"][episode]
        assert clean.returned == returns["untouched"][episode]
        total = 0.0
        for reward in again.rewards.tolist():
            total += reward
        assert total == again.returned


def test_its_steps_are_those_of_the_environment_and_the_adversary() -> None:
    threat = SensorBias(0.5, scale=(1, 0))
    found = measured(threat)
    again = replay(found, net(), Weighted, threat)
    assert isinstance(again, Trace)
    assert again.returned == min(found.details["returns"]["attacked"])
    assert again.seed == found.details["worst"][0]["seed"]
    assert np.abs(again.shown - again.seen)[:, 0] == pytest.approx(0.5, abs=1e-6)
    assert again.seen.shape == (12, 2)
    assert again.ended
    env: gymnasium.Env[Any, Any] = Weighted()
    seen, _ = env.reset(seed=again.seed)
    for step, action in enumerate(again.actions.tolist()):
        assert np.array_equal(seen, again.seen[step])
        seen, reward, *_ = env.step(action)
        assert reward == again.rewards[step]


def test_an_episode_that_was_not_played_is_one_of_the_seed_too() -> None:
    early = measured(SCALED, attack="noise", exact=False, at_least=1, min_share=0.3, episodes=200)
    late = early.numbers.n_total - 1
    assert late not in early.details["returns"]["episode"]
    whole = measured(SCALED, attack="noise", episodes=200)
    assert replay(early, net(), Weighted, SCALED, episode=late).returned == whole.details["returns"]["attacked"][late]


def test_what_is_no_longer_as_it_was_is_an_error() -> None:
    found = measured(SCALED, attack=Lower(critic))
    for words, error, says in (
        ({"policy": right}, DataError, "as it did"),
        ({"threat": Observation(0.4, scale=(1, 0))}, ConfigError, "the threat that was measured"),
        ({"threat": Observation(0.5, scale=(1, 1))}, ConfigError, "the threat that was measured"),
        ({"threat": None}, ConfigError, "the threat that was measured"),
        ({"critic": None}, ConfigError, "critic="),
        ({"episode": N}, ConfigError, rf"an episode in 0\.\.{N - 1}"),
        ({"episode": -1}, ConfigError, "episode"),
        ({"episode": "3"}, ConfigError, "episode"),
        ({"result": "3"}, ConfigError, "measure_robust_return"),
    ):
        asked = {"result": found, "policy": net(), "env": Weighted, "threat": SCALED, "critic": critic, **words}
        with pytest.raises(error, match=says):
            replay(**asked)
    untouched = measured(None, left)
    with pytest.raises(ConfigError, match="no threat"):
        replay(untouched, left, Weighted, SCALED)
