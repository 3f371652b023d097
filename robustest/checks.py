"""Checks of arguments, without torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from robustest.errors import ConfigError, expected

if TYPE_CHECKING:
    from torch import Tensor


def checked_whole(name: str, number: object, low: int) -> None:
    """Raise ConfigError unless a number is whole and >= low."""
    if type(number) is not int or number < low:
        raise ConfigError(expected(f"{name} to be a whole number >= {low}", number))


def checked_real(name: str, number: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise ConfigError unless a number is finite and in [low, high]."""
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise ConfigError(expected(f"{name} to be a finite number", number))
    if not low <= number <= high:
        raise ConfigError(expected(f"{name} in [{low:g}, {high:g}]", number))


def checked_images(x: Tensor, what: str) -> None:
    """Raise ConfigError unless x is (N, C, H, W)."""
    if x.ndim != 4:
        raise ConfigError(expected(f"images (N, C, H, W) for {what}", tuple(x.shape)))


# Arithmetic such as rescaling there and back may move a float32 by some of its last bits.
_ROUNDING = 16 * 2.0**-23


def moved_rows(before: Tensor, after: Tensor) -> Tensor:
    """Return (N,) bool: samples of (N, *S) floats that differ by more than the rounding of their largest value."""
    apart: Tensor = (after - before).flatten(1).abs().amax(1) > _ROUNDING * before.flatten(1).abs().amax(1)
    return apart
