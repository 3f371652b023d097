"""Every way in which an answer can turn wrong, each tried alone."""

# A number may leave its tolerance above or below, a row of labels at any of them: the way that is nearest on the sample
# need not be the one that the threat allows. For a `Sided` task with ways d_1(f(x)) <= d_2(f(x)) <= ... (distances to
# wrong answers, in order at x):
#
#     for each of the first `ways` ways j:  z_0 = x;  z_(t+1) = project(z_t - stride * (1 + cos(pi t / T)) / 2 * ascent(
#     gradient of d_j at z_t))
#
# The first step is as long as the ball allows, which is where a linear model is worst.

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest.attacks.protocol import AtPoint, Evaluation, Needs, Problem
from robustest.checks import check_ranges, whole
from robustest.tasks import Sided, Task
from robustest.threats import Euclidean, Linf, Rows, Threat, per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class EachWay(AtPoint):
    """Steps from the sample towards each way of a `Sided` task, the nearest first.

    Args:
        ways: ways tried, those of the least distance on the sample, >= 1.
        steps_each: gradient steps towards each, >= 1.
    """

    ways: int = field(default=10, metadata=whole(1))
    steps_each: int = field(default=5, metadata=whole(1))

    name = "each-way"
    needs = Needs.GRADIENT

    def __post_init__(self) -> None:
        check_ranges(self)

    def suits(self, task: Task) -> bool:
        return isinstance(task, Sided)

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, (Linf, Euclidean))

    @property
    def steps(self) -> int:
        return self.ways * self.steps_each

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"z": problem.threat.origin(problem.region), "way": torch.zeros_like(key), "step": torch.zeros_like(key)}

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        ways = self._ways(problem, logits)
        return -ways.gather(1, self._way(state, ways).unsqueeze(1)).squeeze(1)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        threat, region, step = problem.threat, problem.region, state["step"]
        share = 0.5 * (1 + torch.cos(math.pi * (step % self.steps_each).to(evaluation.z.dtype) / self.steps_each))
        length = threat.stride(region) * share
        z = torch.addcmul(evaluation.z, threat.ascent(evaluation.gradient), per_row(length, evaluation.z))
        # The next way begins at the sample again.
        turn = ((step + 1) % self.steps_each == 0) & (step + 1 < self.steps)
        z = torch.where(per_row(turn, z), threat.origin(region), z)
        return {"z": z, "way": self._way(state, self._ways(problem, evaluation.logits)), "step": step + 1}

    def _ways(self, problem: Problem, logits: Tensor) -> Tensor:
        assert isinstance(problem.task, Sided)
        return problem.task.ways(logits, problem.y)

    def _way(self, state: Rows, ways: Tensor) -> Tensor:
        place = torch.div(state["step"], self.steps_each, rounding_mode="floor").clamp(max=ways.shape[1] - 1)
        order = ways.detach().argsort(dim=1, stable=True)
        fresh = order.gather(1, place.unsqueeze(1)).squeeze(1)
        return torch.where(state["step"] % self.steps_each == 0, fresh, state["way"])
