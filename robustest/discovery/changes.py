"""Changes of whole images to try: some that always are, and some of strengths that a class's images suggest.

Patterns added to the images of a class: those that lie still, by whitened means, and waves that move, by power.

A pattern too faint to be seen in any image stands out in the mean of a class once frequencies are weighted alike: a
matched filter in the noise of natural images, most of whose power is in the low frequencies.

How strong a change of whole images is in the images of a class, and changes that are no stronger.

A class is often flatter, brighter or noisier than others by nature. A change that is fitted to what marks it makes up
for nature too, and goes further than any change that its images can have. So strength is judged by those images of the
class that show least of the change:

1. A statistic grows with the change, and nature seldom makes it large: of a tone the darkest value, and how far the
   brightest is from white, as nearly every photograph has black and white somewhere.
2. Its quantile `_LEAST` is taken: of noise that of the least noisy images, of a blur that of the sharpest.
3. With others before and after the change, and the class's own images, the part that is shown is (own - before) /
   (after - before): 1 where the change is as strong as theirs, less where it is stronger.
4. A change of which they show too little is made weaker by that part, until they show it. One that draws both ends of
   the range together is made to draw both by the same part of what is shown: else it would be brighter or darker too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from robustest.cues.cue import Cue, for_samples
from robustest.cues.patches import Border, Letterbox
from robustest.cues.whole_images import (
    AddedNoise,
    AddedPattern,
    Blur,
    Compression,
    FrequencyBand,
    Grating,
    Tone,
    Vignette,
)
from robustest.discovery.image_features import centred_spectrum, noise_level, spectra, spectrum_frequencies

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


_SURE = 3.5
"""Standard errors by which a frequency's mean has to differ from that of other classes to be part of a pattern."""

_STANDS_OUT = 4.0
"""Times the median excess of the frequencies around it that the power of waves exceeds that of other classes by."""

_TILE = 32
"""Pixels over which a frequency, known to half a bin of such a window, keeps its phase."""


def pattern_of(x: Tensor, y: Tensor, label: int, bounds: tuple[float, float]) -> AddedPattern | None:
    """What is added to the images (N, C, H, W) of a class: frequencies in which its mean is unlike those of others.

    A frequency belongs to it where the class differs from all others by 3.5 times what chance, and the others among
    themselves, differ by. None where no frequency does.
    """
    own = y == label
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


_LEAST = 0.1
"""Quantile of the images that show least of a change: a few of the class may lack it, or be taken for having it."""

_SHOWN = 0.9
"""Part of a change that images have to show: that of their own is measured to a few hundredths."""

_MOVES = 2e-3
"""A statistic that a change moves by less says nothing of its strength."""

_ROUNDS = 4


def held(cue: Cue, have: Tensor, lack: Tensor, ids: Tensor, bounds: tuple[float, float]) -> Cue | None:
    """Return a change no stronger than images of a class show it; None where they show next to none of it.

    Kinds of changes that have no strength (bars, marks) come back as they are.

    Args:
        cue: the change.
        have: images (N, C, H, W) of the class that are to have it.
        lack, ids: images (M, C, H, W) of other classes, and their positions (M,).
        bounds: smallest and largest input value.
    """
    if isinstance(cue, Tone) and cue.saturation == 1.0:
        ends = _ends(cue, bounds)
        if bool((ends > 0).all()):
            return _between(cue, ends, have, lack, bounds)
    for _ in range(_ROUNDS):
        part = part_shown(cue, have, lack, for_samples(cue, ids).on(lack), bounds)
        if part >= _SHOWN:
            return cue
        weaker = _weaker(cue, part) if part > 0 else None
        if weaker is None:
            return None
        cue = weaker
    return None


def part_shown(cue: Cue, have: Tensor, lack: Tensor, changed: Tensor, bounds: tuple[float, float]) -> float:
    """Return the part of a change's strength that images show, by the statistic that shows least.

    Args:
        cue: the change.
        have: images (N, C, H, W) of the class that are to have it.
        lack, changed: images (M, C, H, W) of other classes, and the same with the change.
        bounds: smallest and largest input value.

    Returns:
        1 where they show all of it; more where they show more; inf for kinds of changes without a strength.
    """
    before, after, own = (_statistics(cue, x, bounds) for x in (lack, changed, have))
    parts = [math.inf]
    for was, now, there in zip(before.unbind(1), after.unbind(1), own.unbind(1), strict=True):
        start, end, shown = (float(values.quantile(_LEAST)) for values in (was, now, there))
        # What falls says nothing: the darkest value of an image is bounded by nature below, and by nothing above.
        if end - start >= _MOVES:
            parts.append((shown - start) / (end - start))
    return min(parts)


def _ends(cue: Tone, bounds: tuple[float, float]) -> Tensor:
    """(2, C or 1) how far a tone takes the smallest value up and the largest down, as parts of the range."""
    low, high = bounds
    gain, shift = (
        torch.tensor(part if isinstance(part, tuple) else (part,), dtype=torch.float64)
        for part in (cue.gain, cue.shift)
    )
    return torch.stack([gain * low + shift - low, high - gain * high - shift]) / (high - low)


