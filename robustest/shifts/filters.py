"""Arithmetic that the shifts share: blurs as weighted sums of shifted copies, comparisons, and colours.

Work is elementwise, or a product in which each result is a sum of a few taps in their order, so that an image's result
does not depend on its batch, as it may with a library's convolutions.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from robustest import devices


@functools.lru_cache(maxsize=256)
def _outside(n: int, reach: int, edge: str) -> tuple[list[int], list[int]]:

    # Indices that stand in for positions -reach..-1 and n..n+reach-1.
    def inside(position: int) -> int:
        if edge == "nearest":
            return min(max(position, 0), n - 1)
        period = 2 * n if edge == "symmetric" else max(2 * n - 2, 1)
        position %= period
        return position if position < n else 2 * n - position - (1 if edge == "symmetric" else 2)

    return [inside(p) for p in range(-reach, 0)], [inside(p) for p in range(n, n + reach)]


def padded(x: Tensor, dim: int, reach: int, edge: str = "nearest") -> Tensor:
    """Add `reach` elements at both ends of a dimension; `reach` may exceed the dimension's size.

    The edge "nearest" repeats the last element, "reflect" mirrors about it (d c b | a b c d | c b a), "symmetric" about
    its outer edge (c b a | a b c d | d c b).
    """
    if reach == 0:
        return x
    # torch's own padding, three times as fast, knows images of floats alone, and mirrors no further than the image.
    mode = {"nearest": "replicate", "reflect": "reflect" if reach < x.shape[dim] else None}.get(edge)
    if mode and x.ndim == 4 and dim < 0 and x.is_floating_point() and x.numel():
        return F.pad(x, (0, 0, reach, reach) if dim == -2 else (reach, reach, 0, 0), mode=mode)
    before, after = (torch.tensor(index, device=x.device) for index in _outside(x.shape[dim], reach, edge))
    return torch.cat([x.index_select(dim, before), x, x.index_select(dim, after)], dim)


def taken(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Select indices (n,) of x along dimension -2 or -1."""
    if dim == -2:
        # Of the rows of all planes: index_select copies whole rows only along the first dimension.
        planes = torch.arange(math.prod(x.shape[:-2]), device=x.device).mul_(x.shape[-2]).view(-1, 1)
        rows = x.reshape(-1, x.shape[-1]).index_select(0, (planes + index).view(-1))
        return rows.view(*x.shape[:-2], len(index), x.shape[-1])
    return x.gather(-1, index.expand(*x.shape[:-1], -1))  # several times faster here than index_select


def gaussian_taps(sigma: float, truncate: float = 4.0) -> list[float]:
    """Return the weights, with sum 1, of a Gaussian cut at `truncate` standard deviations."""
    reach = int(truncate * sigma + 0.5)
    if reach == 0:
        return [1.0]
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)]
    return [weight / sum(weights) for weight in weights]


