"""A study as a folder: items, plan, images, and the keys of links.

`study.json` and `plan.npy` have the same bytes for the same items and seed. `keys.json` is random: nobody can guess
links.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robustest.errors import ConfigError, DataError, StoreError, expected
from robustest.packs import SafeFolder
from robustest_people.studies.plan import Plan, assign, lay_out

if TYPE_CHECKING:
    from PIL import Image

# Items: an image, and a label that is asked about or a choice of labels.


YES, NO = "yes", "no"
# Most bytes of a table of items.
LARGEST_TABLE = 256 * 2**20
_LONGEST = 200  # characters of a label or an item's name: a page shows them
_MOST_CHOICES = 100


class Task(StrEnum):
    """The question that annotators answer about an image.

    Attributes:
        CONTAINS: "Does it show the label?" (Tsipras et al., ICML 2020, section 3.1).
        CLASSIFY: "Which label does it show?" (the same, section 3.2).
        SIMULATE: "Which label does the model predict?" (Wong et al., ICML 2021, section 4).
    """

    CONTAINS = "contains"
    CLASSIFY = "classify"
    SIMULATE = "simulate"


# Stands in a question for the label asked; a question without it hides the label from annotators.
LABEL = "{label}"
QUESTIONS = {
    Task.CONTAINS: f"Select every image that shows: {LABEL}",
    Task.CLASSIFY: "What does each image show?",
    Task.SIMULATE: "What does the model answer for each image?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question about one image.

    Raises:
        DataError: a field is missing, too long, or has invisible characters.
    """

    item: str  # the image's position in the data set, for claims; or any name
    image: str  # the image's file, relative to the folder of images
    asked: str = ""  # the label asked about in `contains`; empty in other tasks
    # The right answer, which no page shows: in `classify` the data set's label, in `simulate` the model's answer.
    truth: str = ""
    choices: tuple[str, ...] = ()  # labels to choose from for this item alone; none in `contains`
    expected: str = ""  # the right answer of an attention check; else empty

    def __post_init__(self) -> None:
        for name in ("item", "image"):
            if not getattr(self, name):
                raise DataError(f"Expected every item to have {name!r} but got {self}.")
        if len(self.choices) > _MOST_CHOICES:
            raise DataError(f"Expected at most {_MOST_CHOICES} choices but item {self.item!r} has {len(self.choices)}.")
        for text in (self.item, self.asked, self.truth, self.expected, *self.choices):
            check_text(text, f"item {self.item!r}")


def check_text(text: str, of: str) -> str:
    """Return a label or name that a page can show in one line.

    Raises:
        DataError: the text is longer than 200 characters, or has invisible ones.
    """
    if len(text) > _LONGEST or not text.isprintable() or text != text.strip():
        raise DataError(expected(f"{of} to have one line of at most {_LONGEST} printable characters", text))
    return text


def fit(items: Sequence[Item], task: Task, labels: Sequence[str], question: str) -> None:
    """Check that items and question fit a task.

    Raises:
        DataError: they do not, an item is repeated, or all are attention checks.
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
    """Raise DataError for attention checks that annotators could recognise by their question or image."""
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
    """Return the label asked if the question shows it, else ""."""
    return item.asked if LABEL in question else ""


def choices_of(item: Item, task: Task, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the possible answers, in the order of the page."""
    return (YES, NO) if task is Task.CONTAINS else item.choices or tuple(labels)


def read_table(path: Path) -> list[Item]:
    """Return the items of a CSV file with a header: item, image, and optionally asked, truth, choices (joined by |),
    expected.
    """
    try:
        text = SafeFolder.read_file(path, most=LARGEST_TABLE).decode("utf-8-sig")
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


# Images. The file of an attention check often comes from elsewhere; its size, format or metadata would give it away.
# So each image is decoded, fitted into one box and encoded anew, under a number for a name.


# Most bytes of an image's file.
LARGEST = 64 * 2**20
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MOST_PIXELS = 50_000_000
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_WIDEST = 512  # pixels of a side as shown; what is smaller is not enlarged


def copy_images(folder: Path, names: Sequence[str], target: Path) -> None:
    """Write images as `0.png`, `1.png`, ... in the order of the names.

    Args:
        names: PNG, JPEG, WebP, GIF (its first picture) or BMP files below the folder.
        target: an existing folder.

    Raises:
        DataError: a file is missing, lies elsewhere, or is no image that can be shown.
    """
    sizes = [_open(folder, name).size for name in names]
    box = (min(_WIDEST, max(w for w, _ in sizes)), min(_WIDEST, max(h for _, h in sizes)))
    for number, name in enumerate(names):
        image = _fit(_flat(_open(folder, name), name), box)
        image.save(target / f"{number}.png", format="PNG")


