"""The protocol of a threat model, the arithmetic that threats share, and the norm balls."""

# For norm balls a proposal z is the perturbed input itself, and project(z) is its nearest point in ball and box:
#
# - L-inf: clip z to [x - eps, x + eps] and the bounds, both ends rounded inwards.
# - L2: x + (z - x) * min(1, r / |z - x|), then the bounds; r is eps less the rounding of storing x + delta in float32.
# - Snr: as L2, with eps = 10^(-db / 20) |x|.
# - L1: move each element by min(max(|z - x| - t, 0), room) towards z, with the smallest t >= 0 for which the moves sum
#   to eps. Ball and bounds at once, as Croce and Hein (ICML 2021, section 2) show that it must be: one after the other
#   lands well inside both.
# - L0: keep z at the k pixels where that saves the largest squared distance, x elsewhere.
#
# Projections are exact in the stored float32 arrays: the difference to the sample, computed in float64, never exceeds
# eps. Sums over elements are taken in float64, so that a row does not depend on the batch that it is in.

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.checks import require
from robustest.errors import ConfigError, expected
from robustest.words import as_written

Rows = dict[str, Tensor]
"""Per-sample tensors, all with the same leading batch axis."""
Bounds = tuple[float, float]
"""The smallest and largest value an input element may take."""


@runtime_checkable
class Threat(Protocol):
    """A threat model; all tensors lead with the batch axis.

    A proposal z `(N, *Z)` is the tensor that an attack changes: the input itself for norm balls, else its parameters (a
    patch and its place, a pose).
    """

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        """Return the tensors that later calls need of the samples x `(N, *S)`: "x", and "low" and "high" of
        proposals.
        """

    def origin(self, region: Rows) -> Tensor:
        """Return the proposal that changes nothing."""

    def start(self, region: Rows, key: Tensor) -> Tensor:
        """Return a random proposal inside the region, by the samples' keys `(N,)` int64."""

    def project(self, z: Tensor, region: Rows) -> Tensor:
        """Return z inside the region: the nearest proposal, if that has a closed form."""

    def ascent(self, gradient: Tensor) -> Tensor:
        """Return the unit step along which a linear loss with this gradient grows fastest."""

    def stride(self, region: Rows) -> Tensor:
        """Return (N,) the length, in steps of `ascent`, that crosses the region: eps for a ball, or the bounds'
        room.
        """

    def render(self, z: Tensor, region: Rows) -> Tensor:
        """Return the model's inputs `(N, *S)`."""

    def size(self, z: Tensor, region: Rows) -> Tensor:
        """Return (N,) float64: the proposal's distance from the sample, in the unit of `radius`."""

    @property
    def radius(self) -> float:
        """The largest size allowed; finite."""


@runtime_checkable
class Discrete(Threat, Protocol):
    """A threat whose proposals are reached by single moves: a column set to a value, a letter exchanged.

    A move is a place and a choice at that place. Places and choices are numbered by each row, from 0.

    A threat may have a method `repeated(number, region, key)`, which returns proposals that make one move as often as
    allowed; numbers (N,) int64 count through the moves.
    """

    def places(self, z: Tensor, region: Rows) -> Tensor:
        """Return (N,) int64: the number of places at which proposals z may change."""

    def choices(self, z: Tensor, place: Tensor, region: Rows) -> Tensor:
        """Return (N,) int64: the number of moves at places (N,) int64; neighbouring numbers are similar moves."""

    def moved(self, z: Tensor, place: Tensor, choice: Tensor, region: Rows) -> Tensor:
        """Return z after a move of each row, (N,) int64 each; z itself where the move is not allowed.

        At the largest number of changes a move may put another change back instead.
        """

    def points(self, region: Rows) -> Tensor:
        """Return (N,) float64: the number of different inputs that the region holds, or more; inf if it is not known.

        Inputs that get the same answer from every model that the threat was made for count as one.
        """

    def point(self, number: Tensor, region: Rows) -> Tensor:
        """Return (N, L, *Z): the proposals of numbers (N, L) int64, those of few changes first.

        Numbers 0 to `points` - 1 give every input of a region of finite size; larger ones any proposal.
        """


