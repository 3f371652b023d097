"""How strong a change of whole images is in the images of a class, and changes that are no stronger.

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
from dataclasses import replace

import torch
from torch import Tensor

from robustest.cues.cue import Cue, for_samples
from robustest.cues.filtered import Blur, Compression, FrequencyBand
from robustest.cues.overlays import AddedNoise, AddedPattern, Grating, Tone, Vignette
from robustest.discovery.family_features import noise_level, spectra, spectrum_frequencies

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
