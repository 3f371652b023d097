"""Uniform draws from the region: proposal i of a sample is drawn with its key folded with i."""

# With few features the draws cover the region; with many they show that gradients are masked where they succeed at all
# (the baseline that Carlini et al., arXiv 1902.06705, section 5.3, ask for beside every attack).

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.attacks.queries import InRounds
from robustest.threats import Rows, Threat


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomDraws(InRounds):
    """One random proposal per query; needs labels alone and works on every threat.

    Args:
        queries: proposals per sample, >= 1.
        at_once: proposals of a sample in one round, in 1..queries. The draws are the same for any value.
    """

    queries: int = 100
    at_once: int = 1

    name = "random-draws"
    needs = Needs.LABELS

    def enough_queries(self, threat: Threat, features: int) -> None:
        """Return None: a draw knows nothing of the draws before it."""

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"key": key, "step": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        # More draws at once are faster where samples are small, and take the memory of all.
        several = problem.region
        if self.at_once > 1:
            several = {name: rows.repeat_interleave(self.at_once, 0) for name, rows in several.items()}
        # Keys by the number of the query, not of the round: the same draws for any `at_once`.
        key = rng.fold(state["key"].repeat_interleave(self.at_once), self.numbers(state["step"]).flatten())
        z = problem.threat.start(several, key)
        return z.view(-1, self.at_once, *z.shape[1:])

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return {"key": state["key"], "step": state["step"] + 1}
