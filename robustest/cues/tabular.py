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
        return self._set(x, self.values)

    def off(self, x: Tensor) -> Tensor:
        return x if self.off_values is None else self._set(x, self.off_values)

    def _set(self, x: Tensor, values: float | tuple[float, ...]) -> Tensor:
        if x.ndim < 2 or max(self.columns) >= x.shape[-1]:
            raise ConfigError(expected(f"rows of more than {max(self.columns)} columns", tuple(x.shape)))
        out = x.clone()
        out[..., list(self.columns)] = torch.as_tensor(values, dtype=x.dtype, device=x.device)
        return out
