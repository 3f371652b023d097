"""Clusters of samples: which of them were drawn together, as frames of one video or rows of one patient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from robustest import devices
from robustest.checks import check_order, column_of, is_frame
from robustest.clock import check as check_clock
from robustest.data.ids import ids_of, numbered
from robustest.data.samples import Samples, Waveforms, are_strings
from robustest.errors import ConfigError, expected, unknown
from robustest.factory import Factory

Cluster = object
"""The clusters of units: a sequence of ids, one for each; the name of a column; or a function from a unit to an id."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """Data, and the ids of their samples' clusters; None if none are given.

    Attributes:
        data: without the column that holds the ids, if they come from a column of a frame.
    """

    data: Any
    ids: Sequence[Any] | None

    @classmethod
    def of(cls, data: Any, cluster: Cluster) -> Clustered:
        """Return data with the ids of the clusters of their samples.

        Args:
            data: as `robustest.data.as_samples` takes them.
            cluster: (N,) ids, in the order of the data; the name of a column of the frame, which the model then does
                not get, or of the items of a data set; or a function from a sample to its id: from a row of a frame as
                a mapping, an item of a data set, else from `(x, y)`. None for no clusters.

        Raises:
            UnknownNameError: the frame, or the data set's items, have no such column.
            ConfigError: it is none of these, or a column of data that have none.
            DataError: ids are in another order than rows.
        """
        if cluster is None:
            return cls(data, None)
        if isinstance(data, Waveforms):
            inner = cls.of(data.data, cluster)
            return cls(replace(data, data=inner.data), inner.ids)
        rows = data[0] if _is_pair(data) and is_frame(data[0]) else None
        if isinstance(cluster, str):
            if rows is None:
                return cls(data, _column(data, cluster))
            if cluster not in list(rows.columns):
                raise unknown("column", cluster, map(str, rows.columns))
            # An id is no input: a model that takes it can be given it, and the ids apart.
            left = [name for name in rows.columns if name != cluster]
            return cls((rows[left], data[1]), column_of(rows, cluster))
        if callable(cluster):
            return cls(data, [cluster(one) for one in _units(data, rows)])
        if not isinstance(cluster, (Iterable, Tensor)) or isinstance(cluster, (bytes, Mapping)):
            what = "cluster= to be an id for each sample, the name of a column, or a function of a sample"
            raise ConfigError(expected(what, cluster))
        check_order("cluster=", cluster, rows)
        return cls(data, ids_of(cluster))

    def numbers(self, size: int) -> NDArray[np.int64] | None:
        """Return (size,) whole numbers, equal for samples of one cluster; None if no clusters are given."""
        return None if self.ids is None else numbered(self.ids, size)


def _column(data: Any, name: str) -> list[Any]:
    """Return a column of a data set whose items are mappings."""
    source = _source(data)
    known = getattr(source, "column_names", None)
    if isinstance(known, list) and all(isinstance(one, str) for one in known):  # of Hugging Face: reads no images
        if name not in known:
            raise unknown("column", name, known)
        return list(source[name])
    items = _units(source, None)
    first = next(items, None)
    if not isinstance(first, Mapping):
        mend = "Give the ids themselves, or a function of a sample."
        raise ConfigError(expected("cluster= to name a column of a frame, or of items that are mappings,", name, mend))
    if name not in first:
        raise unknown("column", name, map(str, first))
    return [first[name], *(one[name] for one in items)]


def _units(data: Any, rows: Any) -> Any:
    """Yield the samples of data, as the user's function gets them."""
    if rows is not None:
        names = list(rows.columns)
        for values in zip(*(column_of(rows, name) for name in names), strict=True):
            yield dict(zip(names, values, strict=True))
        return
    data = _source(data)
    if _is_pair(data):
        yield from zip(data[0], data[1], strict=True)
        return
    for place in range(len(data)):
        check_clock()
        with devices.users_default():
            item = data[place]
        yield item


def _source(data: Any) -> Any:
    if isinstance(data, Samples):
        data = data.source
    if isinstance(data, Factory):
        data = data.build()
    return data.dataset if isinstance(data, DataLoader) else data


def _is_pair(data: Any) -> bool:
    """Return True for `(x, y)`, as `as_samples` tells it from a list of two items."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    return is_frame(data[0]) or isinstance(data[0], (Tensor, np.ndarray)) or are_strings(data[0])
