"""Likely mistakes that the first samples and a threat give away; each is a note, and no verdict rests on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ModelError
from robustest.threats import Bounds, Threat

if TYPE_CHECKING:
    from robustest.engine.chunks import Chunk
    from robustest.engine.evaluator import Evaluator
from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn

from robustest import rng
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.models import Classifier

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


# Whether answers depend on what the model was asked before: then none of them is of the sample alone.
#
# A model that remembers its queries, and answers what lies near one as it answered that, looks robust to any search
# that
# starts from samples it was shown; whoever comes with a changed sample first breaks it. One that changes after so many
# queries is another model than the one that was measured.
#


_STEPS = (0.1, 0.03, 0.01, 0.003)
"""How far a second question lies from the first, as shares of the range of inputs: a row each."""
_ASKED_AGAIN = 2
"""Inputs that are asked about at the start, and again after each chunk."""
_LARGEST = 1 << 25
"""Numbers of a tensor from which copies share it: a bank of features, say."""


@dataclass(frozen=True, slots=True)
class EarlyAnswers:
    """What a model said before much was asked: inputs (n, *S), logits (n, *O), and by how much these usually lead."""

    x: Tensor
    logits: Tensor
    usual: Tensor


def check_model(
    evaluator: Evaluator, chunk: Chunk, suppress: Collection[str], *, first_of_all: bool = True
) -> EarlyAnswers | None:
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


def probe_history(evaluator: Evaluator, chunk: Chunk) -> EarlyAnswers | None:
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
    return None if logits is None else EarlyAnswers(later, logits, usual_lead(evaluator, logits))


def ask_again(evaluator: Evaluator, asked: EarlyAnswers | None) -> None:
    """Whether a model still answers as before, now that much was asked; nothing, of one that was not asked."""
    if asked is None:
        return
    again = _answers(evaluator.model, asked.x)
    evaluator.forward += len(asked.x)
    changed = len(asked.x) if again is None else int(moved(evaluator, asked.logits, again, asked.usual).sum())
    evaluator.health.count("history_dependence", failed=changed, tried=len(asked.x))


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
    # Not to the bit: on some devices the same pass is not the same computation.
    changed = moved(evaluator, alone, second, usual_lead(evaluator, alone))
    evaluator.health.count("history_dependence", failed=int(changed.sum()), tried=len(near))


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


_PROBE = 8
"""Samples that the checks of the forward pass twice, and once more among other neighbours."""


_ASKED_BESIDE = 2
"""Samples that are asked among others of another kind, where a claim has two."""


_APART = 0.05
"""Answers differ where a logit moves by this share of the usual lead; batches alone move last bits."""


def check_forward(evaluator: Evaluator, chunk: Chunk, suppress: Collection[str], *, first_of_all: bool = True) -> None:
    """Pass the first few samples again: labels, logits, a forward that answers the same, whatever stands beside.

    Args:
        evaluator: asks the model.
        chunk: the samples.
        suppress: names of health checks that shall not stop a claim.
        first_of_all: whether the order begins with these samples. Hints speak of such alone: a run that is resumed,
            or a worker that joins in, begins elsewhere and must tell the same.

    Raises:
        DataError: labels outside the model's classes.
        ModelError: the logits differ between two passes in eval mode.
    """
    x, y = chunk.x[:_PROBE], chunk.y
    if evaluator.model.reset is not None:  # a model that adapts answers otherwise each time, and is measured fresh
        evaluator.logits(x)
        evaluator.check_labels(y)
        evaluator.model.reset()
        return
    first, second = evaluator.logits(x), evaluator.logits(x)
    evaluator.check_labels(y)
    evaluator.check_first(first)
    if first_of_all:
        evaluator.notes += [hint for hint in hints(evaluator, chunk, first) if hint not in evaluator.notes]
    if "random_forward" in suppress:
        return
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-5):
        apart = float((first - second).abs().max())
        raise ModelError(
            f"random_forward: expected the same answer twice but logits differ by up to {apart:.3g} in eval mode. "
            "Switch off dropout or noise in forward; a verdict on one draw could not be repeated. A "
            "model that adapts to "
            "what it is shown is told of by robustest.adapting(model)."
        )
    changed = int(_moved_beside(evaluator, x, first, chunk.bounds).sum())
    evaluator.health.count("batch_dependence", failed=changed, tried=len(x))


def check_beside(evaluator: Evaluator, x: Tensor, logits: Tensor, others: Tensor) -> None:
    """Whether the first inputs (n, *S) are answered as they were, (n, *O), each alone among others of another kind.

    One among many: what is of the batch is then of the others.
    """
    usual = usual_lead(evaluator, logits[:_PROBE])
    for at in range(min(_ASKED_BESIDE, len(x))):
        one = slice(at, at + 1)
        again = evaluator.logits(torch.cat([others, x[one]]))[-1:]
        changed = int(moved(evaluator, logits[one], again, usual).sum())
        evaluator.health.count("batch_dependence", failed=changed, tried=1)


def moved(evaluator: Evaluator, before: Tensor, after: Tensor, usual: Tensor) -> Tensor:
    """(n,) bool: logits (n, *O) that changed by more than rounding does where leads are usually so large."""
    change = after - before
    if evaluator.task.one_class:  # what all logits share decides nothing
        change = change - change.mean(1, keepdim=True)
    return change.flatten(1).abs().amax(1) > _APART * usual


def usual_lead(evaluator: Evaluator, logits: Tensor) -> Tensor:
    """By how much the largest of logits (n, K) usually leads; the spread of outputs that are no logits of one class."""
    least = 1e-3 * float(logits.abs().max())
    if evaluator.task.one_class:
        lead = logits.topk(2, 1).values
        return (lead[:, 0] - lead[:, 1]).median().clamp(min=least)
    return logits.std(correction=0).clamp(min=least)


def _moved_beside(evaluator: Evaluator, x: Tensor, logits: Tensor, bounds: Bounds) -> Tensor:
    """(n,) bool: samples that are answered otherwise in another order, or the first and the last of them alone."""
    found, usual = torch.zeros(len(x), dtype=torch.bool, device=x.device), usual_lead(evaluator, logits)
    others = x.flip(0) if len(x) > 1 else torch.cat([sum(bounds) - x, x])
    seen = [(torch.arange(len(x), device=x.device), evaluator.logits(others).flip(0)[: len(x)])]
    for row in {0, len(x) - 1} if len(x) > 1 else ():
        seen.append((torch.tensor([row], device=x.device), evaluator.logits(x[row : row + 1])))
    for rows, again in seen:
        found[rows] |= moved(evaluator, logits[rows], again, usual)
    return found
