"""The Square attack."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.errors import ConfigError, expected
from robustest.threats import L2, Linf, Rows, Threat, per_row

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries out of `_OF` after which the changed share of the input halves (section 4.1)."""
_OF = 10_000
_TINY = 1e-12
_TILES = 5
"""L2 begins with about this many tiles along each axis."""

Grid = tuple[int, int, int]
"""Channels, height and width that an input is seen as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Random search over windows, kept where the margin falls (Andriushchenko et al., ECCV 2020, algorithms 1 to 3).

    L-inf: begins with vertical stripes of the ball's corners; each query sets one square window, in every channel,
    to a random corner. A window that would change nothing is set to the opposite corner instead of being wasted.
    L2: begins with a grid of bumps; each query moves the length spent in two windows into the first of them, in the
    shape of two pyramids of opposite sign.

    An input (C, H, W) is searched as it is; (H, W) is one channel; (D,), tabular data, is one channel of height 1,
    whose windows are runs of neighbouring columns; (C, T, H, W) has T * H rows. Where a square does not fit, the
    window is as long as it takes to keep its area.

    Args:
        queries: model passes per sample, >= 1.
        p_init: share of the input that the first windows cover, in (0, 1]; it halves nine times, as in the paper,
            whose schedule of 10,000 queries is stretched to `queries`.

    Raises:
        ConfigError: queries < 1, or p_init outside (0, 1].
    """

    queries: int = 1000
    p_init: float = 0.8

    name: ClassVar[str] = "square"
    needs: ClassVar[Needs] = Needs.SCORES

    def __post_init__(self) -> None:
        if type(self.queries) is not int or self.queries < 1:
            raise ConfigError(expected("queries to be a whole number >= 1", self.queries))
        if not 0 < self.p_init <= 1:
            raise ConfigError(expected("p_init in (0, 1]", self.p_init))

    @property
    def steps(self) -> int:
        return self.queries - 1  # the engine evaluates the last proposal too

    def within(self, queries: int) -> Square:
        """This attack in at most that many queries, its schedule squeezed."""
        return replace(self, queries=min(self.queries, queries))

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Linf | L2)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        x = problem.x
        shared = {"key": key, "age": torch.zeros_like(key), "loss": torch.full(x.shape[:1], torch.inf, device=x.device)}
        channels, height, width = grid_of(x)
        if isinstance(problem.threat, Linf):
            stripes = rng.signs(rng.fold(key, "start"), (channels, 1, width)) > 0
            return {**shared, "up": stripes.expand(-1, -1, height, -1).reshape(x.shape)}
        bumps = _tiles(rng.fold(key, "start"), (channels, height, width)).view_as(x)
        z = problem.threat.project(x + problem.threat.radius * problem.threat.ascent(bumps), problem.region)
        return {**shared, "z": z}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        size = self._window_size(state["age"], grid_of(problem.x), isinstance(problem.threat, L2))
        if isinstance(problem.threat, Linf):
            return _corners(problem, state, size)
        return _pyramids(problem, state, size)

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise NotImplementedError("Square asks for no gradient")

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        label = problem.y.unsqueeze(1)
        loss = seen.logits.gather(1, label).squeeze(1) - seen.logits.scatter(1, label, -torch.inf).amax(1)
        better = loss < state["loss"]
        told = {"key": state["key"], "age": state["age"] + 1, "loss": torch.minimum(loss, state["loss"])}
        if "up" in state:
            tried = seen.z == problem.region["high"]
            return {**told, "up": torch.where(per_row(better, tried), tried, state["up"])}
        return {**told, "z": torch.where(per_row(better, seen.z), seen.z, state["z"])}

    def _window_size(self, age: Tensor, grid: Grid, pyramids: bool) -> Tensor:
        """(B, 2) int64: height and width of each row's next window; 0 at the start, which is evaluated as it is."""
        marks, sizes = _schedule(self.queries, self.p_init, grid, 3 if pyramids else 1, age.device)
        return sizes[torch.bucketize(age, marks)]


