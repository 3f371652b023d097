"""FMN, fast minimum norm (Pintor et al., NeurIPS 2021, section 2, Algorithm 1), in L-inf, L2, L1 and L0."""

#     radius: while no point fooled the model,  eps = |delta| + margin / |g|_* * (1 + gamma)
#             after a point that fooled it,     eps = min((1 - gamma) * eps, smallest size found)
#             after another one,                eps = (1 + gamma) * eps
#     delta = project onto the ball of eps (delta + a_t * g / |g|_2)
#
# g is the gradient of the margin loss and |.|_* the dual norm: margin / |g|_* is where the margin would vanish if it
# were linear, and the share gamma beyond it crosses the boundary instead of only meeting it. a_t and gamma fall along
# half a cosine. In L0 eps begins with one pixel and changes by one pixel at least. Lengths are in widths of the bounds,
# the paper's 1.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.attacks.protocol import Climbing, Evaluation, Needs, Problem, cosine
from robustest.checks import POSITIVE, check_ranges, real, whole
from robustest.threats import L0, L1, Euclidean, Linf, Rows, Threat, length, per_row, sparse


@dataclass(frozen=True, slots=True, kw_only=True)
class FMN(Climbing):
    """FMN, a minimum-norm attack.

    Args:
        steps: gradient steps, >= 1.
        step_size: Euclidean length of the first step, in widths of the bounds; the last is a hundredth of it. None
            means 10 for L-inf, and 1 for the others.
        gamma: share by which the radius changes in the first round, in (0, 1); a fiftieth of it in the last.
    """

    steps: int = field(default=100, metadata=whole(1))
    step_size: float | None = field(default=None, metadata=POSITIVE)
    gamma: float = field(default=0.05, metadata=real(0, 1, "()"))
    random_start: bool = False

    name = "fmn"
    needs = Needs.GRADIENT
    confined: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self)

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, (Linf, Euclidean, L1, L0))

    def init(self, problem: Problem, key: Tensor) -> Rows:
        z = problem.x
        if self.random_start:
            low, high = problem.bounds
            z = rng.uniform(rng.fold(key, "start"), z.shape[1:], low, high)
        return {
            "z": z,
            "radius": torch.ones(key.shape, device=key.device),
            "smallest": torch.full(key.shape, torch.inf, device=key.device),
            "step": torch.zeros_like(key),
        }

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        x, step, threat = problem.x, state["step"], problem.threat
        fooled = ~problem.task.holds(evaluation.logits, problem.y)
        # In input units, as the radius is; an `Snr` counts in others.
        measured = Euclidean.size(threat, evaluation.z, problem.region) if isinstance(threat, Euclidean) else None
        size = (threat.size(evaluation.z, problem.region) if measured is None else measured).float()
        smallest = torch.where(fooled, torch.minimum(size, state["smallest"]), state["smallest"])
        radius = state["radius"]
        gamma = cosine(self.gamma, self.gamma / 50, step, self.steps)
        if isinstance(threat, L0):
            fewer = torch.minimum(radius - 1, (radius * (1 - gamma)).floor())
            more = torch.maximum(radius + 1, (radius * (1 + gamma)).floor())
            radius = torch.where(fooled, torch.minimum(fewer, smallest), more).clamp(min=0.0)
        else:
            margin = problem.task.margin(evaluation.logits.double(), problem.y).float()
            way = margin / dual_length(threat, evaluation.gradient)
            # Before the first success the boundary is extrapolated; afterwards it is bracketed by growing and
            # shrinking.
            outside = torch.where(smallest < torch.inf, radius * (1 + gamma), size + way * (1 + gamma))
            inside = torch.minimum(torch.minimum(radius, size) * (1 - gamma), smallest)
            radius = torch.where(fooled, inside, outside)
        # L-inf: elements are cut at the ball, so that a step of every element needs the length of many.
        first = (10.0 if isinstance(threat, Linf) else 1.0) if self.step_size is None else self.step_size
        stride = problem.region["span"] * cosine(first, first / 100, step, self.steps)
        # The step has a fixed Euclidean length in every norm; only the projection knows the norm.
        direction = evaluation.gradient / per_row(length(evaluation.gradient), x)  # zero where the gradient is
        delta = torch.addcmul(evaluation.z - x, direction, per_row(stride, x))
        z = (x + within(threat, delta, radius, problem.region)).clamp(*problem.bounds)
        return {"z": z, "radius": radius, "smallest": smallest, "step": step + 1}


def dual_length(threat: Threat, gradient: Tensor) -> Tensor:
    """Return (B,) the dual norm of gradients: the growth of a linear function along the norm.

    L1 for `Linf`, L-inf for `L1`, the Euclidean length otherwise; never below the smallest normal number.
    """
    flat = gradient.flatten(1)
    if isinstance(threat, Linf):
        value = flat.abs().sum(1, dtype=torch.float64).to(gradient.dtype)
    elif isinstance(threat, L1):
        value = flat.abs().amax(1)
    else:
        return length(gradient)
    return value.clamp(min=torch.finfo(gradient.dtype).tiny)


def within(threat: Threat, delta: Tensor, radius: Tensor, region: Rows) -> Tensor:
    """Return perturbations (B, *S) inside balls of the threat's norm with radii (B,), which may be infinite.

    The nearest point of the ball in the Euclidean sense, and for `L0` of ball and box.
    """
    if isinstance(threat, Linf):
        return torch.clamp(delta, -per_row(radius, delta), per_row(radius, delta))
    if isinstance(threat, L0):
        return sparse(region["x"] + delta, region, radius) - region["x"]
    if isinstance(threat, L1):
        return _within_l1(delta, radius)
    return delta * per_row((radius / length(delta)).clamp(max=1.0), delta)


def _within_l1(delta: Tensor, radius: Tensor) -> Tensor:
    """Return delta soft-thresholded to the ball (Duchi et al., ICML 2008)."""
    size = delta.flatten(1).abs().double()
    limit = radius.double().unsqueeze(1)
    # In float64: the sums of a row must not depend on its batch.
    ordered = size.sort(dim=1, descending=True).values
    excess = devices.running_sum(ordered, 1) - limit
    count = torch.arange(1, size.shape[1] + 1, device=size.device)
    last = (ordered * count > excess).sum(1, keepdim=True).clamp(min=1) - 1
    threshold = (excess.gather(1, last) / (last + 1)).clamp(min=0.0)
    return torch.copysign((size - threshold).clamp(min=0.0).to(delta.dtype), delta.flatten(1)).view_as(delta)
