"""Light and colour: brightness, saturation, hue, gamma and swapped channels.

Of HSV only the value V = max(R, G, B) and the chroma C = V - min(R, G, B) are needed: saturation is C / V, and a change
of value or saturation keeps the order of the channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.shifts import tables
from robustest.shifts.filters import below, extremes
from robustest.shifts.tables import SeverityTable, family

# Values (HSV) and chromas under this have no hue.
_BLACK = 1e-6


@family(tables.BRIGHTNESS)
def brightness(x: Tensor, more: float, key: Tensor) -> Tensor:
    """Raise the HSV value and keep hue and saturation."""
    value = x[:, :1] if x.shape[1] == 1 else extremes(x)[0]
    raised = value.add(more).clamp_(max=1.0)
    black = below(value, _BLACK)
    # All channels of a pixel are scaled by the same factor; black has no hue to keep.
    return x.mul(raised / value.clamp(min=_BLACK)).add_(raised.mul_(black))


@family(tables.SATURATE)
def saturate(x: Tensor, parameters: tuple[float, float], key: Tensor) -> Tensor:
    """Multiply and raise the HSV saturation, and keep hue and value; grey pixels have the hue of the first channel."""
    if x.shape[1] == 1:
        return x
    factor, more = parameters
    value, low = extremes(x)
    chroma = value - low
    # A channel's distance from the value is the chroma times a factor that depends on the hue alone.
    wanted = (chroma * factor).add_(value, alpha=more).minimum(value)
    out = (x - value).mul_(wanted / chroma.clamp(min=_BLACK)).add_(value)
    if more:
        grey = below(chroma, _BLACK)
        out[:, 1:].sub_(grey.mul_(value).mul_(more))
    return out


@family(SeverityTable((15.0, 30.0, 60.0, 90.0, 150.0)))
def hue(x: Tensor, degrees: float, key: Tensor) -> Tensor:
    """Turn the HSV hue one way or the other, and keep saturation and value."""
    if x.shape[1] != 3:
        return x
    turn = rng.signs(rng.fold(key, "hue"), (1, 1, 1)).mul_(degrees / 60)
    value, low = extremes(x)
    chroma = value - low
    red, green, blue = x[:, :1], x[:, 1:2], x[:, 2:]
    # The hue in sixths of a circle, from the channel that is the largest.
    sixth = torch.where(
        red == value, green - blue, torch.where(green == value, blue - red + 2 * chroma, red - green + 4 * chroma)
    ).div_(chroma.clamp(min=_BLACK))
    offsets = torch.tensor([5.0, 3.0, 1.0], dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    place = (sixth + turn + offsets).remainder_(6.0)
    return value - chroma * torch.minimum(place, 4 - place).clamp_(0.0, 1.0)


@family(SeverityTable((1.25, 1.5, 2.0, 2.5, 3.5)))
def gamma(x: Tensor, exponent: float, key: Tensor) -> Tensor:
    """Raise every element to the exponent, or to its inverse, by the sample's coin."""
    side = rng.signs(rng.fold(key, "gamma"), (1, 1, 1))
    return x.clamp(min=0.0).pow(torch.full_like(side, exponent).pow(side))


@family(SeverityTable((0.2, 0.4, 0.6, 0.8, 1.0)))
def channel_swap(x: Tensor, share: float, key: Tensor) -> Tensor:
    """Rotate the channels by one or more places and mix them with the image."""
    n, channels = x.shape[:2]
    if channels == 1:
        return x
    places = rng.integers(rng.fold(key, "channel_swap"), (1,), channels - 1) + 1
    source = (torch.arange(channels, device=x.device) + places) % channels
    moved = x.gather(1, source.view(n, channels, 1, 1).expand_as(x))
    return x.lerp(moved, share)
