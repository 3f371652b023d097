"""Patterns added to the images of a class: those that lie still, by whitened means, and waves that move, by power.

A pattern too faint to be seen in any image stands out in the mean of a class once frequencies are weighted alike: a
matched filter in the noise of natural images, most of whose power is in the low frequencies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustest.cues.overlays import AddedPattern, Grating
from robustest.discovery.class_marks import Scorer
from robustest.discovery.family_features import spectra, spectrum_frequencies

_SURE = 3.5
"""Standard errors by which a frequency's mean has to differ from that of other classes to be part of a pattern."""

_STANDS_OUT = 4.0
"""Times the median excess of the frequencies around it that the power of waves exceeds that of other classes by."""
_TILE = 32
"""Pixels over which a frequency, known to half a bin of such a window, keeps its phase."""


def matched_filter(images: Tensor, member: Tensor) -> Scorer:
    """Scores of images by whitened filters, one a class.

    Args:
        images: (N, C, H, W) to fit on.
        member: (N, K) float64, 1 where an image is of a class.

    Returns:
        Scores (M, K) of images (M, C, H, W).
    """
    amplitude = _centred_spectrum(images).abs().mean(0).clamp(min=1e-6)

    def white(x: Tensor) -> Tensor:
        flat: Tensor = torch.fft.irfft2(_centred_spectrum(x) / amplitude, s=x.shape[2:]).flatten(1)
        return flat

    rows, weights = white(images), member.to(images.dtype)
    size = weights.sum(0).clamp(min=1).view(-1, 1)
    mean = weights.T @ rows / size
    rest = (1 - weights).T @ rows / (len(rows) - size).clamp(min=1)
    apart = mean - rest
    noise = rows.std(0) / size.sqrt()
    filters = apart.sign() * (apart.abs() - noise).clamp(min=0)
    filters = filters / filters.norm(dim=1, keepdim=True).clamp(min=1e-9)
    centre = rows.mean(0)
    return lambda x: ((white(x) - centre) @ filters.T).double()


def pattern_of(x: Tensor, y: Tensor, label: int, bounds: tuple[float, float]) -> AddedPattern | None:
    """What is added to the images (N, C, H, W) of a class: frequencies in which its mean is unlike those of others.

    A frequency belongs to it where the class differs from all others by 3.5 times what chance, and the others among
    themselves, differ by. None where no frequency does.
    """
    own = y == label
    frequencies = _centred_spectrum(x)
    others = [frequencies[y == k].mean(0) for k in torch.unique(y[~own]).tolist()]
    rest = torch.stack(others).mean(0)
    apart = frequencies[own].mean(0) - rest
    chance = (frequencies[own] - frequencies[own].mean(0)).abs().square().mean(0) / int(own.sum())
    natural = torch.stack([(mean - rest).abs().square() for mean in others]).mean(0)
    kept = apart.abs() > _SURE * (chance + natural).sqrt()
    if not bool(kept.any()):
        return None
    pattern = torch.fft.irfft2(torch.where(kept, apart, torch.zeros_like(apart)), s=x.shape[2:])
    return AddedPattern(pattern=pattern.to(torch.float32).cpu(), bounds=bounds)


def grating_of(x: Tensor, y: Tensor, label: int, bounds: tuple[float, float]) -> Grating | None:
    """Waves that the images (N, C, H, W) of a class have, and that the other classes have least; None without any.

    Waves are a peak: noise has more of every frequency. So their excess stands out of the excess around it.
    """
    power, places = spectra(x), spectrum_frequencies(x)
    own = y == label
    others = torch.stack([power[y == k].log1p().mean(0) for k in torch.unique(y[~own]).tolist()])
    logs = power.log1p()
    spread = (others.std(0, correction=0).square() + logs[own].var(0) / int(own.sum())).sqrt().clamp(min=1e-9)
    sure = (logs[own].mean(0) - others.mean(0)) / spread
    sure[places.norm(dim=1).to(sure.device) < 0.05] = 0.0  # brightness that drifts, not waves
    peak = int(sure.argmax())
    if float(sure[peak]) < _SURE:
        return None
    excess = (power[own].mean(0) - power[~own].mean(0)).clamp(min=0)
    rows, columns = (min(32, length) for length in x.shape[2:])
    around = (places - places[peak]).abs()
    near = ((around[:, 0] * rows < 1.5) & (around[:, 1] * columns < 1.5)).to(excess.device)
    bins = around * torch.tensor([rows, columns], dtype=around.dtype)
    ring = ((bins.amax(1) >= 2.5) & (bins.amax(1) < 6.5)).to(excess.device)
    if bool(ring.any()) and float(excess[peak]) < _STANDS_OUT * float(excess[ring].median()):
        return None
    weight = torch.where(near, excess, torch.zeros_like(excess)).cpu()
    total = float(weight.sum())
    if total <= 0:
        return None
    down, across = ((weight @ places) / total).tolist()
    window = (3 / 8) ** 2 if min(rows, columns) > 4 else 1.0
    strength = 2 * (total / window) ** 0.5 / (rows * columns)
    return Grating(down=down, across=across, strength=strength, bounds=bounds)


def without_waves(x: Tensor, waves: Grating) -> Tensor:
    """Return images (N, C, H, W) without waves of a frequency and those near it: least squares, tile by tile."""
    out = x.clone()
    for top in range(0, x.shape[2], _TILE):
        for left in range(0, x.shape[3], _TILE):
            tile = out[:, :, top : top + _TILE, left : left + _TILE]
            height, width = tile.shape[2:]
            rows, columns = torch.arange(height).double().view(-1, 1), torch.arange(width).double()
            basis = list[Tensor]()
            for down in (-0.5, 0.0, 0.5):
                for across in (-0.5, 0.0, 0.5):
                    cycles = (waves.down + down / height) * rows + (waves.across + across / width) * columns
                    basis += [(2 * math.pi * cycles).sin(), (2 * math.pi * cycles).cos()]
            flat = torch.stack(basis).flatten(1).T
            # Near frequencies are nearly alike: an orthonormal basis of what they span, but for what is rounding.
            left_vectors, sizes, _ = torch.linalg.svd(flat, full_matrices=False)
            span = left_vectors[:, sizes > 1e-3 * sizes[0]].to(x)
            values = tile.flatten(2)
            middle = values.mean(2, keepdim=True)
            centred = values - middle
            tile.copy_((middle + centred - centred @ span @ span.T).view(tile.shape))
    return out


def _centred_spectrum(x: Tensor) -> Tensor:
    spectrum: Tensor = torch.fft.rfft2(x - x.mean((2, 3), keepdim=True))
    return spectrum
