"""Cues added to a whole image: tone, a fixed pattern, a grating that moves about, noise, dark corners, bars."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_images, checked_real, checked_whole
from robustest.cues.cue import checked_colour, colour_like
from robustest.errors import ConfigError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """Brightness, contrast and colour: channels drawn together or apart, then times a gain, plus a shift.

    A gain of 0 takes a channel away; a gain of g with a shift of m (1 - g) changes contrast about m.

    Args:
        gain, shift: one number for all channels, or one a channel; a shift is in input units.
        saturation: what the difference of each channel from their mean is multiplied by, >= 0: 0 leaves grey.
        bounds: smallest and largest input value; what leaves them is clipped.

    Raises:
        ConfigError: a number is out of range or not finite.
    """

    gain: float | tuple[float, ...] = 1.0
    shift: float | tuple[float, ...] = 0.0
    saturation: float = 1.0
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        checked_colour("gain", self.gain)
        checked_colour("shift", self.shift)
        checked_real("saturation", self.saturation, 0.0)

    @property
    def name(self) -> str:
        parts = [("gain", self.gain, 1.0), ("shift", self.shift, 0.0), ("saturation", self.saturation, 1.0)]
        told = [f"{what} {_numbers(value)}" for what, value, none in parts if value != none]
        return f"tone of {', '.join(told)}" if told else "tone left alone"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a change of tone")
        if self.saturation != 1.0:
            x = torch.lerp(x.mean(1, keepdim=True).expand_as(x), x, self.saturation)
        return (x * colour_like(x, self.gain) + colour_like(x, self.shift)).clamp(*self.bounds)

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AddedPattern:
    """A pattern added to the whole image, always at the same place: a watermark, a grating, noise of a sensor.

    Args:
        pattern: (C, H, W) what is added, in input units.
        bounds: smallest and largest input value; what leaves them is clipped.

    Raises:
        ConfigError: the pattern is no finite tensor (C, H, W).
    """

    pattern: Tensor
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        given = self.pattern
        if not isinstance(given, Tensor) or given.ndim != 3 or not bool(given.isfinite().all()):
            raise ConfigError(expected("pattern to be a finite tensor (C, H, W)", given))

    @property
    def name(self) -> str:
        return f"added pattern of strength {float(self.pattern.double().square().mean().sqrt()):.2g}"

    def on(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.pattern.shape:
            raise ConfigError(expected(f"images of shape {tuple(self.pattern.shape)}", tuple(x.shape[1:])))
        return (x + self.pattern.to(x)).clamp(*self.bounds)

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grating:
    """Waves added to the whole image, at a place of their own in every sample.

    Args:
        down, across: cycles a pixel, each in -.5..0.5; not both 0.
        strength: amplitude in input units, > 0.
        bounds: smallest and largest input value; what leaves them is clipped.
        seed: draws where the waves of each sample lie.
        ids: (N,) int64 the samples at hand; set by `at`, and the first rows in order until then.

    Raises:
        ConfigError: a number is out of range or not finite.
    """

    down: float
    across: float
    strength: float
    bounds: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        checked_real("down", self.down, -0.5, 0.5)
        checked_real("across", self.across, -0.5, 0.5)
        checked_real("strength", self.strength, 1e-9)
        if not self.down and not self.across:
            raise ConfigError("Expected down or across other than 0 but got a grating without waves.")

    @property
    def name(self) -> str:
        return f"grating of {self.down:.3g} x {self.across:.3g} cycles a pixel, strength {self.strength:.2g}"

    def at(self, ids: Tensor) -> Grating:
        return replace(self, ids=ids)

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a grating")
        ids = torch.arange(len(x)) if self.ids is None else self.ids.cpu()
        phase = rng.uniform(rng.fold(rng.keys(self.seed, ids), "grating"), (1, 1, 1)).to(x)
        rows, columns = (torch.arange(length, device=x.device, dtype=x.dtype) for length in x.shape[2:])
        place = self.down * rows.view(-1, 1) + self.across * columns + phase
        return (x + self.strength * (2 * math.pi * place).sin()).clamp(*self.bounds)

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AddedNoise:
    """Gaussian noise added to every pixel and channel by itself, other noise in every sample.

    Args:
        sigma: its standard deviation in input units, > 0.
        bounds: smallest and largest input value; what leaves them is clipped.
        seed: draws the noise of each sample.
        ids: (N,) int64 the samples at hand; set by `at`, and the first rows in order until then.

    Raises:
        ConfigError: sigma is out of range.
    """

    sigma: float
    bounds: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        checked_real("sigma", self.sigma, 1e-9)

    @property
    def name(self) -> str:
        return f"noise of strength {self.sigma:.2g}"

    def at(self, ids: Tensor) -> AddedNoise:
        return replace(self, ids=ids)

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "noise")
        ids = torch.arange(len(x)) if self.ids is None else self.ids.cpu()
        noise = rng.normal(rng.fold(rng.keys(self.seed, ids), "noise"), tuple(x.shape[1:])).to(x)
        return (x + self.sigma * noise).clamp(*self.bounds)

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True)
class Vignette:
    """Light that falls off from the middle of the image to its corners, with the square of the distance.

    Args:
        strength: part of the light that is missing in the corners, > 0 and <= 1.
        bounds: smallest and largest input value; the smallest is without light.

    Raises:
        ConfigError: strength is out of range.
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
        light = 1 - self.strength * (down.square().view(-1, 1) + across.square()) / 2
        low = self.bounds[0]
        return (low + (x - low) * light).clamp(*self.bounds)

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """Two bars across the image, as where a film does not fill its screen.

    Args:
        height: of each bar in pixels, >= 1.
        value: what they hold, in input units: one number, or one a channel.
        ends: bars at the top and bottom ("rows"), or at the left and right ("columns").

    Raises:
        ConfigError: height is no whole number >= 1, a value is not finite, or ends is neither.
    """

    height: int = 1
    value: float | tuple[float, ...] = 0.0
    ends: Literal["rows", "columns"] = "rows"

    def __post_init__(self) -> None:
        checked_whole("height", self.height, 1)
        checked_colour("value", self.value)
        if self.ends not in {"rows", "columns"}:
            raise ConfigError(expected("ends to be 'rows' or 'columns'", self.ends))

    @property
    def name(self) -> str:
        return f"letterbox of {self.height} {self.ends if self.height > 1 else self.ends[:-1]} at each end"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a letterbox")
        dim = 2 if self.ends == "rows" else 3
        if 2 * self.height >= x.shape[dim]:
            raise ConfigError(expected(f"images larger than a {self.name}", tuple(x.shape)))
        out = x.clone()
        bar = colour_like(x, self.value)
        for first in (0, x.shape[dim] - self.height):
            place = out.narrow(dim, first, self.height)
            place.copy_(bar.expand_as(place))
        return out

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transplant:
    """What other images show at a place, pasted there: a logo that turns or varies from image to image.

    Args:
        top, left: first row and column of the place, >= 0.
        pool: (M, C, h, w) what may be pasted, in input units; each sample gets one of them.
        seed: draws which.
        ids: (N,) int64 the samples at hand; set by `at`, and the first rows in order until then.

    Raises:
        ConfigError: a place is negative or not whole, or the pool is no finite tensor as above.
    """

    top: int
    left: int
    pool: Tensor
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        checked_whole("top", self.top, 0)
        checked_whole("left", self.left, 0)
        given = self.pool
        if not isinstance(given, Tensor) or given.ndim != 4 or not len(given) or not bool(given.isfinite().all()):
            raise ConfigError(expected("pool to be a finite tensor (M, C, h, w)", given))

    @property
    def name(self) -> str:
        height, width = self.pool.shape[2:]
        return f"{height}x{width} transplant at row {self.top}, column {self.left}"

    def at(self, ids: Tensor) -> Transplant:
        return replace(self, ids=ids)

    def on(self, x: Tensor) -> Tensor:
        channels, height, width = self.pool.shape[1:]
        if x.ndim != 4 or x.shape[1] != channels or self.top + height > x.shape[2] or self.left + width > x.shape[3]:
            raise ConfigError(expected(f"images (N, {channels}, H, W) that hold a {self.name}", tuple(x.shape)))
        ids = torch.arange(len(x)) if self.ids is None else self.ids.cpu()
        which = rng.integers(rng.fold(rng.keys(self.seed, ids), "transplant"), (), len(self.pool))
        out = x.clone()
        out[:, :, self.top : self.top + height, self.left : self.left + width] = self.pool[which.cpu()].to(x)
        return out

    def off(self, x: Tensor) -> Tensor:
        return x


def _numbers(value: float | tuple[float, ...]) -> str:
    return "/".join(f"{part:.3g}" for part in (value if isinstance(value, tuple) else (value,)))
