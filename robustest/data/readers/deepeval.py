"""Test runs of DeepEval: files in DEEPEVAL_RESULTS_FOLDER, `.deepeval/.latest_test_run.json`, and saved results."""

# Written by DeepEval 4.3.1. Each metric of a test case has a score in 0..1; "success" is 1 if the case passed. A metric
# that raised has an error and no score.

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.names import digest_of
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Scores, Table, columns_of, mappings, plain
from robustest.errors import DataError

_COMMAND = "DEEPEVAL_RESULTS_FOLDER=results deepeval test run FILE"


def _recognises(document: Document) -> bool:
    names = document.names
    return document.kind == "json" and bool(names & {"testCases", "testRunData", "test_results"})


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    value = document.value if document.kind == "json" else None
    run = value.get("testRunData", value) if isinstance(value, dict) else {}
    found = run.get("test_results", run.get("testCases")) if isinstance(run, dict) else None
    cases = [*found, *run.get("conversationalTestCases", [])] if isinstance(found, list) else []
    if not cases or not all(isinstance(one, dict) for one in cases):
        raise Mendable(
            DataError(f"Expected test cases of DeepEval in {document.path} but there are none."),
            command=_COMMAND,
        )
    names = Counter(str(one.get("name")) for one in cases)
    inputs: dict[str, set[str]] = {str(one.get("name")): set() for one in cases}
    rows, scores = [], Scores()
    for one in cases:
        metrics = mappings(one.get("metricsData", one.get("metrics_data")))
        values = {str(m.get("name")): None if m.get("error") else m.get("score") for m in metrics}
        # A case of which a metric raised did not succeed: DeepEval counts it as failed.
        scores.add({"success": one.get("success"), **values})
        asked = plain(one.get("input") or one.get("turns"))
        expected = plain(one.get("expectedOutput", one.get("expected_output")))
        digest = digest_of(json.dumps([asked, expected]))
        inputs[str(one.get("name"))].add(digest)
        rows.append(
            {
                "name": str(one.get("name")),
                "digest": digest,
                "prompt": asked,
                "answer": plain(one.get("actualOutput", one.get("actual_output"))),
                "expected": expected,
                "metadata": one.get("metadata", one.get("additionalMetadata")),
            }
        )
    for row in rows:
        # Cases without a name are numbered by DeepEval, `test_case_0`: in another order they are other cases.
        name = row.pop("name")
        own = names[name] == 1 or len(inputs[name]) == 1
        numbered = name.startswith(("test_case_", "conversational_test_case_")) or name == "None"
        row["item"] = name if own and not numbered else f"test {row['digest']}"
    return Table(
        columns=columns_of(rows), scores=scores.by_metric, metric="success" if len(scores.by_metric) == 1 else ""
    )


DEEPEVAL = Format(_recognises, _read, "DeepEval", command=_COMMAND)
