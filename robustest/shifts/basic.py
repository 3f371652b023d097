"""Noise, blur, brightness and rotation, severities 1..5.

Noise, blur and brightness take the parameters of Hendrycks and Dietterich (ICLR 2019): those of
ImageNet-C for images from 65 pixels, those of CIFAR-10-C below. Rotation is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, rotate

from robustest import rng

_LARGE = 65
_NOISE = ((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))
_BLUR = ((0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0))
_BRIGHTNESS = ((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
_ROTATION = (5.0, 10.0, 15.0, 20.0, 30.0)


def gaussian_noise(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """Independent normal noise on every element.

    Args:
        x: (N, C, H, W) in [0, 1].
        severity: 1..5.
        key: (N,) int64 keys.
    """
    return (x + _parameter(_NOISE, x, severity) * rng.normal(rng.fold(key, "gaussian_noise"), x.shape[1:])).clamp_(0, 1)


def gaussian_blur(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """Convolution with a normal kernel cut at four standard deviations, edges repeated.

    Args:
        x: (N, C, H, W) in [0, 1].
        severity: 1..5.
        key: (N,) int64 keys; unused, the blur is deterministic.
    """
    sigma = _parameter(_BLUR, x, severity)
    reach = int(4 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype) / sigma) ** 2)
    taps = taps / taps.sum()
    channels = x.shape[1]
    padded = torch.nn.functional.pad(x, (reach,) * 4, mode="replicate")
    kernel = taps.expand(channels, 1, -1)
    rows = torch.nn.functional.conv2d(padded, kernel.unsqueeze(2), groups=channels)
    return torch.nn.functional.conv2d(rows, kernel.unsqueeze(3), groups=channels)


def brightness(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """The HSV value raised, hue and saturation kept: every channel scaled by the same factor per pixel.

    Args:
        x: (N, C, H, W) in [0, 1].
        severity: 1..5.
        key: (N,) int64 keys; unused, the change is deterministic.
    """
    value = x.amax(1, keepdim=True)
    raised = (value + _parameter(_BRIGHTNESS, x, severity)).clamp(max=1.0)
    return torch.where(value > 0, x / value.clamp(min=1e-12) * raised, raised)


def rotation(x: Tensor, severity: int, key: Tensor) -> Tensor:
    """Rotation about the centre by 5, 10, 15, 20 or 30 degrees, left or right by the sample's own coin; corners black.

    Args:
        x: (N, C, H, W) in [0, 1].
        severity: 1..5.
        key: (N,) int64 keys.
    """
    angle = _ROTATION[severity - 1]
    side = rng.signs(rng.fold(key, "rotation"), (1, 1, 1))
    left = rotate(x, angle, interpolation=InterpolationMode.BILINEAR)
    right = rotate(x, -angle, interpolation=InterpolationMode.BILINEAR)
    return torch.where(side > 0, left, right)


def _parameter(table: tuple[tuple[float, ...], tuple[float, ...]], x: Tensor, severity: int) -> float:
    return table[max(x.shape[-2:]) >= _LARGE][severity - 1]
