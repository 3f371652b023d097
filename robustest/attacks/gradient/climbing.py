"""Attacks that climb a loss from where they stand."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustest.attacks.protocol import Problem
from robustest.threats import Rows


class Climbing:
    """What such attacks share: the point that is asked about is the state's "z", and a loss there is differentiated.

    Attributes:
        climbs: the name of the loss, one of the task's.
    """

    __slots__ = ()

    climbs: ClassVar[str] = "margin"

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return problem.task.losses[self.climbs](logits, problem.y)
