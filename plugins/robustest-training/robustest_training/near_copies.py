"""Samples to judge by that are training samples but for rounding: what was learned by heart holds on them."""

from __future__ import annotations

import torch
from torch import Tensor

_NEAR = 2.5e-4
"""Of the distance to the fourth nearest training sample: of rows spread along one line, one in a thousand is nearer."""
_SHARE = 0.01
"""Of the samples looked at that must be so near, and two at least, before it is no chance."""
_LOOKED_AT = 512
_KEPT = 4
_ROWS, _COLUMNS = 128, 4096
"""Of a table of distances that is held at once."""


def near_copies(x: Tensor, train: Tensor) -> list[tuple[int, int]]:
    """Which of some samples are training samples but for rounding; none where they are as few as chance makes.

    Args:
        x: (m, *S) samples to judge by; of many, some spread evenly are looked at.
        train: (n, *S) samples that were trained on.

    Returns:
        Places in x and in train.
    """
    rows, among = x.flatten(1), train.flatten(1)
    if len(among) < _KEPT or not len(rows):
        return []
    places = torch.arange(0, len(rows), -(-len(rows) // _LOOKED_AT))
    found: list[tuple[int, int]] = []
    for part in torch.split(places, _ROWS):
        close = _closest(rows[part], among)
        apart = (rows[part].double()[:, None] - among[close].double()).square().sum(2).sqrt()
        apart, order = apart.sort(dim=1, stable=True)
        near = apart[:, 0] < _NEAR * apart[:, -1]
        nearest = close.gather(1, order)[:, 0]
        found += list(zip(part[near].tolist(), nearest[near].tolist(), strict=True))
    return found if len(found) >= max(2, _SHARE * len(places)) else []


def _closest(rows: Tensor, among: Tensor) -> Tensor:
    """(r, k) int64 places of the nearest, by distances whose last digits are lost; from a middle, they lose fewer."""
    middle = among[:_COLUMNS].mean(0)
    best, at = [], []
    for start in range(0, len(among), _COLUMNS):
        part = (among[start : start + _COLUMNS] - middle).double()
        apart = part.square().sum(1) - 2 * (rows - middle).double() @ part.T
        found = apart.topk(min(_KEPT, len(part)), dim=1, largest=False)
        best.append(found.values)
        at.append(found.indices + start)
    kept = torch.cat(best, 1).topk(_KEPT, dim=1, largest=False).indices
    return torch.cat(at, 1).gather(1, kept)
