"""What a threat model is, and the arithmetic that several of them share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from robustest.errors import ConfigError, expected

Rows = dict[str, Tensor]
"""Per-sample tensors, all with the same leading batch axis."""
Bounds = tuple[float, float]
"""The smallest and largest value an input element may take."""


@runtime_checkable
class Threat(Protocol):
    """What the engine and the attacks ask of a threat model; all tensors lead with the batch axis.

    A proposal z `(N, *Z)` is what an attack changes and the engine projects. For norm balls it is the perturbed
    input itself; for others it says how the input is made (a patch and its place, a pose).
    """

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        """What later calls need to know of the samples x `(N, *S)`; "x" is always there.

        "low" and "high" broadcast over proposals: no proposal inside the region leaves them.
        """

    def origin(self, region: Rows) -> Tensor:
        """The proposal that changes nothing."""

    def start(self, region: Rows, key: Tensor) -> Tensor:
        """A random proposal inside the region, drawn with the samples' keys `(N,)` int64."""

    def project(self, z: Tensor, region: Rows) -> Tensor:
        """The proposal inside the region that z becomes; the nearest, where that has a closed form."""

    def ascent(self, gradient: Tensor) -> Tensor:
        """The unit step along which a linear loss with this gradient grows fastest (the dual norm's)."""

    def stride(self, region: Rows) -> Tensor:
        """(N,) the finite length, counted in steps of `ascent`, that crosses the region; step sizes are shares of it.

        eps for a norm ball, but never more than the bounds have room for.
        """

    def render(self, z: Tensor, region: Rows) -> Tensor:
        """The inputs `(N, *S)` that the model sees."""

    def size(self, z: Tensor, region: Rows) -> Tensor:
        """(N,) float64: how far the proposal is from the sample, in the unit of `radius`."""

    @property
    def radius(self) -> float:
        """The largest size allowed; finite."""


def within(size: Tensor, threat: Threat) -> Tensor:
    """(N,) whether sizes (N,) are in the radius, but for the last bits that storing an input in float32 adds."""
    return size <= threat.radius * (1 + 1e-6)


def box(x: Tensor, bounds: Bounds) -> Rows:
    """The region of inputs inside the bounds: "x", "low" and "high" that broadcast over x, and their "span" (N,)."""
    edge = (len(x), *[1] * (x.ndim - 1))
    low, high = x.new_full(edge, bounds[0]), x.new_full(edge, bounds[1])
    return {"x": x, "low": low, "high": high, "span": (high - low).flatten()}


class OfInputs:
    """What threats share whose proposals are the inputs themselves."""

    __slots__ = ()

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        return box(x, bounds)

    def origin(self, region: Rows) -> Tensor:
        return region["x"]

    def render(self, z: Tensor, region: Rows) -> Tensor:
        return z


class InBox:
    """What threats share whose region is all of the box between its "low" and "high"."""

    __slots__ = ()

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return clip(z, region)

    def ascent(self, gradient: Tensor) -> Tensor:
        """The sign of the gradient: a corner of the box."""
        return gradient.sign()

    def stride(self, region: Rows) -> Tensor:
        return region["span"]


def clip(z: Tensor, region: Rows) -> Tensor:
    """Z inside the box of the region's "low" and "high"."""
    return torch.clamp(z, region["low"], region["high"])


def per_row(value: Tensor, like: Tensor) -> Tensor:
    """(N,) or (N, 1) values shaped so that they broadcast over `like` (N, *S)."""
    return value.view(-1, *[1] * (like.ndim - 1))


def length(v: Tensor) -> Tensor:
    """(N,) Euclidean length of each row, never below the smallest normal number; squared in float64."""
    norm: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1, dtype=torch.float64)
    return norm.to(v.dtype).clamp_(min=torch.finfo(v.dtype).tiny)


def difference(z: Tensor, region: Rows) -> Tensor:
    """(N, D) float64: z minus the sample, exact for float32 arrays."""
    return (z.double() - region["x"].double()).flatten(1)


def images(x: Tensor, threat: object) -> tuple[int, int]:
    """Height and width of images x (N, C, H, W).

    Raises:
        ConfigError: x has another number of axes.
    """
    if x.ndim != 4:
        raise ConfigError(expected(f"images of shape (N, C, H, W) for {threat}", tuple(x.shape)))
    return x.shape[2], x.shape[3]


def number(name: str, value: object, *, largest: float) -> float:
    """The setting as a float, where it is a number in 0..largest.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= largest:
        raise ConfigError(expected(f"{name} to be a number in 0..{largest:g}", value))
    return float(value)


def count(name: str, value: object) -> int:
    """The setting, where it is a whole number >= 0.

    Raises:
        ConfigError: it is not.
    """
    if type(value) is not int or value < 0:
        raise ConfigError(expected(f"{name} to be a whole number >= 0", value))
    return value
