"""Training and test samples, read whole and checked: a training needs them as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from robustest import rng
from robustest.data import as_samples
from robustest.errors import DataError
from robustest.packs import check_data
from robustest.packs import load as load_chunk
from robustest_training.near_copies import near_copies

_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSets:
    """Training and test samples, on the CPU."""

    x: Tensor  # x, y: (N, *S) float32 inside the bounds and (N,) int64 labels to train on
    y: Tensor
    test_x: Tensor  # test_x, test_y: (M, *S) and (M,), to judge by
    test_y: Tensor

    @classmethod
    def of(cls, data: object, test: object, bounds: tuple[float, float]) -> TrainingSets:
        """Read both sets.

        Raises:
            DataError: a set is empty, of one class, outside the bounds, has NaN, or changes when it is read again;
                shapes differ; or test samples are trained on, exactly or but for rounding.
        """
        x, y = _read(data, bounds, "data")
        test_x, test_y = _read(test, bounds, "test")
        if x.shape[1:] != test_x.shape[1:]:
            raise DataError(
                f"Expected test samples of the shape of the data, {tuple(x.shape[1:])}, but got "
                f"{tuple(test_x.shape[1:])}."
            )
        _check_apart(x, test_x)
        return cls(x, y, test_x, test_y)

    def judged(self, seed: int, most: int | None) -> Tensor:
        """Return (m,) int64, rising: the test samples to judge by, drawn with a seed; all if `most` is None."""
        return rng.permutation(seed, len(self.test_y))[:most].sort().values

    @property
    def majority(self) -> float:
        """Return the share of the commonest training class: the accuracy of a model that has learned nothing."""
        return float(torch.bincount(self.y).max()) / len(self.y)


def _read(data: object, bounds: tuple[float, float], name: str) -> tuple[Tensor, Tensor]:
    samples = as_samples(data)
    ids = torch.arange(len(samples))
    check_data(samples, ids)
    parts = [
        load_chunk(samples, part, bounds=bounds, seed=0, device=torch.device("cpu")) for part in torch.split(ids, _ROWS)
    ]
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    if bool((y < 0).any()):
        raise DataError(f"Expected labels >= 0 in {name} but sample {int((y < 0).nonzero()[0, 0])} has {int(y.min())}.")
    if bool((y == y[0]).all()):
        raise DataError(
            f"Expected samples of two classes or more in {name} but all are of class {int(y[0])}: nothing can be "
            "learned from them, or judged by them."
        )
    return x, y


def _check_apart(x: Tensor, test: Tensor) -> None:
    """Raise DataError for test samples that models are trained on: memorised samples cannot judge."""
    known = {mark: row for row, mark in enumerate(_marks(x))}
    inside = [(row, known[mark]) for row, mark in enumerate(_marks(test)) if mark in known]
    if inside:
        raise DataError(
            f"Expected test samples that are not trained on but {len(inside)} of {len(test)} are: test sample "
            f"{inside[0][0]} is sample {inside[0][1]} of the data. Take them out of either set."
        )
    if near := near_copies(test, x):
        raise DataError(
            f"Expected test samples that are not trained on but {len(near)} of those looked at are, but for rounding: "
            f"test sample {near[0][0]} is sample {near[0][1]} of the data. Take them out of either set."
        )


def _marks(x: Tensor) -> list[bytes]:
    return [sha256(row.tobytes()).digest() for row in x.contiguous().numpy()]
