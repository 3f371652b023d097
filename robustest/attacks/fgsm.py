"""FGSM, the fast gradient sign method: z = x + stride * ascent(g), g the gradient of the log-odds against y at x
(Goodfellow et al., ICLR 2015, section 4, where ascent is the sign).
"""

# The step is the threat's steepest one: the sign of the gradient for L-inf, its direction for L2. In L1, whose steepest
# step knows nothing of the bounds, it goes to where a linear loss is largest: element by element to its bound, those of
# the steepest gradient first, until eps is spent. In L0 the step goes along the gradient and takes most elements to
# their bounds; the projection keeps the pixels that gain most.

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustest.attacks.protocol import Climbing, Evaluation, Needs, Problem, enough_steps
from robustest.threats import L1, Rows, Threat, filled, per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class FGSM(Climbing):
    """One full-length step along the gradient."""

    name = "fgsm"
    needs = Needs.GRADIENT
    # Not the cross-entropy, whose gradient rounds to zero in float32 where the label is certain; per sample both have
    # the same direction of ascent.
    climbs: ClassVar[str] = "log_odds"
    steps = 1

    def enough_queries(self, threat: Threat, features: int) -> int | None:
        return enough_steps(threat)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"z": problem.threat.origin(problem.region)}

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        threat, region = problem.threat, problem.region
        if isinstance(threat, L1):
            return {"z": evaluation.z + filled(evaluation.gradient, evaluation.z, region, threat.stride(region))}
        return {"z": evaluation.z + threat.ascent(evaluation.gradient) * per_row(threat.stride(region), evaluation.z)}
