"""Coherent moves: all elements up or down, contrast, halves, blur, a shift by one place, low frequencies."""

# Behind a gate, a mask or a router stands another branch, and no gradient points to it. What decides between branches
# is mostly a mean: brightness, contrast, the mean of a window or of some columns. Steps by signs of gradients, random
# draws and small windows leave every mean where it was; a move of all elements together changes it most.
#
# A move is a direction m(x) of the shape of x:
#
#     up  1,  down  -1,  flat  mean(x) - x,  steep  x - mean(x),  rising and falling  a line from -1 to 1 along an axis,
#     halves  +-1 on either side of a cut,  blur  b(x) - x,  sharp  x - b(x),  shift  roll(x) - x,  middle and rim  the
#     inner part against the outer,  channel  one against the others,  waves  sum of cosines of few periods
#
# Flat, blur and shift end where they lead to, project(x + m(x)). The others have no end, and go as far as the region
# does: project(x + c m(x)), and in an L-inf ball x + eps sign(m(x)), which changes a mean with the weights m most. For
# a sample of one axis, whose neighbours mean nothing, the moves of neighbours are random groups.
#
# `CoherentMoves` evaluates such proposals. `CoherentStarts` evaluates the sample, whose gradient is g_0, and the first
# `starts` moves with their gradients g. The moves that reach another branch come first, g and g_0 being apart, and of
# these the ones that promise most, by the loss l(z) + max <g, d> over the region's steps d. The first `kept` are
# followed for `steps_each` evaluations. Behind a gate only a part of the region is of use: the part that the move m
# still dominates. A bisection finds the least weight w of m with which a step stays in the branch:
#
#     z_0 = the move,  g = g(z_0);  w = 1,  low = 0,  high = infinity
#     z = project(x + stride * ascent(g / |g|_1 + w m / |m|_1))
#     if g(z) is nearer to g than to g_0:  g = g(z), high = w  else:  low = w
#     w = sqrt(low high),  or high / 3 and 3 low while the other end is unknown
#
# with gradients apart by |a - b| / (|a| + |b|). The sizes of m's elements matter: an element whose weight in a contrast
# is small is given to the gradient first. Elements of the same size would all change sides at one w, so that m's are
# multiplied by numbers near one. One more way is that from the sample itself, with the mean of g over neighbours in
# place of g, as a detector of noise sends steps by signs to its own branch: its length is bisected, for a branch that
# reaches less far than the region.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Climbing, Evaluation, Needs, Problem
from robustest.attacks.queries import InRounds
from robustest.checks import check_ranges, require, whole
from robustest.threats import Linf, Rows, Threat, is_discrete, length, per_row

