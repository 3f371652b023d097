"""Fixed linear maps of pixels, as sparse matrices: many layers of interpolation in one pass."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.shifts.corruptions.sampling import middle, zoom_points

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
