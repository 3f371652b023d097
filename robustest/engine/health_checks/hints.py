"""Likely mistakes that the first samples and a threat give away; each is a note, and no verdict rests on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robustest.threats import Bounds, Threat

if TYPE_CHECKING:
    from robustest.engine.chunks import Chunk
    from robustest.engine.evaluator import Evaluator

_ENOUGH = 16
"""Samples of which one class alone is no accident."""
_GREY = 255.0


def hints(evaluator: Evaluator, chunk: Chunk, answers: Tensor) -> list[str]:
    """What the first chunk's samples hint at, in sentences.

    Args:
        evaluator: asks the model.
        chunk: the first samples, in a random order.
        answers: (n, K) what the model says of the first few of them; only where these are alike are all asked.
    """
    return [f"hint: {told}" for told in (*_of_classes(evaluator, chunk, answers), *_of_inputs(evaluator, chunk))]


def _of_classes(evaluator: Evaluator, chunk: Chunk, answers: Tensor) -> list[str]:
    y = chunk.y
    if len(y) < _ENOUGH or y.ndim != 1 or y.is_floating_point():
        return []
    if bool((y == y[0]).all()):
        return [
            f"all {len(y)} samples looked at first have the label {int(y[0])}: a model that always says so is never "
            "wrong. Test on samples of every class"
        ]
    predicted = evaluator.task.predictions(answers)
    if predicted.ndim == 1 and bool((predicted == predicted[0]).all()):
        predicted = evaluator.task.predictions(evaluator.logits(chunk.x))
    if predicted.ndim == 1 and bool((predicted == predicted[0]).all()):
        return [
            f"the model predicts class {int(predicted[0])} for all {len(y)} samples looked at first, which have "
            f"{len(torch.unique(y))} labels: are its weights loaded, and its inputs as in training?"
        ]
    return []


def _of_inputs(evaluator: Evaluator, chunk: Chunk) -> list[str]:
    """Inputs that were normalised before they came here, and are normalised again."""
    statistics = evaluator.model.preprocessing
    if not isinstance(statistics, tuple) or not len(chunk.x):
        return []
    low, high = chunk.bounds
    if low >= 0 or float(chunk.x.min()) >= 0 or high - low >= _GREY:
        return []
    return [
        "inputs below 0 look normalised, and preprocessing=(mean, std) normalises them once more: give raw inputs, "
        "or leave preprocessing out"
    ]


def hints_on(threat: Threat, bounds: Bounds) -> tuple[str, ...]:
    """What a radius hints at, beside the width of the inputs' bounds.

    Args:
        threat: with a radius in input units; others hint at nothing.
        bounds: the inputs'.
    """
    eps, width = getattr(threat, "eps", None), bounds[1] - bounds[0]
    if eps is None or not eps:
        return ()
    name = type(threat).__name__
    if name == "Linf" and eps >= width:
        return (
            f"hint: {threat} lets every input element be anything inside the bounds [{bounds[0]:g}, {bounds[1]:g}]: "
            f"the radius is in input units. Did you mean {name}({eps:g} / 255)?",
        )
    if eps <= 1 and width >= _GREY / 2:
        return (
            f"hint: {threat} is less than {100 * eps / width:.2g} % of the bounds [{bounds[0]:g}, {bounds[1]:g}]: the "
            f"radius is in input units. Did you mean {name}({eps * _GREY:g})?",
        )
    return ()
