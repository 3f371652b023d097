"""FAB, fast adaptive boundary (Croce and Hein, ICML 2020, section 3, Algorithm 1), in L-inf, L2 and L1."""

# With the difference of two logits d(z) = f_k(z) - f_y(z), taken as linear at the current point z, inside the bounds:
#
#     p = the point of {d = 0} nearest to z;  q = the point of {d = 0} nearest to x
#     b = min(|p - z| / (|p - z| + |q - x|), `bias`)
#     z' = (1 - b) * (z + (1 + `overshoot`) (p - z)) + b * (x + (1 + `overshoot`) (q - x))
#     where z fools the model already:  z' = x + `back` * (z - x)
#
# The paper compares the planes of all classes k, at a gradient for each; here each round has one gradient, so k is the
# likeliest other class of the moment, or a target held from the first evaluation on. The paper's last search on the
# line to the sample is left out.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.attacks.protocol import AtPoint, Evaluation, Needs, Problem
from robustest.checks import check_ranges, real, whole
from robustest.tasks import Task, class_losses, top_of
from robustest.threats import L1, Bounds, Euclidean, Linf, Rows, Threat, per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class FAB(AtPoint):
    """FAB, a minimum-norm attack.

    Args:
        steps: gradient steps, >= 1.
        target_rank: place of the target among the other classes of the first evaluation, the likeliest at 0; None takes
            the likeliest in every round.
        overshoot: extra length of a step beyond the plane, as a share of the step, in [0, 1).
        bias: largest weight of the sample's own projection, in 0..1.
        back: share of the perturbation kept after a point that fools the model, in (0, 1).
        random_start: begin at a random point half of eps away at most, rather than at the sample.
    """

    steps: int = field(default=100, metadata=whole(1))
    target_rank: int | None = field(default=None, metadata=whole(0))
    overshoot: float = field(default=0.05, metadata=real(0, 1, "[)"))
    bias: float = field(default=0.1, metadata=real(0, 1))
    back: float = field(default=0.9, metadata=real(0, 1, "()"))
    random_start: bool = False

    needs = Needs.GRADIENT
    confined: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def name(self) -> str:
        return "fab" if self.target_rank is None else "fab-t"

    def suits(self, task: Task) -> bool:
        return top_of(task) > 0

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, (Linf, Euclidean, L1))

    def init(self, problem: Problem, key: Tensor) -> Rows:
        z = problem.x
        if self.random_start:
            z = torch.lerp(z, problem.threat.start(problem.region, rng.fold(key, "start")), 0.5)
        return {"z": z, "target": torch.full_like(key, -1)}

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        known = None if self.target_rank is None else state["target"]
        return _lead(logits, problem.y, class_losses.ranked_class(logits, problem.y, self._rank(problem.task), known))

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        x, z, gradient = problem.x, evaluation.z, evaluation.gradient
        known = None if self.target_rank is None else state["target"]
        target = class_losses.ranked_class(evaluation.logits, problem.y, self._rank(problem.task), known)
        holds = problem.task.holds(evaluation.logits, problem.y)
        # In float64: the gap is a difference of logits that are nearly equal at the boundary.
        gap = -_lead(evaluation.logits.double(), problem.y, target)
        moved = ((z.double() - x.double()) * gradient.double()).flatten(1).sum(1)
        step = to_hyperplane(problem.threat, z, gradient, gap, problem.bounds)
        whole = to_hyperplane(problem.threat, x, gradient, gap + moved, problem.bounds)
        near, far = _norm(problem.threat, step), _norm(problem.threat, whole)
        bias = per_row((near / (near + far).clamp(min=1e-30)).clamp(max=self.bias), x)
        ahead = torch.lerp(z + (1 + self.overshoot) * step, x + (1 + self.overshoot) * whole, bias)
        behind = torch.lerp(x, z, self.back)
        return {"z": torch.where(per_row(holds, x), ahead, behind).clamp(*problem.bounds), "target": target}

    def _rank(self, task: Task) -> int:
        """Return the place of the target among the other classes: the k - 1 ahead of it do not break a top-k answer."""
        return (self.target_rank or 0) + top_of(task) - 1


