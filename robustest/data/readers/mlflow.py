"""Evaluation tables of MLflow: `eval_results_table.json`, and the result tables of `mlflow.genai.evaluate`."""

# Written by MLflow 3.17. The artifact of `mlflow.models.evaluate` has the columns `NAME/score`, the table of
# `mlflow.genai.evaluate` the columns `NAME/value`, one for each scorer and each expectation, which is no metric.
# Judges answer "yes" and "no", which MLflow counts as 1 and 0. A scorer that raised gave no score.
#
# Rows have no names that another run shares: an item is the digest of its inputs.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.names import digest_of
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Columns, Format, Table, plain
from robustest.errors import DataError

_COMMAND = "mlflow artifacts download --run-id RUN --artifact-path eval_results_table.json"
_ENDS = ("/score", "/value")
_WORDS = {"yes": True, "no": False}


def _recognises(document: Document) -> bool:
    if document.kind == "json":
        names = document.names
        listed = document.value.get("columns") if {"columns", "data"} <= names else names
        names = frozenset(map(str, listed)) if isinstance(listed, (list, frozenset)) else frozenset()
    elif document.kind in ("lines", "table", "parquet"):
        names = document.names
    else:
        return False
    return any(name.endswith("/score") for name in names) or (
        "trace_id" in names and any(name.endswith("/value") for name in names)
    )


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    columns = document.columns
    expectations = _expectations(columns)
    metrics = {
        name.rpartition("/")[0]: [_WORDS.get(one, one) if isinstance(one, str) else one for one in values]
        for name, values in columns.items()
        if name.endswith(_ENDS) and name.rpartition("/")[0] not in expectations
    }
    if not metrics:
        raise Mendable(
            DataError(
                f"Expected columns NAME/score or NAME/value of MLflow in {document.path} but got {', '.join(columns)}."
            ),
            command=_COMMAND,
        )
    n = len(next(iter(columns.values())))
    own = [
        name
        for name in columns
        if "/" not in name and name not in ("outputs", "predictions", "response", "trace", "spans", "assessments")
    ]
    asked = _first(columns, ("request", "inputs", "input", "question"), n)
    if not any(asked):
        asked = [json.dumps({name: columns[name][i] for name in own}, sort_keys=True, default=str) for i in range(n)]
    expected = _first(columns, ("ground_truth", "targets", "target", "expected_response"), n)
    for name in sorted(expectations):
        expected = [f"{before}{plain(one)}" for before, one in zip(expected, columns[f"{name}/value"], strict=True)]
    digests = [digest_of(json.dumps([a, e])) for a, e in zip(asked, expected, strict=True)]
    return Table(
        columns={
            **{name: columns[name] for name in own},
            "item": [f"row {digest}" for digest in digests],
            "digest": digests,
            "prompt": asked,
            "answer": _first(columns, ("response", "outputs", "predictions"), n),
            "expected": expected,
        },
        scores=metrics,
    )


def _first(columns: Columns, names: Sequence[str], n: int) -> list[str]:
    values = next((columns[name] for name in names if name in columns), [""] * n)
    return [plain(one) for one in values]


def _expectations(columns: Columns) -> set[str]:
    """Return the names of the assessments that are expectations: right answers, not scores of answers."""
    found = set()
    for many in columns.get("assessments", ()):
        if isinstance(many, str):
            try:
                many = json.loads(many)  # noqa: PLW2901 - a table holds them as text
            except ValueError:
                continue
        for one in many if isinstance(many, list) else ():
            if isinstance(one, dict) and "expectation" in one:
                found.add(str(one.get("assessment_name")))
    return found


MLFLOW = Format(_recognises, _read, "MLflow", command=_COMMAND)
