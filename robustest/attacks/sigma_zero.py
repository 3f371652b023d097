"""The fewest pixels: gradient steps on a smooth count, with a moving threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.errors import ConfigError, expected
from robustest.threats import L0, Rows, Threat, by_pixel, per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaZero:
    """sigma-zero (Cina et al., ICLR 2025, section 2, algorithm 1): a minimum-norm attack on the count of changed pixels.

    Descends the margin of the label, cut off at zero, plus the smooth share of changed pixels
    `mean(s / (s + sigma))`, where s is a pixel's squared change over its channels. The step is scaled to a largest
    element of 1 and falls with half a cosine; afterwards pixels that changed by less than a threshold are put back.
    The threshold grows while the proposal is adversarial and shrinks while it is not. It walks from the sample and
    is confined to the bounds alone; changes are counted as shares of the bounds' width. The numbers are the
    paper's, section 3.1, but for fewer steps; with one channel it is the paper's attack, which counts elements.

    Args:
        steps: gradient steps, >= 1.
        step_size: length of the first step, > 0.
        sigma: smoothness of the count, > 0: smaller is closer to the count.
        threshold: the change below which pixels are put back, to begin with, in 0..1.
        threshold_step: how fast the threshold moves, as a share of the step length, >= 0.

    Raises:
        ConfigError: a number is out of range.
    """

    steps: int = 300
    step_size: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    threshold_step: float = 0.01

    name: ClassVar[str] = "sigma-zero"
    needs: ClassVar[Needs] = Needs.GRADIENT
    confined: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if type(self.steps) is not int or self.steps < 1:
            raise ConfigError(expected("steps to be a whole number >= 1", self.steps))
        for name in ("step_size", "sigma"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(expected(f"{name} > 0", getattr(self, name)))
        if not 0 <= self.threshold <= 1:
            raise ConfigError(expected("threshold to be in 0..1", self.threshold))
        if not 0 <= self.threshold_step < math.inf:
            raise ConfigError(expected("threshold_step >= 0", self.threshold_step))

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, L0)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {
            "z": problem.x,
            "threshold": problem.region["span"].new_full((len(key),), self.threshold),
            "step": torch.zeros_like(key),
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        at = problem.y.unsqueeze(1)
        others = logits.scatter(1, at, -torch.inf).amax(1)
        return -F.relu(logits.gather(1, at).squeeze(1) - others)

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        assert seen.gradient is not None
        x, span = problem.x, per_row(problem.region["span"], problem.x)
        fooled = seen.logits.argmax(1) != problem.y
        progress = state["step"].to(x.dtype) / self.steps
        length = self.step_size * 0.5 * (1 + torch.cos(math.pi * progress))
        shift = self.threshold_step * length
        threshold = (state["threshold"] + torch.where(fooled, shift, -shift)).clamp(0, 1)
        delta = (seen.z - x) / span
        descent = _unit(seen.gradient * span - self._count_slope(delta))
        z = (x + (delta + per_row(length, x) * descent) * span).clamp(*problem.bounds)
        change = by_pixel((z - x).abs() / span).amax(1, keepdim=True)
        kept = torch.where(change >= threshold.view(-1, 1, 1), by_pixel(z), by_pixel(x)).reshape(x.shape)
        return {"z": kept, "threshold": threshold, "step": state["step"] + 1}

    def _count_slope(self, delta: Tensor) -> Tensor:
        """The gradient of the smooth share of changed pixels."""
        moved = by_pixel(delta)
        squared = moved.square().sum(1, keepdim=True)
        slope = 2 * self.sigma * moved / (squared + self.sigma).square() / moved.shape[2]
        return slope.reshape(delta.shape)


def _unit(v: Tensor) -> Tensor:
    """Each row scaled to a largest element of 1; zero stays zero."""
    largest = v.abs().flatten(1).amax(1).clamp(min=torch.finfo(v.dtype).tiny)
    return v / per_row(largest, v)
