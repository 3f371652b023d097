"""Results of promptfoo: the JSON, the JSON lines and the table that `promptfoo eval -o` writes."""

# Written by promptfoo 0.121 (format 3). Its score is in 0..1; `score="success"` is 1 if all assertions passed, and
# `score="named.NAME"` is the score of the assertions with `metric: NAME`. A file with several providers or prompts
# compares systems, so `provider=` and `prompt=` (a number from 0) select one.
#
# Repeats have different numbers in the file: an item is a test's description, or a digest of its variables and
# assertions; its repeats are its runs. Of several tests with one description each gets the digest too.

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.names import digest_of
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Scores, Table, columns_of, mapping, mappings, plain
from robustest.errors import ConfigError, DataError

_COMMAND = "promptfoo export eval latest -o {path}"


def _recognises(document: Document) -> bool:
    if document.kind == "json":
        value = document.value
        return isinstance(value, dict) and isinstance(value.get("results"), dict) and "results" in value["results"]
    if document.kind in ("xml", "other"):
        return document.head.startswith((b"<promptfoo", b"evalId:"))
    if document.kind == "lines":
        return {"promptIdx", "testCase", "success"} <= document.names
    return document.kind == "table" and {"Status", "Score", "Named Scores"} <= document.names


def _read(document: Document, options: Mapping[str, Any]) -> Table:
    if document.kind == "table":
        return _read_table(document, options)
    if document.kind in ("xml", "other"):
        raise Mendable(
            DataError(f"Expected results of promptfoo in JSON, JSON lines or CSV but got {document.path}."),
            command=_COMMAND.format(path=document.path.with_suffix(".json")),
        )
    results, stats = _results(document)
    for place, one in enumerate(results):
        if not isinstance(one, dict) or not isinstance(one.get("score"), (bool, int, float)):
            raise Mendable(
                DataError(f"Expected a result with 'score' in {document.path} but number {place + 1} has none."),
                command=_COMMAND.format(path=document.path),
            )
    for key, of in (("provider", _provider), ("prompt", lambda one: one.get("promptIdx"))):
        results = _selected(results, key, of, options, document)
    rows, scores = [], Scores()
    for one in results:
        case = mapping(one.get("testCase"))
        values = {"score": one["score"], "success": one.get("success")}
        values |= {f"named.{name}": value for name, value in mapping(one.get("namedScores")).items()}
        if one.get("error") and not isinstance(one.get("gradingResult"), dict):
            values = dict.fromkeys(values)  # the provider failed: there is no answer to score
        scores.add(values)
        name = digest_of(
            json.dumps([one.get("promptIdx"), one.get("vars"), case.get("assert")], sort_keys=True, default=str)
        )
        metadata = mapping(case.get("metadata"))
        rows.append(
            {
                "description": case.get("description"),
                "group": metadata.get("group"),
                "digest": name,
                "prompt": plain(mapping(one.get("prompt")).get("raw")),
                "answer": plain(mapping(one.get("response")).get("output")),
                "expected": plain([one.get("value") for one in mappings(case.get("assert"))]),
                "vars": one.get("vars"),
                "metadata": metadata,
            }
        )
    columns = columns_of(_named(rows))
    # An interrupted evaluation leaves a file with fewer results than its statistics count.
    counts = [stats.get(key, 0) for key in ("successes", "failures", "errors")]
    total = sum(one for one in counts if isinstance(one, int))
    have = len(_results(document)[0])
    if total and total != have and not document.damage:
        document.damage = (
            f"Expected {total} results in {document.path}, as its statistics say, but got {have}: it is not whole."
        )
    return Table(columns=columns, scores=scores.by_metric, metric="score")


def _results(document: Document) -> tuple[list[Any], Mapping[str, Any]]:
    if document.kind == "lines":
        return [row for _, row in document.lines()], {}
    value = document.value if document.kind == "json" else None
    inner = value.get("results") if isinstance(value, dict) else None
    found = inner.get("results") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(found, list):
        raise Mendable(
            DataError(f"Expected results of promptfoo in {document.path} but there are none."),
            command=_COMMAND.format(path=document.path),
        )
    return found, mapping(inner.get("stats"))


def _selected(
    results: Sequence[Any], key: str, of: Callable[[Any], Any], options: Mapping[str, Any], document: Document
) -> list[Any]:
    there = list(dict.fromkeys(map(of, results)))
    chosen = options.get(key, there[0] if len(there) == 1 else None)
    if there and chosen not in there:
        listed = ", ".join(map(repr, there))
        raise Mendable(
            ConfigError(f"Expected {key}= to be one of {listed} in {document.path} but got {chosen!r}."),
            *({key: one} for one in there),
        )
    return [one for one in results if of(one) == chosen]


def _provider(result: Mapping[str, Any]) -> str:
    provider = result.get("provider")
    return str(provider.get("label") or provider.get("id")) if isinstance(provider, dict) else str(provider)


def _named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the names of their items."""
    tests: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        tests[str(row["description"] or "test")].add(row["digest"])
    for row in rows:
        name = str(row.pop("description") or "test")
        row["item"] = name if name != "test" and len(tests[name]) == 1 else f"{name} {row['digest']}"
    return rows


def _read_table(document: Document, options: Mapping[str, Any]) -> Table:
    """Read the table: its columns before the first answer are the variables."""
    columns = document.columns
    names = list(columns)
    first = names.index("Status")
    variables = [name for name in names[: first - 1] if name != "Description"]
    rows, scores = [], Scores()
    for place in range(len(columns["Score"])):
        values = {name: columns[name][place] for name in variables}
        failed = columns["Status"][place] == "ERROR"
        found = {"score": columns["Score"][place], "success": columns["Status"][place] == "PASS"}
        found |= {
            f"named.{name.removeprefix('Metric: ')}": columns[name][place]
            for name in names
            if name.startswith("Metric: ")
        }
        scores.add(dict.fromkeys(found) if failed else found)
        rows.append(
            {
                "description": columns["Description"][place] if "Description" in columns else "",
                "digest": digest_of(json.dumps(values, sort_keys=True)),
                "prompt": json.dumps(values, ensure_ascii=False),
                "answer": columns[names[first - 1]][place],
                "vars": values,
            }
        )
    if options:
        raise ConfigError("Expected provider= and prompt= for a file in JSON: a table has one of each.")
    return Table(columns=columns_of(_named(rows)), scores=scores.by_metric, metric="score")


PROMPTFOO = Format(_recognises, _read, "promptfoo", options=("provider", "prompt"), command=_COMMAND)
