"""Uniform draws from the region: the search that nothing can mislead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.errors import ConfigError, expected
from robustest.threats import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomDraws:
    """One random proposal a step, whatever the last one showed; needs labels alone and works on every threat.

    With few features the draws cover the region; with many they show that gradients are masked where they succeed
    at all (the baseline that Carlini et al., arXiv 1902.06705, section 5.3, ask for beside every attack).

    Args:
        queries: proposals a sample, >= 1.

    Raises:
        ConfigError: queries < 1.
    """

    queries: int = 100

    name: ClassVar[str] = "random-draws"
    needs: ClassVar[Needs] = Needs.LABELS

    def __post_init__(self) -> None:
        if type(self.queries) is not int or self.queries < 1:
            raise ConfigError(expected("queries to be a whole number >= 1", self.queries))

    @property
    def steps(self) -> int:
        """All but the last proposal, which the engine evaluates when the steps are over."""
        return self.queries - 1

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"key": key, "step": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return problem.threat.start(problem.region, rng.fold(state["key"], state["step"]))

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        return {"key": state["key"], "step": state["step"] + 1}
