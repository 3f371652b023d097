"""A benchmark's samples with their classes, read from its unpacked archive."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from robustest.data.benchmarks.images import ClassMap, View, read_image
from robustest.data.hierarchies import own_labels
from robustest.data.samples import Samples, as_samples
from robustest.errors import DataError


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark(Dataset[tuple[Tensor, int]]):
    """The samples of a named benchmark, with its classes; a map-style data set for any loader.

    A claim on it restricts the model's outputs to the benchmark's classes.
    """

    name: str  # as for `benchmark`
    root: Path  # folder of the files
    files: tuple[str, ...] = field(repr=False)  # their paths under root
    labels: NDArray[np.int64] = field(repr=False)  # (N,) int64, 0..K-1
    classes: ClassMap = field(repr=False)  # the classes, and the model's outputs for each
    published: int  # published number of samples
    view: View = field(repr=False)  # function from an image to the model's input

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return read_image(self.root / self.files[i], self.view), int(self.labels[i])

    @property
    def targets(self) -> list[int]:
        return [int(label) for label in self.labels]

    @property
    def caveats(self) -> tuple[str, ...]:
        """Caveats for every line about it: missing samples."""
        return () if len(self) == self.published else (f"{len(self):,} of {self.name}'s {self.published:,} images",)

    def matching(self, source: object) -> Samples:
        """Return the samples of another data set that are of this benchmark's classes, with its labels.

        Args:
            source: as for `as_samples`; labels are the model's outputs, 0..999, or it is a `Benchmark`.

        Raises:
            DataError: a label is out of range, or no sample is of these classes.
        """
        samples, given = as_samples(source), own_outputs(source)
        if len(given) and not 0 <= given.min() <= given.max() < self.classes.outputs:
            raise DataError(
                f"Expected labels in 0..{self.classes.outputs - 1}, the model's classes, but got "
                f"{int(given.min())}..{int(given.max())}."
            )
        labels = self.classes.labels(given)
        kept = np.flatnonzero(labels >= 0)
        if not len(kept):
            raise DataError(f"Expected samples of the {len(self.classes)} classes of {self.name} but there are none.")
        ids, ours = torch.from_numpy(kept), torch.from_numpy(labels[kept])

        def take(rows: Tensor) -> tuple[Tensor, Tensor]:
            return samples.take(ids[rows])[0], ours[rows]

        return Samples(take, len(kept))


def own_outputs(source: object) -> NDArray[np.int64]:
    """Return (N,) the model's output for each sample's label; the first if a class has several."""
    if isinstance(source, Benchmark):
        first = np.array([group[0] for group in source.classes.groups])
        return first[source.labels]
    return own_labels(source, as_samples(source))
