"""Answers as they leave: a table, and Label Studio's JSON, which comes back as the same items."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from robustest_people.studies import Study, rows_of
from robustest_people.studies.export import as_csv, as_tasks, read_items, unanswered_rows
from robustest_people.studies.journal import Journal, Progress

from robustest.errors import StoreError

Make = Callable[..., Any]


@pytest.fixture
def answered(study: Make) -> Iterator[Callable[..., Progress]]:
    """A study whose first pages are answered, without a server."""
    journals = []

    def make(
        task: str = "contains", answer: Callable[[Study, int], str] = lambda *_: "yes", **changes: Any
    ) -> Progress:
        made = study(task, **changes)
        journals.append(Journal(made.folder / "journal.sqlite", made.digest))
        for annotator, own in enumerate(made.plan.pages):
            content = {"entries": list(own[0]), "answers": [answer(made, e) for e in own[0]], "seconds": 12.0}
            journals[-1].append("page", annotator, 0, content)
        progress = Progress(made)
        progress.follow(journals[-1].read())
        return progress

    yield make
    for journal in journals:
        journal.close()


def test_the_table_has_a_row_for_each_answer(answered: Make) -> None:
    progress = answered()
    table = list(csv.DictReader(io.StringIO(as_csv(rows_of(progress)))))
    assert list(table[0]) == ["item", "annotator", "asked", "answer", "seconds", "check"]
    assert len(table) == sum(len(own[0]) for own in progress.study.plan.pages)
    for row in table:
        if row["check"]:
            assert row["item"] == ""
        else:
            assert row["asked"] == ("cat", "dog")[int(row["item"]) % 2]
        assert row["answer"] == "yes"
        assert row["annotator"].startswith("person ")
    for annotator, own in enumerate(progress.study.plan.pages):
        seconds = [float(row["seconds"]) for row in table if row["annotator"] == f"person {annotator}"]
        assert sum(seconds) == pytest.approx(12, abs=0.001 * len(own[0]))


def test_checks_say_whether_they_were_passed(answered: Make) -> None:
    progress = answered(checks=6, page=30)
    passed = [row.check for row in rows_of(progress) if row.check]
    right = [item.expected for item in progress.study.items if item.expected]
    assert (passed.count("passed"), passed.count("failed")) == (4 * right.count("yes"), 4 * right.count("no"))
    assert progress.checks(0) == (right.count("yes"), 6)


def test_what_the_study_holds_as_right_is_told_where_labels_are_chosen(answered: Make) -> None:
    rows = rows_of(answered("simulate", lambda made, e: made.choices(e)[1]))
    table = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert list(table[0])[-1] == "truth"
    assert {(row["asked"], row["answer"]) for row in table} == {("", "dog")}
    assert all(row["truth"] == ("cat", "dog")[int(row["item"]) % 2] for row in table if not row["check"])


def given_in(task: dict[str, Any]) -> list[dict[str, Any]]:
    return [annotation for annotation in task["annotations"] if not annotation["was_cancelled"]]


@pytest.mark.parametrize("task", ["contains", "classify"])
def test_label_studios_json_has_every_answer_and_comes_back_as_the_items(
    answered: Make, tmp_path: Path, task: str
) -> None:
    progress = answered(task, lambda made, e: made.choices(e)[0])
    tasks = as_tasks(progress)
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    items, ignored = read_items(tmp_path / "tasks.json")
    rows = rows_of(progress)
    missing = [a for one in tasks for a in one["annotations"] if a["was_cancelled"]]
    assert len(missing) == len(unanswered_rows(progress)) > 0
    assert ignored == len(rows) + len(missing) == sum(len(one["annotations"]) for one in tasks)
    assert all(one["predictions"] == [] for one in tasks)
    again = [
        (task_["data"]["item"] or "", a["result"][0]["value"]["choices"], a["completed_by"]["email"], a["lead_time"])
        for task_ in tasks
        for a in sorted(given_in(task_), key=lambda a: a["completed_by"]["id"])
    ]
    assert again == [(row.item, [row.answer], row.annotator, row.seconds) for row in rows]
    for item, given in zip(items, progress.study.items, strict=True):
        assert (item.image, item.asked, item.expected, item.truth) == (
            given.image,
            given.asked,
            given.expected,
            given.truth,
        )
        assert given.expected or item.item == given.item


def test_a_journal_whose_pages_do_not_fit_is_refused(study: Make) -> None:
    made = study()
    entries = list(made.plan.pages[0][0])
    whole = {"entries": entries, "answers": ["yes"] * len(entries), "seconds": 1}
    for content in (
        {**whole, "answers": whole["answers"][1:]},
        {**whole, "entries": entries[::-1]},
        {"entries": entries},
        {**whole, "seconds": "long"},
        [],
    ):
        (made.folder / "journal.sqlite").unlink(missing_ok=True)
        journal = Journal(made.folder / "journal.sqlite", made.digest)
        journal.append("page", 0, 0, content)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="event 2 does not fit"):
            Progress(made).follow(journal.read())
        journal.close()
