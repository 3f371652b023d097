"""A file as readers see it: its kind by content, its text in any encoding, and what of it is whole."""

# A file is recognised by its content; its suffix decides only where the content does not (a table of one column, JSON
# lines of one line). Nothing is read in part in silence: what is damaged is told with the rows that are whole, and
# whoever reads the file decides (`planned=`).

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Columns, columns_of
from robustest.errors import DataError, expected, not_installed

LARGEST = 1 << 31
"""Largest size in bytes of a file, and of what is packed in one: a small archive may unpack to any size."""

Kind = Literal["json", "lines", "table", "parquet", "zip", "xml", "other"]

_MARKS: dict[bytes, str] = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

# Files that other packages read: what each begins with, its name, and the source that reads it as rows.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"ARROW1", "an Arrow file", "pandas.read_feather({path})"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet", "pandas.read_excel({path})"),
    (b"SQLite format 3\0", "a database", "pandas.read_sql('select * from {table}', sqlite3.connect({path}))"),
    (b"\x93NUMPY", "an array of NumPy", "[{{'item': i, 'score': s}} for i, s in enumerate(numpy.load({path}))]"),
    (b"\x80\x04", "a pickle, which may run any code", "pandas.read_pickle({path})"),
    (b"\x80\x05", "a pickle, which may run any code", "pandas.read_pickle({path})"),
    (b"\x89HDF", "an HDF5 file", "pandas.read_hdf({path})"),
    (b"%PDF", "a PDF", ""),
)

# A character of several bytes in UTF-8: a file with one is no file in a code page of single bytes.
_SEVERAL_BYTES = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")

_SEPARATORS = (",", ";", "\t", "|")


class _Dialect(NamedTuple):
    """Separator of a table, names of its columns, number of lines before its first record, and if that is a header."""

    separator: str
    names: list[str]
    skipped: int
    headed: bool


