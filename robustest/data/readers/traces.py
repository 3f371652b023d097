"""Exports of Langfuse and of Phoenix: experiments, and scores of traces with a row for each score."""

# Langfuse (SDK 5.2): the experiment items of its API, each with its scores; scores of its API, of its user interface
#   or of its scheduled exports. A score of "BOOLEAN" is 0 or 1; one of "CATEGORICAL" has a number and a word.
# Phoenix (20.26): the experiment that `GET /v1/experiments/ID/json` or `/csv` returns, with a row for each repetition;
#   frames of span annotations, with a row for each annotation.
#
# Where rows are scores, an item is what was scored: a trace, an observation, a session or a span. Traces of two runs
# have different ids: such files are for rates, experiments are for comparisons too.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.names import digest_of
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Scores, Table, columns_of, plain
from robustest.errors import DataError

Row = Mapping[str, Any]

_LANGFUSE = "curl --user PUBLIC:SECRET -o {path} 'https://HOST/api/public/experiments/items?experimentId=ID'"
_PHOENIX = "curl -o {path} HOST/v1/experiments/ID/json"


def _rows(document: Document) -> list[Row]:
    """Return the rows of a document: of a page of an API those under `data`."""
    if document.kind == "json" and isinstance(document.value, dict) and isinstance(document.value.get("data"), list):
        rows = document.value["data"]
    elif document.kind in ("json", "lines", "table", "parquet"):
        columns = document.columns
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    else:
        rows = []
    return rows if all(isinstance(one, dict) for one in rows) else []


def _first(document: Document) -> frozenset[str]:
    """Return the keys of the first row."""
    if document.kind == "json" and isinstance(document.value, dict):
        rows = document.value.get("data")
        return frozenset(rows[0]) if isinstance(rows, list) and rows and isinstance(rows[0], dict) else frozenset()
    return document.names if document.kind in ("json", "lines", "table", "parquet") else frozenset()


def _any(row: Row, *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


# ---- Langfuse

_SUBJECTS = ("traceId", "trace_id", "observationId", "observation_id", "sessionId", "session_id", "subject")
_KINDS = ("dataType", "data_type")


def _is_langfuse(document: Document) -> bool:
    names = _first(document)
    if {"experimentItemId", "scores"} <= names:
        return True
    return {"name", "value"} <= names and bool(names & set(_SUBJECTS)) and bool(names & set(_KINDS))


def _read_langfuse(document: Document, _: Mapping[str, Any]) -> Table:
    rows = _rows(document)
    if rows and "scores" in rows[0]:
        return _experiment(rows)
    if not rows or "value" not in rows[0]:
        raise Mendable(
            DataError(f"Expected scores or items of an experiment of Langfuse in {document.path} but there are none."),
            command=_LANGFUSE.format(path=document.path),
        )
    return _by_subject([(_subject(row), str(row.get("name")), _score(row), _any(row, "id")) for row in rows])


def _experiment(rows: Sequence[Row]) -> Table:
    found, scores = [], Scores()
    for row in rows:
        many = row.get("scores")
        scores.add({str(one.get("name")): _score(one) for one in many or () if isinstance(one, dict)})
        found.append(
            {
                "item": str(row.get("experimentItemId")),
                "run": str(row.get("traceId", "")),
                "digest": digest_of(json.dumps([row.get("input"), row.get("expectedOutput")], sort_keys=True)),
                "prompt": plain(row.get("input")),
                "answer": plain(row.get("output")),
                "expected": plain(row.get("expectedOutput")),
                "metadata": row.get("experimentItemMetadata"),
            }
        )
    return Table(columns=columns_of(found), scores=scores.by_metric)


def _score(row: Row) -> Any:
    """Return the value of a score: numbers of booleans are booleans, whose range is that of the claim."""
    value, kind = row.get("value"), _any(row, *_KINDS)
    if kind == "BOOLEAN" and value not in (None, ""):
        return str(value).lower() in ("1", "1.0", "true")
    if kind == "CATEGORICAL":
        return _any(row, "stringValue", "string_value") or value
    return value


def _subject(row: Row) -> str:
    subject = row.get("subject")
    if isinstance(subject, dict):
        return str(subject.get("id"))
    return str(_any(row, "observationId", "observation_id", "traceId", "trace_id", "sessionId", "session_id"))


def _by_subject(scores: Sequence[tuple[str, str, Any, Any]]) -> Table:
    """Return a row for each subject: of (subject, metric, value, id of the score). Scores of one metric are runs."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    seen: dict[tuple[str, str], set[str]] = {}
    for subject, metric, value, name in scores:
        before = seen.setdefault((subject, metric), set())
        if name is not None and str(name) in before:
            continue  # pages of an API may overlap
        place = len(before)
        before.add(str(name) if name is not None else str(place))
        rows.setdefault((subject, place), {})[metric] = value
    found = Scores()
    for values in rows.values():
        found.add(values)
    return Table(columns={"item": [subject for subject, _ in rows]}, scores=found.by_metric)


# ---- Phoenix


def _is_phoenix(document: Document) -> bool:
    names = _first(document)
    if "example_id" in names and ("annotations" in names or any(name.startswith("annotation_") for name in names)):
        return True
    return {"annotator_kind", "score"} <= names and bool(names & {"annotation_name", "name"})


def _read_phoenix(document: Document, _: Mapping[str, Any]) -> Table:
    rows = _rows(document)
    if rows and "example_id" not in rows[0] and "score" in rows[0]:
        return _by_subject(
            [
                (
                    str(_any(row, "span_id", "trace_id", "session_id", "context.span_id")),
                    str(_any(row, "annotation_name", "name")),
                    _any(row, "score") if _any(row, "score") is not None else _any(row, "label"),
                    _any(row, "id"),
                )
                for row in rows
            ]
        )
    if not rows or "example_id" not in rows[0]:
        raise Mendable(
            DataError(f"Expected an experiment or annotations of Phoenix in {document.path} but there are none."),
            command=_PHOENIX.format(path=document.path),
        )
    found, scores = [], Scores()
    for row in rows:
        scores.add(_annotations(row))
        asked, right = _value(row.get("input")), _value(row.get("reference_output"))
        found.append(
            {
                "item": str(row["example_id"]),
                "run": f"repetition {row.get('repetition_number', 1)}",
                "digest": digest_of(json.dumps([asked, right], sort_keys=True)),
                "prompt": plain(asked),
                "answer": plain(_value(row.get("output"))),
                "expected": plain(right),
                "metadata": _value(row.get("metadata")),
            }
        )
    return Table(columns=columns_of(found), scores=scores.by_metric)


def _annotations(row: Row) -> dict[str, Any]:
    if isinstance(row.get("annotations"), list):
        return {
            str(one.get("name")): one.get("score") if one.get("score") is not None else one.get("label")
            for one in row["annotations"]
            if isinstance(one, dict)
        }
    names = [
        key[len("annotation_") : -len("_score")]
        for key in row
        if key.startswith("annotation_") and key.endswith("_score")
    ]
    return {name: _any(row, f"annotation_{name}_score", f"annotation_{name}_label") for name in names}


def _value(text: Any) -> Any:
    """Return the value of a cell of a table: mappings are JSON there."""
    if isinstance(text, str) and text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


LANGFUSE = Format(_is_langfuse, _read_langfuse, "Langfuse", command=_LANGFUSE)
PHOENIX = Format(_is_phoenix, _read_phoenix, "Phoenix", command=_PHOENIX)
