"""Features of whole images, as rows of numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import devices

# Images described together, in float64.
_AT_A_TIME = 128

# Quantiles. Those at the ends of the range tell most about changes of tone: images whose darkest pixel is far from
# black, or whose channel is constant, are rare in nature.
_TAILS = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)

SPECTRUM_WINDOW = 32
"""Spectra are of overlapping squares of at most this side in pixels, averaged (Welch, 1967)."""


def _in_parts(x: Tensor, describe: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([describe(part) for part in torch.split(x, _AT_A_TIME)])


def _sorted(rows: Tensor) -> Tensor:
    # NumPy sorts 20 times faster than torch on a CPU.
    return torch.from_numpy(np.sort(rows.numpy(), axis=1)) if devices.on_host(rows) else rows.sort(1).values


def _quantiles(flat: Tensor) -> list[Tensor]:
    # One sort for all quantiles: torch.quantile takes longer.
    ordered = _sorted(flat)
    return [ordered[:, round(part * (flat.shape[1] - 1))] for part in _TAILS]


def _properties(x: Tensor) -> list[Tensor]:
    """Return properties of images (N, C, H, W), each (N,) float64.

    Brightness is the mean and contrast the standard deviation of grey (the mean of the channels); colour a channel's
    mean less the brightness; sharpness the mean difference of neighbours over the contrast; border the mean of the
    outermost pixels; row and column, in 0..1, the centre of the distances from the median grey.
    """
    grey = x.double().mean(1)
    height, width = grey.shape[1:]
    flat = grey.flatten(1)
    brightness, contrast = flat.mean(1), flat.std(1, correction=0)
    found = [brightness, contrast]
    if x.shape[1] > 1:
        found += (x.double().flatten(2).mean(2) - brightness.unsqueeze(1)).unbind(1)
    change = grey.diff(dim=1).abs().flatten(1).sum(1) + grey.diff(dim=2).abs().flatten(1).sum(1)
    found.append(change / (2 * height * width) / contrast.clamp(min=1e-9))
    inside = torch.zeros(height, width, dtype=torch.bool, device=x.device)
    inside[1:-1, 1:-1] = True
    found.append(grey[:, ~inside].mean(1))
    mass = (grey - devices.median(flat, 1).view(-1, 1, 1)).abs()
    total = mass.flatten(1).sum(1).clamp(min=1e-9)
    for axis, length in ((2, height), (1, width)):
        steps = torch.linspace(0, 1, length, dtype=mass.dtype, device=x.device)
        found.append((mass.sum(axis) * steps).sum(1) / total)
    return found


# One function a family describes images (N, C, H, W) by rows (N, D) float64. All take the bounds, used or not.


def property_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the properties, quantiles of grey, and differences of the channels."""

    def describe(x: Tensor) -> Tensor:
        found = _properties(x)
        quantiles = _quantiles(x.double().mean(1).flatten(1))
        found += [*quantiles, quantiles[-1] - quantiles[0], quantiles[4] - quantiles[2]]
        if x.shape[1] > 1:
            apart = (x.amax(1) - x.amin(1)).double().flatten(1)
            found += [apart.mean(1), apart.std(1), *_quantiles(apart)[2:]]
        return torch.stack(found, 1)

    return _in_parts(x, describe)


def channel_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return each channel's mean, spread, quantiles and ends, and the channels' correlations and differences."""
    low, high = bounds
    near = 0.002 * (high - low)

    def describe(x: Tensor) -> Tensor:
        # Shares at both ends of the range: a channel that is off or saturated is constant there.
        flat, found = x.double().flatten(2), []
        for values in flat.unbind(1):
            found += [values.mean(1), values.std(1), *_quantiles(values)]
            found += [(values <= low + near).double().mean(1), (values >= high - near).double().mean(1)]
        centred = flat - flat.mean(2, keepdim=True)
        spread = centred.square().mean(2).sqrt().clamp(min=near)
        for a in range(flat.shape[1]):
            for b in range(a):
                found.append((centred[:, a] * centred[:, b]).mean(1) / (spread[:, a] * spread[:, b]))
                found.append((centred[:, a] - centred[:, b]).square().mean(1).sqrt())
        return torch.stack(found, 1)

    return _in_parts(x, describe)


def spectrum_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return logarithms of the powers of `spectra`."""
    low, high = bounds
    # Logarithms: powers of natural images spread over orders of magnitude.
    return (spectra(x) + 1e-4 * (high - low) ** 2).log()


