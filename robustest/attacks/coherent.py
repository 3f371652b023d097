"""Coherent moves: all elements up or down, contrast, halves, blur, a shift by one place, low frequencies."""

# Behind a gate, a mask or a router stands another branch, and no gradient points to it. What decides between branches
# is mostly a mean: brightness, contrast, the mean of a window or of some columns. Steps by signs of gradients, random
# draws and small windows leave every mean where it was; a move of all elements together changes it most.
#
# A move is a direction m(x) of the shape of x:
#
#     up  1,  down  -1,  flat  mean(x) - x,  steep  x - mean(x),  rising and falling  a line from -1 to 1 along an axis,
#     halves  +-1 on either side of a cut,  blur  b(x) - x,  sharp  x - b(x),  shift  roll(x) - x,
#     waves  sum of cosines of few periods
#
# and the proposal is project(x + c m(x) / max |m(x)|), as far as the region goes. For a sample of one axis, whose
# neighbours mean nothing, the moves of neighbours are random groups.
#
# `CoherentMoves` evaluates such proposals. `CoherentStarts` follows each of them by steps along gradients:
#
#     z_0 = move;   z_(t+1) = project(z_t + stride * s_t * ascent(low(gradient of the margin at z_t)))
#
# with s_t from `step_scale` along half a cosine, short enough to stay in a branch that only the move reaches. `low` is
# the mean over neighbours for every other of the later starts: a detector of noise sends steps by signs to its own
# branch.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Climbing, Evaluation, Needs, Problem
from robustest.attacks.queries import InRounds
from robustest.checks import POSITIVE, check_ranges, whole
from robustest.threats import Rows, Threat, is_discrete, per_row

