"""Ids of clusters, of any type that a user has them in, as whole numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustest.errors import DataError, expected

if TYPE_CHECKING:
    import torch
else:
    from robustest.loaded import torch

_MEND = "Give one id for each, such as the video's, or the patient's."


def numbered(ids: Iterable[Any], size: int, of: str = "sample") -> NDArray[np.int64]:
    """Return whole numbers (size,) from 0 of ids, equal for equal ids.

    Args:
        size: number of units.
        of: a unit, in words.

    Raises:
        DataError: there are more or fewer ids than units, or one is None, NaN, or a value that cannot be compared.
    """
    values = ids_of(ids)
    if len(values) != size:
        raise DataError(f"Expected the cluster of each of {size} {of}s but got {len(values)} ids. {_MEND}")
    known: dict[Any, int] = {}
    found = np.empty(size, dtype=np.int64)
    for place, value in enumerate(values):
        key = value.tolist() if isinstance(value, (torch.Tensor, np.ndarray, np.generic)) else value
        key = tuple(key) if isinstance(key, list) else key
        if not isinstance(key, Hashable):
            raise DataError(expected(f"a number, a text or a tuple as the cluster of {of} {place}", value))
        if key is None or key == "" or key != key:  # noqa: PLR0124 - NaN, NaT
            mend = f"To count a {of} without a known cluster as one of its own, give it an id that no other has."
            raise DataError(expected(f"the id of a cluster for {of} {place}", value, mend))
        found[place] = known.setdefault(key, len(known))
    return found


def ids_of(ids: Any) -> list[Any]:
    """Return the ids of a sequence, an array, a tensor or a column, as plain values; None for missing ones."""
    if isinstance(ids, torch.Tensor):
        return list(ids.detach().cpu().tolist())
    if hasattr(ids, "isna") or hasattr(ids, "is_null"):  # a column of pandas or polars
        missing = (ids.isna() if hasattr(ids, "isna") else ids.is_null()).to_numpy()
        held = ids.tolist() if hasattr(ids, "tolist") else ids.to_list()
        return [None if none else one for one, none in zip(held, missing, strict=True)]
    return list(ids.tolist()) if isinstance(ids, np.ndarray) else list(ids)
