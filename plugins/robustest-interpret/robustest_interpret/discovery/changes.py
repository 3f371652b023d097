"""Changes of whole images that may explain a mark of a class: candidates, and their strength in the class's images."""

# A class is often flatter, brighter or noisier than others by nature, and a change fitted to its images makes up for
# nature too. So `limit_strength` weakens it:
#
# 1. A statistic T grows with the change, and is rarely large by nature: for a tone the darkest value, because nearly
#    every photograph has black somewhere.
# 2. q is a low quantile of T over images: those that show least of the change.
# 3. The class shows the part (q(own) - q(before)) / (q(after) - q(before)) of the change, with other images before and
#    after the change.
# 4. A change of which too little is shown is multiplied by that part, until it is shown.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from robustest import devices
from robustest.cues import (
    AddedNoise,
    AddedPattern,
    Blur,
    Border,
    Compression,
    Cue,
    FrequencyBand,
    Grating,
    Letterbox,
    Tone,
    Vignette,
    for_samples,
)
from robustest_interpret.discovery.image_features import (
    SPECTRUM_WINDOW,
    block_cosines,
    centred_spectrum,
    noise_level,
    pixel_blocks,
    spectra,
    spectrum_frequencies,
)

BANDS = ((0.01, 0.06), (0.06, 0.125), (0.125, 0.25), (0.25, 0.36), (0.36, 0.75))
"""Frequency bands in cycles per pixel, about an octave each, without brightness (frequency 0)."""

# Factors of a strength that data suggest: not all images of a class have a change, and clipping weakens it.
_PARTS = (0.5, 0.75, 1.0, 1.25)

_BLURS = (0.5, 0.65, 0.8, 1.0, 1.4, 2.0)

SMALLEST_BLOCKS = 16
"""Shorter side in pixels from which images have neighbouring blocks of 8 x 8."""

# Images of a class, and of others, that strengths are estimated on.
_MOST = 128


Colour = float | tuple[float, ...]
"""A value in input units: one number for all channels, or one per channel."""


def frequency_radius(x: Tensor) -> Tensor:
    """Return (H, W // 2 + 1) the frequencies of images' real spectra, in cycles per pixel."""
    down = torch.fft.fftfreq(x.shape[2], device=x.device).view(-1, 1)
    across = torch.fft.rfftfreq(x.shape[3], device=x.device)
    radius: Tensor = (down.square() + across.square()).sqrt()
    return radius


def standing_changes(shape: Sequence[int], bounds: tuple[float, float]) -> list[Cue]:
    """Return the changes tried on every model, for images of a shape (C, H, W)."""
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
    """Return the change that sets channel c to the smallest value."""
    gain = tuple(float(k != c) for k in range(channels))
    return Tone(gain=gain, shift=tuple(bounds[0] * (k == c) for k in range(channels)), bounds=bounds)


