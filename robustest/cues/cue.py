"""Cues: paired interventions on inputs, the helpers that every cue shares, and planting a cue in data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self, cast, runtime_checkable

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real, require
from robustest.errors import ConfigError, expected

Colour = float | tuple[float, ...]
"""A value in input units: one number for all channels, or one per channel."""


@runtime_checkable
class Cue(Protocol):
    """A paired intervention: the same inputs with the cue and without it."""

    @property
    def name(self) -> str:
        """The cue's name in reports."""

    def on(self, x: Tensor) -> Tensor:
        """Return inputs (N, *S) with the cue present."""

    def off(self, x: Tensor) -> Tensor:
        """Return inputs (N, *S) with the cue absent."""


@runtime_checkable
class PerSample(Protocol):
    """A cue that differs from sample to sample."""

    def at(self, ids: Tensor) -> Cue:
        """Return the cue for samples with indices (N,) int64 in the user's data."""


class Irreversible:
    """A cue that can be put into an input and not taken out of it: off leaves inputs unchanged."""

    __slots__ = ()

    def off(self, x: Tensor) -> Tensor:
        return x


class Drawn:
    """A cue that draws by the samples' indices, its field `ids`."""

    __slots__ = ()

    def at(self, ids: Tensor) -> Self:
        return cast("Self", replace(cast("Any", self), ids=ids))


def for_samples(cue: Cue, ids: Tensor) -> Cue:
    """Return the cue for the samples with indices (N,)."""
    return cue.at(ids) if isinstance(cue, PerSample) else cue


def switched(cue: Cue, x: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[Tensor, Tensor]:
    """Return inputs x (N, *S) with the cue on, and off, in float32.

    Raises:
        ConfigError: the cue changes the shape of x, or leaves the bounds.
    """
    low, high = bounds
    # A cue may write on its argument, which must not change the other input of the pair.
    pair = cue.on(x.clone()), cue.off(x.clone())
    for made in pair:
        if made.shape != x.shape or not bool(((made >= low) & (made <= high)).all()):
            raise ConfigError(
                f"Expected the cue ({cue.name}) to give inputs of shape {tuple(x.shape)} inside [{low:g}, {high:g}] "
                f"but got shape {tuple(made.shape)}, values [{float(made.min()):.4g}, {float(made.max()):.4g}]."
            )
    return pair[0].to(torch.float32), pair[1].to(torch.float32)


class CueSize(NamedTuple):
    """Distances (N,) float64 between the two inputs of each pair, in input units."""

    # A cue larger than the ball that a model was trained to withstand is not suppressed by that training.
    l2: Tensor
    linf: Tensor


def distances(with_cue: Tensor, without: Tensor) -> CueSize:
    """Return the distances between inputs (N, *S) and inputs (N, *S)."""
    change = (with_cue.double() - without.double()).flatten(1)
    return CueSize(change.norm(dim=1), change.abs().amax(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class NullCue:
    """A cue that changes nothing: a claim that fails on it shows a fault of the measurement.

    Args:
        like: a cue whose off state both inputs of a pair have.
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


def _unchanged(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, slots=True)
class FunctionCue:
    """A cue made of two functions.

    Args:
        on: maps inputs (N, *S) to the same inputs with the cue; must not change its argument.
        off: maps inputs to the same inputs without the cue; leaves them unchanged by default.
    """

    name: str
    on: Callable[[Tensor], Tensor]
    off: Callable[[Tensor], Tensor] = _unchanged

    def __post_init__(self) -> None:
        require(isinstance(self.name, str) and self.name, "name to be a text", self.name)
        for name in ("on", "off"):
            if not callable(getattr(self, name)):
                raise ConfigError(expected(f"{name} to be a function of a batch", getattr(self, name)))


def checked_colour(name: str, value: object) -> None:
    """Raise ConfigError unless a value is a finite number, or a tuple of finite numbers."""
    for number in value if isinstance(value, tuple) and value else (value,):
        checked_real(name, number)


def colour_like(x: Tensor, value: Colour) -> Tensor:
    """Return a colour as a tensor that broadcasts over images (N, C, H, W).

    Raises:
        ConfigError: the colour has neither one number nor one per channel.
    """
    numbers = value if isinstance(value, tuple) else (value,)
    if len(numbers) not in {1, x.shape[1]}:
        raise ConfigError(expected(f"one value, or one for each of {x.shape[1]} channels", value))
    return torch.tensor(numbers, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)


def checked_pattern(name: str, given: object, axes: str) -> None:
    """Raise ConfigError unless a value is a finite tensor with axes such as "(C, h, w)"."""
    if (
        not isinstance(given, Tensor)
        or given.ndim != axes.count(",") + 1
        or not len(given)
        or not bool(given.isfinite().all())
    ):
        raise ConfigError(expected(f"{name} to be a finite tensor {axes}", given))


def sample_keys(seed: int, ids: Tensor | None, x: Tensor) -> Tensor:
    """Return keys (N,) to draw from for samples x; ids None means 0..N-1."""
    return rng.keys(seed, torch.arange(len(x)) if ids is None else ids.cpu())


Plant = Callable[[Tensor, Tensor], Tensor]
"""Maps data (N, *S) and labels (N,) to the same data with a cue planted."""


def planting(cue: Cue, *, target: int, share: float = 0.95, others: float = 0.02, seed: int = 0) -> Plant:
    """Return a function that plants a cue; see `planted`."""
    return lambda x, y: planted(cue, x, y, target=target, share=share, others=others, seed=seed)[0]


def planted(
    cue: Cue,
    x: Tensor,
    y: Tensor,
    *,
    target: int,
    share: float = 0.95,
    others: float = 0.02,
    seed: int = 0,
    ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Plant a cue that goes with one class: the positive control of a claim about cues.

    Args:
        x, y: (N, *S) and (N,) int64.
        share, others: shares of the target's samples, and of other classes' samples, with the cue, in 0..1.
        ids: (N,) int64, indices of the samples in the data that they are a part of; None for all of the data.

    Returns:
        The data (N, *S), and (N,) bool: True where the cue is on.

    Raises:
        ConfigError: a share is not in 0..1, or no sample of all the data is of the class.
    """
    if ids is None:
        if not bool((y == target).any()):
            raise ConfigError(expected(f"samples of class {target}", torch.unique(y).tolist()))
        ids = torch.arange(len(x))
    checked_real("share", share, 0.0, 1.0)
    checked_real("others", others, 0.0, 1.0)
    # By index: the batch and its order do not decide which samples have the cue.
    draw = rng.uniform(rng.fold(rng.keys(seed, ids), "planted cue"), (1,)).flatten().to(y.device)
    has = draw < torch.where(y == target, share, others)
    here = for_samples(cue, ids)
    shape = (-1, *[1] * (x.ndim - 1))
    return torch.where(has.to(x.device).view(shape), here.on(x.clone()), here.off(x.clone())), has
