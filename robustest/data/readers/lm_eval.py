"""Samples of lm-evaluation-harness: `samples_TASK_TIME.jsonl`, written with `--log_samples`."""

# Written by lm-eval 0.4.13. The harness writes a line for each document and each filter of its answers: several
# filters are several metrics, "exact_match,strict-match". The results file beside it has the number of documents.

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.remedies import Mendable, source_of
from robustest.data.readers.table import Format, Scores, Table, columns_of, plain
from robustest.errors import DataError

_COMMAND = "lm-eval run --tasks TASK --log_samples --output_path FOLDER"


def _recognises(document: Document) -> bool:
    if document.kind == "json":
        return {"results", "n-samples"} <= document.names
    if document.kind != "lines":
        return False
    return document.path.name.startswith("samples_") or {"doc_id", "filtered_resps"} <= document.names


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    if document.kind == "json":
        raise _results(document)
    # The harness writes each line once: an equal one is a copy, not another run.
    lines = {json.dumps(row, sort_keys=True): (number, row) for number, row in document.lines()}
    filters = sorted({str(row.get("filter", "none")) for _, row in lines.values()})
    rows: dict[tuple[str, str, int], dict[str, Any]] = {}
    values: dict[tuple[str, str, int], dict[str, Any]] = {}
    lines_of: Counter[tuple[str, str, str]] = Counter()
    # `samples_TASK_TIME.jsonl`: a task's name may have underscores, the time has none.
    task = re.sub(
        r"_\d{4}-\d\d-\d\dT[^_]*$|_[^_]*$", "", document.path.name.partition(".jsonl")[0].removeprefix("samples_")
    )
    for number, row in lines.values():
        if not isinstance(row.get("metrics"), list) or "doc_id" not in row:
            raise Mendable(
                DataError(
                    f"Expected a sample of lm-evaluation-harness in line {number} of {document.path} but it lacks "
                    "doc_id or metrics."
                ),
                {"reader": "jsonl"},
                command=_COMMAND,
            )
        suffix = f",{row.get('filter', 'none')}" if len(filters) > 1 else ""
        item = f"{task}/{row['doc_id']}"
        # Another prompt template is another input, even for the same document.
        digest = f"{str(row.get('doc_hash', ''))[:16]}{str(row.get('prompt_hash', ''))[:16]}"
        found = {f"{metric}{suffix}": row.get(metric) for metric in row["metrics"]}
        # Another line of the same document and filter is another run of it.
        place = lines_of[item, digest, suffix]
        lines_of[item, digest, suffix] += 1
        values.setdefault((item, digest, place), {}).update(found)
        rows.setdefault(
            (item, digest, place),
            {
                "item": item,
                "digest": digest,
                "prompt": _first_argument(row),
                "answer": plain(row.get("filtered_resps")),
                "expected": plain(row.get("target")),
                "doc": row.get("doc"),
            },
        )
    scores = Scores()
    for key in rows:
        scores.add(values[key])
    return Table(columns=columns_of(list(rows.values())), scores=scores.by_metric, announced=_documents(document, task))


def _results(document: Document) -> Mendable:
    """Return the error for the results file, whose figures are of all documents together."""
    time = document.path.stem.partition("results_")[2]
    beside = sorted(document.path.parent.glob(f"samples_*{time}.jsonl")) if time else []
    call = f" They are beside it: {source_of('Outcomes.read', beside[0], {})}" if beside else ""
    return Mendable(
        DataError(
            f"Expected samples of lm-evaluation-harness but {document.path} has the figures of all together.{call}"
        ),
        command="" if call else _COMMAND,
    )


def _documents(document: Document, task: str) -> int | None:
    """Return the number of documents that the results file beside the samples names, if there is one."""
    time = document.path.name.partition(".jsonl")[0].rpartition("_")[2]
    beside = document.path.with_name(f"results_{time}.json")
    if not beside.is_file():
        return None
    data = Document(beside).value
    counts = data.get("n-samples") if isinstance(data, dict) else None
    of_task = counts.get(task) if isinstance(counts, dict) else None
    found = of_task.get("effective") if isinstance(of_task, dict) else None
    return found if isinstance(found, int) else None


def _first_argument(row: Mapping[str, Any]) -> str:
    arguments = row.get("arguments")
    first: object = next(iter(arguments.values()), {}) if isinstance(arguments, dict) else {}
    return plain(first.get("arg_0", "") if isinstance(first, dict) else first)


LM_EVAL = Format(_recognises, _read, "lm-evaluation-harness", command=_COMMAND)
