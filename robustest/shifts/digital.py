"""Digital: contrast, elastic deformation, pixelation and JPEG of Hendrycks and Dietterich (ICLR 2019); also occlusion,
and a loss of resolution.
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
from robustest.shifts.filters import correlate, gaussian_taps, padded, taken
from robustest.shifts.sampling import at, at_affine, line
from robustest.shifts.tables import SeverityTable, family

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
        means.addcmul_(x.index_select(-2, index.to(x.device)), weight.to(x.device))
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
        least: pixels in the smallest box; others have at most one more.
        taps: for the first, second ... pixel of the boxes, its index (S,) and its weight (S, 1).
        share: (n,) box of each pixel.
        means: (n,) index of its mean in a list: all runs of `least` pixels, then of one more.
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
