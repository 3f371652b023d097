"""Targets that are places in an image follow where a shift takes it."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.errors import ConfigError
from robustest.shifts.families import SHIFTS
from robustest.shifts.registry import Shift
from robustest.tasks import Task

MOVING = frozenset({"rotation", "translation", "scale", "shear", "perspective", "crop", "elastic_transform"})
"""The shifts of ours that move things; all others leave each pixel where it is, but for a blur."""


def followed(task: Task, shift: Shift, x: Tensor, y: Tensor, key: Tensor) -> Tensor:
    """Targets (N, *T) of shifted images.

    Where each pixel came from is read off the shift itself: it is made of an image whose channels are the row, the
    column and 1, of which bilinear sampling makes the place between them, and less than 1 outside.

    Args:
        task: says whether targets are places, and moves them.
        shift: what is done to the images.
        x: (N, C, H, W) images as they are.
        y: (N, *T) their targets.
        key: (N,) keys of the samples' randomness, as the shift gets them.

    Raises:
        ConfigError: it is not known whether the shift moves things, or the targets cannot follow.
    """
    if not task.placed or not moves(shift, task):
        return y
    height, width = x.shape[-2:]
    row = torch.linspace(0, 1, height, device=x.device).view(1, 1, -1, 1)
    column = torch.linspace(0, 1, width, device=x.device).view(1, 1, 1, -1)
    one = torch.ones(len(x), 1, height, width, device=x.device)
    seen = shift.apply(torch.cat([one * row, one * column, one], 1), key, (0.0, 1.0))
    weight = seen[:, 2:].clamp(min=torch.finfo(seen.dtype).tiny)
    size = torch.tensor([height - 1.0, width - 1.0], device=x.device).view(1, 2, 1, 1)
    return task.moved(y, seen[:, :2] / weight * size, seen[:, 2] >= 0.5)


def moves(shift: Shift, task: Task) -> bool:
    """Whether a shift moves things: ours are known, and a function of a user's says so by its attribute `moves`.

    Raises:
        ConfigError: it does not say.
    """
    if SHIFTS.get(shift.name) is shift.function:
        return shift.name in MOVING
    told = getattr(shift.function, "moves", None)
    if type(told) is not bool:
        raise ConfigError(
            f"Expected the shift {shift.name!r} to say whether it moves things, as the targets of {task.name} would "
            "have to follow, but it does not. Set the function's attribute `moves`: False where every pixel stays, "
            "True where it does nothing but move pixels, in all channels alike."
        )
    return told