def is_discrete(threat: Threat | None) -> TypeGuard[Discrete]:
    """Return True for a threat of moves: `isinstance` says the same, and takes thirty times as long for a ball."""
    moves = hasattr(threat, "places") and hasattr(threat, "choices") and hasattr(threat, "moved")
    return moves and hasattr(threat, "points") and hasattr(threat, "point")


def rendered(threat: Threat, z: Tensor, region: Rows) -> Tensor:
    """Return the model's inputs `(N, *S)`; where a threat's `feasible` denies an input, the unchanged sample.

    `feasible(x, region)` is an optional method of a threat: it returns (N,) bool for inputs x that it rendered.
    """
    x = threat.render(z, region)
    feasible = getattr(threat, "feasible", None)
    if feasible is None:
        return x
    with torch.no_grad():
        allowed = per_row(feasible(x.detach(), region), x)
    # The difference is zero: it lets the gradient through to proposals that are not feasible yet.
    return torch.where(allowed, x, region["x"] + (x - x.detach()) if x.requires_grad else region["x"])


def within(size: Tensor, threat: Threat) -> Tensor:
    """Return (N,) bool: sizes (N,) within the radius, up to the rounding of stored inputs."""
    return size <= threat.radius * (1 + 1e-6)


def box(x: Tensor, bounds: Bounds) -> Rows:
    """Return the region of all inputs inside the bounds, with "span" (N,)."""
    edge = (len(x), *[1] * (x.ndim - 1))
    low, high = x.new_full(edge, bounds[0]), x.new_full(edge, bounds[1])
    return {"x": x, "low": low, "high": high, "span": (high - low).flatten()}


class OfInputs:
    """Threats whose proposals are inputs."""

    __slots__ = ()

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        return box(x, bounds)

    def origin(self, region: Rows) -> Tensor:
        return region["x"]

    def render(self, z: Tensor, region: Rows) -> Tensor:
        return z


class InBox:
    """Threats whose region is all of the box between "low" and "high"."""

    __slots__ = ()

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return clip(z, region)

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def stride(self, region: Rows) -> Tensor:
        return region["span"]


def clip(z: Tensor, region: Rows) -> Tensor:
    """Return z inside the region's "low" and "high"."""
    return torch.clamp(z, region["low"], region["high"])


def per_row(value: Tensor, like: Tensor) -> Tensor:
    """Return values (N,) or (N, 1) in a shape that broadcasts over `like` (N, *S)."""
    return value.view(-1, *[1] * (like.ndim - 1))


def length(v: Tensor) -> Tensor:
    """Return (N,) Euclidean lengths of rows, at least the smallest normal number; squares are in float64."""
    norm: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1, dtype=torch.float64)
    return norm.to(v.dtype).clamp_(min=torch.finfo(v.dtype).tiny)


def difference(z: Tensor, region: Rows) -> Tensor:
    """Return (N, D) float64: z minus the sample, exact for float32 arrays."""
    return (z.double() - region["x"].double()).flatten(1)


def images(x: Tensor, threat: object) -> tuple[int, int]:
    """Return height and width of images x (N, C, H, W); raise ConfigError for another number of axes."""
    require(x.ndim == 4, f"images of shape (N, C, H, W) for {threat}", tuple(x.shape))
    return x.shape[2], x.shape[3]


