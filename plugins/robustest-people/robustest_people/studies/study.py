"""A study as a folder: what is asked, of whom, the images, and the keys of the annotators' links.

`study.json` and `plan.npy` have the same bytes for the same items and seed. `keys.json` never does: links must not
follow from anything that can be guessed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from robustest.errors import ConfigError, DataError, StoreError, expected
from robustest.packs import read_regular
from robustest_people.studies import images
from robustest_people.studies.items import QUESTIONS, Item, Task, check_text, choices_of, fit, shown_label
from robustest_people.studies.plan import Plan, assign, lay_out

_SCHEMA = 1
_LARGEST = 512 * 2**20  # bytes of a file of a study
PAGE = {Task.CONTAINS: 48, Task.CLASSIFY: 12, Task.SIMULATE: 12}
"""Items a page, where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that was planned.

    Attributes:
        folder: where it lies.
        task: what annotators do.
        title: what pages are headed with.
        question: what pages ask, with "{label}" where they tell the label asked.
        about: what annotators are told beside the question; empty for nothing.
        labels: what they choose from where an item has no choices of its own.
        each: annotators an item.
        page: items a page, at most.
        seed: of the plan, and of what is handed on.
        annotators: their names, which only the answers' table has.
        items: all; attention checks come last.
        numbers: the opaque number of each item's image.
        plan: who is asked about what.
    """

    folder: Path
    task: Task
    title: str
    question: str
    about: str
    labels: tuple[str, ...]
    each: int
    page: int
    seed: int
    annotators: tuple[str, ...]
    items: tuple[Item, ...]
    numbers: tuple[int, ...]
    plan: Plan

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all of it but the folder, as hexadecimal."""
        table = self.plan.table().astype("<i4").tobytes()
        return hashlib.sha256(_text(self).encode() + table).hexdigest()

    @cached_property
    def keys(self) -> Keys:
        """What links and forms are made of.

        Raises:
            StoreError: the file is missing or damaged.
        """
        try:
            content = json.loads(read_regular(self.folder / "keys.json", most=_LARGEST))
            keys = Keys(forms=bytes.fromhex(content["forms"]), links=tuple(content["links"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"Expected the keys of a study in {self.folder} but got {error!r}.") from error
        if len(keys.links) != len(self.annotators) or len(set(keys.links)) != len(keys.links):
            raise StoreError(f"Expected a link for each annotator in {self.folder / 'keys.json'}.")
        return keys

    def choices(self, entry: int) -> tuple[str, ...]:
        """What may be answered about an entry."""
        return choices_of(self.items[entry], self.task, self.labels)


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets of a study: the key that forms are signed with, and what each annotator's link ends with."""

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
    """Plan a study, and write it to a folder of its own.

    Args:
        folder: what is made; it must not be there.
        items: what is asked about, attention checks (items with `expected`) among them in any order.
        task: "contains", "classify" or "simulate".
        files: the folder of images that the items' `image` starts from.
        annotators, each, labels, title, about, seed: as in `Study`; `contains` needs no labels.
        page: items a page, attention checks among them; 48 for `contains` and 12 otherwise where None.
        checks: attention checks for each annotator; where None, a tenth of their items and at least 5, as far as
            there are.
        question: what pages ask; the task's own where empty. In `contains`, "{label}" stands for the label asked; a
            question without it keeps the labels from annotators (names of cues, say).

    Raises:
        ConfigError: arguments do not fit together.
        DataError: items or images do not.
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
    """Who is asked about what; where `checks` of an annotator is None, a tenth of their items, and at least 5."""
    asked = sum(not item.expected for item in entries)
    holders = assign(asked, annotators, each, seed=seed)
    if checks is None:
        checks = min(len(entries) - asked, max(5, asked * each // (10 * annotators)))
    asks = [shown_label(item, question) for item in entries]
    return lay_out(holders, asks, annotators=annotators, checks=checks, page=page, seed=seed)


def _numbered(entries: Sequence[Item], seed: int) -> tuple[list[str], tuple[int, ...]]:
    """Files by number, and each entry's number: drawn, so that a number tells neither a place nor a check."""
    names = list(dict.fromkeys(item.image for item in entries))
    order = np.random.default_rng([abs(seed), seed < 0, 3]).permutation(len(names)).tolist()
    at = {names[k]: number for number, k in enumerate(order)}
    return [names[k] for k in order], tuple(at[item.image] for item in entries)


def _write(study: Study, files: Path, shown: Sequence[str]) -> None:
    """Write the folder whole or not at all."""
    if study.folder.exists():
        raise ConfigError(f"Expected a folder that is not there yet but {study.folder} is.")
    partial = study.folder.with_name(f".{study.folder.name}.{os.getpid()}.tmp")
    partial.mkdir(parents=True)
    try:
        (partial / "images").mkdir()
        images.copy(files, shown, partial / "images")
        (partial / "study.json").write_text(_text(study), encoding="utf-8", newline="\n")
        np.save(partial / "plan.npy", study.plan.table().astype("<i4"), allow_pickle=False)
        keys = {"forms": secrets.token_hex(32), "links": [secrets.token_urlsafe(16) for _ in study.annotators]}
        write_private(partial / "keys.json", json.dumps(keys))
        partial.rename(study.folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads."""
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
    """A study that was written.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    try:
        content = json.loads(read_regular(folder / "study.json", most=_LARGEST))
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
