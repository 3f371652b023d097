"""Rows in any container: JSON lines, JSON, tables in any dialect, Parquet. Their columns are named by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Table
from robustest.errors import DataError, expected


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    return Table(columns=document.columns)


def _read_table(document: Document, options: Mapping[str, Any]) -> Table:
    if document.kind != "table":
        raise _another(document, "a table with a header and separators")
    return _read(document, options)


def _read_json(document: Document, options: Mapping[str, Any]) -> Table:
    if document.kind not in ("json", "lines"):
        raise _another(document, "JSON")
    return _read(document, options)


def _read_parquet(document: Document, options: Mapping[str, Any]) -> Table:
    if document.kind != "parquet":
        raise _another(document, "Parquet")
    return _read(document, options)


def _another(document: Document, what: str) -> Mendable:
    start = " ".join(repr(document.head[:40]).split())
    return Mendable(DataError(expected(f"{what} in {document.path}", start)))


ROWS = {
    "jsonl": Format(lambda document: document.kind in ("lines", "json"), _read_json, "rows in JSON"),
    "csv": Format(lambda document: document.kind == "table", _read_table, "a table"),
    "parquet": Format(lambda document: document.kind == "parquet", _read_parquet, "Parquet"),
}
"""Readers of rows; they recognise whatever no tool's reader does."""
