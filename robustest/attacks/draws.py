"""Uniform draws from the region: the search that nothing can mislead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.errors import ConfigError, expected
from robustest.threats import Rows, Threat


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomDraws:
    """One random proposal a step, whatever the last one showed; needs labels alone and works on every threat.

    With few features the draws cover the region; with many they show that gradients are masked where they succeed
    at all (the baseline that Carlini et al., arXiv 1902.06705, section 5.3, ask for beside every attack).

    Args:
        queries: proposals a sample, >= 1; what does not fill a round is left out.
        at_once: how many of them a sample makes in one round, in 1..queries. The draws are the same ones: more at once
            are faster where samples are small, and take as many times the memory.

    Raises:
        ConfigError: queries < 1, or at_once outside 1..queries.
    """

    queries: int = 100
    at_once: int = 1

    name: ClassVar[str] = "random-draws"
    needs: ClassVar[Needs] = Needs.LABELS

    def __post_init__(self) -> None:
        if type(self.queries) is not int or self.queries < 1:
            raise ConfigError(expected("queries to be a whole number >= 1", self.queries))
        if type(self.at_once) is not int or not 1 <= self.at_once <= self.queries:
            raise ConfigError(expected(f"at_once to be a whole number in 1..{self.queries}", self.at_once))

    @property
    def steps(self) -> int:
        """All rounds but the last, whose proposals the engine evaluates when the steps are over."""
        return self.queries // self.at_once - 1

    def enough_queries(self, threat: Threat, features: int) -> None:
        """Never: a draw knows nothing of the ones before it."""

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"key": key, "step": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        several = problem.region
        if self.at_once > 1:
            several = {name: rows.repeat_interleave(self.at_once, 0) for name, rows in several.items()}
        asked = state["step"].unsqueeze(1) * self.at_once + torch.arange(self.at_once, device=state["step"].device)
        key = rng.fold(state["key"].repeat_interleave(self.at_once), asked.flatten())
        z = problem.threat.start(several, key)
        return z.view(-1, self.at_once, *z.shape[1:])

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        return {"key": state["key"], "step": state["step"] + 1}
