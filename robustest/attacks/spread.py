"""Spread and crossed draws: a search of a region of which only its draws, its projection and its ends are known."""

# The first `share` of the queries covers the region, the others go on from the best point z.
#
# 1. A proposal of few elements between "low" and "high" is a point of a box. Where both ends are whole numbers and the
#    box holds few whole points, all of these are asked, in turn: shifts, places and numbers of a list are such. Else
#    the points are those of a Kronecker sequence, frac(u + i a), a_j = g^-j with g^(d + 1) = g + 1 for d elements,
#    which leaves smaller gaps than random draws do. Proposals of more elements are draws.
# 2. Draw f from the region, choose elements at random, one at least, and put z_j + r (f_j - z_j) in their place, with
#    r = 1 for half of the proposals and r uniform for the others. Keep the result where its loss is not smaller.

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.attacks.queries import BestOfRounds, best_of
from robustest.checks import checked_real
from robustest.threats import Rows, Threat, is_discrete, per_row

# Most elements of a proposal that a sequence covers.
_FEW = 6
# Elements that a proposal takes from a draw, on average, of a point of many.
_TAKEN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadDraws(BestOfRounds):
    """Points spread over the region, then draws crossed with the best point; for threats of any kind.

    Args:
        queries: model passes per sample, >= 1; an incomplete last round is left out.
        at_once: proposals of a sample in one round, in 1..queries.
        share: of the queries, for the spread points, in 0..1.
    """

    queries: int = 1000
    at_once: int = 50
    share: float = field(default=0.6)

    name = "spread-draws"
    needs = Needs.SCORES

    def __post_init__(self) -> None:
        BestOfRounds.__post_init__(self)  # super() fails in a class that slots made anew
        checked_real("share", self.share, low=0, high=1)

    def supports(self, threat: Threat) -> bool:
        return not is_discrete(threat)

    def enough_queries(self, threat: Threat, features: int) -> None:
        """Return None: nothing is known of the region, so that no number of queries is known to be enough."""

    def init(self, problem: Problem, key: Tensor) -> Rows:
        z = problem.threat.origin(problem.region).clone()
        return {
            "z": z,
            "value": torch.full((len(key),), -torch.inf, device=key.device),
            "key": key,
            "age": torch.zeros_like(key),
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        threat, z, lanes = problem.threat, state["z"], self.at_once
        number = self.numbers(state["age"])
        wide = {name: rows.repeat_interleave(lanes, 0) for name, rows in problem.region.items()}
        key = rng.fold(rng.fold(state["key"], "spread").repeat_interleave(lanes), number.flatten())
        draw = threat.start(wide, key)
        elements = math.prod(z.shape[1:])
        # Crossed with the best point.
        u = rng.uniform(rng.fold(key, "which"), (elements + 2,)).to(z.dtype)
        chosen = u[:, :elements] < min(0.5, _TAKEN / max(1, elements))
        one = (u[:, -1] * elements).long().clamp(max=elements - 1).unsqueeze(1)
        chosen = chosen.scatter(1, one, True).view_as(draw)
        part = torch.where(u[:, -2] < 0.5, 1.0, 2 * u[:, -2] - 1).to(z.dtype)
        best = z.repeat_interleave(lanes, 0)
        crossed = torch.where(chosen, best + per_row(part, best) * (draw - best), best)
        covering = _points(problem, number, state["key"], int(self.share * self.queries))
        early = number < self.share * self.queries
        first = draw if covering is None else covering.view_as(draw)
        made = torch.where(per_row(early.flatten(), draw), first, crossed)
        return threat.project(made, wide).view(-1, lanes, *z.shape[1:])

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        value, point = best_of(problem, evaluation)
        better = value >= state["value"]  # equal losses too: labels and plateaus
        return {
            "z": torch.where(per_row(better, point), point, state["z"]),
            "value": torch.maximum(value, state["value"]),
            "key": state["key"],
            "age": state["age"] + 1,
        }


def _points(problem: Problem, number: Tensor, key: Tensor, most: int) -> Tensor | None:
    """Return the points (B, L, D) of numbers (B, L) of the box of proposals; None where it has too many elements.

    Args:
        most: number of whole points up to which all of them are asked.
    """
    region, z = problem.region, problem.threat.origin(problem.region)
    elements = math.prod(z.shape[1:])
    if not 0 < elements <= _FEW or "low" not in region or "high" not in region:
        return None
    try:
        low, high = (region[name].expand_as(z).flatten(1).double() for name in ("low", "high"))
    except RuntimeError:  # the ends of the inputs, and not of the proposals
        return None
    if not bool((low.isfinite() & high.isfinite()).all()):
        return None
    count = (high - low + 1).clamp(min=1)
    whole = ((low == low.round()) & (high == high.round())).all(1) & (count.prod(1) <= most)
    left, lattice = number.double(), []
    for element in range(elements):
        each = count[:, element : element + 1]
        lattice.append(low[:, element : element + 1] + left.remainder(each).floor())
        left = (left / each).floor()
    root = 2.0
    for _ in range(32):  # the root of g^(d + 1) = g + 1
        root = (1 + root) ** (1 / (elements + 1))
    steps = torch.tensor([root ** -(element + 1) for element in range(elements)], dtype=torch.float64).to(z.device)
    start = rng.uniform(rng.fold(key, "sequence"), (1, elements)).double()
    sequence = (start + (number + 1).double().unsqueeze(2) * steps).frac()
    spread = low.unsqueeze(1) + sequence * (high - low).unsqueeze(1)
    # A whole number stands for all that rounds to it, also at the ends.
    return torch.where(whole.view(-1, 1, 1), torch.stack(lattice, 2), spread).to(z.dtype)
