"""Results of Ragas: `evaluate(...).to_pandas()` in a table, JSON or Parquet."""

# Written by Ragas 0.4.3: a row for each sample, its fields, and a column for each metric. Samples have no names: an
# item is the digest of its input and reference. A metric that could not be computed is NaN.

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.names import digest_of
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Table, plain
from robustest.errors import DataError

_FIELDS = {
    "user_input", "retrieved_contexts", "reference_contexts", "retrieved_context_ids", "reference_context_ids",
    "response", "multi_responses", "reference", "reference_topics", "reference_tool_calls", "rubrics", "persona_name",
    "query_style", "query_length", "synthesizer_name",
}  # fmt: skip
"""Fields of `SingleTurnSample`, of `MultiTurnSample` and of generated test sets."""


def _recognises(document: Document) -> bool:
    if document.kind == "json" and isinstance(document.value, dict):
        return {"user_input", "response"} <= document.names
    return document.kind in ("json", "lines", "table", "parquet") and {"user_input", "response"} <= document.names


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    columns = document.columns
    if "user_input" not in columns:
        raise Mendable(
            DataError(f"Expected a column 'user_input' of Ragas in {document.path} but got {', '.join(columns)}."),
        )
    n = len(columns["user_input"])
    asked, reference = columns["user_input"], columns.get("reference", [""] * n)
    digests = [digest_of(json.dumps([plain(a), plain(r)])) for a, r in zip(asked, reference, strict=True)]
    metrics = {name: values for name, values in columns.items() if name not in _FIELDS and _numbers(values)}
    return Table(
        columns={
            **{name: values for name, values in columns.items() if name not in metrics},
            "item": [f"sample {digest}" for digest in digests],
            "digest": digests,
            "prompt": [plain(one) for one in asked],
            "answer": [plain(one) for one in columns.get("response", [""] * n)],
            "expected": [plain(one) for one in reference],
        },
        scores=metrics,
    )


def _numbers(values: Any) -> bool:
    there = [one for one in values if one is not None and one != ""]
    try:
        return all(isinstance(float(one), float) for one in there)
    except (TypeError, ValueError):
        return False


RAGAS = Format(
    _recognises, _read, "Ragas", command="result.to_pandas().to_json({path!r}, orient='records', lines=True)"
)
