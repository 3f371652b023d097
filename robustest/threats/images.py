"""Threats of images: a rectangle replaced by anything, and the image rotated, translated and scaled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest.tasks import Task
from robustest.threats.threat import Bounds, InBox, Rows, clip, count, images, number

# A rectangle of the image replaced by anything: z = (content, row, column), scattered into the image's pixels.


@dataclass(frozen=True, slots=True)
class Patch(InBox):
    """One rectangle of an image (C, H, W) may hold anything inside the bounds.

    A proposal (N, C * height * width + 2) is the patch's content (C, height, width) in input units, then the row and
    column of its upper left pixel. The size is 1 where a pixel differs from the sample, else 0: the radius is 1.

    Args:
        height: pixels, >= 0; a patch without area changes nothing.
        width: pixels, >= 0.
        top: row of the upper left pixel, >= 0; None lets the attacker choose it.
        left: column of the upper left pixel, >= 0; None lets the attacker choose it.

    Raises:
        ConfigError: a number is negative or not whole; `region` raises it where samples are no images, or too small.
    """

    height: int
    width: int
    top: int | None = None
    left: int | None = None

    def __post_init__(self) -> None:
        count("height", self.height)
        count("width", self.width)
        for name, value in (("top", self.top), ("left", self.left)):
            if value is not None:
                count(name, value)

    @property
    def radius(self) -> float:
        return 1.0

    def __str__(self) -> str:
        place = [f", {name}={v}" for name, v in (("top", self.top), ("left", self.left)) if v is not None]
        return f"Patch(height={self.height}, width={self.width}{''.join(place)})"

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        h, w = images(x, self)
        if self.height + (self.top or 0) > h or self.width + (self.left or 0) > w:
            raise ConfigError(expected(f"{self} to fit into the images", (h, w), "Give a smaller patch."))
        content = (len(x), x.shape[1] * self.height * self.width)
        # The box holds the corner too: clipping keeps the patch inside the image, and a fixed place where it is.
        rows = _range(self.top, h - self.height)
        columns = _range(self.left, w - self.width)
        low = [x.new_full(content, bounds[0]), *(x.new_full((len(x), 1), v[0]) for v in (rows, columns))]
        high = [x.new_full(content, bounds[1]), *(x.new_full((len(x), 1), v[1]) for v in (rows, columns))]
        span = x.new_full((len(x),), bounds[1]) - x.new_full((len(x),), bounds[0])
        return {"x": x, "low": torch.cat(low, 1), "high": torch.cat(high, 1), "span": span}

    def origin(self, region: Rows) -> Tensor:
        # The patch lies in the middle of its range.
        corner = ((region["low"] + region["high"]) / 2)[:, -2:].round()
        return self.placed(corner, region)

    def placed(self, corner: Tensor, region: Rows) -> Tensor:
        """Return the proposal that changes nothing, with the patch at the corners (N, 2), row and column."""
        pixels = region["x"].flatten(2)
        at = self._pixels(corner, region["x"]).expand(-1, pixels.shape[1], -1)
        return torch.cat([pixels.gather(2, at).flatten(1), corner], 1)

    def start(self, region: Rows, key: Tensor) -> Tensor:
        low, high = region["low"], region["high"]
        content = rng.uniform(rng.fold(key, "content"), (low.shape[1] - 2,))
        content = low[:, :-2] + content * (high - low)[:, :-2]
        # Places are whole numbers, both ends included: drawn as integers, for equal chances.
        room = (high - low)[:, -2:].to(torch.int64) + 1
        corner = low[:, -2:] + rng.integers(rng.fold(key, "place"), (2,), room).to(low.dtype)
        return clip(torch.cat([content, corner], 1), region)

    def render(self, z: Tensor, region: Rows) -> Tensor:
        x = region["x"]
        # The place is rounded only here, so that proposals may hold fractions of a pixel. Rounding has no gradient;
        # `scatter` passes the content's on.
        at = self._pixels(z[:, -2:].detach().round(), x).expand(-1, x.shape[1], -1)
        content = z[:, :-2].reshape(len(x), x.shape[1], self.height * self.width)
        return x.flatten(2).scatter(2, at, content).reshape(x.shape)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        # A patch that repeats the sample's pixels changes nothing, wherever it lies.
        return (self.render(z, region) != region["x"]).flatten(1).any(1).double()

    def _pixels(self, corner: Tensor, x: Tensor) -> Tensor:
        top, left = corner.to(torch.int64).unbind(1)
        row = top.view(-1, 1, 1) + torch.arange(self.height, device=x.device).view(1, -1, 1)
        column = left.view(-1, 1, 1) + torch.arange(self.width, device=x.device).view(1, 1, -1)
        return (row * x.shape[3] + column).flatten(1).unsqueeze(1)


def _range(fixed: int | None, last: int) -> tuple[int, int]:
    return (0, last) if fixed is None else (fixed, fixed)


# The image rotated, translated and scaled (Engstrom et al., ICML 2019).

# A pose p = (angle, right, down, zoom). Pixel (u, v) of the result, in -1..1 from edge to edge, is read at
#
#     (u', v') = 1 / (1 + zoom) * R(angle) ((u, v) - 2 (right, down))
#
# of the sample, interpolated linearly; pixels from outside have the lowest value of the bounds, and the pose 0 is the
# sample itself, to the bit.


@dataclass(frozen=True, slots=True)
class Spatial:
    """The image may be rotated about its centre, scaled and translated.

    A proposal is a pose (N, 4): angle in degrees, counter-clockwise; way to the right and way down, as shares of the
    image's width and height; zoom minus 1. The size is the largest of the four as a share of its limit: the radius is
    1.

    Args:
        rotation: largest angle in degrees, either way, in 0..180.
        translation: largest way in each direction as a share of the image's side, in 0..1.
        scale: largest relative change of size, either way, in 0..0.9: 0.1 zooms by 0.9 to 1.1.

    Raises:
        ConfigError: a number is out of its range; `region` raises it where samples are no images.
    """

    rotation: float = 30.0
    translation: float = 0.1
    scale: float = 0.1

    def __post_init__(self) -> None:
        for name, largest in (("rotation", 180.0), ("translation", 1.0), ("scale", 0.9)):
            object.__setattr__(self, name, number(name, getattr(self, name), largest=largest))

    def check_samples(self, task: Task, kind: str) -> None:
        """Raise ConfigError if targets have places in the image: the search would have to move them too."""
        if task.placed:
            raise ConfigError(
                f"Expected a threat that does not move the image but {self} does, and a search cannot move the "
                f"targets of {task.name}. Use a norm ball, or claim accuracy under the shifts "
                "rotation, translation and scale."
            )

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The largest size of each element of a pose."""
        return self.rotation, self.translation, self.translation, self.scale

    @property
    def radius(self) -> float:
        return 1.0

    def __str__(self) -> str:
        return f"Spatial(rotation={self.rotation:g}, translation={self.translation:g}, scale={self.scale:g})"

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        images(x, self)
        high = x.new_tensor(self.limits)
        # In float32 a limit may be rounded up: step back inside.
        inside = torch.nextafter(high, torch.zeros_like(high))
        high = torch.where(high.double() > high.new_tensor(self.limits, dtype=torch.float64), inside, high)
        high = high.expand(len(x), -1)
        black, white = (x.new_full((len(x), 1, 1, 1), edge) for edge in bounds)
        return {"x": x, "low": -high, "high": high, "black": black, "white": white}

    def origin(self, region: Rows) -> Tensor:
        return torch.zeros_like(region["high"])

    def start(self, region: Rows, key: Tensor) -> Tensor:
        return clip(region["high"] * rng.uniform(key, (4,), -1.0, 1.0), region)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return clip(z, region)

    def ascent(self, gradient: Tensor) -> Tensor:
        return torch.stack([v.sign() * limit for v, limit in zip(gradient.unbind(1), self.limits, strict=True)], 1)

    def stride(self, region: Rows) -> Tensor:
        return torch.ones_like(region["high"][:, 0])

    def render(self, z: Tensor, region: Rows) -> Tensor:
        x, black = region["x"], region["black"]
        shown = F.grid_sample(x - black, _grid(z, x), mode="bilinear", padding_mode="zeros", align_corners=False)
        moved = torch.clamp(shown + black, black, region["white"])
        still = (z == 0).all(1).view(-1, 1, 1, 1)
        # The second term is zero: it lets the gradient through where the sample itself is returned.
        return torch.where(still, x + (moved - moved.detach()), moved)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        columns = zip(z.double().abs().unbind(1), self.limits, strict=True)
        shares = [v / limit if limit else torch.where(v > 0, torch.inf, v) for v, limit in columns]
        return torch.stack(shares, 1).amax(1)


def _grid(z: Tensor, x: Tensor) -> Tensor:
    """Return (N, H, W, 2) each pixel's place in the sample, in -1..1 from edge to edge."""
    # Angles are computed in pixels, where images that are not square keep their shape. Element by element and with the
    # trigonometry in float64, so that a row's pixels do not depend on the rows beside it.
    h, w = x.shape[2:]
    angle, right, down, zoom = z.double().unsqueeze(2).unsqueeze(3).unbind(1)
    angle = angle * (math.pi / 180)
    cosine, sine = angle.cos() / (1 + zoom), angle.sin() / (1 + zoom)
    column = (2 * torch.arange(w, device=x.device, dtype=z.dtype) + 1) / w - 1
    row = (2 * torch.arange(h, device=x.device, dtype=z.dtype) + 1) / h - 1
    column = column.view(1, 1, -1) - (2 * right).to(z.dtype)
    row = row.view(1, -1, 1) - (2 * down).to(z.dtype)
    there = cosine.to(z.dtype) * column - (sine * (h / w)).to(z.dtype) * row
    below = (sine * (w / h)).to(z.dtype) * column + cosine.to(z.dtype) * row
    return torch.stack([there, below], 3)
