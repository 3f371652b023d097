"""Annotated items, gathered by what annotators and a model said of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Items of a data set, gathered where annotators and model agree on them.

    Attributes:
        selected, shown: (c,) annotators who selected such items, of how many who were shown them.
        correct: (c,) 0 or 1, whether the model is right on them.
        count: (c,) how many there are.
    """

    selected: Ints
    shown: Ints
    correct: Ints
    count: Ints

    @classmethod
    def of(cls, selected: Ints, shown: Ints, correct: NDArray[np.bool_]) -> Cells:
        """The cells of items, given as (N,) arrays of what `Cells` has."""
        rows, count = np.unique(np.stack([selected, shown, correct.astype(np.int64)], 1), axis=0, return_counts=True)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], count)

    @property
    def size(self) -> int:
        """Number of items."""
        return int(self.count.sum())

    def thinned(self, n: int) -> Floats:
        """(c, n + 1) chances that 0..n of n annotators, drawn from those of an item, selected it."""
        chances: Floats = hypergeom.pmf(np.arange(n + 1), self.shown[:, None], self.selected[:, None], n)
        return chances

    def resampled(self, resamples: int, random: np.random.Generator) -> Ints:
        """(resamples, c) counts of as many items drawn again with replacement, each with its annotations."""
        return random.multinomial(self.size, self.count / self.size, size=resamples)