def number(name: str, value: object, *, largest: float) -> float:
    """Return a setting as a float; raise ConfigError outside 0..largest."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= largest:
        raise ConfigError(expected(f"{name} to be a number in 0..{largest:g}", value))
    return float(value)


def count(name: str, value: object) -> int:
    """Return a setting; raise ConfigError if it is no whole number >= 0."""
    if type(value) is not int or value < 0:
        raise ConfigError(expected(f"{name} to be a whole number >= 0", value))
    return value


# An L1 ball and a box at once: the nearest point, and the steepest step


# Elements that are sorted at a time: the float64 working memory is some 100 bytes per element.
_BLOCK = 1 << 22


def shrunk(way: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """Return (N, D) float64 moves `clamp(way - t, 0, room)` for the smallest t >= 0 whose moves sum to at most eps."""
    rows = max(1, _BLOCK // max(1, way.shape[1]))
    parts = zip(*(torch.split(whole, rows) for whole in (way, room, eps)), strict=True)
    t = torch.cat([_threshold(*part) for part in parts])
    move = torch.minimum((way - t).clamp_(min=0.0), room)
    total = move.sum(1, keepdim=True)  # above eps by rounding only
    return move * (eps * (1 - 1e-12) / total.clamp(min=1e-300)).clamp_(max=1.0)


def _threshold(way: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    # As t falls from the largest way, element i moves once t < way_i and stops once t < way_i - room_i. In between the
    # sum of moves is linear, so that one sort and a cumulative sum give it at all these points.
    stop = (way - room).clamp_(min=0.0)
    at, order = torch.cat([way, stop], 1).sort(1, descending=True)
    moving = devices.running_sum(torch.where(order < way.shape[1], 1.0, -1.0).to(way.dtype), 1)
    gain = moving[:, :-1].clamp(min=0.0) * (at[:, :-1] - at[:, 1:])
    total = torch.cat([torch.zeros_like(at[:, :1]), devices.running_sum(gain, 1)], 1)
    first = torch.searchsorted(total, eps)  # the point at which the sum reaches eps
    never = first == total.shape[1]
    first = first.clamp_(max=total.shape[1] - 1)
    slope = moving.gather(1, (first - 1).clamp_(min=0)).clamp_(min=1.0)
    t = at.gather(1, first) + (total.gather(1, first) - eps) / slope
    return torch.where(never, torch.zeros_like(t), t)


def filled(gradient: Tensor, z: Tensor, region: Rows, length: Tensor) -> Tensor:
    """Return the step of at most this L1 length (N,) that a linear loss climbs most, from z inside the region's
    box.
    """
    room = torch.where(gradient > 0, region["high"] - z, z - region["low"]) * (gradient != 0)
    # The elements of steepest gradient, the first of equals, go to their bounds one after the other until the length is
    # spent.
    order = gradient.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
    room = room.flatten(1).gather(1, order).double()
    left = length.double().unsqueeze(1) - (room.cumsum(1) - room)
    spent = torch.minimum(room, left.clamp(min=0.0)).to(z.dtype)
    return gradient.sign() * torch.zeros_like(spent).scatter(1, order, spent).view_as(z)


# The balls


_LARGEST = float(torch.finfo(torch.float32).max)


@dataclass(frozen=True, slots=True)
class _Ball(OfInputs):
    # The field along which claims make a curve; see `robustest.results.Variation`.
    axis: ClassVar[str] = "eps"

    eps: float

    def __post_init__(self) -> None:
        if isinstance(self.eps, bool) or not isinstance(self.eps, (int, float)):
            raise ConfigError(expected("eps to be a number >= 0", self.eps, "Write it without quotes, e.g. 8 / 255."))
        require(
            0 <= self.eps <= _LARGEST,
            "eps >= 0 that float32 can hold",
            self.eps,
            "Give the radius in input units, e.g. 8 / 255.",
        )
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def radius(self) -> float:
        return self.eps

    def __str__(self) -> str:
        return f"{type(self).__name__}(eps={as_written(self.eps)})"


@dataclass(frozen=True, slots=True)
class Linf(InBox, _Ball):
    """Every input element may move by at most eps, in input units, >= 0."""

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


def _inside_l2(x: Tensor, bounds: Bounds) -> float:
    """Return the Euclidean distance by which stored inputs may miss the wanted ones."""
    # Storing x + delta in float32 errs by half a unit in the last place an element.
    return math.sqrt(x[0].numel() if len(x) else 1) * max(abs(bounds[0]), abs(bounds[1])) * 2.0**-24


class Euclidean(OfInputs, ABC):
    """Threats whose regions are Euclidean balls and the bounds; "reach" (N,) has the radii less the rounding."""

    __slots__ = ()

    @abstractmethod
    def radii(self, region: Rows) -> Tensor:
        """Return (N,) the radii in input units."""

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
        return (region["span"] * math.sqrt(region["x"][0].numel())).minimum(self.radii(region))

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return difference(z, region).square().sum(1).sqrt()


@dataclass(frozen=True, slots=True)
class L2(Euclidean, _Ball):
    """The perturbation's Euclidean length, over all elements of a sample, is at most eps, in input units, >= 0."""

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        reach = max(0.0, self.eps * (1 - 1e-6) - _inside_l2(x, bounds))  # inside, however the point is rounded
        return {**box(x, bounds), "reach": x.new_full((len(x),), reach)}

    def radii(self, region: Rows) -> Tensor:
        return torch.full_like(region["span"], self.eps)


