"""Shifts of tables: what happens to a column between a study and its use.

Each is a function of a frame of pandas or polars. A draw of a row depends on that row's key alone.
"""

from __future__ import annotations

import datetime
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real, column_of, require
from robustest.errors import ConfigError, expected
from robustest.words import UNSEEN

# Quantiles that a drift keeps of the reference.
_QUANTILES = 201


def _with(frame: Any, name: str, values: list[Any]) -> Any:
    old = frame[name]
    if "int" in str(old.dtype).lower():
        values = [round(one) if isinstance(one, float) else one for one in values]
    if not hasattr(frame, "assign"):
        return frame.with_columns(type(old)(name, values, dtype=old.dtype, strict=False))
    new = type(old)(values, index=old.index, dtype=object)
    try:
        return frame.assign(**{name: new.astype(old.dtype)})
    except (TypeError, ValueError):  # NumPy's whole numbers have no missing value
        return frame.assign(**{name: new.infer_objects()})


def _numbers(frame: Any, name: str) -> list[Any]:
    values = column_of(frame, name)
    strangers = [one for one in values if type(one) not in (int, float, type(None))]
    if strangers:
        raise ConfigError(expected(f"numbers in column {name!r}", strangers[0]))
    return values


@dataclass(frozen=True, slots=True)
class MissingCells:
    """A share of a column's cells is missing: the model, or its pipeline, has to impute them."""

    column: str
    share: float = 1.0

    def __post_init__(self) -> None:
        checked_real("share", self.share, 0, 1)

    def __call__(self, frame: Any, key: Tensor) -> Any:
        gone = (rng.uniform(rng.fold(key, "missing"), (1,)) < self.share).squeeze(1).tolist()
        values = column_of(frame, self.column)
        return _with(frame, self.column, [None if none else one for one, none in zip(values, gone, strict=True)])


@dataclass(frozen=True, slots=True)
class UnitError:
    """A column is in another unit: every number is multiplied by a factor, and then grows by `plus`."""

    column: str
    factor: float
    plus: float = 0.0

    def __call__(self, frame: Any) -> Any:
        old = _numbers(frame, self.column)
        new = [None if one is None else one * self.factor + self.plus for one in old]
        return _with(frame, self.column, new)


@dataclass(frozen=True, slots=True)
class SwappedColumns:
    """Two columns have each other's values."""

    first: str
    second: str

    def __call__(self, frame: Any) -> Any:
        one, other = column_of(frame, self.first), column_of(frame, self.second)
        return _with(_with(frame, self.first, other), self.second, one)


@dataclass(frozen=True, slots=True)
class RoundedColumn:
    """Numbers of a column are multiples of a step, as where people estimate."""

    column: str
    step: float

    def __post_init__(self) -> None:
        checked_real("step", self.step, 1e-300)

    def __call__(self, frame: Any) -> Any:
        old = _numbers(frame, self.column)
        new = [None if one is None else round(one / self.step) * self.step for one in old]
        return _with(frame, self.column, new)


@dataclass(frozen=True, slots=True)
class QuantileDrift:
    """Every number of a column goes to the quantile that is `by` above its own, in the reference's distribution.

    Args:
        quantiles: of the reference, in rising order; `QuantileDrift.of` reads them from a frame.
        by: in -1..1.

    Raises:
        ConfigError: by is out of range, or there are fewer than two quantiles.
    """

    column: str
    by: float
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        checked_real("by", self.by, -1, 1)
        require(len(self.quantiles) >= 2, "two quantiles or more", self.quantiles)

    @classmethod
    def of(cls, frame: Any, column: str, by: float) -> QuantileDrift:
        """Return the drift with the quantiles of a frame's column."""
        values = [float(one) for one in _numbers(frame, column) if one is not None]
        require(values, f"numbers in column {column!r}", "missing values alone")
        ends = np.quantile(np.array(values), np.linspace(0, 1, _QUANTILES))
        return cls(column, by, tuple(ends.tolist()))

    def __call__(self, frame: Any) -> Any:
        old, last = _numbers(frame, self.column), len(self.quantiles) - 1

        def moved(value: float) -> float:
            at = min(bisect_left(self.quantiles, value), last) / last + self.by
            return float(np.interp(min(max(at, 0.0), 1.0) * last, range(last + 1), self.quantiles))

        return _with(frame, self.column, [None if one is None else moved(one) for one in old])


@dataclass(frozen=True, slots=True)
class SetColumn:
    """A share of the rows has one value in a column: a rare category, or one that the model has never seen.

    Args:
        value: of the column's kind; None for a word that no row of the data has.
    """

    column: str
    value: Any = None
    share: float = 1.0

    def __post_init__(self) -> None:
        checked_real("share", self.share, 0, 1)

    def __call__(self, frame: Any, key: Tensor) -> Any:
        chosen = (rng.uniform(rng.fold(key, "set"), (1,)) < self.share).squeeze(1).tolist()
        value = UNSEEN if self.value is None else self.value
        values = zip(column_of(frame, self.column), chosen, strict=True)
        return _with(frame, self.column, [value if here else one for one, here in values])


@dataclass(frozen=True, slots=True)
class LaterDate:
    """Dates of a column are some days later: the data of next year."""

    column: str
    days: int

    def __call__(self, frame: Any) -> Any:
        room = datetime.timedelta(days=self.days)
        values = column_of(frame, self.column)
        strangers = [one for one in values if one is not None and not isinstance(one, datetime.date)]
        if strangers:
            raise ConfigError(expected(f"dates in column {self.column!r}", strangers[0]))
        return _with(frame, self.column, [None if one is None else one + room for one in values])
