"""Answers of people about the items of a data set: the table, its checks, and its files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import isnan
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustest.errors import ConfigError, DataError, expected
from robustest.packs import SafeFolder

Ints = NDArray[np.int64]

# Fewest attention checks to drop an annotator by: one slip in a few proves nothing.
FEWEST_CHECKS = 5
# The least share of them that an annotator passes, unless a reader is told otherwise.
CHECKS_AT_LEAST = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Unanswered:
    """Questions without an answer; both (U,) int64, as in `Responses`."""

    item: Ints
    asked: Ints

    def __len__(self) -> int:
        return len(self.item)

    @classmethod
    def none(cls) -> Unanswered:
        nothing = np.zeros(0, dtype=np.int64)
        return cls(nothing, nothing)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Responses:
    """Answers of people, who chose one of the classes or were asked if an item shows a label.

    An annotator counts once for an item and a label. The constructors `from_columns`, `from_records`, `from_csv`,
    `from_label_studio` and `from_counts` check their input.

    Attributes:
        item: (R,) int64, positions of the items in the data set, 0..size-1.
        annotator: (R,) int64, positions in `annotators`; -1 if unknown.
        asked: (R,) int64, the class asked about; -1 in every row if annotators chose freely.
        answer: (R,) int64, the class chosen; or 1 for yes and 0 for no.
        time: (R,) float64, seconds; NaN if unknown.
        size: number of items in the data set.
        classes: names, in the order of the labels.
        annotators: names, dropped annotators included.
        passed, checks: (A,) int64, attention checks that each annotator passed, and answered.
        truth: (size,) int64, the right answer of a study (the model's, if predictions are asked for), -1 for none; None
            if no item has one. `aggregate` never reads it.
        repeats: rows left out because they repeat another one.
        dropped: rows left out because their annotator failed too many attention checks.
        inattentive: names of these annotators.
        unanswered: questions that were asked and have no answer that counts.
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
    unanswered: Unanswered = field(default_factory=Unanswered.none)

    def __len__(self) -> int:
        return len(self.item)

    @property
    def chosen(self) -> bool:
        """Return True if annotators chose among the classes, False if they were asked about one at a time."""
        return bool((self.asked == NONE).all() and (self.unanswered.asked == NONE).all())

    @property
    def digest(self) -> str:
        unanswered = (self.unanswered.item, self.unanswered.asked) if len(self.unanswered) else ()
        arrays = (self.item, self.annotator, self.asked, self.answer, *unanswered)
        about = repr((self.size, self.classes)).encode()
        return sha256(about + b"".join(array.tobytes() for array in arrays)).hexdigest()

    def counts(self, rows: NDArray[np.bool_] | None = None) -> tuple[Ints, Ints]:
        """Return counts of selections and of opportunities, by item and class, (size, K) int64 each.

        Args:
            rows: (R,) bool, the rows to count; None for all.
        """
        every = slice(None) if rows is None else rows
        item, asked, answer = self.item[every], self.asked[every], self.answer[every]
        n, k = self.size, len(self.classes)
        if self.chosen:
            selected = np.bincount(item * k + answer, minlength=n * k).reshape(n, k)
            # An annotator who chose freely could have selected any class.
            return selected, np.broadcast_to(selected.sum(1, keepdims=True), (n, k))
        cell = item * k + asked
        shown = np.bincount(cell, minlength=n * k).reshape(n, k)
        return np.bincount(cell[answer == 1], minlength=n * k).reshape(n, k), shown

    def counts_unanswered(self) -> Ints:
        """Return how many questions about each item and class have no answer, (size, K) int64.

        Who chooses freely could select any class, so that such a question counts in every column.
        """
        n, k = self.size, len(self.classes)
        if self.chosen:
            return np.broadcast_to(np.bincount(self.unanswered.item, minlength=n)[:, None], (n, k))
        return np.bincount(self.unanswered.item * k + self.unanswered.asked, minlength=n * k).reshape(n, k)

    def known_annotators(self, why: str) -> Ints:
        """Return `annotator`. Raises DataError, with the purpose `why`, if an annotator is unknown."""
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
        checks_at_least: float | None = CHECKS_AT_LEAST,
    ) -> Responses:
        """Return responses from columns, one row per answer; None and "" are missing values.

        Args:
            item: positions in the data set, 0..size-1; missing for an attention check that is no item.
            answer: the chosen class, by name or position; or, if a label was asked about, yes or no (bool, 1 and 0,
                "yes" and "no", "true" and "false"). Missing where somebody was asked and did not answer: claims take
                such answers at their worst. Leave out the rows of questions that nobody was to answer.
            size: number of items in the data set, >= 1.
            classes: names of the classes, or their number.
            annotator: names; None if unknown.
            label: the class asked about, by name or position; None if annotators chose freely.
            time: seconds.
            check: True or "passed", False or "failed" for an attention check; with an item it is an answer, too.
            truth: the right answer, equal in all rows of an item.
            checks_at_least: annotators with a smaller share of 5 or more passed checks are dropped, in 0..1; None keeps
                all.

        Raises:
            ConfigError: an argument is out of range.
            DataError: columns are malformed or differ in length, annotators were asked in both ways, or one gave two
                answers.
        """
        names, items = named(classes), items_of(item, size)
        check_lengths(len(items), answer=answer, annotator=annotator, label=label, time=time, check=check, truth=truth)
        asked = labels_of(label, names, items, "label")
        codes, who = annotators_of(annotator, len(items))
        rows = Rows(
            item=items,
            annotator=codes,
            asked=asked,
            answer=answers_of(answer, asked, names, items),  # -1 for none
            time=times_of(time, items),
            check=checks_of(check, items),
        )
        counted = counted_once(rows, who, size=size, classes=len(names), checks_at_least=checks_at_least)
        return cls._counted(rows, counted, names, who, truth=truths_of(truth, names, items, size), size=size)

    @classmethod
    def _counted(
        cls, rows: Rows, kept: Counted, names: tuple[str, ...], who: tuple[str, ...], *, truth: Ints | None, size: int
    ) -> Responses:
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
            unanswered=Unanswered(rows.item[kept.unanswered], rows.asked[kept.unanswered]),
        )

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        *,
        size: int,
        classes: int | Sequence[str],
        checks_at_least: float | None = CHECKS_AT_LEAST,
    ) -> Responses:
        """Return responses from mappings with "item", "answer", and optionally "annotator", "label", "time", "check",
        "truth".

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
        checks_at_least: float | None = CHECKS_AT_LEAST,
    ) -> Responses:
        """Return responses from a CSV file in UTF-8 with the keys of `from_records` in its first line."""
        return cls.from_columns(size=size, classes=classes, checks_at_least=checks_at_least, **csv_records(path))

    @classmethod
    def from_label_studio(
        cls,
        source: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
        *,
        size: int,
        classes: int | Sequence[str],
        checks_at_least: float | None = CHECKS_AT_LEAST,
    ) -> Responses:
        """Return responses from Label Studio's JSON export: tasks with annotations of one choice each.

        A task's data have the "item", and optionally the "label" asked about, the right answer of a "check", and a
        "truth". Predictions are left out; a cancelled annotation is a question without an answer.

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
        """Return responses from a table of counts, without annotators.

        Args:
            selected: (N, K) whole numbers, selections of each class for each item.
            shown: (N, K), answers about each class; None if annotators chose freely.
            classes: as for `from_columns`; None for K without names.

        Raises:
            DataError: malformed, or more selected than shown.
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


# Rows that count: one per annotator, item and label, from annotators who passed their attention checks.


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Unchecked rows: (R,) columns; -1 for an attention check without an item, a missing answer, and a row that is no
    check.
    """

    item: Ints
    annotator: Ints
    asked: Ints
    answer: Ints
    time: NDArray[np.float64]
    check: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The rows that count, and counts of the others."""

    rows: Ints  # positions of them
    passed: Ints  # passed, checks: (A,) attention checks that each annotator passed, and answered
    checks: Ints
    inattentive: NDArray[np.bool_]  # (A,) bool, annotators who were dropped
    repeats: int  # repeats, dropped: rows that repeat another one, and rows about items by dropped annotators
    dropped: int
    unanswered: Ints  # positions of questions that have no answer


def counted_once(
    rows: Rows, who: tuple[str, ...], *, size: int, classes: int, checks_at_least: float | None
) -> Counted:
    """Return the rows that count: one per annotator, item and label, of attentive annotators.

    Raises:
        ConfigError: checks_at_least is out of range.
        DataError: an annotator gave two answers to one question, or only some rows ask about a label.
    """
    at_least = checks_at_least
    if at_least is not None and (
        isinstance(at_least, bool) or not isinstance(at_least, int | float) or not 0 <= at_least <= 1
    ):
        raise ConfigError(expected("checks_at_least in 0..1", at_least))
    first = _once(rows, size, classes, who)
    item, annotator, check = rows.item[first], rows.annotator[first], rows.check[first]
    there = item != NONE
    answered = there & (rows.answer[first] != NONE)
    _asked_alike(item, rows.asked[first])
    known = annotator != NONE
    seen = np.bincount(annotator[known & (check != NONE)], minlength=len(who))
    passed = np.bincount(annotator[known & (check == 1)], minlength=len(who))
    failed = np.zeros(len(who) + 1, dtype=bool)  # the last one is for rows of nobody, whose position is -1
    if at_least is not None:
        failed[:-1] = fails_checks(passed, seen, at_least)
    kept = answered & ~failed[annotator]
    # Questions about an item are left out with their annotator, but never the item: where nobody else answered, they
    # have no answer.
    alone = np.bincount(item[kept], minlength=size)[item] == 0
    return Counted(
        rows=first[kept],
        passed=passed,
        checks=seen,
        inattentive=failed[:-1],
        repeats=len(rows.item) - len(first),
        dropped=int((answered & ~kept).sum()),
        unanswered=first[there & ((~answered & ~failed[annotator]) | (failed[annotator] & alone))],
    )


def fails_checks(passed: ArrayLike, seen: ArrayLike, at_least: float = CHECKS_AT_LEAST) -> NDArray[np.bool_]:
    """Return True where the answers of an annotator are left out, by attention checks passed and seen."""
    return (np.asarray(seen) >= FEWEST_CHECKS) & (np.asarray(passed) < at_least * np.asarray(seen) - 1e-9)


def truths_of(truth: object, names: tuple[str, ...], items: Ints, size: int) -> Ints | None:
    """Return (size,) right answers of the study, -1 for an item without; None without any.

    Raises:
        DataError: an item has two, or one is no class.
    """
    given = labels_of(truth, names, items, "truth")
    there = (items != NONE) & (given != NONE)
    if not there.any():
        return None
    held = np.full(size, NONE)
    held[items[there]] = given[there]
    if len(differs := np.flatnonzero(there & (held[items] != given))):
        raise DataError(f"Expected one truth for each item but item {items[differs[0]]} has two.")
    return held


def _once(rows: Rows, size: int, classes: int, who: tuple[str, ...]) -> Ints:
    """Return positions of rows that repeat no earlier one; rows without annotator or item never repeat.

    A question that its annotator answered in another row is a repeat, too.
    """
    same = np.flatnonzero((rows.annotator != NONE) & (rows.item != NONE))
    same = same[np.argsort(rows.answer[same] == NONE, kind="stable")]  # answers come before what is missing
    # One number for annotator, item and label: unique on numbers is far faster than on rows.
    key = (rows.annotator[same] * size + rows.item[same]) * (classes + 1) + rows.asked[same] + 1
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    given = rows.answer[same]
    differs = np.flatnonzero((given != given[first][group]) & (given != NONE))
    if len(differs):
        row = same[differs].min()
        raise DataError(
            f"Expected one answer of each annotator to a question but {who[rows.annotator[row]]!r} gave two of item "
            f"{rows.item[row]}. Leave out the one that does not count."
        )
    unique = np.ones(len(rows.item), dtype=bool)
    unique[same] = False
    unique[same[first]] = True
    return np.flatnonzero(unique)


def _asked_alike(item: Ints, asked: Ints) -> None:
    there = item != NONE
    by_label = asked[there] != NONE
    if by_label.any() and not by_label.all():
        raise DataError(
            "Expected annotators to be asked in one way but some answers are about a label, and one of item "
            f"{item[there][by_label.argmin()]} is not. Make Responses of each kind."
        )


# Files: comma-separated values, and the JSON that Label Studio exports.


COLUMNS = ("item", "annotator", "label", "answer", "time", "check", "truth")
"""Columns of a table of answers, as in `Responses.from_columns`."""

# Names of columns in the export of `robustest study`.
_ALSO = {"asked": "label", "seconds": "time"}

NEEDED = ("item", "answer")

# Most bytes of a file; ten million answers take fewer.
_MOST = 1 << 30

# The field that holds the answer, in annotations with several fields.
_FIELD = "answer"


def columns_of(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the columns of records, without empty ones. Raises DataError for a malformed record."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for at, given in enumerate(records):
        if not isinstance(given, Mapping):
            raise DataError(expected(f"record {at} to be a mapping", given))
        record = {_ALSO.get(name, name): value for name, value in given.items()}
        if strange := sorted(set(record) - set(COLUMNS)):
            raise DataError(f"Expected the keys {', '.join(COLUMNS)} but record {at} has {strange[0]!r}.")
        if "answer" not in record or ("item" not in record and record.get("check") is None):
            raise DataError(expected(f"record {at} to have an item and an answer", record))
        for name in COLUMNS:
            columns[name].append(record.get(name))
    return {name: column for name, column in columns.items() if name in NEEDED or any(v is not None for v in column)}


def csv_records(path: str | os.PathLike[str]) -> dict[str, Sequence[str]]:
    """Return the columns of a CSV file with their names in its first line. Raises DataError if it is malformed."""
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        table = [row for row in rows if row]
    except csv.Error as error:
        raise DataError(f"Expected comma-separated values in {path} but got: {error}") from None
    header = [_ALSO.get(name.strip(), name.strip()) for name in table[0]] if table else []
    if missing := [name for name in NEEDED if name not in header]:
        raise DataError(f"Expected {path} to begin with the names of its columns but {missing[0]!r} is not there.")
    if strange := [name for name in header if name not in COLUMNS or header.count(name) > 1]:
        raise DataError(f"Expected the columns {', '.join(COLUMNS)}, each once, but {path} has {strange[0]!r}.")
    for at, row in enumerate(table[1:], 1):
        if len(row) != len(header):
            raise DataError(f"Expected {len(header)} fields in each row of {path} but row {at} has {len(row)}.")
    return dict(zip(header, zip(*table[1:], strict=True) if len(table) > 1 else [()] * len(header), strict=True))


def label_studio_records(source: str | os.PathLike[str] | Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the records of Label Studio's tasks, without predictions; cancelled annotations have no answer."""
    tasks: Any = source
    if isinstance(source, str | os.PathLike):
        try:
            tasks = json.loads(_text(source))
        except (ValueError, RecursionError) as error:
            raise DataError(f"Expected tasks as JSON in {source} but got: {error}") from None
    if not isinstance(tasks, Sequence) or isinstance(tasks, str | bytes):
        raise DataError(expected("a list of tasks as Label Studio exports them", tasks))
    for at, task in enumerate(tasks):
        if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
            raise DataError(expected(f"task {at} to have data", task))
        annotations = task.get("annotations", [])
        if not isinstance(annotations, Sequence) or not all(isinstance(one, Mapping) for one in annotations):
            raise DataError(expected(f"task {at} to have a list of annotations", annotations))
        for one in annotations:
            yield _record(task["data"], one)


