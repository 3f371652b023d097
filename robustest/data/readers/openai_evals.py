"""Recordings of OpenAI's evals: event logs of `oaieval`, and output items of the hosted service."""

# - Written by evals 3.0.1, `oaieval MODEL EVAL --record_path FILE`: a line for each event, with what it says under
#   `data`. Events "match" and "metrics" hold scores: the fields of their data that are numbers or booleans are metrics.
# - Output items of a run of the hosted service, as its API lists them: each of the `results` of an item is a metric, as
#   is "passed", the item's own status.

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.names import digest_of
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Scores, Table, columns_of, mapping, mappings, plain
from robustest.errors import DataError

_COMMAND = "oaieval MODEL EVAL --record_path {path}"
_ITEM = "eval.run.output_item"


def _recognises(document: Document) -> bool:
    if document.kind == "lines":
        first = document.first
        spec = first.get("spec")
        return (
            (isinstance(spec, dict) and "eval_name" in spec)
            or {"run_id", "event_id", "type", "data"} <= document.names
            or first.get("object") == _ITEM
        )
    return document.kind == "json" and any(_is_item(one) for one in _listed(document)[:1])


def _is_item(value: object) -> bool:
    return isinstance(value, dict) and value.get("object") == _ITEM


def _listed(document: Document) -> list[Any]:
    value = document.value
    found = value.get("data") if isinstance(value, dict) else value
    return found if isinstance(found, list) else []


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    lines = [row for _, row in document.lines()] if document.kind == "lines" else _listed(document)
    if lines and all(_is_item(one) for one in lines):
        return _hosted(lines)
    events = [
        row for row in lines if isinstance(row, dict) and isinstance(row.get("data"), dict) and "sample_id" in row
    ]
    if not events:
        raise Mendable(
            DataError(f"Expected events of samples in {document.path} but there are none."),
            {"reader": "jsonl"},
            command=_COMMAND.format(path=document.path),
        )
    reports = [row for row in lines if "final_report" in row]
    if not reports and any("spec" in row for row in lines):
        document.damage = document.damage or (
            f"Expected a finished evaluation but {document.path} has no final report: it did not end."
        )
    samples: dict[str, dict[str, Any]] = {}
    runs: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        name, data = str(event["sample_id"]), event["data"]
        row = samples.setdefault(name, {"item": name, "prompt": "", "answer": "", "expected": ""})
        found = runs.setdefault(name, [{}])
        if event.get("type") == "sampling":
            row["prompt"], row["answer"] = plain(data.get("prompt")), plain(data.get("sampled"))
        if event.get("type") in ("match", "metrics"):
            values = _numbers(data)
            # A sample that is matched several times has as many runs: `oaieval` counts each.
            if values.keys() & found[-1].keys():
                found.append({})
            found[-1].update(values)
            row["expected"] = plain(data.get("expected", row["expected"]))
    rows, scores = [], Scores()
    for name, row in samples.items():
        for values in runs[name]:  # a sample that ended in an error has one, without scores
            rows.append(row)
            scores.add(values)
    return Table(columns=columns_of(rows), scores=scores.by_metric)


def _numbers(data: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the numbers and booleans of an event's data by their paths."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, (bool, int, float)):
            found[f"{path}{key}"] = value
        elif isinstance(value, Mapping):
            found |= _numbers(value, f"{path}{key}.")
    return found


def _hosted(items: list[Any]) -> Table:
    rows, scores = [], Scores()
    for one in items:
        results = mappings(one.get("results"))
        values: dict[str, Any] = {} if one.get("status") == "error" else {"passed": one.get("status") == "pass"}
        values |= {str(result.get("name")): result.get("score", result.get("passed")) for result in results}
        scores.add(values)
        sample = mapping(one.get("sample"))
        source = one.get("datasource_item")
        rows.append(
            {
                "item": str(one.get("datasource_item_id")),
                "run": str(one.get("id", "")),
                "digest": digest_of(json.dumps(source, sort_keys=True)),
                "prompt": plain(sample.get("input") or source),
                "answer": plain(sample.get("output")),
                "datasource_item": source,
            }
        )
    return Table(columns=columns_of(rows), scores=scores.by_metric, metric="passed")


OPENAI_EVALS = Format(_recognises, _read, "OpenAI's evals", command=_COMMAND)
