"""Shifts of pixels where they are: noise, light and colour, contrast, elastic deformation, boxes and JPEG.

The corruptions are those of Hendrycks and Dietterich (ICLR 2019); hue, gamma, swapped channels, occlusion and a loss of
resolution are others.
"""

from __future__ import annotations

import functools
import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.nn import functional as F

from robustest import rng
from robustest.shifts import tables
from robustest.shifts.filters import below, correlate, extremes, gaussian_taps, padded, taken
from robustest.shifts.sampling import at, at_affine, line
from robustest.shifts.tables import SeverityTable, family

# Noise: Gaussian, shot, impulse and speckle, independent on every element.
#
# Shot noise draws Poisson counts. Small means are inverted exactly: a uniform number u becomes the number of partial
# sums of exp(-m) m^k / k! that it exceeds. Large means use the expansion of Cornish and Fisher (1938),
#
#     m + sqrt(m) z + (z^2 - 1) / 6 - (z^3 - z) / (72 sqrt(m)) ...,    z the normal quantile of u.
# Both take one uniform number, so that the draw depends on the element alone; a rejection sampler would not.


# Mean from which a count is drawn by the expansion.
_LARGE_MEAN = 10.0

# Probabilities added up at most: a count of mean 10 exceeds 30 less often than once in ten million draws.
_TERMS = 30


@family(tables.GAUSSIAN_NOISE)
def gaussian_noise(x: Tensor, deviation: float, key: Tensor) -> Tensor:
    """Add independent normal noise to every element."""
    return rng.normal(rng.fold(key, "gaussian_noise"), x.shape[1:]).mul_(deviation).add_(x)


@family(tables.SPECKLE_NOISE)
def speckle_noise(x: Tensor, deviation: float, key: Tensor) -> Tensor:
    """Add independent normal noise to every element, in proportion to its value."""
    return rng.normal(rng.fold(key, "speckle_noise"), x.shape[1:]).mul_(deviation).add_(1.0).mul_(x)


@family(tables.IMPULSE_NOISE)
def impulse_noise(x: Tensor, amount: float, key: Tensor) -> Tensor:
    """Set every element, with the probability `amount`, to 0 or 1 with equal chances."""
    # Whole numbers in [-half, half), of which `hardshrink` leaves the outermost; one step then leaves any range.
    half = 2.0**23
    centred = rng.uniform(rng.fold(key, "impulse_noise"), x.shape[1:], -half, half)
    return torch.add(x, F.hardshrink(centred, (1 - amount) * half), alpha=2 / half)


@family(tables.SHOT_NOISE)
def shot_noise(x: Tensor, photons: int, key: Tensor) -> Tensor:
    """Replace every element by a Poisson count of mean `photons` times its value, on the same scale."""
    u, mean = rng.uniform(rng.fold(key, "shot_noise"), x.shape[1:]), x * photons
    # Sums of float32 probabilities may end a little under 1. No draw may fall into that gap.
    u = u.clamp_(max=1 - 1e-6)
    # Counts over `photons` are white anyway, so that no more terms than that are needed.
    terms = min(photons, _TERMS)
    chance = mean.neg().exp_()
    total, over, count = chance.clone(), torch.empty_like(u), torch.zeros_like(u)
    for k in range(1, terms + 1):
        count.add_(torch.ge(u, total, out=over))
        if k < terms:
            total.add_(chance.mul_(mean).mul_(1 / k))
    if photons > _TERMS:
        large = torch.ge(mean, _LARGE_MEAN, out=over)
        count = count.lerp_(_large_poisson(u, mean), large)
    return count.div_(photons)


def _large_poisson(u: Tensor, mean: Tensor) -> Tensor:
    z = u.add(2.0**-25).mul_(2.0).sub_(1.0).erfinv_().mul_(math.sqrt(2))
    square = z * z
    root = mean.clamp(min=1.0).sqrt_()
    third = square.add(2.0).mul_(z).div_(root).mul_(-1 / 72)
    # The corrections for whole numbers are half a step, and Sheppard's twelfth of the variance of a step.
    return root.mul_(z).add_(mean).add_(square, alpha=1 / 6).add_(third).add_(1 / 3).floor_()


# Light and colour: brightness, saturation, hue, gamma and swapped channels.
#
# Of HSV only the value V = max(R, G, B) and the chroma C = V - min(R, G, B) are needed: saturation is C / V, and a
# change of value or saturation keeps the order of the channels.


# Values (HSV) and chromas under this have no hue.
_BLACK = 1e-6


