"""Weather: snow, frost, fog and spatter, after Hendrycks and Dietterich (ICLR 2019).

Snow: bright spots of zoomed noise, smeared by motion blur, on a whitened image. Fog: a fractal cloud by the
diamond-square algorithm. Frost: noise with the colours and spectra of photographs of ice, which the original blends in.
Spatter: smooth noise above a threshold is mud, or water lit by the distances to the drops' edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustest import rng
from robustest.shifts import tables
from robustest.shifts.blur import motion_smear
from robustest.shifts.filters import above, at_least, below, box3, correlate, gaussian, grey, padded, paint
from robustest.shifts.sampling import middle, zoomed
from robustest.shifts.tables import family


@family(tables.SNOW, cpu_elements=tables.MANY_STEPS)
def snow(x: Tensor, parameters: tuple[float, float, float, float, int, float, float], key: Tensor) -> Tensor:
    """Add flakes that fall within 45 degrees of the vertical, in two layers, to a whitened image."""
    mean, deviation, zoom, threshold, radius, sigma, kept = parameters
    key = rng.fold(key, "snow")
    height, width = x.shape[-2:]
    cut = (1, middle(height, zoom)[1], middle(width, zoom)[1])  # the zoom would discard the rest
    flakes = zoomed(rng.normal(rng.fold(key, "flakes"), cut).mul_(deviation).add_(mean), zoom, height, width)
    flakes.mul_(at_least(flakes, threshold)).clamp_(0.0, 1.0)
    flakes.mul_(255).floor_().mul_(1 / 255)
    flakes = motion_smear(flakes, radius, sigma, rng.uniform(rng.fold(key, "angle"), (), -135.0, -45.0))
    white = torch.maximum(x, grey(x).mul_(1.5).add_(0.5)).mul_(1 - kept)
    return white.add_(x, alpha=kept).add_(flakes.add(flakes.flip(-2, -1)))


@family(tables.FOG, cpu_elements=tables.MANY_STEPS)
def fog(x: Tensor, parameters: tuple[float, float], key: Tensor) -> Tensor:
    """Add a fractal cloud, and scale the sum to the brightest value that the image had."""
    strength, decay = parameters
    height, width = x.shape[-2:]
    cloud = fractal(rng.fold(key, "fog"), max(height, width), decay)[:, :height, :width].unsqueeze(1)
    most = x.amax((1, 2, 3), keepdim=True)
    return cloud.mul(strength).add(x).mul_(most / (most + strength))


def fractal(key: Tensor, size: int, decay: float) -> Tensor:
    """Return heights (N, S, S) in [0, 1] by the diamond-square algorithm on a torus, both ends reached in each map.

    Args:
        size: S is the next power of two.
        decay: the factor by which each finer level's noise is weaker.
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
        # Square step: each centre is the mean of four corners. Diamond step: each middle of a side is the mean of two
        # corners and two centres.
        centres = (pairs + pairs.roll(-1, 1)).mul_(0.25).add_(centre, alpha=noise**2)
        tops = pairs.add_(centres).add_(centres.roll(1, 1)).mul_(0.25).add_(top, alpha=noise**2)
        lefts = map_.roll(-1, 1).add_(map_).add_(centres).add_(centres.roll(1, 2)).mul_(0.25).add_(left, alpha=noise**2)
        rows = [torch.stack(row, -1).flatten(-2) for row in ((map_, tops), (lefts, centres))]
        map_ = torch.stack(rows, 2).flatten(1, 2)
        noise /= decay
    low, high = map_.amin((1, 2), keepdim=True), map_.amax((1, 2), keepdim=True)
    return map_.sub_(low).div_((high - low).clamp(min=1e-30))


@family(tables.FROST, cpu_elements=tables.MANY_STEPS)
def frost(x: Tensor, weights: tuple[float, float], key: Tensor) -> Tensor:
    """Return a weighted sum of the image and a texture of ice, which is drawn for each image."""
    texture = ice(rng.fold(key, "frost"), *x.shape[1:], close=weights in tables.FROST.large)
    return texture.mul_(weights[1]).add_(x, alpha=weights[0])