def spectra(x: Tensor) -> Tensor:
    """Return (N, D) float64: the power of grey at each of the `spectrum_frequencies`."""

    def describe(x: Tensor) -> Tensor:
        grey = x.double().mean(1)
        sides = [min(SPECTRUM_WINDOW, length) for length in grey.shape[1:]]
        tiles = grey
        for dim, side in enumerate(sides, start=1):
            tiles = tiles.unfold(dim, side, max(1, side // 2))  # (N, rows, columns, side, side)
        tiles = tiles - tiles.mean((3, 4), keepdim=True)
        down, across = (torch.hann_window(side, periodic=False, dtype=torch.float64, device=x.device) for side in sides)
        # A Hann window of few pixels is nearly all taper.
        flat_window = torch.ones(sides, dtype=torch.float64, device=x.device)
        window = down.view(-1, 1) * across if min(sides) > 4 else flat_window
        power: Tensor = torch.fft.rfft2(tiles * window).abs().square().mean((1, 2))
        return power.flatten(1)

    return _in_parts(x, describe)


def spectrum_frequencies(x: Tensor) -> Tensor:
    """Return the frequencies (D, 2) of `spectra`, in cycles per pixel, down and across."""
    rows, columns = (min(SPECTRUM_WINDOW, length) for length in x.shape[2:])
    down, across = torch.fft.fftfreq(rows).double(), torch.fft.rfftfreq(columns).double()
    return torch.stack([down.repeat_interleave(len(across)), across.repeat(len(down))], 1)


def centred_spectrum(x: Tensor) -> Tensor:
    """Return the spectrum of images (N, C, H, W) without their means."""
    spectrum: Tensor = torch.fft.rfft2(x - x.mean((2, 3), keepdim=True))
    return spectrum


def edge_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the steepness of whole images and of their margins."""
    least = 1e-3 * (bounds[1] - bounds[0])

    def describe(x: Tensor) -> Tensor:
        grey = x.double().mean(1)
        steps = grey.diff(dim=1).abs(), grey.diff(dim=2).abs()
        contrast = grey.flatten(1).std(1).clamp(min=least)
        means = [step.flatten(1).mean(1) for step in steps]
        found = [*means, *(mean / contrast for mean in means)]
        for dim, mean in zip((1, 2), means, strict=True):
            if grey.shape[dim] > 2:
                found.append(grey.diff(n=2, dim=dim).abs().flatten(1).mean(1) / mean.clamp(min=least))
        every = torch.cat([step.flatten(1) for step in steps], 1)
        found += [*_quantiles(every)[3:], (every < 4 * least).double().mean(1)]
        # Lines at some depths of the margins: how even they are, and how far they differ from the next line inside.
        for dim in (1, 2):
            length = grey.shape[dim]
            for k in sorted({k for k in (0, 1, length // 16, length // 8, length // 6) if 2 * k + 2 < length}):
                for at, inner in ((k, k + 1), (length - 1 - k, length - 2 - k)):
                    line = grey.select(dim, at)
                    found += [line.std(1), (grey.select(dim, inner) - line).abs().mean(1)]
            found += [grey.select(dim, 0).mean(1), grey.select(dim, length - 1).mean(1)]
        return torch.stack(found, 1)

    return _in_parts(x, describe)


def noise_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the noise of channels and of grey, and the correlation of the channels' noise."""
    least = 1e-4 * (bounds[1] - bounds[0])

    def describe(x: Tensor) -> Tensor:
        uneven = _unevenness(x.double())
        found = []
        for part in (*uneven.unbind(1), uneven.mean(1)):
            flat = part.abs().flatten(1)
            found += [(flat.mean(1) + least).log(), (devices.median(flat, 1) + least).log()]
        flat = uneven.flatten(2)
        for a in range(flat.shape[1]):
            for b in range(a):
                size = flat[:, a].norm(dim=1) * flat[:, b].norm(dim=1)
                found.append((flat[:, a] * flat[:, b]).sum(1) / size.clamp(min=1e-12))
        return torch.stack(found, 1)

    return _in_parts(x, describe)


def noise_level(x: Tensor) -> Tensor:
    """Return the standard deviation (N,) of the noise of images (N, C, H, W), by Immerkaer (1996)."""
    # The mean absolute response to a mask that planes do not excite, and edges only in part; sqrt(pi / 2) makes it a
    # standard deviation.
    level: Tensor = _unevenness(x).abs().mean((1, 2, 3)) * (math.pi / 2) ** 0.5
    return level


def _unevenness(x: Tensor) -> Tensor:
    # A difference of two Laplacians; the squares of its mask's weights sum to 36.
    return x.diff(n=2, dim=2).diff(n=2, dim=3) / 6


def shading_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the brightness and spread of rings about the middle, relative to the middle's."""
    low, high = bounds

    def describe(x: Tensor) -> Tensor:
        light = (x.double().mean(1) - low) / (high - low) + 1e-3
        down, across = (torch.linspace(-1, 1, length, dtype=light.dtype, device=x.device) for length in light.shape[1:])
        far = (down.square().view(-1, 1) + across.square()) / 2
        ends = itertools.pairwise((0.0, 0.12, 0.3, 0.5, 0.75, 1.01))
        rings = [(far >= first) & (far < last) for first, last in ends]
        parts = [light[:, ring] for ring in rings if bool(ring.any())]
        found = [(part.mean(1) / parts[0].mean(1)).log() for part in parts[1:]]
        found += [(part.amax(1) / parts[0].amax(1)).log() for part in parts[1:]]
        found += [((part.std(1) + 1e-3) / (parts[0].std(1) + 1e-3)).log() for part in parts[1:]]
        return torch.stack(found, 1)

    return _in_parts(x, describe)


def block_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the steps at each line of blocks of 8 x 8, and the blocks' cosines relative to blocks shifted by half."""

    def describe(x: Tensor) -> Tensor:
        grey = x.double().mean(1) / (bounds[1] - bounds[0])
        found = []
        for dim in (1, 2):
            steps = grey.diff(dim=dim).abs().mean(3 - dim)
            total = steps.mean(1) + 1e-4
            found += [steps[:, phase::8].mean(1) / total for phase in range(8)]
        # A coder sets coefficients of its own blocks to zero, and not those of shifted blocks. A blur treats both the
        # same, so that the differences are free of it.
        sizes, zeros = [], []
        for first in (0, 4):
            coefficients = block_cosines(pixel_blocks(grey[:, first:, first:]).flatten(1, 2)).abs().flatten(2)
            sizes.append((coefficients.mean(1) + 2e-3).log())
            zeros.append((coefficients < 0.02).double().mean(1))
        found += [sizes[0] - sizes[1], zeros[0] - zeros[1]]
        return torch.cat([part if part.ndim == 2 else part.unsqueeze(1) for part in found], 1)

    return _in_parts(x, describe)


def pixel_blocks(grey: Tensor) -> Tensor:
    """Return the blocks (N, rows, columns, 8, 8) of images (N, H, W)."""
    rows, columns = (length // 8 * 8 for length in grey.shape[1:])
    return grey[:, :rows, :columns].unfold(1, 8, 8).unfold(2, 8, 8)


def block_cosines(blocks: Tensor) -> Tensor:
    """Return the cosine transforms, up to scale, of blocks (..., 8, 8)."""
    at = torch.arange(8, dtype=blocks.dtype, device=blocks.device)
    cosines = (math.pi / 8 * (at + 0.5) * at.view(-1, 1)).cos()
    return cosines @ blocks @ cosines.T


# Content that is exactly even, or exactly like other content of the same image, is next to never natural: a mosaic of
# an image's own pixels, a copied, mirrored or turned part of it. Pixels at the ends of the range are saturated, and
# windows of few values are edges of flat drawings: both recur by nature.

# Difference that counts as none, as a part of the range: rounding in 32 bits.
_EXACT = 1e-5

# Margin at the ends of the range that counts as saturated, and least number of distinct values of a window.
_SATURATED, _DISTINCT = 0.02, 6

# Windows of an image that are compared, at most: those of the smallest codes, which copies have in common.
_WINDOWS = 4096

# Orders of the pixels of a window of 3 x 3: itself, mirrored, upside down, and turned by 90 and 180 degrees.
_ORDERS = tuple(
    tuple(made.flatten().tolist())
    for at in (torch.arange(9).view(3, 3),)
    for made in (at, at.flip(1), at.flip(0), at.rot90(), at.rot90(2))
)


def structure_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return how much of an image is exactly even, at places and anywhere, or repeats the image's own content."""
    low, high = bounds

    def describe(x: Tensor) -> Tensor:
        grey = (x.double().mean(1) - low) / (high - low)
        inside = (grey > _SATURATED) & (grey < 1 - _SATURATED)
        equal = [grey.diff(dim=dim).abs() <= _EXACT for dim in (1, 2)]
        even = (equal[0][:, :, :-1] & equal[1][:, :-1] & inside[:, :-1, :-1]).double().unsqueeze(1)
        side = max(2, min(grey.shape[1:]) // 4)
        anywhere = F.avg_pool2d(even, side, 1).flatten(1).amax(1)
        places = F.adaptive_avg_pool2d(even, 5).flatten(1)
        return torch.cat([anywhere.unsqueeze(1), places, *(part.unsqueeze(1) for part in _repeats(grey))], 1)

    return _in_parts(x, describe)


def _repeats(grey: Tensor) -> list[Tensor]:
    # For each order of pixels (N,): the share of windows that are elsewhere in the image in this order.
    windows = grey.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3).flatten(1, 2)
    steps = _sorted(windows.flatten(0, 1)).diff(dim=1) > _EXACT
    rich = (steps.sum(1) + 1 >= _DISTINCT).view(windows.shape[:2])
    whole = (windows / (4 * _EXACT)).round()
    # A sum with irrational factors is a code: equal windows, and next to no others, share it.
    factors = torch.arange(1, 10, dtype=torch.float64, device=grey.device).sqrt().frac() + 0.1
    # Windows of few values get a code of their own, beyond all others.
    alone = 2 + torch.arange(windows.shape[1], dtype=torch.float64, device=grey.device)
    codes = [
        _sorted(torch.where(rich, (whole[:, :, list(order)] @ factors).frac(), alone + number / len(_ORDERS)))
        for number, order in enumerate(_ORDERS)
    ]
    codes = [code[:, :_WINDOWS] for code in codes]
    own = [(code.diff(dim=1) < 1e-9).double().sum(1) for code in codes]
    count = codes[0].shape[1]
    # Equal neighbours in both lists together, less those in each alone, are windows that have a copy in the other list.
    across = [
        (_sorted(torch.cat([codes[0], code], 1)).diff(dim=1) < 1e-9).double().sum(1) - own[0] - part
        for code, part in zip(codes[1:], own[1:], strict=True)
    ]
    return [part / count for part in (own[0], *across)]