def grid_of(x: Tensor) -> Grid:
    """Channels, height and width that inputs x (N, *S) are seen as."""
    shape = tuple(x.shape[1:])
    if len(shape) == 1:
        return 1, 1, shape[0]
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    return shape[0], math.prod(shape[1:-1]), shape[-1]


def window_size(share: float, grid: Grid, least: int = 1) -> tuple[int, int]:
    """Height and width of a window over that share of the grid: a square of a side >= least, where one fits."""
    _, height, width = grid
    side = max(least, round(math.sqrt(share * height * width)))
    if side <= min(height, width):
        return side, side
    long = max(least, round(share * height * width / min(height, width)))
    return (height, min(width, long)) if height <= width else (min(height, long), width)


@lru_cache(maxsize=64)
def _schedule(queries: int, p_init: float, grid: Grid, least: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ages after which the size changes (10,) and the sizes (11, 2) before, between and after them."""
    marks = [0, *(queries * mark // _OF for mark in _HALVINGS)]
    sizes = [(0, 0), *(window_size(p_init / 2**k, grid, least) for k in range(len(marks)))]
    return torch.tensor(marks, device=device), torch.tensor(sizes, device=device)


def _offsets(u: Tensor, size: Tensor, length: int) -> Tensor:
    """(B, length) int64: each coordinate's distance from the first of a window placed by u (B,) in [0, 1)."""
    first = (u * (length + 1 - size)).long().clamp_(max=length).unsqueeze(1)
    return torch.arange(length, device=u.device) - first


def _inside(offset: Tensor, size: Tensor) -> Tensor:
    return (offset >= 0) & (offset < size.unsqueeze(1))


def _corners(problem: Problem, state: Rows, size: Tensor) -> Tensor:
    """The proposals for L-inf (algorithm 2); a corner of the ball is a bool an element, "up"."""
    channels, height, width = grid_of(problem.x)
    up = state["up"].view(-1, channels, height, width)
    u = rng.uniform(rng.fold(state["key"], state["age"]), (2 + channels,))
    rows = _inside(_offsets(u[:, 0], size[:, 0], height), size[:, 0])
    columns = _inside(_offsets(u[:, 1], size[:, 1], width), size[:, 1])
    window = rows[:, None, :, None] & columns[:, None, None, :]
    new = torch.where(window, u[:, 2:, None, None] < 0.5, up)
    same = (new == up).flatten(1).all(1)
    new = new ^ (window & per_row(same, new))
    return torch.where(new.view_as(problem.x), problem.region["high"], problem.region["low"])


def _pyramids(problem: Problem, state: Rows, size: Tensor) -> Tensor:
    """The proposals for L2 (algorithm 3)."""
    channels, height, width = grid_of(problem.x)
    x = problem.x.view(-1, channels, height, width)
    nu = state["z"].view_as(x) - x
    u = rng.uniform(rng.fold(state["key"], state["age"]), (5 + channels,))
    sign = torch.where(u[:, 5:] < 0.5, 1.0, -1.0)
    down = [_offsets(u[:, k], size[:, 0], height) for k in (0, 1)]
    across = [_offsets(u[:, k], size[:, 1], width) for k in (2, 3)]
    bump = pyramid_pair(down[0], across[0], size, u[:, 4] < 0.5)
    rows, columns = _masks(down, size[:, 0]), _masks(across, size[:, 1])
    spent = torch.einsum("bkh,bchw,bkw->bkc", rows, nu.square(), columns)  # first, second, both, everything
    unused = (problem.threat.radius**2 - spent[:, 3].sum(1, keepdim=True)).clamp_(min=0)
    available = (spent[:, 0] + spent[:, 1] - spent[:, 2] + unused / channels).clamp_(min=0).sqrt()
    # The new window is sign * bump / |bump| + old / |old|, of length `available`; its length before, by expansion.
    old = spent[:, 0].sqrt().clamp_(min=_TINY)
    steep = torch.linalg.vector_norm(bump, dim=(1, 2)).clamp_(min=_TINY).unsqueeze(1)
    cosine = torch.einsum("bhw,bchw->bc", bump, nu) / (steep * old)
    length = (1 + (spent[:, 0] > 0) + 2 * sign * cosine).clamp_(min=_TINY).sqrt()
    first, second = (rows[:, k, None, :, None] * columns[:, k, None, None, :] > 0 for k in (0, 1))
    keep = torch.where(first, (available / (length * old))[:, :, None, None], (~second).to(nu.dtype))
    add = (sign * available / (length * steep))[:, :, None, None]
    return (x + torch.addcmul(nu * keep, bump.unsqueeze(1), add)).view_as(problem.x)


def _masks(offsets: list[Tensor], size: Tensor) -> Tensor:
    """(B, 4, L) 0 or 1: coordinates in the first window, in the second, in both, and all of them."""
    first, second = (_inside(offset, size).float() for offset in offsets)
    return torch.stack([first, second, first * second, torch.ones_like(first)], 1)


def pyramid_pair(down: Tensor, across: Tensor, size: Tensor, upright: Tensor) -> Tensor:
    """Two pyramids of opposite sign that share a window (section 4.2), 0 outside it.

    Args:
        down: (B, H) rows counted from the window's first.
        across: (B, W) columns counted from its first.
        size: (B, 2) its height and width.
        upright: (B,) bool, split a square window between rows rather than between columns; any other window is
            split across its longer side.
    """
    height, width = size[:, 0], size[:, 1]
    upright = torch.where(height == width, upright, height > width)
    base = size.amax(1) // 2  # the paper's n
    sums = torch.arange(1, int(max(down.shape[1], across.shape[1])) + 2, device=down.device).float().pow(-2).cumsum(0)
    sums = torch.cat([sums.new_zeros(1), sums])
    rise_down, sign_down = _slope(down, height, base, upright, sums)
    rise_across, sign_across = _slope(across, width, base, ~upright, sums)
    # A pyramid's height falls with the larger of the two distances from its centre, so it is the smaller of two slopes.
    slopes = torch.minimum(rise_down.unsqueeze(2), rise_across.unsqueeze(1))
    return slopes * sign_down.unsqueeze(2) * sign_across.unsqueeze(1)


def _slope(offset: Tensor, size: Tensor, base: Tensor, split: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L) height at each distance from the centre, of one interval or of two halves, and the halves' signs."""
    size, base = size.unsqueeze(1), base.unsqueeze(1)
    half = torch.where(split.unsqueeze(1), size // 2, 0)
    second = offset >= half
    centre = torch.where(second, half + (size - half) // 2, half // 2)
    distance = (offset - centre).abs().clamp_(max=sums.shape[0] - 1)
    rise = (sums[base + 1] - sums[distance]) * ((offset >= 0) & (offset < size))
    return rise, torch.where(second | ~split.unsqueeze(1), 1.0, -1.0)


def _tiles(key: Tensor, grid: Grid) -> Tensor:
    """(N, C, H, W) the pattern that L2 begins with: a grid of bumps of random signs and directions."""
    channels, height, width = grid
    size = torch.tensor([[max(1, height // _TILES), max(1, width // _TILES)]], device=key.device)
    tall, wide = size[0].tolist()
    down, across = torch.arange(height, device=key.device), torch.arange(width, device=key.device)
    lying, standing = (
        pyramid_pair((down % tall)[None], (across % wide)[None], size, torch.tensor([upright], device=key.device))
        for upright in (False, True)
    )
    many = (-(-height // tall), -(-width // wide))
    tiles = (down // tall)[:, None], (across // wide)[None]
    upright = (rng.signs(rng.fold(key, "upright"), many) > 0)[:, tiles[0], tiles[1]]
    sign = rng.signs(rng.fold(key, "sign"), (channels, *many))[:, :, tiles[0], tiles[1]]
    return sign * torch.where(upright, standing, lying).unsqueeze(1)
