"""What a threat model is, and the arithmetic that several of them share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest.words import as_written

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


# The arithmetic of an L1 ball and a box at once: the nearest point, and the steepest step.


_BLOCK = 1 << 22
"""Elements that are sorted at a time: the float64 working memory is some 100 bytes an element."""


def shrunk(way: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """(N, D) float64, the moves `clamp(way - t, 0, room)` with the smallest t >= 0 that sum to eps (N, 1) or less."""
    rows = max(1, _BLOCK // max(1, way.shape[1]))
    parts = zip(*(torch.split(whole, rows) for whole in (way, room, eps)), strict=True)
    t = torch.cat([_threshold(*part) for part in parts])
    move = torch.minimum((way - t).clamp_(min=0.0), room)
    total = move.sum(1, keepdim=True)  # above eps by rounding only
    return move * (eps * (1 - 1e-12) / total.clamp(min=1e-300)).clamp_(max=1.0)


def _threshold(way: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """(N, 1) the t of `shrunk`.

    As t falls from the largest way, element i moves once t < way_i and stops once t < way_i - room_i. In between
    the sum of moves is linear, so it is known at all these points after one sort, by adding up what is positive.
    """
    stop = (way - room).clamp_(min=0.0)
    at, order = torch.cat([way, stop], 1).sort(1, descending=True)
    moving = torch.where(order < way.shape[1], 1.0, -1.0).to(way.dtype).cumsum(1)
    gain = moving[:, :-1].clamp(min=0.0) * (at[:, :-1] - at[:, 1:])
    total = torch.cat([torch.zeros_like(at[:, :1]), gain.cumsum(1)], 1)
    first = torch.searchsorted(total, eps)  # where the sum reaches eps
    never = first == total.shape[1]
    first = first.clamp_(max=total.shape[1] - 1)
    slope = moving.gather(1, (first - 1).clamp_(min=0)).clamp_(min=1.0)
    t = at.gather(1, first) + (total.gather(1, first) - eps) / slope
    return torch.where(never, torch.zeros_like(t), t)


def filled(gradient: Tensor, z: Tensor, region: Rows, length: Tensor) -> Tensor:
    """The step of at most this L1 length (N,) that a linear loss climbs most, from z inside the region's box.

    The elements of steepest gradient, the first of equals, go to their bounds one after the other until the length
    is spent.

    Args:
        gradient: (N, *S) of the loss.
        z: (N, *S) inputs inside "low" and "high".
        region: rows that have "low" and "high".
        length: (N,) >= 0, in input units.
    """
    room = torch.where(gradient > 0, region["high"] - z, z - region["low"]) * (gradient != 0)
    order = gradient.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
    room = room.flatten(1).gather(1, order).double()
    left = length.double().unsqueeze(1) - (room.cumsum(1) - room)
    spent = torch.minimum(room, left.clamp(min=0.0)).to(z.dtype)
    return gradient.sign() * torch.zeros_like(spent).scatter(1, order, spent).view_as(z)


# The norm balls L-inf, L2 and L1, and the count L0; a proposal is the perturbed input itself.


_LARGEST = float(torch.finfo(torch.float32).max)


@dataclass(frozen=True, slots=True)
class _Ball(OfInputs):
    """What the norm balls share."""

    axis: ClassVar[str] = "eps"
    """The field along which claims make a curve; see `robustest.results.Variation`."""

    eps: float

    def __post_init__(self) -> None:
        if isinstance(self.eps, bool) or not isinstance(self.eps, (int, float)):
            raise ConfigError(expected("eps to be a number >= 0", self.eps))
        if not 0 <= self.eps <= _LARGEST:
            raise ConfigError(
                expected("eps >= 0 that float32 can hold", self.eps, "Give the radius in input units, e.g. 8 / 255.")
            )
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def radius(self) -> float:
        return self.eps

    def __str__(self) -> str:
        return f"{type(self).__name__}(eps={as_written(self.eps)})"


@dataclass(frozen=True, slots=True)
class Linf(InBox, _Ball):
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
        return {**box(x, bounds), "low": low.clamp_(*bounds), "high": high.clamp_(*bounds)}

    def start(self, region: Rows, key: Tensor) -> Tensor:
        low, high = region["low"], region["high"]
        u = rng.uniform(key, low.shape[1:])
        return clip(low + u * (high - low), region)

    def stride(self, region: Rows) -> Tensor:
        return region["span"].clamp(max=self.eps)

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
        return {**box(x, bounds), "reach": x.new_full((len(x),), reach)}

    def start(self, region: Rows, key: Tensor) -> Tensor:
        x = region["x"]
        direction = self.ascent(rng.normal(rng.fold(key, "direction"), x.shape[1:]))
        drawn = rng.uniform(rng.fold(key, "radius"), (1,))
        # exp and log, and not pow: pow's last bits depend on a sample's place in the batch on some processors.
        share = (drawn.log() / max(1, x[0].numel())).exp()
        return self.project(x + direction * per_row(self.stride(region) * share.squeeze(1), x), region)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        x = region["x"]
        delta = z - x
        scale = (region["reach"] / length(delta)).clamp_(max=1.0)
        return clip(torch.addcmul(x, delta, per_row(scale, x)), region)

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient / per_row(length(gradient), gradient)

    def stride(self, region: Rows) -> Tensor:
        return (region["span"] * math.sqrt(region["x"][0].numel())).clamp(max=self.eps)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return difference(z, region).square().sum(1).sqrt()


@dataclass(frozen=True, slots=True)
class L1(_Ball):
    """The perturbation's absolute values, over all elements of a sample, sum to at most eps.

    Projection is onto the ball and the bounds at once, as Croce and Hein (ICML 2021, section 2) show that it must
    be: one after the other lands well inside both.

    Args:
        eps: radius in input units, >= 0.

    Raises:
        ConfigError: eps is negative, NaN or not a number.
    """

    def start(self, region: Rows, key: Tensor) -> Tensor:
        # Exponential shares of D + 1 parts are uniform on the simplex; all but the last are uniform inside it.
        x = region["x"]
        n = x[0].numel()
        parts = -rng.uniform(rng.fold(key, "parts"), (n + 1,)).add_(2.0**-25).log_()
        signs = rng.signs(rng.fold(key, "signs"), (n,))
        shares = signs * parts[:, :n] / parts.sum(1, keepdim=True)
        return self.project(x + per_row(self.stride(region), x) * shares.view_as(x), region)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        """The nearest point of ball and bounds, in the Euclidean sense."""
        return nearest_in_l1(z, region, region["x"].new_full((len(z),), self.eps, dtype=torch.float64))

    def ascent(self, gradient: Tensor) -> Tensor:
        """The sign of the gradient at its largest element, the first of equals, and zero elsewhere."""
        flat = gradient.flatten(1)
        at = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, at, flat.gather(1, at).sign()).view_as(gradient)

    def stride(self, region: Rows) -> Tensor:
        return (region["span"] * region["x"][0].numel()).clamp(max=self.eps)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return difference(z, region).abs().sum(1)


def nearest_in_l1(z: Tensor, region: Rows, radius: Tensor) -> Tensor:
    """The nearest point of L1 balls of these radii (N,) float64 and of the bounds, in the Euclidean sense.

    It moves every element as z does, by `clamp(|z - x| - threshold, 0, room)` where room is the way to the bound
    and the threshold is 0 or, where that is too much, the one for which the moves sum to the radius.
    """
    x = region["x"]
    clipped = clip(z, region)
    inside = difference(clipped, region).abs().sum(1) <= radius
    if x.device.type == "cpu" and bool(inside.all()):
        return clipped
    exact = x.double()
    delta = z.double() - exact
    room = torch.where(delta > 0, region["high"].double() - exact, exact - region["low"].double())
    move = shrunk(delta.abs().flatten(1), room.flatten(1), radius.unsqueeze(1)).view_as(x)
    near = (exact + torch.copysign(move, delta)).to(x.dtype)
    # Storing in float32 may have moved an element too far; step back towards the sample.
    far = (near.double() - exact).abs() > move
    near = clip(torch.where(far, torch.nextafter(near, x), near), region)
    return torch.where(per_row(inside, x), clipped, near)


@dataclass(frozen=True, slots=True)
class L0(OfInputs):
    """At most so many pixels may change, each to anything inside the bounds.

    A pixel is a position with all its channels: axis 1 of samples with three axes or more, e.g. (N, C, H, W), is
    the channels; in tabular samples (N, D) every feature counts.

    Args:
        pixels: number of pixels, >= 0.

    Raises:
        ConfigError: pixels is not a whole number >= 0.
    """

    axis: ClassVar[str] = "pixels"

    pixels: int

    def __post_init__(self) -> None:
        count("pixels", self.pixels)

    @property
    def radius(self) -> float:
        return float(self.pixels)

    def __str__(self) -> str:
        return f"L0(pixels={self.pixels})"

    def start(self, region: Rows, key: Tensor) -> Tensor:
        """Pixels chosen at random, with random values."""
        x = region["x"]
        value = region["low"] + per_row(region["span"], x) * rng.uniform(rng.fold(key, "values"), x.shape[1:])
        order = rng.uniform(rng.fold(key, "pixels"), (by_pixel(x).shape[2],))
        return clip(_at_largest(order, self.pixels, value, x), region)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        """The nearest point, in the Euclidean sense: z at the pixels where that saves the most, x elsewhere.

        Keeping a pixel saves its squared way from x to z, less what the bounds cut off: for z inside the bounds the
        pixels with the largest change are kept; of equals the first.
        """
        return sparse(z, region, self.pixels)

    def ascent(self, gradient: Tensor) -> Tensor:
        """The gradient scaled to a mean size of 1; there is no steepest step, as any size of change costs the same.

        A dense step, of which `project` keeps the pixels that gain most.
        """
        mean = gradient.abs().flatten(1).mean(1).clamp(min=torch.finfo(gradient.dtype).tiny)
        return gradient / per_row(mean, gradient)

    def stride(self, region: Rows) -> Tensor:
        """32 widths of the bounds: one of 40 steps carries an element of mean gradient from bound to bound.

        Shorter steps seldom put other pixels in the place of those that were chosen before.
        """
        return 32 * region["span"]

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return by_pixel(z != region["x"]).any(1).sum(1).double()


def by_pixel(v: Tensor) -> Tensor:
    """(N, C, P): channels and pixels of (N, C, *S); (N, 1, D) of tabular (N, D)."""
    return v.flatten(2) if v.ndim > 2 else v.unsqueeze(1)


def sparse(z: Tensor, region: Rows, pixels: int | Tensor) -> Tensor:
    """The nearest point inside the bounds with at most so many pixels changed; `pixels` may differ by row (N,)."""
    x = region["x"]
    clipped = clip(z, region)
    way, cut = z.double() - x.double(), z.double() - clipped.double()
    # way^2 - cut^2, without their cancellation
    saved = by_pixel((clipped.double() - x.double()) * (way + cut)).sum(1)
    return _at_largest(saved, pixels, clipped, x)


def _at_largest(score: Tensor, pixels: int | Tensor, z: Tensor, x: Tensor) -> Tensor:
    """Z at the pixels of largest score (N, P), the first of equals, and x elsewhere."""
    order = score.argsort(dim=1, descending=True, stable=True)
    rank = torch.arange(score.shape[1], device=score.device)
    chosen = rank < (pixels.unsqueeze(1) if isinstance(pixels, Tensor) else pixels)
    kept = torch.zeros_like(score, dtype=torch.bool).scatter(1, order, chosen.expand_as(order))
    return torch.where(kept.unsqueeze(1), by_pixel(z), by_pixel(x)).reshape(x.shape)


# No limit but the bounds: for checks that an attack can break a model at all.


@dataclass(frozen=True, slots=True)
class Unbounded(InBox, OfInputs):
    """Anything inside the bounds. An attack that does not break nearly everything here is itself broken.

    Sizes are the largest change as a share of the bounds' width, so the radius is 1: from one bound to the other.
    """

    @property
    def radius(self) -> float:
        return 1.0

    def __str__(self) -> str:
        return "Unbounded()"

    def start(self, region: Rows, key: Tensor) -> Tensor:
        x = region["x"]
        return clip(region["low"] + per_row(region["span"], x) * rng.uniform(key, x.shape[1:]), region)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        span = (region["high"].double() - region["low"].double()).flatten()
        return difference(z, region).abs().amax(1) / span
