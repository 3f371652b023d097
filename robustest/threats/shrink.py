"""The arithmetic of an L1 ball and a box at once: the nearest point, and the steepest step."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.threats.protocol import Rows

_BLOCK = 1 << 22
"""Elements that are sorted at a time: the float64 working memory is some 100 bytes an element."""


def shrunk(way: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """(N, D) float64, the moves `clamp(way - t, 0, room)` with the smallest t >= 0 that sum to eps (N, 1) or less."""
    rows = max(1, _BLOCK // max(1, way.shape[1]))
    parts = zip(*(torch.split(whole, rows) for whole in (way, room, eps)), strict=True)
    t = torch.cat([_threshold(*part) for part in parts])
    move = torch.minimum((way - t).clamp_(min=0.0), room)
    total = move.sum(1, keepdim=True)  # above eps by rounding only
    return move * (eps * (1 - 1e-12) / total.clamp(min=1e-300)).clamp_(max=1.0)


def _threshold(way: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """(N, 1) the t of `shrunk`.

    As t falls from the largest way, element i moves once t < way_i and stops once t < way_i - room_i. In between
    the sum of moves is linear, so it is known at all these points after one sort, by adding up what is positive.
    """
    stop = (way - room).clamp_(min=0.0)
    at, order = torch.cat([way, stop], 1).sort(1, descending=True)
    moving = torch.where(order < way.shape[1], 1.0, -1.0).to(way.dtype).cumsum(1)
    gain = moving[:, :-1].clamp(min=0.0) * (at[:, :-1] - at[:, 1:])
    total = torch.cat([torch.zeros_like(at[:, :1]), gain.cumsum(1)], 1)
    first = torch.searchsorted(total, eps)  # where the sum reaches eps
    never = first == total.shape[1]
    first = first.clamp_(max=total.shape[1] - 1)
    slope = moving.gather(1, (first - 1).clamp_(min=0)).clamp_(min=1.0)
    t = at.gather(1, first) + (total.gather(1, first) - eps) / slope
    return torch.where(never, torch.zeros_like(t), t)


def filled(gradient: Tensor, z: Tensor, region: Rows, length: Tensor) -> Tensor:
    """The step of at most this L1 length (N,) that a linear loss climbs most, from z inside the region's box.

    The elements of steepest gradient, the first of equals, go to their bounds one after the other until the length
    is spent.

    Args:
        gradient: (N, *S) of the loss.
        z: (N, *S) inputs inside "low" and "high".
        region: rows that have "low" and "high".
        length: (N,) >= 0, in input units.
    """
    room = torch.where(gradient > 0, region["high"] - z, z - region["low"]) * (gradient != 0)
    order = gradient.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
    room = room.flatten(1).gather(1, order).double()
    left = length.double().unsqueeze(1) - (room.cumsum(1) - room)
    spent = torch.minimum(room, left.clamp(min=0.0)).to(z.dtype)
    return gradient.sign() * torch.zeros_like(spent).scatter(1, order, spent).view_as(z)
