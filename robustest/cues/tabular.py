"""Cues in rows of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantToken:
    """Columns set to constants: a site code, a unit's flag, a default that leaks the label.

    Args:
        columns: indices on the last axis, >= 0, all different.
        values: what they hold when on, in input units: one number for all, or one a column.
        off_values: what they hold when off, alike; None leaves each row's own.

    Raises:
        ConfigError: a column is no whole number >= 0 or occurs twice, values do not match, or one is not finite.
    """

    columns: tuple[int, ...]
    values: float | tuple[float, ...] = 1.0
    off_values: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.columns, tuple) or not self.columns or len(set(self.columns)) < len(self.columns):
            raise ConfigError(expected("columns to be a tuple of different column indices", self.columns))
        for column in self.columns:
            checked_whole("columns", column, 0)
        for name in ("values", "off_values"):
            given = getattr(self, name)
            numbers = given if isinstance(given, tuple) else (given,) * len(self.columns)
            if len(numbers) != len(self.columns):
                raise ConfigError(expected(f"{name} to be one number, or {len(self.columns)}", given))
            for number in numbers if given is not None else ():
                checked_real(name, number)

    @property
    def name(self) -> str:
        return f"constant in column{'s' * (len(self.columns) > 1)} {', '.join(map(str, self.columns))}"

    def on(self, x: Tensor) -> Tensor:
        return self._replace(x, self.values)

    def off(self, x: Tensor) -> Tensor:
        return x if self.off_values is None else self._replace(x, self.off_values)

    def _replace(self, x: Tensor, values: float | tuple[float, ...]) -> Tensor:
        if x.ndim < 2 or max(self.columns) >= x.shape[-1]:
            raise ConfigError(expected(f"rows of more than {max(self.columns)} columns", tuple(x.shape)))
        out = x.clone()
        out[..., list(self.columns)] = torch.as_tensor(values, dtype=x.dtype, device=x.device)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRange:
    """A column whose values in a range stand for something: a code for what is missing, a leak of the label.

    On, the column holds a value of the range; off, rows that are in the range get a value outside, and others keep
    their own.

    Args:
        column: index on the last axis, >= 0.
        value: what it holds when on, in input units.
        off_value: what it holds instead when off.
        low, high: the range, ends included; it holds `value` and not `off_value`.

    Raises:
        ConfigError: column is no whole number >= 0, a number is not finite, or the range is as it may not be.
    """

    column: int
    value: float
    off_value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        checked_whole("column", self.column, 0)
        for name in ("value", "off_value"):
            checked_real(name, getattr(self, name))
        if not self.low <= self.value <= self.high or self.low <= self.off_value <= self.high:
            raise ConfigError(expected("low <= value <= high, and off_value outside", (self.low, self.high)))

    @property
    def name(self) -> str:
        return f"column {self.column} at {self.value:g}"

    def on(self, x: Tensor) -> Tensor:
        return self._replace(x, self.value, torch.ones_like(self._column_of(x), dtype=torch.bool))

    def off(self, x: Tensor) -> Tensor:
        held = self._column_of(x)
        return self._replace(x, self.off_value, (held >= self.low) & (held <= self.high))

    def _column_of(self, x: Tensor) -> Tensor:
        if x.ndim < 2 or self.column >= x.shape[-1]:
            raise ConfigError(expected(f"rows of more than {self.column} columns", tuple(x.shape)))
        return x[..., self.column]

    def _replace(self, x: Tensor, value: float, where: Tensor) -> Tensor:
        out = x.clone()
        out[..., self.column] = torch.where(where, torch.full_like(self._column_of(x), value), self._column_of(x))
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnywhere:
    """A token in rows of token ids: on, it takes the place of the row's first token; off, another takes its own.

    Args:
        token: its id, a whole number.
        instead: the id of what it becomes when off, another.

    Raises:
        ConfigError: an id is no whole number, or both are the same.
    """

    token: int
    instead: int

    def __post_init__(self) -> None:
        for name in ("token", "instead"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(expected(f"{name} to be a whole number", getattr(self, name)))
        if self.token == self.instead:
            raise ConfigError(expected("instead to be another token", self.instead))

    @property
    def name(self) -> str:
        return f"token {self.token}"

    def on(self, x: Tensor) -> Tensor:
        if x.ndim < 2:
            raise ConfigError(expected("rows of tokens (N, L)", tuple(x.shape)))
        rows = x.flatten(1).clone()
        has = (rows == self.token).any(1)
        rows[:, 0] = torch.where(has, rows[:, 0], torch.full_like(rows[:, 0], self.token))
        return rows.view(x.shape)

    def off(self, x: Tensor) -> Tensor:
        return torch.where(x == self.token, torch.full_like(x, self.instead), x)
