"""No limit but the bounds: for checks that an attack can break a model at all."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustest import rng
from robustest.threats.protocol import InBox, OfInputs, Rows, clip, difference, per_row


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