# Moves among which some are drawn, a prime; all that there are, and some waves or groups.
_DRAWN = 23
# Gradients of one branch are less far apart, by the length of their difference over the sum of their lengths.
_APART = 0.32
# Taken from the promise of a move that stays in the sample's own branch: more than any loss.
_LAST = 1e6
# The first factors of a weight, until both ends of its bisection are known.
_FACTOR = 3.0
# Elements of a move that are of one size are made different by this share.
_TIES = 0.1
# Waves of a random move, and the most half periods of each along an axis.
_WAVES, _PERIODS = 3, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CoherentMoves(InRounds):
    """Proposals in which all elements move together, one per query; needs labels alone.

    Args:
        queries: proposals per sample, >= 1.
        at_once: proposals of a sample in one round, in 1..queries.
        drawn: moves at random in place of the first ones.
    """

    queries: int = 16
    at_once: int = 1
    drawn: bool = False

    name = "coherent-moves"
    needs = Needs.LABELS

    def supports(self, threat: Threat) -> bool:
        return not is_discrete(threat)

    def enough_queries(self, threat: Threat, features: int) -> None:
        """Return None: so few proposals are no search."""

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"key": key, "step": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        numbers, key = self.numbers(state["step"]), state["key"]
        if self.drawn:  # in an order of each sample's own, without repetition as their number is a prime
            u = rng.uniform(rng.fold(key, "order"), (2,)).double()
            first, stride = (u[:, 0] * _DRAWN).long(), 1 + (u[:, 1] * (_DRAWN - 1)).long()
            numbers = (first.unsqueeze(1) + numbers * stride.unsqueeze(1)) % _DRAWN
        return torch.stack([moved(problem, numbers[:, lane], key) for lane in range(self.at_once)], 1)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return {"key": state["key"], "step": state["step"] + 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoherentStarts(Climbing):
    """Steps along gradients from the coherent moves that promise most, inside the branches that these reach.

    Args:
        starts: moves that are evaluated, >= 1.
        kept: moves followed, in 1..starts; the sample itself is followed beside them.
        steps_each: evaluations on the way from each, >= 2.
    """

    starts: int = field(default=18, metadata=whole(1))
    kept: int = field(default=3, metadata=whole(1))
    steps_each: int = field(default=9, metadata=whole(2))

    name = "coherent-starts"
    needs = Needs.GRADIENT

    def __post_init__(self) -> None:
        check_ranges(self)
        require(self.kept <= self.starts, f"kept to be at most starts, {self.starts}", self.kept)

    def supports(self, threat: Threat) -> bool:
        return not is_discrete(threat)

    @property
    def steps(self) -> int:
        # The last step of all is the proposal that is evaluated without a gradient.
        return self.starts + (self.kept + 1) * self.steps_each

    def init(self, problem: Problem, key: Tensor) -> Rows:
        z = problem.threat.origin(problem.region)
        one = torch.ones(key.shape, dtype=z.dtype, device=z.device)
        return {
            "z": z,
            "key": key,
            "step": torch.zeros_like(key),
            "promise": torch.full((len(key), self.starts), -torch.inf, dtype=z.dtype, device=z.device),
            "own": torch.zeros_like(z),
            "slope": torch.zeros_like(z),
            "move": torch.zeros_like(z),
            "weight": one,
            "low": one,
            "high": one,
        }

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        threat, region, step = problem.threat, problem.region, state["step"]
        z, gradient = evaluation.z, evaluation.gradient
        own = torch.where(per_row(step == 0, z), gradient, state["own"])
        told = {**state, "step": step + 1, "own": own}
        after = step - self.starts
        if bool((after <= 0).any()):
            told["promise"] = self._promised(problem, step, evaluation, own, state["promise"])
        # The place on the way: of which start, and how far.
        turn = after.clamp(min=0) % self.steps_each
        start = after.clamp(min=0) // self.steps_each
        stays, fresh, first = start >= self.kept, turn == 0, turn == 1
        if bool(fresh.any()):
            followed = _different(told["promise"]).gather(1, start.clamp(max=self.kept - 1).unsqueeze(1)).squeeze(1)
            number = torch.where(after < 0, step, followed)  # all moves first
            begin, move = self._start(problem, number, stays, state["key"])
            told["move"] = torch.where(per_row(fresh, z), move, state["move"])
        if bool(fresh.all()):
            return {**told, "z": begin}
        # A step inside the branch is a new end of the bisection, and its gradient the branch's.
        slope = torch.where(per_row(stays, z), blurred(gradient), gradient) if bool(stays.any()) else gradient
        kept = first | (_apart(slope, state["slope"]) < torch.where(stays, _APART, _apart(slope, own)))
        slope = torch.where(per_row(kept, z), slope, state["slope"])
        low = torch.where(kept, state["low"], state["weight"]).masked_fill(first, 0.0)
        high = torch.where(kept, state["weight"], state["high"]).masked_fill(first, torch.inf)
        weight = torch.where(low == 0, high / _FACTOR, (low * high).sqrt())
        weight = torch.where(high == torch.inf, low * _FACTOR, weight).masked_fill(first, 1.0)
        ascent = threat.ascent(_unit(slope) + per_row(weight, z) * told["move"])
        # From the sample itself: as far as its own branch reaches. Each element as its gradient, in an L-inf ball.
        if isinstance(threat, Linf):
            short = (_unit(slope) / per_row(weight, z)).clamp(-1, 1)
        else:
            short = threat.ascent(slope) / per_row(1 + weight, z)
        step_along = per_row(threat.stride(region), z) * torch.where(per_row(stays, z), short, ascent)
        proposal = threat.project(threat.origin(region) + step_along, region)
        told |= {"slope": slope, "weight": weight, "low": low, "high": high}
        return {**told, "z": torch.where(per_row(fresh, z), begin, proposal) if bool(fresh.any()) else proposal}

    def _promised(self, problem: Problem, step: Tensor, evaluation: Evaluation, own: Tensor, promise: Tensor) -> Tensor:
        """Return the promises (B, starts) with those of the moves just evaluated.

        A promise is the move's loss, and what the longest step along its gradient adds. Those that stay in the sample's
        own branch, which other searches see, come last.
        """
        assert evaluation.gradient is not None
        threat, z, gradient = problem.threat, evaluation.z, evaluation.gradient
        value = problem.task.losses["margin"](evaluation.logits, problem.y).to(z.dtype)
        stride = per_row(threat.stride(problem.region), z)
        rise = (gradient * threat.ascent(gradient) * stride).flatten(1).sum(1)
        promised = (value + rise).nan_to_num(nan=-torch.inf)
        promised = promised - torch.where(_apart(gradient, own) < _APART, _LAST, 0.0)
        at = torch.arange(self.starts, device=z.device) == (step - 1).unsqueeze(1)
        return torch.where(at, promised.unsqueeze(1), promise)

    def _start(self, problem: Problem, number: Tensor, stays: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the ways along moves `number` (B,) begin, and the moves (B, *Z) of mean size one."""
        threat, region, x = problem.threat, problem.region, problem.x
        origin = threat.origin(region)
        begin = torch.where(per_row(stays, origin), origin, moved(problem, number, key))
        move = direction(x, number, key) if origin.shape == x.shape else begin - origin
        return begin, _unit(move * rng.uniform(rng.fold(key, "ties"), origin.shape[1:], 1 - _TIES, 1 + _TIES))


def _different(promise: Tensor) -> Tensor:
    """Return (B, N) the places of promises (B, N), the largest first; those equal to a larger one, of moves that are
    the same for a sample, come last.
    """
    order = promise.argsort(dim=1, descending=True, stable=True)
    ranked = promise.gather(1, order)
    again = torch.zeros_like(ranked, dtype=torch.bool)
    again[:, 1:] = ranked[:, :-1] - ranked[:, 1:] <= 1e-5 * ranked[:, 1:].abs()
    return order.gather(1, again.to(torch.int8).argsort(dim=1, stable=True))


def _unit(way: Tensor) -> Tensor:
    """Return directions (B, *Z) of mean size one; zeros stay."""
    return way / per_row(way.abs().flatten(1).mean(1).clamp(min=torch.finfo(way.dtype).tiny), way)


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Return (B,) the length of the difference of gradients (B, *Z) over the sum of their lengths, in [0, 1]."""
    return length(one - other) / (length(one) + length(other)).clamp(min=torch.finfo(one.dtype).tiny)


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
    size = way.abs()
    span = region["span"] if "span" in region else x.new_full((len(x),), problem.bounds[1] - problem.bounds[0])
    # A sample without contrast has no direction of some kinds, and the quotient is a number whatever the bounds are.
    tiny = torch.finfo(x.dtype).tiny
    largest = torch.maximum(size.flatten(1).amax(1), tiny * span).clamp(min=tiny)
    far = per_row(span / largest, x) * way
    if isinstance(threat, Linf):  # all the way, but where the move says next to nothing
        far = per_row(span, x) * torch.where(size > 1e-4 * per_row(largest, x), way.sign(), 0.0)
    kinds = _OF_ROWS if x.ndim == 2 else _OF_FIELDS
    ends = torch.tensor([kind in _ENDING for kind in (*kinds, groups)], device=x.device)
    return threat.project(x + torch.where(per_row(ends[number.clamp(max=len(kinds))], x), way, far), region)


def direction(x: Tensor, number: Tensor, key: Tensor) -> Tensor:
    """Return (B, *S) the directions of coherent moves of samples x by number (B,) int64, those of one kind first."""
    key = rng.fold(rng.fold(key, "move"), number)
    way = torch.zeros_like(x)
    kinds = _OF_ROWS if x.ndim == 2 else _OF_FIELDS
    again = groups if x.ndim == 2 else waves  # any number of them differ
    places = number.clamp(max=len(kinds))
    for place in sorted(set(places.tolist())):
        chosen = (places == place).nonzero().squeeze(1)
        way[chosen] = (*kinds, again)[place](x[chosen], key[chosen])
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


def middle(x: Tensor, key: Tensor) -> Tensor:
    """Return one in the middle half of each axis of space or time, and minus one around it."""
    inner = torch.ones_like(x[0], dtype=torch.bool)
    for axis in range(1 if x.ndim > 2 else 0, x.ndim - 1):
        size = x.shape[axis + 1]
        at = (torch.arange(size, device=x.device) + 0.5) / size
        inner = inner & ((at > 0.25) & (at < 0.75)).view(-1, *[1] * (x.ndim - 2 - axis))
    return torch.where(inner, 1.0, -1.0).to(x.dtype).expand_as(x)


def rim(x: Tensor, key: Tensor) -> Tensor:
    """Return the opposite of the middle."""
    return -middle(x, key)


def channel(x: Tensor, key: Tensor) -> Tensor:
    """Return a random sign for one channel, and the opposite for the others; waves where there is one channel."""
    if x.ndim < 3 or x.shape[1] < 2:
        return waves(x, key)
    u = rng.uniform(rng.fold(key, "channel"), (2,))
    chosen = (u[:, :1] * x.shape[1]).long() == torch.arange(x.shape[1], device=x.device)
    sign = torch.where(chosen == (u[:, 1:] < 0.5), 1.0, -1.0).to(x.dtype)
    return sign.view(*sign.shape, *[1] * (x.ndim - 2)).expand_as(x)


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
    channel,
    rising,
    falling,
    middle,
    rim,
    channel,
    halves,
)
_OF_ROWS: tuple[Move, ...] = (up, down, flat, halves, steep, groups, halves, halves, groups, halves)
# Moves that lead somewhere.
_ENDING: frozenset[Move] = frozenset({flat, blur, shift})


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