def _open(folder: Path, name: str) -> Image.Image:
    from PIL import Image

    # `Image.open` reads the header alone, so the size is checked before pixels take memory.
    try:
        image = Image.open(io.BytesIO(SafeFolder(folder).read(name, most=LARGEST)), formats=_FORMATS)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"Expected an image below {folder} but got of {name!r} {type(error).__name__}: {error}."
        ) from error
    if image.width * image.height > _MOST_PIXELS:
        raise DataError(
            f"Expected images of at most {_MOST_PIXELS:,} pixels but {name!r} is {image.width} x {image.height}."
        )
    return image


def _flat(image: Image.Image, name: str) -> Image.Image:
    """Return the image in RGB: rotated by its EXIF orientation, transparent parts on white."""
    from PIL import Image, ImageOps

    try:
        turned = ImageOps.exif_transpose(image)
        # The same test as Pillow's `has_transparency_data`, which only Pillow 10.1 and later have.
        if turned.mode not in _TRANSPARENT and "transparency" not in turned.info:
            return turned.convert("RGB")
        white = Image.new("RGBA", turned.size, "white")
        return Image.alpha_composite(white, turned.convert("RGBA")).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's, of a PNG that is damaged
        raise DataError(f"Expected a whole image but {name!r} is damaged: {error}.") from error


