"""Filters against SciPy, NumPy and sums written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from robustest.shifts import corrupt
from robustest.shifts.filters import box3, correlate, disk, gaussian, padded, smear, smear_by_index

SCIPY = {"nearest": "nearest", "reflect": "mirror", "symmetric": "reflect"}
NUMPY = {"nearest": "edge", "reflect": "reflect", "symmetric": "symmetric"}
BLUR = {32: (0.4, 0.6, 0.7, 0.8, 1.0), 80: (1.0, 2.0, 3.0, 4.0, 6.0)}  # as published

edges = pytest.mark.parametrize("edge", SCIPY)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


@edges
@pytest.mark.parametrize("reach", [0, 1, 4, 23])
def test_edges_are_numpys_even_beyond_the_image(edge: str, reach: int) -> None:
    x = images(2, 5, 7)
    for dim, widths in ((-1, ((0, 0), (0, 0), (reach, reach))), (-2, ((0, 0), (reach, reach), (0, 0)))):
        assert np.array_equal(padded(x, dim, reach, edge).numpy(), np.pad(x.numpy(), widths, mode=NUMPY[edge]))


@edges
def test_a_single_pixel_has_edges_too(edge: str) -> None:
    assert torch.equal(padded(torch.full((1, 1), 3.0), -1, 4, edge), torch.full((1, 9), 3.0))


@edges
@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0, 2.5, 9.0])
@pytest.mark.parametrize("truncate", [3.0, 4.0])
def test_gaussian_is_scipys(edge: str, sigma: float, truncate: float) -> None:
    x = images(2, 3, 14, 9)
    want = ndimage.gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma), mode=SCIPY[edge], truncate=truncate)
    assert float((gaussian(x, sigma, truncate=truncate, edge=edge) - torch.from_numpy(want)).abs().max()) < 2e-6


@edges
def test_correlation_is_scipys(edge: str) -> None:
    x, taps = images(2, 6, 8), (0.1, -2.0, 0.5, 1.0, 0.7)
    for dim in (-2, -1):
        want = ndimage.correlate1d(x.double().numpy(), taps, dim, mode=SCIPY[edge])
        assert float((correlate(x, taps, dim, edge) - torch.from_numpy(want)).abs().max()) < 1e-5


def test_boxes_are_scipys() -> None:
    x = images(1, 1, 9, 12)
    want = ndimage.uniform_filter(x.double().numpy(), (0, 0, 3, 3), mode="mirror")
    assert float((box3(x) - torch.from_numpy(want)).abs().max()) < 1e-6


@pytest.mark.parametrize("size", [32, 80])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_the_blur_has_the_published_deviations(size: int, severity: int) -> None:
    x = images(2, 3, size, size)
    sigma = BLUR[size][severity - 1]
    want = ndimage.gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4)
    assert float((corrupt(x, "gaussian_blur", severity) - torch.from_numpy(want)).abs().max()) < 1e-5


def published_disk(radius: float, sigma: float) -> np.ndarray:
    """The kernel as published: a normalised disk in a square of 17 x 17 (or 2 radius + 1), itself smoothed."""
    side = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    kernel = (side**2 + side[:, None] ** 2 <= radius**2).astype(float)
    taps = np.exp(-0.5 * (np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)) ** 2 / sigma**2)
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, taps / taps.sum(), axis, mode="mirror")
    return kernel / (side**2 + side[:, None] ** 2 <= radius**2).sum()


PUBLISHED = [
    (3, 0.1),
    (4, 0.5),
    (6, 0.5),
    (8, 0.5),
    (10, 0.5),
    (0.3, 0.4),
    (0.4, 0.5),
    (0.5, 0.6),
    (1, 0.2),
    (1.5, 0.1),
]


@pytest.mark.parametrize(("radius", "sigma"), PUBLISHED)
@pytest.mark.parametrize("shape", [(1, 2, 40, 33), (1, 1, 8, 9)], ids=str)
def test_the_disk_is_the_published_kernel(radius: float, sigma: float, shape: tuple[int, ...]) -> None:
    x = images(*shape)
    want = ndimage.correlate(x.double().numpy(), published_disk(radius, sigma)[None, None], mode="mirror")
    apart = (disk(x, radius, sigma) - torch.from_numpy(want)).abs()
    # Where the disk meets its square's edge, the published smoothing mirrors the square; ours only has its sum.
    assert float(apart.max()) < (3e-6 if radius < 8 else 0.02)
    assert float(apart.mean()) < (3e-6 if radius < 8 else 0.002)


@pytest.mark.parametrize("size", [5, 24])
def test_smearing_is_a_sum_of_moved_images(size: int) -> None:
    """Against a loop over pixels; offsets reach outside the smaller image."""
    x = images(3, 2, size, size + 1)
    generator = torch.Generator().manual_seed(0)
    down, right = (torch.randint(-7, 8, (3, 6), generator=generator) for _ in range(2))
    weights = [0.3, 0.25, 0.2, 0.1, 0.1, 0.05]
    want = torch.zeros_like(x)
    for n in range(3):
        for i in range(size):
            for j in range(size + 1):
                for k, weight in enumerate(weights):
                    row = min(max(i + int(down[n, k]), 0), size - 1)
                    column = min(max(j + int(right[n, k]), 0), size)
                    want[n, :, i, j] += weight * x[n, :, row, column]
    assert torch.allclose(smear(x, down, right, weights), want, atol=1e-6)
    assert torch.allclose(smear_by_index(x, down, right, weights), want, atol=1e-6)


def test_a_blur_leaves_what_is_even() -> None:
    x = torch.full((1, 3, 40, 40), 0.3)
    assert torch.allclose(gaussian(x, 6.0), x, atol=1e-6)
    assert torch.allclose(disk(x, 6.0, 0.5), x, atol=1e-6)
    assert float(disk(x, 8.0, 0.5)[0, 0, 0, 0]) == pytest.approx(0.3 * published_disk(8, 0.5).sum(), abs=1e-6)
    assert math.isclose(published_disk(8, 0.5).sum(), 1.013, abs_tol=5e-4)