@family(tables.BRIGHTNESS)
def brightness(x: Tensor, more: float, key: Tensor) -> Tensor:
    """Raise the HSV value and keep hue and saturation."""
    value = x[:, :1] if x.shape[1] == 1 else extremes(x)[0]
    raised = value.add(more).clamp_(max=1.0)
    black = below(value, _BLACK)
    # All channels of a pixel are scaled by the same factor; black has no hue to keep.
    return torch.addcmul(black.mul_(raised), x, raised.div_(value.clamp(min=_BLACK)))


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
    """Raise every element to the exponent, or to its inverse, at random for each sample."""
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


# Digital: contrast, elastic deformation, pixelation and JPEG of Hendrycks and Dietterich (ICLR 2019); also occlusion,
# and a loss of resolution.


# Taps from which a filter is a product with a matrix and no longer a sum of shifted copies.
_MANY_TAPS = 64

# A JPEG file has 65,535 rows at most, and Pillow writes 65,500.
_MOST_ROWS = 65_000


@family(tables.CONTRAST)
def contrast(x: Tensor, factor: float, key: Tensor) -> Tensor:
    """Move every element towards its channel's mean."""
    return x.mean((2, 3), keepdim=True).mul_(1 - factor).add(x, alpha=factor)


@family(tables.ELASTIC_TRANSFORM)
def elastic_transform(x: Tensor, parameters: tuple[float, float, float], key: Tensor) -> Tensor:
    """Apply a random affine map, then a smooth random field of displacements."""
    key = rng.fold(key, "elastic_transform")
    height, width = x.shape[-2:]
    native = tables.ELASTIC_TRANSFORM.pixels(parameters)
    # On images smaller than those that a set of parameters is for, all three parameters shrink with the image.
    size, sigma, jitter = (parameter * min(1.0, min(height, width) / native) for parameter in parameters)
    back = _jittered_triangle(rng.uniform(rng.fold(key, "affine"), (3, 2), -jitter, jitter), height, width)
    moved = at_affine(x, back[:, 1].unbind(1), back[:, 0].unbind(1), "reflect")
    if size == 0:
        return moved
    field = rng.uniform(rng.fold(key, "field"), (2, height, width), -size, size)
    taps = gaussian_taps(sigma, truncate=3.0)
    for dim in (-2, -1):
        if len(taps) < _MANY_TAPS:
            field = correlate(field, taps, dim, "symmetric")
        else:
            matrix = _filter_matrix(field.shape[dim], sigma).to(field.device)
            field = matrix @ field if dim == -2 else field @ matrix.T
    rows, columns = line(height, x).view(1, -1, 1), line(width, x).view(1, 1, -1)
    return at(moved, field[:, 0] + rows, field[:, 1] + columns, "symmetric")


