"""ALMA, augmented Lagrangian method for adversarial attacks (Rony et al., ICCV 2021, section 4), in L2 and L1."""

#     minimise |delta| subject to d(x + delta) < 0,   d the difference-of-logits ratio, positive while the label stands
#     by descending |delta| + P(d, rho, mu):  P = mu d + mu rho d^2 + rho^2 d^3 / 6 for d >= 0, mu d / (1 - rho d) below
#
# The multiplier mu is a moving average of the penalty's slope dP/dd. The weight rho grows by `growth` at every `check`
# rounds at which d has not fallen below `tau` times its last value, until a point fools the model. Steps are divided by
# the root of a moving average of squared gradients and have momentum. The first follows the penalty alone, in a random
# direction where that has no gradient. From the first point that fools the model on the step length falls
# exponentially, to a hundredth. With two classes the ratio is undefined: d is the margin over the sample's own. Lengths
# are in widths of the bounds, the paper's 1.

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.attacks.protocol import AtPoint, Evaluation, Needs, Problem
from robustest.checks import POSITIVE, check_ranges, real, whole
from robustest.tasks import Task
from robustest.threats import L1, Euclidean, Rows, Threat, length, per_row

# Limits of the multiplier.
_SMALLEST, _LARGEST = 1e-6, 1e12
# Added to the root of mean squares, so that an element without gradient stays where it is.
_TINY = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class ALMA(AtPoint):
    """ALMA, a minimum-norm attack.

    Args:
        steps: gradient steps, >= 1.
        first_step: length of the first step in the threat's norm, in widths of the bounds, > 0; None means 0.1 for L2
            and 1 for L1.
        check: rounds between two checks of the progress, >= 1.
        tau: d must fall below this share of its last value, in (0, 1).
        growth: factor of the weight, > 1.
        smoothing: weight of the past in the moving averages, in [0, 1).
    """

    steps: int = field(default=100, metadata=whole(1))
    first_step: float | None = field(default=None, metadata=POSITIVE)
    check: int = field(default=10, metadata=whole(1))
    tau: float = field(default=0.95, metadata=real(0, 1, "()"))
    growth: float = field(default=1.2, metadata=real(1, ends="(]"))
    smoothing: float = field(default=0.9, metadata=real(0, 1, "[)"))

    name = "alma"
    needs = Needs.GRADIENT
    confined: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self)

    def suits(self, task: Task) -> bool:
        return "dlr" in task.losses

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, (Euclidean, L1))

    def init(self, problem: Problem, key: Tensor) -> Rows:
        one = torch.ones(key.shape, device=key.device)
        return {
            "z": problem.x,
            "key": rng.fold(key, "direction"),
            "scale": torch.zeros_like(one),  # of d with two classes; 0 until first evaluated
            "multiplier": one,
            "weight": one,
            "then": one,  # d at the last look
            "found": torch.full_like(key, self.steps),  # round of the first point that fooled the model
            "rate": torch.zeros_like(one),
            "square": torch.ones_like(problem.x),
            "speed": torch.zeros_like(problem.x),
            "step": torch.zeros_like(key),
        }

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        if logits.shape[1] > 2:
            return problem.task.losses["dlr"](logits, problem.y)
        margin = problem.task.losses["margin"](logits, problem.y)
        scale = torch.where(state["scale"] > 0, state["scale"], margin.detach().abs().float())
        return margin / scale.clamp(min=torch.finfo(scale.dtype).tiny)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        d = -self.objective(problem, state, evaluation.logits.double()).float()
        fooled = ~problem.task.holds(evaluation.logits, problem.y)
        if evaluation.logits.shape[1] == 2:
            margin = problem.task.margin(evaluation.logits, problem.y).abs()
            state = {**state, "scale": torch.where(state["scale"] > 0, state["scale"], margin)}
        x, step = problem.x, state["step"]

        # Multiplier and weight. Weights grow only while nothing fooled the model: from then on the multiplier alone
        # balances norm and penalty.
        first, due = step == 0, (step > 0) & ((step + 1) % self.check == 0)
        stuck = due & (state["found"] == self.steps) & (d >= self.tau * state["then"])
        weight = torch.where(stuck, self.growth * state["weight"], state["weight"])
        slope = _slope(d, weight, state["multiplier"])
        learnt = torch.lerp(slope, state["multiplier"], self.smoothing).clamp(_SMALLEST, _LARGEST)
        multiplier = torch.where(first, state["multiplier"], learnt)
        found = torch.where(fooled, torch.minimum(step, state["found"]), state["found"])

        # The descent: minus the gradient of norm and penalty, (B, *S) in widths of the bounds. Where delta is 0 the
        # Euclidean length is clamped, and the norm's gradient 0.
        span = per_row(problem.region["span"], x)
        delta = (evaluation.z - x) / span
        norm = delta.sign() if isinstance(problem.threat, L1) else delta / per_row(length(delta), x)
        descent = torch.addcmul(-norm, evaluation.gradient * span, per_row(_slope(d, weight, multiplier), x))
        # At the sample itself the norm has no gradient, and the penalty may have none: then any direction is as good.
        lost = first & (descent == 0).flatten(1).all(1)
        if not devices.on_host(x) or bool(lost.any()):
            anywhere = rng.normal(state["key"], x.shape[1:])
            descent = torch.where(per_row(lost, x), anywhere / per_row(length(anywhere), x), descent)

        # The step.
        square = torch.lerp(descent.square(), state["square"], self.smoothing)
        move = descent / (square.sqrt() + _TINY)
        if isinstance(problem.threat, L1):
            usual, size = 1.0, move.flatten(1).abs().sum(1, dtype=torch.float64).float()
        else:
            usual, size = 0.1, length(move)
        longest = usual if self.first_step is None else self.first_step
        rate = torch.where(first, longest / size.clamp(min=1e-30), state["rate"])
        share = (step - found).clamp(min=0) / (self.steps - found).clamp(min=1)
        # exp, and not pow, whose last bits depend on a sample's place in the batch on some processors.
        stride = problem.region["span"] * rate * torch.exp(math.log(0.01) * share)
        speed = torch.add(move, state["speed"], alpha=self.smoothing)
        return {
            **state,
            "z": torch.addcmul(evaluation.z, speed, per_row(stride, x)).clamp(*problem.bounds),
            "multiplier": multiplier,
            "weight": weight,
            "then": torch.where(first | due, d, state["then"]),
            "found": found,
            "rate": rate,
            "square": square,
            "speed": speed,
            "step": step + 1,
        }


def _slope(d: Tensor, weight: Tensor, multiplier: Tensor) -> Tensor:
    """Return (B,) the penalty's derivative in d; the multiplier at d = 0."""
    above = multiplier + 2 * multiplier * weight * d + 0.5 * (weight * d).square()
    below = multiplier / (1 - weight * d).clamp(min=1.0).square()
    return torch.where(d >= 0, above, below)
