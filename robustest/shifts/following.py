"""Targets that are places in an image follow where a shift moves the pixels.

The shift is applied to pictures of the row r, of the column c and of 1. Bilinear sampling with black outside turns them
into w r, w c and w, with w the part of a pixel that comes from inside; so w r / w and w c / w are the pixel's source. A
user's function may fill with another value: f(p) - f(-p), of a picture and its negative, is free of any constant
filling.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from robustest.errors import ConfigError
from robustest.shifts.registry import Shift, family_name
from robustest.tasks import Task

MOVING = frozenset({"rotation", "translation", "scale", "shear", "perspective", "crop", "elastic_transform"})
"""The built-in shifts that move things."""


def follow_targets(
    task: Task, shift: Shift, x: Tensor, y: Tensor, key: Tensor, *, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Return the targets (N, *T) of shifted images.

    Args:
        x: (N, C, H, W) images before the shift; any number of axes, the last two are rows and columns.
        y: (N, *T) their targets.
        key: (N,) keys of the samples' randomness, as the shift gets them.

    Raises:
        ConfigError: a user's function does not declare if it moves things, or the targets cannot follow.
    """
    if not task.placed:
        return y
    parts = getattr(shift.function, "in_turn", None)
    if parts is not None:  # several shifts one after the other: each is followed on the result of the last
        for part, own in parts(key):
            y = follow_targets(task, part, x, y, own, bounds=bounds)
            x = part.apply(x, own, bounds)
        return y
    if not _moves(shift, task):
        return y
    (low, high), (height, width) = bounds, x.shape[-2:]
    row = torch.linspace(-1, 1, height, device=x.device).view(-1, 1).expand(height, width)
    column = torch.linspace(-1, 1, width, device=x.device).expand(height, width)
    pictures = torch.stack([row, column, torch.ones_like(row)])
    if family_name(shift.function) is not None:
        raised = torch.cat([(pictures[:2] + 1) / 2, pictures[2:]])  # inside [0, 1], as channels of one image
        read = shift.apply(raised.expand(len(x), -1, -1, -1), key, (0.0, 1.0))
        weight = read[:, 2]
        places = read[:, :2] / _above_zero(weight)
    else:
        halves = [(picture * ((high - low) / 2)).to(x).expand(x.shape) for picture in pictures]
        middle = (low + high) / 2
        apart = [shift.apply(middle + half, key, bounds) - shift.apply(middle - half, key, bounds) for half in halves]
        read = torch.stack([one.reshape(len(x), -1, height, width)[:, 0] for one in apart], 1) / (high - low)
        weight = read[:, 2]
        places = (read[:, :2] / _above_zero(weight) + 1) / 2
    size = torch.tensor([height - 1.0, width - 1.0], device=x.device).view(1, 2, 1, 1)
    return task.moved(y, places * size, weight >= 0.5)


def _above_zero(weight: Tensor) -> Tensor:
    return weight.clamp(min=torch.finfo(weight.dtype).tiny).unsqueeze(1)


def _moves(shift: Shift, task: Task) -> bool:
    """Return True if a shift moves things; a user's function declares it by its attribute `moves`."""
    family = family_name(shift.function)
    if family is not None:
        return family in MOVING
    function = shift.function
    while isinstance(function, functools.partial) and not hasattr(function, "moves"):
        function = function.func
    declared = getattr(function, "moves", None)
    if type(declared) is not bool:
        raise ConfigError(
            f"Expected the shift {shift.name!r} to say whether it moves things, as the targets of {task.name} would "
            "have to follow, but it does not. Set the function's attribute `moves`: False where every pixel stays, "
            "True where it does nothing but move pixels, the same way in all channels."
        )
    return declared
