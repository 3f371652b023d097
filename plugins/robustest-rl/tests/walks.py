"""An environment and policies whose returns can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn


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


def left(seen: Any) -> Any:
    """Goes left, whatever it sees."""
    return np.zeros(len(seen), np.int64)


def linear(*weights: float) -> Callable[[Any], Any]:
    """Pushes right where w.o > 0."""

    def policy(seen: Any) -> Any:
        return (seen @ np.array(weights, np.float32) > 0).astype(np.int64)

    return policy


class Steered(Line):
    """A walk of twenty steps that returns 1 for each step within 1 of 0: which a policy sees, and can stay."""

    reach = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.steps = 20

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen, float(abs(self.at) <= self.reach), *rest


back = linear(-1, 0)
"""Goes back to 0 from either side."""


def net() -> nn.Module:
    """Return a module that goes back to 0 from either side."""
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    layer.bias.data.zero_()
    return layer.eval().requires_grad_(False)