@dataclass(frozen=True, slots=True)
class _FrostLook:
    """The colours, contrast and spectrum of one photograph of frost, in grey levels of 255.

    Args:
        colour_step: change of red, green and blue for one level of relief.
        skew: square of the relief added to it, in standard deviations of the relief.
        large, small: standard deviations of noise of 1, 2, 4 ... pixels, on images of 224 and of 32 pixels.
    """

    mean: tuple[float, float, float]
    colour_step: tuple[float, float, float]
    skew: float
    large: tuple[float, ...]
    small: tuple[float, ...]


_TEAL = _FrostLook((78, 149, 166), (0.80, 0.48, 0.37), 0.1, (37, 9, 0, 9, 14, 0, 33), (17, 8, 16, 16, 27))
_WHITE = _FrostLook((201, 205, 214), (0.56, 0.58, 0.59), -0.16, (37, 26, 19, 28, 0, 0, 27), (26, 18, 4, 17, 20))
_SILVER = _FrostLook((138, 153, 165), (0.57, 0.57, 0.59), -0.03, (73, 38, 24, 27, 0, 0, 24), (41, 19, 4, 16, 20))
_DARK = _FrostLook((112, 123, 135), (0.59, 0.58, 0.56), 0.09, (94, 0, 53, 44, 40, 0, 33), (48, 44, 35, 10, 27))
_LOOKS = (_TEAL, _WHITE, _WHITE, _SILVER, _DARK)  # drawn with equal chances, so that white is as common as two others

# Range of the field that makes fine noise strong in some places and weak in others; its mean square is 1.
_CRYSTALS = (0.25, 1.594)

# Taps that smooth the finest noise as seen from near: the photographs are enlarged there, and lack fine detail.
_SMOOTH = (0.2, 0.6, 0.2)


def ice(key: Tensor, channels: int, height: int, width: int, *, close: bool) -> Tensor:
    """Return textures of ice (N, channels, height, width), another for each key; most of it is in [0, 1].

    `close` is seen from near, as on images of 224 pixels; else from five times as far.
    """
    look = rng.integers(rng.fold(key, "look"), (), len(_LOOKS))

    def by_look(values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=key.device)[look] / 255

    octaves = by_look([each.large if close else each.small for each in _LOOKS])
    relief = _relief(key, octaves, 4 if close else 2, (height, width), smooth=close)
    if close:
        octaves[:, 0] *= sum(tap**2 for tap in _SMOOTH)  # the part that smoothing leaves
    skew = by_look([255 * each.skew for each in _LOOKS]) / octaves.square().sum(1).sqrt()
    relief = relief.addcmul(relief.square(), skew.view(-1, 1, 1, 1))
    mean = by_look([paint(each.mean, channels) for each in _LOOKS]).view(-1, channels, 1, 1)
    step = by_look([[255 * part for part in paint(each.colour_step, channels)] for each in _LOOKS])
    return (relief * step.view(-1, channels, 1, 1)).add_(mean)


