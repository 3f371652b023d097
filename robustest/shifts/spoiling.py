"""What is lost: a part of the image hidden, or its fine detail."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from robustest import rng
from robustest.shifts.applying import family
from robustest.shifts.corruptions.tables import Table


@family(Table((0.05, 0.1, 0.2, 0.3, 0.45)))
def occlusion(x: Tensor, area: float, key: Tensor) -> Tensor:
    """A grey rectangle of the image's proportions over a share of its area, anywhere inside it."""
    height, width = x.shape[-2:]
    tall, wide = (max(1, round(side * math.sqrt(area))) for side in (height, width))
    key = rng.fold(key, "occlusion")
    top = rng.integers(rng.fold(key, "row"), (1, 1, 1), height - tall + 1)
    left = rng.integers(rng.fold(key, "column"), (1, 1, 1), width - wide + 1)
    row = torch.arange(height, device=x.device).view(1, 1, -1, 1)
    column = torch.arange(width, device=x.device).view(1, 1, 1, -1)
    hidden = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    return x.masked_fill(hidden, 0.5)


@family(Table((0.75, 0.5, 0.33, 0.25, 0.2)))
def resolution(x: Tensor, scale: float, key: Tensor) -> Tensor:
    """Shrunk with smoothing to a share of each side and enlarged again, both bilinearly."""
    height, width = x.shape[-2:]
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    small = F.interpolate(x, size=size, mode="bilinear", antialias=True)
    return F.interpolate(small, size=[height, width], mode="bilinear")