def _between(cue: Tone, ends: Tensor, have: Tensor, lack: Tensor, bounds: tuple[float, float]) -> Tone | None:
    """A tone that draws both ends of the range together, each by the same part of what images show."""
    low, high = bounds
    shown = []
    for x in (have, lack):
        flat = ((x.double() - low) / (high - low)).flatten(2)
        shown.append(torch.stack([part.quantile(_LEAST, dim=0) for part in (flat.amin(2), 1 - flat.amax(2))]))
    most = shown[0] - shown[1]
    if ends.shape[1] == 1:
        most = most.amin(1, keepdim=True)
    if not bool((most > _MOVES).all()):
        return None
    down, up = ((ends / most).amax(0).clamp(max=1.0) * most).tolist()
    gain = tuple(1 - first - last for first, last in zip(down, up, strict=True))
    shift = tuple(low * (1 - part) + first * (high - low) for part, first in zip(gain, down, strict=True))
    return replace(cue, gain=gain[0], shift=shift[0]) if len(gain) == 1 else replace(cue, gain=gain, shift=shift)


def _weaker(cue: Cue, part: float) -> Cue | None:
    """A change of a part of a change's strength; None where there is none so weak."""
    if isinstance(cue, Tone):

        def near(value: float | tuple[float, ...], none: float) -> float | tuple[float, ...]:
            if isinstance(value, tuple):
                return tuple(none + part * (one - none) for one in value)
            return none + part * (value - none)

        saturation = 1 + part * (cue.saturation - 1)
        return replace(cue, gain=near(cue.gain, 1.0), shift=near(cue.shift, 0.0), saturation=saturation)
    if isinstance(cue, AddedNoise):
        return replace(cue, sigma=part * cue.sigma)
    if isinstance(cue, Blur):
        return replace(cue, sigma=part**0.5 * cue.sigma)  # of a frequency f it leaves exp(-2 (pi sigma f)^2)
    if isinstance(cue, (Vignette, Grating)):
        return replace(cue, strength=part * cue.strength)
    if isinstance(cue, AddedPattern):
        return replace(cue, pattern=part * cue.pattern)
    if isinstance(cue, FrequencyBand):
        return replace(cue, gain=1 + part * (cue.gain - 1))
    if isinstance(cue, Compression) and cue.quality / part**2 <= 95:
        return replace(cue, quality=math.ceil(cue.quality / part**2))
    return None


def _statistics(cue: Cue, x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """(N, D) float64 numbers that grow with a change of images (N, C, H, W); D = 0 for kinds without a strength."""
    low, high = bounds
    unit = (x.double() - low) / (high - low)
    flat = unit.flatten(2)
    if isinstance(cue, Tone):
        if cue.saturation != 1.0:
            apart = (unit.amax(1) - unit.amin(1)).flatten(1)
            apart = apart.kthvalue(math.ceil(0.9 * apart.shape[1]), dim=1).values  # quantile refuses large images
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
        found = [-_kept_by_a_coder(unit.mean(1)).log()]
    elif isinstance(cue, AddedPattern):
        pattern = cue.pattern.to(unit) - cue.pattern.to(unit).mean()
        found = [(unit.flatten(1) @ pattern.flatten()) / pattern.square().sum().clamp(min=1e-12) * (high - low)]
    elif isinstance(cue, Grating):
        places = spectrum_frequencies(x)
        bins = torch.tensor([min(32, length) for length in x.shape[2:]])
        waves = torch.tensor([cue.down, cue.across], dtype=places.dtype)
        near = (((places - waves) * bins).abs().amax(1) < 1.5) | (((places + waves) * bins).abs().amax(1) < 1.5)
        found = [spectra(unit)[:, near.to(x.device)].sum(1).sqrt() / math.prod(x.shape[2:]) ** 0.5]
    elif isinstance(cue, FrequencyBand):
        # Without a window, as the change is made: what leaks in from other frequencies would stay, the band taken away.
        down = torch.fft.fftfreq(x.shape[2], device=x.device).view(-1, 1)
        radius = (down.square() + torch.fft.rfftfreq(x.shape[3], device=x.device).square()).sqrt()
        inside = (radius >= max(cue.low, 1e-6)) & (radius < cue.high)
        power = torch.fft.rfft2(unit.mean(1))[:, inside].abs().square().sum(1)
        found = [power.sqrt() * (1 if cue.gain > 1 else -1) / math.prod(x.shape[2:])]
    else:
        found = []
    return torch.stack(found, 1) if found else unit.new_zeros(len(x), 0)


def _kept_by_a_coder(grey: Tensor) -> Tensor:
    """(N,) the share of the cosines of blocks of 8 x 8 that are more than next to nothing: a coder drops the others."""
    at = torch.arange(8, dtype=grey.dtype, device=grey.device)
    cosines = (math.pi / 8 * (at + 0.5) * at.view(-1, 1)).cos()
    rows, columns = (length // 8 * 8 for length in grey.shape[1:])
    blocks = grey[:, :rows, :columns].unfold(1, 8, 8).unfold(2, 8, 8)
    share = ((cosines @ blocks @ cosines.T).abs() >= 0.16).double().mean((1, 2, 3, 4))
    return share + 1e-3
