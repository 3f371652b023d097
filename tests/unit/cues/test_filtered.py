"""Colour casts, blurs, textures and bands of frequencies."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError
from robustest.cues import Blur, ColourCast, FrequencyBand, Texture

X = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def wave(cycles: float, n: int = 32) -> Tensor:
    """(1, 1, n, n) grey .5 with a wave of .25 across the columns, so many cycles a pixel."""
    return (0.5 + 0.25 * torch.cos(2 * math.pi * cycles * torch.arange(n))).expand(1, 1, n, n)


def test_a_cast_mixes_a_colour_in() -> None:
    on = ColourCast(colour=(1.0, 0.5, 0.0), strength=0.25).on(X)
    for channel, value in enumerate((1.0, 0.5, 0.0)):
        assert torch.allclose(on[:, channel], 0.75 * X[:, channel] + 0.25 * value, atol=1e-6)


def test_a_blur_takes_fine_detail_and_leaves_coarse() -> None:
    coarse, fine = (Blur(sigma=1.5).on(wave(cycles)) for cycles in (1 / 32, 0.5))
    assert float((fine - 0.5).abs()[:, :, 8:-8, 8:-8].max()) < 0.01
    assert float((coarse - wave(1 / 32)).abs()[:, :, 8:-8, 8:-8].max()) < 0.03
    flat = torch.full((1, 1, 16, 16), 0.3)
    assert torch.allclose(Blur().on(flat), flat)


@pytest.mark.parametrize(("side", "sigma"), [((32, 32), 2.0), ((9, 7), 1.0), ((24, 40), 0.5)])
def test_a_blur_is_torchvisions(side: tuple[int, int], sigma: float) -> None:
    from torchvision.transforms.functional import gaussian_blur

    x, reach = torch.rand(3, 2, *side, generator=torch.Generator().manual_seed(1)), round(3 * sigma + 0.49)
    expected = gaussian_blur(x, [2 * reach + 1] * 2, [sigma, sigma])
    assert torch.allclose(Blur(sigma=sigma).on(x), expected, atol=1e-5)


def test_a_blur_needs_room_for_its_kernel() -> None:
    with pytest.raises(ConfigError, match="images larger than 18 pixels"):
        Blur(sigma=6.0).on(X)


def test_a_texture_alternates() -> None:
    squares = Texture(period=4, strength=1.0).on(torch.zeros(1, 1, 8, 8))[0, 0]
    assert squares[:4, :4].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert float(squares.mean()) == 0.5
    stripes = Texture(period=2, strength=0.5, stripes=True, light=(1.0, 0.0, 0.4)).on(torch.zeros(1, 3, 4, 4))[0]
    assert stripes[:, :, 0].tolist() == [[0, 0.5, 0, 0.5], [0, 0, 0, 0], [0, pytest.approx(0.2), 0, pytest.approx(0.2)]]


def test_a_band_holds_its_frequencies_alone() -> None:
    away, louder = FrequencyBand(low=0.2, high=0.3), FrequencyBand(low=0.2, high=0.3, gain=1.5)
    assert torch.allclose(away.on(wave(0.25)), torch.full((1, 1, 32, 32), 0.5), atol=1e-6)
    assert torch.allclose(louder.on(wave(0.25)) - 0.5, 1.5 * (wave(0.25) - 0.5), atol=1e-6)
    for other in (0.125, 0.375):
        assert torch.allclose(away.on(wave(other)), wave(other), atol=1e-6)
        assert torch.allclose(louder.on(wave(other)), wave(other), atol=1e-6)


def test_what_a_band_sends_out_of_bounds_is_clipped() -> None:
    on = FrequencyBand(low=0.2, high=0.3, gain=10.0, bounds=(0.1, 0.9)).on(wave(0.25))
    assert (float(on.min()), float(on.max())) == pytest.approx((0.1, 0.9))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (ColourCast, {"colour": float("nan")}),
        (ColourCast, {"colour": 0.5, "strength": 0.0}),
        (ColourCast, {"colour": 0.5, "strength": 1.5}),
        (Blur, {"sigma": 0.0}),
        (Blur, {"sigma": "wide"}),
        (Texture, {"period": 3}),
        (Texture, {"period": 0}),
        (Texture, {"strength": -1.0}),
        (Texture, {"light": None}),
        (FrequencyBand, {"low": 0.3, "high": 0.3}),
        (FrequencyBand, {"low": -0.1, "high": 0.3}),
        (FrequencyBand, {"low": 0.1, "high": 0.3, "gain": -1.0}),
    ],
    ids=str,
)
def test_settings_are_in_range(make: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make(**options)


@pytest.mark.parametrize(
    "cue", [ColourCast(colour=0.5), Blur(), Texture(), FrequencyBand(low=0.1, high=0.2)], ids=lambda c: c.name
)
def test_images_are_needed(cue: Any) -> None:
    with pytest.raises(ConfigError, match=r"images \(N, C, H, W\)"):
        cue.on(torch.zeros(3, 5))
