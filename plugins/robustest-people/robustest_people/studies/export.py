"""Answers as a table: one row an answer, of pages that are stored, in the order of the items."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, fields

from robustest_people.studies.progress import Progress


@dataclass(frozen=True, slots=True)
class Row:
    """One answer.

    Attributes:
        item: what it is about; empty for an attention check, which is no item of the data set.
        annotator: who gave it.
        asked: the label asked about; empty where labels were chosen.
        answer: the label chosen; "yes" or "no" in `contains`.
        seconds: the time that the page took, shared out evenly over its items.
        check: "passed" or "failed" where it is an attention check; empty otherwise.
        truth: what the study holds as right, where it does.
    """

    item: str
    annotator: str
    asked: str
    answer: str
    seconds: float
    check: str
    truth: str = ""


def rows_of(progress: Progress) -> list[Row]:
    """All stored answers, item by item, and those of an item by annotator."""
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


def as_csv(rows: list[Row]) -> str:
    """The rows as CSV (RFC 4180) with a header; without the column `truth` where no row has one."""
    names = [field.name for field in fields(Row)]
    if not any(row.truth for row in rows):
        names.remove("truth")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return text.getvalue()
