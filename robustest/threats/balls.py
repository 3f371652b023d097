"""The norm balls L-inf, L2 and L1, and the count L0; a proposal is the perturbed input itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest.threats.protocol import Bounds, InBox, OfInputs, Rows, box, clip, count, difference, length, per_row
from robustest.threats.shrink import shrunk
from robustest.words import as_written

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
