"""Answers as files hold them: comma-separated values, and the JSON that Label Studio exports."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustest.errors import DataError, expected
from robustest.packs import read_regular

COLUMNS = ("item", "annotator", "label", "answer", "time", "check", "truth")
"""What a row may say: see `robustest_people.responses.Responses.from_columns`."""

_ALSO = {"asked": "label", "seconds": "time"}
"""Other names of columns: what `robustest study export` calls them."""

NEEDED = ("item", "answer")

_MOST = 1 << 30
"""Bytes of a file; ten million answers take fewer."""

_FIELD = "answer"
"""The field of an annotation that holds the answer, where it has several."""


def columns_of(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns of records; what no record has is left out.

    Raises:
        DataError: a record is no mapping, has an unknown key, or lacks an item or an answer.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for at, given in enumerate(records):
        if not isinstance(given, Mapping):
            raise DataError(expected(f"record {at} to be a mapping", given))
        record = {_ALSO.get(name, name): value for name, value in given.items()}
        if strange := sorted(set(record) - set(COLUMNS)):
            raise DataError(f"Expected the keys {', '.join(COLUMNS)} but record {at} has {strange[0]!r}.")
        if "answer" not in record or ("item" not in record and record.get("check") is None):
            raise DataError(expected(f"record {at} to have an item and an answer", record))
        for name in COLUMNS:
            columns[name].append(record.get(name))
    return {name: column for name, column in columns.items() if name in NEEDED or any(v is not None for v in column)}


def csv_records(path: str | os.PathLike[str]) -> dict[str, Sequence[str]]:
    """Columns of a file of comma-separated values; its first line names them.

    Raises:
        DataError: it cannot be read, a column is unknown or missing, or a line has more or fewer fields.
    """
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        table = [row for row in rows if row]
    except csv.Error as error:
        raise DataError(f"Expected comma-separated values in {path} but got: {error}") from None
    header = [_ALSO.get(name.strip(), name.strip()) for name in table[0]] if table else []
    if missing := [name for name in NEEDED if name not in header]:
        raise DataError(f"Expected {path} to begin with the names of its columns but {missing[0]!r} is not there.")
    if strange := [name for name in header if name not in COLUMNS or header.count(name) > 1]:
        raise DataError(f"Expected the columns {', '.join(COLUMNS)}, each once, but {path} has {strange[0]!r}.")
    for at, row in enumerate(table[1:], 1):
        if len(row) != len(header):
            raise DataError(f"Expected {len(header)} fields in each row of {path} but row {at} has {len(row)}.")
    return dict(zip(header, zip(*table[1:], strict=True) if len(table) > 1 else [()] * len(header), strict=True))


def label_studio_records(source: str | os.PathLike[str] | Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Records of the tasks that Label Studio exports; predictions and cancelled annotations are left out.

    Raises:
        DataError: the file cannot be read, or it is no such export.
    """
    tasks: Any = source
    if isinstance(source, str | os.PathLike):
        try:
            tasks = json.loads(_text(source))
        except (ValueError, RecursionError) as error:
            raise DataError(f"Expected tasks as JSON in {source} but got: {error}") from None
    if not isinstance(tasks, Sequence) or isinstance(tasks, str | bytes):
        raise DataError(expected("a list of tasks as Label Studio exports them", tasks))
    for at, task in enumerate(tasks):
        if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
            raise DataError(expected(f"task {at} to have data", task))
        annotations = task.get("annotations", [])
        if not isinstance(annotations, Sequence) or not all(isinstance(one, Mapping) for one in annotations):
            raise DataError(expected(f"task {at} to have a list of annotations", annotations))
        for one in annotations:
            if not one.get("was_cancelled"):
                yield _record(task["data"], one)


def _record(about: Mapping[str, Any], annotation: Mapping[str, Any]) -> dict[str, Any]:
    answer, right = _choice(annotation.get("result"), about.get("item")), about.get("check")
    return {
        "item": about.get("item"),
        "annotator": _who(annotation.get("completed_by")),
        "label": about.get("label"),
        "answer": answer,
        "time": annotation.get("lead_time"),
        "check": None if right in (None, "") else str(right) == answer,
        "truth": about.get("truth"),
    }


def _choice(found: object, item: object) -> str:
    """The one choice of an annotation."""
    fields = [
        part
        for part in (found if isinstance(found, Sequence) else ())
        if isinstance(part, Mapping) and part.get("type") == "choices"
    ]
    fields = [part for part in fields if part.get("from_name") == _FIELD] or fields
    choices = [
        part.get("value", {}).get("choices") if isinstance(part.get("value"), Mapping) else [] for part in fields
    ]
    if len(choices) != 1 or not isinstance(choices[0], list) or len(choices[0]) != 1:
        raise DataError(expected(f"one choice in each annotation of item {item}", choices))
    return str(choices[0][0])


def _who(completed_by: object) -> object:
    """An annotator is a number, or a mapping that has one."""
    if isinstance(completed_by, Mapping):
        return next((completed_by[key] for key in ("email", "username", "id") if completed_by.get(key)), None)
    return completed_by


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return read_regular(Path(path), most=_MOST).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected answers in UTF-8 in {path} but got: {error}") from None
