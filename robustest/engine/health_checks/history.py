"""Whether answers depend on what the model was asked before: then none of them is of the sample alone.

A model that remembers its queries, and answers what lies near one as it answered that, looks robust to any search that
starts from samples it was shown; whoever comes with a changed sample first breaks it. One that changes after so many
queries is another model than the one that was measured.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from robustest import rng
from robustest.engine.chunks import Chunk, check_forward, moved, usual_lead
from robustest.engine.evaluator import Evaluator
from robustest.models import Classifier

_STEPS = (0.1, 0.03, 0.01, 0.003)
"""How far a second question lies from the first, as shares of the range of inputs: a row each."""
_ASKED_AGAIN = 2
"""Inputs that are asked about at the start, and again after each chunk."""
_LARGEST = 1 << 25
"""Numbers of a tensor from which copies share it: a bank of features, say."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model said before much was asked: inputs (n, *S), logits (n, *O), and by how much these usually lead."""

    x: Tensor
    logits: Tensor
    usual: Tensor


def check_model(
    evaluator: Evaluator, chunk: Chunk, suppress: Collection[str], *, first_of_all: bool = True
) -> Asked | None:
    """What is asked of every model before it is measured: `check_forward`, and then `probe_history`.

    Args:
        evaluator, chunk, suppress, first_of_all: as for `check_forward`.

    Returns:
        What to `ask_again` once it was measured.

    Raises:
        DataError, ModelError: as `check_forward`.
    """
    check_forward(evaluator, chunk, suppress, first_of_all=first_of_all)
    return probe_history(evaluator, chunk)


def probe_history(evaluator: Evaluator, chunk: Chunk) -> Asked | None:
    """Ask one copy of the module two questions that lie near each other, and another copy the second alone.

    Both copies know what the module knows, and it hears of neither question: three passes of four inputs, which are no
    part of the claim's cost, as that is of the model itself. The inputs lie in between the chunk's samples. What is no
    module is not asked; what a model keeps outside of its modules, in objects of its own or in files, is not seen.

    Args:
        evaluator: its model may adapt, or answer at random: then it is not asked.
        chunk: its first samples.

    Returns:
        What to ask again later; None of a model that is not asked.
    """
    model = evaluator.model
    if evaluator.random or model.reset is not None or model.whole:
        return None
    if model.module is None or model.call is not model.module:
        return None
    question, (low, high) = _places(chunk, "between"), chunk.bounds
    away = (high - low) * question.new_tensor(_STEPS[: len(question)]).view(-1, *[1] * (question.ndim - 1))
    key = rng.fold(chunk.key[: len(question)], "near")
    near = (question + away * rng.signs(key, question.shape[1:])).clamp(low, high)
    _ask_copies(evaluator, model.module, question, near)
    later = _places(chunk, "later")[:_ASKED_AGAIN]
    logits = _answers(model, later)
    evaluator.forward += len(later)
    return None if logits is None else Asked(later, logits, usual_lead(evaluator, logits))


def ask_again(evaluator: Evaluator, asked: Asked | None) -> None:
    """Whether a model still answers as before, now that much was asked; nothing, of one that was not asked."""
    if asked is None:
        return
    again = _answers(evaluator.model, asked.x)
    evaluator.forward += len(asked.x)
    evaluator.health.asked_anew += len(asked.x)
    if again is None:
        evaluator.health.otherwise += len(asked.x)
    else:
        evaluator.health.otherwise += int(moved(evaluator, asked.logits, again, asked.usual).sum())


def _places(chunk: Chunk, use: str) -> Tensor:
    """(n, *S) places between two samples, and off by a tenth of the range: nobody asked there."""
    x, (low, high) = chunk.x[: len(_STEPS)], chunk.bounds
    off = rng.uniform(rng.fold(chunk.key[: len(x)], use), x.shape[1:], -0.1, 0.1)
    other = x.roll(1, 0) if len(x) > 1 else low + high - x
    return ((x + other) / 2 + (high - low) * off).clamp(low, high)


def _answers(model: Classifier, x: Tensor) -> Tensor | None:
    """What a model says of inputs that are no samples; None where it cannot tell."""
    try:
        with torch.no_grad():
            logits = model(x.clone())
    except Exception:  # the user's code, of inputs that it may not be made for
        return None
    return logits if bool(torch.isfinite(logits).all()) else None


def _ask_copies(evaluator: Evaluator, module: nn.Module, question: Tensor, near: Tensor) -> None:
    try:
        asked, other = (replace(evaluator.model, call=own, module=own) for own in (copied(module), copied(module)))
    except Exception:  # modules that are made another way, as TorchScript's
        return
    said = [_answers(asked, question), _answers(asked, near), _answers(other, near)]
    if any(one is None for one in said):
        return
    _, second, alone = (cast(Tensor, one) for one in said)
    evaluator.health.asked_anew += len(near)
    # Not to the bit: on some devices the same pass is not the same computation.
    evaluator.health.otherwise += int(moved(evaluator, alone, second, usual_lead(evaluator, alone)).sum())


def copied(module: nn.Module) -> nn.Module:
    """A module with a state of its own: modules, buffers, tensors, lists, dicts and sets; parameters are shared.

    Other objects are shared too: a trainer that a module refers to, with its data, is not copied.
    """
    made: dict[int, nn.Module] = {}

    def of(part: nn.Module) -> nn.Module:
        if id(part) not in made:
            made[id(part)] = own = object.__new__(type(part))
            for name, value in vars(part).items():
                own.__dict__[name] = dict(value) if name == "_parameters" else copy_of(value)
        return made[id(part)]

    def copy_of(value: Any) -> Any:
        if isinstance(value, nn.Module):
            return of(value)
        if type(value) is Tensor:
            return value.clone() if value.numel() <= _LARGEST else value
        if type(value) in (list, set, deque):
            return type(value)(map(copy_of, value))
        if type(value) in (dict, OrderedDict):
            return type(value)((key, copy_of(held)) for key, held in value.items())
        return value

    return of(module)
