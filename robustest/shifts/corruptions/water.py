"""How water shines: edges of drops (Canny, 1986), distances to them, contrast evened out, light from one side.

All images are (N, 1, H, W) float32 that hold grey levels, whole numbers from 0 to 255.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustest.shifts.comparisons import above, at_least, below
from robustest.shifts.corruptions.filters import box3, padded

_WEAK, _STRONG = 50.0, 150.0
_FLAT = math.tan(math.radians(22.5))
_FAR = 20
_LIGHT = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


def shine(liquid: Tensor) -> Tensor:
    """The light that comes from water of these heights, 0 where there is none; on no particular scale."""
    distance = distances(edges(liquid))
    lit = _around(equalised(box3(distance).add_(1e-4).floor_()), "reflect")
    light = torch.zeros_like(liquid)
    for row, weights in zip(lit, _LIGHT, strict=True):
        for neighbour, weight in zip(row, weights, strict=True):
            if weight:
                light.add_(neighbour, alpha=weight)
    return box3(light.clamp_(0, 255)).add_(0.5).floor_().mul_(liquid)


def edges(x: Tensor) -> Tensor:
    """1 on edges and 0 elsewhere, uint8.

    An edge is where the Sobel gradient (sum of its two parts) is the largest along its direction, and over 150, or over
    50 and joined to such a place by others.
    """
    (nw, n, ne), (w, _, e), (sw, s, se) = _around(x, "nearest")
    right = (ne - nw).add_(e, alpha=2).sub_(w, alpha=2).add_(se).sub_(sw)
    down = (sw - nw).add_(s, alpha=2).sub_(n, alpha=2).add_(se).sub_(ne)
    across, along = right.abs(), down.abs()
    size = across + along
    (nw, n, ne), (w, _, e), (sw, s, se) = _around(size, "zeros")
    level = below(along, across * _FLAT)
    upright = above(along, across * (_FLAT + 2))
    falling = at_least(right * down, 0.0)
    thin = above(size, w).mul_(at_least(size, e)).mul_(level)
    thin.add_(above(size, n).mul_(at_least(size, s)).mul_(upright))
    slanted = above(size, nw).mul_(above(size, se)).mul_(falling)
    slanted.add_(above(size, ne).mul_(above(size, sw)).mul_(1 - falling))
    thin.add_(slanted.mul_(1 - level - upright))
    # In bytes, of which a register holds four times as many.
    weak, found = ((thin * above(size, least)).to(torch.uint8) for least in (_WEAK, _STRONG))
    while True:
        grown = _grown(found).mul_(weak)
        if torch.equal(grown, found):
            return found
        found = grown


def distances(edge: Tensor) -> Tensor:
    """To the nearest edge (uint8, 1 on edges), in pixels, at most 20; float32."""
    height, width = edge.shape[-2:]
    far = _FAR + 1
    column = (1 - edge).mul_(far)
    for step in (1, 2, 4, 8, 5):  # every distance up to 20 is a sum of some of these
        wide = _constant(column, -2, step, far).add_(step)
        column = column.minimum(wide[..., :height, :]).minimum(wide[..., 2 * step :, :])
    column = column.to(torch.int16)
    square = column * column
    wide = _constant(square, -1, _FAR, far**2)
    for step in range(1, _FAR + 1):
        left, right = wide[..., _FAR - step :][..., :width], wide[..., _FAR + step :][..., :width]
        square = torch.minimum(square, torch.minimum(left, right).add_(step**2))
    return square.float().sqrt_().clamp_(max=_FAR)


def equalised(x: Tensor) -> Tensor:
    """Each image's whole numbers in 0.._FAR spread over 0..255, by the share of pixels up to each."""
    n, pixels, bins = len(x), x[0].numel(), _FAR + 1
    value = x.view(n, -1).to(torch.int64)
    image = torch.arange(n, device=x.device).view(-1, 1) * bins
    counts = torch.bincount((value + image).view(-1), minlength=n * bins).view(n, bins)
    first = counts.gather(1, value.amin(1, keepdim=True))
    spread = (counts.cumsum(1) - first).clamp(min=0).float().mul(255).div((pixels - first).clamp(min=1)).round()
    plain = torch.arange(bins, device=x.device, dtype=torch.float32).expand(n, -1)
    return torch.where(first == pixels, plain, spread).gather(1, value).view_as(x)


def _around(x: Tensor, edge: str) -> list[list[Tensor]]:
    """The eight neighbours of every pixel and itself, as three rows of three views."""
    height, width = x.shape[-2:]
    wide = (
        _constant(_constant(x, -2, 1, 0.0), -1, 1, 0.0)
        if edge == "zeros"
        else padded(padded(x, -2, 1, edge), -1, 1, edge)
    )
    return [[wide[..., i : i + height, j : j + width] for j in range(3)] for i in range(3)]


def _grown(x: Tensor) -> Tensor:
    for dim in (-2, -1):
        wide, n = _constant(x, dim, 1, 0), x.shape[dim]
        x = torch.maximum(torch.maximum(x, wide.narrow(dim, 0, n)), wide.narrow(dim, 2, n))
    return x


def _constant(x: Tensor, dim: int, reach: int, value: float) -> Tensor:
    sides = [0, 0, reach, reach] if dim == -2 else [reach, reach]
    return torch.nn.functional.pad(x, sides, value=value)
