"""Glass, motion and zoom blur against loops and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from robustest import rng
from robustest.shifts import corrupt, sampling
from robustest.shifts.blur import motion_smear

SEVERITIES = [1, 2, 3, 4, 5]
# As published, for 224 and for 32 pixels.
GLASS = {
    "224": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "32": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
}
ZOOM = {
    "224": ((1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03)),
    "32": ((1, 1.06, 0.01), (1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.01), (1, 1.26, 0.01)),
}

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
sets = pytest.mark.parametrize("parameters", ["224", "32"])


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


@sets
@every_severity
def test_glass_displaces_one_pixel_after_the_other(parameters: str, severity: int) -> None:
    """The published loop, on the draws that ours makes."""
    sigma, most, rounds = GLASS[parameters][severity - 1]
    x = images(2, 3, 21, 17)
    keys = rng.fold(rng.keys(3, torch.arange(2)), "glass_blur")
    blur = (0, sigma, sigma)
    for image, key, got in zip(
        x, keys.split(1), corrupt(x, "glass_blur", severity, seed=3, parameters=parameters), strict=True
    ):
        grey = np.floor(ndimage.gaussian_filter(image.numpy(), blur, mode="nearest") * np.float32(255)) / 255
        for k in range(rounds):
            draws = rng.bits(rng.fold(key, k), (21 - 2 * most, 17 - 2 * most))[0].numpy().astype(np.int64) & 0xFFFFFFFF
            for h in range(21 - most, most, -1):
                for w in range(17 - most, most, -1):
                    draw = int(draws[h - most - 1, w - most - 1])
                    down, right = ((half * 2 * most >> 16) - most for half in (draw & 0xFFFF, draw >> 16))
                    grey[:, h, w] = grey[:, h + down, w + right]
        want = ndimage.gaussian_filter(grey, blur, mode="nearest")
        apart = np.abs(got.numpy() - want)
        assert np.median(apart) < 1e-6
        assert apart.max() < 1.01 / 255  # float32's blur may fall on the other side of a grey level


def test_glass_that_is_larger_than_the_image_only_blurs() -> None:
    x = images(1, 1, 8, 8)
    assert torch.equal(
        corrupt(x, "glass_blur", 5, parameters="224"), corrupt(x, "glass_blur", 5, seed=9, parameters="224")
    )


def test_glass_moves_as_far_as_published_and_no_further() -> None:
    x = torch.zeros(1, 1, 40, 40)
    x[..., 20, 20] = 1.0
    seen = torch.zeros(40, 40)
    for seed in range(200):
        seen += corrupt(x, "glass_blur", 1, seed=seed, parameters="32")[0, 0]  # hardly a blur, one round of one pixel
    rows, columns = (seen > 0).nonzero().T
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (20, 21, 20, 21)


@sets
@every_severity
@pytest.mark.parametrize("size", [(48, 48), (33, 50)], ids=str)
def test_zoom_is_scipys(parameters: str, severity: int, size: tuple[int, int]) -> None:
    x = images(1, 2, *size)
    start, stop, step = ZOOM[parameters][severity - 1]
    factors = np.arange(start, stop, step)
    total = x[0].double().numpy().copy()
    for factor in factors:
        kept = [math.ceil(n / factor) for n in size]
        top, left = ((n - k) // 2 for n, k in zip(size, kept, strict=True))
        part = x[0, :, top : top + kept[0], left : left + kept[1]].double().numpy()
        zoomed = ndimage.zoom(part, (1, factor, factor), order=1)
        trim = [(z - n) // 2 for z, n in zip(zoomed.shape[1:], size, strict=True)]
        total += zoomed[:, trim[0] : trim[0] + size[0], trim[1] : trim[1] + size[1]]
    got = corrupt(x, "zoom_blur", severity, parameters=parameters)[0]
    assert float((got - torch.from_numpy(total / (len(factors) + 1))).abs().max()) < 2e-5


@pytest.mark.parametrize("parameters", ["32", "224"])
@pytest.mark.parametrize("size", [(48, 48), (33, 50), (1, 7), (2, 2)], ids=str)
def test_zoom_by_a_matrix_is_zoom_layer_by_layer(
    parameters: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large images and other devices have layers; SciPy multiplies where torch cannot.

    MKL adds the products of a row in an order of its own on some processors: up to four for each layer, whose weights
    add up to one.
    """
    x = images(2, 3, *size)
    got = corrupt(x, "zoom_blur", 3, parameters=parameters)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    sampling._zoom_matrix.cache_clear()
    start, stop, step = ZOOM[parameters][2]
    products = 4 * len(np.arange(start, stop, step))
    assert float((corrupt(x, "zoom_blur", 3, parameters=parameters) - got).abs().max()) <= products * 2**-24
    sampling._zoom_matrix.cache_clear()
    monkeypatch.setattr(sampling, "MOST_PIXELS", 0)
    assert float((corrupt(x, "zoom_blur", 3, parameters=parameters) - got).abs().max()) < 2e-5


@pytest.mark.parametrize("angle", [-135.0, -90.0, -60.0, -17.0, 0.0, 33.0, 45.0])
def test_motion_reads_along_the_line_at_its_nearest_pixels(angle: float) -> None:
    x = images(1, 2, 30, 30)
    got = motion_smear(x, 5, 3.0, torch.tensor([angle]))
    weights = np.exp(-0.5 * (np.arange(11) / 3.0) ** 2)
    want = torch.zeros_like(x)
    for k, weight in enumerate(weights / weights.sum()):
        down, right = (
            math.ceil(k * part - 0.5) for part in (math.sin(math.radians(angle)), math.cos(math.radians(angle)))
        )
        rows = torch.arange(30).add(down).clamp(0, 29)
        columns = torch.arange(30).add(right).clamp(0, 29)
        want += weight * x[:, :, rows][..., columns]
    assert torch.allclose(got, want, atol=1e-6)


def test_motion_is_near_the_horizontal_and_to_one_side() -> None:
    x = torch.zeros(40, 1, 99, 99)
    x[..., 49, 49] = 1.0
    y = corrupt(x, "motion_blur", 5)
    assert float(y[..., 50:].max()) == 0  # what is read lies to the right, so that a point is smeared to the left
    rows, columns = torch.arange(99.0).view(-1, 1), torch.arange(99.0)
    steep = ((rows - 49).abs() > (columns - 49).abs() + 1).float()
    assert float((y * steep).max()) == 0
    assert y.sum((1, 2, 3)).tolist() == pytest.approx([1.0] * 40, abs=1e-5)
    assert len({tuple(image.nonzero()[0].tolist()) for image in y}) > 10  # each its own angle
