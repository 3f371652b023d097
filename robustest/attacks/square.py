"""Square: random search over windows, by scores alone (Andriushchenko et al., ECCV 2020, algorithms 1 to 3)."""

# For a sample x with label y, margin loss L and the ball of radius eps:
#
# 1. z = x + vertical stripes of +-eps in every channel (L-inf), or a grid of bumps of length eps (L2, L1).
# 2. After i of N queries a window covers the share p(i) = p_init / 2^h of the input, where h counts the marks of the
#    schedule that i has passed; the paper's marks for 10,000 queries are stretched to N.
# 3. delta = a window at a uniformly random place, filled
#    - in L-inf (algorithm 2): with +eps or -eps, one coin for each channel;
#    - in L2 (algorithm 3): with a pair of pyramids eta of opposite sign, which takes the length of a second window and
#      the length that is not spent yet. In L1 the same in that norm's lengths (Croce and Hein, ICML 2021, section 4).
# 4. z = project(z + delta) if L(z + delta) > L(z); else z stays. Go on with 2 until the queries are spent.
#
# The engine projects and judges, and drops broken samples earlier. With `at_once` = A a step tries A windows on the
# same point and keeps the best of them, if any is better.

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.attacks.queries import BestOfRounds, best_of, enough_scores
from robustest.checks import require
from robustest.threats import L1, Euclidean, Linf, Rows, Threat, Unbounded, per_row

# Queries out of `_OF` after which the changed share of the input halves (section 4.1).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_OF = 10_000
_TINY = 1e-12
# L2 begins with about this many tiles along each axis.
_TILES = 5
# The smallest side of a window of L2, which must hold two pyramids.
_LEAST = 3