_QUIETEST = 300.0


@dataclass(frozen=True, slots=True)
class Snr(Euclidean):
    """The perturbation is at least `db` decibels quieter than the sample: a ball by each sample's own energy.

    The signal-to-noise ratio is 10 log10(sum x^2 / sum delta^2) over all elements of a sample. The size is
    |delta| / |x|, and the radius 10^(-db / 20); results and reports give both as ratios in dB. Nothing may be added to
    silence.

    Args:
        db: the lowest ratio, in dB, within 300 either way.
    """

    axis: ClassVar[str] = "db"

    db: float

    def __post_init__(self) -> None:
        if isinstance(self.db, bool) or not isinstance(self.db, (int, float)) or not abs(self.db) <= _QUIETEST:
            raise ConfigError(expected(f"db to be a number in -{_QUIETEST:g}..{_QUIETEST:g}", self.db))
        object.__setattr__(self, "db", float(self.db))

    @property
    def radius(self) -> float:
        return float(10.0 ** (-self.db / 20))

    def __str__(self) -> str:
        return f"Snr({self.db:g} dB)"

    def ratio(self, size: float) -> float:
        """Return the signal-to-noise ratio, in dB, of a change of this size > 0."""
        return -20 * math.log10(size)

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        loudness: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float64)
        # Quiet samples are rounded by less than the bounds could be, and a quiet radius must not drown in that.
        reach = loudness * (self.radius * (1 - 1e-6))
        largest = x.abs().flatten(1).amax(1).double() + reach if x.numel() else reach
        reach = (reach - largest * _inside_l2(x, (-1.0, 1.0))).clamp(min=0.0)
        return {**box(x, bounds), "reach": reach.to(x.dtype), "loudness": loudness}

    def radii(self, region: Rows) -> Tensor:
        return (region["loudness"] * self.radius).to(region["span"].dtype)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        size = Euclidean.size(self, z, region)
        # 0 / 0 is no change of silence; any change of silence is infinitely loud.
        return torch.where(size > 0, size / region["loudness"], size)


@dataclass(frozen=True, slots=True)
class L1(_Ball):
    """The perturbation's absolute values, over all elements of a sample, sum to at most eps, in input units, >= 0."""

    def start(self, region: Rows, key: Tensor) -> Tensor:
        # Exponential shares of D + 1 parts are uniform on the simplex; all but the last are uniform inside it.
        x = region["x"]
        n = x[0].numel()
        parts = -rng.uniform(rng.fold(key, "parts"), (n + 1,)).add_(2.0**-25).log_()
        signs = rng.signs(rng.fold(key, "signs"), (n,))
        shares = signs * parts[:, :n] / parts.sum(1, keepdim=True)
        return self.project(x + per_row(self.stride(region), x) * shares.view_as(x), region)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return nearest_in_l1(z, region, region["x"].new_full((len(z),), self.eps, dtype=torch.float64))

    def ascent(self, gradient: Tensor) -> Tensor:
        flat = gradient.flatten(1)
        # The steepest step of L1 is along one element, the first of equals.
        at = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, at, flat.gather(1, at).sign()).view_as(gradient)

    def stride(self, region: Rows) -> Tensor:
        return (region["span"] * region["x"][0].numel()).clamp(max=self.eps)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return difference(z, region).abs().sum(1)