def _relief(key: Tensor, octaves: Tensor, patches: int, side: tuple[int, int], *, smooth: bool) -> Tensor:
    # Noise (N, 1, H, W) whose cells are 1, 2, 4 ... pixels, in the amounts of octaves (N, K).
    levels = octaves.shape[1]
    sizes = [[(length + (1 << k) - 1) >> k for length in side] for k in range(levels)]
    sizes.append(sizes[patches])
    areas = [rows * columns for rows, columns in sizes]
    drawn = rng.uniform(key, (sum(areas),), -(3**0.5), 3**0.5).split_with_sizes(areas, 1)
    *noises, crystals = (part.view(-1, 1, *size) for part, size in zip(drawn, sizes, strict=True))
    low, high = _CRYSTALS
    # Octaves up to number `patches` are multiplied by one field, uniform between _CRYSTALS at its cells: crystals leave
    # smooth ice between them.
    crystals = crystals.mul((high - low) / 12**0.5).add_((high + low) / 2)
    field: Tensor | None = None
    for k in reversed(range(levels)):  # from the coarsest octave, each sum enlarged to the next finer one's cells
        noise = noises[k] * octaves[:, k].view(-1, 1, 1, 1)
        if k <= patches:
            if k < patches:
                crystals = F.interpolate(crystals, size=sizes[k], mode="bilinear")
            noise.mul_(crystals)
        if k == 0 and smooth:
            noise = correlate(correlate(noise, _SMOOTH, -2), _SMOOTH, -1)
        field = noise if field is None else noise.add_(F.interpolate(field, size=sizes[k], mode="bilinear"))
    return noise


_WATER_COLOUR = (175 / 255, 238 / 255, 238 / 255)
_MUD_COLOUR = (63 / 255, 42 / 255, 20 / 255)


@family(tables.SPATTER, cpu_elements=tables.MANY_STEPS)
def spatter(x: Tensor, parameters: tuple[float, float, float, float, float, bool], key: Tensor) -> Tensor:
    """Put drops where a smooth random field is high: of water, added to the image, or of mud, painted over it."""
    mean, deviation, sigma, threshold, strength, mud = parameters
    field = rng.normal(rng.fold(key, "spatter"), (1, *x.shape[2:])).mul_(deviation).add_(mean)
    field = gaussian(field, sigma)
    drops = above(field, threshold)
    numbers = paint(_MUD_COLOUR if mud else _WATER_COLOUR, x.shape[1])
    colour = torch.tensor(numbers, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)
    if mud:
        cover = gaussian(drops, strength)
        cover.mul_(above(cover, 0.8))
        return (colour - x).mul_(cover).add_(x)
    light = shine(drops.mul_(field).mul_(255).clamp_(0, 255).floor_())
    light.div_(light.amax((1, 2, 3), keepdim=True).clamp_(min=1e-6)).mul_(strength)
    return (light * colour).add_(x)


# The light of water. The images below are (N, 1, H, W) float32 with grey levels: whole numbers from 0 to 255. The steps
# are those of OpenCV, which the authors' scripts call: Canny edges (1986), distances to the edges, a 3 x 3 blur,
# equalised contrast, and a filter that lights the drops from one side.

# Gradients of weak and of strong edges.
_WEAK, _STRONG = 50.0, 150.0

# Borders between the four directions of a gradient: tan 22.5, and tan 67.5 = tan 22.5 + 2.
_TAN = math.tan(math.radians(22.5))

# Distances are cut here, in pixels.
_FARTHEST = 20

_LIGHT = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


def shine(liquid: Tensor) -> Tensor:
    """Return the light of water of these heights, on no particular scale."""
    distance = edge_distances(edges(liquid))
    lit = _around(equalised(box3(distance).add_(1e-4).floor_()), "reflect")
    light = torch.zeros_like(liquid)
    for row, weights in zip(lit, _LIGHT, strict=True):
        for neighbour, weight in zip(row, weights, strict=True):
            if weight:
                light.add_(neighbour, alpha=weight)
    return box3(light.clamp_(0, 255)).add_(0.5).floor_().mul_(liquid)


