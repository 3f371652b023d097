"""Whether scores say more than labels do: else a search by scores has nothing to go by.

A one-hot prediction, a single tree with pure leaves, or a score that hides its size is the same all over a class, and
changes at once at its edge. What follows scores draws at random there, however many queries it has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.health_checks.truth import on_scale
from robustest.models.needs import Needs

_ALIKE = 0.25
"""Margins whose spread in a class is below this share of their mean are looked into; sound models' differ by more."""
_FEW = 3
"""Fewer margins of a class have no spread that says anything."""
_ROWS = 8
_PARTS = 8
"""Of a way from one class to another, and again of the part where most changes."""
_WITHIN = 0.1
"""Least share of all change on a way that lies where the class stays, if scores say more than labels."""
PASSES = 2 * (2 * _PARTS + 2) + 2
"""Most passes of one sample."""
_AFFORDED = 20
"""Budgets of fewer times as many passes are not spent on this."""


def suspected(evaluator: Evaluator, clean_margin: Tensor, y: Tensor) -> bool:
    """Whether the scores of unchanged samples have to be looked into: their margins are much alike in each class.

    Args:
        evaluator: knows what the model gives.
        clean_margin: (n,) margins of samples that are classified rightly.
        y: (n,) int64 their classes. Scores may be a number of their own for each class, and say no more than it.
    """
    if not evaluator.task.one_class:
        return evaluator.model.gives is Needs.SCORES
    if (
        evaluator.model.gives is Needs.LABELS or evaluator.random or not len(clean_margin)
    ):  # no score, or one that moves by itself
        return False
    limit = evaluator.model.max_queries
    if limit is not None and limit < _AFFORDED * PASSES:  # so few that no search of scores counts in any case
        return False
    count = y.bincount()
    free = len(y) - int((count > 0).sum())  # what is left to vary once each class has its own mean
    if free < _FEW - 1:
        return True
    margin = clean_margin.double()
    mean = margin.new_zeros(len(count)).index_add_(0, y, margin) / count.clamp(min=1)
    spread = ((margin - mean[y]).square().sum() / free).sqrt()
    return bool(spread <= _ALIKE * margin.mean().abs())


def labels_alone(evaluator: Evaluator, chunk: Chunk) -> bool:
    """Whether the scores of a chunk's first samples change, on ways to other classes, only where the class does.

    Ways lead to the next samples, and to mirrored ones. Scores that stay within classes on more than half of the ways
    that change the class say no more than labels; ways on which no class changes say nothing.

    Args:
        evaluator: makes the model's passes.
        chunk: the samples.
    """
    x = chunk.x[:_ROWS]
    if not evaluator.task.one_class:  # two numbers in all that it ever says
        return all(len(output.unique()) <= 2 for output in evaluator.logits(x))
    mirrored = x.amin() + x.amax() - x
    near, far = torch.cat([x, x]), torch.cat([x.roll(1, 0), mirrored])
    ends = evaluator.task.predictions(evaluator.logits(torch.cat([x, mirrored])))
    here, there = ends[: len(x)], ends[len(x) :]
    apart = torch.cat([here != here.roll(1, 0), here != there])
    near, far = near[apart], far[apart]
    ways = len(near)
    for _ in range(2):
        if 2 * len(near) <= ways:
            return False
        within, near, far = _steepest(evaluator, near, far)
        near, far = near[within <= _WITHIN], far[within <= _WITHIN]
    return 2 * len(near) > ways


def _steepest(evaluator: Evaluator, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of ways near -> far (n, *S): the share of change where the class stays (n,), and the steepest part's ends."""
    points = torch.stack([near + part / _PARTS * (far - near) for part in range(_PARTS + 1)])
    scores = torch.stack([evaluator.logits(place) for place in points])
    stays = evaluator.task.predictions(scores).diff(dim=0) == 0
    changes = on_scale(scores.flatten(0, 1)).view_as(scores).double().diff(dim=0).abs().amax(2)
    at, rows = changes.argmax(0), torch.arange(len(near), device=near.device)
    within = (changes * stays).sum(0) / changes.sum(0).clamp(min=1e-30)
    return within, points[at, rows], points[at + 1, rows]
