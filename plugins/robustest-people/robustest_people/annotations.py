"""Selection frequencies of items, without the answers by which the items were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustest.errors import DataError, expected
from robustest_people.responses import Responses

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Numbers of annotators who were shown each item and who selected it for its label.

    Responses by which items were chosen overstate their frequency: mark them to drop them, or state with `independent`
    that there are none.

    Attributes:
        selected: (N,) int64, annotators who selected the item for its label.
        shown: (N,) int64, annotators who were shown the item, >= selected.
        independent: True if no response was used to choose or match the items.
        dropped: responses left out: used for matching, inattentive, or repeated.

    Raises:
        DataError: the counts do not fit together.
    """

    selected: Counts
    shown: Counts
    independent: bool
    dropped: int = 0

    def __post_init__(self) -> None:
        for name in ("selected", "shown"):
            object.__setattr__(self, name, _counts(name, getattr(self, name)))
        if self.selected.shape != self.shown.shape:
            raise DataError(
                f"Expected as many counts selected as shown but got {len(self.selected)} and {len(self.shown)}."
            )
        if wrong := np.flatnonzero((self.selected < 0) | (self.selected > self.shown)).tolist():
            raise DataError(
                f"Expected 0 <= selected <= shown but item {wrong[0]} has {self.selected[wrong[0]]} of "
                f"{self.shown[wrong[0]]}."
            )
        if not isinstance(self.independent, bool):
            raise DataError(expected("independent to be True or False", self.independent))

    def __len__(self) -> int:
        return len(self.selected)

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Return (N,) shares of annotators who selected each item; NaN where nobody was shown it."""
        share = np.full(len(self), np.nan)
        np.divide(self.selected, self.shown, out=share, where=self.shown > 0)
        return share

    @classmethod
    def of(cls, responses: Responses, labels: ArrayLike, *, independent: bool) -> Annotations:
        """Return the annotations of a data set, from responses and labels (N,), whole numbers.

        Raises:
            DataError: labels are of other items or classes, or a question has no answer.
        """
        of = _counts("labels", labels)
        if len(of) != responses.size:
            raise DataError(f"Expected labels of the {responses.size} items but got {len(of)}.")
        if len(wrong := np.flatnonzero((of < 0) | (of >= len(responses.classes)))):
            raise DataError(
                f"Expected labels in 0..{len(responses.classes) - 1} but item {wrong[0]} has {of[wrong[0]]}."
            )
        if missing := len(responses.unanswered):
            raise DataError(
                f"Expected an answer to each question but {missing} have none, and nobody knows how often items would "
                "be selected with them. Collect them, or leave out the rows of questions that nobody was to answer."
            )
        selected, shown = (table[np.arange(len(of)), of] for table in responses.counts())
        left_out = responses.repeats + responses.dropped
        return cls(selected=selected, shown=shown, independent=independent, dropped=left_out)

    @classmethod
    def from_responses(cls, responses: ArrayLike, *, matching: ArrayLike | None) -> Annotations:
        """Return the annotations of a table of items by annotators.

        Args:
            responses: (N, A), 1 if the annotator selected the item, 0 if not, NaN if it was not shown.
            matching: (A,) or (N, A) bool, responses used to choose or match the items, which are dropped; None for
                none.
        """
        table = np.asarray(responses, dtype=np.float64)
        if table.ndim != 2 or not np.isin(table[~np.isnan(table)], (0, 1)).all():
            raise DataError(expected("responses (N, A) of 0, 1 and NaN", responses))
        there = ~np.isnan(table)
        used = np.zeros(table.shape, bool)
        if matching is not None:
            mask = np.asarray(matching)
            if mask.dtype != bool or mask.shape not in (table.shape, table.shape[1:]):
                raise DataError(expected("matching to be bool, (A,) or (N, A)", matching))
            used = np.broadcast_to(mask, table.shape)
        kept = there & ~used
        return cls(
            selected=np.where(kept, table, 0).sum(1).astype(np.int64),
            shown=kept.sum(1).astype(np.int64),
            independent=True,
            dropped=int((there & used).sum()),
        )

    @classmethod
    def from_records(
        cls,
        items: Sequence[int],
        responses: Sequence[bool],
        *,
        size: int,
        matching: Sequence[bool] | None,
        annotators: Sequence[object] | None = None,
        attentive: Sequence[bool] | None = None,
        checks_at_least: float = 0.7,
    ) -> Annotations:
        """Return the annotations of a list of responses; repeated ones of an annotator count once.

        Args:
            items: positions in the data set, 0..size-1, one per response.
            responses: True if the item was selected.
            size: number of items.
            matching: True for responses used to choose or match the items, which are dropped; None for none.
            annotators: one per response; needed with `attentive`.
            attentive: True if the annotator passed the response's attention check.
            checks_at_least: as for `Responses.from_columns`.

        Raises:
            ConfigError: checks_at_least is out of range.
            DataError: columns are malformed or differ in length, or an annotator gave two answers.
        """
        given = {"responses": responses, "matching": matching, "annotators": annotators, "attentive": attentive}
        for name, column in given.items():
            if column is not None and len(column) != len(items):
                raise DataError(f"Expected {len(items)} {name}, one a response, but got {len(column)}.")
        at = _counts("items", items)
        if len(at) and (at.min() < 0 or at.max() >= size):
            raise DataError(f"Expected items in 0..{size - 1} but got {at.min()}..{at.max()}.")
        if attentive is not None and annotators is None:
            raise DataError("Expected annotators= with attentive=, to drop whoever failed checks.")
        keep = np.ones(len(at), bool) if matching is None else ~np.asarray(matching, bool)
        rows = np.flatnonzero(keep).tolist()
        # Each row asks about a single class, "the label": selected is yes.
        counted = Responses.from_columns(
            at[keep],
            np.asarray(responses, bool)[keep],
            size=size,
            classes=1,
            label=np.zeros(len(rows), dtype=np.int64),
            annotator=None if annotators is None else [annotators[row] for row in rows],
            check=None if attentive is None else np.asarray(attentive, bool)[keep],
            checks_at_least=checks_at_least,
        )
        selected, shown = (table[:, 0] for table in counted.counts())
        return cls(selected=selected, shown=shown, independent=True, dropped=len(at) - len(counted))


def _counts(name: str, values: ArrayLike) -> Counts:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(expected(f"{name} to be whole numbers, (N,)", values))
    return array.astype(np.int64)