def _lead(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Return (B,) the target's logit minus the label's."""
    return (logits.gather(1, target.unsqueeze(1)) - logits.gather(1, y.unsqueeze(1))).squeeze(1)


def _norm(threat: Threat, step: Tensor) -> Tensor:
    order = torch.inf if isinstance(threat, Linf) else 1 if isinstance(threat, L1) else 2
    size: Tensor = torch.linalg.vector_norm(step.flatten(1), order, dim=1, dtype=torch.float64)
    return size.to(step.dtype)


# Most rounds of Newton's method; more than a few are rare.
_NEWTON = 16


# Share of the way to a hyperplane that may remain.
_CLOSE = 1e-5


def to_hyperplane(threat: Threat, at: Tensor, normal: Tensor, gain: Tensor, bounds: Bounds) -> Tensor:
    """Return the shortest step d (B, *S), in the threat's norm, with `normal . d = gain` and `at + d` in the bounds.

    Where the box ends before the hyperplane, the step that comes nearest to it.

    Args:
        at: (B, *S) inside the bounds.
        normal: (B, *S) gradient of the linear function; where it is zero there is no step.
        gain: (B,) the wanted growth of the function.
    """
    low, high = bounds
    flat, here = normal.flatten(1), at.flatten(1)
    # Scaled to a largest weight of 1, and turned so that the gain is positive.
    scale = flat.abs().amax(1).clamp(min=torch.finfo(normal.dtype).tiny)
    flat = flat / torch.where(gain < 0, -scale, scale).unsqueeze(1)
    need = gain.double().abs() / scale.double()
    room = torch.where(flat > 0, high - here, here - low)
    move = (_fill if isinstance(threat, L1) else _stretch)(threat, flat.abs(), room, need)
    return (flat.sign() * move).view_as(at)


def _stretch(threat: Threat, weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Return (B, D) moves `min(t * rate, room)` of the smallest t that gains enough; rate is the norm's ascent."""
    rate = (weight > 0).to(weight.dtype) if isinstance(threat, Linf) else weight
    worth = weight * rate
    t, most = torch.zeros_like(need), torch.finfo(weight.dtype).max  # infinity times a rate of zero is no step
    # Croce and Hein (ICML 2020, section 3) solve this by sorting. The gain of a step of length t is concave and
    # piecewise linear in t, so that Newton's rounds rise towards the root without passing it.
    for _ in range(_NEWTON):
        move = torch.minimum(t.to(weight.dtype).unsqueeze(1) * rate, room)
        short = need - (weight * move).sum(1, dtype=torch.float64)
        slope = (worth * (move < room)).sum(1, dtype=torch.float64)
        # A row that has arrived is left alone, so that rows still on their way do not move it.
        open_ = (short > _CLOSE * need) & (slope > 0)
        if devices.on_host(weight) and not bool(open_.any()):
            break
        t = torch.where(open_, t + short / slope.clamp(min=1e-300), t).clamp(max=most)
    return torch.minimum(t.to(weight.dtype).unsqueeze(1) * rate, room)


def _fill(threat: Threat, weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Return (B, D) moves of least sum: elements of largest weight go to their bound, one after the other."""
    largest, order = weight.sort(dim=1, descending=True, stable=True)
    most = room.gather(1, order).double()
    gains = largest.double() * most
    left = need.unsqueeze(1) - (devices.running_sum(gains, 1) - gains)
    move = torch.where(largest > 0, left / largest.clamp(min=1e-30), 0.0).clamp(min=0.0)
    return torch.zeros_like(weight).scatter(1, order, torch.minimum(move, most).to(weight.dtype))
