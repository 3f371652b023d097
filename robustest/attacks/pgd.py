"""Projected gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.errors import ConfigError, expected
from robustest.threats import L1, Rows, per_row, unblocked


@dataclass(frozen=True, slots=True, kw_only=True)
class PGD:
    """Steps along the cross-entropy's steepest ascent, each projected back (Madry et al., ICLR 2018, section 2.1).

    Args:
        steps: gradient steps, >= 1.
        step_size: length of a step in input units, or in steps of the threat's `ascent` where a proposal is no
            input; None means 5 / 3 * eps / steps: between the paper's 4 / 3 (40 steps of 0.01 at eps 0.3) and the
            2.5 that later work of its authors evaluates with. Where there is no eps it is the threat's `stride`.
        random_start: begin at a random point of the ball rather than at the sample.

    Raises:
        ConfigError: steps < 1 or step_size <= 0.
    """

    steps: int = 40
    step_size: float | None = None
    random_start: bool = True

    name: ClassVar[str] = "pgd"
    needs: ClassVar[Needs] = Needs.GRADIENT

    def __post_init__(self) -> None:
        if type(self.steps) is not int or self.steps < 1:
            raise ConfigError(expected("steps to be a whole number >= 1", self.steps))
        if self.step_size is not None and not self.step_size > 0:
            raise ConfigError(expected("step_size > 0", self.step_size))

    def init(self, problem: Problem, key: Tensor) -> Rows:
        threat, region = problem.threat, problem.region
        return {"z": threat.start(region, key) if self.random_start else threat.origin(region)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, problem.y, reduction="none")

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        assert seen.gradient is not None
        threat, region, gradient = problem.threat, problem.region, seen.gradient
        if isinstance(threat, L1):  # steps along one element only: one that the bounds do not hold
            gradient = unblocked(gradient, seen.z, region)
        if self.step_size is not None:
            return {"z": torch.add(seen.z, threat.ascent(gradient), alpha=self.step_size)}
        step = per_row(threat.stride(region) * (5 / 3 / self.steps), seen.z)
        return {"z": torch.addcmul(seen.z, threat.ascent(gradient), step)}
