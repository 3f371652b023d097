"""Snow, frost and fog against their definitions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from robustest import rng
from robustest.shifts import corrupt
from robustest.shifts.weather import fractal, ice

SEVERITIES = [1, 2, 3, 4, 5]
# As published, for 224 and for 32 pixels.
FOG = {
    "224": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "32": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
}
FROST = {
    "224": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "32": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
}
SNOW = {
    "224": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "32": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
}
LUMA = np.array([0.299, 0.587, 0.114])

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
sets = pytest.mark.parametrize("parameters", ["224", "32"])


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def keys(n: int, use: str, seed: int = 0) -> Tensor:
    return rng.fold(rng.keys(seed, torch.arange(n)), use)


def diamond_square(draws: np.ndarray, side: int, decay: float) -> np.ndarray:
    """One pixel after the other, on a torus, from draws in -1..1 in the order in which ours uses them."""
    heights = np.zeros((side, side))
    step, noise, used = side, 100.0, 0
    while step > 1:
        half, n = step // 2, side // step
        levels = draws[used : used + 3 * n * n].reshape(3, n, n) * noise * noise
        used += 3 * n * n
        at = lambda i, j: heights[i % side, j % side]  # noqa: E731
        for i in range(n):
            for j in range(n):
                y, x = i * step, j * step
                corners = at(y, x) + at(y + step, x) + at(y, x + step) + at(y + step, x + step)
                heights[y + half, x + half] = corners / 4 + levels[0, i, j]
        for i in range(n):
            for j in range(n):
                y, x = i * step, j * step
                heights[y, x + half] = (
                    at(y, x) + at(y, x + step) + at(y + half, x + half) + at(y - half, x + half)
                ) / 4
                heights[y, x + half] += levels[1, i, j]
                heights[y + half, x] = (
                    at(y, x) + at(y + step, x) + at(y + half, x + half) + at(y + half, x - half)
                ) / 4
                heights[y + half, x] += levels[2, i, j]
        step, noise = half, noise / decay
    heights -= heights.min()
    return heights / heights.max()


@pytest.mark.parametrize("decay", [1.4, 2.0, 3.0])
@pytest.mark.parametrize("side", [8, 32])
def test_the_fractal_is_diamond_and_square(decay: float, side: int) -> None:
    key = keys(3, "test")
    draws = rng.uniform(key, (side * side - 1,), -1.0, 1.0).double().numpy()
    got = fractal(key, side, decay)
    for k in range(3):
        assert np.allclose(got[k].numpy(), diamond_square(draws[k], side, decay), atol=2e-5)


@pytest.mark.parametrize(("size", "side"), [(1, 2), (2, 2), (5, 8), (32, 32), (33, 64)])
def test_the_fractal_has_the_next_power_of_two(size: int, side: int) -> None:
    got = fractal(keys(2, "test"), size, 2.0)
    assert got.shape == (2, side, side)
    assert got.amin((1, 2)).tolist() == [0, 0]
    assert got.amax((1, 2)).tolist() == pytest.approx([1, 1])


@sets
@every_severity
def test_fog_is_a_cloud_that_keeps_the_brightest(parameters: str, severity: int) -> None:
    x = images(2, 3, 20, 24) * 0.8
    strength, decay = FOG[parameters][severity - 1]
    cloud = fractal(keys(2, "fog"), 24, decay)[:, None, :20, :24]
    most = x.amax((1, 2, 3), keepdim=True)
    want = (x + strength * cloud) * most / (most + strength)
    got = corrupt(x, "fog", severity, parameters=parameters)
    assert torch.allclose(got, want, atol=1e-6)
    assert bool((got.amax((1, 2, 3)) <= most.flatten() + 1e-6).all())


@sets
@every_severity
@pytest.mark.parametrize("channels", [1, 3])
def test_snow_is_two_layers_of_flakes_on_a_whitened_image(parameters: str, severity: int, channels: int) -> None:
    size = 40
    mean, deviation, zoom, threshold, radius, sigma, kept = SNOW[parameters][severity - 1]
    x = images(1, channels, size, size)
    key = keys(1, "snow")
    cut = math.ceil(size / zoom)
    layer = rng.normal(rng.fold(key, "flakes"), (1, cut, cut))[0, 0].double().numpy() * deviation + mean
    layer = ndimage.zoom(layer, zoom, order=1)
    trim = (layer.shape[0] - size) // 2
    layer = layer[trim : trim + size, trim : trim + size]
    layer = np.floor(np.clip(np.where(layer < threshold, 0, layer), 0, 1) * 255 + 1e-3) / 255
    angle = math.radians(float(rng.uniform(rng.fold(key, "angle"), (), -135.0, -45.0)))
    blurred, total = np.zeros_like(layer), 0.0
    for k in range(2 * radius + 1):
        weight = math.exp(-0.5 * (k / sigma) ** 2)
        rows = np.clip(np.arange(size) + math.ceil(k * math.sin(angle) - 0.5), 0, size - 1)
        columns = np.clip(np.arange(size) + math.ceil(k * math.cos(angle) - 0.5), 0, size - 1)
        blurred += weight * layer[rows][:, columns]
        total += weight
    blurred /= total
    image = x[0].double().numpy()
    grey = np.tensordot(LUMA, image, 1) if channels == 3 else image[0]
    white = kept * image + (1 - kept) * np.maximum(image, grey * 1.5 + 0.5)
    want = np.clip(white + blurred + blurred[::-1, ::-1], 0, 1)
    got = corrupt(x, "snow", severity, parameters=parameters)[0].double().numpy()
    # A flake within float32's rounding of the threshold may be there for one and not for the other.
    assert np.median(np.abs(got - want)) < 1e-5
    assert np.mean(np.abs(got - want)) < 2e-3


@sets
@every_severity
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_frost_is_a_weighted_sum_with_ice(parameters: str, severity: int, channels: int) -> None:
    x = images(3, channels, 24, 24)
    weights = FROST[parameters][severity - 1]
    texture = ice(keys(3, "frost"), channels, 24, 24, close=parameters == "224")
    want = (weights[0] * x + weights[1] * texture).clamp(0, 1)
    assert torch.allclose(corrupt(x, "frost", severity, parameters=parameters), want, atol=1e-6)


@pytest.mark.parametrize(("close", "size", "spread"), [(True, 224, (21, 47)), (False, 32, (18, 42))])
def test_ice_has_four_looks_like_the_photographs(close: bool, size: int, spread: tuple[float, float]) -> None:
    """Mean colours are those of the published textures; contrast is in their range."""
    y = ice(keys(100, "look at"), 3, size, size, close=close) * 255
    means = y.mean((2, 3))
    looks = torch.tensor([[78.0, 149, 166], [201, 205, 214], [138, 153, 165], [112, 123, 135]])
    nearest = torch.cdist(means, looks).argmin(1)
    counts = torch.bincount(nearest, minlength=4).tolist()
    assert 25 <= counts[1] <= 55  # two fifths; three standard errors
    assert all(8 <= count <= 33 for count in (counts[0], counts[2], counts[3]))  # a fifth each
    for k in range(4):
        assert float((means[nearest == k].mean(0) - looks[k]).abs().max()) < 12
    contrast = y.mean(1).std((1, 2))
    assert spread[0] * 0.5 < float(contrast.min())
    assert float(contrast.max()) < spread[1] * 1.5
    assert spread[0] < float(contrast.mean()) < spread[1]


def test_ice_is_finer_from_afar() -> None:
    near, far = (ice(keys(40, "look at"), 1, 64, 64, close=close) for close in (True, False))

    def roughness(y: Tensor) -> float:
        return float((y[..., 1:] - y[..., :-1]).square().mean() / y.var((2, 3)).mean())

    assert roughness(far) > 1.3 * roughness(near)


# Power of grey, 0..255 squared, in bands of an octave (the lowest: all below), under a Hann window: means over
# the five photographs of imagecorruptions 1.1.2 that are drawn, 60 crops each of 224 pixels (of the photographs
# enlarged by 1.1), and 400 of 32 (shrunk to a fifth).
FROST_POWER = {224: (12328149.0, 4865587.0, 6277136.0, 3132278.0), 32: (74596.0, 58706.0, 111467.0, 267708.0)}


@pytest.mark.parametrize("size", [224, 32])
def test_ice_has_the_power_of_the_photographs_in_every_band(size: int) -> None:
    drawn = rng.keys(0, torch.arange(2000))
    look = rng.integers(rng.fold(drawn, "look"), (), 5)  # of one look as many as of any, for they differ tenfold
    some = torch.cat([drawn[look == k][: 15 if size == 224 else 200] for k in range(5)])
    grey = (255 * ice(some, 3, size, size, close=size == 224)).clamp(0, 255).double().mean(1)
    window = torch.hann_window(size, periodic=False, dtype=torch.float64)
    window = window.view(-1, 1) * window
    power = torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * window).abs().square().mean(0)
    power /= window.square().sum()
    line = torch.fft.fftfreq(size).abs()
    radius = torch.maximum(line.view(-1, 1), line)
    edges = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
    for low, high, want in zip(edges[:-1], edges[1:], FROST_POWER[size], strict=True):
        assert float(power[(radius > low) & (radius <= high)].sum()) == pytest.approx(want, rel=0.2), (low, high)
