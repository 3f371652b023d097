"""DDN, decoupled direction and norm (Rony et al., CVPR 2019, section 4, Algorithm 1): a minimum-norm attack in L2."""

#     delta = delta + a_t * g / |g|                       g the gradient of the loss at x + delta
#     rho   = rho * (1 - gamma) if x + delta fooled the model, else rho * (1 + gamma)
#     delta = rho * delta / |delta|, clipped to the bounds
#
# The direction comes from gradients, the norm from whether the last point fooled the model. a_t follows half a cosine
# to a hundredth. The defaults are the paper's on images in [0, 1], without its rounding to 8 bits. Lengths are counted
# in the threat's eps, or in widths of the bounds (the paper's 1) where the box is too small for a start at `start` eps.
#
# `DDN.outside_in()` is our variant: it starts far outside the ball at a random point, where gradients that die near the
# sample are alive, and comes in fast at first (gamma falls from 0.4). Short, and made to be repeated on the survivors.

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import AtPoint, Evaluation, Needs, Problem, cosine
from robustest.checks import POSITIVE, check_ranges, real, whole
from robustest.errors import unknown
from robustest.tasks import Task
from robustest.threats import Euclidean, Rows, Threat, length, per_row

_LOSSES = ("ce", "margin")


@dataclass(frozen=True, slots=True, kw_only=True)
class DDN(AtPoint):
    """DDN, in L2.

    Args:
        steps: gradient steps, >= 1.
        gamma: share by which the radius changes in the first round, in (0, 1).
        gamma_last: gamma of the last round, half a cosine in between; None keeps `gamma`, as the paper does.
        start: the first radius, in units, > 0.
        step_size: length of the first step, in units, > 0; the last is a hundredth of it.
        loss: cross-entropy ("ce", the paper's) or the margin ("margin").
        random_start: begin on the sphere of the first radius, in a random direction, rather than at the sample.

    Raises:
        ConfigError: a number is out of range, or the loss is unknown.
    """

    steps: int = field(default=100, metadata=whole(1))
    gamma: float = field(default=0.05, metadata=real(0, 1, "()"))
    gamma_last: float | None = field(default=None, metadata=real(0, 1, "()"))
    start: float = field(default=1.0, metadata=POSITIVE)
    step_size: float = field(default=1.0, metadata=POSITIVE)
    loss: Literal["ce", "margin"] = "ce"
    random_start: bool = False

    needs = Needs.GRADIENT
    confined: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.loss not in _LOSSES:
            raise unknown("loss", self.loss, _LOSSES)

    @classmethod
    def outside_in(cls, *, steps: int = 20) -> DDN:
        """Return short runs from random points at five times eps, with a radius that falls fast at first."""
        return cls(steps=steps, gamma=0.4, gamma_last=0.01, start=5.0, loss="margin", random_start=True)

    @property
    def name(self) -> str:
        return "ddn-outside-in" if self.random_start else "ddn"

    def suits(self, task: Task) -> bool:
        return self.loss in task.losses

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Euclidean)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        assert isinstance(problem.threat, Euclidean)
        x, span, eps = problem.x, problem.region["span"], problem.threat.radii(problem.region)
        across = span * math.sqrt(x[0].numel() if len(x) else 1)
        unit = torch.where(self.start * eps <= across, eps, span)
        radius, z = self.start * unit, x
        if self.random_start:
            away = rng.normal(rng.fold(key, "direction"), x.shape[1:])
            z = x + away * per_row(radius / length(away), x)
        return {"z": z, "radius": radius, "unit": unit, "step": torch.zeros_like(key)}

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return problem.task.losses[self.loss](logits, problem.y)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        x, step = problem.x, state["step"]
        holds = problem.task.holds(evaluation.logits, problem.y)
        gamma = cosine(self.gamma, self.gamma if self.gamma_last is None else self.gamma_last, step, self.steps)
        radius = state["radius"] * torch.where(holds, 1 + gamma, 1 - gamma)
        stride = state["unit"] * cosine(self.step_size, self.step_size / 100, step, self.steps)
        delta = torch.addcmul(evaluation.z - x, problem.threat.ascent(evaluation.gradient), per_row(stride, x))
        # Divided before it is scaled: delta = 0 stays 0, as `length` is never 0.
        z = torch.addcmul(x, delta / per_row(length(delta), x), per_row(radius, x)).clamp(*problem.bounds)
        return {"z": z, "radius": radius, "unit": state["unit"], "step": step + 1}