def _record(about: Mapping[str, Any], annotation: Mapping[str, Any]) -> dict[str, Any]:
    # Who skips a task leaves a cancelled annotation.
    skipped = bool(annotation.get("was_cancelled"))
    answer = None if skipped else _choice(annotation.get("result"), about.get("item"))
    right = about.get("check")
    return {
        "item": about.get("item"),
        "annotator": _who(annotation.get("completed_by")),
        "label": about.get("label"),
        "answer": answer,
        "time": annotation.get("lead_time"),
        "check": None if right in (None, "") else not skipped and str(right) == answer,
        "truth": about.get("truth"),
    }


def _choice(found: object, item: object) -> str:
    fields = [
        part
        for part in (found if isinstance(found, Sequence) else ())
        if isinstance(part, Mapping) and part.get("type") == "choices"
    ]
    fields = [part for part in fields if part.get("from_name") == _FIELD] or fields
    choices = [
        part.get("value", {}).get("choices") if isinstance(part.get("value"), Mapping) else [] for part in fields
    ]
    if len(choices) != 1 or not isinstance(choices[0], list) or len(choices[0]) != 1:
        raise DataError(expected(f"one choice in each annotation of item {item}", choices))
    return str(choices[0][0])


def _who(completed_by: object) -> object:
    if isinstance(completed_by, Mapping):
        return next((completed_by[key] for key in ("email", "username", "id") if completed_by.get(key)), None)
    return completed_by


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return SafeFolder.read_file(Path(path), most=_MOST).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Expected answers in UTF-8 in {path} but got: {error}") from None


