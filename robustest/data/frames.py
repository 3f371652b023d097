"""Coding of pandas and polars frames as rows of float32, and decoding into the user's format."""

# Each column has a code in float32; the columns of a row are in the order of their names, so that frames with another
# order of columns are the same data.
#
# - numbers and whole numbers: the value itself. float32 cannot hold every float64, so the coding stores the data's
#   values: an unchanged cell is decoded to the user's exact value, or to another one that rounds to the same float32.
#   Other codes stand for the number of at most seven digits that rounds to them, if there is one: rules that end at
#   5.4 end there, and not beside it, where a model that compares with 5.4 answers otherwise.
# - booleans: 0 and 1. Categories and words: indices in the list of their values; words are sorted.
# - dates: days since 1970.
# - a missing value: `MISSING`, far below every number.
#
# Models get frames with the user's columns, in their order and with their types.

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.checks import EVERY_WHOLE, is_frame
from robustest.errors import ConfigError, DataError, expected
from robustest.results import Changes
from robustest.words import UNSEEN

MISSING = -3.0e38
"""The code of a missing value."""

_DAY = 86_400_000_000  # microseconds
# Most numbers of a column that has a few numbers only, as grades or years have.
_FEW = 64
# Largest magnitude of a number, at a distance from `MISSING` and from the largest float32.
_LARGEST = 1e37


