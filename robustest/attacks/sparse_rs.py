"""Sparse-RS: random search for the few elements that matter, by scores alone (Croce et al., AAAI 2022, section 3)."""

# L0, with k pixels allowed: keep a set M of k pixels, each channel at one of its bounds. After i of N queries
#
# 1. A = random pixels of M, B = as many random pixels outside of it; their number is alpha * k / (a factor that grows
#    with i: the paper's schedule of 10,000 queries, stretched to N).
# 2. Put A back, set B to random bounds, and keep the new set if its margin loss is larger than ever before.
#
# Values that would change nothing become the opposite bounds, which the paper does not do. L1, which the paper leaves
# out: the same with single elements, as many as eps pays for on average.

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.attacks.queries import BestOfRounds, better_of, enough_scores
from robustest.checks import require
from robustest.threats import L0, L1, Rows, Threat, by_pixel

# Pairs (queries of `_OF`, divisor): from then on the share of pixels exchanged is `alpha` over the divisor.
_FALLS = ((0, 1), (50, 2), (200, 4), (500, 5), (1000, 6), (2000, 8), (4000, 10), (6000, 12), (8000, 15))
_OF = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseRS(BestOfRounds):
    """Random search for few pixels, or few elements in L1.

    Args:
        queries: model passes per sample, >= 1.
        alpha: share of the pixels that the first queries exchange, in (0, 1].
        at_once: changes tried on the same point, >= 1; the best is kept if it is better than the point. The paper tries
            1.
    """

    queries: int = 1000
    alpha: float = 0.3
    at_once: int = 1

    name = "sparse-rs"
    needs = Needs.SCORES

    def __post_init__(self) -> None:
        BestOfRounds.__post_init__(self)  # super() fails in a class that slots made anew
        require(0 < self.alpha <= 1, "alpha in (0, 1]", self.alpha)

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, L0 | L1)

    def enough_queries(self, threat: Threat, features: int) -> int | None:
        return enough_scores(threat, features)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {
            "z": problem.x,
            "value": torch.full((len(key),), -torch.inf, device=key.device),
            "key": key,
            "age": torch.zeros_like(key),
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        x, z = (_elements(problem, v).unsqueeze(1) for v in (problem.x, state["z"]))
        age = state["age"]
        channels, places = x.shape[2:]
        query = self.numbers(age)
        key = rng.fold(state["key"], age)
        u = rng.uniform(rng.fold(key, "places"), (self.at_once, places))
        changed = (z != x).any(2)
        most, allowed = _allowed(problem)
        # The number of pixels (B, A) that are exchanged after `asked` queries.
        marks = torch.tensor([self.queries * at / _OF for at, _ in _FALLS[1:]], device=query.device)
        shares = torch.tensor([self.alpha / by for _, by in _FALLS], device=query.device)
        share = shares[torch.bucketize(query.to(marks.dtype), marks, right=True)]
        going = (share * allowed.unsqueeze(1)).ceil().clamp(min=1).long()
        # One draw a pixel orders both sets: the changed pixels with the largest draws go, the others with the smallest
        # come, so that no pixel is in both.
        stays = changed & ~_largest(torch.where(changed, u, -1.0), going, most)
        coming = allowed.unsqueeze(1) - stays.sum(2)
        fresh = _largest(torch.where(stays, -1.0, 1 - u), coming, most) & ~stays
        low, high = problem.bounds
        coin = rng.uniform(rng.fold(key, "values"), (self.at_once, channels, places)) < 0.5
        value = torch.where(coin, low, high)
        # A pixel that holds these values already gets the opposite bounds: the query would be wasted.
        value = torch.where((value == x).all(2, keepdim=True), low + high - value, value)
        moved = torch.where(fresh.unsqueeze(2), value, torch.where(stays.unsqueeze(2), z, x))
        return moved.reshape(len(age), self.at_once, *problem.x.shape[1:])

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return better_of(problem, state, evaluation)


def _elements(problem: Problem, v: Tensor) -> Tensor:
    """Return (B, C, P) units of change: pixels with their channels for L0, single elements for L1."""
    return by_pixel(v) if isinstance(problem.threat, L0) else v.flatten(1).unsqueeze(1)


def _allowed(problem: Problem) -> tuple[int, Tensor]:
    """Return the most changes of any sample, and (B,) int64 those of each."""
    threat, x, (low, high) = problem.threat, problem.x, problem.bounds
    places = _elements(problem, x).shape[2]
    if isinstance(threat, L0):
        most = min(threat.pixels, places)
        return most, torch.full((len(x),), most, device=x.device)
    # A bound drawn at random is half of the span away, from an element at a bound all of it.
    most = min(places, math.ceil(2 * threat.radius / (high - low)))
    edge = ((x == low) | (x == high)).flatten(1).double().mean(1)
    return most, (2 * threat.radius / ((high - low) * (1 + edge))).ceil().long().clamp(max=most)


def _largest(score: Tensor, count: Tensor, most: int) -> Tensor:
    order = score.topk(most, dim=2).indices
    chosen = torch.arange(most, device=score.device) < count.unsqueeze(2)
    return torch.zeros_like(score, dtype=torch.bool).scatter(2, order, chosen)
