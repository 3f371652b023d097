"""The source and the target domain of a split, as samples labelled with their superclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from robustest.data.breeds import BreedsSplit
from robustest.data.samples import Samples, as_samples
from robustest.errors import DataError

_BLOCK = 256
"""Samples read at a time where their labels are all that is wanted."""


class Domain(Dataset[tuple[Tensor, int]]):
    """The samples of one domain of a split, with superclasses as labels; a map-style data set for any loader.

    Attributes:
        ids: (n,) int64, positions in the data it was made from, ascending.
        labels: (n,) int64, superclasses, 0..K-1.
        subclasses: (n,) int64, the data's own labels.
    """

    def __init__(self, samples: Samples, ids: Tensor, labels: Tensor, subclasses: Tensor) -> None:
        self._samples = samples
        self.ids, self.labels, self.subclasses = ids, labels, subclasses

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        x, _ = self._samples.take(self.ids[torch.tensor([i])])
        return x[0], int(self.labels[i])

    def samples(self) -> Samples:
        """The same samples as the engine reads them, in blocks."""

        def take(rows: Tensor) -> tuple[Tensor, Tensor]:
            return self._samples.take(self.ids[rows])[0], self.labels[rows]

        return Samples(take, len(self))

    def arrays(self) -> tuple[Tensor, Tensor]:
        """All of it in memory: x (n, *S) float32, labels (n,) int64."""
        return self.samples().take(torch.arange(len(self)))


def domain(data: object, split: BreedsSplit, which: Literal["source", "target"]) -> Domain:
    """The samples of a domain, in the data's order.

    Args:
        data: as for `as_samples`; labels are class indices, the subclasses.
        split: which of them are in which domain.
        which: "source" or "target".

    Raises:
        DataError: the data hold no sample of one of the domain's subclasses.
    """
    samples = as_samples(data)
    return _domain(samples, own_labels(data, samples), split.table(which), which)


def domains(data: object, split: BreedsSplit) -> tuple[Domain, Domain]:
    """Both domains, source first; the labels are read once.

    Raises:
        DataError: the split has no target, or the data hold no sample of one of the subclasses.
    """
    if not split.target:
        raise DataError('Expected a split into source and target but it has one domain. Pass split="rand", say.')
    samples = as_samples(data)
    labels = own_labels(data, samples)
    return (
        _domain(samples, labels, split.table("source"), "source"),
        _domain(samples, labels, split.table("target"), "target"),
    )


def own_labels(data: Any, samples: Samples) -> NDArray[np.int64]:
    """(N,) labels of all samples; read from `data.targets`, as torchvision has it, where that is all there is to it."""
    targets = getattr(data, "targets", None)
    if targets is not None and getattr(data, "target_transform", None) is None and len(targets) == len(samples):
        return np.asarray(targets).astype(np.int64)
    blocks = torch.split(torch.arange(len(samples)), _BLOCK)
    return np.concatenate([samples.take(ids)[1].numpy() for ids in blocks]).astype(np.int64)


def _domain(samples: Samples, labels: NDArray[np.int64], table: Mapping[int, int], which: str) -> Domain:
    if absent := sorted(set(table) - set(labels.tolist())):
        shown = ", ".join(map(str, absent[:5]))
        raise DataError(f"Expected samples of every subclass of the {which} domain but there are none of {shown}.")
    ids = np.flatnonzero(np.isin(labels, list(table)))
    under = [table[int(label)] for label in labels[ids]]
    return Domain(samples, torch.from_numpy(ids), torch.tensor(under), torch.from_numpy(labels[ids]))
