"""Which rows of a table of answers count: each once, and none of annotators who do not attend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustest.errors import ConfigError, DataError, expected
from robustest_people.columns import NONE, labels_of

Ints = NDArray[np.int64]

FEWEST_CHECKS = 5
"""Attention checks that an annotator must have seen to be judged by them: one slip of a few says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows as they were given: (R,) columns, -1 for the item of a check alone, and for a row that is no check."""

    item: Ints
    annotator: Ints
    asked: Ints
    answer: Ints
    time: NDArray[np.float64]
    check: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The rows that count.

    Attributes:
        rows: positions of them.
        passed, checks: (A,) attention checks that each annotator passed, and saw.
        inattentive: (A,) bool, who was dropped.
        repeats, dropped: rows that repeated another one, and rows about items of annotators who were dropped.
    """

    rows: Ints
    passed: Ints
    checks: Ints
    inattentive: NDArray[np.bool_]
    repeats: int
    dropped: int


def counted_once(
    rows: Rows, who: tuple[str, ...], *, size: int, classes: int, checks_at_least: float | None
) -> Counted:
    """The rows that count.

    Args:
        rows: as they were given.
        who: the names of the annotators.
        size, classes: how many items and classes there are.
        checks_at_least: as for `robustest_people.responses.Responses.from_columns`.

    Raises:
        ConfigError: checks_at_least is out of range.
        DataError: an annotator gave two answers to one question, or labels were asked about in some rows only.
    """
    at_least = checks_at_least
    if at_least is not None and (
        isinstance(at_least, bool) or not isinstance(at_least, int | float) or not 0 <= at_least <= 1
    ):
        raise ConfigError(expected("checks_at_least in 0..1", at_least))
    first = _once(rows, size, classes, who)
    item, annotator, check = rows.item[first], rows.annotator[first], rows.check[first]
    _asked_alike(item, rows.asked[first])
    known = annotator != NONE
    seen = np.bincount(annotator[known & (check != NONE)], minlength=len(who))
    passed = np.bincount(annotator[known & (check == 1)], minlength=len(who))
    failed = np.zeros(len(who) + 1, dtype=bool)  # the last one is for rows of nobody
    if at_least is not None:
        failed[:-1] = (seen >= FEWEST_CHECKS) & (passed < at_least * seen - 1e-9)
    there = item != NONE
    kept = there & ~failed[annotator]
    return Counted(
        rows=first[kept],
        passed=passed,
        checks=seen,
        inattentive=failed[:-1],
        repeats=len(rows.item) - len(first),
        dropped=int((there & ~kept).sum()),
    )


def truths_of(truth: object, names: tuple[str, ...], items: Ints, size: int) -> Ints | None:
    """(size,) the answer that a study holds as right, -1 where it has none; None where it has none at all.

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
    """Positions of the rows that repeat no earlier one; nobody's answers and checks alone are all different."""
    same = np.flatnonzero((rows.annotator != NONE) & (rows.item != NONE))
    key = (rows.annotator[same] * size + rows.item[same]) * (classes + 1) + rows.asked[same] + 1
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    differs = np.flatnonzero(rows.answer[same] != rows.answer[same][first][group])
    if len(differs):
        row = same[differs[0]]
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
