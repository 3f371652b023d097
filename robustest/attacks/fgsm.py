"""The fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest.attacks import losses
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.threats import L0, L1, Rows, per_row

_FAR = 1e4
"""Length of the step that stands for an endless one, in widths of the bounds: what float32 can still tell apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FGSM:
    """One full-length step along the gradient of the cross-entropy (Goodfellow et al., ICLR 2015, section 4).

    The step is the threat's steepest one: the sign of the gradient for L-inf, its direction for L2. For L1 and L0,
    whose steepest step knows nothing of the bounds, it goes along the gradient itself, so far that its projection
    is where a linear loss is largest: element by element to its bound, in the order of what that gains.
    """

    name: ClassVar[str] = "fgsm"
    needs: ClassVar[Needs] = Needs.GRADIENT
    steps: ClassVar[int] = 1

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"z": problem.threat.origin(problem.region)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return losses.log_odds(logits, problem.y)

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        assert seen.gradient is not None
        threat, region = problem.threat, problem.region
        if isinstance(threat, (L1, L0)):
            largest = seen.gradient.abs().flatten(1).amax(1).clamp(min=torch.finfo(seen.z.dtype).tiny)
            direction = seen.gradient / per_row(largest, seen.z)
            return {"z": seen.z + direction * per_row(_FAR * region["span"], seen.z)}
        return {"z": seen.z + threat.ascent(seen.gradient) * per_row(threat.stride(region), seen.z)}
