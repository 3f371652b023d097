"""What whole images are like, as rows of numbers: properties, channels, spectra and edges.

Quantiles and shares at the ends of the range say most about changes of tone: an image whose darkest pixel is far from
black, or whose channel is constant, was seldom born so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from robustest.discovery.properties import properties

_AT_A_TIME = 128
_WINDOW = 32
"""Spectra are of squares of this many pixels at most, overlapping by half and averaged (Welch, 1967)."""
_TAILS = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)


def property_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64: `properties`, quantiles of grey, and how far channels are apart, of images (N, C, H, W)."""
    return _in_parts(x, _properties)


def channel_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64: each channel's mean, spread, quantiles and ends, and how pairs of channels go together."""
    return _in_parts(x, lambda part: _channels(part, bounds))


def spectrum_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64: logarithms of the power of grey in each frequency, those of `spectra`."""
    low, high = bounds
    return (spectra(x) + 1e-4 * (high - low) ** 2).log()


def edge_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64: how steep the image is, in all and at its margins."""
    return _in_parts(x, lambda part: _edges(part, bounds))


def noise_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64: how noisy channels and grey are, in the mean and the median, and whether channels share it."""
    return _in_parts(x, lambda part: _noise(part, bounds))


def shading_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64: how bright and how varied rings about the middle are, beside the middle itself."""
    return _in_parts(x, lambda part: _shading(part, bounds))


def block_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64: steps in each line of blocks of 8 x 8, and their cosines beside those of blocks half off."""
    return _in_parts(x, lambda part: _blocks(part, bounds))


def noise_level(x: Tensor) -> Tensor:
    """The standard deviation (N,) of the noise of images (N, C, H, W), by Immerkaer (1996), over all channels.

    The mean of the absolute response to a mask that planes, and edges to a part, do not excite.
    """
    level: Tensor = _unevenness(x).abs().mean((1, 2, 3)) * (math.pi / 2) ** 0.5
    return level


def spectra(x: Tensor) -> Tensor:
    """(N, D) float64: power of grey in each frequency of a window; see `spectrum_frequencies`."""
    return _in_parts(x, _spectra)


def spectrum_frequencies(x: Tensor) -> Tensor:
    """(D, 2) cycles a pixel, down and across, of the powers that `spectra` gives."""
    rows, columns = (min(_WINDOW, length) for length in x.shape[2:])
    down, across = torch.fft.fftfreq(rows).double(), torch.fft.rfftfreq(columns).double()
    return torch.stack([down.repeat_interleave(len(across)), across.repeat(len(down))], 1)


def _in_parts(x: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([make(part) for part in torch.split(x, _AT_A_TIME)])


def _quantiles(flat: Tensor) -> list[Tensor]:
    """Of rows (N, D), each (N,): sorted once, as torch's own takes longer, and by NumPy, 20 times faster than torch."""
    ordered = torch.from_numpy(np.sort(flat.numpy(), axis=1)) if flat.device.type == "cpu" else flat.sort(1).values
    return [ordered[:, round(part * (flat.shape[1] - 1))] for part in _TAILS]


def _properties(x: Tensor) -> Tensor:
    found = list(properties(x).values())
    quantiles = _quantiles(x.double().mean(1).flatten(1))
    found += [*quantiles, quantiles[-1] - quantiles[0], quantiles[4] - quantiles[2]]
    if x.shape[1] > 1:
        apart = (x.amax(1) - x.amin(1)).double().flatten(1)
        found += [apart.mean(1), apart.std(1), *_quantiles(apart)[2:]]
    return torch.stack(found, 1)