def nearest_in_l1(z: Tensor, region: Rows, radius: Tensor) -> Tensor:
    """Return the nearest point, in the Euclidean sense, of L1 balls of radii (N,) float64 and of the bounds."""
    x = region["x"]
    clipped = clip(z, region)
    inside = difference(clipped, region).abs().sum(1) <= radius
    if devices.on_host(x) and bool(inside.all()):
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
    """At most `pixels` pixels, >= 0, may change, each to anything inside the bounds.

    A pixel is a position with all its channels: axis 1 of samples with three axes or more, e.g. (N, C, H, W), is the
    channels; in tabular samples (N, D) every feature counts.
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
        x = region["x"]
        value = region["low"] + per_row(region["span"], x) * rng.uniform(rng.fold(key, "values"), x.shape[1:])
        order = rng.uniform(rng.fold(key, "pixels"), (by_pixel(x).shape[2],))
        return clip(_at_largest(order, self.pixels, value, x), region)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return sparse(z, region, self.pixels)

    def ascent(self, gradient: Tensor) -> Tensor:
        """Return the gradient scaled to a mean size of 1: a dense step, of which `project` keeps the best pixels."""
        # There is no steepest step, as any size of change costs the same.
        mean = gradient.abs().flatten(1).mean(1).clamp(min=torch.finfo(gradient.dtype).tiny)
        return gradient / per_row(mean, gradient)

    def stride(self, region: Rows) -> Tensor:
        # One of 40 steps then carries an element of mean gradient from bound to bound. Shorter steps rarely replace the
        # pixels that were selected before.
        return 32 * region["span"]

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return by_pixel(z != region["x"]).any(1).sum(1).double()


def by_pixel(v: Tensor) -> Tensor:
    """Return (N, C, P): channels and pixels of (N, C, *S); (N, 1, D) of tabular (N, D)."""
    return v.flatten(2) if v.ndim > 2 else v.unsqueeze(1)


def sparse(z: Tensor, region: Rows, pixels: int | Tensor) -> Tensor:
    """Return the nearest point inside the bounds with at most `pixels` changed, a number or one per row (N,)."""
    x = region["x"]
    clipped = clip(z, region)
    way, cut = z.double() - x.double(), z.double() - clipped.double()
    # Keeping a pixel saves its squared way from x to z, less the part that the bounds cut off: way^2 - cut^2, as a
    # product, which does not cancel.
    saved = by_pixel((clipped.double() - x.double()) * (way + cut)).sum(1)
    return _at_largest(saved, pixels, clipped, x)


def _at_largest(score: Tensor, pixels: int | Tensor, z: Tensor, x: Tensor) -> Tensor:
    order = score.argsort(dim=1, descending=True, stable=True)
    rank = torch.arange(score.shape[1], device=score.device)
    chosen = rank < (pixels.unsqueeze(1) if isinstance(pixels, Tensor) else pixels)
    kept = torch.zeros_like(score, dtype=torch.bool).scatter(1, order, chosen.expand_as(order))
    return torch.where(kept.unsqueeze(1), by_pixel(z), by_pixel(x)).reshape(x.shape)


@dataclass(frozen=True, slots=True)
class Unbounded(InBox, OfInputs):
    """Anything inside the bounds. An attack that does not break nearly everything here is itself broken.

    Sizes are the largest change as a share of the bounds' width: the radius is 1.
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
