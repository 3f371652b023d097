"""What annotators are asked about: an image, and a label or a choice of labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from robustest.errors import DataError, expected
from robustest.packs import read_regular

YES, NO = "yes", "no"
LARGEST_TABLE = 256 * 2**20
"""Bytes of a table of items that is read."""
_LONGEST = 200  # characters of a label or an item's name: a page shows them
_MOST_CHOICES = 100


class Task(StrEnum):
    """What an annotator does with an image.

    Attributes:
        CONTAINS: says whether it shows the label asked (Tsipras et al., ICML 2020, section 3.1).
        CLASSIFY: chooses the label of what it shows (the same, section 3.2).
        SIMULATE: foretells what the model answers (Wong et al., ICML 2021, section 4).
    """

    CONTAINS = "contains"
    CLASSIFY = "classify"
    SIMULATE = "simulate"


LABEL = "{label}"
"""Stands in a question for the label asked. A question without it does not tell annotators what is asked."""
QUESTIONS = {
    Task.CONTAINS: f"Select every image that shows: {LABEL}",
    Task.CLASSIFY: "What does each image show?",
    Task.SIMULATE: "What does the model answer for each image?",
}
"""What pages ask, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to ask about one image.

    Attributes:
        item: what the answers are filed under: the image's position in the data set, for claims; or any name.
        image: the image's file, relative to the folder of images.
        asked: the label that pages of `contains` ask about; empty in other tasks.
        truth: what the study holds as right, where it does: in `classify` the data set's label, in `simulate` the
            model's answer. No page shows it; the answers' table does.
        choices: the labels to choose from, where the item has its own; `contains` has none.
        expected: the right answer, where the item is an attention check; empty otherwise.

    Raises:
        DataError: a field is missing, too long, or has characters that show nothing.
    """

    item: str
    image: str
    asked: str = ""
    truth: str = ""
    choices: tuple[str, ...] = ()
    expected: str = ""

    def __post_init__(self) -> None:
        for name in ("item", "image"):
            if not getattr(self, name):
                raise DataError(f"Expected every item to have {name!r} but got {self}.")
        if len(self.choices) > _MOST_CHOICES:
            raise DataError(f"Expected at most {_MOST_CHOICES} choices but item {self.item!r} has {len(self.choices)}.")
        for text in (self.item, self.asked, self.truth, self.expected, *self.choices):
            check_text(text, f"item {self.item!r}")


def check_text(text: str, of: str) -> str:
    """A label or name that a page can show in a line.

    Raises:
        DataError: it is longer than 200 characters, or has characters that show nothing.
    """
    if len(text) > _LONGEST or not text.isprintable() or text != text.strip():
        raise DataError(expected(f"{of} to have one line of at most {_LONGEST} printable characters", text))
    return text


def fit(items: Sequence[Item], task: Task, labels: Sequence[str], question: str) -> None:
    """See that a task can be set with these items.

    Args:
        items: all, attention checks among them.
        task: what annotators do.
        labels: what they choose from where an item has no choices of its own.
        question: what pages ask.

    Raises:
        DataError: the question or an item cannot be asked about, is there twice, or nothing but checks is there.
    """
    check_text(question, "the question")
    if not question or (LABEL in question and task is not Task.CONTAINS):
        raise DataError(expected(f"a question, with {LABEL} only where a label is asked about", question))
    if not any(not item.expected for item in items):
        raise DataError("Expected items beside the attention checks but there are none.")
    seen: set[tuple[str, str]] = set()
    for item in items:
        if (item.item, item.asked) in seen:
            raise DataError(f"Expected each item once for a label but {item.item!r}, asked {item.asked!r}, is twice.")
        seen.add((item.item, item.asked))
        _fit_one(item, task, choices_of(item, task, labels))
    _hide(items, question)


def _fit_one(item: Item, task: Task, choices: tuple[str, ...]) -> None:
    by_label = task is Task.CONTAINS
    if bool(item.asked) != by_label or (by_label and (item.choices or item.truth)):
        what = "a label asked, and neither choices nor a truth," if by_label else "no label asked"
        raise DataError(f"Expected {what} of each item, as the task is {task}, but got {item}.")
    if len(choices) < 2 or len(set(choices)) != len(choices):
        raise DataError(
            f"Expected two different labels or more to choose from but item {item.item!r} has {list(choices)}. "
            "Name them with --labels, or in a column choices."
        )
    for name in ("expected", "truth"):
        if (answer := getattr(item, name)) and answer not in choices:
            raise DataError(
                f"Expected {name!r} of item {item.item!r} to be one of {', '.join(choices)} but got {answer!r}."
            )


def _hide(items: Sequence[Item], question: str) -> None:
    """A check that asks what nothing else asks, or what was asked already, can be told from the rest."""
    common = {(shown_label(item, question), item.choices) for item in items if not item.expected}
    shown = {(item.image, item.asked) for item in items if not item.expected}
    for item in items:
        if item.expected and (item.image, item.asked) in shown:
            raise DataError(
                f"Expected check {item.item!r} to have an image of its own but {item.image!r} is asked about twice."
            )
        if item.expected and (shown_label(item, question), item.choices) not in common:
            raise DataError(
                f"Expected check {item.item!r} to ask what other items ask but nothing else asks "
                f"{item.asked or list(item.choices)!r}: annotators could recognise it."
            )


def shown_label(item: Item, question: str) -> str:
    """The label asked, where the question tells it; empty otherwise."""
    return item.asked if LABEL in question else ""


def choices_of(item: Item, task: Task, labels: Sequence[str]) -> tuple[str, ...]:
    """What may be answered, in the order that pages show."""
    return (YES, NO) if task is Task.CONTAINS else item.choices or tuple(labels)


def read_table(path: Path) -> list[Item]:
    """Items of a CSV file with a header: item, image, and where needed asked, truth,
    choices (joined by |) and expected.

    Raises:
        DataError: it is no such table.
        OSError: it cannot be read.
    """
    try:
        text = read_regular(path, most=LARGEST_TABLE).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = set(reader.fieldnames or ())
        if not {"item", "image"} <= columns or columns - set(Item.__slots__):
            raise DataError(
                "Expected columns item and image, and of asked, truth, choices and expected what is needed, "
                f"but {path} has {sorted(columns)}."
            )
        return [_item(row, f"{path}, line {reader.line_num}") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Expected a table as CSV in UTF-8 but {path} is not that: {error}.") from error


def _item(row: dict[str | None, str | None], where: str) -> Item:
    if None in row or None in row.values():
        raise DataError(f"Expected as many fields as the header has in {where}.")
    fields = {str(name): str(value).strip() for name, value in row.items()}
    choices = tuple(part.strip() for part in fields.pop("choices", "").split("|") if part.strip())
    try:
        return Item(**fields, choices=choices)
    except DataError as error:
        raise DataError(f"{error} ({where})") from error
