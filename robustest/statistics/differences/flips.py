"""Pairs of predictions: the same samples with a cue on and with it off, counted by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.statistics.differences.paired import mcnemar
from robustest.statistics.multiplicity import holm

CLASSES = "classes"
"""The column that has the model's number of classes in every row."""


def on(cue: int) -> str:
    """The column of predictions with a cue on."""
    return f"on {cue}"


def off(cue: int) -> str:
    """The column of predictions with a cue off."""
    return f"off {cue}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Counts over the paired predictions of one cue.

    Attributes:
        flips, of: predictions the cue changes, among how many samples.
        hits: (K,) by class: right with the cue on.
        lost, gained, members: (K,) by class: right only with the cue on, only with it off, samples.
        drawn, driven: (K,) predictions the cue moves into a class, and out of it.
        before: (K,) predictions of a class with the cue off.
        target: the class suspected, or None.
        accuracy: accuracies with the cue on and off.
    """

    flips: int
    of: int
    hits: NDArray[np.int64]
    lost: NDArray[np.int64]
    gained: NDArray[np.int64]
    members: NDArray[np.int64]
    drawn: NDArray[np.int64]
    driven: NDArray[np.int64]
    before: NDArray[np.int64]
    target: int | None
    accuracy: tuple[float, float]

    @classmethod
    def count(cls, columns: Mapping[str, NDArray[Any]], cue: int, target: int | None) -> Pairs:
        """The counts of one cue."""
        with_cue, without, label = (columns[name].astype(np.int64) for name in (on(cue), off(cue), "label"))
        classes = int(columns[CLASSES][0])

        def by_class(of: NDArray[np.int64], where: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(of[where], minlength=classes).astype(np.int64)

        moved = with_cue != without
        flips = moved if target is None else moved & (with_cue == target) & (label != target)
        return cls(
            flips=int(flips.sum()),
            of=len(label) if target is None else int((label != target).sum()),
            hits=by_class(label, with_cue == label),
            lost=by_class(label, (with_cue == label) & moved),
            gained=by_class(label, (without == label) & moved),
            members=by_class(label, np.ones(len(label), dtype=bool)),
            drawn=by_class(with_cue, moved),
            driven=by_class(without, moved),
            before=by_class(without, np.ones(len(label), dtype=bool)),
            target=target,
            accuracy=(float((with_cue == label).mean()), float((without == label).mean())),
        )

    @property
    def classes(self) -> list[int]:
        """The classes a claim is about: the target, or all that the data have."""
        return [k for k, n in enumerate(self.members) if n] if self.target is None else [self.target]

    @property
    def most_drawn(self) -> int:
        """The class that the cue draws most predictions to, those it drives away taken off."""
        return max(self.classes, key=lambda k: int(self.drawn[k] - self.driven[k]))

    @property
    def flip_rate(self) -> float:
        """Share of samples that flip; 0 where none counts."""
        return self.flips / max(1, self.of)

    def shares_moved(self, k: int) -> tuple[float, float]:
        """Share of other predictions that the cue moves into a class, and of the class's that it moves out of it."""
        before = int(self.before[k])
        others = int(self.before.sum()) - before
        return int(self.drawn[k]) / max(1, others), int(self.driven[k]) / max(1, before)

    def recall_drop(self, k: int) -> float:
        """Recall of a class with the cue on minus that with it off; 0 where it has no samples."""
        return int(self.lost[k] - self.gained[k]) / max(1, int(self.members[k]))

    def recall_on(self, k: int) -> float:
        """Return the recall of a class with the cue on; 0 where it has no samples."""
        return int(self.hits[k]) / max(1, int(self.members[k]))


def draw_p_values(pairs: Sequence[Pairs], chances: Sequence[float] = ()) -> list[dict[int, float]]:
    """By cue and class, the p-value that a cue draws no more predictions to the class than it drives away.

    Exact McNemar tests, corrected by Holm's method over all cues and classes.

    Args:
        pairs: the counts of each cue.
        chances: for each cue how likely what proposed it is by chance alone: its p-value is no less. None given: 0.
            They are not corrected with the tests, for they are about the search, whose classes they account for.
    """
    places = [(cue, k) for cue, counts in enumerate(pairs) for k in counts.classes]
    raw = [mcnemar(int(pairs[cue].drawn[k]), int(pairs[cue].driven[k])) for cue, k in places]
    table: list[dict[int, float]] = [{} for _ in pairs]
    for (cue, k), p in zip(places, holm(raw), strict=True):
        table[cue][k] = max(p, chances[cue]) if chances else p
    return table
