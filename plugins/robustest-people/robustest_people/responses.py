"""What people answered about the items of a data set, one row an answer, and who answered it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustest.errors import DataError
from robustest_people.collecting import Counted, Rows, counted_once, truths_of
from robustest_people.columns import (
    NONE,
    annotators_of,
    answers_of,
    check_lengths,
    checks_of,
    items_of,
    labels_of,
    named,
    table_of,
    times_of,
)
from robustest_people.response_files import columns_of, csv_records, label_studio_records

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Responses:
    """Answers of people: either each chose one of the classes, or each was asked whether the item shows a label.

    An annotator counts once for an item and a label. Make one with `from_columns`, `from_records`, `from_csv`,
    `from_label_studio` or `from_counts`; they check what they are given.

    Attributes:
        item: (R,) int64, positions of the items in the data set, 0..size-1.
        annotator: (R,) int64, positions in `annotators`; -1 where it is not known who answered.
        asked: (R,) int64, the class that was asked about; -1 in every row where annotators chose freely.
        answer: (R,) int64, the class that was chosen; or, where one was asked about, 1 for yes and 0 for no.
        time: (R,) float64, seconds that the answer took; NaN where they are not known.
        size: items in the data set.
        classes: the names of the classes, in the order of the labels.
        annotators: the names of those who answered, those who were dropped included.
        passed, checks: (A,) int64, attention checks that each annotator passed, and saw.
        truth: (size,) int64, the answer that the study holds as right (in a study of whether people foresee a model:
            the model's), -1 where it has none; None where it has none at all. No aggregate looks at it.
        repeats: rows left out that only repeated another one.
        dropped: rows left out because their annotator failed too many attention checks.
        inattentive: the names of these annotators.
    """

    item: Ints
    annotator: Ints
    asked: Ints
    answer: Ints
    time: NDArray[np.float64]
    size: int
    classes: tuple[str, ...]
    annotators: tuple[str, ...]
    passed: Ints
    checks: Ints
    truth: Ints | None = None
    repeats: int = 0
    dropped: int = 0
    inattentive: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.item)

    @property
    def chosen(self) -> bool:
        """Whether annotators chose one of the classes; else they were asked about one at a time."""
        return bool((self.asked == NONE).all())

    @property
    def digest(self) -> str:
        """Of all answers, hexadecimal."""
        arrays = (self.item, self.annotator, self.asked, self.answer)
        about = repr((self.size, self.classes)).encode()
        return sha256(about + b"".join(array.tobytes() for array in arrays)).hexdigest()

    def counts(self, rows: NDArray[np.bool_] | None = None) -> tuple[Ints, Ints]:
        """How often each class was selected for each item, and how often it could have been.

        Args:
            rows: (R,) the rows to count; None for all.

        Returns:
            (size, K) int64 each. Where annotators chose freely, every answer could have been any class.
        """
        every = slice(None) if rows is None else rows
        item, asked, answer = self.item[every], self.asked[every], self.answer[every]
        n, k = self.size, len(self.classes)
        if self.chosen:
            selected = np.bincount(item * k + answer, minlength=n * k).reshape(n, k)
            return selected, np.broadcast_to(selected.sum(1, keepdims=True), (n, k))
        cell = item * k + asked
        shown = np.bincount(cell, minlength=n * k).reshape(n, k)
        return np.bincount(cell[answer == 1], minlength=n * k).reshape(n, k), shown

    def known_annotators(self, why: str) -> Ints:
        """`annotator`, where everyone is known.

        Args:
            why: what they are needed for, for the error.

        Raises:
            DataError: somebody is not.
        """
        unknown = np.flatnonzero(self.annotator == NONE)
        if len(unknown):
            raise DataError(
                f"Expected to know who gave each answer, for {why}, but of item {self.item[unknown[0]]} nobody says "
                "who did. Give the annotators: a table of counts has none."
            )
        return self.annotator

    @classmethod
    def from_columns(
        cls,
        item: ArrayLike | Sequence[object],
        answer: ArrayLike | Sequence[object],
        *,
        size: int,
        classes: int | Sequence[str],
        annotator: Sequence[object] | ArrayLike | None = None,
        label: Sequence[object] | ArrayLike | None = None,
        time: Sequence[object] | ArrayLike | None = None,
        check: Sequence[object] | ArrayLike | None = None,
        truth: Sequence[object] | ArrayLike | None = None,
        checks_at_least: float | None = 0.7,
    ) -> Responses:
        """Responses from columns, one row an answer. None and "" stand for what is not there.

        Args:
            item: positions in the data set, 0..size-1; none for an attention check that is no item of it.
            answer: the class that was chosen, by name or position; or, where a label was asked about, yes or no (as
                bool, 1 and 0, "yes" and "no", "true" and "false").
            size: items in the data set, >= 1.
            classes: the names of the classes, or how many there are (then "0", "1" and so on are their names).
            annotator: who answered; None where nobody knows.
            label: the class asked about, by name or position; None where annotators chose freely.
            time: seconds that the answer took.
            check: True or "passed", False or "failed" where the row is an attention check. One that has an item
                counts as an answer, too.
            truth: the answer that the study holds as right, the same for all rows of an item.
            checks_at_least: annotators who passed a smaller share of their attention checks, in 0..1, are dropped, if
                they saw 5 or more; None keeps everybody.

        Raises:
            ConfigError: checks_at_least or size is out of range, or classes are no names.
            DataError: an item, a label or an answer does not exist, columns differ in length, annotators were asked in
                both ways, or somebody contradicts himself.
        """
        names, items = named(classes), items_of(item, size)
        check_lengths(len(items), answer=answer, annotator=annotator, label=label, time=time, check=check, truth=truth)
        asked = labels_of(label, names, items, "label")
        codes, who = annotators_of(annotator, len(items))
        rows = Rows(
            item=items,
            annotator=codes,
            asked=asked,
            answer=answers_of(answer, asked, names, items),
            time=times_of(time, items),
            check=checks_of(check, items),
        )
        counted = counted_once(rows, who, size=size, classes=len(names), checks_at_least=checks_at_least)
        return cls._counted(rows, counted, names, who, truth=truths_of(truth, names, items, size), size=size)

    @classmethod
    def _counted(
        cls, rows: Rows, kept: Counted, names: tuple[str, ...], who: tuple[str, ...], *, truth: Ints | None, size: int
    ) -> Responses:
        """The rows that count, of classes and annotators by these names."""
        at = kept.rows
        return cls(
            item=rows.item[at],
            annotator=rows.annotator[at],
            asked=rows.asked[at],
            answer=rows.answer[at],
            time=rows.time[at],
            size=size,
            classes=names,
            annotators=who,
            passed=kept.passed,
            checks=kept.checks,
            truth=truth,
            repeats=kept.repeats,
            dropped=kept.dropped,
            inattentive=tuple(name for name, bad in zip(who, kept.inattentive, strict=True) if bad),
        )

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        *,
        size: int,
        classes: int | Sequence[str],
        checks_at_least: float | None = 0.7,
    ) -> Responses:
        """Responses from mappings with the keys "item", "annotator", "label", "answer", "time", "check" and "truth".

        All but "item" and "answer" may be left out; see `from_columns` for what each holds.

        Raises:
            ConfigError, DataError: as for `from_columns`; a key is unknown.
        """
        columns = columns_of(records)
        return cls.from_columns(size=size, classes=classes, checks_at_least=checks_at_least, **columns)

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        *,
        size: int,
        classes: int | Sequence[str],
        checks_at_least: float | None = 0.7,
    ) -> Responses:
        """Responses from a file of comma-separated values in UTF-8, whose first line has the keys of `from_records`.

        Raises:
            ConfigError, DataError: as for `from_records`; the file cannot be read.
        """
        return cls.from_columns(size=size, classes=classes, checks_at_least=checks_at_least, **csv_records(path))

    @classmethod
    def from_label_studio(
        cls,
        source: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
        *,
        size: int,
        classes: int | Sequence[str],
        checks_at_least: float | None = 0.7,
    ) -> Responses:
        """Responses from what Label Studio exports as JSON: tasks with annotations, each of one choice.

        A task's data say which "item" it shows, and may have the "label" asked about, the right answer of a "check",
        and a "truth". Cancelled annotations are left out. What models predicted is not read.

        Args:
            source: the path of a file, or its tasks.
            size, classes, checks_at_least: as for `from_columns`.

        Raises:
            ConfigError, DataError: as for `from_columns`; the file cannot be read, or an annotation is not one choice.
        """
        columns = columns_of(label_studio_records(source))
        return cls.from_columns(size=size, classes=classes, checks_at_least=checks_at_least, **columns)

    @classmethod
    def from_counts(
        cls, selected: ArrayLike, *, shown: ArrayLike | None = None, classes: int | Sequence[str] | None = None
    ) -> Responses:
        """Responses from a table that no longer says who answered what.

        Args:
            selected: (N, K) whole numbers, how often each class was selected for each item.
            shown: (N, K), how often each class was asked about; None where annotators chose freely.
            classes: as for `from_columns`; None for K without names.

        Raises:
            DataError: misshapen, negative, or more selected than shown.
        """
        yes = table_of("selected", selected)
        names = named(yes.shape[1] if classes is None else classes)
        if len(names) != yes.shape[1]:
            raise DataError(f"Expected counts of {len(names)} classes but got {yes.shape[1]} columns.")
        n, k = yes.shape
        cells = np.arange(n * k)
        if shown is None:
            cell = np.repeat(cells, yes.ravel())
            asked, answer = np.full(len(cell), NONE), cell % k
        else:
            no = table_of("shown", shown)
            if no.shape != yes.shape:
                raise DataError(f"Expected shown to be {yes.shape}, as selected is, but got {no.shape}.")
            no = no - yes
            if (wrong := np.argwhere(no < 0)).size:
                raise DataError(f"Expected selected <= shown but item {wrong[0, 0]} has more of class {wrong[0, 1]}.")
            cell = np.concatenate([np.repeat(cells, yes.ravel()), np.repeat(cells, no.ravel())])
            asked, answer = cell % k, (np.arange(len(cell)) < yes.sum()).astype(np.int64)
        nobody, unknown = np.zeros(0, dtype=np.int64), np.full(len(cell), NONE)
        return cls(
            item=cell // k,
            annotator=unknown,
            asked=asked,
            answer=answer,
            time=np.full(len(cell), np.nan),
            size=n,
            classes=names,
            annotators=(),
            passed=nobody,
            checks=nobody,
        )
