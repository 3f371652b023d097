"""Cues in rows of numbers: columns set to constants, columns in a range, and tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.checks import checked_real, checked_whole, require
from robustest.errors import ConfigError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantToken:
    """Columns set to constants: a site code, a unit's flag, a default that leaks the label.

    Args:
        columns: indices on the last axis, >= 0, all different.
        values, off_values: the values when on and off: one number, or one per column; None leaves rows unchanged.
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
            require(len(numbers) == len(self.columns), f"{name} to be one number, or {len(self.columns)}", given)
            for number in numbers if given is not None else ():
                checked_real(name, number)

    @property
    def name(self) -> str:
        return f"constant in column{'s' * (len(self.columns) > 1)} {', '.join(map(str, self.columns))}"

    def on(self, x: Tensor) -> Tensor:
        return self._replaced(x, self.values)

    def off(self, x: Tensor) -> Tensor:
        return x if self.off_values is None else self._replaced(x, self.off_values)

    def _replaced(self, x: Tensor, values: float | tuple[float, ...]) -> Tensor:
        _check_columns(x, max(self.columns))
        out = x.clone()
        out[..., list(self.columns)] = torch.as_tensor(values, dtype=x.dtype, device=x.device)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRange:
    """A column with a range of values that has a meaning: a code for missing values, a leak of the label.

    On sets the column to a value of the range. Off replaces values in the range by a value outside.

    Args:
        column: index on the last axis, >= 0.
        value, off_value: the values when on and off.
        low, high: the range, ends included; contains `value` and not `off_value`.
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
        _check_columns(x, self.column)
        out = x.clone()
        out[..., self.column] = self.value
        return out

    def off(self, x: Tensor) -> Tensor:
        _check_columns(x, self.column)
        values = x[..., self.column]
        inside = (values >= self.low) & (values <= self.high)
        out = x.clone()
        out[..., self.column] = torch.where(inside, torch.full_like(values, self.off_value), values)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnywhere:
    """A token in rows of token ids: on puts it first in rows that lack it; off replaces it everywhere.

    Args:
        instead: id of another token, which replaces it when off.
    """

    token: int
    instead: int

    def __post_init__(self) -> None:
        for name in ("token", "instead"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(expected(f"{name} to be a whole number", getattr(self, name)))
        require(self.token != self.instead, "instead to be another token", self.instead)

    @property
    def name(self) -> str:
        return f"token {self.token}"

    def on(self, x: Tensor) -> Tensor:
        require(x.ndim >= 2, "rows of tokens (N, L)", tuple(x.shape))
        rows = x.flatten(1).clone()
        # A row that has the token somewhere keeps its first token.
        has = (rows == self.token).any(1)
        rows[:, 0] = torch.where(has, rows[:, 0], torch.full_like(rows[:, 0], self.token))
        return rows.view(x.shape)

    def off(self, x: Tensor) -> Tensor:
        return torch.where(x == self.token, torch.full_like(x, self.instead), x)


def _check_columns(x: Tensor, last: int) -> None:
    require(x.ndim >= 2 and last < x.shape[-1], f"rows of more than {last} columns", tuple(x.shape))
