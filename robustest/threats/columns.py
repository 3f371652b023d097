"""Rows of a table in which some columns may change, each by its own rule."""

# A proposal z (N, D) is a relaxed row: whole numbers may have fractions, and a block of one-hot columns any weights in
# 0..1. What the model is shown is its rendering:
#
# 1. Each field (a column, or a block of one-hot columns) goes to its nearest allowed value: a whole number of steps
#    from the sample's, the nearest of a list, the largest weight of a block.
# 2. With `max_changed` = k, the k fields that moved farthest (as a share of their range) are kept.
# 3. Linear relations are met by the nearest point: x - t * a * scale^2, clipped to the ranges, with the smallest t.
# 4. A row that then breaks a relation is not feasible, and the engine shows the unchanged sample (`rendered`).
#
# Gradients go straight through steps 1 to 3. A field of finitely many values has as many choices; with the thresholds
# of a tree ensemble as `cells`, a real number has one choice for each threshold that it can cross.

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from robustest import devices, rng
from robustest.checks import EVERY_WHOLE, checked_real, checked_whole, require
from robustest.errors import ConfigError, expected
from robustest.threats.threat import Bounds, Rows, clip
from robustest.words import as_written

# Choices of a real number without known cells: evenly spaced, with both ends.
_GRID = 17
# Whole numbers with more values than this are searched by cells where those are known.
_MANY = 64
# More changes than this are not counted apart: 2^17 rows exceed every enumeration.
_LEVELS = 17
# A range of a frame's column that holds fewer numbers of float32 cannot be searched.
_NUMBERS = 16
# Words of a column with more values are free text, and no categories.
_WORDS = 50
# Counts of rows are capped here, far above every number of queries and inside int64.
_CAP = 1e15
_HALVINGS = 50
# Share of a number that a sum of two may miss in float64.
_ROUNDED = 2.0**-51
# Rounds of projections onto several linear relations.
_ROUNDS = 4


# The rules of a column


# The words for a rule's `whole`.
_WHOLE = {None: "", True: " whole", False: " with fractions"}


@dataclass(frozen=True, slots=True)
class Within:
    """A number that may fall by at most `-below` and rise by at most `above`, in the column's unit.

    Args:
        whole: False lets whole numbers of a frame become fractions; None keeps them whole where all values of the
            column are.
    """

    below: float
    above: float
    whole: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_span(self.below, self.above)
        _check_whole(self.whole)

    def __str__(self) -> str:
        return f"{as_written(self.below)}..+{as_written(self.above)}{_WHOLE[self.whole]}"