def _jittered_triangle(jitter: Tensor, height: int, width: int) -> Tensor:
    """Return the affine map (N, 2, 3) from (x, y, 1) in the result to (x, y) in the image."""
    # It takes three points, a third of the shorter side around the centre and moved by jitter (N, 3, 2), back to their
    # places without jitter.
    middle = torch.tensor([width // 2, height // 2], dtype=torch.float64)
    reach = max(1, min(height, width) // 3)
    corners = middle + torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64) * reach
    moved = corners + jitter.cpu().double()
    # Forwards, the unit vectors go to half the differences of the points, and the second point to its jittered place.
    right, down = (moved[:, 1] - moved[:, 2]) / (2 * reach), (moved[:, 0] - moved[:, 1]) / (2 * reach)
    area = right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]
    back = torch.stack([down[:, 1], -down[:, 0], -right[:, 1], right[:, 0]], 1).div_(area.unsqueeze(1)).view(-1, 2, 2)
    constant = corners[1] - (back * moved[:, 1].unsqueeze(1)).sum(2)
    return torch.cat([back, constant.unsqueeze(2)], 2).to(jitter.device, torch.float32)


@functools.lru_cache(maxsize=16)
def _filter_matrix(n: int, sigma: float) -> Tensor:
    taps = torch.tensor(gaussian_taps(sigma, truncate=3.0), dtype=torch.float64)
    source = padded(torch.arange(n), 0, len(taps) // 2, "symmetric").unfold(0, len(taps), 1)
    return torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, source, taps.expand(n, -1)).float()


@family(tables.PIXELATE)
def pixelate(x: Tensor, scale: float, key: Tensor) -> Tensor:
    """Replace pixels by the means of boxes. Where sides do not divide, boxes differ by a pixel."""
    height, width = x.shape[-2:]
    rows, columns = _Boxes.of(height, max(1, int(height * scale))), _Boxes.of(width, max(1, int(width * scale)))
    means = torch.zeros(*x.shape[:2], rows.shares, width, dtype=x.dtype, device=x.device)
    for index, weight in rows.taps:
        means.addcmul_(taken(x, -2, index.to(x.device)), weight.to(x.device))
    # Along rows, where selecting single elements is slow, sums of neighbours come first and one selection last.
    least = columns.least
    sums = means[..., : width - least + 1].clone()
    for k in range(1, least):
        sums.add_(means[..., k : k + width - least + 1])
    longer = (sums[..., :-1] + means[..., least:]).mul_(1 / (least + 1))
    table = torch.cat([sums.mul_(1 / least), longer], -1)
    return taken(taken(table, -1, columns.means.to(x.device)), -2, rows.share.to(x.device))


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The boxes that n pixels in a line fall into, by their centres.

    Args:
        least: pixels in the smallest box; others have one more at most.
        taps: for the first, second ... pixel of the boxes, index (S,) and weight (S, 1).
        share: (n,) box of each pixel.
        means: (n,) index of its mean among all runs of `least` pixels, then of one more.
    """

    shares: int
    least: int
    taps: tuple[tuple[Tensor, Tensor], ...]
    share: Tensor
    means: Tensor

    @classmethod
    @functools.lru_cache(maxsize=64)
    def of(cls, n: int, shares: int) -> _Boxes:
        # In whole numbers, so that a centre on the border of two boxes is in the first, for all sizes.
        edges = (torch.arange(shares + 1) * (2 * n) + shares) // (2 * shares)
        starts, lengths = edges[:-1], edges.diff()
        share = (torch.arange(n) * 2 + 1) * shares // (2 * n)
        least = int(lengths.min())
        taps = tuple(
            (starts + (lengths - 1).clamp(max=k), ((lengths > k).float() / lengths).unsqueeze(1))
            for k in range(int(lengths.max()))
        )
        return cls(shares, least, taps, share, (starts + (lengths > least) * (n - least + 1))[share])


@family(tables.JPEG_COMPRESSION)
def jpeg_compression(x: Tensor, quality: int, key: Tensor) -> Tensor:
    """Quantise to 8 bits, code and decode as baseline JPEG with halved colour resolution."""
    # By way of int32: from floats, conversion to bytes is not vectorised.
    half = torch.tensor(0.5, device=x.device)
    # Pillow's codec runs on the CPU for every device of x.
    levels = torch.add(half, x, alpha=255).to(torch.int32).to("cpu", torch.uint8).numpy()
    # Three channels are one colour picture; of any other number each channel is a grey picture.
    if x.shape[1] == 3:
        for planes in levels:
            # Pillow interleaves channels faster than torch does.
            coded = _coded(Image.merge("RGB", [Image.fromarray(plane) for plane in planes]), quality)
            for plane, band in zip(planes, coded.split(), strict=True):
                plane[:] = np.asarray(band)
    else:
        # Without colour, blocks of 8 x 8 pixels are coded independently. As many pictures as fit go below each other
        # into one file, each filled up with its edges, as the codec itself fills up the last blocks.
        pictures = levels.reshape(-1, *levels.shape[2:])
        height, width = pictures.shape[1:]
        fill = ((0, 0), (0, -height % 8), (0, -width % 8))
        step = max(1, _MOST_ROWS // (height + -height % 8))
        for start in range(0, len(pictures), step):
            some = pictures[start : start + step]
            filled = np.pad(some, fill, "edge")
            grey = _coded(Image.fromarray(filled.reshape(-1, filled.shape[2])), quality)
            some[:] = np.asarray(grey).reshape(filled.shape)[:, :height, :width]
    return torch.from_numpy(levels).to(x.device).float().mul_(1 / 255)


def _coded(picture: Image.Image, quality: int) -> JpegImageFile:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    file.seek(0)
    return JpegImageFile(file)


@family(SeverityTable((0.05, 0.1, 0.2, 0.3, 0.45)))
def occlusion(x: Tensor, area: float, key: Tensor) -> Tensor:
    """Hide a share of the image's area behind a grey rectangle of its proportions, anywhere inside it."""
    height, width = x.shape[-2:]
    tall, wide = (max(1, round(side * math.sqrt(area))) for side in (height, width))
    key = rng.fold(key, "occlusion")
    top = rng.integers(rng.fold(key, "row"), (1, 1, 1), height - tall + 1)
    left = rng.integers(rng.fold(key, "column"), (1, 1, 1), width - wide + 1)
    row = torch.arange(height, device=x.device).view(1, 1, -1, 1)
    column = torch.arange(width, device=x.device).view(1, 1, 1, -1)
    hidden = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    return x.masked_fill(hidden, 0.5)


@family(SeverityTable((0.75, 0.5, 0.33, 0.25, 0.2)))
def resolution(x: Tensor, scale: float, key: Tensor) -> Tensor:
    """Shrink with smoothing to a share of each side, and enlarge again, both bilinearly."""
    height, width = x.shape[-2:]
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    small = F.interpolate(x, size=size, mode="bilinear", antialias=True)
    return F.interpolate(small, size=[height, width], mode="bilinear")