class Document:
    """One file of outcomes.

    Args:
        path: the file, which exists.
        encoding: encoding of its text; None for that of its mark, or UTF-8.
        separator: sign between the fields of a table; None for the one that its first lines agree with.
        inside: path such as "data.rows" of the rows in a JSON document; None for the whole.
    """

    def __init__(
        self, path: Path, *, encoding: str | None = None, separator: str | None = None, inside: str | None = None
    ) -> None:
        self.path = path
        self.inside = inside
        self._encoding = encoding
        self._separator = separator
        self.damage = ""
        """The damaged parts, in words, once the rows were read; "" for a whole file."""
        if path.stat().st_size > LARGEST:
            raise DataError(
                f"Expected a file of at most {LARGEST >> 30} GiB but {path} is larger. Split it: several files are "
                "joined, Outcomes.read(['part-1.jsonl', 'part-2.jsonl'])."
            )

    # ---- the kind of the file

    @cached_property
    def packed(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"

    @cached_property
    def suffix(self) -> str:
        """The last suffix in small letters, without that of a packed file."""
        path = self.path.with_suffix("") if self.packed else self.path
        return path.suffix.lower()

    @cached_property
    def head(self) -> bytes:
        with self._bytes() as file:
            return bytes(self._unpacked(lambda: file.read(1 << 16)))

    @cached_property
    def kind(self) -> Kind:
        if self._separator is not None:
            return "table"
        if self.head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return "zip"
        if self.head.startswith(b"PAR1"):
            return "parquet"
        if any(self.head.startswith(mark) for mark, *_ in _OTHERS):
            return "other"
        if self.suffix in (".parquet", ".pq"):
            return "parquet"  # a damaged one
        text = self._start.lstrip()
        if self.suffix in (".jsonl", ".ndjson"):
            return "json" if text.startswith("[") or _opens_over_lines(text) else "lines"
        if text.startswith("<"):
            return "xml"
        if text.startswith(("{", "[")):
            first, _, rest = text.partition("\n")
            return "lines" if rest.lstrip().startswith("{") and _is_object(first) else "json"
        if self.suffix in (".csv", ".tsv", ".psv", ".tab"):
            return "table"
        if self.suffix in (".json", ".xml", ".eval", ".yaml", ".yml"):
            return {".json": "json", ".xml": "xml", ".eval": "zip"}.get(self.suffix, "other")  # type: ignore[return-value]
        header = text.partition("\n")[0]
        return "table" if any(sign in header for sign in _SEPARATORS) else "other"

    @property
    def _start(self) -> str:
        """The text of the first bytes; a character that is cut at their end is left out."""
        if not self.head:
            return ""
        decoder = codecs.getincrementaldecoder(self.encoding)(errors="replace")
        return decoder.decode(self.head)

    @cached_property
    def names(self) -> frozenset[str]:
        """Keys of the JSON object, or the names of the columns of the rows, as far as they are cheap to know."""
        if self.kind == "json":
            value = self.value
            if isinstance(value, dict):
                return frozenset(map(str, value))
            return frozenset(map(str, value[0])) if isinstance(value, list) and _mappings(value[:1]) else frozenset()
        if self.kind == "lines":
            return frozenset(map(str, self.first))
        if self.kind == "table":
            return frozenset(self._dialect.names)
        if self.kind == "parquet":
            return frozenset(self.columns)
        return frozenset()

    @cached_property
    def first(self) -> dict[str, Any]:
        """The first object of a file of JSON lines; empty if it is damaged."""
        for line in self._start.splitlines():
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = next((row for _, row in self.lines()), {})  # longer than the head
                return row if isinstance(row, dict) else {}
        return {}

    # ---- text

    @cached_property
    def encoding(self) -> str:
        if self._encoding is not None:
            try:
                return codecs.lookup(self._encoding).name
            except LookupError:
                raise Mendable(
                    DataError(expected("an encoding that Python knows", self._encoding)), {"encoding": "utf-8"}
                ) from None
        for mark, name in _MARKS.items():
            if self.head.startswith(mark):
                return name
        declared = re.match(rb"\s*<\?xml[^>]*encoding=[\"']([\w.-]+)", self.head)
        if declared:
            with suppress(LookupError):
                return codecs.lookup(declared[1].decode()).name
        # ASCII in UTF-16 without a mark has a NUL in each character.
        start = self.head[:64]
        if len(start) > 3 and 0 in start:
            return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
        return "utf-8"

    @contextmanager
    def open(self) -> Iterator[IO[str]]:
        """Open the text."""
        with self._bytes() as raw, io.TextIOWrapper(raw, encoding=self.encoding, newline="") as file:
            yield file

    @contextmanager
    def _bytes(self) -> Iterator[IO[bytes]]:
        with self.path.open("rb") as raw:
            if not self.packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as file:
                yield file  # type: ignore[misc]

    def _unpacked(self, read: Any) -> Any:
        try:
            return read()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"Expected a whole packed file but {self.path} is damaged: {error}. Copy it again, and check it: "
                f"gzip --test {self.path}"
            ) from None

    @cached_property
    def text(self) -> str:
        with self._bytes() as raw:
            content = self._unpacked(lambda: raw.read(LARGEST + 1))
        if len(content) > LARGEST:
            raise DataError(f"Expected a packed file of at most {LARGEST >> 30} GiB but {self.path} unpacks to more.")
        try:
            return str(content.decode(self.encoding))
        except UnicodeDecodeError as error:
            raise self._no_text(error) from None

    def _no_text(self, error: UnicodeDecodeError) -> Mendable:
        if "\0" in self.encoding or self.encoding.startswith("utf-16"):
            encodings = ["utf-8"]
        else:
            encodings = ["cp1252", "latin-1"]
        return Mendable(
            DataError(
                f"Expected text in {self.encoding.upper()} in {self.path} but got byte {error.start} that is none."
            ),
            *({"encoding": name} for name in encodings),
        )

    # ---- JSON

    @cached_property
    def value(self) -> Any:
        """The value of a JSON document: if it is cut off, its whole part, and `damage` says so."""
        text = self.text
        if not text.strip():
            raise DataError(f"Expected JSON in {self.path} but the file is empty: write it again.")
        try:
            return json.loads(text, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError
            where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else f"its content: {error}"
            self.damage = f"Expected whole JSON in {self.path} but it is damaged or cut off at {where}."
            whole = _whole_part(text) if isinstance(error, json.JSONDecodeError) else None
            if whole is None:
                raise DataError(f"{self.damage} Write it again.") from None
            return whole

    def lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the objects of a file with one JSON object a line, with their numbers; damaged ones are left out."""
        number = 0
        with self.open() as file:
            while True:
                number += 1
                try:
                    line = self._unpacked(file.readline)
                except UnicodeDecodeError as error:
                    raise self._no_text(error) from None
                if not line:
                    return
                try:
                    values = list(_values(line))
                except (ValueError, RecursionError) as error:
                    why = "" if isinstance(error, (json.JSONDecodeError, RecursionError)) else f": {error}"
                    self.damage = self.damage or (
                        f"Expected a JSON object in line {number} of {self.path} but it is damaged or cut off{why}."
                    )
                    continue
                for value in values:
                    if isinstance(value, dict):
                        yield number, value
                    else:
                        what = expected(f"a JSON object in line {number} of {self.path}", value)
                        self.damage = self.damage or f"{what}."

    # ---- rows of any kind

    @cached_property
    def columns(self) -> Columns:
        """The rows of a JSON document, of JSON lines, of a table or of a Parquet file, as columns.

        Raises:
            Mendable: there are none at this place; the mends are the places that have some.
        """
        if self.kind == "lines":
            return self._columns_of_lines()
        if self.kind == "table":
            return self._columns_of_table()
        if self.kind == "parquet":
            return self._columns_of_parquet()
        if self.kind != "json":
            raise self.no_rows()
        value = self.value if self.inside is None else at_path(self.value, self.inside)
        found = columns_in(value)
        if found is None:
            places = {"rows": list(rows_inside(self.value))}
            listed = f" Rows are at {', '.join(map(repr, places['rows'][:8]))}." if places["rows"] else ""
            keys = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
            raise Mendable(
                DataError(f"Expected rows in {self.path}{self._at} but got {keys[:300] or 'nothing'}.{listed}"),
                *({"rows": place} for place in places["rows"][:8]),
            )
        return found

    @property
    def _at(self) -> str:
        return f" at {self.inside!r}" if self.inside else ""

    def _columns_of_lines(self) -> Columns:
        # Columns at once: a million rows as dicts are half a gigabyte.
        columns: dict[str, list[Any]] = {}
        for count, (_, row) in enumerate(self.lines()):
            if row.keys() != columns.keys():
                for name in row.keys() - columns.keys():
                    columns[name] = [None] * count
                row = {**dict.fromkeys(columns), **row}  # noqa: PLW2901 - values that are missing are None
            for name, value in row.items():
                columns[name].append(value)
        return {**columns}

    @cached_property
    def _dialect(self) -> _Dialect:
        lines = self._table_text.split("\n", 60)[:60]
        skipped = 0
        separator = self._separator
        while lines and (
            lines[0].lstrip().startswith("#") or not lines[0].strip() or re.match(r"(?i)sep=.\s*$", lines[0])
        ):
            if separator is None and lines[0].lower().startswith("sep="):  # a line of Excel's
                separator = lines[0][4]
            skipped, lines = skipped + 1, lines[1:]
        with _long_fields():
            if separator is None:
                tab = self.suffix in (".tsv", ".tab")
                signs = sorted(_SEPARATORS, key=lambda sign: (sign != "\t") if tab else 0)
                separator = max(signs, key=lambda sign: _agreement(lines, sign))
            rows = _rows(lines, separator)
        names, headed = ([name.strip() for name in rows[0]] if rows else []), True
        if _has_no_header(rows):
            # The first row would be lost as names of columns: columns have numbers.
            names, headed = [str(place) for place in range(len(names))], False
        # Of two columns with one name none has it: which of them is meant is for the caller to say.
        names = [
            f"{name} ({names[: place + 1].count(name)})" if name and names.count(name) > 1 else name
            for place, name in enumerate(names)
        ]
        return _Dialect(separator, names, skipped, headed)

    @cached_property
    def _table_text(self) -> str:
        # Spreadsheets write tables in the code page of their country. Names that are wrong letter by letter stay
        # different names, so that no verdict depends on the guess; a damaged UTF-8 is no guess.
        try:
            text = self.text
        except Mendable:
            with self._bytes() as raw:
                content = raw.read()
            if self._encoding is not None or self.encoding != "utf-8" or _SEVERAL_BYTES.search(content):
                raise
            try:
                text = content.decode("cp1252")
            except UnicodeDecodeError:
                text = content.decode("latin-1")  # which has a character for every byte
        # Lines of old spreadsheets end with a carriage return alone.
        return text if "\n" in text else text.replace("\r", "\n")

    def _columns_of_table(self) -> Columns:
        text = self._table_text
        separator, names, skipped, headed = self._dialect
        if not names:
            raise DataError(f"Expected a table in {self.path} but the file is empty: write it again.")
        body = text.split("\n", skipped)[-1] if skipped else text
        columns: list[list[str]] = [[] for _ in names]
        reader = csv.reader(io.StringIO(body), delimiter=separator, strict=True)
        with _long_fields():
            try:
                if headed:
                    next(reader)
                for row in reader:
                    if not any(row):
                        continue
                    while len(row) > len(names) and not row[-1].strip():
                        row.pop()
                    if len(row) != len(names):
                        self.damage = self.damage or (
                            f"Expected {len(names)} fields in line {reader.line_num + skipped} of {self.path}, as its "
                            f"header has, but got {len(row)} fields in line {reader.line_num + skipped}."
                        )
                        continue
                    for values, value in zip(columns, row, strict=True):
                        values.append(value)
            except csv.Error as error:
                self.damage = self.damage or (
                    f"Expected a whole table but {self.path} is damaged in line {reader.line_num + skipped}: {error}."
                )
        return {name: values for name, values in zip(names, columns, strict=True) if name or any(values)}

    def _columns_of_parquet(self) -> Columns:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError:
            raise not_installed("pyarrow to read Parquet", "outcomes") from None
        try:
            return {**parquet.read_table(self.path).to_pydict()}
        except (ArrowException, OSError) as error:
            raise DataError(
                f"Expected a whole Parquet file but {self.path} is damaged: {error}. Write it again: "
                f"frame.to_parquet({str(self.path)!r})"
            ) from None

    def no_rows(self) -> Mendable:
        """Return the error for a file that no reader knows, with what reads it."""
        path = repr(str(self.path))
        if self.kind == "zip" and self.head.startswith(b"PK"):
            names = self.members
            if any(name.startswith("xl/") for name in names):
                return _elsewhere(self.path, "a spreadsheet", f"pandas.read_excel({path})")
            listed = ", ".join(names[:8]) or "nothing"
            return Mendable(
                DataError(
                    f"Expected a file of outcomes but {self.path} is an archive of {listed}. Unpack it first: "
                    f"shutil.unpack_archive({path}, 'unpacked', 'zip')"
                )
            )
        for mark, what, source in _OTHERS:
            if self.head.startswith(mark):
                table = _first_table(self.path) if "{table}" in source else ""
                return _elsewhere(self.path, what, source.format(path=path, table=table))
        if not self.head.strip():
            return Mendable(DataError(f"Expected a file of outcomes but {self.path} is empty: write it again."))
        start = self.head[:60].decode("ascii", "backslashreplace")
        return Mendable(
            DataError(
                f"Expected a file of a known format but cannot tell that of {self.path}, which begins "
                f"{' '.join(start.split())!r}. Write JSON lines, CSV or Parquet, or give the rows: Outcomes.of(rows)"
            ),
            # Fields between spaces, or one number in each line.
            *({"sep": " "} for agree in [_agreement(self._start.split("\n", 60)[:60], " ")] if agree[0] == 1),
            *({"sep": ","} for lines in [self._start.split()[:60]] if lines and all(map(_is_decimal, lines))),
        )

    @cached_property
    def members(self) -> list[str]:
        """Names of the members of an archive; none if it is damaged."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.namelist()
        except (zipfile.BadZipFile, OSError):
            return []


def _first_table(path: Path) -> str:
    """Return the name of the first table of an SQLite database."""
    import sqlite3  # which some builds of Python leave out

    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (name,) = database.execute("select name from sqlite_master where type = 'table' order by name").fetchone()
    except (sqlite3.Error, TypeError):
        return "TABLE"
    return str(name)


def _elsewhere(path: Path, what: str, source: str) -> Mendable:
    call = f"Outcomes.of({source or 'rows'})"
    return Mendable(DataError(f"Expected a file of a known format but {path} is {what}. Read its rows: {call}"))


def _opens_over_lines(text: str) -> bool:
    return text.startswith("{") and text.partition("\n")[0].strip() == "{"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Return the records in the first lines of a table; none if they are damaged."""
    try:
        return [row for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=separator) if row]
    except csv.Error:
        return []


def _has_no_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return True if the first record is like the others: a number where the others have numbers, and no text there."""
    columns = list(zip(*(row for row in rows if len(row) == len(rows[0])), strict=True))
    numbers = [column for column in columns if len(column) > 1 and all(map(_is_decimal, column[1:]))]
    return bool(numbers) and all(_is_decimal(column[0]) for column in numbers)


def _is_decimal(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+(?:[.,]\d+)?%?\s*", text) is not None


def _agreement(lines: Sequence[str], separator: str) -> tuple[float, int]:
    """Return the share of records with as many fields as the header, and that number; 0 without two columns."""
    rows = _rows(lines, separator)
    if not rows or len(rows[0]) < 2:
        return 0.0, 0
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # the last one would win, whichever score that is
        raise ValueError("an object has a key twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _values(line: str) -> Iterator[Any]:
    """Yield the JSON values of a line: one, or several that follow each other, with commas or without."""
    place = 0
    while (place := len(line) - len(line[place:].lstrip(" \t\r\n,"))) < len(line):
        value, place = _DECODER.raw_decode(line, place)
        yield value


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a field of a table be as long as a prompt: Python limits it to 128 KiB."""
    before = csv.field_size_limit(LARGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _mappings(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(one, Mapping) for one in values)


def columns_in(value: Any) -> Columns | None:
    """Return the columns of rows in JSON: records, columns, columns as pandas writes them, or records by name."""
    if isinstance(value, list):
        if _mappings(value):
            return columns_of(value)
        # Rows without names of columns, or scores alone: columns have numbers.
        rows = [one if isinstance(one, list) else [one] for one in value]
        plain = all(not isinstance(one, (list, dict)) for row in rows for one in row)
        if not rows or not plain or len({len(row) for row in rows}) > 1:
            return None
        return {str(place): [row[place] for row in rows] for place in range(len(rows[0]))}
    if not isinstance(value, dict) or not value:
        return None
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):  # pandas, orient="split"
        names, rows = [str(name) for name in value["columns"]], value["data"]
        if all(isinstance(row, list) and len(row) == len(names) for row in rows):
            return {name: [row[place] for row in rows] for place, name in enumerate(names)}
        return None
    inner = list(value.values())
    if all(isinstance(one, list) for one in inner) and len({len(one) for one in inner}) == 1:
        return None if _mappings(inner[0]) else {str(name): one for name, one in value.items()}
    if _mappings(inner):
        keys = list(inner[0])
        if (
            len(inner) > 1
            and keys
            and all(list(one) == keys for one in inner)
            and keys == [str(i) for i in range(len(keys))]
        ):
            return {str(name): list(one.values()) for name, one in value.items()}  # pandas, orient="columns"
    return None


def rows_inside(value: Any, path: str = "", depth: int = 4) -> Iterator[str]:
    """Yield the paths of rows inside of a JSON value, the outer ones first."""
    found = []
    for name, inner in value.items() if isinstance(value, dict) else ():
        place = f"{path}.{name}" if path else str(name)
        if columns_in(inner) is not None:
            yield place
        elif depth:
            found += list(rows_inside(inner, place, depth - 1))
    if isinstance(value, dict) and len(value) > 1:
        inner = list(value.values())
        if _mappings(inner) or all(isinstance(one, (bool, int, float)) for one in inner):
            yield f"{path}.*" if path else "*"
    yield from found


def at_path(value: Any, path: str) -> Any:
    """Return the value at a path of a JSON value; "*" makes records, or scores, by name into rows with an `item`."""
    parts = path.split(".")
    while parts:
        if parts == ["*"] and isinstance(value, dict):
            return [
                {"item": name, **({str(k): v for k, v in one.items()} if isinstance(one, Mapping) else {"score": one})}
                for name, one in value.items()
            ]
        for cut in range(len(parts), 0, -1):
            name = ".".join(parts[:cut])
            if isinstance(value, dict) and name in value:
                value, parts = value[name], parts[cut:]
                break
        else:
            return None
    return value


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]')


def _whole_part(text: str) -> Any:
    """Return the value of JSON that was cut off, up to its last whole record; None if nothing of it is whole.

    The records are those of the outermost list that is open at the end: behind the last of them that is whole, every
    bracket that is open is closed.
    """
    # (bracket, end of its last whole element that is an object or a list, as records are)
    open_at: list[list[Any]] = []
    end = len(text)
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in "[{":
            open_at.append([sign, None])
        elif sign in "]}":
            if not open_at or open_at.pop()[0] != ("[" if sign == "]" else "{"):
                return None  # damaged, not cut off
            if open_at and open_at[-1][0] == "[":
                open_at[-1][1] = token.end()
            if not open_at:
                return None
    for depth, (bracket, last) in enumerate(open_at):
        if bracket == "[" and last is not None:
            end = last
            closing = "".join("]" if one == "[" else "}" for one, _ in open_at[depth::-1])
            try:
                return json.loads(text[:end] + closing, object_pairs_hook=_object)
            except (ValueError, RecursionError):
                return None
    return None
