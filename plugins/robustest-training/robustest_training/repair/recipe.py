"""Recipes: optimiser, schedule and machine of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from robustest.errors import ConfigError, expected
from robustest.packs import fast_in_bfloat16

_OPTIMIZERS = ("adam", "sgd")
_PRECISIONS = ("fp32", "bf16", "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Optimiser, schedule and machine.

    Args:
        epochs: passes over the data, >= 1.
        batch_size: samples per step, >= 1.
        learning_rate: the highest; it rises linearly over the share `warm_up` of the steps, then falls to 0 along a
            cosine.
        optimizer: "adam", or "sgd" with Nesterov momentum 0.9.
        weight_decay: >= 0, decoupled from the gradient ("adam" is AdamW then).
        warm_up: in [0, 1).
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "fp32"; "bf16" for passes in bfloat16 with float32 weights; "auto": bf16 on a CUDA device that has
            it.
        seed: of order, draws and the model's randomness.

    Raises:
        ConfigError: an argument is out of range.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 2e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    warm_up: float = 0.3
    device: str = "auto"
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(expected(f"{name} to be a whole number >= 1", getattr(self, name)))
        if type(self.seed) is not int:
            raise ConfigError(expected("seed to be a whole number", self.seed))
        _check("learning_rate > 0", self.learning_rate, self.learning_rate > 0)
        _check("weight_decay >= 0", self.weight_decay, self.weight_decay >= 0)
        _check("warm_up in [0, 1)", self.warm_up, 0 <= self.warm_up < 1)
        if self.optimizer not in _OPTIMIZERS:
            raise ConfigError(expected(f"optimizer to be one of {', '.join(_OPTIMIZERS)}", self.optimizer))
        if self.precision not in _PRECISIONS:
            raise ConfigError(expected(f"precision to be one of {', '.join(_PRECISIONS)}", self.precision))

    def optimizer_for(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return an optimiser of the trainable parameters.

        Raises:
            ConfigError: there are none.
        """
        free = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not free:
            raise ConfigError("Expected parameters to train but every one of them has requires_grad=False.")
        if self.optimizer == "adam":
            return torch.optim.AdamW(free, self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(free, self.learning_rate, momentum=0.9, nesterov=True, weight_decay=self.weight_decay)

    def rate(self, done: int, total: int) -> float:
        # A function of the place alone: a checkpoint need not keep a schedule's state.
        share = (done + 1) / (total + 1)
        if share < self.warm_up:
            return self.learning_rate * share / self.warm_up
        return self.learning_rate * (1 + math.cos(math.pi * (share - self.warm_up) / (1 - self.warm_up))) / 2

    def low(self, device: torch.device) -> bool:
        if self.precision == "auto":
            return fast_in_bfloat16(device)
        return self.precision == "bf16"


def _check(what: str, value: object, fits: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or not fits:
        raise ConfigError(expected(what, value))
