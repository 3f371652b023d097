"""Spatter, and the steps by which its water shines, against SciPy and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from robustest import rng
from robustest.shifts import corrupt
from robustest.shifts.filters import gaussian
from robustest.shifts.weather import edge_distances, edges, equalised, shine

# As published, for 224 and for 32 pixels.
MUD = {
    "224": {4: (0.65, 0.3, 1.0, 0.65, 1.5), 5: (0.67, 0.4, 1.0, 0.65, 1.5)},
    "32": {4: (0.65, 0.1, 0.7, 0.69, 0.6), 5: (0.65, 0.1, 0.5, 0.68, 0.6)},
}
WATER = {
    "224": {1: (0.65, 0.3, 4, 0.69, 0.6), 2: (0.65, 0.3, 3, 0.68, 0.6), 3: (0.65, 0.3, 2, 0.68, 0.5)},
    "32": {1: (0.62, 0.1, 0.7, 0.7, 0.5), 2: (0.65, 0.1, 0.8, 0.7, 0.5), 3: (0.65, 0.3, 1, 0.69, 0.5)},
}
sets = pytest.mark.parametrize("parameters", ["224", "32"])


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def drops(n: int, size: int, sigma: float = 2.0) -> Tensor:
    """Grey levels of thresholded smooth noise."""
    smooth = gaussian(rng.normal(rng.keys(0, torch.arange(n)), (1, size, size)), sigma)
    return torch.where(smooth > 0.1, 170 + smooth * 120, 0.0).clamp(0, 255).floor()


def canny(x: np.ndarray) -> np.ndarray:
    """Canny's edges of one image of grey levels: Sobel, thinning along the gradient, two thresholds."""
    wide = np.pad(x, 1, mode="edge")
    right = ndimage.correlate(wide, np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]))[1:-1, 1:-1]
    down = ndimage.correlate(wide, np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]))[1:-1, 1:-1]
    size = np.pad(np.abs(right) + np.abs(down), 1)
    thin = np.zeros(x.shape, bool)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            across, along = abs(right[i, j]), abs(down[i, j])
            here = size[i + 1, j + 1]
            if along < across * math.tan(math.pi / 8):
                thin[i, j] = here > size[i + 1, j] and here >= size[i + 1, j + 2]
            elif along > across * math.tan(3 * math.pi / 8):
                thin[i, j] = here > size[i, j + 1] and here >= size[i + 2, j + 1]
            else:
                side = -1 if right[i, j] * down[i, j] < 0 else 1
                thin[i, j] = here > size[i, j + 1 - side] and here > size[i + 2, j + 1 + side]
    size = size[1:-1, 1:-1]
    return ndimage.binary_propagation(thin & (size > 150), np.ones((3, 3)), mask=thin & (size > 50))


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
def test_edges_are_cannys(sigma: float) -> None:
    x = drops(3, 36, sigma)
    x = gaussian(x, 0.8).floor()  # so that there are weak edges, too
    got = edges(x)
    assert 0 < float(got.float().mean()) < 0.6
    for image, found in zip(x, got, strict=True):
        assert np.array_equal(found[0].numpy().astype(bool), canny(image[0].double().numpy()))


def test_distances_are_scipys_up_to_twenty() -> None:
    edge = torch.zeros(4, 1, 50, 61, dtype=torch.uint8)
    edge[0, 0, 25, 30] = 1
    edge[1, 0, 0, 0] = 1
    edge[2, 0] = (images(50, 61) > 0.99).to(torch.uint8)
    got = edge_distances(edge)
    for k in range(3):
        want = np.minimum(ndimage.distance_transform_edt(1 - edge[k, 0].numpy()), 20)
        assert np.allclose(got[k, 0].numpy(), want, atol=1e-5)
    assert float(got[3].min()) == 20  # no edge anywhere


def test_values_are_spread_by_their_shares() -> None:
    x = (images(2, 1, 12, 12) * 21).floor()
    x[1] = 7.0
    got = equalised(x)
    value = x[0].long().flatten().numpy()
    counts = np.bincount(value, minlength=21)
    first = value.min()
    want = np.round((np.cumsum(counts) - counts[first]) * 255 / (144 - counts[first]))[value]
    assert np.abs(got[0].flatten().numpy() - want).max() <= 1  # halves may be rounded either way
    assert float(got[0].min()) == 0
    assert float(got[0].max()) == 255
    assert torch.equal(got[1], x[1])  # one value alone stays what it is


def test_light_falls_on_water_only() -> None:
    x = drops(2, 40)
    light = shine(x)
    assert bool((light[x == 0] == 0).all())
    assert float(light.amax((1, 2, 3)).min()) > 0
    assert float(shine(torch.zeros(1, 1, 16, 16)).max()) == 0


@sets
@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_is_light_of_one_colour_at_the_published_strength(parameters: str, severity: int) -> None:
    mean, deviation, sigma, threshold, strength = WATER[parameters][severity]
    x = torch.zeros(4, 3, 64, 64)
    y = corrupt(x, "spatter", severity, parameters=parameters)
    field = rng.normal(rng.fold(rng.keys(0, torch.arange(4)), "spatter"), (1, 64, 64)) * deviation + mean
    wet = gaussian(field, sigma) >= threshold
    for image, where in zip(y, wet, strict=True):
        assert float((image * ~where).max()) == 0
        if bool((image > 0).any()):
            assert float(image[1].max()) == pytest.approx(strength * 238 / 255, abs=1e-5)
            assert torch.allclose(image[0] * 238, image[1] * 175, atol=1e-4)
            assert torch.equal(image[1], image[2])
    assert float(y.max()) > 0


@sets
@pytest.mark.parametrize("severity", [4, 5])
def test_mud_covers_what_is_under_it(parameters: str, severity: int) -> None:
    mean, deviation, sigma, threshold, smooth = MUD[parameters][severity]
    x = images(2, 3, 40, 40)
    field = rng.normal(rng.fold(rng.keys(0, torch.arange(2)), "spatter"), (1, 40, 40)) * deviation + mean
    wet = (ndimage.gaussian_filter(field.numpy(), (0, 0, sigma, sigma), mode="nearest") > threshold).astype(np.float32)
    cover = ndimage.gaussian_filter(wet, (0, 0, smooth, smooth), mode="nearest")
    cover[cover < 0.8] = 0
    want = x.numpy() * (1 - cover) + cover * np.array([63, 42, 20]).reshape(1, 3, 1, 1) / 255
    apart = np.abs(corrupt(x, "spatter", severity, parameters=parameters).numpy() - want)
    assert np.mean(apart > 1e-5) < 2e-3  # a pixel within rounding of a threshold may be on either side


def test_one_channel_gets_the_colours_brightness() -> None:
    grey = corrupt(torch.zeros(2, 1, 64, 64), "spatter", 3)
    coloured = corrupt(torch.zeros(2, 3, 64, 64), "spatter", 3)
    luma = (coloured * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(grey, luma, atol=1e-6)
