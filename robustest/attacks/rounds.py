"""Attacks without gradients that make several proposals of a sample in a round."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.attacks.protocol import Evaluation, Problem
from robustest.checks import checked_whole
from robustest.errors import ConfigError, expected
from robustest.threats import Rows, per_row


class InRounds:
    """What such attacks share: how many rounds there are, and that nothing is differentiated.

    Attributes:
        queries: model passes per sample, >= 1; what does not fill a round is left out.
        at_once: how many of them a sample makes in one round, in 1..queries.
    """

    __slots__ = ()

    queries: int
    at_once: int

    @property
    def steps(self) -> int:
        """All rounds but the last, whose proposals the engine evaluates when the steps are over."""
        return self.queries // self.at_once - 1

    def numbers(self, age: Tensor) -> Tensor:
        """(B, at_once) int64: which queries of a row those of its next round are, after `age` (B,) rounds."""
        return age.unsqueeze(1) * self.at_once + torch.arange(self.at_once, device=age.device)

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")


def checked_rounds(queries: int, at_once: int) -> None:
    """Raise ConfigError unless queries >= 1 and at_once in 1..queries, both whole."""
    checked_whole("queries", queries, 1)
    if type(at_once) is not int or not 1 <= at_once <= queries:
        raise ConfigError(expected(f"at_once to be a whole number in 1..{queries}", at_once))


def best_of(problem: Problem, seen: Evaluation) -> tuple[Tensor, Tensor]:
    """Of the proposals that each row made at once, that with the largest margin loss: loss (B,) and point (B, *Z)."""
    value, lane = problem.task.losses["margin"](seen.logits, problem.y).max(1)
    return value, seen.z[torch.arange(len(lane), device=lane.device), lane]


def better_of(problem: Problem, state: Rows, seen: Evaluation) -> Rows:
    """The state with the best of a row's proposals in the place of its point, where that has a larger margin."""
    value, best = best_of(problem, seen)
    better = per_row(value > state["value"], best)
    return {
        **state,
        "z": torch.where(better, best, state["z"]),
        "value": torch.maximum(value, state["value"]),
        "age": state["age"] + 1,
    }