def _fit(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    from PIL import Image, ImageOps

    if image.size == box:
        return image
    # Centred on grey and scaled to the common box: all images of a study have one size.
    inside = ImageOps.contain(image, box, Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", box, (128, 128, 128))
    sheet.paste(inside, ((box[0] - inside.width) // 2, (box[1] - inside.height) // 2))
    return sheet


# The study: its plan, its folder, and what both hold.
_SCHEMA = 1
_LARGEST = 512 * 2**20  # bytes of a file of a study
# Default items per page.
PAGE = {Task.CONTAINS: 48, Task.CLASSIFY: 12, Task.SIMULATE: 12}


@dataclass(frozen=True, kw_only=True)
class Study:
    """A planned study."""

    folder: Path  # the study's folder
    task: Task  # the question that annotators answer
    # title, question, about: texts of the pages; "{label}" in the question is the label asked; about may be empty.
    title: str
    question: str
    about: str
    labels: tuple[str, ...]  # the choices of items without choices
    each: int  # annotators per item
    page: int  # most items on a page
    seed: int  # of the plan, and of pages handed on
    annotators: tuple[str, ...]  # names, which only the table of answers has
    items: tuple[Item, ...]  # all items; attention checks come last
    numbers: tuple[int, ...]  # the opaque number of each item's image
    plan: Plan  # the pages of each annotator

    @cached_property
    def digest(self) -> str:
        table = self.plan.table().astype("<i4").tobytes()
        return hashlib.sha256(_text(self).encode() + table).hexdigest()

    @cached_property
    def keys(self) -> Keys:
        """Return the secrets of links and forms. Raises StoreError if the file is missing or damaged."""
        try:
            content = json.loads(SafeFolder.read_file(self.folder / "keys.json", most=_LARGEST))
            keys = Keys(forms=bytes.fromhex(content["forms"]), links=tuple(content["links"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"Expected the keys of a study in {self.folder} but got {error!r}.") from error
        if len(keys.links) != len(self.annotators) or len(set(keys.links)) != len(keys.links):
            raise StoreError(f"Expected a link for each annotator in {self.folder / 'keys.json'}.")
        return keys

    def choices(self, entry: int) -> tuple[str, ...]:
        return choices_of(self.items[entry], self.task, self.labels)


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets of a study: the signing key of forms, and the end of each annotator's link."""

    forms: bytes
    links: tuple[str, ...]


def create(
    folder: Path,
    items: Sequence[Item],
    *,
    task: Task | str,
    files: Path,
    annotators: Sequence[str],
    each: int,
    labels: Sequence[str] = (),
    page: int | None = None,
    checks: int | None = None,
    seed: int = 0,
    title: str = "",
    question: str = "",
    about: str = "",
) -> Study:
    """Plan a study, and write it to a new folder.

    Args:
        folder: a path that does not exist.
        items: questions and attention checks (items with `expected`) in any order.
        task: "contains", "classify" or "simulate".
        files: the folder of the items' images.
        annotators, each, labels, title, about, seed: as in `Study`.
        page: items per page; None takes 48 for `contains`, 12 otherwise.
        checks: attention checks for each annotator; None takes a tenth of their items and at least 5, as far as there
            are.
        question: as in `Study`; "" takes that of the task. In `contains`, a question without "{label}" hides the label
            asked.

    Raises:
        ConfigError: arguments do not fit together.
        DataError: items or images do not fit.
    """
    task = _task(task)
    names = _names(annotators)
    question = question or QUESTIONS[task]
    fit(items, task, labels, question)
    choices = _labels(labels)
    entries = tuple(sorted(items, key=lambda item: bool(item.expected)))
    size = PAGE[task] if page is None else page
    plan = _planned(entries, question, annotators=len(names), each=each, checks=checks, page=size, seed=seed)
    shown, numbers = _numbered(entries, seed)
    study = Study(
        folder=folder,
        task=task,
        title=check_text(title or "Study", "the title"),
        question=question,
        about=about,
        labels=choices,
        each=each,
        page=size,
        seed=seed,
        annotators=names,
        items=entries,
        numbers=numbers,
        plan=plan,
    )
    _write(study, files, shown)
    return study


def _task(task: Task | str) -> Task:
    try:
        return Task(task)
    except ValueError:
        raise ConfigError(expected(f"a task, one of {', '.join(Task)}", task)) from None


def _names(annotators: Sequence[str]) -> tuple[str, ...]:
    names = tuple(check_text(name, "an annotator's name") for name in annotators)
    if not all(names) or not names or len(set(names)) != len(names):
        raise ConfigError("Expected one annotator or more, each with a name of their own.")
    return names


def _labels(labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(check_text(label, "a label") for label in labels)


def _planned(
    entries: Sequence[Item], question: str, *, annotators: int, each: int, checks: int | None, page: int, seed: int
) -> Plan:
    asked = sum(not item.expected for item in entries)
    holders = assign(asked, annotators, each, seed=seed)
    if checks is None:
        # A tenth of an annotator's items, and at least 5: fewer checks do not count (`FEWEST_CHECKS`).
        checks = min(len(entries) - asked, max(5, asked * each // (10 * annotators)))
    asks = [shown_label(item, question) for item in entries]
    return lay_out(holders, asks, annotators=annotators, checks=checks, page=page, seed=seed)


def _numbered(entries: Sequence[Item], seed: int) -> tuple[list[str], tuple[int, ...]]:
    """Return files by number, and each entry's number."""
    names = list(dict.fromkeys(item.image for item in entries))
    # Drawn at random, so that a number marks neither the position nor a check.
    order = np.random.default_rng([abs(seed), seed < 0, 3]).permutation(len(names)).tolist()
    at = {names[k]: number for number, k in enumerate(order)}
    return [names[k] for k in order], tuple(at[item.image] for item in entries)


def _write(study: Study, files: Path, shown: Sequence[str]) -> None:
    if study.folder.exists():
        raise ConfigError(f"Expected a folder that is not there yet but {study.folder} is.")
    # Written beside and renamed at the end, so that the folder is whole or absent.
    partial = study.folder.with_name(f".{study.folder.name}.{os.getpid()}.tmp")
    partial.mkdir(parents=True)
    try:
        (partial / "images").mkdir()
        copy_images(files, shown, partial / "images")
        (partial / "study.json").write_text(_text(study), encoding="utf-8", newline="\n")
        np.save(partial / "plan.npy", study.plan.table().astype("<i4"), allow_pickle=False)
        keys = {"forms": secrets.token_hex(32), "links": [secrets.token_urlsafe(16) for _ in study.annotators]}
        write_private(partial / "keys.json", json.dumps(keys))
        partial.rename(study.folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(number, "w", encoding="utf-8", newline="") as file:
        file.write(text)


_PLAIN = ("title", "question", "about", "each", "page", "seed")


def _text(study: Study) -> str:
    items = [
        [i.item, i.image, n, i.asked, i.truth, list(i.choices), i.expected]
        for i, n in zip(study.items, study.numbers, strict=True)
    ]
    content = {"schema": _SCHEMA, "task": str(study.task), **{name: getattr(study, name) for name in _PLAIN}}
    content |= {"labels": list(study.labels), "annotators": list(study.annotators), "items": items}
    return json.dumps(content, indent=None, separators=(",", ":"), ensure_ascii=False)


def open_study(folder: Path) -> Study:
    """Return the study in a folder.

    Raises:
        StoreError: the study is missing or damaged.
    """
    try:
        content = json.loads(SafeFolder.read_file(folder / "study.json", most=_LARGEST))
        if content["schema"] != _SCHEMA:
            raise ValueError(f"schema {content['schema']!r}, where this version reads {_SCHEMA}")
        with (folder / "plan.npy").open("rb") as file:
            table = np.load(file, allow_pickle=False)
        return _study(folder, content, table)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        said = f"{type(error).__name__}: {error}"
        raise StoreError(f"Expected a study in {folder} but got {said}. Make one: robustest study new") from error


def _study(folder: Path, content: dict[str, Any], table: Any) -> Study:
    items = [
        Item(item=item, image=image, asked=asked, truth=truth, choices=tuple(choices), expected=answer)
        for item, image, _, asked, truth, choices, answer in content["items"]
    ]
    fit(items, Task(content["task"]), content["labels"], content["question"])
    if table.ndim != 2 or table.shape[1] != 3 or not ((table[:, 2] >= 0) & (table[:, 2] < len(items))).all():
        raise DataError("the plan is of other items")
    return Study(
        folder=folder,
        task=Task(content["task"]),
        labels=tuple(content["labels"]),
        annotators=_names(content["annotators"]),
        items=tuple(items),
        numbers=tuple(int(row[2]) for row in content["items"]),
        plan=Plan.from_table(table, len(content["annotators"])),
        **{name: content[name] for name in _PLAIN},
    )
