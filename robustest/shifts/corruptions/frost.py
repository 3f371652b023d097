"""Textures of ice, made from noise: four looks, with the colours, contrasts and spectra of frost in photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustest import rng
from robustest.shifts.corruptions.colour import paint
from robustest.shifts.corruptions.filters import correlate


@dataclass(frozen=True, slots=True)
class _Look:
    """Frost of one kind. All numbers are grey levels of 255.

    Args:
        mean: of red, green and blue.
        way: how far the three go when the relief goes one level.
        skew: square of the relief added to it, in relief's own standard deviations.
        large: standard deviation of the noise of 1, 2, 4 ... pixels to the cell, seen as on images of 224 pixels; that
            of the finest before it is smoothed.
        small: as seen on images of 32 pixels, at a fifth of the scale.
    """

    mean: tuple[float, float, float]
    way: tuple[float, float, float]
    skew: float
    large: tuple[float, ...]
    small: tuple[float, ...]


_TEAL = _Look((78, 149, 166), (0.80, 0.48, 0.37), 0.1, (37, 9, 0, 9, 14, 0, 33), (17, 8, 16, 16, 27))
_WHITE = _Look((201, 205, 214), (0.56, 0.58, 0.59), -0.16, (37, 26, 19, 28, 0, 0, 27), (26, 18, 4, 17, 20))
_SILVER = _Look((138, 153, 165), (0.57, 0.57, 0.59), -0.03, (73, 38, 24, 27, 0, 0, 24), (41, 19, 4, 16, 20))
_DARK = _Look((112, 123, 135), (0.59, 0.58, 0.56), 0.09, (94, 0, 53, 44, 40, 0, 33), (48, 44, 35, 10, 27))
_CRYSTALS = (0.25, 1.594)
_SMOOTH = (0.2, 0.6, 0.2)
"""What the finest noise is smoothed by, seen from near: the photographs are enlarged there, and hold little so fine."""
_LOOKS = (_TEAL, _WHITE, _WHITE, _SILVER, _DARK)


def ice(key: Tensor, channels: int, height: int, width: int, *, close: bool) -> Tensor:
    """Textures of ice, another for each key.

    Args:
        key: (N,) int64.
        channels, height, width: of the texture; three channels are coloured, any other number is grey.
        close: seen from near, as on images of 224 pixels; else five times as far.

    Returns:
        (N, channels, height, width); most of it is in [0, 1].
    """
    look = rng.integers(rng.fold(key, "look"), (), len(_LOOKS))

    def of_looks(values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=key.device)[look] / 255

    octaves = of_looks([each.large if close else each.small for each in _LOOKS])
    relief = _relief(key, octaves, 4 if close else 2, (height, width), smooth=close)
    if close:
        octaves[:, 0] *= sum(tap**2 for tap in _SMOOTH)  # what smoothing leaves of it
    skew = of_looks([255 * each.skew for each in _LOOKS]) / octaves.square().sum(1).sqrt()
    relief = relief.addcmul(relief.square(), skew.view(-1, 1, 1, 1))
    mean = of_looks([paint(each.mean, channels) for each in _LOOKS]).view(-1, channels, 1, 1)
    way = of_looks([[255 * part for part in paint(each.way, channels)] for each in _LOOKS]).view(-1, channels, 1, 1)
    return (relief * way).add_(mean)


def _relief(key: Tensor, octaves: Tensor, patches: int, side: tuple[int, int], *, smooth: bool) -> Tensor:
    """Noise (N, 1, H, W) whose cells are 1, 2, 4 ... pixels, in the amounts of octaves (N, K).

    The octaves up to number `patches` are strong in some places and weak in others, as crystals leave smooth ice
    between them: all are multiplied by one field, which is uniform between bounds of mean square 1 at their largest
    cells.
    """
    levels = octaves.shape[1]
    sizes = [[(length + (1 << k) - 1) >> k for length in side] for k in range(levels)]
    sizes.append(sizes[patches])
    areas = [rows * columns for rows, columns in sizes]
    drawn = rng.uniform(key, (sum(areas),), -(3**0.5), 3**0.5).split_with_sizes(areas, 1)
    *noises, crystals = (part.view(-1, 1, *size) for part, size in zip(drawn, sizes, strict=True))
    low, high = _CRYSTALS
    crystals = crystals.mul((high - low) / 12**0.5).add_((high + low) / 2)
    field: Tensor | None = None
    for k in reversed(range(levels)):
        noise = noises[k] * octaves[:, k].view(-1, 1, 1, 1)
        if k <= patches:
            crystals = crystals if k == patches else _resize(crystals, sizes[k])
            noise.mul_(crystals)
        if k == 0 and smooth:
            noise = correlate(correlate(noise, _SMOOTH, -2), _SMOOTH, -1)
        field = noise if field is None else noise.add_(_resize(field, sizes[k]))
    return noise


def _resize(x: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear")
