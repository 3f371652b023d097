"""Nearest and second nearest training samples, and the ratio of their distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Part of the table of distances that is in memory.
_ROWS, _COLUMNS = 512, 8192
# Candidates measured again: the fast distances lose their last digits where samples are close.
_KEPT = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbours:
    """Nearest training samples of m samples."""

    nearest: NDArray[np.int64]  # (m,) int64 positions
    # (m,) distance to the nearest over that to the second nearest, 0..1; 0 for an exact copy.
    ratio: NDArray[np.float64]


def neighbours(x: Tensor, train: Tensor) -> Neighbours:
    """Return the nearest training samples by Euclidean distance; equal training samples count once."""
    # Twins in the training set would make the two nearest distances equal, and hide every copy of them.
    _, first = np.unique(train.numpy(), axis=0, return_index=True)
    places = torch.from_numpy(np.sort(first))
    among = train[places].double()
    nearest, ratio = [], []
    for rows in torch.split(x.double(), _ROWS):
        close = _closest(rows, among)
        apart = (rows[:, None] - among[close]).square().sum(2).sqrt()
        apart, order = apart.sort(dim=1, stable=True)
        nearest.append(places[close.gather(1, order[:, :1])[:, 0]])
        ratio.append(torch.where(apart[:, 0] == 0, 0.0, apart[:, 0] / apart[:, 1].clamp(min=1e-300)))
    return Neighbours(nearest=torch.cat(nearest).numpy(), ratio=torch.cat(ratio).numpy())


def _closest(rows: Tensor, among: Tensor) -> Tensor:
    best, at = [], []
    for start in range(0, len(among), _COLUMNS):
        part = among[start : start + _COLUMNS]
        apart = (part * part).sum(1) - 2 * rows @ part.T
        found = apart.topk(min(_KEPT, len(part)), dim=1, largest=False)
        best.append(found.values)
        at.append(found.indices + start)
    kept = torch.cat(best, 1).topk(min(_KEPT, len(among)), dim=1, largest=False).indices
    return torch.cat(at, 1).gather(1, kept)