def _channels(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    flat, found = x.double().flatten(2), []
    near = 0.002 * (high - low)
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


def _spectra(x: Tensor) -> Tensor:
    grey = x.double().mean(1)
    sides = [min(_WINDOW, length) for length in grey.shape[1:]]
    tiles = grey
    for dim, side in enumerate(sides, start=1):
        tiles = tiles.unfold(dim, side, max(1, side // 2))  # (N, rows, columns, side, side)
    tiles = tiles - tiles.mean((3, 4), keepdim=True)
    down, across = (torch.hann_window(side, periodic=False, dtype=torch.float64, device=x.device) for side in sides)
    window = down.view(-1, 1) * across if min(sides) > 4 else torch.ones(sides, dtype=torch.float64, device=x.device)
    power: Tensor = torch.fft.rfft2(tiles * window).abs().square().mean((1, 2))
    return power.flatten(1)


def _edges(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    grey = x.double().mean(1)
    least = 1e-3 * (high - low)
    steps = grey.diff(dim=1).abs(), grey.diff(dim=2).abs()
    contrast = grey.flatten(1).std(1).clamp(min=least)
    means = [step.flatten(1).mean(1) for step in steps]
    found = [*means, *(mean / contrast for mean in means)]
    for dim, mean in zip((1, 2), means, strict=True):
        if grey.shape[dim] > 2:
            found.append(grey.diff(n=2, dim=dim).abs().flatten(1).mean(1) / mean.clamp(min=least))
    every = torch.cat([step.flatten(1) for step in steps], 1)
    found += [*_quantiles(every)[3:], (every < 4 * least).double().mean(1)]
    found += _margins(grey)
    return torch.stack(found, 1)


def _unevenness(x: Tensor) -> Tensor:
    """(N, C, H - 2, W - 2) a difference of two Laplacians; of noise it has the noise's own standard deviation."""
    return x.diff(n=2, dim=2).diff(n=2, dim=3) / 6


def _noise(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    least = 1e-4 * (bounds[1] - bounds[0])
    uneven = _unevenness(x.double())
    found = []
    for part in (*uneven.unbind(1), uneven.mean(1)):
        flat = part.abs().flatten(1)
        found += [(flat.mean(1) + least).log(), (flat.median(1).values + least).log()]
    flat = uneven.flatten(2)
    for a in range(flat.shape[1]):
        for b in range(a):
            size = flat[:, a].norm(dim=1) * flat[:, b].norm(dim=1)
            found.append((flat[:, a] * flat[:, b]).sum(1) / size.clamp(min=1e-12))
    return torch.stack(found, 1)


def _shading(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    light = (x.double().mean(1) - low) / (high - low) + 1e-3
    down, across = (torch.linspace(-1, 1, length, dtype=light.dtype, device=x.device) for length in light.shape[1:])
    far = (down.square().view(-1, 1) + across.square()) / 2
    rings = [(far >= first) & (far < last) for first, last in itertools.pairwise((0.0, 0.12, 0.3, 0.5, 0.75, 1.01))]
    parts = [light[:, ring] for ring in rings if bool(ring.any())]
    found = [(part.mean(1) / parts[0].mean(1)).log() for part in parts[1:]]
    found += [(part.amax(1) / parts[0].amax(1)).log() for part in parts[1:]]
    found += [((part.std(1) + 1e-3) / (parts[0].std(1) + 1e-3)).log() for part in parts[1:]]
    return torch.stack(found, 1)


def _blocks(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    grey = x.double().mean(1) / (bounds[1] - bounds[0])
    found = []
    for dim in (1, 2):
        steps = grey.diff(dim=dim).abs().mean(3 - dim)
        total = steps.mean(1) + 1e-4
        found += [steps[:, phase::8].mean(1) / total for phase in range(8)]
    at = torch.arange(8, dtype=grey.dtype, device=x.device)
    cosines = (math.pi / 8 * (at + 0.5) * at.view(-1, 1)).cos()
    sizes, zeros = [], []
    for first in (0, 4):
        shifted = grey[:, first:, first:]
        rows, columns = (length // 8 * 8 for length in shifted.shape[1:])
        blocks = shifted[:, :rows, :columns].unfold(1, 8, 8).unfold(2, 8, 8).flatten(1, 2)
        coefficients = (cosines @ blocks @ cosines.T).abs().flatten(2)
        sizes.append((coefficients.mean(1) + 2e-3).log())
        zeros.append((coefficients < 0.02).double().mean(1))
    # What a coder drops is zero in its own blocks, and in no others. A blur, say, is alike in all.
    found += [sizes[0] - sizes[1], zeros[0] - zeros[1]]
    return torch.cat([part if part.ndim == 2 else part.unsqueeze(1) for part in found], 1)


def _margins(grey: Tensor) -> list[Tensor]:
    """How even the outer lines are, how bright, and how far they differ from the next line inside."""
    found = []
    for dim in (1, 2):
        length = grey.shape[dim]
        reach = sorted({k for k in (0, 1, length // 16, length // 8, length // 6) if 2 * k + 2 < length})
        for k in reach:
            for at, inner in ((k, k + 1), (length - 1 - k, length - 2 - k)):
                line = grey.select(dim, at)
                found += [line.std(1), (grey.select(dim, inner) - line).abs().mean(1)]
        found += [grey.select(dim, 0).mean(1), grey.select(dim, length - 1).mean(1)]
    return found
