"""Spatter: drops of water or mud."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.shifts.applying import family
from robustest.shifts.comparisons import above
from robustest.shifts.corruptions import tables
from robustest.shifts.corruptions.colour import paint
from robustest.shifts.corruptions.filters import gaussian
from robustest.shifts.corruptions.water import shine

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)


@family(tables.SPATTER)
def spatter(x: Tensor, parameters: tuple[float, float, float, float, float, bool], key: Tensor) -> Tensor:
    """Drops where a smooth random field is high: of water, added to the image, or of mud, painted over it."""
    mean, deviation, sigma, threshold, strength, mud = parameters
    field = rng.normal(rng.fold(key, "spatter"), (1, *x.shape[2:])).mul_(deviation).add_(mean)
    field = gaussian(field, sigma)
    drops = above(field, threshold)
    colour = torch.tensor(paint(_MUD if mud else _WATER, x.shape[1]), dtype=x.dtype, device=x.device).view(1, -1, 1, 1)
    if mud:
        cover = gaussian(drops, strength)
        cover.mul_(above(cover, 0.8))
        return (colour - x).mul_(cover).add_(x)
    light = shine(drops.mul_(field).mul_(255).clamp_(0, 255).floor_())
    light.div_(light.amax((1, 2, 3), keepdim=True).clamp_(min=1e-6)).mul_(strength)
    return (light * colour).add_(x)
