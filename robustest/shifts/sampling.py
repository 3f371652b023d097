"""Images read between their pixels: bilinear values at points, zooms, and the mean of many zooms in one pass."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robustest import devices

# Edges for which -1 and 1 are the centres of the outer pixels in torch's grids, and not the image's edges.
_CORNERS = ("reflect", "nearest")


def at(x: Tensor, rows: Tensor, columns: Tensor, edge: str = "nearest") -> Tensor:
    """Return the bilinear values (N, C, h, w) of images (N, C, H, W) at points.

    Args:
        rows, columns: broadcast to (N or 1, h, w); in pixels, the first pixel's centre is 0.
        edge: "nearest" repeats the last pixel, "reflect" mirrors about it, "symmetric" mirrors about the image's edge,
            "zeros" has zeros outside.
    """
    height, width = x.shape[-2:]
    shape = [max(sides) for sides in zip(rows.shape, columns.shape, strict=True)]
    grid = torch.empty((*shape, 2), dtype=x.dtype, device=x.device)
    for axis, (points, n) in enumerate(((columns, width), (rows, height))):
        scale, offset = _grid_units(n, edge)
        grid[..., axis] = points * scale + offset
    return sampled(x, grid, edge)


def at_affine(x: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor], edge: str) -> Tensor:
    """Return the bilinear values of images at an affine map of their pixels.

    Args:
        rows, columns: three (N,) each: factors of the column and of the row, and a constant.
    """
    return sampled(x, affine_grid(rows, columns, x.shape[-2], x.shape[-1], edge), edge)


def affine_grid(rows: Sequence[Tensor], columns: Sequence[Tensor], height: int, width: int, edge: str) -> Tensor:
    """Return the points (N, H, W, 2) of an affine map of pixels for `sampled`; arguments as for `at_affine`."""
    (tall, down), (wide, across) = (_grid_units(n, edge) for n in (height, width))
    # A point is a complex number, and the grid the sum of one by column and one by row: read and written once.
    by_column, by_row, start = (
        torch.complex(c.double() * wide, r.double() * tall) for r, c in zip(rows, columns, strict=True)
    )
    start = start + complex(across, down)
    first = by_column.view(-1, 1, 1) * line(width, rows[0].float()) + start.view(-1, 1, 1)
    second = by_row.view(-1, 1, 1) * line(height, rows[0].float()).view(-1, 1)
    return torch.view_as_real(first.to(torch.complex64) + second.to(torch.complex64))


def _grid_units(n: int, edge: str) -> tuple[float, float]:
    # Scale and offset from a position among n pixels to a coordinate of torch's samplers.
    return (2 / max(n - 1, 1), -1.0) if edge in _CORNERS else (2 / n, 1 / n - 1)


def sampled(x: Tensor, grid: Tensor, edge: str) -> Tensor:
    """Return the bilinear values (N, C, h, w) of images at points (N or 1, h, w, 2) in units of torch's samplers."""
    mode = {"reflect": "reflection", "symmetric": "reflection", "nearest": "border", "zeros": "zeros"}[edge]
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), padding_mode=mode, align_corners=edge in _CORNERS)


def line(n: int, like: Tensor) -> Tensor:
    """Return 0, 1 ... n - 1, of the type and on the device of another tensor."""
    return torch.arange(n, dtype=like.dtype, device=like.device)


def zoomed(x: Tensor, factor: float, height: int, width: int) -> Tensor:
    """Enlarge images (N, C, h, w) by a factor >= 1, and cut out the middle (height, width)."""
    rows, columns = (
        _zoom_points(small, large, factor).to(x.device, torch.float32)
        for small, large in zip(x.shape[-2:], (height, width), strict=True)
    )
    return at(x, rows.view(1, -1, 1), columns.view(1, 1, -1))


def _zoom_points(small: int, large: int, factor: float) -> Tensor:
    # Positions (large,) among `small` pixels of the middle pixels of the enlarged line.
    whole = max(round(small * factor), large)
    place = torch.arange(large, dtype=torch.float64) + (whole - large) // 2
    return place * ((small - 1) / max(whole - 1, 1))


def middle(n: int, factor: float) -> tuple[int, int]:
    """Return the start and the length of the middle n / factor of n pixels."""
    kept = math.ceil(n / factor)
    return (n - kept) // 2, kept


MOST_PIXELS = 1 << 17
"""Larger images are zoomed one factor at a time: the matrix takes about 250 bytes per pixel."""


def mean_of_zooms(x: Tensor, factors: tuple[float, ...]) -> Tensor:
    """Return the mean of each image (N, C, H, W), twice, and of itself zoomed by each factor about its middle."""
    n, channels, height, width = x.shape
    if devices.on_host(x) and height * width <= MOST_PIXELS:
        # One product with a sparse matrix takes the place of an interpolation for each factor. It adds up each pixel's
        # terms in the order in which the matrix holds them, so that no bit depends on the number of images.
        matrix = _zoom_matrix(height, width, factors)
        pixels = x.reshape(n * channels, height * width).t().contiguous()
        made = matrix @ pixels if isinstance(matrix, Tensor) else torch.from_numpy(matrix @ pixels.numpy())
        return made.t().contiguous().view(n, channels, height, width)
    total = x * 2
    for factor in factors:
        (top, tall), (left, wide) = middle(height, factor), middle(width, factor)
        total.add_(zoomed(x[..., top : top + tall, left : left + wide], factor, height, width))
    return total.mul_(1 / (len(factors) + 2))


@functools.lru_cache(maxsize=5)
def _zoom_matrix(height: int, width: int, factors: tuple[float, ...]) -> Any:
    """Return `mean_of_zooms` as a sparse float32 matrix: torch's, or SciPy's without MKL."""
    from scipy import sparse  # takes a while to load, and few shifts need it

    total = 2 * sparse.identity(height * width, format="csr")
    for factor in factors:
        lines = []
        for n in (height, width):
            # The zoom of a line, (n, n): each pixel of the result between two pixels, by how near they are.
            start, kept = middle(n, factor)
            points = _zoom_points(kept, n, factor).numpy()
            first = np.minimum(np.floor(points).astype(np.int64), max(kept - 2, 0))
            part = points - first
            zoom, row = np.zeros((n, n)), np.arange(n)
            np.add.at(zoom, (row, start + first), 1 - part)
            np.add.at(zoom, (row, start + np.minimum(first + 1, kept - 1)), part)
            lines.append(sparse.csr_matrix(zoom))
        total = total + sparse.kron(*lines, format="csr")
    made = (total / (len(factors) + 2)).astype(np.float32)
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its sparse matrices a beta
        rows, columns, weights = (torch.from_numpy(part) for part in (made.indptr, made.indices, made.data))
        return torch.sparse_csr_tensor(rows, columns, weights, made.shape)
