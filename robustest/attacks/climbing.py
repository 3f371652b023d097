"""Attacks that climb the margin from where they stand."""

from __future__ import annotations

from torch import Tensor

from robustest.attacks.protocol import Problem
from robustest.threats import Rows


class ClimbsMargin:
    """What such attacks share: the point that is asked about is the state's "z", and its margin is differentiated."""

    __slots__ = ()

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return problem.task.losses["margin"](logits, problem.y)
