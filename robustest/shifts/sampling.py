"""Reading images between their pixels.

Fixed linear maps of pixels, as sparse matrices: many layers of interpolation in one pass.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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


MOST_PIXELS = 1 << 17
"""Larger images are interpolated layer by layer: a matrix takes some 250 bytes a pixel."""


def mixed(matrix: Any, x: Tensor) -> Tensor:
    """Images (N, C, H, W) whose pixels are what a matrix makes of theirs.

    Either product adds up each pixel's terms in the order in which the matrix holds them, however many images there
    are, so that an image is mapped alike, to the last bit, in any company.

    Args:
        matrix: (H * W, H * W) of `mean_of_zooms`.
        x: on the CPU.
    """
    n, channels, height, width = x.shape
    pixels = x.reshape(n * channels, height * width).t().contiguous()
    made = matrix @ pixels if isinstance(matrix, Tensor) else torch.from_numpy(matrix @ pixels.numpy())
    return made.t().contiguous().view(n, channels, height, width)


@functools.lru_cache(maxsize=5)
def mean_of_zooms(height: int, width: int, factors: tuple[float, ...]) -> Any:
    """The mean of an image, twice, and of itself zoomed by some factors about its middle.

    Returns:
        A matrix (H * W, H * W) in rows, float32: torch's where it can multiply by one, which is faster, else SciPy's.
    """
    from scipy import sparse  # takes a while to load, and few shifts need it

    total = 2 * sparse.identity(height * width, format="csr")
    for factor in factors:
        down, across = (sparse.csr_matrix(_zoom(n, factor)) for n in (height, width))
        total = total + sparse.kron(down, across, format="csr")
    made = (total / (len(factors) + 2)).astype(np.float32)
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its sparse matrices a beta
        rows, columns, weights = (torch.from_numpy(part) for part in (made.indptr, made.indices, made.data))
        return torch.sparse_csr_tensor(rows, columns, weights, made.shape)


def _zoom(n: int, factor: float) -> NDArray[np.float64]:
    """(n, n): pixels of a line, zoomed, by pixels of the line; between two pixels by how near they are."""
    start, kept = middle(n, factor)
    points = zoom_points(kept, n, factor).numpy()
    first = np.minimum(np.floor(points).astype(np.int64), max(kept - 2, 0))
    part = points - first
    made, line = np.zeros((n, n)), np.arange(n)
    np.add.at(made, (line, start + first), 1 - part)
    np.add.at(made, (line, start + np.minimum(first + 1, kept - 1)), part)
    return made
