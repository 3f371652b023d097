"""Cues that can be switched on and off in the same sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelPatch:
    """A rectangle of constant value at a fixed place.

    Args:
        top, left: its first row and column, >= 0.
        height, width: its size in pixels, >= 1.
        value: what it holds when on, in input units; all channels.
        off_value: what the place holds when off: what it holds in inputs without the cue (a black border's
            0, say). Replacing is fairer than blacking out what was never black (Jain et al., ICLR 2022).

    Raises:
        ConfigError: a place or size is negative or not whole, or a value is not finite.
    """

    top: int
    left: int
    height: int = 1
    width: int = 1
    value: float = 1.0
    off_value: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("top", 0), ("left", 0), ("height", 1), ("width", 1)):
            number = getattr(self, name)
            if type(number) is not int or number < low:
                raise ConfigError(expected(f"{name} to be a whole number >= {low}", number))
        for name in ("value", "off_value"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                raise ConfigError(expected(f"{name} to be a finite number", number))

    @property
    def name(self) -> str:
        return f"{self.height}x{self.width} patch at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        return self._filled(x, self.value)

    def off(self, x: Tensor) -> Tensor:
        return self._filled(x, self.off_value)

    def _filled(self, x: Tensor, value: float) -> Tensor:
        if x.ndim != 4 or self.top + self.height > x.shape[2] or self.left + self.width > x.shape[3]:
            raise ConfigError(
                expected(f"images (N, C, H, W) that hold a {self.name}", tuple(x.shape), "Move or shrink the patch.")
            )
        out = x.clone()
        out[:, :, self.top : self.top + self.height, self.left : self.left + self.width] = value
        return out
