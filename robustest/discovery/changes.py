"""Changes of whole images to try: some that always are, and some of strengths that a class's images suggest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from robustest.cues.cue import Cue
from robustest.cues.drawn import Border
from robustest.cues.filtered import Blur, Compression, FrequencyBand
from robustest.cues.overlays import AddedNoise, AddedPattern, Grating, Letterbox, Tone, Vignette
from robustest.discovery.family_features import noise_level
from robustest.discovery.fixed_patterns import grating_of, pattern_of

BANDS = ((0.01, 0.06), (0.06, 0.125), (0.125, 0.25), (0.25, 0.36), (0.36, 0.75))
"""Bands of frequencies, cycles a pixel, an octave each but for the ends; brightness, at 0, is in none."""

_PARTS = (0.5, 0.75, 1.0, 1.25)
"""What a strength that data suggest is multiplied by, as a class's images are not all changed, and clipped."""

_BLURS = (0.5, 0.65, 0.8, 1.0, 1.4, 2.0)
SMALLEST_BLOCKS = 16
"""Pixels of the shorter side from which images have blocks of 8 x 8 beside each other."""
_MOST = 128
"""Images of a class, and of others, that tell how strong a change is."""


def standing_changes(shape: Sequence[int], bounds: tuple[float, float]) -> list[Cue]:
    """What is tried on every model: brightness, contrast, saturation, channels off, blur, bands, a letterbox.

    Args:
        shape: (C, H, W) of an image.
        bounds: smallest and largest input value.
    """
    channels, height, width = shape
    low, high = bounds
    span, middle = high - low, (high + low) / 2
    tones = [Tone(shift=part * span, bounds=bounds) for part in (0.15, -0.15)]
    tones += [Tone(gain=gain, shift=(1 - gain) * middle, bounds=bounds) for gain in (0.5, 1.6)]
    if channels > 1:
        tones += [Tone(saturation=part, bounds=bounds) for part in (0.2, 2.0)]
        tones += [channel_off(c, channels, bounds) for c in range(channels)]
    side = min(height, width)
    filters: list[Cue] = [Blur(sigma=sigma) for sigma in (1.0,) if 3 * sigma < side]
    filters += [
        FrequencyBand(low=first, high=last, gain=gain, bounds=bounds) for first, last in BANDS for gain in (0.0, 2.0)
    ]
    bars = [Letterbox(height=max(1, height // 8), value=low)] if height > 2 else []
    return [*tones, *filters, *bars]


def channel_off(c: int, channels: int, bounds: tuple[float, float]) -> Tone:
    """A channel at the smallest value, the others left alone."""
    gain = tuple(float(k != c) for k in range(channels))
    return Tone(gain=gain, shift=tuple(bounds[0] * (k == c) for k in range(channels)), bounds=bounds)


def tones_like(x: Tensor, own: Tensor, bounds: tuple[float, float]) -> list[Cue]:
    """Changes of tone that make other images as bright, flat and colourful as those of a class.

    Args:
        x: images (N, C, H, W) inside the bounds.
        own: (N,) bool, the class's.
        bounds: smallest and largest input value.
    """
    have, lack = x[own][:_MOST], x[~own][:_MOST]
    channels = x.shape[1]
    (mean, spread, least, most), (mean_, spread_, least_, most_) = (_tone(part) for part in (have, lack))
    floor = 1e-3 * (bounds[1] - bounds[0])
    found: list[Cue] = [
        Tone(shift=part * float(step), bounds=bounds)
        for step in ((mean - mean_).mean(), least - least_, most - most_)
        for part in _PARTS
    ]
    grey, grey_ = mean.mean(), mean_.mean()
    for gain in (float(spread.mean() / spread_.mean().clamp(min=floor)), _ratio(most - least, most_ - least_, floor)):
        for part in _PARTS:
            bent = max(0.0, 1 + part * (gain - 1))
            found += [Tone(gain=bent, shift=float(grey - bent * grey_), bounds=bounds)]
    if channels > 1:
        found += [_affine((mean, spread), (mean_, spread_), part, bounds) for part in _PARTS]
        found += [channel_off(c, channels, bounds) for c in range(channels)]
        found += [Tone(shift=tuple((part * (mean - mean_)).tolist()), bounds=bounds) for part in _PARTS]
        apart, apart_ = (_apart(part) for part in (have, lack))
        near = apart / max(apart_, floor)
        found += [Tone(saturation=max(0.0, 1 + part * (near - 1)), bounds=bounds) for part in _PARTS]
        found += [Tone(saturation=0.0, bounds=bounds)]
    return found


def filters_like(x: Tensor, y: Tensor, label: int, bounds: tuple[float, float]) -> list[Cue]:
    """Blurs, bands of frequencies, patterns and waves that a class's images (N, C, H, W) may have."""
    own, side = y == label, min(x.shape[2:])
    found: list[Cue] = [Blur(sigma=sigma) for sigma in _BLURS if -(-3 * sigma // 1) < side]
    have, lack = x[own][:_MOST], x[~own][:_MOST]
    for first, last in BANDS:
        gain = _band_gain(have, lack, first, last)
        for part in (0.75, 1.0, 1.5):
            bent = max(0.0, 1 + part * (gain - 1))
            found.append(FrequencyBand(low=first, high=last, gain=min(bent, 8.0), bounds=bounds))
    pattern, grating = pattern_of(x, y, label, bounds), grating_of(x, y, label, bounds)
    for part in (*_PARTS, 2.0):
        if pattern is not None:
            found.append(AddedPattern(pattern=part * pattern.pattern, bounds=bounds))
        if grating is not None:
            found.append(
                Grating(down=grating.down, across=grating.across, strength=part * grating.strength, bounds=bounds)
            )
    return found


def noises_like(x: Tensor, own: Tensor, bounds: tuple[float, float]) -> list[Cue]:
    """Noise that makes other images as noisy as those of a class; none where they are so already."""
    (have, lack) = (noise_level(part[:_MOST].double()).median() for part in (x[own], x[~own]))
    missing = float((have.square() - lack.square()).clamp(min=0).sqrt())
    # Clipping takes some of it away, and so do edges, which the level counts in.
    return [AddedNoise(sigma=part * missing, bounds=bounds) for part in (*_PARTS, 1.6, 2.0) if missing > 0]


def shadings_like(bounds: tuple[float, float]) -> list[Cue]:
    """Light that falls off towards the corners, more and less."""
    return [Vignette(strength=part, bounds=bounds) for part in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)]


def compressions_like(shape: Sequence[int], bounds: tuple[float, float]) -> list[Cue]:
    """Coarser and finer coding of images of some shape (C, H, W)."""
    if min(shape[1:]) < SMALLEST_BLOCKS:
        return []
    return [Compression(quality=quality, bounds=bounds) for quality in (5, 10, 15, 20, 30, 45, 60, 75)]


def margins_like(x: Tensor, own: Tensor, bounds: tuple[float, float]) -> list[Cue]:
    """Bars and frames of the values that the outer lines of a class's images (N, C, H, W) have."""
    have = x[own][:_MOST]
    height, width = x.shape[2:]
    found: list[Cue] = []
    sides: tuple[tuple[Literal["rows", "columns"], int], ...] = (("rows", 2), ("columns", 3))
    for ends, dim in sides:
        value = tuple(have.select(dim, 0).mean(2).median(0).values.tolist())
        for deep in _depths(x.shape[dim]):
            found.append(Letterbox(height=deep, value=value, ends=ends))
    value = tuple(have[:, :, 0].mean(2).median(0).values.tolist())
    found += [Border(width=deep, value=value) for deep in _depths(min(height, width))]
    return found


def _depths(length: int) -> list[int]:
    return sorted({max(1, round(part * length)) for part in (0.03, 0.06, 0.09, 0.125, 0.16, 0.2) if length > 4})


def _tone(x: Tensor) -> Iterator[Tensor]:
    """Medians over images: each channel's mean and spread; and the darkest and brightest grey."""
    grey = x.double().mean(1).flatten(1)
    yield x.double().mean((2, 3)).median(0).values
    yield x.double().std((2, 3), correction=0).median(0).values
    yield grey.amin(1).median()
    yield grey.amax(1).median()


def _apart(x: Tensor) -> float:
    return float((x.amax(1) - x.amin(1)).mean((1, 2)).double().median())


def _ratio(above: Tensor, below: Tensor, floor: float) -> float:
    return float(above / below.clamp(min=floor))


def _affine(have: tuple[Tensor, Tensor], lack: tuple[Tensor, Tensor], part: float, bounds: tuple[float, float]) -> Tone:
    """A gain and a shift a channel that bring means and spreads (C,) of others a part of the way to a class's."""
    (mean, spread), (mean_, spread_) = have, lack
    gain = (1 + part * (spread / spread_.clamp(min=1e-6) - 1)).clamp(min=0)
    shift = part * (mean - mean_) + (1 - gain) * mean_
    return Tone(gain=tuple(gain.tolist()), shift=tuple(shift.tolist()), bounds=bounds)


def _band_gain(have: Tensor, lack: Tensor, first: float, last: float) -> float:
    """How much more amplitude images have in a band than others."""
    down = torch.fft.fftfreq(have.shape[2], device=have.device).view(-1, 1)
    across = torch.fft.rfftfreq(have.shape[3], device=have.device)
    radius = (down.square() + across.square()).sqrt()
    inside = (radius >= max(first, 1e-6)) & (radius < last)
    if not bool(inside.any()):
        return 1.0
    powers = [torch.fft.rfft2(part.mean(1))[:, inside].abs().square().mean(1).median() for part in (have, lack)]
    return float((powers[0] / powers[1].clamp(min=1e-12)).sqrt())
