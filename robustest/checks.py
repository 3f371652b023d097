"""Checks of arguments, without torch."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from robustest.errors import ConfigError, DataError, RobustestError, expected

if TYPE_CHECKING:
    from torch import Tensor


EVERY_WHOLE = 2.0**24
"""Up to here float32 holds every whole number."""


def require(
    holds: object, what: str, got: object, mend: str = "", *, error: type[RobustestError] = ConfigError
) -> None:
    """Raise an error that expected `what` but got `got`, with a remedy, unless a condition holds."""
    if not holds:
        raise error(expected(what, got, mend))


def is_amount(value: object) -> bool:
    """Return True for a finite number >= 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def checked_severity(severity: object, name: str = "severity") -> None:
    """Raise ConfigError unless a severity is a whole number 1..5."""
    require(type(severity) is int and 1 <= severity <= 5, f"{name} to be a whole number 1..5", severity)


def checked_whole(name: str, number: object, low: int) -> None:
    """Raise ConfigError unless a number is whole and >= low."""
    require(type(number) is int and number >= low, f"{name} to be a whole number >= {low}", number)


def checked_real(name: str, number: object, low: float = -math.inf, high: float = math.inf, ends: str = "[]") -> None:
    """Raise ConfigError unless a number is finite and from low to high; `ends` are "(" or "[", and ")" or "]"."""
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise ConfigError(expected(f"{name} to be a finite number", number))
    above = low < number if ends[0] == "(" else low <= number
    below = number < high if ends[1] == ")" else number <= high
    allowed = f"> {low:g}" if (ends[0], high) == ("(", math.inf) else f"in {ends[0]}{low:g}, {high:g}{ends[1]}"
    require(above and below, f"{name} {allowed}", number)


# Ranges of the fields of data classes, stated where the fields are declared, and checked by `check_ranges`:
#
#     gamma: float = field(default=0.05, metadata=real(0, 1, "()"))


def whole(low: int) -> dict[str, Any]:
    """Return the metadata of a field with a whole number >= low."""
    return {"range": partial(checked_whole, low=low)}


def real(low: float = -math.inf, high: float = math.inf, ends: str = "[]") -> dict[str, Any]:
    """Return the metadata of a field with a number that `checked_real` allows."""
    return {"range": partial(checked_real, low=low, high=high, ends=ends)}


POSITIVE = real(0, ends="(]")
"""The metadata of a field with a finite number > 0."""


def check_ranges(value: Any) -> None:
    """Raise ConfigError unless each field is in the range that its metadata state; a default of None is."""
    for each in fields(value):
        given = getattr(value, each.name)
        if "range" in each.metadata and not (given is None and each.default is None):
            each.metadata["range"](each.name, given)


def is_frame(x: object) -> bool:
    """Return True for a frame of pandas or polars."""
    return type(x).__module__.partition(".")[0] in {"pandas", "polars"} and hasattr(x, "columns")


def column_of(frame: Any, name: str) -> list[Any]:
    """Return the values of a column of a frame, None for missing ones; raise ConfigError if the frame lacks it."""
    names = list(getattr(frame, "columns", ()))
    require(name in names, f"a frame with the column {name!r}", names[:10])
    column = frame[name]
    missing = (column.isna() if hasattr(column, "isna") else column.is_null()).to_numpy()
    values = column.tolist() if hasattr(column, "tolist") else column.to_list()
    return [None if none else value for value, none in zip(values, missing, strict=True)]


def checked_images(x: Tensor, what: str) -> None:
    """Raise ConfigError unless x is (N, C, H, W)."""
    require(x.ndim == 4, f"images (N, C, H, W) for {what}", tuple(x.shape))


# Arithmetic such as rescaling there and back may move a float32 by some of its last bits.
_ROUNDING = 16 * 2.0**-23


def moved_rows(before: Tensor, after: Tensor) -> Tensor:
    """Return (N,) bool: samples of (N, *S) floats that differ by more than the rounding of their largest value."""
    apart: Tensor = (after - before).flatten(1).abs().amax(1) > _ROUNDING * before.flatten(1).abs().amax(1)
    return apart


def index_of(rows: object) -> Any:
    """Return the index of a frame or series of pandas, else None."""
    index = getattr(rows, "index", None)
    return None if callable(index) else index  # lists have a method of this name


def is_permuted(one: Any, other: Any) -> bool:
    """Return True if two results of `index_of` have the same labels in different orders."""
    if one is None or other is None or len(one) != len(other) or one.equals(other):
        return False
    return bool(one.is_unique and other.is_unique and one.isin(other).all())


def check_order(what: str, values: object, rows: object) -> None:
    """Raise DataError if columns of pandas, read by position, have the index of their rows in another order."""
    if is_permuted(index_of(rows), index_of(values)):
        raise DataError(
            f"Expected {what} in the order of the rows but got the same index in another order. Write "
            "values.loc[rows.index], or reset_index(drop=True) of both if they are in order."
        )