def correlate(x: Tensor, taps: Sequence[float], dim: int, edge: str = "nearest") -> Tensor:
    """Filter x along one dimension by an odd number of taps."""
    return _correlate_inside(padded(x, dim, len(taps) // 2, edge), taps, dim)


def _correlate_inside(x: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    # Only where the taps do not reach outside.
    n = x.shape[dim] - len(taps) + 1
    if len(taps) >= _BANDED_TAPS and devices.on_host(x):
        return _banded(x, tuple(taps), dim)
    out = x.narrow(dim, 0, n) * taps[0]
    for k in range(1, len(taps)):
        out.add_(x.narrow(dim, k, n), alpha=taps[k])
    return out


# Taps from which products with small band matrices beat a sum of shifted copies, which reads and writes once a tap.
_BANDED_TAPS = 5

# Results of a product. Larger ones multiply more zeros beside the band, smaller ones reach fewer operations a second.
_BAND = 32


def _banded(x: Tensor, taps: tuple[float, ...], dim: int) -> Tensor:
    # On most processors a product adds up the taps of a result in their order, as the sum of shifted copies does. Some
    # libraries take another order for rows that begin within a vector, or at which threads part them: there the last
    # bits of an image depend on those beside it.
    planes = x.reshape(-1, *x.shape[-2:])
    tall, wide = (size - (len(taps) - 1) * (axis == dim) for axis, size in zip((-2, -1), x.shape[-2:], strict=True))
    out = torch.empty((len(planes), tall, wide), dtype=x.dtype)
    lines = planes.view(-1, planes.shape[-1])
    n = tall if dim == -2 else wide
    for start in range(0, n, _BAND):
        stop = min(start + _BAND, n)
        band, read = _band_matrix(taps, stop - start).to(x.dtype), slice(start, stop + len(taps) - 1)
        if dim == -2:
            out[:, start:stop] = torch.matmul(band.T, planes[:, read])
        else:
            torch.mm(lines[:, read], band, out=out.view(-1, wide)[:, start:stop])
    return out.view(*x.shape[:-2], tall, wide)


@functools.lru_cache(maxsize=64)
def _band_matrix(taps: tuple[float, ...], n: int) -> Tensor:
    # (n + len(taps) - 1, n): column j has the taps from row j on.
    column = torch.arange(n)
    band = torch.zeros(n + len(taps) - 1, n)
    for k, tap in enumerate(taps):
        band[column + k, column] = tap
    return band


def gaussian(x: Tensor, sigma: float, *, truncate: float = 4.0, edge: str = "nearest") -> Tensor:
    """Blur x (..., H, W) by a Gaussian; sigma in pixels, edges as for `padded`."""
    taps = gaussian_taps(sigma, truncate)
    if len(taps) == 1:
        return x
    return correlate(correlate(x, taps, -2, edge), taps, -1, edge)


def box3(x: Tensor) -> Tensor:
    """Return the mean over 3 x 3 pixels, mirrored about the last pixel at the edges."""
    return correlate(correlate(x, (1.0, 1.0, 1.0), -2, "reflect"), (1.0, 1.0, 1.0), -1, "reflect").mul_(1 / 9)


def disk(x: Tensor, radius: float, sigma: float) -> Tensor:
    """Return the mean over the pixels within `radius`, after a Gaussian that smooths the disk's rim; edges mirrored."""
    reach = int(radius)
    # As published, the Gaussian has 3 x 3 taps, or 5 x 5 from a radius over 8.
    rim = [math.exp(-0.5 * (k / sigma) ** 2) for k in ((-1, 0, 1) if radius <= 8 else (-2, -1, 0, 1, 2))]
    wide = reach + len(rim) // 2
    tall = padded(padded(x, -2, wide, "reflect"), -1, wide, "reflect")
    for dim in (-2, -1):
        tall = _correlate_inside(tall, [weight / sum(rim) for weight in rim], dim)
    if reach == 0:
        return tall
    height, width = x.shape[-2:]
    halves = [math.floor(math.sqrt(radius**2 - k**2)) for k in range(reach + 1)]
    area = 2 * sum(2 * half + 1 for half in halves) - (2 * halves[0] + 1)
    # Columns of the disk are added up in the order of their height, so that each grows out of the last: the number of
    # sums grows with the radius and not with the area.
    column, half, out = tall[..., reach : reach + height, :].clone(), 0, torch.zeros_like(x)
    for k in range(reach, -1, -1):
        while half < halves[k]:
            half += 1
            column.add_(tall[..., reach - half : reach - half + height, :])
            column.add_(tall[..., reach + half : reach + half + height, :])
        out.add_(column[..., reach - k : reach - k + width])
        if k:
            out.add_(column[..., reach + k : reach + k + width])
    return out.mul_(_disk_gain(radius, halves, rim) / area)


def _disk_gain(radius: float, halves: Sequence[int], rim: Sequence[float]) -> float:
    # The sum of the published disk's weights. That disk lies in a square of 17 x 17 weights, 21 x 21 for radius 10, and
    # the smoothing of its rim mirrors the square. Where the disk touches the square's edge the sum is not 1: it is
    # 1.013 for radius 8.
    half = 8 if radius <= 8 else int(radius)
    column = [2 * halves[abs(k)] + 1 if abs(k) < len(halves) else 0 for k in range(-half, half + 1)]
    index = padded(torch.arange(2 * half + 1), 0, len(rim) // 2, "reflect").unfold(0, len(rim), 1)
    weights = torch.tensor(rim, dtype=torch.float64).expand(len(column), -1)
    counts = torch.zeros(len(column), dtype=torch.float64).scatter_add_(0, index.flatten(), weights.flatten())
    counts = counts / sum(rim)
    inside = torch.tensor(
        [[float(abs(j) <= (n - 1) / 2) if n else 0.0 for j in range(-half, half + 1)] for n in column]
    )
    return float(counts @ inside.double() @ counts) / sum(column)


def smear(x: Tensor, down: Tensor, right: Tensor, weights: Sequence[float]) -> Tensor:
    """Return for each image (C, H, W) a weighted sum of copies, each moved by a whole number of pixels; edges repeated.

    Tap k of pixel (i, j) lies at (i + down, j + right), both (N, K) int64 on the CPU.
    """
    if not devices.on_host(x):
        return smear_by_index(x, down.to(x.device), right.to(x.device), weights)
    height, width = x.shape[-2:]
    reach = max(int(offset.abs().max()) for offset in (down, right)) if len(x) else 0
    # Images in the order of their last offsets, so that those that a tap moves alike follow each other and are added
    # in one call: of offsets along lines there are no more than the circle has pixels, however many images.
    order = (down[:, -1:] * (4 * reach + 1) + right[:, -1:]).view(-1).argsort() if len(x) > 1 else None
    if order is not None:
        x, down, right = x.index_select(0, order), down[order], right[order]
    wide = padded(padded(x, -2, reach), -1, reach)
    out = torch.zeros_like(x)
    for rows, columns, weight in zip(down.T.tolist(), right.T.tolist(), weights, strict=True):
        start = 0
        for (i, j), alike in itertools.groupby(zip(rows, columns, strict=True)):
            stop = start + len(list(alike))
            moved = wide[start:stop, :, reach + i : reach + i + height, reach + j : reach + j + width]
            out[start:stop].add_(moved, alpha=weight)
            start = stop
    return out if order is None else torch.empty_like(out).index_copy_(0, order, out)


def smear_by_index(x: Tensor, down: Tensor, right: Tensor, weights: Sequence[float]) -> Tensor:
    """As `smear`, all images at once, for devices on which few large steps beat many small ones."""
    n, channels, height, width = x.shape
    i, j = torch.arange(height, device=x.device).view(1, -1, 1), torch.arange(width, device=x.device).view(1, 1, -1)
    flat, out = x.flatten(2), torch.zeros_like(x).flatten(2)
    for k, weight in enumerate(weights):
        row = (i + down[:, k].view(-1, 1, 1)).clamp_(0, height - 1)
        column = (j + right[:, k].view(-1, 1, 1)).clamp_(0, width - 1)
        index = (row * width + column).view(n, 1, -1).expand(-1, channels, -1)
        out.add_(flat.gather(2, index), alpha=weight)
    return out.view_as(x)


# Comparisons that answer 1.0 and 0.0: on a CPU several times faster than booleans that are then converted.


def above(x: Tensor, limit: Tensor | float) -> Tensor:
    """Return 1.0 where x > limit."""
    return torch.gt(x, limit, out=torch.empty_like(x))


def at_least(x: Tensor, limit: Tensor | float) -> Tensor:
    """Return 1.0 where x >= limit."""
    return torch.ge(x, limit, out=torch.empty_like(x))


def below(x: Tensor, limit: Tensor | float) -> Tensor:
    """Return 1.0 where x < limit."""
    return torch.lt(x, limit, out=torch.empty_like(x))


LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def grey(x: Tensor) -> Tensor:
    """Return the luma (N, 1, H, W) of three channels, the mean of any other number."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x[:, :1] * LUMA[0]).add_(x[:, 1:2], alpha=LUMA[1]).add_(x[:, 2:], alpha=LUMA[2])


def paint(colour: Sequence[float], channels: int) -> list[float]:
    """Return a red-green-blue colour for any number of channels: its luma in each unless there are three."""
    if channels == 3:
        return list(colour)
    return [sum(weight * part for weight, part in zip(LUMA, colour, strict=True))] * channels


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest channel at each pixel, (N, 1, H, W) each."""
    high, low = x[:, :1].clone(), x[:, :1].clone()
    for k in range(1, x.shape[1]):
        torch.maximum(high, x[:, k : k + 1], out=high)
        torch.minimum(low, x[:, k : k + 1], out=low)
    return high, low
