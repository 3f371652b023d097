"""Thresholds: user input, turned into counts without rounding surprises (0.55 of 200 is 110, not 111)."""

# A threshold means the decimal that a user wrote: comparisons are in fractions of `repr(threshold)`. A measured share
# that equals the threshold in floating point meets it too, so that a model meets a threshold copied from its result.

from __future__ import annotations

import math
import re
from fractions import Fraction
from numbers import Integral, Real
from typing import Literal, overload

import numpy as np

from robustest.errors import ConfigError, expected


def checked_not_both(**given: object) -> None:
    """Raise ConfigError if both of two thresholds, passed by their names, are given."""
    if all(value is not None for value in given.values()):
        raise ConfigError(f"Expected {' or '.join(given)} but got both. Write two assertions.")


@overload
def checked_threshold(
    name: str,
    value: object,
    *,
    within: tuple[float, float] = ...,
    trivial: float | None = ...,
    optional: Literal[False] = ...,
) -> float: ...


@overload
def checked_threshold(
    name: str,
    value: object,
    *,
    within: tuple[float, float] = ...,
    trivial: float | None = ...,
    optional: Literal[True],
) -> float | None: ...


def checked_threshold(
    name: str,
    value: object,
    *,
    within: tuple[float, float] = (0.0, 1.0),
    trivial: float | None = None,
    optional: bool = False,
) -> float | None:
    """Return a user's threshold as a float.

    Args:
        name: the argument's name.
        within: the allowed range; if its end is infinite, its start is excluded.
        trivial: the value that any model keeps, which claims nothing; None for none.
        optional: True to return None for None, where nothing is claimed.

    Raises:
        ConfigError: not a number, out of range, or trivial.
    """
    if optional and value is None:
        return None
    low, high = within
    # A NumPy float of fewer bits means the decimal that it prints, as a literal does: float32(0.1) is 0.1.
    number: float | None = None
    if isinstance(value, bool):
        number = None
    elif isinstance(value, np.floating):
        number = float(str(value))
    elif isinstance(value, Real):
        number = float(value)
    if number is not None and number == trivial:
        side = "more" if trivial == low else "less"
        remedy = f"{name}={number:g} holds for any model, and so claims nothing. {_percent_hint(value, number, within)}"
        raise ConfigError(expected(f"{name} to be {side} than {trivial:g}", value, remedy.strip()))
    unbounded = math.isinf(high)
    if number is None or not math.isfinite(number) or not low <= number <= high or (unbounded and number == low):
        wanted = f"{name} to be a number > {low:g}" if unbounded else f"{name} in {low:g}..{high:g}"
        raise ConfigError(expected(wanted, value, _percent_hint(value, number, within)))
    return number + 0.0  # -0.0 becomes 0.0


def _percent_hint(value: object, number: float | None, within: tuple[float, float]) -> str:
    """Return the share to write if the value looks like a percentage, else ""."""
    if within != (0.0, 1.0):
        return ""
    if isinstance(value, str):
        digits = value.strip().removesuffix("%").strip()
        if re.fullmatch(r"\d{1,3}(\.\d+)?", digits) is None or float(digits) > 100:
            return ""
        return f"Write {float(digits) / (100 if '%' in value or float(digits) > 1 else 1):g}."
    if number is not None and (1 < number <= 100 or (number == 1 and isinstance(value, Integral))):
        return f"Write {number / 100:g} for {number:g} %."
    return ""


def count_at_least(threshold: float, n: int) -> int:
    """Return the fewest successes of n whose share is at least the threshold."""
    count = math.ceil(Fraction(repr(float(threshold))) * n)
    return count - 1 if count > 0 and (count - 1) / n >= threshold else count


def count_at_most(threshold: float, n: int) -> int:
    """Return the most events of n whose share is at most the threshold."""
    count = math.floor(Fraction(repr(float(threshold))) * n)
    return count + 1 if count < n and (count + 1) / n <= threshold else count


def fraction_at_most(value: Fraction, threshold: float) -> bool:
    """Return True if an exact value is at most the threshold."""
    return value <= Fraction(repr(float(threshold))) or float(value) <= threshold
