"""Threat models: which inputs an attacker may choose, as pure functions on batched tensors.

A threat says what can be reached from a sample (`region`), brings any proposal back into it
(`project`), turns a proposal into the input the model sees (`render`), and measures it (`size`).
Works for any input shape `(N, *S)`; `eps` is in the input's own units.

For norm balls a proposal *is* the perturbed input. Projections are exact in the stored float32
arrays: the difference to the sample, computed in float64, never exceeds eps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected

Rows = dict[str, Tensor]
"""Per-sample tensors, all with the same leading batch axis."""
Bounds = tuple[float, float]
"""The smallest and largest value an input element may take."""


@runtime_checkable
class Threat(Protocol):
    """What the engine and the attacks ask of a threat model; all tensors lead with the batch axis."""

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        """What later calls need to know of the samples x `(N, *S)`; "x" is always there."""

    def origin(self, region: Rows) -> Tensor:
        """The proposal that changes nothing."""

    def start(self, region: Rows, key: Tensor) -> Tensor:
        """A random proposal inside the region, drawn with the samples' keys `(N,)` int64."""

    def project(self, z: Tensor, region: Rows) -> Tensor:
        """The proposal inside the region that z becomes; the nearest, where that has a closed form."""

    def ascent(self, gradient: Tensor) -> Tensor:
        """The unit step along which a linear loss with this gradient grows fastest (the dual norm's)."""

    def render(self, z: Tensor, region: Rows) -> Tensor:
        """The inputs `(N, *S)` that the model sees."""

    def size(self, z: Tensor, region: Rows) -> Tensor:
        """(N,) float64: how far the proposal is from the sample, in the unit of eps."""

    @property
    def radius(self) -> float:
        """The largest size allowed."""


@dataclass(frozen=True, slots=True)
class _Ball:
    """What the norm balls share; a proposal is the perturbed input itself."""

    eps: float

    def __post_init__(self) -> None:
        if isinstance(self.eps, bool) or not isinstance(self.eps, (int, float)):
            raise ConfigError(expected("eps to be a number >= 0", self.eps))
        if math.isnan(self.eps) or self.eps < 0:
            raise ConfigError(expected("eps >= 0", self.eps, "Give the radius in input units, e.g. 8 / 255."))
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def radius(self) -> float:
        return self.eps

    def __str__(self) -> str:
        return f"{type(self).__name__}(eps={self.eps:.4g})"

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        edge = (len(x), *[1] * (x.ndim - 1))
        return {"x": x, "low": x.new_full(edge, bounds[0]), "high": x.new_full(edge, bounds[1])}

    def origin(self, region: Rows) -> Tensor:
        return region["x"]

    def render(self, z: Tensor, region: Rows) -> Tensor:
        return z


@dataclass(frozen=True, slots=True)
class Linf(_Ball):
    """Every input element may move by at most eps.

    Args:
        eps: radius in input units, >= 0.

    Raises:
        ConfigError: eps is negative, NaN or not a number.
    """

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        exact = x.double()
        low, high = (exact - self.eps).to(x.dtype), (exact + self.eps).to(x.dtype)
        # Rounding to float32 may have left the ball by less than one step; step back inside.
        low = torch.where(exact - low.double() > self.eps, torch.nextafter(low, x), low)
        high = torch.where(high.double() - exact > self.eps, torch.nextafter(high, x), high)
        return {"x": x, "low": low.clamp_(*bounds), "high": high.clamp_(*bounds)}

    def start(self, region: Rows, key: Tensor) -> Tensor:
        low, high = region["low"], region["high"]
        u = rng.uniform(key, low.shape[1:])
        return clip(low + u * (high - low), region)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return clip(z, region)

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return difference(z, region).abs().amax(1)


@dataclass(frozen=True, slots=True)
class L2(_Ball):
    """The perturbation's Euclidean length, over all elements of a sample, is at most eps.

    Args:
        eps: radius in input units, >= 0.

    Raises:
        ConfigError: eps is negative, NaN or not a number.
    """

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        # Storing x + delta in float32 errs by half a unit in the last place an element; stay that far inside.
        rounding = math.sqrt(x[0].numel() if len(x) else 1) * max(abs(bounds[0]), abs(bounds[1])) * 2.0**-24
        reach = max(0.0, self.eps * (1 - 1e-6) - rounding)
        return {**_Ball.region(self, x, bounds), "reach": x.new_full((len(x),), reach)}

    def start(self, region: Rows, key: Tensor) -> Tensor:
        x = region["x"]
        direction = self.ascent(rng.normal(rng.fold(key, "direction"), x.shape[1:]))
        radius = self.eps * rng.uniform(rng.fold(key, "radius"), (1,)).pow(1 / max(1, x[0].numel()))
        return self.project(x + direction * per_row(radius, x), region)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        x = region["x"]
        delta = z - x
        scale = (region["reach"] / length(delta)).clamp_(max=1.0)
        return clip(torch.addcmul(x, delta, per_row(scale, x)), region)

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient / per_row(length(gradient), gradient)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return difference(z, region).square().sum(1).sqrt()


def clip(z: Tensor, region: Rows) -> Tensor:
    """Z inside the box of the region's "low" and "high"."""
    return torch.clamp(z, region["low"], region["high"])


def per_row(value: Tensor, like: Tensor) -> Tensor:
    """(N,) or (N, 1) values shaped so that they broadcast over `like` (N, *S)."""
    return value.view(-1, *[1] * (like.ndim - 1))


def length(v: Tensor) -> Tensor:
    """(N,) Euclidean length of each row, never below the smallest normal number."""
    norm: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1)
    return norm.clamp_(min=1e-30)


def difference(z: Tensor, region: Rows) -> Tensor:
    """(N, D) float64: z minus the sample, exact for float32 arrays."""
    return (z.double() - region["x"].double()).flatten(1)
