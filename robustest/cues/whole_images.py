"""Cues all over an image: tone, colour, patterns, waves, noise, shading, blur, compression and frequencies."""

# Off leaves the image unchanged: the change cannot be removed from an image that has it already.

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from robustest import rng
from robustest.checks import check_ranges, checked_images, checked_real, checked_whole, real, require
from robustest.cues.cue import Colour, Drawn, Irreversible, checked_colour, checked_pattern, colour_like, sample_keys
from robustest.errors import ConfigError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone(Irreversible):
    """A change of brightness, contrast and colour: saturation first, then times a gain, plus a shift.

    A gain of 0 removes a channel; a gain of g with a shift of m (1 - g) changes contrast about m.

    Args:
        saturation: factor of each channel's difference from the mean of the channels, >= 0: 0 leaves grey.
    """

    gain: Colour = 1.0
    shift: Colour = 0.0
    saturation: float = 1.0
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        checked_colour("gain", self.gain)
        checked_colour("shift", self.shift)
        checked_real("saturation", self.saturation, 0.0)

    @property
    def name(self) -> str:
        parts = []
        for noun, value, neutral in (
            ("gain", self.gain, 1.0),
            ("shift", self.shift, 0.0),
            ("saturation", self.saturation, 1.0),
        ):
            if value != neutral:
                numbers = value if isinstance(value, tuple) else (value,)
                parts.append(f"{noun} {'/'.join(f'{number:.3g}' for number in numbers)}")
        return f"tone of {', '.join(parts)}" if parts else "tone left alone"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a change of tone")
        if self.saturation != 1.0:
            # A weight over 1 extrapolates away from grey: more saturation.
            x = torch.lerp(x.mean(1, keepdim=True).expand_as(x), x, self.saturation)
        return (x * colour_like(x, self.gain) + colour_like(x, self.shift)).clamp(*self.bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourCast(Irreversible):
    """The image mixed with one colour, as under tinted light.

    Args:
        strength: the colour's share of the mixture, in (0, 1].
    """

    colour: Colour
    strength: float = 0.2

    def __post_init__(self) -> None:
        checked_colour("colour", self.colour)
        checked_real("strength", self.strength, 1e-6, 1.0)

    @property
    def name(self) -> str:
        return f"colour cast {self.colour}, strength {self.strength:g}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a colour cast")
        return torch.lerp(x, colour_like(x, self.colour).expand_as(x), self.strength)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture(Irreversible):
    """A regular pattern of dark and light squares, mixed into the whole image.

    Args:
        period: pixels from one light square to the next, even, >= 2.
        strength: the pattern's share of the mixture, in (0, 1].
        stripes: horizontal lines instead of squares.
    """

    period: int = 4
    strength: float = 0.2
    dark: Colour = 0.0
    light: Colour = 1.0
    stripes: bool = False

    def __post_init__(self) -> None:
        checked_whole("period", self.period, 2)
        if self.period % 2:
            raise ConfigError(expected("period to be even", self.period))
        checked_real("strength", self.strength, 1e-6, 1.0)
        checked_colour("dark", self.dark)
        checked_colour("light", self.light)

    @property
    def name(self) -> str:
        kind = "stripes" if self.stripes else "squares"
        return f"texture of {kind}, period {self.period}, strength {self.strength:g}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a texture")
        rows = torch.arange(x.shape[2], device=x.device) // (self.period // 2) % 2
        columns = torch.arange(x.shape[3], device=x.device) // (self.period // 2) % 2
        # Exclusive or of the parities gives squares; without the columns' parity, stripes.
        lit = rows.view(-1, 1) ^ (torch.zeros_like(columns) if self.stripes else columns)
        pattern = torch.where(lit.bool(), colour_like(x, self.light), colour_like(x, self.dark))
        return torch.lerp(x, pattern.expand_as(x), self.strength)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AddedPattern(Irreversible):
    """A pattern added to every image at the same place: a watermark, a grating, noise of a sensor.

    Args:
        pattern: (C, H, W) in input units.
    """

    pattern: Tensor
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        checked_pattern("pattern", self.pattern, "(C, H, W)")

    @property
    def name(self) -> str:
        return f"added pattern of strength {float(self.pattern.double().square().mean().sqrt()):.2g}"

    def on(self, x: Tensor) -> Tensor:
        require(x.shape[1:] == self.pattern.shape, f"images of shape {tuple(self.pattern.shape)}", tuple(x.shape[1:]))
        return (x + self.pattern.to(x)).clamp(*self.bounds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grating(Irreversible, Drawn):
    """Waves added to the whole image, with another phase in every sample.

    Args:
        down, across: cycles per pixel, each in -0.5..0.5; not both 0.
        strength: amplitude in input units, > 0.
    """

    down: float = field(metadata=real(-0.5, 0.5))
    across: float = field(metadata=real(-0.5, 0.5))
    strength: float = field(metadata=real(1e-9))
    bounds: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.down and not self.across:
            raise ConfigError("Expected down or across other than 0 but got a grating without waves.")

    @property
    def name(self) -> str:
        return f"grating of {self.down:.3g} x {self.across:.3g} cycles a pixel, strength {self.strength:.2g}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a grating")
        # With a random phase, the class depends on the frequency alone and not on any pixel's value.
        phase = rng.uniform(rng.fold(sample_keys(self.seed, self.ids, x), "grating"), (1, 1, 1)).to(x)
        rows, columns = (torch.arange(length, device=x.device, dtype=x.dtype) for length in x.shape[2:])
        place = self.down * rows.view(-1, 1) + self.across * columns + phase
        return (x + self.strength * (2 * math.pi * place).sin()).clamp(*self.bounds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AddedNoise(Irreversible, Drawn):
    """Independent Gaussian noise on every pixel and channel.

    Args:
        sigma: standard deviation in input units, > 0.
    """

    sigma: float = field(metadata=real(1e-9))
    bounds: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def name(self) -> str:
        return f"noise of strength {self.sigma:.2g}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "noise")
        noise = rng.normal(rng.fold(sample_keys(self.seed, self.ids, x), "noise"), tuple(x.shape[1:])).to(x)
        return (x + self.sigma * noise).clamp(*self.bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vignette(Irreversible):
    """Light that falls off to the corners, with the square of the distance from the middle.

    Args:
        strength: share of the light that is missing in the corners, in (0, 1].
    """

    strength: float
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        checked_real("strength", self.strength, 1e-6, 1.0)

    @property
    def name(self) -> str:
        return f"vignette of strength {self.strength:.2g}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a vignette")
        down, across = (torch.linspace(-1, 1, length, dtype=x.dtype, device=x.device) for length in x.shape[2:])
        # The squares sum to 2 in the corners.
        light = 1 - self.strength * (down.square().view(-1, 1) + across.square()) / 2
        low = self.bounds[0]
        return (low + (x - low) * light).clamp(*self.bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur(Irreversible):
    """A Gaussian blur.

    Args:
        sigma: standard deviation in pixels, > 0.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        checked_real("sigma", self.sigma, 1e-3)

    @property
    def name(self) -> str:
        return f"blur of {self.sigma:g} pixels"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a blur")
        # A Gaussian falls to about 1 % of its peak at three standard deviations.
        reach = math.ceil(3 * self.sigma)
        require(reach < min(x.shape[2:]), f"images larger than {reach} pixels for a {self.name}", tuple(x.shape))
        weights = (torch.arange(-reach, reach + 1, dtype=torch.float64) / self.sigma).square().mul(-0.5).exp()
        weights = weights / weights.sum()
        blurred = F.pad(x, (reach,) * 4, mode="reflect")
        # Rows, then columns, as sums of shifted images: a convolution of a few channels takes several times as long.
        for dim in (2, 3):
            length = x.shape[dim]
            parts = enumerate(weights.tolist())
            blurred = sum((weight * blurred.narrow(dim, at, length) for at, weight in parts), torch.zeros(()).to(x))
        # Rounding may take an average outside of the values that it is taken over.
        return blurred.clamp(float(x.min()), float(x.max()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression(Irreversible):
    """The image coded as JPEG and decoded: three channels as one colour picture, else each as a grey picture.

    Args:
        quality: of Pillow's codec, in 1..95; lower loses more.
    """

    quality: int
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        checked_whole("quality", self.quality, 1)
        checked_real("quality", self.quality, 1, 95)

    @property
    def name(self) -> str:
        return f"JPEG compression of quality {self.quality}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "compression")
        low, high = self.bounds
        # Half a level more, because the conversion to bytes cuts fractions off.
        levels = ((x - low) * (255 / (high - low)) + 0.5).clamp(0, 255).to("cpu", torch.uint8)
        decoded = []
        for picture in levels if x.shape[1] == 3 else levels.flatten(0, 1).unsqueeze(1):
            planes = [Image.fromarray(plane.numpy()) for plane in picture]
            file = io.BytesIO()
            (planes[0] if len(planes) == 1 else Image.merge("RGB", planes)).save(file, "JPEG", quality=self.quality)
            file.seek(0)
            with Image.open(file) as coded:
                decoded.append(torch.stack([torch.from_numpy(np.array(band)) for band in coded.split()]))
        values = torch.stack(decoded).view(x.shape).to(x.device, x.dtype)
        return (low + values * ((high - low) / 255)).clamp(low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyBand(Irreversible):
    """A band of spatial frequencies, amplified or removed.

    Args:
        low, high: in cycles per pixel, 0 <= low < high; the finest frequency along an axis is 0.5, the finest diagonal
            0.71.
        gain: factor of the band when on: 0 removes it, 2 doubles it.
    """

    low: float = field(metadata=real(0, 1))
    high: float = field(metadata=real(0, 1))
    gain: float = field(default=0.0, metadata=real(0))
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_ranges(self)
        require(self.low < self.high, "low < high", (self.low, self.high))

    @property
    def name(self) -> str:
        return f"frequencies {self.low:g} to {self.high:g}, times {self.gain:g}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a band of frequencies")
        radius = frequency_radius(x)
        inside = (radius >= self.low) & (radius < self.high)
        # MKL refuses the strides of 0 of expanded images, with torch 2.5.
        spectrum = torch.fft.rfft2(x.contiguous()) * torch.where(inside, self.gain, 1.0)
        changed: Tensor = torch.fft.irfft2(spectrum, s=x.shape[2:])
        return changed.clamp(*self.bounds)


def frequency_radius(x: Tensor) -> Tensor:
    """Return (H, W // 2 + 1) the frequencies of images' real spectra, in cycles per pixel."""
    down = torch.fft.fftfreq(x.shape[2], device=x.device).view(-1, 1)
    across = torch.fft.rfftfreq(x.shape[3], device=x.device)
    radius: Tensor = (down.square() + across.square()).sqrt()
    return radius


Masks = Tensor | Callable[[Tensor], Tensor]
"""Masks (N, 1, H, W) in [0, 1], 1 on the object; or a function from images to masks."""


# Cues that need masks of the objects: other backgrounds behind the same object, and backgrounds without their object.
#
# Xiao, Engstrom, Ilyas and Madry, "Noise or Signal: The Role of Image Backgrounds in Object Recognition" (ICLR 2021).


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BackgroundSwap(Irreversible, Drawn):
    """On shows each object before a background of a pool; off leaves the image unchanged.

    With backgrounds of one class and that class as target, flips are predictions that the background attracts.

    Args:
        masks: 1 on the object.
        backgrounds: (M, C, H, W) the pool, in input units.
        choice: (N,) int64 background of each of the user's samples; None draws it by `seed` and index.
    """

    masks: Masks
    backgrounds: Tensor
    choice: Tensor | None = None
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.backgrounds, Tensor) or self.backgrounds.ndim != 4 or not len(self.backgrounds):
            raise ConfigError(expected("backgrounds to be images (M, C, H, W)", self.backgrounds))

    @property
    def name(self) -> str:
        return "background swap"

    def on(self, x: Tensor) -> Tensor:
        mask = object_masks(self.masks, x, self.ids)
        if self.backgrounds.shape[1:] != x.shape[1:]:
            raise ConfigError(expected(f"backgrounds of shape {tuple(x.shape[1:])}", tuple(self.backgrounds.shape[1:])))
        if self.choice is None:
            keys = rng.fold(sample_keys(self.seed, self.ids, x), "background")
            chosen = rng.integers(keys, (1,), len(self.backgrounds)).flatten()
        else:
            # The choice is in the order of the user's data, of which the chunk is a part.
            chosen = self.choice.cpu()[torch.arange(len(x)) if self.ids is None else self.ids.cpu()]
        behind = self.backgrounds[chosen.to(self.backgrounds.device)].to(x)
        # Masks may be soft: their edges blend.
        return behind + mask * (x - behind)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForegroundRemoval(Irreversible, Drawn):
    """On shows the background alone, with the object filled over; off leaves the image unchanged.

    The accuracy with the cue on should be near chance; flips show nothing here.

    Args:
        masks: 1 on the object.
        fill: value of the object's pixels, in input units; None takes the background's mean.
        box: fill the bounding box, so that no outline stays.
    """

    masks: Masks
    fill: float | None = None
    box: bool = True
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        if self.fill is not None:
            checked_real("fill", self.fill)

    @property
    def name(self) -> str:
        return "foreground removed"

    def on(self, x: Tensor) -> Tensor:
        mask = object_masks(self.masks, x, self.ids)
        if self.box:
            mask = bounding_boxes(mask)
        if self.fill is not None:
            return x + mask * (self.fill - x)
        # Black where images are never black is a cue itself (Jain et al., ICLR 2022).
        outside = 1 - mask
        share = outside.sum((2, 3), keepdim=True)
        mean = (x * outside).sum((2, 3), keepdim=True) / share.clamp(min=1e-6)
        # An object that fills its image leaves no background: the image's mean then takes its place.
        mean = torch.where(share > 0, mean, x.mean((2, 3), keepdim=True))
        return x + mask * (mean - x)


def object_masks(masks: Masks, x: Tensor, ids: Tensor | None) -> Tensor:
    """Return the masks (N, 1, H, W) of images x (N, C, H, W), on the device and in the type of x.

    Raises:
        ConfigError: shapes do not match, or a value is outside [0, 1].
    """
    checked_images(x, "masks")
    if callable(masks):
        mask = masks(x)
    elif ids is None and len(masks) != len(x):
        raise ConfigError(f"Expected {len(x)} masks but got {len(masks)}: say which samples these are with at(ids).")
    else:
        mask = masks if ids is None else masks[ids.to(masks.device)]
    require(mask.shape == (len(x), 1, *x.shape[2:]), f"masks of shape {(len(x), 1, *x.shape[2:])}", tuple(mask.shape))
    mask = mask.to(x)
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ConfigError(expected("masks in [0, 1]", (float(mask.min()), float(mask.max()))))
    return mask


def bounding_boxes(mask: Tensor) -> Tensor:
    """Return the bounding boxes of masks (N, 1, H, W), as masks of 0 and 1; empty for an empty mask."""
    inked = mask > 0
    spans = []
    for line in (inked.any(3), inked.any(2)):
        # From the first True to the last: reached from both ends.
        spans.append((line.long().cumsum(2) > 0) & (line.flip(2).long().cumsum(2) > 0).flip(2))
    return (spans[0].unsqueeze(3) & spans[1].unsqueeze(2)).to(mask)
