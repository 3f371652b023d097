"""Cues of frames: a value of a column, missing values, and a column as a whole.

Each is made for the codes of a frame by `coded`: on and off are then rows of numbers as for every other cue.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import column_of, require
from robustest.cues.cue import Cue
from robustest.cues.tabular import ColumnRange
from robustest.errors import ConfigError, expected


class ColumnCodes(Protocol):
    """The part of a frame's coding that cues need."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order of a row."""

    def code_of(self, column: int, value: Any) -> float:
        """Return the code of a value; raise ConfigError for a value that the column cannot have."""


@runtime_checkable
class FrameCue(Protocol):
    """A cue of frames of pandas or polars."""

    @property
    def name(self) -> str:
        """The cue's name in reports."""

    def coded(self, coding: ColumnCodes) -> Cue:
        """Return the cue for the codes of a frame.

        Raises:
            ConfigError: the frame lacks the column, or the column cannot have a value.
        """


def _place(column: str, coding: ColumnCodes) -> int:
    if column not in coding.names:
        raise ConfigError(expected(f"columns among {', '.join(coding.names[:10])}", column))
    return coding.names.index(column)


@dataclass(frozen=True, slots=True)
class ColumnValue:
    """A value of a column that should not decide: a site's code, a category, a missing value.

    On sets the column to the value in every row. Off replaces it where a row has it; other rows stay as they are.

    Args:
        value: of the column's kind; None for a missing value.
        off_value: another one.

    Raises:
        ConfigError: both values are the same.
    """

    column: str
    value: Any
    off_value: Any

    def __post_init__(self) -> None:
        if self.value == self.off_value or (self.value is None and self.off_value is None):
            raise ConfigError(expected("another value when off", self.off_value))

    @property
    def name(self) -> str:
        return f"{self.column} {'missing' if self.value is None else f'= {self.value}'}"

    def coded(self, coding: ColumnCodes) -> Cue:
        at = _place(self.column, coding)
        on, off = coding.code_of(at, self.value), coding.code_of(at, self.off_value)
        return ColumnRange(column=at, value=on, off_value=off, low=on, high=on)


@dataclass(frozen=True, slots=True)
class ShuffledColumn:
    """A column that should not decide, whatever it holds: on, each row has its own value; off, that of another row.

    Args:
        values: those of the column in all rows, one of which is drawn for each row; None for missing ones.
            `ShuffledColumn.of` reads them from a frame.

    Raises:
        ConfigError: all values are the same.
    """

    column: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        require(len(set(self.values)) >= 2, f"different values in column {self.column!r}", self.values[:1])

    @classmethod
    def of(cls, frame: Any, column: str) -> ShuffledColumn:
        """Return the cue with the values of a frame's column."""
        # Dates as text, so that the cue is a plain value.
        values = column_of(frame, column)
        return cls(column, tuple(one.isoformat() if isinstance(one, datetime.date) else one for one in values))

    @property
    def name(self) -> str:
        return f"{self.column} of its own row"

    def coded(self, coding: ColumnCodes) -> Cue:
        at = _place(self.column, coding)
        codes: dict[Any, float] = {}
        for value in self.values:
            if value not in codes:
                codes[value] = coding.code_of(at, value)
        drawn = torch.tensor([codes[value] for value in self.values], dtype=torch.float32)
        return _Shuffled(self.name, at, drawn)


@dataclass(frozen=True, slots=True, eq=False)
class _Shuffled:
    """A column of rows (N, D) that off replaces by draws of the codes (M,)."""

    name: str
    column: int
    codes: Tensor
    ids: Tensor | None = None

    def at(self, ids: Tensor) -> _Shuffled:
        return _Shuffled(self.name, self.column, self.codes, ids)

    def on(self, x: Tensor) -> Tensor:
        return x

    def off(self, x: Tensor) -> Tensor:
        ids = torch.arange(len(x)) if self.ids is None else self.ids.cpu()
        draw = rng.integers(rng.keys(0, ids), (1,), len(self.codes)).squeeze(1)
        out = x.clone()
        out[:, self.column] = self.codes[draw].to(x)
        return out