@dataclass(frozen=True, slots=True)
class Relative:
    """A number that may move by at most this share of itself, >= 0, either way; `whole` as for `Within`."""

    share: float
    whole: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        require(_real("share", self.share) >= 0, "share >= 0", self.share)
        _check_whole(self.whole)

    def __str__(self) -> str:
        return f"±{as_written(100 * self.share)} %{_WHOLE[self.whole]}"


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number that may move by whole steps: `Whole(2)` by two either way, `Whole(-1, 3)` from -1 to 3."""

    below: int
    above: int | None = None

    def __post_init__(self) -> None:
        below, above = (-self.below, self.below) if self.above is None else (self.below, self.above)
        require(type(below) is int and type(above) is int, "whole numbers of steps", (self.below, self.above))
        _check_span(below, above)
        object.__setattr__(self, "below", below)
        object.__setattr__(self, "above", above)

    def __str__(self) -> str:
        return f"{self.below}..+{self.above} whole"


@dataclass(frozen=True, slots=True, init=False)
class AnyOf:
    """Any of these values, besides the sample's own; without values, any that the column has.

    A column of words has the words of the data, and one of a category type all that the type lists, the ones that no
    row has too. Values of a block of one-hot columns are its columns, by name or by place in the block. None stands for
    a missing value.
    """

    values: tuple[Hashable, ...]

    def __init__(self, *values: Hashable) -> None:
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        shown = [str(value) for value in self.values[:4]] + ["..."] * (len(self.values) > 4)
        return "|".join(shown) if self.values else "any"


@dataclass(frozen=True, slots=True)
class Fixed:
    """A column that does not change, as every column without a rule."""

    def __str__(self) -> str:
        return "fixed"


@dataclass(frozen=True, slots=True)
class Increase:
    """A number that may only rise, by at most `most`; `whole` as for `Within`."""

    most: float
    whole: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_span(0, self.most)
        _check_whole(self.whole)

    def __str__(self) -> str:
        return f"0..+{as_written(self.most)}{_WHOLE[self.whole]}"


@dataclass(frozen=True, slots=True)
class Decrease:
    """A number that may only fall, by at most `most`; `whole` as for `Within`."""

    most: float
    whole: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_span(0, self.most)
        _check_whole(self.whole)

    def __str__(self) -> str:
        return f"-{as_written(self.most)}..0{_WHOLE[self.whole]}"


ColumnRule = Within | Relative | Whole | AnyOf | Fixed | Increase | Decrease
Name = str | int | tuple[str | int, ...]
"""A column by its name or index, or a block of one-hot columns."""


def _real(name: str, value: object) -> float:
    checked_real(name, value)
    return float(cast("float", value))


def _check_span(below: object, above: object) -> None:
    require(_real("below", below) <= 0 <= _real("above", above), "a range with below <= 0 <= above", (below, above))


def _check_whole(whole: object) -> None:
    require(whole is None or type(whole) is bool, "whole to be True, False or None", whole)


def _allows_change(rule: object) -> bool:
    """Return False for numbers that may move by nothing, e.g. `Within(0, 0)`, and for `Fixed`."""
    amounts = [getattr(rule, name) for name in ("below", "above", "share", "most") if hasattr(rule, name)]
    return any(amounts) if amounts else not isinstance(rule, Fixed)


@dataclass(frozen=True, slots=True, init=False)
class Linear:
    """A linear relation of columns: `Linear({"loan": 1, "income": -0.5}, at_most=0)`.

    Args:
        weights: a factor for each column by name or index.
        at_most, at_least, equals: exactly one of them: the bound on the weighted sum.

    Raises:
        ConfigError: not exactly one bound, or a weight that is no number.
    """

    weights: tuple[tuple[str | int, float], ...]
    at_most: float | None
    at_least: float | None
    equals: float | None

    def __init__(
        self,
        weights: Mapping[str | int, float],
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        equals: float | None = None,
    ) -> None:
        given = [bound for bound in (at_most, at_least, equals) if bound is not None]
        require(len(given) == 1 and weights, "weights, and one of at_most, at_least and equals", (weights, given))
        checked_real("bound", given[0])
        pairs = tuple((name, _real(f"weight of {name}", weight)) for name, weight in weights.items())
        for name, value in (("weights", pairs), ("at_most", at_most), ("at_least", at_least), ("equals", equals)):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        total = " + ".join(f"{as_written(weight)} {name}" for name, weight in self.weights).replace("+ -", "- ")
        for sign, bound in (("<=", self.at_most), (">=", self.at_least), ("=", self.equals)):
            if bound is not None:
                return f"{total} {sign} {as_written(bound)}"
        return total


class TableCoding(Protocol):
    """The part of a frame's coding that `Columns` needs."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order of a row."""

    @property
    def labels(self) -> tuple[Any, ...]:
        """The user's own labels of the columns, in the order of a row."""

    @property
    def order(self) -> tuple[int, ...]:
        """The places in a row of the user's columns, in their order."""

    @property
    def missing(self) -> float:
        """The code of a missing value."""

    def decode(self, x: Tensor) -> Any:
        """Return rows x (N, D) in the user's format."""

    def values_of(self, column: int) -> tuple[float, ...]:
        """Return the codes of a column of categories, in order; () for numbers."""

    def code_of(self, column: int, value: Any) -> float:
        """Return the code of a value; raise ConfigError for a value that the column cannot have."""

    def range_of(self, column: int) -> tuple[float, float]:
        """Return the least and largest number that a column may have."""

    def limits_of(self, column: int) -> tuple[float, float]:
        """Return the least and largest number that the column's type holds."""

    def usual(self, column: int) -> tuple[float, ...]:
        """Return the codes of the data's numbers, in rising order, where these are few; else ()."""

    def counts(self, column: int) -> bool:
        """Return True for columns whose values can be added up."""

    def numbers(self, column: int, codes: Tensor) -> Tensor:
        """Return the numbers (N,) float64 that codes (N,) of a column of numbers stand for; missing ones stay."""

    def whole_in(self, column: int) -> bool:
        """Return True for columns of whole numbers, by their type or by their values."""

    def holds_fractions(self, column: int) -> bool:
        """Return True for columns of floats."""

    def shown(self, column: int, code: float) -> str:
        """Return a code of a column in words."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The fields of a `Columns` threat in rows of a known table; F fields, of D elements.

    Attributes:
        spots: (F, K) int64 elements that a field has in a row: one, or those of a block; the first is repeated.
        block: (F,) bool: the field is a block of one-hot columns.
        allowed: (F, K) bool: elements of blocks that may be the one of the block.
        whole: (F,) bool.
        table: (F, V) float32 allowed values, or thresholds, in rising order, and then inf.
        used: (F,) int64: entries of `table`; 0 for numbers in a range.
        cells: (F,) bool: `table` holds thresholds.
        usual: (F, U) float32 numbers that the data have, in rising order, and then inf. Encoders of numbers know no
            others: a model may answer there as it does nowhere between them.
        low, high: (F,) float64 range of the column.
        below, above: (F,) float64: moves allowed, or shares where `relative` (F,) bool.
        scale: (D,) float32: the usual room of an element; 0 for fixed ones.
        linear: (weights (D,) float64, least, largest) of each linear relation.
        missing: the code of a missing number, which stays unless a rule lists values.
    """

    names: tuple[str, ...]
    spots: Tensor
    block: Tensor
    allowed: Tensor
    whole: Tensor
    table: Tensor
    used: Tensor
    cells: Tensor
    usual: Tensor
    low: Tensor
    high: Tensor
    below: Tensor
    above: Tensor
    relative: Tensor
    scale: Tensor
    linear: tuple[tuple[Tensor, float, float], ...]
    missing: float

    def on(self, device: torch.device) -> Layout:
        return self if self.whole.device == device else _on(self, device)

    def place(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, F) int64 the first entry of each field's table at or above u (N, F), and True where it is u."""
        at = torch.searchsorted(self.table, u.T.contiguous()).T
        return at, (self.entry(at) == u) & (at < self.used)

    def entry(self, at: Tensor) -> Tensor:
        """Return (N, F) the entries of each field's table at places (N, F) int64."""
        return self.table.T.gather(0, at.clamp(max=self.table.shape[1] - 1))

    def fold(self, x: Tensor) -> Tensor:
        """Return (N, F): one number of rows x (N, D) for each field, for a block the place of its largest element."""
        parts = x[:, self.spots]
        # Repeated elements come behind the first, which argmax prefers.
        return torch.where(self.block, parts.argmax(2).to(x.dtype), parts[:, :, 0])

    def unfold(self, u: Tensor, x: Tensor) -> Tensor:
        """Return rows x (N, D) with the fields u (N, F)."""
        places = torch.arange(self.spots.shape[1], device=x.device)
        parts = (places == u.unsqueeze(2)).to(x.dtype)
        parts = torch.where(self.block.unsqueeze(1), parts, u.unsqueeze(2))
        # The places behind a block's last element repeat its first one, and must not overwrite it.
        parts = torch.where(self.spots == self.spots[:, :1], parts[:, :, :1], parts)
        return x.scatter(1, self.spots.flatten().expand(len(x), -1), parts.flatten(1))


