"""Weather: snow, frost and fog."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.shifts.applying import family
from robustest.shifts.comparisons import at_least
from robustest.shifts.corruptions import tables
from robustest.shifts.corruptions.blur import moved
from robustest.shifts.corruptions.colour import grey
from robustest.shifts.corruptions.frost import ice
from robustest.shifts.corruptions.sampling import middle, zoomed


@family(tables.SNOW)
def snow(x: Tensor, parameters: tuple[float, float, float, float, int, float, float], key: Tensor) -> Tensor:
    """Flakes that fall within 45 degrees of the vertical, in two layers, on a whitened image."""
    mean, deviation, zoom, threshold, radius, sigma, kept = parameters
    key = rng.fold(key, "snow")
    height, width = x.shape[-2:]
    cut = (1, middle(height, zoom)[1], middle(width, zoom)[1])  # what the zoom would throw away is not drawn
    flakes = zoomed(rng.normal(rng.fold(key, "flakes"), cut).mul_(deviation).add_(mean), zoom, height, width)
    flakes.mul_(at_least(flakes, threshold)).clamp_(0.0, 1.0)
    flakes.mul_(255).floor_().mul_(1 / 255)
    flakes = moved(flakes, radius, sigma, rng.uniform(rng.fold(key, "angle"), (), -135.0, -45.0))
    white = torch.maximum(x, grey(x).mul_(1.5).add_(0.5)).mul_(1 - kept)
    return white.add_(x, alpha=kept).add_(flakes.add(flakes.flip(-2, -1)))


@family(tables.FROST)
def frost(x: Tensor, weights: tuple[float, float], key: Tensor) -> Tensor:
    """A weighted sum of the image and a texture of ice, which is drawn anew for each image."""
    texture = ice(rng.fold(key, "frost"), *x.shape[1:], close=weights in tables.FROST.large)
    return texture.mul_(weights[1]).add_(x, alpha=weights[0])


@family(tables.FOG)
def fog(x: Tensor, parameters: tuple[float, float], key: Tensor) -> Tensor:
    """A fractal cloud added, and the sum scaled so that at its brightest it is what the image was at its brightest."""
    strength, decay = parameters
    height, width = x.shape[-2:]
    cloud = fractal(rng.fold(key, "fog"), max(height, width), decay)[:, :height, :width].unsqueeze(1)
    most = x.amax((1, 2, 3), keepdim=True)
    return cloud.mul(strength).add(x).mul_(most / (most + strength))


def fractal(key: Tensor, size: int, decay: float) -> Tensor:
    """Heights by the diamond-square algorithm on a torus.

    Args:
        key: (N,) int64.
        size: of the map, at least; the next power of two is made.
        decay: the factor by which each finer level's noise is weaker.

    Returns:
        (N, S, S) in [0, 1], both ends reached in each map.
    """
    map_ = torch.zeros((len(key), 1, 1), dtype=torch.float32, device=key.device)
    levels = max(1, (size - 1).bit_length())
    draws = rng.uniform(key, (4**levels - 1,), -1.0, 1.0).split_with_sizes([3 * 4**level for level in range(levels)], 1)
    noise = 100.0
    for draw in draws:
        n = map_.shape[1]
        centre, top, left = draw.view(-1, 3, n, n).unbind(1)
        # Noise of size w times a uniform number in -w..w, as published, so that `decay` acts twice a level.
        pairs = map_ + map_.roll(-1, 2)
        centres = (pairs + pairs.roll(-1, 1)).mul_(0.25).add_(centre, alpha=noise**2)
        tops = pairs.add_(centres).add_(centres.roll(1, 1)).mul_(0.25).add_(top, alpha=noise**2)
        lefts = map_.roll(-1, 1).add_(map_).add_(centres).add_(centres.roll(1, 2)).mul_(0.25).add_(left, alpha=noise**2)
        rows = [torch.stack(row, -1).flatten(-2) for row in ((map_, tops), (lefts, centres))]
        map_ = torch.stack(rows, 2).flatten(1, 2)
        noise /= decay
    low, high = map_.amin((1, 2), keepdim=True), map_.amax((1, 2), keepdim=True)
    return map_.sub_(low).div_((high - low).clamp(min=1e-30))
