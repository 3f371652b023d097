"""sigma-zero: the fewest changed pixels (Cina et al., ICLR 2025, algorithm 1), then the same with one pixel less."""

#     part 1, from delta = 0:  g = gradient of max(margin, 0) + mean(s / (s + sigma)),  s a pixel's squared change
#         delta = clip(delta - a_t * Adam(g / |g|_inf));  a_t falls with half a cosine to a tenth
#         pixels of delta below the threshold tau become 0
#         tau grows by `threshold_step` * a_t where the proposal fools the model, and shrinks by it where it does not
#     part 2, from the best point:  z = nearest point with one pixel less than the fewest so far (z + a * ascent(g))
#
# The smooth share s / (s + sigma) counts pixels with a gradient. Part 1 walks from the sample, confined to the bounds
# alone; changes are in widths of the bounds. The numbers are the paper's, but for fewer steps; with one channel it is
# the paper's attack, which counts elements. Part 2 is ours and never uses more pixels than the threat allows. Every
# fourth of its steps is endless: where the model is linear it is the best that this number of pixels can do, so the
# final count is the smallest there is.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from robustest.attacks.protocol import Climbing, Evaluation, Needs, Problem, cosine
from robustest.checks import POSITIVE, check_ranges, real, whole
from robustest.errors import ConfigError, expected
from robustest.threats import L0, Rows, Threat, by_pixel, per_row, sparse

# Adam's defaults (Kingma and Ba, ICLR 2015).
_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8
# Length of the last step of the first part, as a share of the first.
_LAST = 0.1
# Lengths of a step of the second part, in widths of the bounds for an element of mean gradient.
_ENDLESS, _SHORT = 1e4, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaZero(Climbing):
    """sigma-zero, for a count of pixels.

    Args:
        steps: gradient steps of both parts, >= 1.
        improving: steps of the second part, in 0..steps; None means a fifth.
        step_size: length of the first step, > 0.
        sigma: smoothness of the count, > 0.
        threshold: first limit of changes that are put back, in 0..1.
        threshold_step: change of the threshold per step, as a share of the step length, >= 0.
    """

    steps: int = field(default=300, metadata=whole(1))
    improving: int | None = None
    step_size: float = field(default=1.0, metadata=POSITIVE)
    sigma: float = field(default=1e-3, metadata=POSITIVE)
    threshold: float = field(default=0.3, metadata=real(0, 1))
    threshold_step: float = field(default=0.01, metadata=real(0))

    name = "sigma-zero"
    needs = Needs.GRADIENT
    confined: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.improving is not None and not (type(self.improving) is int and 0 <= self.improving <= self.steps):
            raise ConfigError(expected(f"improving to be a whole number in 0..{self.steps}", self.improving))

    @property
    def walking(self) -> int:
        return self.steps - (self.steps // 5 if self.improving is None else self.improving)

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, L0)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {
            "z": problem.x,
            "threshold": problem.region["span"].new_full((len(key),), self.threshold),
            "step": torch.zeros_like(key),
            "drift": torch.zeros_like(problem.x),  # Adam's moving averages of the gradient and of its square
            "square": torch.zeros_like(problem.x),
            "best": problem.x,
            "fewest": torch.full_like(key, by_pixel(problem.x).shape[2] + 1),
        }

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        x, span = problem.x, per_row(problem.region["span"], problem.x)
        fooled = ~problem.task.holds(evaluation.logits, problem.y)
        changed = by_pixel(evaluation.z != x).any(1).sum(1)
        better = fooled & (changed < state["fewest"])
        state = {
            **state,
            "best": torch.where(per_row(better, x), evaluation.z, state["best"]),
            "fewest": torch.where(better, changed, state["fewest"]),
        }
        # Part 1.
        walked, last = max(1, self.walking), self.step_size * _LAST
        length = cosine(self.step_size, last, state["step"].clamp(max=walked), walked)
        shift = self.threshold_step * length
        threshold = (state["threshold"] + torch.where(fooled, shift, -shift)).clamp(0, 1)
        delta = (evaluation.z - x) / span
        loss = evaluation.gradient * span * per_row(~fooled, x)  # cut off at zero
        gradient = loss - self._count_slope(delta)
        # Rows are scaled to a largest element of 1; zero stays zero.
        largest = gradient.abs().flatten(1).amax(1).clamp(min=torch.finfo(gradient.dtype).tiny)
        unit = gradient / per_row(largest, gradient)
        drift = torch.lerp(state["drift"], unit, 1 - _BETA1)
        square = torch.lerp(state["square"], unit.square(), 1 - _BETA2)
        # Adam's bias correction in float64: 1 - 0.999^t loses its digits in float32.
        age = state["step"].double() + 1
        mean, spread = (v / per_row((1 - beta**age).to(x.dtype), x) for v, beta in ((drift, _BETA1), (square, _BETA2)))
        z = x + (delta + per_row(length, x) * mean / (spread.sqrt() + _TINY)) * span
        z = z.clamp(*problem.bounds)
        change = by_pixel((z - x).abs() / span).amax(1, keepdim=True)
        kept = torch.where(change >= threshold.view(-1, 1, 1), by_pixel(z), by_pixel(x)).reshape(x.shape)
        # Part 2. Its first step begins at the best point.
        count = state["step"] - self.walking
        from_ = torch.where(per_row(count <= 0, x), state["best"], evaluation.z)
        stride = torch.where(count % 4 == 3, _ENDLESS, _SHORT) * problem.region["span"]
        z = torch.addcmul(from_, problem.threat.ascent(evaluation.gradient), per_row(stride.to(x.dtype), x))
        improved = sparse(z, problem.region, (state["fewest"] - 1).clamp(max=int(problem.threat.radius)))
        return {
            **state,
            "z": torch.where(per_row(count >= 0, x), improved, kept),
            "threshold": threshold,
            "drift": drift,
            "square": square,
            "step": state["step"] + 1,
        }

    def _count_slope(self, delta: Tensor) -> Tensor:
        moved = by_pixel(delta)
        # The gradient of the mean of s / (s + sigma).
        squared = moved.square().sum(1, keepdim=True)
        slope = 2 * self.sigma * moved / (squared + self.sigma).square() / moved.shape[2]
        return slope.reshape(delta.shape)
