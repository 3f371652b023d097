"""Targets that are places in an image follow where a shift takes it."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from robustest.errors import ConfigError
from robustest.shifts.registry import Shift, family_name
from robustest.tasks import Task

MOVING = frozenset({"rotation", "translation", "scale", "shear", "perspective", "crop", "elastic_transform"})
"""The shifts of ours that move things; all others leave each pixel where it is, but for a blur."""


def followed(
    task: Task, shift: Shift, x: Tensor, y: Tensor, key: Tensor, *, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Targets (N, *T) of shifted images.

    Where each pixel came from is read off the shift itself, which is applied to pictures of the row, of the column and
    of 1: bilinear sampling makes of them the place between two pixels, and how much of a pixel comes from inside. A
    shift of ours gets them as the channels of one image, and fills with 0. A user's function gets each in the shape and
    the units of the data, and its negative as well: whatever it fills with is alike in both, and drops out of their
    difference.

    Args:
        task: says whether targets are places, and moves them.
        shift: what is done to the images.
        x: (N, C, H, W) images as they are; any number of axes of which the last two are rows and columns.
        y: (N, *T) their targets.
        key: (N,) keys of the samples' randomness, as the shift gets them.
        bounds: the inputs' bounds.

    Raises:
        ConfigError: it is not known whether the shift moves things, or the targets cannot follow.
    """
    if not task.placed:
        return y
    parts = getattr(shift.function, "in_turn", None)
    if parts is not None:  # of several changes each is followed on what the last one left
        for part, own in parts(key):
            y = followed(task, part, x, y, own, bounds=bounds)
            x = part.apply(x, own, bounds)
        return y
    if not moves(shift, task):
        return y
    (low, high), (height, width) = bounds, x.shape[-2:]
    row = torch.linspace(-1, 1, height, device=x.device).view(-1, 1).expand(height, width)
    column = torch.linspace(-1, 1, width, device=x.device).expand(height, width)
    pictures = torch.stack([row, column, torch.ones_like(row)])
    if family_name(shift.function) is not None:
        raised = torch.cat([(pictures[:2] + 1) / 2, pictures[2:]])
        seen = shift.apply(raised.expand(len(x), -1, -1, -1), key, (0.0, 1.0))
        weight = seen[:, 2]
        places = seen[:, :2] / _above_zero(weight)
    else:
        halves = [(picture * ((high - low) / 2)).to(x).expand(x.shape) for picture in pictures]
        middle = (low + high) / 2
        apart = [shift.apply(middle + half, key, bounds) - shift.apply(middle - half, key, bounds) for half in halves]
        seen = torch.stack([one.reshape(len(x), -1, height, width)[:, 0] for one in apart], 1) / (high - low)
        weight = seen[:, 2]
        places = (seen[:, :2] / _above_zero(weight) + 1) / 2
    size = torch.tensor([height - 1.0, width - 1.0], device=x.device).view(1, 2, 1, 1)
    return task.moved(y, places * size, weight >= 0.5)


def _above_zero(weight: Tensor) -> Tensor:
    """(N, 1, H, W) weights (N, H, W) to divide by."""
    return weight.clamp(min=torch.finfo(weight.dtype).tiny).unsqueeze(1)


def moves(shift: Shift, task: Task) -> bool:
    """Whether a shift moves things: ours are known, and a function of a user's says so by its attribute `moves`.

    Raises:
        ConfigError: it does not say.
    """
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
            "True where it does nothing but move pixels, in all channels alike."
        )
    return declared
