"""Colour: the parts that several shifts share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def grey(x: Tensor) -> Tensor:
    """(N, 1, H, W): the luma of three channels, the mean of any other number."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x[:, :1] * LUMA[0]).add_(x[:, 1:2], alpha=LUMA[1]).add_(x[:, 2:], alpha=LUMA[2])


def paint(colour: Sequence[float], channels: int) -> list[float]:
    """A red-green-blue colour for so many channels: itself for three, else its luma in all."""
    if channels == 3:
        return list(colour)
    return [sum(weight * part for weight, part in zip(LUMA, colour, strict=True))] * channels


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest and the smallest channel at each pixel, (N, 1, H, W) each: HSV's value, and value less chroma."""
    high, low = x[:, :1].clone(), x[:, :1].clone()
    for k in range(1, x.shape[1]):
        torch.maximum(high, x[:, k : k + 1], out=high)
        torch.minimum(low, x[:, k : k + 1], out=low)
    return high, low
