"""Augmented Lagrangian: descend distance plus a penalty whose weight is learnt per sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import losses
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.errors import ConfigError, expected
from robustest.threats import L1, L2, Rows, Threat, length, per_row

_SMALLEST, _LARGEST = 1e-6, 1e12
"""The multiplier stays between these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ALMA:
    steps: int = 100
    first_step: float = 0.3
    noise: float = 0.0
    check: int = 10
    tau: float = 0.95
    growth: float = 1.2
    smoothing: float = 0.9
    rms: float = 0.99
    momentum: float = 0.9
    lr_last: float = 0.01

    name: ClassVar[str] = "alma"
    needs: ClassVar[Needs] = Needs.GRADIENT
    confined: ClassVar[bool] = False

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, (L2, L1))

    def init(self, problem: Problem, key: Tensor) -> Rows:
        one = torch.ones(key.shape, device=key.device)
        return {
            "z": problem.x,
            "key": key,
            "multiplier": one,
            "penalty": one,
            "rate": torch.zeros_like(one),
            "square": torch.ones_like(problem.x),
            "speed": torch.zeros_like(problem.x),
            "then": torch.zeros_like(one),
            "found": torch.full_like(key, self.steps),
            "step": torch.zeros_like(key),
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return losses.dlr(logits, problem.y)

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        assert seen.gradient is not None
        x, step = problem.x, state["step"]
        l1 = isinstance(problem.threat, L1)
        span = per_row(problem.region["span"], x)
        d = -losses.dlr(seen.logits.double(), problem.y).float()
        fooled = seen.logits.argmax(1) != problem.y
        found = torch.where(fooled, torch.minimum(step, state["found"]), state["found"])
        first = step == 0
        due = ((step + 1) % self.check == 0) & ~first
        stuck = due & (state["found"] == self.steps) & (d >= self.tau * state["then"])
        rho = torch.where(stuck, self.growth * state["penalty"], state["penalty"])
        learnt = self.smoothing * state["multiplier"] + (1 - self.smoothing) * _slope(d, rho, state["multiplier"])
        mu = torch.where(first, state["multiplier"], learnt.clamp(_SMALLEST, _LARGEST))
        delta = (seen.z - x) / span
        pull = delta.sign() if l1 else delta / per_row(length(delta), x)
        gradient = torch.addcmul(pull, seen.gradient * span, -per_row(_slope(d, rho, mu), x))
        dead = first & (gradient == 0).flatten(1).all(1)
        if self.noise:
            gradient = gradient + self.noise * per_row(first.float()* length(gradient)/28, x) * rng.normal(state["key"], x.shape[1:])
        square = torch.lerp(gradient.square(), state["square"], self.smoothing)
        move = gradient / (square.sqrt() + 1e-8)
        fs = self.first_step
        rate = torch.where(first, fs / (move.flatten(1).abs().sum(1) if l1 else length(move)).clamp(min=1e-12), state["rate"])
        speed = self.smoothing * state["speed"] + move
        age = (step - found).clamp(min=0).float() / (self.steps - found).clamp(min=1)
        stride = rate * self.lr_last**age
        z = torch.addcmul(seen.z, speed * span, -per_row(stride, x)).clamp(*problem.bounds)
        return {"z": z, "key": state["key"], "multiplier": mu, "penalty": rho, "rate": rate, "square": square, "speed": speed,
            "then": torch.where(first | due, d, state["then"]), "found": found, "step": step + 1}


def _slope(d, rho, mu):
    above = mu + 2 * mu * rho * d + 0.5 * rho.square() * d.square()
    below = mu / (1 - rho * d).clamp(min=1.0).square()
    return torch.where(d >= 0, above, below)
