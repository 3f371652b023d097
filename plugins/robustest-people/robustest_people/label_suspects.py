"""Labels that a model finds doubtful: where to look first, and no more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from robustest.data import as_samples
from robustest.errors import ConfigError, DataError, expected


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Suspects:
    """Samples whose label a model doubts, the most doubtful first.

    They are candidates for people to look at. Their number says nothing of how many labels are wrong: on CIFAR-10
    people confirm one of five, and most wrong labels are not among them.

    Attributes:
        items: (M,) int64, positions in the data.
        scores: (N,) float64, how probable the label of each sample is, 0..1: the less, the more doubtful.
        method: what ranked them.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float64]
    method: str

    def __len__(self) -> int:
        return len(self.items)


def suspects(data: object, probabilities: ArrayLike | Tensor, *, out_of_sample: bool) -> Suspects:
    """The samples that confident learning doubts (Northcutt, Jiang and Chuang, JAIR 2021), by cleanlab's default.

    Args:
        data: as for `measure_robust_accuracy`, or the labels alone, (N,) whole numbers.
        probabilities: (N, K) of each class for each sample, rows that add up to 1.
        out_of_sample: True says that each sample's probabilities are from a model that was not trained on it, by
            cross-validation for instance. A model finds the labels it was trained on plausible, wrong ones too: two of
            three that could be found are then missed.

    Raises:
        ConfigError: out_of_sample is not True, or cleanlab is not installed.
        DataError: the probabilities are none, or not of the data's samples.
    """
    if out_of_sample is not True:
        raise ConfigError(
            expected(
                "out_of_sample=True",
                out_of_sample,
                "Probabilities of a model that was trained on these samples hide their wrong labels: take them by "
                "cross-validation.",
            )
        )
    labels = labels_of(data)
    given = probabilities.detach().cpu().numpy() if isinstance(probabilities, Tensor) else np.asarray(probabilities)
    _check(given, labels)
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.version import __version__ as version
    except ImportError as error:
        raise ConfigError("Expected cleanlab for suspects(...): pip install 'robustest-people[suspects]'.") from error
    ranked = find_label_issues(labels, given.astype(np.float64), return_indices_ranked_by="self_confidence", n_jobs=1)
    return Suspects(
        items=np.asarray(ranked, dtype=np.int64),
        scores=given[np.arange(len(labels)), labels].astype(np.float64),
        method=f"cleanlab {version}",
    )


def labels_of(data: object) -> NDArray[np.int64]:
    """(N,) the labels of data as `as_samples` takes them, or given alone.

    Raises:
        DataError: there are none, or they are no whole numbers >= 0.
    """
    alone: Any = data.detach().cpu().numpy() if isinstance(data, Tensor) else data
    if isinstance(alone, np.ndarray) or (isinstance(alone, list) and alone and isinstance(alone[0], int)):
        labels = np.asarray(alone)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
            raise DataError(expected("labels as whole numbers, (N,)", data))
    elif isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], np.ndarray | Tensor):
        labels = labels_of(data[1])  # without reading the samples
    else:
        labels = _read(data)
    if len(wrong := np.flatnonzero(labels < 0)):
        raise DataError(f"Expected labels >= 0 but that of item {wrong[0]} is {labels[wrong[0]]}.")
    return labels.astype(np.int64)


def _read(data: object) -> NDArray[np.int64]:
    """Sample by sample: data sets give labels with their samples alone."""
    import torch

    samples = as_samples(data)
    starts = range(0, len(samples), 256)
    parts = [samples.take(torch.arange(start, min(start + 256, len(samples))))[1] for start in starts]
    labels: NDArray[np.int64] = torch.cat(parts).numpy()
    return labels


def _check(given: NDArray[Any], labels: NDArray[np.int64]) -> None:
    if given.ndim != 2 or given.dtype.kind != "f" or len(given) != len(labels):
        raise DataError(expected(f"probabilities as floats, ({len(labels)}, K)", given))
    wrong = ~(np.isfinite(given).all(1) & (given >= 0).all(1) & (np.abs(given.sum(1) - 1) <= 1e-2))
    if wrong.any():
        raise DataError(f"Expected probabilities that add up to 1 but those of item {wrong.argmax()} do not.")
    if len(out := np.flatnonzero(labels >= given.shape[1])):
        raise DataError(f"Expected labels in 0..{given.shape[1] - 1} but that of item {out[0]} is {labels[out[0]]}.")
