"""Short restarts from output-diversified starts, on the margin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.errors import ConfigError, expected
from robustest.threats import Rows, per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class ODIMargin:
    """A few steps towards random output directions, then a few on the margin with a falling step length.

    The start is output-diversified: from a random point, steps that climb a random linear form of the logits
    (Tashiro, Song and Ermon, NeurIPS 2020, section 4, with their weights uniform in [-1, 1]). Then projected
    steps climb the largest other logit minus the label's, their length following half a cosine (the schedule
    of Liu et al., CVPR 2022, section 3.2). Cheap and made to be repeated on what is left: every round starts
    elsewhere.

    Args:
        start_steps: steps of the output-diversified start, >= 0.
        steps_after: steps on the margin, >= 1.
        step_scale: length of the first step on the margin, as a share of eps.

    Raises:
        ConfigError: a number is out of range.
    """

    start_steps: int = 2
    steps_after: int = 10
    step_scale: float = 1.0

    name: ClassVar[str] = "odi-margin"
    needs: ClassVar[Needs] = Needs.GRADIENT

    def __post_init__(self) -> None:
        if type(self.start_steps) is not int or self.start_steps < 0:
            raise ConfigError(expected("start_steps to be a whole number >= 0", self.start_steps))
        if type(self.steps_after) is not int or self.steps_after < 1:
            raise ConfigError(expected("steps_after to be a whole number >= 1", self.steps_after))
        if not self.step_scale > 0:
            raise ConfigError(expected("step_scale > 0", self.step_scale))

    @property
    def steps(self) -> int:
        return self.start_steps + self.steps_after

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {
            "z": problem.threat.start(problem.region, rng.fold(key, "start")),
            "direction": rng.uniform(rng.fold(key, "direction"), (problem.classes,), -1.0, 1.0),
            "step": torch.zeros_like(key),
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        at = problem.y.unsqueeze(1)
        margin = logits.scatter(1, at, -torch.inf).amax(1) - logits.gather(1, at).squeeze(1)
        if self.start_steps == 0:
            return margin
        diverse = (state["direction"] * logits).sum(1)
        return torch.where(state["step"] < self.start_steps, diverse, margin)

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        assert seen.gradient is not None
        done = (state["step"] - self.start_steps).clamp(min=0).to(seen.z.dtype)
        share = self.step_scale * 0.5 * (1 + torch.cos(math.pi * done / self.steps_after))
        length = problem.threat.radius * share
        z = torch.addcmul(seen.z, problem.threat.ascent(seen.gradient), per_row(length, seen.z))
        return {"z": z, "direction": state["direction"], "step": state["step"] + 1}
