"""Policies with known answers, and trained ones from outside the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

pytest_plugins = ["pytester"]
torch.set_num_threads(1)

_SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "policies"


class Line(gymnasium.Env[Any, Any]):
    """A walk on a line of five steps: each step right of 0 returns 1; where it starts is drawn."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.steps = 5

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at, self.t = float(self.np_random.uniform(-1, 1)), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += 0.5 * (2 * int(action) - 1)
        self.t += 1
        return self._seen(), float(self.at > 0), self.t >= self.steps, False, {"effort": 2.0}

    def _seen(self) -> Any:
        return np.array([self.at, self.t], np.float32)


def right(seen: Any) -> Any:
    """Goes right, whatever it sees."""
    return np.ones(len(seen), np.int64)


def linear(*weights: float) -> Callable[[Any], Any]:
    """Pushes right where w.o > 0."""

    def policy(seen: Any) -> Any:
        return (seen @ np.array(weights, np.float32) > 0).astype(np.int64)

    return policy


@pytest.fixture(scope="session")
def trained() -> Callable[[str], nn.Module]:
    """Trained policies by name: two hidden layers of 64, tanh."""
    if not _SHARED.is_dir():
        pytest.skip("the trained policies (../shared/data beside the repository) are not here")

    def load(name: str) -> nn.Module:
        held = load_file(_SHARED / f"{name}.safetensors")
        layers: list[nn.Module] = []
        for part in ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"):
            weight, bias = held[f"{part}.weight"], held[f"{part}.bias"]
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": weight, "bias": bias})
            layers += [layer, nn.Tanh()]
        return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)

    return load