# The first starts, whose gradients are followed as they are.
_FINE = 5
# Waves of a random move, and the most half periods of each along an axis.
_WAVES, _PERIODS = 3, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CoherentMoves(InRounds):
    """Proposals in which all elements move together, one per query; needs labels alone.

    Args:
        queries: proposals per sample, >= 1.
        at_once: proposals of a sample in one round, in 1..queries.
    """

    queries: int = 16
    at_once: int = 1

    name = "coherent-moves"
    needs = Needs.LABELS

    def supports(self, threat: Threat) -> bool:
        return not is_discrete(threat)

    def enough_queries(self, threat: Threat, features: int) -> None:
        """Return None: so few proposals are no search."""

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"key": key, "step": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        numbers = self.numbers(state["step"])
        made = [moved(problem, numbers[:, lane], state["key"]) for lane in range(self.at_once)]
        return torch.stack(made, 1)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return {"key": state["key"], "step": state["step"] + 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoherentStarts(Climbing):
    """Gradient steps from coherent moves, one move after the other.

    Args:
        starts: moves to start from, >= 1.
        steps_each: gradient steps from each, >= 1.
        step_scale: length of the first step from each, as a share of the way across the region.
    """

    starts: int = field(default=10, metadata=whole(1))
    steps_each: int = field(default=4, metadata=whole(1))
    step_scale: float = field(default=0.5, metadata=POSITIVE)

    name = "coherent-starts"
    needs = Needs.GRADIENT

    def __post_init__(self) -> None:
        check_ranges(self)

    def supports(self, threat: Threat) -> bool:
        return not is_discrete(threat)

    @property
    def steps(self) -> int:
        return self.starts * self.steps_each

    def init(self, problem: Problem, key: Tensor) -> Rows:
        step = torch.zeros_like(key)
        return {"z": moved(problem, step, key), "key": key, "step": step}

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        threat, region, step = problem.threat, problem.region, state["step"]
        start, turn = step // self.steps_each, step % self.steps_each
        share = 0.5 * self.step_scale * (1 + torch.cos(math.pi * turn.to(evaluation.z.dtype) / self.steps_each))
        low = per_row((start >= _FINE) & (start % 2 == 1), evaluation.z)
        gradient = torch.where(low, blurred(evaluation.gradient), evaluation.gradient)
        z = torch.addcmul(evaluation.z, threat.ascent(gradient), per_row(threat.stride(region) * share, evaluation.z))
        # The last step of all ends in the proposal that is evaluated without a gradient.
        over = (turn + 1 == self.steps_each) & (step + 1 < self.steps)
        z = torch.where(per_row(over, z), moved(problem, start + 1, state["key"]), z)
        return {"z": z, "key": state["key"], "step": step + 1}


def moved(problem: Problem, number: Tensor, key: Tensor) -> Tensor:
    """Return (B, *Z) the proposals of coherent moves by number (B,) int64, >= 0; random ones are drawn with the key.

    Where proposals are no inputs, the first two are the ends of the region, and the others random starts.
    """
    threat, region, x = problem.threat, problem.region, problem.x
    z = threat.origin(region)
    if z.shape != x.shape:
        start = threat.start(region, rng.fold(rng.fold(key, "move"), number))
        return threat.project(_between(z, region, number, start), region)
    way = direction(x, number, key)
    largest = way.abs().flatten(1).amax(1).clamp(min=torch.finfo(x.dtype).tiny)
    span = region["span"] if "span" in region else x.new_full((len(x),), problem.bounds[1] - problem.bounds[0])
    return threat.project(z + per_row(span / largest, x) * way, region)


def direction(x: Tensor, number: Tensor, key: Tensor) -> Tensor:
    """Return (B, *S) the directions of coherent moves of samples x by number (B,) int64, those of one kind first."""
    key = rng.fold(rng.fold(key, "move"), number)
    way = torch.zeros_like(x)
    kinds = _OF_ROWS if x.ndim == 2 else _OF_FIELDS
    again = groups if x.ndim == 2 else waves  # any number of them differ
    for place, kind in enumerate((*kinds, again)):
        chosen = (number.clamp(max=len(kinds)) == place).nonzero().squeeze(1)
        if len(chosen):
            way[chosen] = kind(x[chosen], key[chosen])
    return way


def _between(z: Tensor, region: Rows, number: Tensor, start: Tensor) -> Tensor:
    """Return the upper and lower ends of a region for the first two numbers, `start` for the others."""
    if "low" not in region or "high" not in region:
        return start
    ends = torch.where(per_row(number == 0, z), region["high"], region["low"]).expand_as(z)
    return torch.where(per_row(number < 2, z), ends, start)


# The moves: functions of samples (B, *S) and their keys (B,); sizes are relative


Move = Callable[[Tensor, Tensor], Tensor]


def up(x: Tensor, key: Tensor) -> Tensor:
    """Return one everywhere."""
    return torch.ones_like(x)


def down(x: Tensor, key: Tensor) -> Tensor:
    """Return minus one everywhere."""
    return -torch.ones_like(x)


def flat(x: Tensor, key: Tensor) -> Tensor:
    """Return the way to the sample's mean: less contrast."""
    return per_row(x.double().flatten(1).mean(1).to(x.dtype), x) - x


def steep(x: Tensor, key: Tensor) -> Tensor:
    """Return the way from the sample's mean: more contrast."""
    return -flat(x, key)


def rising(x: Tensor, key: Tensor) -> Tensor:
    """Return a line along the last axis or, for half of images, along the one before it."""
    lines = []
    for axis in (x.ndim - 1, x.ndim - 2 if x.ndim > 3 else x.ndim - 1):
        line = torch.linspace(-1, 1, x.shape[axis], dtype=x.dtype, device=x.device)
        lines.append(line.view(-1, *[1] * (x.ndim - 1 - axis)).expand_as(x))
    first = rng.uniform(rng.fold(key, "line"), (1,)).squeeze(1) < 0.5
    return torch.where(per_row(first, x), lines[0], lines[1])


def falling(x: Tensor, key: Tensor) -> Tensor:
    """Return the opposite of a rising line."""
    return -rising(x, key)


def halves(x: Tensor, key: Tensor) -> Tensor:
    """Return a random sign on either side of a cut across a random axis, which is at least as long as any other / 2."""
    shape = x.shape[1:]
    axes = [axis for axis, size in enumerate(shape) if 2 * size >= max(shape)]
    u = rng.uniform(rng.fold(key, "cut"), (4,)).double()
    chosen, way = (u[:, 0] * len(axes)).long(), torch.zeros_like(x)
    for place, axis in enumerate(axes):
        cut = (shape[axis] * (0.25 + 0.5 * u[:, 1])).round()
        at = torch.arange(shape[axis], device=x.device)
        before = (at < cut.unsqueeze(1)).view(-1, *[1] * axis, shape[axis], *[1] * (len(shape) - axis - 1))
        # One side may stay.
        values = torch.where(u[:, 2:] < 1 / 3, -1.0, torch.where(u[:, 2:] < 2 / 3, 1.0, 0.0)).to(x.dtype)
        values[:, 1] = torch.where(values[:, 0] == values[:, 1], -values[:, 0], values[:, 1])
        values[:, 0] = torch.where((values == 0).all(1), 1.0, values[:, 0])
        side = torch.where(before, per_row(values[:, 0], x), per_row(values[:, 1], x))
        way = torch.where(per_row(chosen == place, x), side, way)
    return way


def blur(x: Tensor, key: Tensor) -> Tensor:
    """Return the way to the means of neighbours."""
    return blurred(x) - x


def sharp(x: Tensor, key: Tensor) -> Tensor:
    """Return the way from the means of neighbours."""
    return x - blurred(x)


def shift(x: Tensor, key: Tensor) -> Tensor:
    """Return the way to the sample shifted by one place along one of its last two axes."""
    turn = (rng.uniform(rng.fold(key, "shift"), (1,)).squeeze(1) * 4).long()
    last = x.ndim - 1
    along = [(last, 1), (last, -1), *([(last - 1, 1), (last - 1, -1)] if x.ndim > 3 else [(last, 2), (last, -2)])]
    way = torch.zeros_like(x)
    for place, (axis, by) in enumerate(along):
        way = torch.where(per_row(turn == place, x), x.roll(by, axis), way)
    return way - x


def waves(x: Tensor, key: Tensor) -> Tensor:
    """Return a sum of products of cosines, each with 0 to 3 half periods along each axis of space or time."""
    shape = x.shape[1:]
    first = 1 if len(shape) > 1 else 0  # channels move alike
    way = torch.zeros_like(x)
    for wave in range(_WAVES):
        part = torch.ones_like(x)
        drawn = rng.uniform(rng.fold(key, f"wave {wave}"), (2 * len(shape) + 1,))
        for axis in range(first, len(shape)):
            at = (torch.arange(shape[axis], device=x.device) + 0.5) / shape[axis]
            periods = (drawn[:, 2 * axis] * (_PERIODS + 1)).floor().unsqueeze(1)
            along = torch.cos(math.pi * periods * (at + drawn[:, 2 * axis + 1].unsqueeze(1) * (periods > 0)))
            part = part * along.to(x.dtype).view(-1, *[1] * axis, shape[axis], *[1] * (len(shape) - axis - 1))
        way = way + per_row(2 * drawn[:, -1].to(x.dtype) - 1, x) * part
    return way


def groups(x: Tensor, key: Tensor) -> Tensor:
    """Return up, down or no move for each element at random."""
    u = rng.uniform(rng.fold(key, "groups"), x.shape[1:])
    return (u > 0.6).to(x.dtype) - (u < 0.4).to(x.dtype)


_OF_FIELDS: tuple[Move, ...] = (
    up,
    down,
    flat,
    rising,
    falling,
    waves,
    steep,
    blur,
    halves,
    shift,
    sharp,
)
_OF_ROWS: tuple[Move, ...] = (up, down, flat, halves, steep, groups, halves, halves, groups, halves)


def blurred(x: Tensor) -> Tensor:
    """Return the mean of each element and its neighbours along the axes of space or time; rows of a table as they
    are.
    """
    if x.ndim < 3:
        return x
    out = x
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        at = torch.arange(size, device=x.device)
        before = out.index_select(axis, (at - 1).clamp(min=0))
        after = out.index_select(axis, (at + 1).clamp(max=size - 1))
        out = (before + out + after) / 3
    return out
