"""Reading images between their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_CORNERS = ("reflect", "nearest")


def at(x: Tensor, rows: Tensor, columns: Tensor, edge: str = "nearest") -> Tensor:
    """Bilinear values of images at points of their own.

    Args:
        x: (N, C, H, W).
        rows, columns: (N or 1, h, w), or anything that broadcasts to it; in pixels, the first pixel's centre is 0.
        edge: "nearest" repeats the last pixel, "reflect" mirrors about it, "symmetric" mirrors about the image's
            edge, "zeros" has zeros outside.

    Returns:
        (N, C, h, w).
    """
    height, width = x.shape[-2:]
    shape = [max(sides) for sides in zip(rows.shape, columns.shape, strict=True)]
    grid = torch.empty((*shape, 2), dtype=x.dtype, device=x.device)
    for axis, (points, n) in enumerate(((columns, width), (rows, height))):
        scale, offset = _units(n, edge)
        grid[..., axis] = points * scale + offset
    return _sampled(x, grid, edge)


def at_affine(x: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor], edge: str) -> Tensor:
    """Bilinear values of images at an affine map of their own pixels.

    Args:
        x: (N, C, H, W).
        rows, columns: three (N,) each: where a pixel is read is the first times its column, plus the second times its
            row, plus the third.
        edge: as for `at`.
    """
    (tall, down), (wide, across) = (_units(n, edge) for n in x.shape[-2:])
    # A point is a complex number, and the grid the sum of one by column and one by row: read and written once.
    by_column, by_row, start = (
        torch.complex(c.double() * wide, r.double() * tall) for r, c in zip(rows, columns, strict=True)
    )
    start = start + complex(across, down)
    first = by_column.view(-1, 1, 1) * line(x.shape[-1], x) + start.view(-1, 1, 1)
    second = by_row.view(-1, 1, 1) * line(x.shape[-2], x).view(-1, 1)
    grid = torch.view_as_real(first.to(torch.complex64) + second.to(torch.complex64))
    return _sampled(x, grid, edge)


def _units(n: int, edge: str) -> tuple[float, float]:
    """What a position among n pixels is multiplied by, and what is added then, for torch's samplers."""
    # With corners, -1 and 1 stand for the outer pixels' centres; without, for the image's edges.
    return (2 / max(n - 1, 1), -1.0) if edge in _CORNERS else (2 / n, 1 / n - 1)


def _sampled(x: Tensor, grid: Tensor, edge: str) -> Tensor:
    mode = {"reflect": "reflection", "symmetric": "reflection", "nearest": "border", "zeros": "zeros"}[edge]
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), padding_mode=mode, align_corners=edge in _CORNERS)


def line(n: int, like: Tensor) -> Tensor:
    """0, 1 ... n - 1, of the type and on the device of another tensor."""
    return torch.arange(n, dtype=like.dtype, device=like.device)


def zoomed(x: Tensor, factor: float, height: int, width: int) -> Tensor:
    """Enlarged by interpolation between the outer pixels' centres, and the middle cut out.

    Args:
        x: (N, C, h, w); h * factor is at least height (but for rounding), w * factor at least width.
        factor: at least 1.
        height, width: of the result.

    Returns:
        (N, C, height, width).
    """
    rows, columns = (
        zoom_points(small, large, factor).to(x.device, torch.float32)
        for small, large in zip(x.shape[-2:], (height, width), strict=True)
    )
    return at(x, rows.view(1, -1, 1), columns.view(1, 1, -1))


def zoom_points(small: int, large: int, factor: float) -> Tensor:
    """(large,) float64: which of `small` pixels lie at the middle ones of them enlarged; see `zoomed`."""
    whole = max(round(small * factor), large)
    place = torch.arange(large, dtype=torch.float64) + (whole - large) // 2
    return place * ((small - 1) / max(whole - 1, 1))


def middle(n: int, factor: float) -> tuple[int, int]:
    """Where the middle n / factor of n pixels begins, and how many they are (rounded up)."""
    kept = math.ceil(n / factor)
    return (n - kept) // 2, kept
