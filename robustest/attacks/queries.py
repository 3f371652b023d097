"""Parts that attacks without gradients share: proposals one by one or in rounds, and the size of a search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor

from robustest.attacks.protocol import Evaluation, Problem
from robustest.checks import checked_whole, require
from robustest.threats import L1, Euclidean, Rows, Threat, Unbounded, per_row


class ByQueries:
    """Attacks without gradients."""

    __slots__ = ()

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")


class OneByOne(ByQueries):
    """Attacks that make one proposal a step; `queries` >= 1 model passes per sample."""

    __slots__ = ()

    queries: int

    @property
    def steps(self) -> int:
        return self.queries - 1  # the engine evaluates the last proposal too

    def within(self, queries: int) -> Self:
        shorter: Self = replace(cast("Any", self), queries=min(self.queries, queries))
        return shorter


class InRounds(ByQueries):
    """Attacks that make several proposals in a round.

    Attributes:
        queries: model passes per sample, >= 1; an incomplete last round is left out.
        at_once: proposals of a sample in one round, in 1..queries.
    """

    __slots__ = ()

    queries: int
    at_once: int

    def __post_init__(self) -> None:
        checked_whole("queries", self.queries, 1)
        fits = type(self.at_once) is int and 1 <= self.at_once <= self.queries
        require(fits, f"at_once to be a whole number in 1..{self.queries}", self.at_once)

    @property
    def steps(self) -> int:
        # The engine evaluates the last round's proposals when the steps are over.
        return self.queries // self.at_once - 1

    def numbers(self, age: Tensor) -> Tensor:
        """Return (B, at_once) int64: the numbers of a row's next queries, after `age` (B,) rounds."""
        return age.unsqueeze(1) * self.at_once + torch.arange(self.at_once, device=age.device)


class BestOfRounds(InRounds):
    """Attacks in rounds that keep a point, and move it to the best proposal of a round where that is better."""

    __slots__ = ()

    def within(self, queries: int) -> Self:
        # Schedules are relative to `queries`, and shrink with it.
        least = min(self.queries, queries)
        shorter: Self = replace(cast("Any", self), queries=least, at_once=min(self.at_once, least))
        return shorter


def best_of(problem: Problem, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    """Return the largest margin loss (B,) of each row's proposals of a round, and its point (B, *Z)."""
    value, lane = problem.task.losses["margin"](evaluation.logits, problem.y).max(1)
    return value, evaluation.z[torch.arange(len(lane), device=lane.device), lane]


def better_of(problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
    """Return the state with a row's best proposal in place of its point, where its margin loss is larger."""
    value, best = best_of(problem, evaluation)
    better = per_row(value > state["value"], best)
    return {
        **state,
        "z": torch.where(better, best, state["z"]),
        "value": torch.maximum(value, state["value"]),
        "age": state["age"] + 1,
    }


# The number of queries of scores that make a search of a ball is measured, and grows with the number of elements, as a
# search without gradients has to ask about each. On networks that gradients break, random search by scores leaves this
# many points more of all samples than gradients do (`benchmarks/queries.py`): in L-inf, with 784 features, 14 with
# 1,000 queries, 5 with 5,000 and 2 with 10,000. In L2 and L1, where a length has to be spent in the right places, 5,000
# to 10,000 queries left 9 to 19 points more, and no number that was tried was enough. On nets of 4 to 64 features 1,000
# left 2 at most, but for 10 in L2 with 4 features: there random draws have to stand beside the search, as in the
# cascades.

_LEAST = 1000
# Queries for each feature, at most `_MOST`: the budget of the papers' schedules (Andriushchenko et al., ECCV 2020;
# Croce et al., AAAI 2022).
_EACH = 13
_MOST = 10_000
# Features up to which searches of L2 and L1 by scores kept up with gradients.
_MEASURED = 64


def enough_scores(threat: Threat, features: int, least: int = _LEAST) -> int | None:
    """Return the fewest queries of scores per sample that count as a search of a threat; None if no number does.

    Args:
        features: elements of a sample.
        least: queries for few features.
    """
    if isinstance(threat, Unbounded):  # a find is proof, and finding nothing shows that the search is broken
        return 1
    if isinstance(threat, Euclidean | L1):
        return least if features <= _MEASURED else None
    return min(_MOST, max(least, _EACH * features))
