"""The answers of a study as a table, and as Label Studio's tasks."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robustest.errors import DataError
from robustest.packs import SafeFolder
from robustest_people.studies.journal import Progress
from robustest_people.studies.study import LARGEST_TABLE, Item


@dataclass(frozen=True, slots=True)
class Row:
    """One answer, or a question that has none."""

    item: str  # the item; empty for an attention check
    annotator: str  # the annotator's name; empty for a question without an answer
    asked: str  # the label asked about; empty if labels were chosen
    answer: str  # the label chosen; "yes" or "no" in `contains`; empty for none
    seconds: float | None  # the time of the page, divided by its items
    check: str  # "passed" or "failed" for an attention check, else empty
    truth: str = ""  # the right answer, if the study has one


def rows_of(progress: Progress) -> list[Row]:
    """Return all stored answers, by item, then annotator."""
    study, found = progress.study, []
    for (annotator, number), stored in progress.stored.items():
        entries = progress.pages[annotator][number]
        seconds = round(stored.seconds / len(entries), 3)
        for entry, answer in zip(entries, stored.answers, strict=True):
            item = study.items[entry]
            check = "" if not item.expected else "passed" if answer == item.expected else "failed"
            name = "" if check else item.item
            row = Row(name, study.annotators[annotator], item.asked, answer, seconds, check, item.truth)
            found.append((entry, annotator, row))
    return [row for *_, row in sorted(found, key=lambda one: one[:2])]


def unanswered_rows(progress: Progress) -> list[Row]:
    """Return a row for each planned answer that a reader would miss: not given, or by an annotator who is left out."""
    return [
        Row(item.item, "", item.asked, "", None, "", item.truth)
        for entry, (missing, _) in sorted(progress.lacking().items())
        for item in [progress.study.items[entry]] * missing
    ]


def as_csv(rows: list[Row]) -> str:
    """Return the rows as CSV (RFC 4180) with a header, without `truth` if no row has one."""
    names = [field.name for field in fields(Row)]
    if not any(row.truth for row in rows):
        names.remove("truth")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return text.getvalue()


# Label Studio's JSON, read and written: {"data": {...}, "annotations": [...], "predictions": [...]} for each task
# (https://labelstud.io/guide/task_format). `predictions` come from a model, so they are neither read nor written. The
# right answer of an attention check is in `data.check`.


def read_items(path: Path) -> tuple[list[Item], int]:
    """Return the items of Label Studio's tasks, and the number of annotations and predictions left out.

    `data.item` (or the task's `id`), `data.image`, `data.label`, `data.check`, `data.truth` and `data.choices` are
    item, image, asked, expected, truth and choices of `Item`.
    """
    try:
        tasks = json.loads(SafeFolder.read_file(path, most=LARGEST_TABLE))
    except (ValueError, RecursionError) as error:
        raise DataError(f"Expected Label Studio's tasks as JSON but {path} is no JSON: {error}.") from error
    if not isinstance(tasks, list):
        raise DataError(f"Expected a list of tasks in {path} but got {type(tasks).__name__}.")
    items, ignored = [], 0
    for number, task in enumerate(tasks):
        try:
            ignored += len(task.get("annotations") or ()) + len(task.get("predictions") or ())
            items.append(_item(task))
        except (AttributeError, KeyError, TypeError, IndexError) as error:
            raise DataError(
                f"Expected a task of Label Studio at position {number} of {path} but got {error!r}."
            ) from error
    return items, ignored


def _item(task: Mapping[str, Any]) -> Item:
    data = task["data"]
    name = task["id"] if data.get("item") is None else data["item"]
    choices = data.get("choices") or ()
    asked, expected, truth = (data.get(key) or "" for key in ("label", "check", "truth"))
    texts = [name, data["image"], asked, expected, truth, *choices]
    if not all(isinstance(text, str | int) for text in texts) or isinstance(choices, str):
        raise TypeError("texts are expected")
    return Item(
        item=str(name),
        image=str(data["image"]),
        asked=str(asked),
        truth=str(truth),
        choices=tuple(map(str, choices)),
        expected=str(expected),
    )


def as_tasks(progress: Progress) -> list[dict[str, Any]]:
    """Return each item as a task with its answers as annotations; `lead_time` is the page's seconds per item.

    A planned answer that is missing is a cancelled annotation.
    """
    study = progress.study
    answers: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for (annotator, number), stored in sorted(progress.stored.items()):
        entries = progress.pages[annotator][number]
        about = {
            "completed_by": {"id": annotator + 1, "email": study.annotators[annotator]},
            "lead_time": round(stored.seconds / len(entries), 3),
            "created_at": datetime.fromtimestamp(stored.at, UTC).isoformat(),
        }
        for entry, answer in zip(entries, stored.answers, strict=True):
            answers[entry].append({**about, **_chosen(answer)})
    for entry, (missing, _) in progress.lacking().items():
        answers[entry] += [{"was_cancelled": True, "ground_truth": False, "result": []}] * missing
    tasks = []
    for entry, item in enumerate(study.items):
        about = {"label": item.asked, "check": item.expected, "truth": item.truth, "choices": list(item.choices)}
        data = {"item": None if item.expected else item.item, "image": item.image, **about}
        tasks.append({"id": entry + 1, "data": data, "annotations": answers[entry], "predictions": []})
    return tasks


def _chosen(answer: str) -> dict[str, Any]:
    result = {"from_name": "answer", "to_name": "image", "type": "choices", "value": {"choices": [answer]}}
    return {"was_cancelled": False, "ground_truth": False, "result": [result]}