def tones_like(x: Tensor, own: Tensor, bounds: tuple[float, float]) -> list[Cue]:
    """Return changes of tone that make images x (N, C, H, W) as bright, flat and colourful as those of a class.

    Args:
        own: (N,) bool, True for the class's images.
    """
    have, lack = x[own][:_MOST], x[~own][:_MOST]
    channels = x.shape[1]
    floor = 1e-3 * (bounds[1] - bounds[0])

    def medians(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Each channel's mean and spread (C,), and the darkest and brightest grey: medians over images.
        grey = x.double().mean(1).flatten(1)
        mean = devices.median(x.double().mean((2, 3)), 0)
        spread = devices.median(x.double().std((2, 3), correction=0), 0)
        return mean, spread, grey.amin(1).median(), grey.amax(1).median()

    (mean, spread, least, most), (mean_, spread_, least_, most_) = medians(have), medians(lack)
    found: list[Cue] = [
        Tone(shift=part * float(step), bounds=bounds)
        for step in ((mean - mean_).mean(), least - least_, most - most_)
        for part in _PARTS
    ]
    # Contrast about the mean grey: by the spreads, and by the ranges.
    grey, grey_ = mean.mean(), mean_.mean()
    by_spread = float(spread.mean() / spread_.mean().clamp(min=floor))
    by_range = float((most - least) / (most_ - least_).clamp(min=floor))
    for gain in (by_spread, by_range):
        for part in _PARTS:
            partial_gain = max(0.0, 1 + part * (gain - 1))
            found += [Tone(gain=partial_gain, shift=float(grey - partial_gain * grey_), bounds=bounds)]
    if channels > 1:
        for part in _PARTS:
            # A gain and a shift a channel that take means and spreads a part of the way to the class's.
            gains = (1 + part * (spread / spread_.clamp(min=1e-6) - 1)).clamp(min=0)
            shifts = part * (mean - mean_) + (1 - gains) * mean_
            found += [Tone(gain=tuple(gains.tolist()), shift=tuple(shifts.tolist()), bounds=bounds)]
        found += [channel_off(c, channels, bounds) for c in range(channels)]
        found += [Tone(shift=tuple((part * (mean - mean_)).tolist()), bounds=bounds) for part in _PARTS]
        colour, colour_ = (float((x.amax(1) - x.amin(1)).mean((1, 2)).double().median()) for x in (have, lack))
        near = colour / max(colour_, floor)
        # The spread of the channels at a pixel measures colour, which saturation multiplies.
        found += [Tone(saturation=max(0.0, 1 + part * (near - 1)), bounds=bounds) for part in _PARTS]
        found += [Tone(saturation=0.0, bounds=bounds)]
    return found


def filters_like(x: Tensor, y: Tensor, label: int, bounds: tuple[float, float]) -> list[Cue]:
    """Return blurs, frequency bands, patterns and waves that the images (N, C, H, W) of a class may have."""
    own, side = y == label, min(x.shape[2:])
    found: list[Cue] = [Blur(sigma=sigma) for sigma in _BLURS if -(-3 * sigma // 1) < side]
    have, lack = x[own][:_MOST], x[~own][:_MOST]
    radius = frequency_radius(x)
    for first, last in BANDS:
        inside = (radius >= max(first, 1e-6)) & (radius < last)
        gain = 1.0
        if bool(inside.any()):
            # How many times the amplitude of other images the class's images have in the band.
            powers = [torch.fft.rfft2(part.mean(1))[:, inside].abs().square().mean(1).median() for part in (have, lack)]
            gain = float((powers[0] / powers[1].clamp(min=1e-12)).sqrt())
        for part in (0.75, 1.0, 1.5):
            partial_gain = max(0.0, 1 + part * (gain - 1))
            found.append(FrequencyBand(low=first, high=last, gain=min(partial_gain, 8.0), bounds=bounds))
    pattern, grating = pattern_of(x, y, label, bounds), grating_of(x, y, label, bounds)
    for part in (*_PARTS, 2.0):
        if pattern is not None:
            found.append(replace(pattern, pattern=part * pattern.pattern))
        if grating is not None:
            found.append(replace(grating, strength=part * grating.strength))
    return found


def noises_like(x: Tensor, own: Tensor, bounds: tuple[float, float]) -> list[Cue]:
    """Return the noise that other images lack beside those of a class."""
    (have, lack) = (noise_level(part[:_MOST].double()).median() for part in (x[own], x[~own]))
    # Variances of independent noises add up.
    missing = float((have.square() - lack.square()).clamp(min=0).sqrt())
    # Stronger noise too: clipping takes some of it away, and the level counts edges in.
    return [AddedNoise(sigma=part * missing, bounds=bounds) for part in (*_PARTS, 1.6, 2.0) if missing > 0]


def shadings_like(bounds: tuple[float, float]) -> list[Cue]:
    """Return vignettes of several strengths."""
    return [Vignette(strength=part, bounds=bounds) for part in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)]


def compressions_like(shape: Sequence[int], bounds: tuple[float, float]) -> list[Cue]:
    """Return JPEG compressions of several qualities, for images (C, H, W) that are large enough."""
    if min(shape[1:]) < SMALLEST_BLOCKS:
        return []
    return [Compression(quality=quality, bounds=bounds) for quality in (5, 10, 15, 20, 30, 45, 60, 75)]


def margins_like(x: Tensor, own: Tensor, bounds: tuple[float, float]) -> list[Cue]:
    """Return bars and frames with the values of the outer lines of a class's images (N, C, H, W)."""
    have = x[own][:_MOST]
    height, width = x.shape[2:]

    def depths(length: int) -> list[int]:
        return sorted({max(1, round(part * length)) for part in (0.03, 0.06, 0.09, 0.125, 0.16, 0.2) if length > 4})

    found: list[Cue] = []
    sides: tuple[tuple[Literal["rows", "columns"], int], ...] = (("rows", 2), ("columns", 3))
    for ends, dim in sides:
        value = tuple(devices.median(have.select(dim, 0).mean(2), 0).tolist())
        found += [Letterbox(height=deep, value=value, ends=ends) for deep in depths(x.shape[dim])]
    value = tuple(devices.median(have[:, :, 0].mean(2), 0).tolist())
    found += [Border(width=deep, value=value) for deep in depths(min(height, width))]
    return found


# Standard errors by which a frequency's mean has to differ from that of other classes to be part of a pattern.
_SURE = 3.5

# Least ratio of a peak's excess power over other classes to the median excess of the frequencies around it.
_PEAK = 4.0

# Pixels over which a frequency, known to half a bin of such a window, keeps its phase.
_TILE = 32


def pattern_of(x: Tensor, y: Tensor, label: int, bounds: tuple[float, float]) -> AddedPattern | None:
    """Return the pattern added to the images (N, C, H, W) of a class, or None."""
    own = y == label
    # Keep the frequencies at which the class's mean differs from that of all other classes by _SURE times the
    # difference that chance makes and that exists among the other classes.
    frequencies = centred_spectrum(x)
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
    """Return the waves that distinguish images (N, C, H, W) of a class most, or None."""
    power, places = spectra(x), spectrum_frequencies(x)
    own = y == label
    # Logarithms: powers of natural images spread over orders of magnitude.
    others = torch.stack([power[y == k].log1p().mean(0) for k in torch.unique(y[~own]).tolist()])
    logs = power.log1p()
    spread = (others.std(0, correction=0).square() + logs[own].var(0) / int(own.sum())).sqrt().clamp(min=1e-9)
    sure = (logs[own].mean(0) - others.mean(0)) / spread
    sure[places.norm(dim=1).to(sure.device) < 0.05] = 0.0  # brightness that drifts, not waves
    peak = int(sure.argmax())
    if float(sure[peak]) < _SURE:
        return None
    excess = (power[own].mean(0) - power[~own].mean(0)).clamp(min=0)
    rows, columns = (min(SPECTRUM_WINDOW, length) for length in x.shape[2:])
    around = (places - places[peak]).abs()
    near = ((around[:, 0] * rows < 1.5) & (around[:, 1] * columns < 1.5)).to(excess.device)
    # Waves are a peak of the spectrum. Noise has more power at every frequency, and no peak.
    bins = around * torch.tensor([rows, columns], dtype=around.dtype)
    ring = ((bins.amax(1) >= 2.5) & (bins.amax(1) < 6.5)).to(excess.device)
    if bool(ring.any()) and float(excess[peak]) < _PEAK * float(excess[ring].median()):
        return None
    weight = torch.where(near, excess, torch.zeros_like(excess)).cpu()
    total = float(weight.sum())
    if total <= 0:
        return None
    # The frequency between bins is the centre of the peak's power. The amplitude A of a wave gives the windowed
    # spectrum a power of (A rows columns / 2)^2 times the mean square of the window: 3/8 in each direction for a Hann
    # window.
    down, across = ((weight @ places) / total).tolist()
    window = (3 / 8) ** 2 if min(rows, columns) > 4 else 1.0
    strength = 2 * (total / window) ** 0.5 / (rows * columns)
    return Grating(down=down, across=across, strength=strength, bounds=bounds)


def without_waves(x: Tensor, waves: Grating) -> Tensor:
    """Return images (N, C, H, W) without waves near a frequency: least squares, tile by tile."""
    out = x.clone()
    for top in range(0, x.shape[2], _TILE):
        for left in range(0, x.shape[3], _TILE):
            tile = out[:, :, top : top + _TILE, left : left + _TILE]
            height, width = tile.shape[2:]
            rows, columns = torch.arange(height).double().view(-1, 1), torch.arange(width).double()
            basis = list[Tensor]()
            # The frequency is known to half a bin only: neighbours half a bin away are removed too.
            for down in (-0.5, 0.0, 0.5):
                for across in (-0.5, 0.0, 0.5):
                    cycles = (waves.down + down / height) * rows + (waves.across + across / width) * columns
                    basis += [(2 * math.pi * cycles).sin(), (2 * math.pi * cycles).cos()]
            flat = torch.stack(basis).flatten(1).T
            # Waves of near frequencies are nearly collinear: an orthonormal basis of their span, without directions
            # that are rounding.
            left_vectors, sizes, _ = torch.linalg.svd(flat, full_matrices=False)
            span = left_vectors[:, sizes > 1e-3 * sizes[0]].to(x)
            values = tile.flatten(2)
            middle = values.mean(2, keepdim=True)
            centred = values - middle
            tile.copy_((middle + centred - centred @ span @ span.T).view(tile.shape))
    return out


# Quantile of the images that show least of a change: a few of the class may lack it, or be taken for having it.
_LOW_QUANTILE = 0.1

# Part of a change that images have to show. Even for their true change it is estimated to a few hundredths only.
_SHOWN = 0.9

# A statistic that a change moves by less is not used.
_SMALLEST_EFFECT = 2e-3

_ROUNDS = 4


def limit_strength(cue: Cue, have: Tensor, lack: Tensor, ids: Tensor, bounds: tuple[float, float]) -> Cue | None:
    """Return a change no stronger than images `have` of a class show it; None if they show next to none of it.

    Kinds of changes without a strength (bars, marks) are returned unchanged.

    Args:
        lack, ids: images (M, C, H, W) of other classes, and their positions (M,).
    """
    if isinstance(cue, Tone) and cue.saturation == 1.0:
        # (2, C or 1): movement of both ends of the range inwards, as parts of the range.
        low, high = bounds
        gain, shift = (
            torch.tensor(part if isinstance(part, tuple) else (part,), dtype=torch.float64)
            for part in (cue.gain, cue.shift)
        )
        ends = torch.stack([gain * low + shift - low, high - gain * high - shift]) / (high - low)
        if bool((ends > 0).all()):
            return _limited_contrast(cue, ends, have, lack, bounds)
    for _ in range(_ROUNDS):
        # Most statistics are not linear in the strength: weaken in rounds.
        part = part_shown(cue, have, lack, for_samples(cue, ids).on(lack), bounds)
        if part >= _SHOWN:
            return cue
        weaker = _weaker(cue, part) if part > 0 else None
        if weaker is None:
            return None
        cue = weaker
    return None


def part_shown(cue: Cue, have: Tensor, lack: Tensor, changed: Tensor, bounds: tuple[float, float]) -> float:
    """Return the part of a change's strength that images `have` of a class show, by the statistic that shows least.

    It is 1 where they show all of it, more where they show more, and inf for kinds without a strength.

    Args:
        lack, changed: images (M, C, H, W) of other classes without and with the change.
    """
    before, after, own = (_statistics(cue, x, bounds) for x in (lack, changed, have))
    parts = [math.inf]
    for was, now, there in zip(before.unbind(1), after.unbind(1), own.unbind(1), strict=True):
        start, end, shown = (float(values.quantile(_LOW_QUANTILE)) for values in (was, now, there))
        # A statistic that falls is no evidence: nature bounds the darkest value of an image below, and not above.
        if end - start >= _SMALLEST_EFFECT:
            parts.append((shown - start) / (end - start))
    return min(parts)


def _limited_contrast(cue: Tone, ends: Tensor, have: Tensor, lack: Tensor, bounds: tuple[float, float]) -> Tone | None:
    # Both ends of the range move inwards by the same part of the movement that the class shows. A tone weakened as a
    # whole could keep one end and lose the other, and be brighter or darker than the class.
    low, high = bounds
    shown = []
    for x in (have, lack):
        flat = ((x.double() - low) / (high - low)).flatten(2)
        shown.append(torch.stack([part.quantile(_LOW_QUANTILE, dim=0) for part in (flat.amin(2), 1 - flat.amax(2))]))
    most = shown[0] - shown[1]
    if ends.shape[1] == 1:
        most = most.amin(1, keepdim=True)
    if not bool((most > _SMALLEST_EFFECT).all()):
        return None
    down, up = ((ends / most).amax(0).clamp(max=1.0) * most).tolist()
    gain = tuple(1 - first - last for first, last in zip(down, up, strict=True))
    shift = tuple(low * (1 - part) + first * (high - low) for part, first in zip(gain, down, strict=True))
    return replace(cue, gain=gain[0], shift=shift[0]) if len(gain) == 1 else replace(cue, gain=gain, shift=shift)


def _weaker(cue: Cue, part: float) -> Cue | None:
    if isinstance(cue, Tone):

        def towards(value: Colour, neutral: float) -> Colour:
            if isinstance(value, tuple):
                return tuple(neutral + part * (one - neutral) for one in value)
            return neutral + part * (value - neutral)

        saturation = 1 + part * (cue.saturation - 1)
        return replace(cue, gain=towards(cue.gain, 1.0), shift=towards(cue.shift, 0.0), saturation=saturation)
    if isinstance(cue, AddedNoise):
        return replace(cue, sigma=part * cue.sigma)
    if isinstance(cue, Blur):
        return replace(cue, sigma=part**0.5 * cue.sigma)  # a blur multiplies frequency f by exp(-2 (pi sigma f)^2)
    if isinstance(cue, (Vignette, Grating)):
        return replace(cue, strength=part * cue.strength)
    if isinstance(cue, AddedPattern):
        return replace(cue, pattern=part * cue.pattern)
    if isinstance(cue, FrequencyBand):
        return replace(cue, gain=1 + part * (cue.gain - 1))
    if isinstance(cue, Compression) and cue.quality / part**2 <= 95:
        # A rule of thumb: the quality of JPEG has no unit of strength.
        return replace(cue, quality=math.ceil(cue.quality / part**2))
    return None


def _statistics(cue: Cue, x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return (N, D) float64 statistics that grow with a change; D = 0 for kinds without one."""
    low, high = bounds
    unit = (x.double() - low) / (high - low)
    flat = unit.flatten(2)
    found: list[Tensor] = []
    if isinstance(cue, Tone):
        if cue.saturation != 1.0:
            apart = (unit.amax(1) - unit.amin(1)).flatten(1)
            # quantile refuses large images
            apart = apart.sort(1).values[:, math.ceil(0.9 * apart.shape[1]) - 1]
            found = [apart if cue.saturation > 1 else -apart]
        else:
            # The spread grows where there is more contrast, which drives both ends to those of the range.
            found = [*flat.amin(2).unbind(1), *(1 - flat.amax(2)).unbind(1), *flat.std(2).unbind(1)]
    elif isinstance(cue, AddedNoise):
        found = [noise_level(unit)]
    elif isinstance(cue, Blur):
        found = [-(noise_level(unit) + 1e-3).log()]
    elif isinstance(cue, Vignette):
        down, across = (torch.linspace(-1, 1, length, dtype=unit.dtype, device=x.device) for length in x.shape[2:])
        found = [1 - unit.mean(1)[:, down.square().view(-1, 1) + across.square() >= 1.4].amax(1)]
    elif isinstance(cue, Compression):
        # The share of the blocks' cosines that are more than next to nothing: a coder drops the others.
        cosines = block_cosines(pixel_blocks(unit.mean(1)))
        kept = (cosines.abs() >= 0.16).double().mean((1, 2, 3, 4)) + 1e-3
        found = [-kept.log()]
    elif isinstance(cue, AddedPattern):
        pattern = cue.pattern.to(unit) - cue.pattern.to(unit).mean()
        found = [(unit.flatten(1) @ pattern.flatten()) / pattern.square().sum().clamp(min=1e-12) * (high - low)]
    elif isinstance(cue, Grating):
        places = spectrum_frequencies(x)
        bins = torch.tensor([min(SPECTRUM_WINDOW, length) for length in x.shape[2:]])
        waves = torch.tensor([cue.down, cue.across], dtype=places.dtype)
        near = (((places - waves) * bins).abs().amax(1) < 1.5) | (((places + waves) * bins).abs().amax(1) < 1.5)
        found = [spectra(unit)[:, near.to(x.device)].sum(1).sqrt() / math.prod(x.shape[2:]) ** 0.5]
    elif isinstance(cue, FrequencyBand):
        # Without a window, as the change is made: leakage from other frequencies would remain in a removed band.
        radius = frequency_radius(x)
        inside = (radius >= max(cue.low, 1e-6)) & (radius < cue.high)
        power = torch.fft.rfft2(unit.mean(1))[:, inside].abs().square().sum(1)
        found = [power.sqrt() * (1 if cue.gain > 1 else -1) / math.prod(x.shape[2:])]
    return torch.stack(found, 1) if found else unit.new_zeros(len(x), 0)