Grid = tuple[int, int, int]
"""Channels, height and width of the grid of an input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Square(BestOfRounds):
    """The Square attack in L-inf, L2, L1, and within the input's bounds alone.

    An input (C, H, W) is searched as it is; (H, W) is one channel; (D,), tabular data, is one channel of height 1,
    whose windows are runs of neighbouring columns; (C, T, H, W) has T * H rows.

    Args:
        queries: model passes per sample, >= 1.
        p_init: share of the input that the first windows cover, in (0, 1]; it halves nine times, as in the paper.
        at_once: windows tried on the same point, >= 1. The paper tries 1.
    """

    queries: int = 1000
    p_init: float = 0.8
    at_once: int = 1

    name = "square"
    needs = Needs.SCORES

    def __post_init__(self) -> None:
        BestOfRounds.__post_init__(self)  # super() fails in a class that slots made anew
        require(0 < self.p_init <= 1, "p_init in (0, 1]", self.p_init)

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Linf | Euclidean | L1 | Unbounded)

    def enough_queries(self, threat: Threat, features: int) -> int | None:
        return enough_scores(threat, features)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        x, region, threat = problem.x, problem.region, problem.threat
        channels, height, width = grid = grid_of(x)
        if isinstance(threat, L1 | Euclidean):
            bumps = _tiles(rng.fold(key, "start"), grid).view_as(x)
            size = torch.linalg.vector_norm(bumps.flatten(1), _order(threat), dim=1).clamp(min=_TINY)
            z = threat.project(x + per_row(threat.stride(region) / size, x) * bumps, region)
        else:
            # One coin a column and channel: convolutions see stripes well (section 4.1, figure 3).
            stripes = rng.signs(rng.fold(key, "start"), (channels, 1, width)).add_(1).div_(2)
            z = torch.lerp(region["low"], region["high"], stripes.expand(-1, -1, height, -1).reshape(x.shape))
        # All draws at once: one by one they would cost as much as a small model's passes. A proposal of L-inf draws two
        # numbers for the window's place and a coin for each channel; L2 two places, a coin for the split, and signs.
        each = (5 if isinstance(threat, L1 | Euclidean) else 2) + channels
        return {
            "z": z,
            "value": torch.full((len(x),), -torch.inf, device=x.device),
            "age": torch.zeros_like(key),
            "draws": rng.uniform(rng.fold(key, "windows"), (self.steps + 1, self.at_once, each)),
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        propose = _pyramids if isinstance(problem.threat, L1 | Euclidean) else _corners
        return propose(self, problem, state).view(len(problem.x), self.at_once, *problem.x.shape[1:])

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        value, z = best_of(problem, evaluation)
        better = (value > state["value"]).to(z.dtype)
        return {
            "z": torch.lerp(state["z"], z, per_row(better, z)),
            "value": torch.maximum(value, state["value"]),
            "age": state["age"] + 1,
            "draws": state["draws"],
        }


# Speed: most of these tensors are as large as the inputs, so they are combined by arithmetic on masks of 0 and 1,
# which `lerp` takes exactly. `where` and comparisons cost several times as much on a CPU.


def _corners(attack: Square, problem: Problem, state: Rows) -> Tensor:
    channels, height, width = grid = grid_of(problem.x)
    plan = _plan(attack, grid, 1, problem.x.device)
    z, low, high = (
        t.expand_as(problem.x).reshape(-1, 1, *grid)
        for t in (state["z"], problem.region["low"], problem.region["high"])
    )
    query, u = _queries_and_draws(attack, state)
    # The window: its side by the number of the query, its place by the first two draws.
    stage = torch.bucketize(query, plan.marks)
    _, inside = _windows(plan, stage, u[:, None, :2])
    window = inside[:, :, 0, :height, None] * inside[:, :, 1, None, :width]
    window = window.view(-1, attack.at_once, 1, height, width)
    # Its filling: per channel the upper or the lower end of the ball.
    up = (u[:, 2:] < 0.5).float().view(-1, attack.at_once, channels)
    # A window that holds this filling already would waste a query (a chance of 1 in 2^C): it gets the opposite one.
    # The number of elements above the lower end equals `up * area` in every channel just then.
    area = plan.size[stage].prod(1).view(-1, attack.at_once, 1)
    same = (((z - low).sign() * window).sum((3, 4)) == up * area).all(2, keepdim=True)
    up = (up - same.float()).abs()
    return torch.lerp(z, torch.lerp(low, high, up[..., None, None]), window)


def _pyramids(attack: Square, problem: Problem, state: Rows) -> Tensor:
    """Return (B A, C, H, W) the proposals for L2 and L1 (algorithm 3)."""
    channels, height, width = grid = grid_of(problem.x)
    plan = _plan(attack, grid, _LEAST, problem.x.device)
    x, z = (t.reshape(-1, *grid).repeat_interleave(attack.at_once, 0) for t in (problem.x, state["z"]))
    query, u = _queries_and_draws(attack, state)
    stage, moved = torch.bucketize(query, plan.marks), z - x

    # Two windows: the first gets the pyramids, the second gives its length up.
    first, inside = _windows(plan, stage, u[:, :4].view(-1, 2, 2))
    # eta: a pair of pyramids, split along the rows or the columns by a coin, with a random sign in each channel. The
    # heights of both axes are looked up by the offset from the window's corner.
    split = plan.split[stage, (u[:, 4] < 0.5).long()]
    slope = plan.slope[stage.unsqueeze(1), torch.arange(2, device=x.device), split]
    at = (plan.places - first[:, 0, :, None]).clamp_(-1, len(plan.places)).add_(1).long()
    slope = slope.gather(2, at)
    bump = _pyramid_pair(slope[:, 0, :height], slope[:, 1, :width])
    sign = torch.where(u[:, 5:] < 0.5, 1.0, -1.0)

    # Lengths, to the power of the norm's order: of z - x in the first window, the second, both, and everywhere.
    both = inside[:, :1] * inside[:, 1:]
    masks = torch.cat([inside, both, torch.ones_like(both)], 1)
    rows, columns = masks[:, :, 0, :height], masks[:, :, 1, :width]
    order = _order(problem.threat)
    spent = torch.einsum("bkh,bchw,bkw->bkc", rows, moved.abs().pow(order), columns)
    # Length available to a channel of the first window: its own, the second's (their overlap counted once), and an
    # equal share of the ball's unused length.
    reach = problem.threat.stride(problem.region).repeat_interleave(attack.at_once).unsqueeze(1)
    unused = (reach.pow(order) - spent[:, 3].sum(1, keepdim=True)).clamp_(min=0)
    available = (spent[:, 0] + spent[:, 1] - spent[:, 2] + unused / channels).clamp_(min=0).pow_(1 / order)

    # The first window becomes (sign * eta / |eta| + old / |old|), scaled to the length available.
    old = spent[:, 0].pow(1 / order).clamp_(min=_TINY)
    steep = plan.steep[order][stage].unsqueeze(1)
    if order == 1:
        both_of = bump.unsqueeze(1) * (sign / steep)[..., None, None] + moved / old[..., None, None]
        length = torch.einsum("bh,bchw,bw->bc", rows[:, 0], both_of.abs(), columns[:, 0])
    else:
        # |a + b|^2 = |a|^2 + |b|^2 + 2 a.b of two unit vectors; |b| = 0 where the window holds no change yet.
        cosine = torch.einsum("bhw,bchw->bc", bump, moved) / (steep * old)
        length = (1 + (spent[:, 0] > 0) + 2 * sign * cosine).clamp_(min=_TINY).sqrt_()
    scale = available / length.clamp(min=_TINY)
    # Of the old change remain: scale / old in the first window, nothing in the rest of the second, all elsewhere. As a
    # sum of masks: 1 + (scale / old - 1) first - second + overlap.
    change = torch.stack([scale / old - 1, -torch.ones_like(scale), torch.ones_like(scale)], 2)
    keep = torch.einsum("bck,bkh,bkw->bchw", change, rows[:, :3], columns[:, :3]).add_(1)
    add = (sign * scale / steep)[:, :, None, None]
    return torch.addcmul(x, moved, keep).addcmul_(bump.unsqueeze(1), add)


class _Plan(NamedTuple):
    """Tables by stage: a span of queries with one window size; stage 0 is the start alone."""

    # (S - 1,) int64, the ages after which the next stage begins.
    marks: Tensor
    # (S, 2) float32, height and width of the windows.
    size: Tensor
    # (S, 2) float32, the number of places of a window along each axis.
    room: Tensor
    # (S, 2, 2, L + 2) float32, heights of pyramids by stage, axis, 1 if the axis is split, and offset from the window's
    # first coordinate plus one; L is the longer of the grid's axes.
    slope: Tensor
    # (S,) float32, lengths of pairs of pyramids, by the norm's order.
    steep: dict[int, Tensor]
    # (S, 2, 2) int64, 1 where an axis is split, by stage and a coin.
    split: Tensor
    # (L,) float32: 0, 1, 2 ...
    places: Tensor


@lru_cache(maxsize=64)
def _plan(attack: Square, grid: Grid, least: int, device: torch.device) -> _Plan:
    marks = [0, *(attack.queries * mark // _OF for mark in _HALVINGS)]
    sizes = [(0, 0), *(window_size(attack.p_init / 2**halved, grid, least) for halved in range(len(marks)))]
    length = max(grid[1:])
    pairs = [pyramid_pair(*size, upright=False) for size in sizes]
    slope = torch.zeros(len(sizes), 2, 2, length + 2)
    for stage, size in enumerate(sizes):
        for axis, side in enumerate(size):
            for split in (0, 1):
                slope[stage, axis, split, 1 : 1 + side] = _slope(side, max(size), bool(split))
    return _Plan(
        torch.tensor(marks, device=device),
        torch.tensor(sizes, device=device).float(),
        torch.tensor(grid[1:], device=device) + 1 - torch.tensor(sizes, device=device).float(),
        slope.to(device),
        {
            order: torch.stack([pair.flatten().norm(order).clamp(min=_TINY) for pair in pairs]).to(device)
            for order in (1, 2)
        },
        torch.tensor([_splits(*size) for size in sizes], device=device),
        torch.arange(length, device=device).float(),
    )


def grid_of(x: Tensor) -> Grid:
    """Return channels, height and width of the grid of inputs x (N, *S)."""
    shape = (1, 1, *x.shape[1:])[-max(3, x.ndim - 1) :]
    return shape[0], math.prod(shape[1:-1]), shape[-1]


def window_size(share: float, grid: Grid, least: int = 1) -> tuple[int, int]:
    """Return height and width of a window over that share of the grid: a square of a side >= least, where one fits."""
    _, height, width = grid
    short, long = sorted((height, width))
    side = max(least, round(math.sqrt(share * height * width)))
    if side <= short:
        return side, side
    # If no square fits, the window is as long as it takes to keep its area.
    run = min(long, max(least, round(share * long)))
    return (height, run) if height <= width else (run, width)


def _windows(plan: _Plan, stage: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return first coordinates (B, k, 2) of windows placed by u, and (B, k, 2, L) 1 inside, 0 outside."""
    size = plan.size[stage].unsqueeze(1)
    first = (u * plan.room[stage].unsqueeze(1)).floor_()
    # A coordinate is inside where it is less than (size + 1) / 2 from the centre; whole numbers, so the clamp gives 0
    # or 1 exactly.
    off_centre = (plan.places - (first + (size - 1) / 2).unsqueeze(3)).abs_()
    return first, ((size + 1) / 2).unsqueeze(3).sub(off_centre).clamp_(0, 1)


