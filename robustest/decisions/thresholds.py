"""Thresholds as counts, without rounding surprises: 0.55 of 200 is 110, not 111."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from numbers import Integral, Real

import numpy as np

from robustest.errors import ConfigError, expected


def optional_threshold(
    name: str, value: object, *, within: tuple[float, float] = (0.0, 1.0), trivial: float | None = None
) -> float | None:
    """As `checked_threshold`; None where nothing is asked."""
    return None if value is None else checked_threshold(name, value, within=within, trivial=trivial)


def checked_not_both(**given: object) -> None:
    """Raise ConfigError where both of two thresholds are given, by their names: a claim has one."""
    if all(value is not None for value in given.values()):
        raise ConfigError(f"Expected {' or '.join(given)} but got both. Write two assertions.")


def checked_threshold(
    name: str, value: object, *, within: tuple[float, float] = (0.0, 1.0), trivial: float | None = None
) -> float:
    """A threshold as given by a user.

    Args:
        name: the argument.
        value: a real number: an int, a float, a fraction or a scalar of NumPy.
        within: the smallest and the largest that makes sense; with an infinite end the other one does not belong to it.
        trivial: the value that any model keeps, which claims nothing; None where there is none.

    Raises:
        ConfigError: not a number, not in that range, or the trivial one.
    """
    low, high = within
    number = _real(value)
    if number is not None and number == trivial:
        side = "more" if trivial == low else "less"
        mend = f"{name}={number:g} holds for any model, and so claims nothing. {_mend(value, number, within)}".strip()
        raise ConfigError(expected(f"{name} to be {side} than {trivial:g}", value, mend))
    unbounded = math.isinf(high)
    if number is None or not math.isfinite(number) or not low <= number <= high or (unbounded and number == low):
        told = f"{name} to be a number > {low:g}" if unbounded else f"{name} in {low:g}..{high:g}"
        raise ConfigError(expected(told, value, _mend(value, number, within)))
    return number + 0.0  # -0.0 becomes 0.0


def _real(value: object) -> float | None:
    """A number as a float; what NumPy holds in fewer bits means what it prints, as literals do."""
    if isinstance(value, bool):
        return None
    if isinstance(value, np.floating):
        return float(str(value))
    return float(value) if isinstance(value, Real) else None


def _mend(value: object, number: float | None, within: tuple[float, float]) -> str:
    """What was meant, where percents may have been."""
    if within != (0.0, 1.0):
        return ""
    if isinstance(value, str):
        digits = value.strip().removesuffix("%").strip()
        known = re.fullmatch(r"\d{1,3}(\.\d+)?", digits) is not None and float(digits) <= 100
        share = float(digits) / (100 if "%" in value or float(digits) > 1 else 1) if known else 0.0
        return f"Write {share:g}." if known else ""
    if number is not None and (1 < number <= 100 or (number == 1 and isinstance(value, Integral))):
        return f"Write {number / 100:g} for {number:g} %."
    return ""


def count_at_least(threshold: float, n: int) -> int:
    """The fewest successes of n whose share is at least the threshold, as written in decimals.

    A share that is the threshold in floating point is at least the threshold: a measured value keeps itself.
    """
    count = math.ceil(Fraction(repr(float(threshold))) * n)
    return count - 1 if count > 0 and (count - 1) / n >= threshold else count


def count_at_most(threshold: float, n: int) -> int:
    """The most events of n whose share is at most the threshold, as written in decimals; as for `need`."""
    count = math.floor(Fraction(repr(float(threshold))) * n)
    return count + 1 if count < n and (count + 1) / n <= threshold else count


def fraction_at_most(value: Fraction, threshold: float) -> bool:
    """Whether an exact value is at most the threshold, as written in decimals; as for `need`."""
    return value <= Fraction(repr(float(threshold))) or float(value) <= threshold
