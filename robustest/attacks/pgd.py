"""PGD, projected gradient descent (Madry et al., ICLR 2018, section 2.1)."""

#     z_0 = a random point of the ball (or x)
#     z_(t+1) = project(z_t + a * ascent(g_t)),  g_t the gradient of the log-odds against y at z_t
#
# with the step a = 2 * eps / T, so that T steps span the ball and reach any corner from any start. The engine projects.
# In an L2 ball the last proposal is x + eps * g / |g|: the point that the steps only approach along the sphere, and the
# worst one where the loss is linear. In L1 a step takes the steepest elements to their bounds, one after the other.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from robustest.attacks.protocol import Climbing, Evaluation, Needs, Problem, enough_steps
from robustest.checks import POSITIVE, check_ranges, whole
from robustest.threats import L1, Euclidean, Rows, Threat, filled, per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class PGD(Climbing):
    """Projected steps along the steepest ascent.

    Args:
        steps: gradient steps, >= 1.
        step_size: in input units, or in steps of the threat's `ascent` where a proposal is no input; None means
            2 * eps / steps, or 2 * stride / steps where there is no eps.
        random_start: begin at a random point of the ball rather than at the sample.
    """

    steps: int = field(default=40, metadata=whole(1))
    step_size: float | None = field(default=None, metadata=POSITIVE)
    random_start: bool = True

    name = "pgd"
    needs = Needs.GRADIENT
    climbs: ClassVar[str] = "log_odds"

    def __post_init__(self) -> None:
        check_ranges(self)

    def enough_queries(self, threat: Threat, features: int) -> int | None:
        return enough_steps(threat)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        threat, region = problem.threat, problem.region
        z = threat.start(region, key) if self.random_start else threat.origin(region)
        size = threat.stride(region)
        size = size * (2 / self.steps) if self.step_size is None else torch.full_like(size, self.step_size)
        rounds = {"step": torch.zeros_like(key)} if isinstance(threat, Euclidean) else {}
        return {"z": z, "size": size, **rounds}

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        threat, region, size = problem.threat, problem.region, state["size"]
        if isinstance(threat, L1):
            # The steepest step is along one element and often ends past its bound: fill one element after the other.
            return {"z": evaluation.z + filled(evaluation.gradient, evaluation.z, region, size), "size": size}
        ascent = threat.ascent(evaluation.gradient)
        z = torch.addcmul(evaluation.z, per_row(size, evaluation.z), ascent)
        if "step" not in state:  # no Euclidean ball
            return {"z": z, "size": size}
        assert isinstance(threat, Euclidean)
        rounds = state["step"] + 1
        last = per_row(rounds >= self.steps, z)
        z = torch.where(last, problem.x + per_row(threat.radii(region), z) * ascent, z)
        return {"z": z, "size": size, "step": rounds}
