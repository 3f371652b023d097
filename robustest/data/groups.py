"""Groups of samples, and samples that show several objects each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.checks import check_order, checked_whole, column_of, index_of, require
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

    @classmethod
    def of(cls, groups: object, total: int, *, rows: object = None) -> Groups:
        """Return named groups of samples.

        Args:
            groups: (N,) integers or strings, as a list, an array or a tensor, the group of each sample (None: no group;
                tuples, or the rows of an (N, k) array: one group for each combination); or a mapping from names to
                positions in the data, or to (N,) bool; these groups may overlap.
            total: N, number of samples in the data.
            rows: the inputs, whose index the groups' must be if they are frames or columns.

        Raises:
            DataError: lengths or indices differ, a position does not exist, two groups have one name, or there is no
                group.
        """
        index = index_of(rows)
        for one in groups.values() if isinstance(groups, Mapping) else (groups,):
            check_order("groups", one, rows)
            # Part of an index, as `frame.index[frame.age > 60]`: after a shuffle or a filter its labels are no
            # positions.
            # Beside inputs without an index nothing shows whether it counts them.
            counts = not isinstance(groups, Mapping) if index is None else list(index) == list(range(len(index)))
            if hasattr(one, "get_indexer") and not counts:
                mend = "Give a mask, (frame.age > 60).to_numpy(), or frame.index.get_indexer(labels)."
                raise DataError(
                    f"Expected positions of rows but got labels of an index that does not count them. {mend}"
                )
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
        return cls(tuple(names), tuple(ids for _, ids in pairs), total, empty)


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
    ids = np.unique(array.astype(np.int64))
    if len(array) == total > len(ids) and set(ids.tolist()) <= {0, 1}:  # as positions a group of samples 0 and 1 alone
        mend = "Write mask == 1, or give positions."
        raise DataError(f"Expected positions, or (N,) bool, for the group {key!r} but got a mask of 0 and 1. {mend}")
    if len(ids) and (ids[0] < 0 or ids[-1] >= total):
        raise DataError(f"Expected positions in 0..{total - 1} for the group {key!r} but got {ids[0]}..{ids[-1]}.")
    return ids


def _by_value(groups: object, total: int) -> dict[object, NDArray[np.int64]]:
    if isinstance(groups, str) or not isinstance(groups, (Iterable, Tensor)):
        mend = f"Give the values of that column: frame[{groups!r}]." if isinstance(groups, str) else ""
        what = "groups as (N,) integers or strings, or a mapping from names to positions"
        raise DataError(expected(what, groups, mend))
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


# Groups by the values of columns

# Numbers with at most this many values are grouped by value, others by quantile.
_FEW_VALUES = 5
# Claims judge all groups at once, with the level of each divided by their number.
_MOST_SUBGROUPS = 5000


def subgroups(
    frame: Any, columns: Sequence[str] | None = None, *, depth: int = 1, min_size: int = 30, bins: int = 4
) -> dict[str, NDArray[np.int64]]:
    """Return the groups of rows that values of up to `depth` columns name, without a look at any label or outcome.

    A claim on them is a search for the worst subgroup: its bounds hold for all of these groups at once. Words,
    categories and booleans are grouped by value, numbers and dates by quantile; missing values are a group.

    Args:
        frame: of pandas or polars, the rows of the data.
        columns: None for all. A group may be of columns that the model does not get.
        depth: most columns that name one group, >= 1.
        min_size: smaller groups are left out, >= 1; all groups together then say nothing of their rows.
        bins: groups of a column of numbers, >= 2.

    Returns:
        Positions (n_g,) of each group's rows, rising, by a name such as "job = cook, age 20 to 30". Of groups with the
            same rows the one of fewest columns is kept.

    Raises:
        ConfigError: an argument is out of range.
        DataError: the frame lacks a column, or there is no group, or there are more than 5,000.
    """
    for name, value, least in (("depth", depth, 1), ("min_size", min_size, 1), ("bins", bins, 2)):
        checked_whole(name, value, least)
    known = list(getattr(frame, "columns", ()))
    names = known if columns is None else list(columns)
    if not names or not set(names) <= set(known):
        raise DataError(expected(f"columns among {', '.join(map(str, known[:10]))} of a frame", columns))
    total = len(frame)
    values = {name: _conditions(str(name), column_of(frame, name), bins, min_size) for name in names}
    found: dict[bytes, tuple[str, NDArray[np.int64]]] = {}
    parts: list[tuple[int, str, NDArray[np.bool_]]] = [(-1, "", np.ones(total, dtype=bool))]
    for _ in range(depth):
        wider = []
        for last, label, mask in parts:
            for at, name in enumerate(names[last + 1 :], last + 1):
                for words, rows in values[name]:
                    both = mask & rows
                    # A smaller group has no subgroup that is large enough, and the whole set is no group.
                    if min_size <= int(both.sum()) < total:
                        wider.append((at, f"{label}, {words}" if label else words, both))
        for _, label, mask in wider:
            found.setdefault(np.packbits(mask).tobytes(), (label, np.flatnonzero(mask).astype(np.int64)))
        if len(found) > _MOST_SUBGROUPS:
            raise DataError(
                expected(f"at most {_MOST_SUBGROUPS:,} groups", len(found), "Raise min_size, or name fewer columns.")
            )
        parts = wider
    require(found, f"groups of {min_size} rows or more", "none", "Lower min_size.", error=DataError)
    named = dict(found.values())
    if len(named) < len(found):  # one would hide the other
        twice = next(label for label, ids in found.values() if named[label] is not ids)
        raise DataError(expected("values that are written differently", f"two groups {twice!r}", "Rename one value."))
    return named


def _conditions(name: str, held: list[Any], bins: int, min_size: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return groups of a column's rows: words, and (N,) bool."""
    missing = np.array([one is None or (isinstance(one, float) and math.isnan(one)) for one in held])
    there = [one for one, none in zip(held, missing, strict=True) if not none]
    distinct = sorted(set(there), key=lambda one: (type(one).__name__, one))
    # Ranks, which words and dates have as well as numbers; equal values are in one group.
    place = {value: at for at, value in enumerate(distinct)}
    rank = np.array([-1 if none else place[one] for one, none in zip(held, missing, strict=True)])
    found = [(f"{name} missing", missing)] if missing.any() else []
    if len(distinct) <= _FEW_VALUES or isinstance(distinct[0], (str, bool)):
        count = np.bincount(rank[rank >= 0], minlength=len(distinct))
        large = np.flatnonzero(count >= min_size).tolist()
        return [*found, *((f"{name} = {distinct[at]}", rank == at) for at in large)]
    ends = np.unique(np.quantile(rank[rank >= 0], np.linspace(0, 1, bins + 1)[1:], method="lower").astype(int))
    starts = [0, *(ends[:-1] + 1).tolist()]
    ranges = [(distinct[low], distinct[high]) for low, high in zip(starts, ends.tolist(), strict=True)]
    words = [" to ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in pair) for pair in ranges]
    if len(set(words)) < len(words):  # closer than four digits show
        words = [f"{low} to {high}" for low, high in ranges]
    rows = [(rank >= low) & (rank <= high) for low, high in zip(starts, ends.tolist(), strict=True)]
    return [*found, *((f"{name} {label}", mask) for label, mask in zip(words, rows, strict=True))]


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

    @classmethod
    def of(cls, data: object) -> LabelSets:
        """Return samples with sets of classes.

        Args:
            data: `(x, sets)`: inputs (N, *S), or a data set as `as_samples` takes it, whose labels are not read; and
                (N, K) of 0 and 1 or of bools, tensor or array, K >= 2.

        Raises:
            DataError: another form, another number of sets than samples, or equal sets, so that no model could be
                wrong.
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
        return cls(samples, sets)

    @staticmethod
    def predicted(logits: Tensor, scores: Scores) -> Tensor:
        """Return (B, K) bool: the classes that logits (B, K) predict."""
        if scores == "sigmoid":
            return logits > 0
        # log p >= max log p - log 2: at least half as probable as the most probable class.
        return logits.log_softmax(1) >= logits.log_softmax(1).amax(1, keepdim=True) - float(np.log(2))


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
