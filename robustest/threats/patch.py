"""A rectangle of the image replaced by anything: z = (content, row, column), scattered into the image's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest.threats.threat import Bounds, InBox, Rows, clip, count, images


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
        """Return (N, 1, height * width) int64: the patch's pixels among the image's H * W."""
        top, left = corner.to(torch.int64).unbind(1)
        row = top.view(-1, 1, 1) + torch.arange(self.height, device=x.device).view(1, -1, 1)
        column = left.view(-1, 1, 1) + torch.arange(self.width, device=x.device).view(1, 1, -1)
        return (row * x.shape[3] + column).flatten(1).unsqueeze(1)


def _range(fixed: int | None, last: int) -> tuple[int, int]:
    return (0, last) if fixed is None else (fixed, fixed)
