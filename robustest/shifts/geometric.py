"""Rotation, translation, scale, shear, perspective and crop, drawn for each sample; pixels outside are black."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.shifts.sampling import MOST_PIXELS, affine_grid, at, line, sampled
from robustest.shifts.tables import MANY_STEPS, SeverityTable, family


@family(SeverityTable((5.0, 10.0, 15.0, 20.0, 30.0)), cpu_elements=MANY_STEPS)
def rotation(x: Tensor, degrees: float, key: Tensor) -> Tensor:
    """Rotate about the centre, to the left or the right at random for each sample."""
    side = rng.signs(rng.fold(key, "rotation"), ())
    height, width = x.shape[-2:]
    if not devices.on_host(x) or height * width > MOST_PIXELS:
        return sampled(x, _rotated(side, degrees, height, width), "zeros")
    # The two grids of a size cost as much as an image's sampling.
    return sampled(x, _both_rotations(degrees, height, width).index_select(0, side.gt(0).long()), "zeros")


@functools.lru_cache(maxsize=5)
def _both_rotations(degrees: float, height: int, width: int) -> Tensor:
    return _rotated(torch.tensor([-1.0, 1.0]), degrees, height, width)


def _rotated(side: Tensor, degrees: float, height: int, width: int) -> Tensor:
    angle = side * math.radians(degrees)
    return _grid(((angle.cos(), angle.sin(), 0.0), (-angle.sin(), angle.cos(), 0.0)), side, height, width)


@family(SeverityTable((0.04, 0.08, 0.12, 0.18, 0.25)), cpu_elements=MANY_STEPS)
def translation(x: Tensor, share: float, key: Tensor) -> Tensor:
    """Move by a share of the longer side, in any direction."""
    angle = rng.uniform(rng.fold(key, "translation"), (), 0.0, 2 * math.pi)
    far = share * max(x.shape[-2:])
    return _warp(x, ((1.0, 0.0, angle.cos() * far), (0.0, 1.0, angle.sin() * far)))


@family(SeverityTable((1.1, 1.2, 1.35, 1.5, 1.8)), cpu_elements=MANY_STEPS)
def scale(x: Tensor, factor: float, key: Tensor) -> Tensor:
    """Enlarge or shrink about the centre by a factor, at random for each sample."""
    size = rng.signs(rng.fold(key, "scale"), ()).mul_(math.log(factor)).exp_()
    return _warp(x, ((size, 0.0, 0.0), (0.0, size, 0.0)))


@family(SeverityTable((5.0, 10.0, 15.0, 22.0, 30.0)), cpu_elements=MANY_STEPS)
def shear(x: Tensor, degrees: float, key: Tensor) -> Tensor:
    """Shear about the centre by an angle, along rows or columns and to either side, at random for each sample."""
    slope = rng.signs(rng.fold(key, "shear"), ()).mul_(math.tan(math.radians(degrees)))
    level = rng.signs(rng.fold(key, "shear along"), ()).clamp_(min=0.0)
    return _warp(x, ((1.0, slope * level, 0.0), (slope * (1 - level), 1.0, 0.0)))


@family(SeverityTable((0.1, 0.2, 0.3, 0.4, 0.5)), cpu_elements=MANY_STEPS)
def perspective(x: Tensor, most: float, key: Tensor) -> Tensor:
    """View at an angle: each corner of the picture moves inwards by up to a share of half a side."""
    height, width = x.shape[-2:]
    inwards = rng.uniform(rng.fold(key, "perspective"), (4, 2), 0.0, most)
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=x.dtype, device=x.device)
    rows = _from_quadrilateral(corner + inwards * 0.5 * (1 - 2 * corner))
    place = line(width, x).add(0.5).div(width).view(1, 1, -1)
    depth = line(height, x).add(0.5).div(height).view(1, -1, 1)
    across, down, away = (place * a + depth * b + c for a, b, c in rows)
    return at(x, down / away * height - 0.5, across / away * width - 0.5, "zeros")


@family(SeverityTable((0.95, 0.9, 0.8, 0.7, 0.55)), cpu_elements=MANY_STEPS)
def crop(x: Tensor, share: float, key: Tensor) -> Tensor:
    """Enlarge a window of a share of each side, anywhere in the image, to the image's size."""
    height, width = x.shape[-2:]
    corner = rng.uniform(rng.fold(key, "crop"), (2,), 0.0, 1 - share)
    rows = line(height, x).add(0.5).mul(share) - 0.5
    columns = line(width, x).add(0.5).mul(share) - 0.5
    top, left = (corner[:, :1] * height).unsqueeze(2), (corner[:, 1:] * width).unsqueeze(2)
    return at(x, rows.view(1, -1, 1) + top, columns.view(1, 1, -1) + left)


def _warp(x: Tensor, forward: Sequence[Sequence[Tensor | float]]) -> Tensor:
    return sampled(x, _grid(forward, x[:, 0, 0, 0], *x.shape[-2:]), "zeros")


def _grid(forward: Sequence[Sequence[Tensor | float]], like: Tensor, height: int, width: int) -> Tensor:
    # Points for `sampled`, of a map of places about the centre to places; `like` has an element for each image.
    zero = torch.zeros(len(like), dtype=torch.float64, device=like.device)
    (a, b, c), (d, e, f) = ([zero + part for part in row] for row in forward)
    # The inverse of the map gives the source of each pixel; (across, down) is the place that the centre moves to.
    area = a * e - b * d
    across, down = (width - 1) / 2 + c, (height - 1) / 2 + f
    columns = e / area, -b / area, (b * down - e * across) / area + (width - 1) / 2
    rows = -d / area, a / area, (d * across - a * down) / area + (height - 1) / 2
    return affine_grid(rows, columns, height, width, "zeros")


def _from_quadrilateral(corner: Tensor) -> list[list[Tensor]]:
    """Return the projective map from four corners (N, 4, 2) to the corners of the unit square, 3 x 3 of (N, 1, 1)."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (
        (p[:, 0].view(-1, 1, 1), p[:, 1].view(-1, 1, 1)) for p in corner.unbind(1)
    )
    # The map from the square to a quadrilateral has a closed form (Heckbert, "Fundamentals of Texture Mapping and Image
    # Warping", 1989). Its adjugate is the inverse up to a factor, which a projective map ignores.
    dx1, dx2, dx3 = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, dy3 = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (dx3 * dy2 - dx2 * dy3) / area, (dx1 * dy3 - dx3 * dy1) / area
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    return [
        [e - f * h, c * h - b, b * f - c * e],
        [f * g - d, a - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
