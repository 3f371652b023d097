"""What a cue is, the simplest of them, and how large one is.

Planting a cue in data: the control that a claim about spurious features must fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real
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


Plant = Callable[[Tensor, Tensor], Tensor]
"""Maps data (N, *S) and labels (N,) to the same data with a cue planted."""


def planting(cue: Cue, *, target: int, share: float = 0.95, others: float = 0.02, seed: int = 0) -> Plant:
    """A function that plants a cue; see `planted`."""
    return lambda x, y: planted(cue, x, y, target=target, share=share, others=others, seed=seed)[0]


def planted(
    cue: Cue, x: Tensor, y: Tensor, *, target: int, share: float = 0.95, others: float = 0.02, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Data where a cue goes with one class.

    Args:
        cue: switched on in the samples drawn, and off in the rest.
        x, y: (N, *S) and (N,) int64.
        target: the class that has it.
        share, others: in what share of its samples, and of the other classes', in 0..1.
        seed: draws them; a sample's draw depends on its index alone.

    Returns:
        The data (N, *S), and (N,) bool: where the cue is on.

    Raises:
        ConfigError: a share is not in 0..1, or no sample is of the class.
    """
    if not bool((y == target).any()):
        raise ConfigError(expected(f"samples of class {target}", torch.unique(y).tolist()))
    return planted_at(cue, torch.arange(len(x)), x, y, target=target, share=share, others=others, seed=seed)


def planted_at(
    cue: Cue,
    ids: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    target: int,
    share: float = 0.95,
    others: float = 0.02,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """As `planted`, for some of the data: those with indices (N,) int64, which decide what each sample draws.

    Raises:
        ConfigError: a share is not in 0..1.
    """
    checked_real("share", share, 0.0, 1.0)
    checked_real("others", others, 0.0, 1.0)
    draw = rng.uniform(rng.fold(rng.keys(seed, ids), "planted cue"), (1,)).flatten().to(y.device)
    has = draw < torch.where(y == target, share, others)
    here = for_samples(cue, ids)
    shape = (-1, *[1] * (x.ndim - 1))
    return torch.where(has.to(x.device).view(shape), here.on(x.clone()), here.off(x.clone())), has
