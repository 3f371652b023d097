"""Samples that are near training samples: copies but for rounding, which cannot judge a model, and neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Near: within this share of the distance to the fourth nearest. Of rows spread along one line, one in a thousand is.
_NEAR = 2.5e-4
# Share of the compared samples, and two at least, that must be near before it is no chance.
_SHARE = 0.01
_LOOKED_AT = 512
# Candidates measured again: the fast distances lose their last digits where samples are close.
_KEPT = 4
# Part of the table of distances that is in memory.
_ROWS, _COLUMNS = 128, 4096


def near_copies(x: Tensor, train: Tensor) -> list[tuple[int, int]]:
    """Return the places in x and in train of samples that agree but for rounding; none if they may agree by chance."""
    rows, among = x.flatten(1), train.flatten(1)
    if len(among) < _KEPT or not len(rows):
        return []
    places = torch.arange(0, len(rows), -(-len(rows) // _LOOKED_AT))
    found: list[tuple[int, int]] = []
    for part in torch.split(places, _ROWS):
        close = _closest(rows[part], among)
        # The fast distances are too coarse for near copies: measure the closest ones again.
        apart = (rows[part].double()[:, None] - among[close].double()).square().sum(2).sqrt()
        apart, order = apart.sort(dim=1, stable=True)
        near = apart[:, 0] < _NEAR * apart[:, -1]
        nearest = close.gather(1, order)[:, 0]
        found += list(zip(part[near].tolist(), nearest[near].tolist(), strict=True))
    return found if len(found) >= max(2, _SHARE * len(places)) else []


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
    """Return (r, k) int64 places of the nearest, by fast distances whose last digits are lost."""
    # |a - b|^2 = |a|^2 - 2 ab + |b|^2 cancels digits; less so around the middle of the data.
    middle = among[:_COLUMNS].mean(0)
    best, at = [], []
    for start in range(0, len(among), _COLUMNS):
        part = (among[start : start + _COLUMNS] - middle).double()
        apart = part.square().sum(1) - 2 * (rows - middle).double() @ part.T
        found = apart.topk(min(_KEPT, len(part)), dim=1, largest=False)
        best.append(found.values)
        at.append(found.indices + start)
    kept = torch.cat(best, 1).topk(min(_KEPT, len(among)), dim=1, largest=False).indices
    return torch.cat(at, 1).gather(1, kept)