def edges(x: Tensor) -> Tensor:
    """Return 1 on edges and 0 elsewhere, uint8."""
    # An edge is a pixel whose Sobel gradient (sum of its two parts) is the largest along its direction, and over 150,
    # or over 50 and joined to such a pixel by others.
    (nw, n, ne), (w, _, e), (sw, s, se) = _around(x, "nearest")
    right = (ne - nw).add_(e, alpha=2).sub_(w, alpha=2).add_(se).sub_(sw)
    down = (sw - nw).add_(s, alpha=2).sub_(n, alpha=2).add_(se).sub_(ne)
    across, along = right.abs(), down.abs()
    size = across + along
    (nw, n, ne), (w, _, e), (sw, s, se) = _around(size, "zeros")
    level = below(along, across * _TAN)
    upright = above(along, across * (_TAN + 2))
    falling = at_least(right * down, 0.0)
    # Thinning compares each pixel with its two neighbours in the direction of the gradient, one of them strictly.
    thin = above(size, w).mul_(at_least(size, e)).mul_(level)
    thin.add_(above(size, n).mul_(at_least(size, s)).mul_(upright))
    slanted = above(size, nw).mul_(above(size, se)).mul_(falling)
    slanted.add_(above(size, ne).mul_(above(size, sw)).mul_(1 - falling))
    thin.add_(slanted.mul_(1 - level - upright))
    # In bytes, of which a register holds four times as many.
    weak, found = ((thin * above(size, least)).to(torch.uint8) for least in (_WEAK, _STRONG))
    while True:
        grown = found
        for dim in (-2, -1):
            wide, length = _filled_out(grown, dim, 1, 0), grown.shape[dim]
            grown = torch.maximum(torch.maximum(grown, wide.narrow(dim, 0, length)), wide.narrow(dim, 2, length))
        grown = grown.mul(weak)
        if torch.equal(grown, found):
            return found
        found = grown


def edge_distances(edge: Tensor) -> Tensor:
    """Return the distances (float32) to the nearest edge, in pixels, at most 20."""
    height, width = edge.shape[-2:]
    far = _FARTHEST + 1
    # Distances in each column first; then, along rows, the least of (distance in the column)^2 + (columns away)^2.
    column = (1 - edge).mul_(far)
    for step in (1, 2, 4, 8, 5):  # every distance up to 20 is a sum of some of these
        wide = _filled_out(column, -2, step, far).add_(step)
        column = column.minimum(wide[..., :height, :]).minimum(wide[..., 2 * step :, :])
    column = column.to(torch.int16)
    square = column * column
    wide = _filled_out(square, -1, _FARTHEST, far**2)
    for step in range(1, _FARTHEST + 1):
        left, right = wide[..., _FARTHEST - step :][..., :width], wide[..., _FARTHEST + step :][..., :width]
        square = torch.minimum(square, torch.minimum(left, right).add_(step**2))
    return square.float().sqrt_().clamp_(max=_FARTHEST)


def equalised(x: Tensor) -> Tensor:
    """Spread whole numbers in 0.._FARTHEST over 0..255, by the share of pixels up to each."""
    n, pixels, bins = len(x), x[0].numel(), _FARTHEST + 1
    value = x.view(n, -1).to(torch.int64)
    image = torch.arange(n, device=x.device).view(-1, 1) * bins
    counts = torch.bincount((value + image).view(-1), minlength=n * bins).view(n, bins)
    first = counts.gather(1, value.amin(1, keepdim=True))
    spread = (counts.cumsum(1) - first).clamp(min=0).float().mul(255).div((pixels - first).clamp(min=1)).round()
    plain = torch.arange(bins, device=x.device, dtype=torch.float32).expand(n, -1)
    return torch.where(first == pixels, plain, spread).gather(1, value).view_as(x)


def _around(x: Tensor, edge: str) -> list[list[Tensor]]:
    # Three rows of three views: the neighbours of every pixel, and the pixel itself.
    height, width = x.shape[-2:]
    if edge == "zeros":
        wide = _filled_out(_filled_out(x, -2, 1, 0.0), -1, 1, 0.0)
    else:
        wide = padded(padded(x, -2, 1, edge), -1, 1, edge)
    return [[wide[..., i : i + height, j : j + width] for j in range(3)] for i in range(3)]


def _filled_out(x: Tensor, dim: int, reach: int, value: float) -> Tensor:
    sides = [0, 0, reach, reach] if dim == -2 else [reach, reach]
    return F.pad(x, sides, value=value)
