"""Attacks without gradients: one proposal of a sample after the other, or several in a round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from robustest.attacks.protocol import Evaluation, Problem
from robustest.checks import checked_whole
from robustest.errors import ConfigError, expected
from robustest.threats import Rows, per_row


class OneByOne:
    """What attacks share that make one proposal a step.

    Attributes:
        queries: model passes per sample, >= 1.
    """

    __slots__ = ()

    queries: int

    @property
    def steps(self) -> int:
        return self.queries - 1  # the engine evaluates the last proposal too

    def within(self, queries: int) -> Self:
        """This attack in at most that many queries."""
        shorter: Self = replace(cast("Any", self), queries=min(self.queries, queries))
        return shorter

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")


class InRounds:
    """What attacks share that make several proposals in a round.

    Attributes:
        queries: model passes per sample, >= 1; what does not fill a round is left out.
        at_once: how many of them a sample makes in one round, in 1..queries.
    """

    __slots__ = ()

    queries: int
    at_once: int

    def __post_init__(self) -> None:
        checked_whole("queries", self.queries, 1)
        if type(self.at_once) is not int or not 1 <= self.at_once <= self.queries:
            raise ConfigError(expected(f"at_once to be a whole number in 1..{self.queries}", self.at_once))

    @property
    def steps(self) -> int:
        """All rounds but the last, whose proposals the engine evaluates when the steps are over."""
        return self.queries // self.at_once - 1

    def numbers(self, age: Tensor) -> Tensor:
        """(B, at_once) int64: which queries of a row those of its next round are, after `age` (B,) rounds."""
        return age.unsqueeze(1) * self.at_once + torch.arange(self.at_once, device=age.device)

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")


class BestOfRounds(InRounds):
    """Attacks in rounds that keep a point, and move it to the best proposal of a round where that is better."""

    __slots__ = ()

    def within(self, queries: int) -> Self:
        """This attack in at most that many queries, its schedule squeezed."""
        least = min(self.queries, queries)
        shorter: Self = replace(cast("Any", self), queries=least, at_once=min(self.at_once, least))
        return shorter


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
