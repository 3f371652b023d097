"""The three sets of a claim about synthetic data, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.data import as_samples
from robustest.errors import DataError, ModelError, expected
from robustest.packs import check_data
from robustest_training.near_copies import near_copies
from robustest_training.remembered_fits import Source

_AT_ONCE = 1024
# Fewest samples of each class on average in either training set: a learning curve begins at half of that.
_EACH = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sets:
    """The three sets, on the CPU."""

    synthetic: Source
    train: Source
    test: Source
    classes: int  # one more than the largest label of real samples

    @property
    def n(self) -> int:
        """Return the number of synthetic and of real samples compared."""
        return min(len(self.synthetic.y), len(self.train.y))

    @property
    def smallest(self) -> int:
        return 2 * self.classes

    def counts(self, source: Source) -> NDArray[np.int64]:
        return np.bincount(source.y.numpy(), minlength=self.classes).astype(np.int64)


def read_sets(synthetic: object, train: object, test: object) -> Sets:
    """Read and check the sets.

    Raises:
        DataError: NaN, different shapes or classes, a single class, too few samples, test samples among the others, or
            the training samples given as synthetic ones.
    """
    given = {"synthetic": synthetic, "train": train, "test": test}
    read = {name: _read(data, name) for name, data in given.items()}
    shapes = {name: tuple(source.x.shape[1:]) for name, source in read.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"Expected synthetic, train and test samples of one shape but got {shapes}.")
    classes = int(max(read[name].y.max() for name in ("train", "test"))) + 1
    if int(read["synthetic"].y.max()) >= classes:
        raise DataError(
            f"Expected synthetic labels among the {classes} classes of the real samples but got "
            f"{int(read['synthetic'].y.max())}."
        )
    sets = Sets(**read, classes=classes)
    if sets.n < _EACH * classes:
        raise DataError(
            f"Expected {_EACH * classes} synthetic and real training samples or more, {_EACH} of each class on "
            f"average, but got {len(sets.synthetic.y)} and {len(sets.train.y)}."
        )
    _check_apart(sets)
    return sets


def features_of(sets: Sets, features: Callable[[Tensor], object]) -> Sets:
    """Return the sets with features (B, D) in place of the inputs. Raises ModelError for malformed features."""
    made = {}
    for name in ("synthetic", "train", "test"):
        source: Source = getattr(sets, name)
        rows = torch.cat([_featured(part, features) for part in torch.split(source.x, _AT_ONCE)])
        if not bool(torch.isfinite(rows).all()):
            raise ModelError(f"Expected finite features but those of {name} have NaN or infinite values.")
        made[name] = Source(x=rows, y=source.y)
    return Sets(**made, classes=sets.classes)


def _featured(x: Tensor, features: Callable[[Tensor], object]) -> Tensor:
    with torch.no_grad():
        made = features(x)
    rows = torch.as_tensor(made) if isinstance(made, np.ndarray) else made
    if not isinstance(rows, Tensor) or rows.ndim < 2 or len(rows) != len(x) or not rows.is_floating_point():
        got = tuple(rows.shape) if isinstance(rows, Tensor) else made
        raise ModelError(expected(f"features of {len(x)} samples as floats, ({len(x)}, D)", got))
    return rows.detach().cpu().float().flatten(1)


def _read(data: object, name: str) -> Source:
    samples = as_samples(data)
    ids = torch.arange(len(samples))
    check_data(samples, ids)
    parts = [samples.take(part) for part in torch.split(ids, _AT_ONCE)]
    x, y = (torch.cat(list(each)).cpu() for each in zip(*parts, strict=True))
    if len(x) != len(samples) or len(y) != len(samples) or x.ndim < 2:
        raise DataError(
            f"Expected {len(samples)} {name} samples of one axis or more, each with a label, but got "
            f"{tuple(x.shape)} and {len(y)} labels."
        )
    finite = torch.isfinite(x).flatten(1).all(1)
    if not bool(finite.all()):
        at = int((~finite).nonzero()[0, 0])
        raise DataError(f"Expected finite inputs but {name} sample {at} has NaN or infinite values.")
    if int(y.min()) < 0:
        raise DataError(f"Expected labels 0 or more but {name} sample {int(y.argmin())} has {int(y.min())}.")
    if int(y.min()) == int(y.max()):
        raise DataError(
            f"Expected {name} samples of two classes or more but all {len(y)} are of class {int(y[0])}: nothing can be "
            "learned from them, or judged by them."
        )
    return Source(x=x.contiguous(), y=y)


def _check_apart(sets: Sets) -> None:
    """Raise DataError for test samples in a training set, and for a training set given twice."""
    synthetic, train, test = (_marks(source) for source in (sets.synthetic, sets.train, sets.test))
    for name, marks in (("train", train), ("synthetic", synthetic)):
        among = set(marks)
        if len(among) < 2:
            raise DataError(f"Expected {name} samples that differ but all {len(marks)} are the same one.")
        shared = [at for at, mark in enumerate(test) if mark in among]
        if shared:
            raise DataError(
                f"Expected test samples that are in no training set but {len(shared)} of {len(test)} are among the "
                f"{name} ones too, the first of them test sample {shared[0]}. What was trained on cannot judge: take "
                "them out of one of the two."
            )
        source: Source = getattr(sets, name)
        if near := near_copies(sets.test.x, source.x):
            raise DataError(
                f"Expected test samples that are in no training set but {len(near)} of those looked at are among the "
                f"{name} ones but for rounding, the first of them test sample {near[0][0]}. Take them out of one of "
                "the two."
            )
    if sorted(synthetic) == sorted(train):
        raise DataError(
            "Expected synthetic samples but got the training samples themselves: they would stand in for real data "
            "because they are real data."
        )


def _marks(source: Source) -> list[bytes]:
    # Inputs alone: a sample with another label is the same sample.
    return [row.tobytes() for row in source.x.flatten(1).numpy()]
