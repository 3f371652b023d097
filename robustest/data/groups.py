"""Groups of samples, and samples that show several objects each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.data.samples import Samples, as_samples
from robustest.errors import DataError, expected


@dataclass(frozen=True, slots=True)
class Groups:
    """Named groups of samples; a sample may be in several, or in none."""

    names: tuple[str, ...]  # names of the groups
    # positions (n_g,) int64 of each group's samples in the data, rising; none is empty
    members: tuple[NDArray[np.int64], ...]
    total: int  # number of samples in the data
    empty: tuple[str, ...] = ()  # names of given groups without samples

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(ids) for ids in self.members)

    @property
    def outside(self) -> int:
        """The number of samples in no group."""
        return self.total - len(np.unique(np.concatenate(self.members)))

    @property
    def disjoint(self) -> bool:
        """True if no sample is in two groups."""
        every = np.concatenate(self.members)
        return len(np.unique(every)) == len(every)


def as_groups(groups: object, total: int) -> Groups:
    """Return named groups of samples.

    Args:
        groups: (N,) integers or strings, as a list, an array or a tensor, the group of each sample (None: no group;
            tuples, or the rows of an (N, k) array: one group for each combination); or a mapping from names to
            positions in the data, or to (N,) bool; these groups may overlap.
        total: N, number of samples in the data.

    Raises:
        DataError: lengths differ, a position does not exist, two groups have one name, or there is no group.
    """
    if isinstance(groups, Mapping):
        pairs = [(_name(key), _positions(key, value, total)) for key, value in groups.items()]
    else:
        pairs = [(_name(key), ids) for key, ids in _by_value(groups, total).items()]
    empty = tuple(name for name, ids in pairs if not len(ids))
    pairs = [(name, ids) for name, ids in pairs if len(ids)]
    names = [name for name, _ in pairs]
    if not names:
        raise DataError("Expected samples in one group or more but there are none.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"Expected every group to have a name of its own but two are called {twice[0]!r}.")
    return Groups(tuple(names), tuple(ids for _, ids in pairs), total, empty)


def _name(key: object) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _positions(key: object, value: object, total: int) -> NDArray[np.int64]:
    array = _array(value)
    if array.ndim == 1 and array.dtype == bool:
        if len(array) != total:
            raise DataError(f"Expected a mask of {total} samples for the group {key!r} but got {len(array)}.")
        return np.flatnonzero(array).astype(np.int64)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(expected(f"positions, or (N,) bool, for the group {key!r}", value))
    # Repeated positions count once.
    ids = np.unique(array.astype(np.int64))
    if len(ids) and (ids[0] < 0 or ids[-1] >= total):
        raise DataError(f"Expected positions in 0..{total - 1} for the group {key!r} but got {ids[0]}..{ids[-1]}.")
    return ids


def _by_value(groups: object, total: int) -> dict[object, NDArray[np.int64]]:
    if isinstance(groups, str) or not isinstance(groups, (Iterable, Tensor)):
        raise DataError(expected("groups as (N,) integers or strings, or a mapping from names to positions", groups))
    values = _array(groups).tolist() if isinstance(groups, (Tensor, np.ndarray)) else list(groups)
    if len(values) != total:
        mend = "Give one for each sample, in the order of the data."
        raise DataError(f"Expected the group of each of {total} samples but got {len(values)}. {mend}")
    found: dict[object, list[int]] = {}
    for at, value in enumerate(values):
        key = tuple(value) if isinstance(value, list) else value.item() if isinstance(value, np.generic) else value
        if key is None:
            continue
        if not isinstance(key, (int, str, tuple)):
            raise DataError(expected(f"an integer, a string or a tuple as the group of sample {at}", key))
        found.setdefault(key, []).append(at)
    ordered = sorted(found, key=lambda key: (not isinstance(key, int), key if isinstance(key, int) else 0, _name(key)))
    return {key: np.array(found[key], dtype=np.int64) for key in ordered}


def _array(value: object) -> NDArray[np.generic]:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


Scores = Literal["sigmoid", "softmax"]
"""Rule for the predicted classes: positive logits, or classes at least half as probable as the most probable one."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSets:
    """Samples with the set of classes that each shows."""

    samples: Samples  # samples, each labelled with the first class of its set, 0 if that is empty
    sets: Tensor  # (N, K) bool on the CPU, sample i shows class k

    @property
    def objects(self) -> Tensor:
        """(N,) int64: the number of classes that each sample shows."""
        return self.sets.sum(1)


def as_label_sets(data: object) -> LabelSets:
    """Return samples with sets of classes.

    Args:
        data: `(x, sets)`: inputs (N, *S), or a data set as `as_samples` takes it, whose labels are not read; and (N, K)
            of 0 and 1 or of bools, tensor or array, K >= 2.

    Raises:
        DataError: another form, another number of sets than samples, or equal sets, so that no model could be wrong.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DataError(expected("(x, sets) with sets (N, K) of 0 and 1, the classes that each sample shows", data))
    given, table = data
    sets = checked_sets(table)
    # `argmax` of an empty set is class 0, a placeholder: claims on sets read the sets.
    labels = sets.long().argmax(1)
    if isinstance(given, (Tensor, np.ndarray)):
        samples = as_samples((given, labels))
    else:
        inner = as_samples(given)
        samples = replace(inner, take=lambda ids: (inner.take(ids)[0], labels[ids]), source=None, stream=None)
    if len(samples) != len(sets):
        raise DataError(f"Expected as many sets as samples but got {len(samples)} samples and {len(sets)} sets.")
    if bool((sets == sets[0]).all()):
        shown = sets[0].nonzero().flatten().tolist()
        raise DataError(f"Expected samples of two different sets or more but every one shows the classes {shown}.")
    return LabelSets(samples, sets)


def checked_sets(table: object) -> Tensor:
    """Return (N, K) bool on the CPU from a table of 0 and 1 with K >= 2, or raise DataError."""
    if not isinstance(table, (Tensor, np.ndarray)) or getattr(table.dtype, "kind", "f") not in "biuf":
        raise DataError(expected("sets as a tensor or an array (N, K) of 0 and 1", table))
    values = torch.as_tensor(np.array(table) if isinstance(table, np.ndarray) else table).detach().cpu()
    if values.ndim != 2 or len(values) == 0 or values.shape[1] < 2:
        raise DataError(expected("sets of shape (N, K) with K >= 2", tuple(values.shape), "One column a class."))
    if not bool(((values == 0) | (values == 1)).all()):  # NaN is neither
        row = int(((values != 0) & (values != 1)).any(1).nonzero()[0])
        raise DataError(f"Expected sets of 0 and 1 but row {row} is {values[row].tolist()}.")
    return values.bool()


def predicted_sets(logits: Tensor, scores: Scores) -> Tensor:
    """Return (B, K) bool: the classes that logits (B, K) predict."""
    if scores == "sigmoid":
        return logits > 0
    # log p >= max log p - log 2: at least half as probable as the most probable class.
    return logits.log_softmax(1) >= logits.log_softmax(1).amax(1, keepdim=True) - float(np.log(2))
