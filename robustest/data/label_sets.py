"""Samples that show several objects each: a set of classes in the place of one label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from robustest.data.samples import Samples, as_samples
from robustest.errors import DataError, expected

Scores = Literal["sigmoid", "softmax"]
"""Which classes a model says: those of positive logits, or those at least half as probable as the most probable one."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSets:
    """Samples, and the classes that each of them shows.

    Attributes:
        samples: the data; the label of each is the first class of its set, 0 where it shows none.
        sets: (N, K) bool on the CPU, whether sample i shows class k.
    """

    samples: Samples
    sets: Tensor

    @property
    def objects(self) -> Tensor:
        """(N,) int64: how many classes each sample shows."""
        return self.sets.sum(1)


def as_label_sets(data: object) -> LabelSets:
    """Samples with sets of classes.

    Args:
        data: `(x, sets)`: inputs (N, *S), or a data set as `as_samples` takes it, whose own labels are not read; and
            (N, K) of 0 and 1 or of bools, tensor or array, K >= 2: the classes that each sample shows.

    Raises:
        DataError: it has another form, there are as many sets as samples not, or all sets are the same one, so that
            nothing could be told apart.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DataError(expected("(x, sets) with sets (N, K) of 0 and 1, the classes that each sample shows", data))
    given, table = data
    sets = checked_sets(table)
    labels = sets.long().argmax(1)
    if isinstance(given, (Tensor, np.ndarray)):
        samples = as_samples((given, labels))
    else:
        inner = as_samples(given)
        samples = Samples(lambda ids: (inner.take(ids)[0], labels[ids]), len(inner))
    if len(samples) != len(sets):
        raise DataError(f"Expected as many sets as samples but got {len(samples)} samples and {len(sets)} sets.")
    if bool((sets == sets[0]).all()):
        shown = sets[0].nonzero().flatten().tolist()
        raise DataError(f"Expected samples of two different sets or more but every one shows the classes {shown}.")
    return LabelSets(samples, sets)


def checked_sets(table: object) -> Tensor:
    """(N, K) bool on the CPU.

    Raises:
        DataError: not a table of 0 and 1 with two columns or more.
    """
    if not isinstance(table, (Tensor, np.ndarray)) or (
        isinstance(table, np.ndarray) and table.dtype.kind not in "biuf"
    ):
        raise DataError(expected("sets as a tensor or an array (N, K) of 0 and 1", table))
    values = torch.as_tensor(np.array(table) if isinstance(table, np.ndarray) else table).detach().cpu()
    if values.ndim != 2 or len(values) == 0 or values.shape[1] < 2:
        raise DataError(expected("sets of shape (N, K) with K >= 2", tuple(values.shape), "One column a class."))
    if not bool(((values == 0) | (values == 1)).all()):  # NaN is neither
        row = int(((values != 0) & (values != 1)).any(1).nonzero()[0])
        raise DataError(f"Expected sets of 0 and 1 but row {row} is {values[row].tolist()}.")
    return values.bool()


def said(logits: Tensor, scores: Scores) -> Tensor:
    """(B, K) bool: the classes that a model says, of its logits (B, K)."""
    if scores == "sigmoid":
        return logits > 0
    return logits.log_softmax(1) >= logits.log_softmax(1).amax(1, keepdim=True) - float(np.log(2))
