"""Thresholds as counts, without rounding surprises: 0.55 of 200 is 110, not 111."""

from __future__ import annotations

import math
from fractions import Fraction

from robustest.errors import ConfigError, expected


def checked_threshold(name: str, value: object) -> float:
    """A threshold as given by a user.

    Raises:
        ConfigError: not a number in 0..1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or not 0 <= value <= 1:
        mend = f"Write {value / 100:g} for {value:g} %." if isinstance(value, (int, float)) and 1 < value <= 100 else ""
        raise ConfigError(expected(f"{name} in 0..1", value, mend))
    return float(value)


def need(threshold: float, n: int) -> int:
    """The fewest successes of n whose share is at least the threshold, as written in decimals."""
    return math.ceil(Fraction(repr(threshold)) * n)


def most(threshold: float, n: int) -> int:
    """The most events of n whose share is at most the threshold, as written in decimals."""
    return math.floor(Fraction(repr(threshold)) * n)
