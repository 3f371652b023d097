"""Brightness, saturation, hue, gamma and swapped channels against colorsys and their definitions."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest.shifts import corrupt

SEVERITIES = [1, 2, 3, 4, 5]
# As published, for 224 and for 32 pixels.
BRIGHTNESS = {"224": (0.1, 0.2, 0.3, 0.4, 0.5), "32": (0.05, 0.1, 0.15, 0.2, 0.3)}
SATURATE = {
    "224": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    "32": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}
HUE = (15, 30, 60, 90, 150)
GAMMA = (1.25, 1.5, 2, 2.5, 3.5)
SWAP = (0.2, 0.4, 0.6, 0.8, 1.0)

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
sets = pytest.mark.parametrize("parameters", ["224", "32"])


def colours() -> Tensor:
    """(8, 3, 6, 6): random ones, and black, white, grey, pure and dark colours."""
    x = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)).mul(255).round().div(255)
    special = [(0, 0, 0), (1, 1, 1), (0.4, 0.4, 0.4), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.2, 0, 0.2), (0.5, 1, 1)]
    for k, colour in enumerate(special):
        x[:, :, k // 6, k % 6] = torch.tensor(colour, dtype=torch.float32)
    return x


def pixels(x: Tensor) -> list[list[float]]:
    rows: list[list[float]] = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).tolist()
    return rows


@sets
@every_severity
def test_brightness_raises_the_value_and_keeps_hue_and_saturation(parameters: str, severity: int) -> None:
    x = colours()
    got = corrupt(x, "brightness", severity, parameters=parameters)
    for before, after in zip(pixels(x), pixels(got), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        want = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + BRIGHTNESS[parameters][severity - 1]))
        assert after == pytest.approx(want, abs=1e-5)


@sets
@every_severity
def test_saturation_is_multiplied_and_raised(parameters: str, severity: int) -> None:
    factor, more = SATURATE[parameters][severity - 1]
    x = colours()
    got = corrupt(x, "saturate", severity, parameters=parameters)
    for before, after in zip(pixels(x), pixels(got), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        want = colorsys.hsv_to_rgb(hue, min(1.0, saturation * factor + more), value)
        assert after == pytest.approx(want, abs=1e-5)


@every_severity
def test_hue_turns_either_way_and_keeps_saturation_and_value(severity: int) -> None:
    x = colours()
    got = corrupt(x, "hue", severity)
    sides = []
    for image, turned in zip(x, got, strict=True):
        apart = []
        for side in (1, -1):
            want = []
            for before in pixels(image[None]):
                hue, saturation, value = colorsys.rgb_to_hsv(*before)
                want.append(colorsys.hsv_to_rgb((hue + side * HUE[severity - 1] / 360) % 1, saturation, value))
            apart.append(float(np.abs(np.array(want) - np.array(pixels(turned[None]))).max()))
        assert min(apart) < 1e-5
        sides.append(apart.index(min(apart)))
    ids = corrupt(x[:1].expand(20, -1, -1, -1), "hue", severity)
    assert len(ids.flatten(1).unique(dim=0)) == 2  # both ways occur


@every_severity
def test_gamma_darkens_or_brightens(severity: int) -> None:
    x = colours()[:1].expand(30, -1, -1, -1)
    y = corrupt(x, "gamma", severity)
    exponent = GAMMA[severity - 1]
    ways = [x[0].double() ** exponent, x[0].double() ** (1 / exponent)]
    taken = [min(range(2), key=lambda k: float((image - ways[k]).abs().max())) for image in y]
    assert 5 <= sum(taken) <= 25
    for image, way in zip(y, taken, strict=True):
        assert float((image - ways[way]).abs().max()) < 1e-5


@every_severity
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_channels_move_round_and_mix(severity: int, channels: int) -> None:
    x = torch.rand(1, channels, 4, 4, generator=torch.Generator().manual_seed(0)).expand(60, -1, -1, -1)
    y = corrupt(x, "channel_swap", severity)
    places = set()
    for image in y:
        ways = [x[0].lerp(x[0].roll(-k, 0), SWAP[severity - 1]) for k in range(1, channels)]
        apart = [float((image - way).abs().max()) for way in ways]
        assert min(apart) < 1e-6
        places.add(apart.index(min(apart)))
    assert len(places) == channels - 1


def test_one_channel_has_brightness_and_gamma_only() -> None:
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for name in ("saturate", "hue", "channel_swap"):
        assert torch.equal(corrupt(x, name, 5), x)
    assert torch.allclose(corrupt(x, "brightness", 5), (x + 0.3).clamp(max=1), atol=1e-6)
