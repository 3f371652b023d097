"""Reading images between their pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


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
    corners = edge in ("reflect", "nearest")
    shape = [max(sides) for sides in zip(rows.shape, columns.shape, strict=True)]
    grid = torch.empty((*shape, 2), dtype=x.dtype, device=x.device)
    for axis, (points, n) in enumerate(((columns, width), (rows, height))):
        # With corners, -1 and 1 stand for the outer pixels' centres; without, for the image's edges.
        scale, offset = (2 / max(n - 1, 1), -1.0) if corners else (2 / n, 1 / n - 1)
        grid[..., axis] = points * scale + offset
    mode = {"reflect": "reflection", "symmetric": "reflection", "nearest": "border", "zeros": "zeros"}[edge]
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), padding_mode=mode, align_corners=corners)


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

    def points(small: int, large: int) -> Tensor:
        whole = max(round(small * factor), large)
        place = torch.arange(large, dtype=torch.float64) + (whole - large) // 2
        return (place * ((small - 1) / max(whole - 1, 1))).to(x.device, torch.float32)

    return at(x, points(x.shape[-2], height).view(1, -1, 1), points(x.shape[-1], width).view(1, 1, -1))


def middle(n: int, factor: float) -> tuple[int, int]:
    """Where the middle n / factor of n pixels begins, and how many they are (rounded up)."""
    kept = math.ceil(n / factor)
    return (n - kept) // 2, kept