def _queries_and_draws(attack: Square, state: Rows) -> tuple[Tensor, Tensor]:
    age, draws = state["age"], state["draws"]
    return attack.numbers(age).flatten(), draws[torch.arange(len(age), device=age.device), age].flatten(0, 1)


def _order(threat: Threat) -> int:
    return 1 if isinstance(threat, L1) else 2


def pyramid_pair(height: int, width: int, *, upright: bool) -> Tensor:
    """Return (height, width) two pyramids of opposite sign side by side (section 4.2).

    Args:
        upright: split a square between its rows rather than between its columns; other windows are split across their
            longer side.
    """
    down, across = _splits(height, width)[upright]
    base = max(height, width)
    return _pyramid_pair(_slope(height, base, bool(down)), _slope(width, base, bool(across)))


def _pyramid_pair(down: Tensor, across: Tensor) -> Tensor:
    slopes = torch.minimum(down.abs().unsqueeze(-1), across.abs().unsqueeze(-2))
    return slopes * down.sign().unsqueeze(-1) * across.sign().unsqueeze(-2)


def _splits(height: int, width: int) -> list[list[int]]:
    if height == width:
        return [[0, 1], [1, 0]]
    return [[int(height > width), int(height < width)]] * 2


def _slope(side: int, longest: int, split: bool) -> Tensor:
    """Return (side,) heights, negative in the second half of a split axis: sums of 1 / k^2 (eq. 2)."""
    half = side // 2 if split else 0
    place = torch.arange(side)
    first = place < half
    centre = torch.where(first, half // 2, half + (side - half) // 2)
    sums = torch.cat([torch.zeros(1).double(), torch.arange(1, longest // 2 + 2).double().pow(-2).cumsum(0)])
    height = (sums[-1] - sums[(place - centre).abs()]).float()
    return torch.where(first | (not split), height, -height)


def _tiles(key: Tensor, grid: Grid) -> Tensor:
    """Return (N, C, H, W) the first pattern of L2: bumps of random signs and directions."""
    channels, height, width = grid
    tall, wide = max(1, height // _TILES), max(1, width // _TILES)
    down, across = torch.arange(height, device=key.device)[:, None], torch.arange(width, device=key.device)
    pairs = (pyramid_pair(tall, wide, upright=upright).to(key.device) for upright in (False, True))
    lying, standing = (pair[down % tall, across % wide] for pair in pairs)
    many = (-(-height // tall), -(-width // wide))
    upright = rng.signs(rng.fold(key, "upright"), many)[:, down // tall, across // wide] > 0
    sign = rng.signs(rng.fold(key, "sign"), (channels, *many))[:, :, down // tall, across // wide]
    return sign * torch.where(upright, standing, lying).unsqueeze(1)