# Columns: values as users write them become whole numbers. An error names the item of its row.


NONE = -1
"""Stands for a missing value."""

_YES_OR_NO = {"yes": 1, "no": 0, "true": 1, "false": 0, "1": 1, "0": 0}
_CHECKS = {"passed": 1, "failed": 0, **_YES_OR_NO}


def named(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes; their positions if only their number is given."""
    if isinstance(classes, int | np.integer) and not isinstance(classes, bool) and classes > 0:
        return tuple(map(str, range(int(classes))))
    names = () if isinstance(classes, str | int) else tuple(classes)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ConfigError(expected("classes to be names, each once, or how many there are", classes))
    return names


def items_of(values: object, size: int) -> Ints:
    """Return (R,) positions of items in 0..size-1; -1 for none."""
    if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
        raise ConfigError(expected("size to be a whole number >= 1", size))
    column = values if isinstance(values, np.ndarray) else list(cast("Sequence[object]", values))
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "iu":
        items = column.astype(np.int64)
    else:
        items = np.array([_whole(value) for value in column], dtype=np.int64)
    wrong = np.flatnonzero((items >= size) | (items < NONE))
    if len(wrong):
        raise DataError(f"Expected items in 0..{size - 1} but row {wrong[0]} is about item {items[wrong[0]]}.")
    return items


def check_lengths(rows: int, **columns: Any) -> None:
    """Raise DataError for a column of another length than the rows; None is a missing column."""
    for name, column in columns.items():
        if column is not None and len(column) != rows:
            raise DataError(f"Expected {rows} values of {name!r}, one a row, but got {len(column)}.")


def labels_of(values: object, names: tuple[str, ...], items: Ints, what: str) -> Ints:
    """Return (R,) positions of classes given by name or position; -1 for none."""
    if values is None:
        return np.full(len(items), NONE)
    # "3" names a position only if no class has a number for a name.
    known = {str(at): at for at in range(len(names))} if not any(name.isdigit() for name in names) else {}
    return _positions(values, {**{name: at for at, name in enumerate(names)}, **known}, len(names), items, what)


def answers_of(values: object, asked: Ints, names: tuple[str, ...], items: Ints) -> Ints:
    """Return (R,) positions of chosen classes, or 1 and 0 if a class was asked about; -1 for no answer."""
    column = np.asarray(values) if isinstance(values, np.ndarray) else list(cast("Sequence[object]", values))
    by_label = asked != NONE
    if by_label.all() and len(asked):
        answers = _positions(column, _YES_OR_NO, 2, items, "answer")
    elif not by_label.any():
        answers = labels_of(column, names, items, "answer")
    else:  # checks alone may be asked in another way; whether items are is looked at later
        answers = np.full(len(items), NONE)
        for rows, known in ((np.flatnonzero(by_label), True), (np.flatnonzero(~by_label), False)):
            some = [column[row] for row in rows]
            answers[rows] = (
                _positions(some, _YES_OR_NO, 2, items[rows], "answer")
                if known
                else labels_of(some, names, items[rows], "answer")
            )
    return answers


def times_of(values: object, items: Ints) -> NDArray[np.float64]:
    """Return (R,) seconds; NaN for none.

    Raises:
        DataError: a time is no number, or negative.
    """
    if values is None:
        return np.full(len(items), np.nan)
    times = np.full(len(items), np.nan)
    for row, value in enumerate(cast("Sequence[object]", values)):
        if _absent(value):
            continue
        try:
            times[row] = float(cast("Any", value))
        except (TypeError, ValueError):
            raise DataError(expected(f"the time of item {items[row]} in seconds", value)) from None
    if len(wrong := np.flatnonzero((times < 0) | np.isinf(times))):
        raise DataError(f"Expected times >= 0 but one of item {items[wrong[0]]} is {times[wrong[0]]:g}.")
    return times


def checks_of(values: object, items: Ints) -> Ints:
    """Return (R,) 1 for a passed check, 0 for a failed one, -1 for a row that is no check."""
    nothing = np.full(len(items), NONE)
    checks = nothing if values is None else _positions(values, _CHECKS, 2, items, "check")
    neither = np.flatnonzero((items == NONE) & (checks == NONE))
    if len(neither):
        raise DataError(f"Expected an item or a check in each row but row {neither[0]} has neither.")
    return checks


def annotators_of(values: object, rows: int) -> tuple[Ints, tuple[str, ...]]:
    """Return (R,) positions in the names, -1 without a name, and the names in the order of their first answers."""
    if values is None:
        return np.full(rows, NONE), ()
    places: dict[str, int] = {}  # by name: an annotator who is 7 in one row and "7" in another is one
    codes = np.empty(rows, dtype=np.int64)
    column = values.tolist() if isinstance(values, np.ndarray) else values
    for row, value in enumerate(cast("Sequence[object]", column)):
        codes[row] = NONE if _absent(value) else places.setdefault(str(value), len(places))
    return codes, tuple(places)


def table_of(name: str, counts: ArrayLike) -> Ints:
    """Return (N, K) whole numbers >= 0.

    Raises:
        DataError: another shape or other values.
    """
    table = np.asarray(counts)
    if table.ndim != 2 or table.dtype.kind not in "iu" or not table.size:
        raise DataError(expected(f"{name} to be whole numbers, (N, K)", counts))
    if (wrong := np.argwhere(table < 0)).size:
        raise DataError(f"Expected counts >= 0 but item {wrong[0, 0]} has {table[tuple(wrong[0])]} in {name}.")
    return table.astype(np.int64)


def _positions(values: object, known: dict[str, int], most: int, items: Ints, what: str) -> Ints:
    """Return the positions of values that are positions below `most` or known words; -1 if missing."""
    if isinstance(values, np.ndarray) and values.dtype.kind in ("iub" if _is_words(known) else "iu"):
        found = values.astype(np.int64)
        wrong = np.flatnonzero((found < NONE) | (found >= most))
        if len(wrong):
            raise _no_such(what, int(found[wrong[0]]), int(items[wrong[0]]), known)
        return found
    column = values.tolist() if isinstance(values, np.ndarray) else cast("Sequence[object]", values)
    # Values repeat, so each distinct one is looked up once.
    places: dict[tuple[type, object], int] = {}
    found = np.empty(len(column), dtype=np.int64)
    for row, value in enumerate(column):
        key = (type(value), value)  # True and 1 are equal, and not the same
        if key not in places:
            place = NONE if _absent(value) else _place(value, known, most)
            if place is None:
                raise _no_such(what, value, int(items[row]), known)
            places[key] = place
        found[row] = places[key]
    return found


def _place(value: object, known: dict[str, int], most: int) -> int | None:
    words = _is_words(known)
    if isinstance(value, str):
        return known.get(value.lower() if words else value)
    if isinstance(value, bool | np.bool_):
        return int(value) if words else None
    if isinstance(value, int | np.integer) and NONE <= value < most:
        return int(value)
    return None


def _is_words(known: dict[str, int]) -> bool:
    # Tables of yes and no take True and False as well.
    return known is _YES_OR_NO or known is _CHECKS


def _absent(value: object) -> bool:
    # None, an empty field of a file, or the NaN of a data frame.
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and isnan(value))


def _no_such(what: str, value: object, item: int, known: dict[str, int]) -> DataError:
    where = "of a check" if item == NONE else f"of item {item}"
    names = ", ".join(list(known)[:12]) + (", ..." if len(known) > 12 else "")
    return DataError(expected(f"the {what} {where} to be one of {names}", value))


def _whole(value: object) -> int:
    if _absent(value):
        return NONE
    number: object = value
    decimal = isinstance(value, str) and value.strip().isdecimal()
    if decimal or (isinstance(value, float | np.floating) and value.is_integer()):  # data frames with gaps have floats
        number = int(value)  # type: ignore[call-overload]
    if isinstance(number, int | np.integer) and not isinstance(number, bool) and number >= 0:
        return int(number)
    raise DataError(expected("items as positions in the data set, whole numbers >= 0", value))
