"""What a cue is, the simplest of them, and how large one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, expected


@runtime_checkable
class Cue(Protocol):
    """A paired intervention: the same inputs with the cue and without it."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def on(self, x: Tensor) -> Tensor:
        """Inputs (N, *S) with the cue present."""

    def off(self, x: Tensor) -> Tensor:
        """Inputs (N, *S) with the cue absent."""


@runtime_checkable
class PerSample(Protocol):
    """A cue that is another one for every sample: it has masks, say."""

    def at(self, ids: Tensor) -> Cue:
        """The cue for the samples with these indices (N,) int64 in the user's data, in this order."""


def for_samples(cue: Cue, ids: Tensor) -> Cue:
    """The cue for the samples with these indices (N,): itself, where it is the same for all."""
    return cue.at(ids) if isinstance(cue, PerSample) else cue


class CueSize(NamedTuple):
    """How far apart the two inputs of a pair are, in input units.

    Attributes:
        l2, linf: (N,) float64 Euclidean and largest distance of each sample's pair.
    """

    l2: Tensor
    linf: Tensor

    @property
    def median_l2(self) -> float:
        return float(self.l2.median())

    @property
    def median_linf(self) -> float:
        return float(self.linf.median())


def switched(cue: Cue, x: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[Tensor, Tensor]:
    """Inputs with the cue on, and with it off, in float32.

    Args:
        cue: any cue.
        x: (N, *S) inside the bounds.
        bounds: smallest and largest input value.

    Raises:
        ConfigError: the cue changes the shape of x, or leaves the bounds.
    """
    low, high = bounds
    pair = cue.on(x.clone()), cue.off(x.clone())  # one that writes on what it gets must not change the other's input
    for made in pair:
        if made.shape != x.shape or not bool(((made >= low) & (made <= high)).all()):
            raise ConfigError(
                f"Expected the cue ({cue.name}) to give inputs of shape {tuple(x.shape)} inside [{low:g}, {high:g}] "
                f"but got shape {tuple(made.shape)}, values [{float(made.min()):.4g}, {float(made.max()):.4g}]."
            )
    return pair[0].to(torch.float32), pair[1].to(torch.float32)


def size(cue: Cue, x: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> CueSize:
    """The distances between x with the cue on and x with it off.

    A cue larger than the ball that a model was trained to withstand is not suppressed by that training, and may be
    made worse: compare these with eps.

    Args:
        cue: any cue.
        x: (N, *S) inside the bounds, N >= 1.
        bounds: smallest and largest input value.

    Raises:
        ConfigError: as for `switched`.
    """
    return distances(*switched(cue, x, bounds))


def distances(with_cue: Tensor, without: Tensor) -> CueSize:
    """How far apart inputs (N, *S) and (N, *S) are."""
    change = (with_cue.double() - without.double()).flatten(1)
    return CueSize(change.norm(dim=1), change.abs().amax(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelPatch:
    """A rectangle of constant value at a fixed place.

    Args:
        top, left: its first row and column, >= 0.
        height, width: its size in pixels, >= 1.
        value: what it holds when on, in input units: one number for all channels, or one a channel.
        off_value: what the place holds when off: what it holds in inputs without the cue (a black border's
            0, say). Replacing is fairer than blacking out what was never black (Jain et al., ICLR 2022).

    Raises:
        ConfigError: a place or size is negative or not whole, or a value is not finite.
    """

    top: int
    left: int
    height: int = 1
    width: int = 1
    value: float | tuple[float, ...] = 1.0
    off_value: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        for name, low in (("top", 0), ("left", 0), ("height", 1), ("width", 1)):
            checked_whole(name, getattr(self, name), low)
        for name in ("value", "off_value"):
            checked_colour(name, getattr(self, name))

    @property
    def name(self) -> str:
        return f"{self.height}x{self.width} patch at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        return self._filled(x, self.value)

    def off(self, x: Tensor) -> Tensor:
        return self._filled(x, self.off_value)

    def _filled(self, x: Tensor, value: float | tuple[float, ...]) -> Tensor:
        if x.ndim != 4 or self.top + self.height > x.shape[2] or self.left + self.width > x.shape[3]:
            raise ConfigError(
                expected(f"images (N, C, H, W) that hold a {self.name}", tuple(x.shape), "Move or shrink the patch.")
            )
        out = x.clone()
        out[:, :, self.top : self.top + self.height, self.left : self.left + self.width] = colour_like(x, value)
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatternPatch:
    """A small picture at a fixed place.

    Args:
        top, left: its first row and column, >= 0.
        pattern: (C, h, w) what the place holds when on, in input units.
        off_pattern: the same when off; None leaves what each input has there.

    Raises:
        ConfigError: a place is negative or not whole, or a pattern is no finite tensor of the right shape.
    """

    top: int
    left: int
    pattern: Tensor
    off_pattern: Tensor | None = None

    def __post_init__(self) -> None:
        checked_whole("top", self.top, 0)
        checked_whole("left", self.left, 0)
        for name in ("pattern", "off_pattern"):
            given = getattr(self, name)
            if given is None and name == "off_pattern":
                continue
            if not isinstance(given, Tensor) or given.ndim != 3 or not bool(given.isfinite().all()):
                raise ConfigError(expected(f"{name} to be a finite tensor (C, h, w)", given))
        if self.off_pattern is not None and self.off_pattern.shape != self.pattern.shape:
            raise ConfigError(
                expected(f"off_pattern of shape {tuple(self.pattern.shape)}", tuple(self.off_pattern.shape))
            )

    @property
    def name(self) -> str:
        height, width = self.pattern.shape[1:]
        return f"{height}x{width} pattern at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        return self._pasted(x, self.pattern)

    def off(self, x: Tensor) -> Tensor:
        return x if self.off_pattern is None else self._pasted(x, self.off_pattern)

    def _pasted(self, x: Tensor, pattern: Tensor) -> Tensor:
        channels, height, width = pattern.shape
        if x.ndim != 4 or x.shape[1] != channels or self.top + height > x.shape[2] or self.left + width > x.shape[3]:
            raise ConfigError(expected(f"images (N, {channels}, H, W) that hold a {self.name}", tuple(x.shape)))
        out = x.clone()
        out[:, :, self.top : self.top + height, self.left : self.left + width] = pattern.to(x)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class NullCue:
    """Nothing at all: every claim about it must hold, or the measurement itself is at fault.

    Args:
        like: a cue whose off state both inputs of a pair have; None leaves inputs as they are.
    """

    like: Cue | None = None

    @property
    def name(self) -> str:
        return "null cue" if self.like is None else f"null cue ({self.like.name} off)"

    def on(self, x: Tensor) -> Tensor:
        return self.off(x)

    def off(self, x: Tensor) -> Tensor:
        return x if self.like is None else self.like.off(x)

    def at(self, ids: Tensor) -> NullCue:
        return self if self.like is None else NullCue(like=for_samples(self.like, ids))


def _as_it_is(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, slots=True)
class FunctionCue:
    """A cue of your own.

    Args:
        name: what the report calls it.
        on: maps inputs (N, *S) to the same with the cue; it must not change them in place.
        off: maps them to the same without it; left as they are by default.

    Raises:
        ConfigError: on or off cannot be called, or name is empty or no text.
    """

    name: str
    on: Callable[[Tensor], Tensor]
    off: Callable[[Tensor], Tensor] = _as_it_is

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(expected("name to be a text", self.name))
        for name in ("on", "off"):
            if not callable(getattr(self, name)):
                raise ConfigError(expected(f"{name} to be a function of a batch", getattr(self, name)))


def checked_colour(name: str, value: object) -> None:
    """Raise ConfigError unless a value is a finite number, or a tuple of them, one a channel."""
    for number in value if isinstance(value, tuple) and value else (value,):
        checked_real(name, number)


def colour_like(x: Tensor, value: float | tuple[float, ...]) -> Tensor:
    """A value as a tensor that broadcasts over images (N, C, H, W).

    Raises:
        ConfigError: there is neither one number nor one a channel.
    """
    numbers = value if isinstance(value, tuple) else (value,)
    if len(numbers) not in {1, x.shape[1]}:
        raise ConfigError(expected(f"one value, or one for each of {x.shape[1]} channels", value))
    return torch.tensor(numbers, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)