@lru_cache(maxsize=16)
def _on(layout: Layout, device: torch.device) -> Layout:
    # Kept, since every step of a search asks for it.
    tensors: dict[str, Any] = {name: one.to(device) for name, one in vars(layout).items() if isinstance(one, Tensor)}
    linear = tuple((weights.to(device), least, most) for weights, least, most in layout.linear)
    return replace(layout, linear=linear, **tensors)


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of a table may change, each by its own rule; no other row is ever shown to the model.

    Sizes are numbers of changed columns (a block of one-hot columns is one).

    Args:
        changes: a rule for each column that may change, by its label in the frame or by its index, in the order of the
            user's columns (where labels are numbers, a number is a label); a block of one-hot columns by the tuple of
            its columns.
        max_changed: most columns that change at once, >= 1; None for all.
        where: relations that a changed row must satisfy: `Linear`, or functions of rows in the user's format that
            return a bool for each.
        ranges: (least, largest) of columns by name, or a schema of pandera with such checks; else those of the data,
            or the model's bounds.

    Raises:
        ConfigError: a rule, relation or number is invalid; `region` raises it for columns that the data lack.
    """

    changes: Mapping[Any, ColumnRule] | tuple[tuple[Name, ColumnRule], ...]
    max_changed: int | None = None
    where: Sequence[Linear | Callable[[Any], Any]] = ()
    ranges: Any = ()
    layout: Layout | None = field(default=None, compare=False, repr=False)
    coding: TableCoding | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        changes = tuple(self.changes.items()) if isinstance(self.changes, Mapping) else self.changes
        if not isinstance(changes, tuple) or not changes:
            raise ConfigError(expected('rules by column, e.g. {"age": Within(-2, 5)}', self.changes))
        for name, rule in changes:
            if not isinstance(rule, ColumnRule) or isinstance(rule, type):
                raise ConfigError(expected(f"a rule such as Within(-2, 5) for column {name!r}", rule))
            if isinstance(name, tuple) and not isinstance(rule, AnyOf | Fixed):
                raise ConfigError(expected(f"AnyOf(...) or Fixed() for the one-hot columns {name}", rule))
        if self.max_changed is not None:
            checked_whole("max_changed", self.max_changed, 1)
        where = tuple(self.where) if isinstance(self.where, Sequence) else (self.where,)
        for relation in where:
            if not isinstance(relation, Linear) and not callable(relation):
                raise ConfigError(expected("relations to be Linear(...) or functions of rows", relation))
        ranges = self.ranges
        if not isinstance(ranges, Mapping | tuple):  # a schema may have columns that the data lack, as the label
            ranges = {name: ends for name, ends in _of_schema(ranges).items() if name in dict(changes)}
        ranges = tuple(ranges.items()) if isinstance(ranges, Mapping) else ranges
        for name, ends in ranges:
            low, high = (_real(f"range of {name}", end) for end in ends)
            require(low < high, f"a range of {name!r} with least < largest", ends)
        for name, value in (("changes", changes), ("where", where), ("ranges", ranges)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_frame(cls, frame: Any, *, eps: float, max_changed: int | None = None) -> Columns:
        """Return a threat for a frame of pandas or polars, as a first proposal to be read and edited.

        Numbers and dates may move by `eps` times their range, whole numbers, also in a column of floats, by whole
        steps, at least one; booleans, categories and words of at most 50 values may become any other. Columns of one
        value stay.

        Args:
            eps: share of each column's range, > 0.

        Raises:
            ConfigError: eps is not positive, or nothing may change.
        """
        require(_real("eps", eps) > 0, "eps > 0", eps)
        rules: dict[Name, ColumnRule] = {}
        for name in frame.columns:
            column = frame[name]
            values = set(column.dropna().tolist() if hasattr(column, "dropna") else column.drop_nulls().to_list())
            values = {value for value in values if value == value}  # noqa: PLR0124 - polars keeps NaN
            kinds = {type(value) for value in values}
            if len(values) < 2:
                continue
            if kinds <= {bool, str} or str(column.dtype).lower().startswith(("category", "categorical", "enum")):
                if len(values) <= _WORDS:
                    rules[str(name)] = AnyOf()
            elif kinds <= {int} or (kinds <= {int, float} and all(map(_is_whole, values))):
                rules[str(name)] = Whole(max(1, round(eps * (max(values) - min(values)))))
            elif kinds <= {int, float}:
                room = eps * (max(values) - min(values))
                rules[str(name)] = Within(-room, room)
            elif all(hasattr(kind, "isoformat") for kind in kinds):
                days = (max(values) - min(values)).total_seconds() / 86_400
                rules[str(name)] = Within(-eps * days, eps * days)
        return cls(rules, max_changed=max_changed)

    @property
    def spans(self) -> dict[str, str]:
        """The range of each column of numbers, in words, once the table is known."""
        table = self.layout
        if table is None:
            return {}
        words = {}
        for at in (((table.used == 0) | table.cells) & ~table.block).nonzero().squeeze(1).tolist():
            column, ends = int(table.spots[at, 0]), (float(table.low[at]), float(table.high[at]))
            shown = [as_written(end) if self.coding is None else self.coding.shown(column, end) for end in ends]
            # A column of whole numbers by type needs no word.
            by_values = self.coding is not None and self.coding.holds_fractions(column) and bool(table.whole[at])
            words[table.names[at]] = " to ".join(shown) + " whole" * by_values
        return words

    @property
    def radius(self) -> float:
        movable = sum(_allows_change(rule) for _, rule in self.changes)
        return float(movable if self.max_changed is None else min(movable, self.max_changed))

    def __str__(self) -> str:
        rules = ", ".join(f"{_label(name)} {rule}" for name, rule in self.changes if not isinstance(rule, Fixed))
        most = f"; at most {self.max_changed} changed" if self.max_changed is not None else ""
        named = [str(r) if isinstance(r, Linear) else getattr(r, "__name__", "a relation") for r in self.where]
        return f"Columns({rules}{most}{'; where ' if named else ''}{', '.join(named)})"

    # The table

    def resolved(
        self,
        width: int,
        bounds: Bounds,
        *,
        coding: TableCoding | None = None,
        cells: Sequence[Sequence[float]] | None = None,
        names: Sequence[Any] = (),
    ) -> Columns:
        """Return the threat for rows of `width` elements inside bounds.

        Args:
            coding: the frame's, for columns by name; None for plain arrays, whose columns are indices.
            cells: for each element, the thresholds at which the model's answer may change: it compares elements
                `x <= threshold`, and nothing else. None if the model is no such.
            names: labels of the columns of plain arrays that were a frame.

        Raises:
            ConfigError: a column is unknown, twice there, or its rule does not fit it.
        """
        labels = list(names if coding is None else coding.labels)
        places = {str(label): at for at, label in enumerate(labels)}
        # Where labels are numbers, a number is a label: an index would name another column.
        numbered = any(isinstance(label, int | np.integer) for label in labels)
        taken: set[int] = set()

        def place(name: str | int) -> int:
            at = name if type(name) is int and not numbered else places.get(str(name), -1)
            if not 0 <= at < width:
                known = ", ".join(list(places)[:10]) or f"0 to {width - 1}"
                raise ConfigError(expected(f"columns among {known}", name))
            return coding.order[at] if coding is not None and type(name) is int and not numbered else at

        ranges = {place(name): ends for name, ends in self.ranges}
        groups, names, tables, rows = [], [], [], []
        for name, rule in self.changes:
            group = tuple(map(place, name)) if isinstance(name, tuple) else (place(name),)
            if taken & set(group) or len(set(group)) < len(group):
                raise ConfigError(expected("each column in one rule", name))
            taken |= set(group)
            if isinstance(rule, Fixed):
                continue
            at = group[0]
            whole = _stays_whole(name, rule, at, coding)
            low, high = ranges.get(at) or (coding.range_of(at) if coding is not None else bounds)
            if at in ranges and coding is not None:
                least, most = coding.limits_of(at)
                if not least <= low <= high <= most:
                    what = f"a range of {name!r} inside {as_written(least)} to {as_written(most)}, which its type holds"
                    raise ConfigError(expected(what, ranges[at], "Convert the column to a wider type."))
            values: Sequence[float] = ()
            if isinstance(rule, AnyOf):
                values = self._values(name, rule, group, coding)
            elif coding is not None and coding.values_of(at):
                raise ConfigError(expected(f"AnyOf(...) or Fixed() for the column {name!r} of categories", rule))
            cut: Sequence[float] = () if cells is None or values or len(group) > 1 else cells[at]
            below, above, relative = _span(rule)
            known = cells is not None and not values and (not whole or above - below > _MANY)
            groups.append(group)
            names.append(_label(name))
            tables.append(list(values) if not known else sorted({_below(t) for t in cut}))
            rows.append((whole, known, low, high, below, above, relative))
        if not any(_allows_change(rule) for _, rule in self.changes):
            what = "Every rule is Fixed() or a range of nothing: give one column room."
            raise ConfigError(expected("a column that may change", str(self), what))
        usual = [
            () if coding is None or len(group) > 1 or table or whole else coding.usual(group[0])
            for group, table, (whole, *_) in zip(groups, tables, rows, strict=True)
        ]
        whole_, cells_, low_, high_, below_, above_, relative_ = (list(column) for column in zip(*rows, strict=True))
        scale = torch.zeros(width)
        for group, low, high, below, above, relative, table in zip(
            groups, low_, high_, below_, above_, relative_, tables, strict=True
        ):
            room = 1.0 if len(group) > 1 else max(abs(low), abs(high)) * above if relative else above - below
            room = min(room, high - low) if len(group) == 1 else room
            scale[list(group)] = float(room) if math.isfinite(room) else float(table[-1] - table[0])
        linear = []
        for relation in self.where:
            if isinstance(relation, Linear):
                weights = torch.zeros(width, dtype=torch.float64)
                for name, weight in relation.weights:
                    if coding is not None and not coding.counts(place(name)):
                        mend = "Write the relation as a function of a frame."
                        raise ConfigError(expected("columns of numbers in Linear(...)", name, mend))
                    weights[place(name)] += weight
                equal = relation.equals
                least = equal if equal is not None else -math.inf if relation.at_least is None else relation.at_least
                most = equal if equal is not None else math.inf if relation.at_most is None else relation.at_most
                linear.append((weights, least, most))
        longest = max(map(len, groups))
        spots = torch.tensor([[*group, *[group[0]] * (longest - len(group))] for group in groups])
        allowed = torch.zeros(spots.shape, dtype=torch.bool)
        for at, (group, table) in enumerate(zip(groups, tables, strict=True)):
            if len(group) > 1:
                allowed[at, [int(value) for value in table]] = True
        layout = Layout(
            names=tuple(names),
            spots=spots,
            block=torch.tensor([len(group) > 1 for group in groups]),
            allowed=allowed,
            whole=torch.tensor(whole_),
            table=_padded(tables),
            used=torch.tensor([len(table) for table in tables]),
            cells=torch.tensor(cells_),
            usual=_padded(usual),
            low=torch.tensor(low_, dtype=torch.float64),
            high=torch.tensor(high_, dtype=torch.float64),
            below=torch.tensor(below_, dtype=torch.float64),
            above=torch.tensor(above_, dtype=torch.float64),
            relative=torch.tensor(relative_),
            scale=scale,
            linear=tuple(linear),
            missing=math.nan if coding is None else coding.missing,
        )
        return replace(self, layout=layout, coding=coding)

    def numbers(self) -> list[tuple[int, float, float]]:
        """Return the elements that may move as numbers, each with the least and largest value of its column."""
        table = self.layout
        if table is None:
            return []
        rows = ((table.used == 0) & ~table.block).nonzero().squeeze(1).tolist()
        return [(int(table.spots[at, 0]), float(table.low[at]), float(table.high[at])) for at in rows]

    def _values(self, name: Name, rule: AnyOf, group: tuple[int, ...], coding: TableCoding | None) -> list[float]:
        """Return the codes that a column or a block may have, in rising order."""
        if len(group) > 1:
            columns = list(name) if isinstance(name, tuple) else []
            places = {column: at for at, column in enumerate(columns) if isinstance(column, str)}
            found: set[float] = set()
            for value in rule.values:
                code = places.get(value) if isinstance(value, str) else value
                if type(code) is not int or not 0 <= code < len(group):
                    raise ConfigError(expected(f"columns, or places 0 to {len(group) - 1}, of the block {name}", value))
                found.add(float(code))
            return sorted(found or set(map(float, range(len(group)))))
        if coding is not None:
            values = coding.values_of(group[0]) if not rule.values else ()
            codes = {*values, *(coding.code_of(group[0], value) for value in rule.values)}
            require(codes, f"values in AnyOf(...) for the column {name!r} of numbers", rule)
            return sorted(codes)
        require(rule.values, f"values in AnyOf(...) for column {name!r}", rule)
        return sorted({_real(f"value of {name}", value) for value in rule.values})

    def _numbers(self, u: Tensor, table: Layout) -> Tensor:
        """Return fields u (N, F) as float64: of a frame's numbers the user's own, which float32 may have rounded."""
        out, coding = u.double(), self.coding
        if coding is not None:
            for at in (((table.used == 0) | table.cells) & ~table.block).nonzero().squeeze(1).tolist():
                out[:, at] = coding.numbers(int(table.spots[at, 0]), u[:, at])
        return out

    def _layout(self, x: Tensor, bounds: Bounds | None = None) -> Layout:
        if self.layout is not None:
            return self.layout.on(x.device)
        made: Any = self.resolved(x.shape[1], bounds or (0.0, 1.0)).layout
        return cast("Layout", made).on(x.device)

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        require(x.ndim == 2, f"rows (N, D) of a table for {self}", tuple(x.shape))
        table = self._layout(x, bounds)
        u = table.fold(x)
        exact = self._numbers(u, table)
        parts = x[:, table.spots]
        inside = table.spots != table.spots[:, :1]
        inside[:, 0] = True
        ones = (parts * inside).sum(2) == 1
        odd = (table.block & ~(((parts == 0) | (parts == 1)).all(2) & ones)).any(0)
        if bool(odd.any()):
            at = int(odd.nonzero()[0])
            raise ConfigError(expected(f"one-hot columns {table.names[at]}", parts[:3, at].tolist()))
        odd = table.whole & (u != u.round())
        if bool(odd.any()):
            row, at = odd.nonzero()[0].tolist()
            mend = "Use Within(...) for a column of real numbers."
            raise ConfigError(expected(f"whole numbers in column {table.names[at]}", float(u[row, at]), mend))
        listed = (table.used > 0) & ~table.cells
        amount = torch.where(table.relative, exact.abs(), 1.0)
        # The sample itself is always allowed, also where it lies outside of the column's range.
        least = torch.minimum(exact, torch.maximum(exact + table.below * amount, table.low))
        most = torch.maximum(exact, torch.minimum(exact + table.above * amount, table.high))
        least = torch.where(table.whole, least.ceil(), least)
        most = torch.where(table.whole, most.floor(), most)
        gone = u == table.missing
        least, most = torch.where(gone, exact, least), torch.where(gone, exact, most)
        self._check_precision(exact, least, most, listed | gone, table)
        low, high = least.to(x.dtype), most.to(x.dtype)
        # float32 may have rounded an end outwards: step back inside. An end may miss by what float64 rounds in sums.
        low = torch.where(self._numbers(low, table) < least - _ROUNDED * least.abs(), torch.nextafter(low, u), low)
        high = torch.where(self._numbers(high, table) > most + _ROUNDED * most.abs(), torch.nextafter(high, u), high)
        # Lists: the place of the sample's value, or the length where it is not listed.
        own, known = table.place(u)
        steps = (high.double() - low.double()).long()
        begin, end = table.place(low)[0], table.place(high)[0]
        first = torch.where(known, own, table.used)
        first = torch.where(table.cells, begin, torch.where(listed, first, (exact - low.double()).long()))
        before = torch.searchsorted(table.usual, low.T.contiguous()).T
        upto = torch.searchsorted(table.usual, high.T.contiguous(), right=True).T
        count = torch.where(table.whole, steps, _GRID + (upto - before).clamp(min=0))
        count = torch.where(table.cells, end - begin, torch.where(listed, table.used - known.long(), count))
        count = torch.where(~listed & (low == high), 0, count)
        # The box of proposals: of a list from its least to its largest value, of a block the allowed elements.
        last = table.table.gather(1, (table.used - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        ends_low = torch.where(listed, torch.minimum(u, table.table[:, 0]), low).unsqueeze(2)
        ends_high = torch.where(listed, torch.maximum(u, last), high).unsqueeze(2)
        ends_low = torch.where(table.block.unsqueeze(1), 0.0, ends_low.expand_as(parts))
        ends_high = torch.where(table.block.unsqueeze(1), torch.maximum(parts, table.allowed.to(x.dtype)), ends_high)
        # Repeated elements get the end of the first.
        spots = table.spots.flatten().expand(len(x), -1)
        repeated = ~inside
        ends_low = torch.where(repeated, ends_low[:, :, :1], ends_low)
        ends_high = torch.where(repeated, ends_high[:, :, :1], ends_high)
        ends_low, ends_high = x.scatter(1, spots, ends_low.flatten(1)), x.scatter(1, spots, ends_high.flatten(1))
        ends = {"low": ends_low, "high": ends_high, "least": low, "most": high}
        return {"x": x, "u": u, **ends, "first": first, "count": count, "before": before}

    def _check_precision(self, exact: Tensor, least: Tensor, most: Tensor, still: Tensor, table: Layout) -> None:
        """Raise ConfigError where float32 has next to none of the numbers (N, F) that a frame's column may become.

        A search would look at none of them, and the sample would count as robust.
        """
        if self.coding is None:
            return
        amount = torch.where(table.relative, exact.abs(), 1.0)
        room = torch.minimum((table.above - table.below) * amount, table.high - table.low)
        largest = torch.maximum(least.abs(), most.abs()).clamp(max=1e37).float()
        step = (torch.nextafter(largest, largest + torch.inf) - largest).double()
        coarse = (_NUMBERS * step > room) & (room > 0) & ~still & ~table.block & ~(table.whole & (step <= 1))
        if bool(coarse.any()):
            row, at = coarse.nonzero()[0].tolist()
            span, value = (as_written(float(one[row, at])) for one in (room, exact))
            raise ConfigError(
                f"Expected a range of {table.names[at]} that float32 divides into {_NUMBERS} numbers or more but got "
                f"{span} around {value}. Subtract a constant from the column, or change its unit."
            )

    def origin(self, region: Rows) -> Tensor:
        return region["x"]

    def start(self, region: Rows, key: Tensor) -> Tensor:
        """Return random rows: a random number of random fields, each at a random allowed value."""
        table, u = self._layout(region["x"]), region["u"]
        fields = u.shape[1]
        share = rng.uniform(rng.fold(key, "values"), (fields,))
        real = (table.used == 0) & ~table.whole & ~table.cells
        value = region["least"] + share * (region["most"] - region["least"])
        choice = (share.double() * region["count"]).long()
        value = torch.where(real, value, self._value(table, region, choice))
        value = torch.where(region["count"] > 0, value, u)
        most = min(fields, self.max_changed or fields)
        changed = rng.integers(rng.fold(key, "number"), (1,), most) + 1
        order = rng.uniform(rng.fold(key, "fields"), (fields,))
        order = torch.where(region["count"] > 0, order, 2.0)  # fields that cannot change come last
        rank = order.argsort(1).argsort(1)
        return table.unfold(torch.where(rank < changed, value, u), region["x"])

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return clip(z, region)

    def ascent(self, gradient: Tensor) -> Tensor:
        if self.layout is None:
            return gradient.sign()
        scale = self.layout.scale.to(gradient)
        if self.max_changed is None:
            return gradient.sign() * scale
        # Fields must differ in their way, as the farthest ones are kept.
        pull = gradient * scale
        return scale * pull / pull.abs().amax(1, keepdim=True).clamp(min=torch.finfo(pull.dtype).tiny)

    def stride(self, region: Rows) -> Tensor:
        return torch.ones_like(region["x"][:, 0])

    def render(self, z: Tensor, region: Rows) -> Tensor:
        with torch.no_grad():
            snapped = self._snapped(z.detach(), region)
        return snapped + (z - z.detach()) if z.requires_grad else snapped

    def size(self, z: Tensor, region: Rows) -> Tensor:
        table = self._layout(z)
        return (table.fold(self._snapped(z, region)) != region["u"]).sum(1).double()

    def feasible(self, x: Tensor, region: Rows) -> Tensor:
        """Return (N,) bool: rows x (N, D) that every rule and relation allows, or that are the sample."""
        table, own, u = self._layout(x), region["x"], region["u"]
        new = table.fold(x)
        ok = (table.unfold(new, own) == x).all(1)  # whole blocks, and nothing outside of the fields
        moved = new != u
        listed = ((table.used > 0) & ~table.cells).expand_as(new)
        inside = (new >= region["least"]) & (new <= region["most"])
        fine = torch.where(listed, table.place(new)[1], inside & (~table.whole | (new == new.round())))
        ok &= (fine | ~moved).all(1)
        if self.max_changed is not None:
            ok &= moved.sum(1) <= self.max_changed
        same = ~moved.any(1) & ok
        rows = (ok & ~same).nonzero().squeeze(1)
        if self.where and len(rows):
            ok[rows] &= self._related(x[rows], table)
        return ok | same

    def _related(self, x: Tensor, table: Layout) -> Tensor:
        ok = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for weights, least, most in table.linear:
            value = x.double()
            if self.coding is not None:
                for at in weights.nonzero().squeeze(1).tolist():
                    value[:, at] = self.coding.numbers(at, x[:, at])
            terms = value * weights.to(x.device)
            # A relation with a missing number in it says nothing of the row.
            terms = torch.where(((x == table.missing) & (weights != 0)).any(1, keepdim=True), torch.nan, terms)
            slack = _slack(terms) if least == most else 0.0
            total = terms.sum(1)
            ok &= ~(total < least - slack) & ~(total > most + slack)
        predicates = [relation for relation in self.where if not isinstance(relation, Linear)]
        if not predicates:
            return ok
        rows = x if self.coding is None else self.coding.decode(x)
        for relation in predicates:
            answer = relation(rows)
            held = answer.cpu().numpy() if isinstance(answer, Tensor) else np.asarray(answer)
            if held.shape != (len(x),) or held.dtype.kind != "b":
                mend = "A relation gets many rows at once and returns a bool for each."
                raise ConfigError(expected(f"{len(x)} bools of a relation", f"{held.dtype} {held.shape}", mend))
            ok &= torch.from_numpy(held.copy()).to(x.device)
        return ok

    def _snapped(self, z: Tensor, region: Rows) -> Tensor:
        table, u, x = self._layout(z), region["u"], region["x"]
        v = table.fold(z)
        room = (table.fold(region["high"]) - table.fold(region["low"])).clamp(min=torch.finfo(v.dtype).tiny)
        way = (v - u).abs() / room
        real = torch.minimum(torch.maximum(v, region["least"]), region["most"])
        new = torch.where(table.whole, u + (real - u).round(), real)
        # Lists: the nearest of the entries above and below, and of the sample's own value.
        listed = (table.used > 0) & ~table.cells & ~table.block
        at = table.place(v)[0]
        above = table.entry(torch.minimum(at, table.used - 1).clamp(min=0))
        below = table.entry((at - 1).clamp(min=0))
        near = torch.where((v - below).abs() < (above - v).abs(), below, above)
        near = torch.where((v - u).abs() <= (near - v).abs(), u, near)
        new = torch.where(listed, near, new)
        if bool(table.block.any()):
            # Of equal weights the sample's own category stays.
            places = torch.arange(table.spots.shape[1], device=z.device)
            stays = (places == u.unsqueeze(2)) & table.block.unsqueeze(1)
            weight = torch.where(table.allowed | stays, z[:, table.spots], -torch.inf)
            heaviest = weight + stays * 1e-6
            new = torch.where(table.block, heaviest.argmax(2).to(z.dtype), new)
            own = torch.where(stays, weight, -torch.inf).amax(2)
            way = torch.where(table.block, weight.amax(2) - own, way)
        new = torch.where(region["count"] > 0, new, u)
        most = self.max_changed
        if most is not None and most < new.shape[1]:
            rank = torch.where(new != u, way, -1.0).argsort(dim=1, descending=True, stable=True).argsort(1)
            new = torch.where(rank < most, new, u)
        out = table.unfold(new, x)
        for _ in range(_ROUNDS if len(table.linear) > 1 else 1):
            for relation in table.linear:
                out = self._nearest(out, region, table, relation)
        return out

    def _nearest(self, x: Tensor, region: Rows, table: Layout, relation: tuple[Tensor, float, float]) -> Tensor:
        """Return rows (N, D) moved to the nearest point that a linear relation allows."""
        weights, least, most = relation[0].to(x.device), *relation[1:]
        terms = x.double() * weights
        total, equal = terms.sum(1), least == most
        slack = _slack(terms)
        high, low = total > most + (slack if equal else 0), total < least - (slack if equal else 0)
        changed = x != region["x"]
        gone = ((x == table.missing) & (weights != 0)).any(1)
        rows = ((high | low) & ~gone & changed.any(1)).nonzero().squeeze(1)
        if not len(rows):
            return x
        row = x[rows].double()
        single = torch.zeros_like(weights, dtype=torch.bool)
        single[table.spots[(table.used == 0) | table.cells, 0]] = True  # numbers, and no entries of a list
        # An inequality is met by the columns that have moved, which makes no further change.
        free = single & (weights != 0) & (torch.ones_like(changed[rows]) if equal else changed[rows])
        goal = torch.where(high[rows], most, least) - (0 if equal else torch.where(high[rows], 1, -1) * slack[rows])
        way = weights * table.scale.to(x.device).double().square() * free
        way = way * torch.where(high[rows], -1.0, 1.0).unsqueeze(1)
        lows, highs = region["low"][rows].double(), region["high"][rows].double()

        def at(t: Tensor) -> Tensor:
            return torch.where(free, torch.minimum(torch.maximum(row + t.unsqueeze(1) * way, lows), highs), row)

        short = torch.zeros_like(goal)
        reach = (highs - lows) / way.abs().clamp(min=1e-300)
        far = torch.where(free, reach, 0.0).amax(1)
        for _ in range(_HALVINGS):
            middle = (short + far) / 2
            over = (at(middle) * weights).sum(1)
            met = torch.where(high[rows], over <= goal, over >= goal)
            short, far = torch.where(met, short, middle), torch.where(met, middle, far)
        near = at(far)
        whole = torch.zeros_like(weights, dtype=torch.bool)
        whole[table.spots[table.whole, 0]] = True
        near = torch.where(whole & free, torch.where(way > 0, near.ceil(), near.floor()), near)
        out = x.clone()
        out[rows] = torch.where(free, near.to(x.dtype), x[rows])
        return out

    # Moves

    def places(self, z: Tensor, region: Rows) -> Tensor:
        return torch.full((len(z),), region["u"].shape[1], device=z.device)

    def choices(self, z: Tensor, place: Tensor, region: Rows) -> Tensor:
        at = place.unsqueeze(1)
        # Further to the sample's other values, a changed field can be put back.
        back = self._layout(z).fold(z).gather(1, at) != region["u"].gather(1, at)
        return (region["count"].gather(1, at) + back).squeeze(1)

    def moved(self, z: Tensor, place: Tensor, choice: Tensor, region: Rows) -> Tensor:
        table, own = self._layout(z), region["u"]
        u, at = table.fold(z), place.unsqueeze(1)
        value = self._value(table, region, choice.unsqueeze(1).expand_as(own)).gather(1, at)
        back = choice.unsqueeze(1) >= region["count"].gather(1, at)
        new = u.scatter(1, at, torch.where(back, own.gather(1, at), value))
        if self.max_changed is not None:
            # One change too many: put another one back, by turns.
            changed = (new != own).scatter(1, at, False)
            over = ((new != own).sum(1) > self.max_changed) & changed.any(1)
            turn = (choice + place) % changed.sum(1).clamp(min=1)
            gone = changed & (changed.cumsum(1) == turn.unsqueeze(1) + 1) & over.unsqueeze(1)
            new = torch.where(gone, own, new)
        return table.unfold(new, region["x"])

    def _value(self, table: Layout, region: Rows, choice: Tensor) -> Tensor:
        u, low, high, first = region["u"], region["least"], region["most"], region["first"]
        count = region["count"]
        choice = torch.minimum(choice, (count - 1).clamp(min=0))
        step = choice + (choice >= first).long()  # the sample's own value is left out
        whole = low + step.to(low.dtype)
        even = low + choice.to(low.dtype) / (_GRID - 1) * (high - low)
        even = torch.where(choice == _GRID - 1, high, torch.minimum(even, high))
        # Behind the even numbers those of the data that lie in the range.
        later = (region["before"] + choice - _GRID).clamp(0, table.usual.shape[1] - 1)
        usual = table.usual.T.gather(0, later)
        even = torch.where(choice >= _GRID, torch.minimum(torch.maximum(usual, low), high), even)
        entry = table.entry(torch.where(table.cells, first + choice, step))
        # The nearest number on the other side of a threshold.
        crossed = torch.where(entry >= u, torch.nextafter(entry, torch.full_like(entry, torch.inf)), entry)
        whole_crossed = torch.where(entry >= u, entry.floor() + 1, entry.floor())
        crossed = torch.where(table.whole, whole_crossed, crossed)
        crossed = torch.minimum(torch.maximum(crossed, low), high)
        listed = table.used > 0
        value = torch.where(table.cells, crossed, torch.where(listed, entry, torch.where(table.whole, whole, even)))
        return torch.where(count > 0, value, u)

    def points(self, region: Rows) -> Tensor:
        table, count = self._layout(region["x"]), region["count"]
        endless = (table.used == 0) & ~table.whole & ~table.cells & (count > 0)
        total = self._ways(count)[:, 0].sum(1)
        # A relation may hold in one part of a cell and fail in another: its cells are more than those of the model.
        split = (table.cells & (count > 0)).any(1) & bool(self.where)
        deep = (count > 0).sum(1).clamp(max=self.max_changed or count.shape[1]) > _LEVELS
        return torch.where(endless.any(1) | split | deep | (total >= _CAP), torch.inf, total)

    def moves_inside_cells(self, region: Rows) -> Tensor:
        """Return (N,) bool, True for rows with a number that may change, though `points` may count one cell alone."""
        cells = self._layout(region["x"]).cells
        return (cells & (region["most"] > region["least"])).any(1)

    def point(self, number: Tensor, region: Rows) -> Tensor:
        table, count = self._layout(region["x"]), region["count"]
        ways = self._ways(count)  # (N, F + 1, K + 1)
        n, lanes = number.shape
        fields = count.shape[1]
        upto = devices.running_sum(ways[:, 0], 1)
        level = torch.searchsorted(upto, number.double(), right=True)
        beyond = level >= upto.shape[1]
        level = level.clamp(max=upto.shape[1] - 1)
        before = torch.cat([torch.zeros_like(upto[:, :1]), upto], 1).gather(1, level)
        left = (number.double() - before).clamp(min=0)
        choice = torch.full((n, lanes, fields), -1, dtype=torch.int64, device=number.device)
        for at in range(fields):
            stay = ways[:, at + 1].gather(1, level)
            goes = (left >= stay) & (level > 0) & ~beyond
            rest = ways[:, at + 1].gather(1, (level - 1).clamp(min=0)).clamp(min=1)
            left = torch.where(goes, left - stay, left)
            choice[:, :, at] = torch.where(goes, (left / rest).floor().long(), -1)
            left = torch.where(goes, left % rest, left)
            level = torch.where(goes, level - 1, level)
        wide = {name: value.repeat_interleave(lanes, 0) for name, value in region.items()}
        flat = choice.flatten(0, 1)
        value = torch.where(flat >= 0, self._value(table, wide, flat.clamp(min=0)), wide["u"])
        return table.unfold(value, wide["x"]).view(n, lanes, -1)

    def _ways(self, count: Tensor) -> Tensor:
        """Return (N, F + 1, K + 1) float64: the ways to change exactly k of the fields from f on."""
        n, fields = count.shape
        most = min(fields, self.max_changed or fields, _LEVELS)
        ways = torch.zeros((n, fields + 1, most + 1), dtype=torch.float64, device=count.device)
        ways[:, fields, 0] = 1
        for at in range(fields - 1, -1, -1):
            ways[:, at] = ways[:, at + 1]
            ways[:, at, 1:] += count[:, at : at + 1] * ways[:, at + 1, :-1]
        return ways.clamp_(max=_CAP)


def _of_schema(schema: Any) -> dict[str, tuple[float, float]]:
    columns = getattr(schema, "columns", None)
    if columns is None and hasattr(schema, "to_schema"):  # a model of a frame
        columns = schema.to_schema().columns
    if not isinstance(columns, Mapping):
        raise ConfigError(expected("ranges by column, or a schema of pandera", schema))
    ranges: dict[str, tuple[float, float]] = {}
    for name, column in columns.items():
        stated = [getattr(check, "statistics", None) or {} for check in column.checks]
        least = [one["min_value"] for one in stated if "min_value" in one]
        most = [one["max_value"] for one in stated if "max_value" in one]
        if least and most:
            ranges[str(name)] = float(max(least)), float(min(most))
    return ranges


def _padded(rows: Sequence[Sequence[float]]) -> Tensor:
    """Return float32 rows of numbers, each with inf behind its last one."""
    longest = max(1, *map(len, rows))
    return torch.tensor([[*row, *[math.inf] * (longest - len(row))] for row in rows], dtype=torch.float32)


def _label(name: Name) -> str:
    return "/".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _is_whole(value: float) -> bool:
    return float(value).is_integer() and abs(value) <= EVERY_WHOLE


def _stays_whole(name: Name, rule: ColumnRule, at: int, coding: TableCoding | None) -> bool:
    """Return True if a rule keeps a column whole: by itself, or by the values of the frame's column.

    Raises:
        ConfigError: the rule asks for fractions that the column's type cannot hold, or leaves no room for a whole step.
    """
    asked = True if isinstance(rule, Whole) else getattr(rule, "whole", None)
    if coding is None or asked is True or not coding.whole_in(at):
        return asked is True
    if asked is False:
        if not coding.holds_fractions(at):
            raise ConfigError(expected(f"a column of floats for fractions of {name!r}", rule, "Convert the column."))
        return False
    below, above, relative = _span(rule)
    if coding.holds_fractions(at) and not relative and _allows_change(rule) and below > -1 and above < 1:
        what = f"room for a whole step in the column {name!r}, whose values are all whole"
        raise ConfigError(expected(what, str(rule), "Write Whole(1), or whole=False in the rule to allow fractions."))
    return True


def _span(rule: ColumnRule) -> tuple[float, float, bool]:
    match rule:
        case Within() | Whole():
            return float(rule.below), float(rule.above or 0), False
        case Relative():
            return -rule.share, rule.share, True
        case Increase():
            return 0.0, float(rule.most), False
        case Decrease():
            return -float(rule.most), 0.0, False
    return -math.inf, math.inf, False


def _below(threshold: float) -> float:
    """Return the largest float32 at most a threshold: `x <= threshold` is the same for all float32 x."""
    near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


def _slack(terms: Tensor) -> Tensor:
    """Return (N,) float64: what storing rows in float32 may add to a sum of terms (N, D)."""
    return terms.abs().sum(1) * 2.0**-22
