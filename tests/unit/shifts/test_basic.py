"""Noise, blur, brightness and rotation against definitions computed by other means."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from robustest import SHIFTS, Shift, rng

SEVERITIES = [1, 2, 3, 4, 5]
# Hendrycks and Dietterich, ICLR 2019: make_cifar_c.py and make_imagenet_c.py.
NOISE = {32: (0.04, 0.06, 0.08, 0.09, 0.10), 80: (0.08, 0.12, 0.18, 0.26, 0.38)}
BLUR = {32: (0.4, 0.6, 0.7, 0.8, 1.0), 80: (1.0, 2.0, 3.0, 4.0, 6.0)}
BRIGHTNESS = {32: (0.05, 0.1, 0.15, 0.2, 0.3), 80: (0.1, 0.2, 0.3, 0.4, 0.5)}

every_shift = pytest.mark.parametrize("name", sorted(SHIFTS))
every_severity = pytest.mark.parametrize("severity", SEVERITIES)
sizes = pytest.mark.parametrize("size", [32, 80])


def images(n: int = 4, channels: int = 3, size: int = 32) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(size))


def shifted(name: str, x: Tensor, severity: int, seed: int = 0) -> Tensor:
    return Shift(name, severity).apply(x, rng.keys(seed, torch.arange(len(x))), (0.0, 1.0))


@every_shift
@every_severity
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_stay_images_and_the_samples_stay_as_they_were(name: str, severity: int, channels: int) -> None:
    x = images(channels=channels)
    before = x.clone()
    y = shifted(name, x, severity)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert bool(((y >= 0) & (y <= 1)).all())
    assert torch.equal(x, before)
    assert not torch.equal(y, x)


@every_shift
def test_a_sample_is_shifted_alike_in_any_company(name: str) -> None:
    x = images(8)
    key = rng.keys(0, torch.arange(8))
    whole = Shift(name, 3).apply(x, key, (0.0, 1.0))
    alone = Shift(name, 3).apply(x[5:6], key[5:6], (0.0, 1.0))
    assert torch.allclose(whole[5:6], alone, atol=1e-6)


@every_shift
def test_severities_go_up(name: str) -> None:
    x = images(16)
    change = [float((shifted(name, x, severity) - x).abs().mean()) for severity in SEVERITIES]
    assert change == sorted(change)
    assert len(set(change)) == 5


@sizes
@every_severity
def test_noise_is_normal_with_the_published_deviation(size: int, severity: int) -> None:
    sigma = NOISE[size][severity - 1]
    x = torch.full((40, 3, size, size), 0.5)
    change = (shifted("gaussian_noise", x, severity) - x).double()
    seen = change.abs() < 0.49  # the rest was clipped; its share is known
    n = change.numel()
    within = math.erf(0.49 / sigma / math.sqrt(2))
    assert abs(float(seen.double().mean()) - within) <= 5 * math.sqrt(within * (1 - within) / n)
    inside = math.erf(1 / math.sqrt(2))  # the share within one deviation, whatever is clipped further out
    assert abs(float((change.abs() < sigma).double().mean()) - inside) < 5 * math.sqrt(inside * (1 - inside) / n)
    assert abs(float(change.mean())) < 5 * sigma / math.sqrt(n)


def test_noise_differs_by_sample_seed_and_element() -> None:
    x = torch.full((2, 1, 8, 8), 0.5)
    first, other = shifted("gaussian_noise", x, 1), shifted("gaussian_noise", x, 1, seed=1)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, other)
    assert len(first[0].unique()) > 60


@sizes
@every_severity
def test_blur_is_scipys(size: int, severity: int) -> None:
    x = images(2, size=size)
    sigma = BLUR[size][severity - 1]
    want = gaussian_filter(x.double().numpy(), sigma=(0, 0, sigma, sigma), mode="nearest", truncate=4)
    got = shifted("gaussian_blur", x, severity)
    assert float((got.double() - torch.from_numpy(want)).abs().max()) < 1e-5


def test_blur_leaves_what_is_even() -> None:
    x = torch.full((1, 3, 40, 40), 0.3)
    assert torch.allclose(shifted("gaussian_blur", x, 5), x, atol=1e-6)


@sizes
@every_severity
def test_brightness_raises_the_value_and_keeps_hue_and_saturation(size: int, severity: int) -> None:
    x = images(1, size=size)[:, :, :6, :].repeat(1, 1, size // 6 + 1, 1)[:, :, :size]
    x[0, :, 0, 0] = 0.0  # black, which has no hue
    x[0, :, 0, 1] = 1.0
    got = shifted("brightness", x, severity)
    for row in range(2):
        for column in range(size):
            hue, saturation, value = colorsys.rgb_to_hsv(*x[0, :, row, column].tolist())
            want = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + BRIGHTNESS[size][severity - 1]))
            assert got[0, :, row, column].tolist() == pytest.approx(want, abs=1e-5)


def rotated(x: Tensor, angle: float) -> Tensor:
    """Each channel turned anticlockwise by Pillow, in 32-bit floats."""
    turned = [np.asarray(Image.fromarray(channel.numpy()).rotate(angle, Image.Resampling.BILINEAR)) for channel in x]
    return torch.from_numpy(np.stack(turned))


@pytest.mark.parametrize(("severity", "angle"), list(zip(SEVERITIES, (5, 10, 15, 20, 30), strict=True)))
def test_rotation_is_by_the_stated_angle_left_or_right(severity: int, angle: int) -> None:
    """Against Pillow's, inside the circle that never leaves the image; the two treat edges differently."""
    smooth = shifted("gaussian_blur", images(12, size=64), 5)
    got = shifted("rotation", smooth, severity)
    axis = torch.linspace(-1, 1, 64)
    inside = (axis.view(-1, 1) ** 2 + axis**2).sqrt() < 0.9
    sides = []
    for before, after in zip(smooth, got, strict=True):
        apart = [float((rotated(before, side * angle) - after)[:, inside].abs().max()) for side in (1, -1)]
        assert min(apart) < 1e-3
        assert max(apart) > 1e-2
        sides.append(apart.index(min(apart)))
    assert set(sides) == {0, 1}


def test_rotation_leaves_the_corners_black() -> None:
    got = shifted("rotation", torch.ones(4, 1, 32, 32), 5)
    assert float(got[:, :, 0, 0].max()) == 0
    assert float(got[:, :, 16, 16].min()) == pytest.approx(1)


@pytest.mark.parametrize(("size", "large"), [((64, 64), False), ((65, 10), True), ((10, 65), True)])
def test_large_images_get_the_parameters_of_large_images(size: tuple[int, int], large: bool) -> None:
    x = torch.full((20, 3, *size), 0.5)
    spread: Callable[[Tensor], float] = lambda change: float(change.std())  # noqa: E731
    got = spread(shifted("gaussian_noise", x, 1) - x)
    assert got == pytest.approx(0.08 if large else 0.04, rel=0.05)