@dataclass(frozen=True, eq=False)
class FrameColumn:
    """One column of a frame.

    Attributes:
        name: as the user wrote it; names are text.
        kind: "number", "whole", "boolean", "category", "word" or "date".
        dtype: the library's type, as text.
        values: categories or words, by code.
        inner: the type of the categories, as text; the missing value, "nan" or "None", of words of dtype object and of
            numbers of polars.
        codes, exact: (n,) float32 codes in rising order, and the data's value for each code.
        low, high: the range of the data, in codes; (0, 0) if all are missing.
    """

    name: str
    kind: str
    dtype: str
    values: tuple[Any, ...] = ()
    inner: str = ""
    ordered: bool = False
    codes: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    exact: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    low: float = 0.0
    high: float = 0.0

    @property
    def beyond(self) -> tuple[str, ...]:
        """The word that stands for all words absent from the data; empty for other kinds."""
        return (UNSEEN,) if self.kind == "word" else ()

    @property
    def whole(self) -> bool:
        """True for whole numbers: by the column's type, or because every value that is there is one.

        pandas holds whole numbers as floats as soon as one is missing. Above 2^24 the codes, in float32, skip some.
        """
        if self.kind != "number" or not len(self.exact):
            return self.kind == "whole"
        return bool((self.exact == np.round(self.exact)).all()) and float(np.abs(self.exact).max()) <= EVERY_WHOLE

    def encode(self, raw: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the codes (N,) float32 of plain values (N,); raise DataError for a value that the column lacks."""
        out = np.full(len(raw), MISSING, dtype=np.float32)
        there = ~missing
        if self.kind in {"category", "word"}:
            # All words that the data lack share the code after the last: a fitted encoder does not distinguish them.
            place = {value: code for code, value in enumerate((*self.values, *self.beyond))}
            given = raw[there].tolist()
            strangers = sorted({str(one) for one in given if one not in place})
            if strangers:
                raise DataError(
                    f"Expected values found in column {self.name!r} but got {', '.join(strangers[:5])}. "
                    f"For a word that the column lacks, set {UNSEEN!r}."
                )
            out[there] = [place[one] for one in given]
        else:
            held = raw[there]
            if self.kind == "whole" and held.dtype.kind == "f" and bool((held != held.round()).any()):
                odd = held[held != held.round()][0]
                raise DataError(expected(f"whole numbers in column {self.name!r}", float(odd), "Round them."))
            out[there] = held.astype(np.float32)
        return out

    def decode(self, codes: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return plain values (N,) and a mask of the missing ones, for codes (N,)."""
        missing = codes <= np.float32(MISSING)
        codes = np.where(missing, np.float32(0), codes)
        if self.kind in {"category", "word"}:
            return codes.round().astype(np.int64), missing
        if self.kind == "boolean":
            return codes > 0.5, missing
        value: NDArray[Any] = codes.astype(np.float64) if self.kind != "number" else _plain(codes)
        if self.kind == "whole":
            value = value.round()
            value = value.astype(self.exact.dtype) if len(self.exact) else value.astype(np.int64)
        if len(self.codes):
            at = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
            value = np.where(self.codes[at] == codes, self.exact[at], value)
        return value, missing

    def shown(self, code: float) -> str:
        value, missing = self.decode(np.array([code], dtype=np.float32))
        if missing[0]:
            return "missing"
        if self.kind in {"category", "word"}:
            return str((*self.values, *self.beyond)[int(value[0])])
        if self.kind == "date":
            moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(days=float(value[0]))
            moment = moment.replace(microsecond=0)
            return moment.date().isoformat() if moment.time() == datetime.time() else moment.isoformat(" ")
        return f"{value[0]:.10g}" if self.kind == "number" else str(value[0])


_TENS = np.array([float(f"1e{power}") for power in range(23)])


def _plain(codes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the numbers (N,) of at most seven digits that round to codes (N,), else the codes themselves."""
    exact = codes.astype(np.float64)
    with np.errstate(divide="ignore"):
        power = np.clip(6 - np.floor(np.log10(np.abs(exact))), -22, 22).astype(np.int64)
    ten = _TENS[np.abs(power)]
    plain = np.where(power >= 0, np.round(exact * ten) / ten, np.round(exact / ten) * ten)
    return np.where(plain.astype(np.float32) == codes, plain, exact)


@dataclass(frozen=True, eq=False)
class Frames:
    """The coding of a frame; see `robustest.data.coding.Coding`.

    Attributes:
        library: "pandas" or "polars".
        columns: in the order of their names, as in a row.
        order: indices of the user's columns in `columns`. It is no dataclass field, so the order of columns is not part
            of the data's identity. If a model depends on the order, its answers to the first chunk differ, and no
            stored result is reused.
        labels: the frame's own labels of `columns`, which need not be text; no dataclass field either.
    """

    library: str
    columns: tuple[FrameColumn, ...]
    order: ClassVar[tuple[int, ...]] = ()
    labels: ClassVar[tuple[Any, ...]] = ()

    @classmethod
    def of(cls, frame: Any) -> Frames:
        """Return the coding of a frame's columns.

        Raises:
            DataError: a column has a type that no model of a table reads, or whole numbers or dates that float32 cannot
                tell apart.
        """
        names = list(frame.columns)
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice or len({str(name) for name in names}) < len(names):
            raise DataError(expected("columns of different names", ", ".join(twice) or names))
        if not names or not len(frame):
            raise DataError("Expected rows and columns but got an empty frame.")
        library = type(frame).__module__.partition(".")[0]
        read = _of_pandas if library == "pandas" else _of_polars
        columns = [read(str(name), frame[name]) for name in names]
        sorted_names = sorted(range(len(names)), key=lambda at: columns[at].name)
        place = {at: row for row, at in enumerate(sorted_names)}
        order = tuple(place[at] for at in range(len(names)))
        made = cls(library, tuple(columns[at] for at in sorted_names))
        object.__setattr__(made, "order", order)
        object.__setattr__(made, "labels", tuple(names[at] for at in sorted_names))
        return made

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    kind: ClassVar[str] = "frame"

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and largest code of any row."""
        return MISSING, -MISSING

    @property
    def missing(self) -> float:
        return float(np.float32(MISSING))

    def encode(self, values: Any) -> Tensor:
        if not is_frame(values) or {str(name) for name in values.columns} != set(self.names):
            got = list(map(str, values.columns)) if is_frame(values) else type(values).__name__
            raise DataError(expected(f"a frame with the columns {', '.join(self.names)}", got))
        plain = _plain_pandas if type(values).__module__.partition(".")[0] == "pandas" else _plain_polars
        named = {str(name): name for name in values.columns}
        parts = [column.encode(*plain(column.kind, values[named[column.name]])) for column in self.columns]
        return torch.from_numpy(np.stack(parts, 1))

    def decode(self, x: Tensor) -> Any:
        codes = x.detach().cpu().numpy().astype(np.float32)
        made = {at: self.columns[at].decode(codes[:, at]) for at in self.order}
        library = import_module(self.library)
        if self.library == "pandas":
            held = {self.columns[at].name: _to_pandas(library, self.columns[at], *made[at]) for at in self.order}
            frame = library.DataFrame(held)
            frame.columns = library.Index([self.labels[at] for at in self.order])
            return frame
        return library.DataFrame([_to_polars(library, self.columns[at], *made[at]) for at in self.order])

    def identities(self, x: Tensor) -> list[bytes]:
        codes = x.detach().cpu().numpy().astype(np.float32)
        # Codes are indices in lists of values, so these lists belong to the identity of a row.
        schema = sha256(repr([(one.name, one.kind, one.values) for one in self.columns]).encode()).digest()
        parts = []
        for at, column in enumerate(self.columns):
            values, missing = column.decode(codes[:, at])
            plain = [None if none else one for one, none in zip(values.tolist(), missing, strict=True)]
            parts.append([repr(one.hex() if isinstance(one, float) else one).encode() for one in plain])
        return [schema + b"\0".join(row) for row in zip(*parts, strict=True)]

    def padded(self, x: Tensor, room: int) -> Tensor:
        return x

    def fitted(self, x: Tensor, width: int) -> Tensor:
        return x

    def changes(self, before: Tensor, after: Tensor) -> Changes:
        a, b = before.tolist(), after.tolist()
        changed = [at for at in self.order if a[at] != b[at]] or list(self.order)
        columns = [(self.columns[at], a[at], b[at]) for at in changed]
        return {"table": [[one.name, one.shown(old), one.shown(new)] for one, old, new in columns]}

    # For threats that change columns

    def values_of(self, column: int) -> tuple[float, ...]:
        one = self.columns[column]
        if one.kind == "boolean":
            return (0.0, 1.0)
        return tuple(map(float, range(len(one.values)))) if one.kind in {"category", "word"} else ()

    def code_of(self, column: int, value: Any) -> float:
        one = self.columns[column]
        if value is None or value != value:  # noqa: PLR0124 - NaN
            return self.missing
        try:
            if one.kind == "date":
                value = _days(value)
            if one.kind == "boolean" and value not in (True, False):
                raise DataError("no boolean")
            return float(one.encode(np.array([value], dtype=object), np.array([False]))[0])
        except (DataError, TypeError, ValueError):
            choices = f": {', '.join(map(str, one.values[:10]))}" if one.values else f" of type {one.dtype}"
            mend = "To allow a value that no row has, list it in a category type." if one.kind == "word" else ""
            raise ConfigError(expected(f"a value of column {one.name!r}{choices}", value, mend)) from None

    def range_of(self, column: int) -> tuple[float, float]:
        one = self.columns[column]
        if one.kind == "number" and len(one.exact):
            return float(one.exact[0]), float(one.exact[-1])
        return one.low, one.high

    def limits_of(self, column: int) -> tuple[float, float]:
        """Return the least and largest number that the column's type holds."""
        width = re.fullmatch(r"(u?)int(\d+)(\[pyarrow\])?", self.columns[column].dtype.lower())
        if width is None:
            return -_LARGEST, _LARGEST
        bits = int(width[2])
        return (0.0, 2.0**bits - 1) if width[1] else (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)

    def usual(self, column: int) -> tuple[float, ...]:
        """Return the codes of the data's numbers, in rising order, if they are at most 64; else ()."""
        one = self.columns[column]
        return tuple(one.codes.tolist()) if len(one.codes) <= _FEW else ()

    def counts(self, column: int) -> bool:
        """Return True for numbers, dates and booleans, which can be added up; words and categories cannot."""
        return self.columns[column].kind not in {"category", "word"}

    def numbers(self, column: int, codes: Tensor) -> Tensor:
        """Return the decoded numbers (N,) float64 for codes (N,) of a column of numbers."""
        values, missing = self.columns[column].decode(codes.detach().cpu().numpy())
        plain = np.where(missing, self.missing, values.astype(np.float64))
        return torch.from_numpy(plain).to(codes.device)

    def whole_in(self, column: int) -> bool:
        one = self.columns[column]
        return one.whole or (one.kind == "date" and not len(one.codes[one.codes % 1 != 0]))

    def holds_fractions(self, column: int) -> bool:
        return self.columns[column].kind == "number"

    def shown(self, column: int, code: float) -> str:
        return self.columns[column].shown(code)


def _days(value: Any) -> float:
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    return float((value - datetime.datetime(1970, 1, 1)) / datetime.timedelta(days=1))


def _column(
    name: str, kind: str, dtype: str, plain: tuple[NDArray[Any], NDArray[np.bool_]], **other: Any
) -> FrameColumn:
    held = plain[0][~plain[1]]
    if kind in {"category", "word"}:
        values = other.pop("values", None)
        if values is None:
            values = tuple(sorted(set(held.tolist()), key=lambda one: (type(one).__name__, one)))
        return FrameColumn(name, kind, dtype, values=values, **other)
    exact = np.unique(held)
    if kind == "number" and not bool(np.isfinite(exact.astype(np.float64)).all()):
        raise DataError(f"Expected finite numbers or missing values in column {name!r} but got infinite ones.")
    if len(exact) and max(abs(float(exact[0])), abs(float(exact[-1]))) > _LARGEST:
        raise DataError(f"Expected numbers up to {_LARGEST:g} in column {name!r} but got {float(exact[-1]):g}.")
    codes = exact.astype(np.float32)
    if kind == "number":
        # Of numbers that round to the same float32, the first stands for all.
        codes, first = np.unique(codes, return_index=True)
        exact = exact[first]
    if len(np.unique(codes)) < len(codes):
        at = int(np.flatnonzero(codes[1:] == codes[:-1])[0])
        raise DataError(
            f"Expected values in column {name!r} that float32 tells apart but got {exact[at]} and {exact[at + 1]}. "
            "Round the column, subtract a constant, or leave out an identifier."
        )
    ends = (float(codes[0]), float(codes[-1])) if len(codes) else (0.0, 0.0)
    return FrameColumn(name, kind, dtype, codes=codes, exact=exact, low=ends[0], high=ends[1], **other)


def _refuse(name: str, dtype: object) -> DataError:
    what = f"numbers, booleans, categories, words or dates in column {name!r}"
    return DataError(f"Expected {what} but got {dtype}. Convert the column to one of these, or drop it.")


def _check_one_way(name: str, ways: set[str]) -> None:
    # Encoders and functions may tell them apart, and one code cannot.
    if len(ways) > 1:
        raise DataError(
            f"Expected one kind of missing value in column {name!r} but got {' and '.join(sorted(ways))}. Replace one "
            "by the other."
        )


# pandas


def _of_pandas(name: str, series: Any) -> FrameColumn:
    dtype = series.dtype
    text = str(dtype)
    if text == "category":
        categories = dtype.categories
        values = tuple(categories.tolist())
        more: dict[str, Any] = {"values": values, "inner": str(categories.dtype), "ordered": bool(dtype.ordered)}
        return _column(name, "category", text, _plain_pandas("category", series), **more)
    kind = getattr(dtype, "kind", "O")
    if kind == "b" or text == "boolean":
        found = "boolean"
    elif kind in "iu":
        found = "whole"
    elif kind == "f" and "16" not in text and "half" not in text:  # codes of float32 would be rounded once more
        found = "number"
    elif kind == "M":
        found = "date"
    elif text in {"object", "str", "string"} or text.startswith("string"):
        found = "word"
        held = [one for one, none in zip(series.tolist(), series.isna().tolist(), strict=True) if not none]
        kinds = {type(one) for one in held}
        if kinds <= {bool, np.bool_}:
            found = "boolean"
        elif not kinds <= {str, np.str_}:
            raise _refuse(name, "objects of " + ", ".join(sorted(one.__name__ for one in kinds)))
        if text == "object":
            ways = {"nan" if isinstance(one, float) else "None" for one in series[series.isna()].tolist()}
            _check_one_way(name, ways)
            return _column(name, found, text, _plain_pandas(found, series), inner=min(ways, default="None"))
    else:
        raise _refuse(name, text)
    return _column(name, found, text, _plain_pandas(found, series))


def _plain_pandas(kind: str, series: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a column of plain values and a mask of the missing ones, (N,) each."""
    missing = series.isna().to_numpy(dtype=bool)
    if kind in {"category", "word"}:
        return np.array([*series.tolist(), None], dtype=object)[:-1], missing
    if kind == "boolean":
        held = zip(series.tolist(), missing, strict=True)
        return np.array([not none and bool(one) for one, none in held], dtype=bool), missing
    if kind == "date":
        plain = series.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(series.dtype, "tz", None) else series
        micro = plain.to_numpy().astype("datetime64[us]").astype(np.int64)
        return np.where(missing, 0, micro) / _DAY, missing
    if missing.any():
        series = series.fillna(0)
    if kind == "number" or getattr(series.dtype, "kind", "") == "f":
        return series.to_numpy(dtype=np.float64), missing
    return series.to_numpy(dtype=np.uint64 if str(series.dtype).lower().startswith("u") else np.int64), missing


def _to_pandas(pandas: Any, column: FrameColumn, values: NDArray[Any], missing: NDArray[np.bool_]) -> Any:
    if column.kind == "category":
        categories = pandas.Index(list(column.values), dtype=column.inner)
        dtype = pandas.CategoricalDtype(categories, ordered=column.ordered)
        return pandas.Series(pandas.Categorical.from_codes(np.where(missing, -1, values), dtype=dtype))
    if column.kind == "word":
        listed = np.array([*column.values, UNSEEN, np.nan if column.inner == "nan" else None], dtype=object)
        return pandas.Series(listed[np.where(missing, len(listed) - 1, values)], dtype=column.dtype)
    if column.kind == "date":
        micro = np.round(values * _DAY).astype(np.int64).astype("datetime64[us]")
        micro = np.where(missing, np.datetime64("NaT", "us"), micro)
        series = pandas.Series(micro)
        zone = column.dtype.partition(", ")[2].rstrip("]")
        if zone:
            series = series.dt.tz_localize("UTC").dt.tz_convert(zone)
        return series.astype(column.dtype)
    if not missing.any():
        return pandas.Series(values).astype(column.dtype)
    # NumPy's whole numbers and booleans cannot hold a missing value; the nullable types can.
    if column.dtype[:1].isupper() or column.dtype == "boolean" or column.dtype.endswith("[pyarrow]"):
        return pandas.Series(pandas.array(values, dtype=column.dtype)).mask(missing)
    if column.kind in {"number", "whole"}:
        kind = column.dtype if column.kind == "number" else "float64"
        return pandas.Series(np.where(missing, np.nan, values)).astype(kind)
    plain = [None if none else one for one, none in zip(values.tolist(), missing, strict=True)]
    return pandas.Series(plain, dtype=object)


# polars


def _of_polars(name: str, series: Any) -> FrameColumn:
    text = str(series.dtype)
    base = text.partition("(")[0]
    if base in {"Categorical", "Enum"}:
        values = tuple(series.cat.get_categories().to_list()) if base == "Enum" else None
        more: dict[str, Any] = {} if values is None else {"values": values}
        return _column(name, "category", base, _plain_polars("category", series), **more)
    found = {"Boolean": "boolean", "String": "word", "Utf8": "word", "Date": "date", "Datetime": "date"}.get(base, "")
    if base.startswith("Float"):
        found = "number"
    elif base.startswith(("Int", "UInt")):
        found = "whole"
    if not found or "time_zone='" in text or base == "Float16":
        raise _refuse(name, text)
    more = {}
    if found == "number":
        ways = {"nan"} if series.is_nan().any() else set()
        ways |= {"None"} if series.null_count() else set()
        _check_one_way(name, ways)
        more = {"inner": min(ways, default="None")}
    return _column(name, found, base, _plain_polars(found, series), **more)


def _plain_polars(kind: str, series: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    missing = series.is_null().to_numpy()
    if kind == "number":
        missing = missing | series.is_nan().fill_null(False).to_numpy()
    held = series.to_list()
    if kind in {"category", "word"}:
        return np.array([*held, None], dtype=object)[:-1], missing
    if kind == "date":
        return np.array([0.0 if one is None else _days(one) for one in held]), missing
    plain = [0 if none else one for one, none in zip(held, missing, strict=True)]
    return np.array(plain, dtype={"boolean": bool, "whole": np.int64, "number": np.float64}[kind]), missing


def _to_polars(polars: Any, column: FrameColumn, values: NDArray[Any], missing: NDArray[np.bool_]) -> Any:
    plain: list[Any] = [None if none else one for one, none in zip(values.tolist(), missing, strict=True)]
    if column.kind in {"category", "word"}:
        words = [None if at is None else (*column.values, *column.beyond)[at] for at in plain]
        kind = polars.Enum(list(column.values)) if column.dtype == "Enum" else getattr(polars, column.dtype)
        return polars.Series(column.name, words, dtype=kind)
    if column.kind == "date":
        start = datetime.datetime(1970, 1, 1)
        moments = [None if one is None else start + datetime.timedelta(days=one) for one in plain]
        return polars.Series(column.name, moments, dtype=polars.Datetime("us")).cast(getattr(polars, column.dtype))
    if column.inner == "nan":
        plain = [float("nan") if one is None else one for one in plain]
    return polars.Series(column.name, plain, dtype=getattr(polars, column.dtype))
