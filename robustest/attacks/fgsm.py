"""The fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.threats import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FGSM:
    """One full-length step along the gradient of the cross-entropy (Goodfellow et al., ICLR 2015, section 4).

    The step is the threat's steepest one: the sign of the gradient for L-inf, its direction for L2.
    """

    name: ClassVar[str] = "fgsm"
    needs: ClassVar[Needs] = Needs.GRADIENT
    steps: ClassVar[int] = 1

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"z": problem.threat.origin(problem.region)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, problem.y, reduction="none")

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        assert seen.gradient is not None
        return {"z": seen.z + problem.threat.radius * problem.threat.ascent(seen.gradient)}
