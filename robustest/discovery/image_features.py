"""Properties of whole images, and which of them errors go with.

What whole images are like, as rows of numbers: properties, channels, spectra and edges.

Quantiles and shares at the ends of the range say most about changes of tone: an image whose darkest pixel is far from
black, or whose channel is constant, was seldom born so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from robustest import rng
from robustest.checks import checked_images

_PERMUTATIONS_AT_A_TIME = 100

_AT_A_TIME = 128
"""Images whose properties are taken together, in float64."""


@dataclass(frozen=True, slots=True)
class Association:
    """How a property goes with errors among images of the same class.

    Attributes:
        name: the property.
        correlation: of its rank and being wrong, in -1..1, both within classes; above 0 where errors have more of it.
        p: of a permutation test, corrected for all properties.
    """

    name: str
    correlation: float
    p: float


def properties(x: Tensor) -> dict[str, Tensor]:
    """Properties of images (N, C, H, W) by name, each (N,) float64.

    Brightness is the mean and contrast the standard deviation of grey (the mean of the channels); colour a channel's
    mean less the brightness; sharpness the mean difference of neighbours over the contrast; border the mean of the
    outermost pixels; mass is what is unlike the image's median grey, and row and column are its centre's, in 0..1.

    Raises:
        ConfigError: there are no images.
    """
    checked_images(x, "their properties")
    parts = [_properties(part) for part in torch.split(x, _AT_A_TIME)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _properties(x: Tensor) -> dict[str, Tensor]:
    grey = x.double().mean(1)
    height, width = grey.shape[1:]
    flat = grey.flatten(1)
    brightness, contrast = flat.mean(1), flat.std(1, correction=0)
    found = {"brightness": brightness, "contrast": contrast}
    if x.shape[1] > 1:
        channels = x.double().flatten(2).mean(2) - brightness.unsqueeze(1)
        found |= {f"colour of channel {c}": value for c, value in enumerate(channels.unbind(1))}
    change = grey.diff(dim=1).abs().flatten(1).sum(1) + grey.diff(dim=2).abs().flatten(1).sum(1)
    found["sharpness"] = change / (2 * height * width) / contrast.clamp(min=1e-9)
    inside = torch.zeros(height, width, dtype=torch.bool, device=x.device)
    inside[1:-1, 1:-1] = True
    found["border"] = grey[:, ~inside].mean(1)
    mass = (grey - flat.median(1).values.view(-1, 1, 1)).abs()
    total = mass.flatten(1).sum(1).clamp(min=1e-9)
    for name, axis, length in (("row", 2, height), ("column", 1, width)):
        steps = torch.linspace(0, 1, length, dtype=mass.dtype, device=x.device)
        found[f"{name} of the mass"] = (mass.sum(axis) * steps).sum(1) / total
    return found


def error_associations(
    values: Mapping[str, Tensor], y: Tensor, wrong: Tensor, *, permutations: int = 999, seed: int = 0
) -> list[Association]:
    """Which properties errors go with, among images of the same class; the strongest first.

    Ranks and errors are centred within classes, and errors are permuted there. A property's p-value is the share of
    permutations where any property goes with errors as closely (Westfall and Young, 1993).

    Args:
        values: properties, each (N,).
        y: (N,) int64 labels.
        wrong: (N,) bool, samples that the model gets wrong.
        permutations: how many.
        seed: draws them.

    Returns:
        Nothing where no class has both errors and hits.
    """
    y, wrong = y.cpu(), wrong.cpu()
    ranks = torch.stack([_centred_ranks(value.cpu(), y) for value in values.values()])
    error = torch.zeros(len(y), dtype=torch.float64)
    for label in torch.unique(y):
        rows = y == label
        error[rows] = wrong[rows].double() - wrong[rows].double().mean()
    if not bool(error.any()):
        return []
    scale = ranks.norm(dim=1).clamp(min=1e-9) * error.norm()
    seen = (ranks @ error) / scale
    farthest = torch.cat(
        [
            ((ranks @ _permuted(error, y, seed, first, permutations)).abs() / scale.unsqueeze(1)).amax(0)
            for first in range(0, permutations, _PERMUTATIONS_AT_A_TIME)
        ]
    )
    p_values = (1 + (farthest >= seen.abs().unsqueeze(1) - 1e-12).sum(1)) / (1 + permutations)
    found = [Association(*row) for row in zip(values, seen.tolist(), p_values.tolist(), strict=True)]
    return sorted(found, key=lambda one: -abs(one.correlation))


def _centred_ranks(value: Tensor, y: Tensor) -> Tensor:
    """Ranks within each class, over its size, less their mean."""
    out = torch.zeros(len(y), dtype=torch.float64)
    for label in torch.unique(y):
        rows = (y == label).nonzero().squeeze(1)
        rank = torch.from_numpy(rankdata(value[rows].numpy()))
        out[rows] = (rank - rank.mean()) / len(rows)
    return out


def _permuted(error: Tensor, y: Tensor, seed: int, first: int, permutations: int) -> Tensor:
    """(N, m) the errors permuted within classes, m times."""
    count = min(_PERMUTATIONS_AT_A_TIME, permutations - first)
    ids = torch.arange(len(y))
    draw = rng.uniform(rng.fold(rng.fold(rng.keys(seed, ids), "permuted errors"), first), (count,))
    out = torch.empty(len(y), count, dtype=torch.float64)
    for label in torch.unique(y):
        rows = (y == label).nonzero().squeeze(1)
        out[rows] = error[rows][draw[rows].argsort(0)]
    return out


_WINDOW = 32
"""Spectra are of squares of this many pixels at most, overlapping by half and averaged (Welch, 1967)."""

_TAILS = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)


def property_features(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64: `properties`, quantiles of grey, and how far channels are apart, of images (N, C, H, W)."""
    return _in_parts(x, _property_rows)


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


def _property_rows(x: Tensor) -> Tensor:
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


def centred_spectrum(x: Tensor) -> Tensor:
    """Return the spectrum of images (N, C, H, W) without their means."""
    spectrum: Tensor = torch.fft.rfft2(x - x.mean((2, 3), keepdim=True))
    return spectrum
