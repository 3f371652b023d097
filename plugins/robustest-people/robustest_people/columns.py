"""Columns of answers as people write them, into whole numbers; an error names the item of the row it stands in."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustest.errors import ConfigError, DataError, expected

Ints = NDArray[np.int64]

NONE = -1
"""Stands for what is not there."""

_YES_OR_NO = {"yes": 1, "no": 0, "true": 1, "false": 0, "1": 1, "0": 0}
_CHECKS = {"passed": 1, "failed": 0, **_YES_OR_NO}


def named(classes: int | Sequence[str]) -> tuple[str, ...]:
    """The names of the classes; their positions, where only their number is given.

    Raises:
        ConfigError: they are no names, or two are alike.
    """
    if isinstance(classes, int | np.integer) and not isinstance(classes, bool) and classes > 0:
        return tuple(map(str, range(int(classes))))
    names = () if isinstance(classes, str | int) else tuple(classes)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ConfigError(expected("classes to be names, each once, or how many there are", classes))
    return names


def items_of(values: object, size: int) -> Ints:
    """(R,) positions of items in 0..size-1; -1 where there is none.

    Raises:
        ConfigError: size is no whole number >= 1.
        DataError: an item is out of range, or no whole number.
    """
    if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
        raise ConfigError(expected("size to be a whole number >= 1", size))
    column = values if isinstance(values, np.ndarray) else list(cast("Sequence[object]", values))
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "iu":
        items = column.astype(np.int64)
    else:
        items = np.array([_whole(value) for value in column], dtype=np.int64)
    wrong = np.flatnonzero((items >= size) | (items < NONE))
    if len(wrong):
        raise DataError(f"Expected items in 0..{size - 1} but row {wrong[0]} is about item {items[wrong[0]]}.")
    return items


def check_lengths(rows: int, **columns: Any) -> None:
    """Refuse columns that do not have a value a row; None stands for a column that is not there.

    Raises:
        DataError: one is shorter or longer.
    """
    for name, column in columns.items():
        if column is not None and len(column) != rows:
            raise DataError(f"Expected {rows} values of {name!r}, one a row, but got {len(column)}.")


def labels_of(values: object, names: tuple[str, ...], items: Ints, what: str) -> Ints:
    """(R,) classes by position, given by name or position; -1 where there is none.

    Raises:
        DataError: a class does not exist.
    """
    if values is None:
        return np.full(len(items), NONE)
    known = {str(at): at for at in range(len(names))} if not any(name.isdigit() for name in names) else {}
    return _positions(values, {**{name: at for at, name in enumerate(names)}, **known}, len(names), items, what)


def answers_of(values: object, asked: Ints, names: tuple[str, ...], items: Ints) -> Ints:
    """(R,) classes that were chosen, or 1 and 0 where one was asked about.

    Raises:
        DataError: an answer is missing, or none that could be given.
    """
    column = np.asarray(values) if isinstance(values, np.ndarray) else list(cast("Sequence[object]", values))
    by_label = asked != NONE
    if by_label.all() and len(asked):
        answers = _positions(column, _YES_OR_NO, 2, items, "answer")
    elif not by_label.any():
        answers = labels_of(column, names, items, "answer")
    else:  # checks alone may be asked in another way; whether items are is looked at later
        answers = np.full(len(items), NONE)
        for rows, known in ((np.flatnonzero(by_label), True), (np.flatnonzero(~by_label), False)):
            some = [column[row] for row in rows]
            answers[rows] = (
                _positions(some, _YES_OR_NO, 2, items[rows], "answer")
                if known
                else labels_of(some, names, items[rows], "answer")
            )
    missing = np.flatnonzero((answers == NONE) & (items != NONE))
    if len(missing):
        raise DataError(f"Expected an answer in each row but one of item {items[missing[0]]} has none.")
    return answers


def times_of(values: object, items: Ints) -> NDArray[np.float64]:
    """(R,) seconds; NaN where there are none.

    Raises:
        DataError: a time is no number, or negative.
    """
    if values is None:
        return np.full(len(items), np.nan)
    times = np.full(len(items), np.nan)
    for row, value in enumerate(cast("Sequence[object]", values)):
        if _absent(value):
            continue
        try:
            times[row] = float(cast("Any", value))
        except (TypeError, ValueError):
            raise DataError(expected(f"the time of item {items[row]} in seconds", value)) from None
    if len(wrong := np.flatnonzero((times < 0) | np.isinf(times))):
        raise DataError(f"Expected times >= 0 but one of item {items[wrong[0]]} is {times[wrong[0]]:g}.")
    return times


def checks_of(values: object, items: Ints) -> Ints:
    """(R,) 1 for a check that was passed, 0 for one that was failed, -1 for a row that is none.

    Raises:
        DataError: it is neither, or a row has neither an item nor a check.
    """
    nothing = np.full(len(items), NONE)
    checks = nothing if values is None else _positions(values, _CHECKS, 2, items, "check")
    neither = np.flatnonzero((items == NONE) & (checks == NONE))
    if len(neither):
        raise DataError(f"Expected an item or a check in each row but row {neither[0]} has neither.")
    return checks


def annotators_of(values: object, rows: int) -> tuple[Ints, tuple[str, ...]]:
    """(R,) positions in the names, -1 where nobody is named, and the names in the order of their first answers."""
    if values is None:
        return np.full(rows, NONE), ()
    places: dict[str, int] = {}  # by name: an annotator who is 7 in one row and "7" in another is one
    codes = np.empty(rows, dtype=np.int64)
    column = values.tolist() if isinstance(values, np.ndarray) else values
    for row, value in enumerate(cast("Sequence[object]", column)):
        codes[row] = NONE if _absent(value) else places.setdefault(str(value), len(places))
    return codes, tuple(places)


def table_of(name: str, counts: ArrayLike) -> Ints:
    """(N, K) whole numbers >= 0.

    Raises:
        DataError: they are not.
    """
    table = np.asarray(counts)
    if table.ndim != 2 or table.dtype.kind not in "iu" or not table.size:
        raise DataError(expected(f"{name} to be whole numbers, (N, K)", counts))
    if (wrong := np.argwhere(table < 0)).size:
        raise DataError(f"Expected counts >= 0 but item {wrong[0, 0]} has {table[tuple(wrong[0])]} in {name}.")
    return table.astype(np.int64)


def _positions(values: object, known: dict[str, int], most: int, items: Ints, what: str) -> Ints:
    """Positions of values that are positions below `most`, or known words; -1 for what is not there."""
    if isinstance(values, np.ndarray) and values.dtype.kind in ("iub" if _is_words(known) else "iu"):
        found = values.astype(np.int64)
        wrong = np.flatnonzero((found < NONE) | (found >= most))
        if len(wrong):
            raise _no_such(what, int(found[wrong[0]]), int(items[wrong[0]]), known)
        return found
    column = values.tolist() if isinstance(values, np.ndarray) else cast("Sequence[object]", values)
    places: dict[tuple[type, object], int] = {}
    found = np.empty(len(column), dtype=np.int64)
    for row, value in enumerate(column):
        key = (type(value), value)  # True and 1 are equal, and not the same
        if key not in places:
            place = NONE if _absent(value) else _place(value, known, most)
            if place is None:
                raise _no_such(what, value, int(items[row]), known)
            places[key] = place
        found[row] = places[key]
    return found


def _place(value: object, known: dict[str, int], most: int) -> int | None:
    """The position that a value stands for; None where it stands for none."""
    words = _is_words(known)
    if isinstance(value, str):
        return known.get(value.lower() if words else value)
    if isinstance(value, bool | np.bool_):
        return int(value) if words else None
    if isinstance(value, int | np.integer) and NONE <= value < most:
        return int(value)
    return None


def _is_words(known: dict[str, int]) -> bool:
    """Whether these are words for yes and no, which True and False stand for, too."""
    return known is _YES_OR_NO or known is _CHECKS


def _absent(value: object) -> bool:
    """None, an empty field of a file, or the NaN that data frames have for one."""
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and isnan(value))


def _no_such(what: str, value: object, item: int, known: dict[str, int]) -> DataError:
    where = "of a check" if item == NONE else f"of item {item}"
    names = ", ".join(list(known)[:12]) + (", ..." if len(known) > 12 else "")
    return DataError(expected(f"the {what} {where} to be one of {names}", value))


def _whole(value: object) -> int:
    if _absent(value):
        return NONE
    number: object = value
    decimal = isinstance(value, str) and value.strip().isdecimal()
    if decimal or (isinstance(value, float | np.floating) and value.is_integer()):  # data frames with gaps have floats
        number = int(value)  # type: ignore[call-overload]
    if isinstance(number, int | np.integer) and not isinstance(number, bool) and number >= 0:
        return int(number)
    raise DataError(expected("items as positions in the data set, whole numbers >= 0", value))
