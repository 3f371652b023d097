"""Ratings of annotators: the JSON export of Label Studio."""

# Written by Label Studio 1.23: each annotation is a run of its task. `score` names the control tag (its `from_name`),
# `correct` the choice that counts as 1; ratings are in `low`..`high`, 1 to 5 by default. A skipped annotation is no
# run; a task that nobody rated is one without a score.

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robustest.data.readers.document import Document
from robustest.data.readers.names import digest_of
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Table, columns_of, plain, right_first
from robustest.errors import DataError

_COMMAND = "label-studio export PROJECT JSON"


def _recognises(document: Document) -> bool:
    return document.kind == "json" and isinstance(document.value, list) and "annotations" in document.names


def _read(document: Document, options: Mapping[str, Any]) -> Table:
    path = document.path
    tasks = document.value if document.kind == "json" else None
    if not isinstance(tasks, list):
        raise Mendable(DataError(f"Expected a list of tasks in {path} but got another value."), command=_COMMAND)
    correct = options.get("correct")
    kind = "rating" if correct is None else "choices"
    found: list[tuple[Mapping[str, Any], str, Mapping[str, Any]]] = []  # task, name of the annotation, result
    for place, task in enumerate(tasks):
        annotations = task.get("annotations") if isinstance(task, dict) else None
        if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
            raise Mendable(
                DataError(f"Expected a task with annotations in {path} but number {place + 1} has none."),
                command=_COMMAND,
            )
        rated = [one for one in annotations if not one.get("was_cancelled")]
        announced = task.get("total_annotations")
        if isinstance(announced, int) and len(rated) < announced:
            document.damage = document.damage or (
                f"Expected {announced} annotations of task {task.get('id', place)} in {path}, as it says, but got "
                f"{len(rated)}: not whole."
            )
        task = {"id": place, **task}  # noqa: PLW2901
        results = [
            (str(one.get("id", one.get("completed_by", ""))), result)
            for one in rated
            for result in one.get("result", ())
            if isinstance(result.get("value"), dict) and kind in result["value"]
        ]
        found += [(task, *one) for one in results]
        if not results:
            found.append((task, "", {}))
    controls = {str(result.get("from_name")) for *_, result in found if result}
    if correct is None and not controls and _choices(tasks):
        names = ", ".join(map(repr, _choices(tasks)))
        raise Mendable(
            DataError(f"Expected ratings in {path} but got the choices {names}. Name the one that counts as 1."),
            *({"correct": one} for one in _choices(tasks)),
        )
    control = options.get("score", next(iter(controls)) if len(controls) == 1 else None)
    scored = {place for place, (*_, result) in enumerate(found) if str(result.get("from_name")) == control}
    with_score = {str(found[place][0]["id"]) for place in scored}
    rows: list[dict[str, Any]] = []
    values: list[Any] = []
    for place, (task, annotation, result) in enumerate(found):
        item, value = str(task["id"]), result.get("value", {})
        if place not in scored:
            if item in with_score:
                continue
            with_score.add(item)
            annotation, value = "", {}  # noqa: PLW2901
        rating = value.get("rating")
        values.append(correct in value["choices"] if value and correct is not None else rating)
        rows.append(
            {
                "item": item,
                "run": annotation,
                "digest": digest_of(json.dumps(task.get("data"), sort_keys=True)),
                "prompt": plain(task.get("data")),
                "answer": plain(value.get(kind)),
                "data": task.get("data"),
            }
        )
    scores = {str(one): values if str(one) == control else [] for one in controls}
    low, high = (1.0, 5.0) if correct is None else (0.0, 1.0)
    return Table(columns=columns_of(rows), scores=scores, low=low, high=high)


def _choices(tasks: list[Any]) -> list[str]:
    results = [
        result
        for task in tasks
        for one in task.get("annotations", ())
        for result in one.get("result", ())
        if isinstance(result.get("value"), dict)
    ]
    return right_first({str(choice) for result in results for choice in result["value"].get("choices", ())})


LABEL_STUDIO = Format(_recognises, _read, "Label Studio", options=("score", "correct"), command=_COMMAND)
