"""Checks of a model's answers before it is measured: repeatable, and those of one sample alone."""

# - `check_forward`: labels are classes of the model, two passes agree, and a sample's answer does not depend on the
#   samples beside it in the batch. Hints name likely mistakes; no verdict rests on one.
# - `probe_history`: an answer does not depend on earlier queries. A model that remembers its queries, and answers an
#   input near one of them as it answered that one, looks robust to any search that starts from samples that it was
#   shown; an attacker who comes with a changed sample first breaks it. A model that changes after some number of
#   queries is not the model that was measured.

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from robustest import rng
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ModelError
from robustest.models import Classifier
from robustest.threats import Bounds, Threat

_PROBE = 8
"""Samples that the checks of the forward pass twice, and once more among other neighbours."""
_APART = 0.05
"""Answers differ where a logit moves by this share of the usual lead; batches alone move last bits."""
_BESIDE = 2
"""Samples that are passed among others of another kind, where a claim has two."""
_STEPS = (0.1, 0.03, 0.01, 0.003)
"""Distances of a second query from the first, as shares of the range of inputs: a row each."""
_LATER = 2
"""Inputs that are passed at the start, and again after each chunk."""
_LARGEST = 1 << 25
"""Numbers of a tensor from which copies share it: a bank of features, say."""
_ENOUGH = 16
"""Samples of which one class alone is no accident."""
_GREY = 255.0


@dataclass(frozen=True, slots=True)
class EarlyAnswers:
    """Answers from before the measurement: inputs (n, *S), logits (n, *O), and the usual lead of these."""

    x: Tensor
    logits: Tensor
    usual: Tensor


def check_model(
    evaluator: Evaluator, chunk: Chunk, suppressed: Collection[str], *, first_of_all: bool = True
) -> EarlyAnswers | None:
    """Check a model before it is measured: `check_forward`, then `probe_history`.

    Args:
        evaluator, chunk, suppressed, first_of_all: as for `check_forward`.

    Returns:
        Answers to compare with by `ask_again` once it was measured.

    Raises:
        DataError, ModelError: as `check_forward`.
    """
    check_forward(evaluator, chunk, suppressed, first_of_all=first_of_all)
    return probe_history(evaluator, chunk)


# The forward pass


def check_forward(
    evaluator: Evaluator, chunk: Chunk, suppressed: Collection[str], *, first_of_all: bool = True
) -> None:
    """Pass the first few samples again: labels, logits, a forward that repeats itself, alone and in other company.

    Args:
        evaluator: makes the model's passes.
        chunk: the samples.
        suppressed: names of health checks that do not stop a claim.
        first_of_all: the order begins with these samples. Only they give hints: a run that is resumed, or a worker that
            joins in, begins elsewhere and must report the same.

    Raises:
        DataError: labels outside the model's classes.
        ModelError: the logits differ between two passes in eval mode.
    """
    x, y = chunk.x[:_PROBE], chunk.y
    if evaluator.model.reset is not None:  # a model that adapts differs each time by design, and is measured fresh
        evaluator.logits(x)
        evaluator.check_labels(y)
        evaluator.model.reset()
        return
    first, second = evaluator.logits(x), evaluator.logits(x)
    evaluator.check_labels(y)
    evaluator.check_first(first)
    if first_of_all:
        for hint in hints(evaluator, chunk, first):
            evaluator.note(hint)
    if "random_forward" in suppressed:
        return
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-5):
        apart = float((first - second).abs().max())
        raise ModelError(
            f"random_forward: expected the same answer twice but logits differ by up to {apart:.3g} in eval mode. "
            "Switch off dropout or noise in forward; a verdict on one draw could not be repeated. Mark a model that "
            "adapts to its inputs with robustest.adapting(model)."
        )
    # In the opposite order (a single sample beside its mirror image), then the first and the last sample alone.
    changed, usual = torch.zeros(len(x), dtype=torch.bool, device=x.device), usual_lead(evaluator, first)
    others = x.flip(0) if len(x) > 1 else torch.cat([sum(chunk.bounds) - x, x])
    changed |= moved(evaluator, first, evaluator.logits(others).flip(0)[: len(x)], usual)
    for row in {0, len(x) - 1} if len(x) > 1 else ():
        one = slice(row, row + 1)
        changed[one] |= moved(evaluator, first[one], evaluator.logits(x[one]), usual)
    evaluator.health.count("batch_dependence", failed=int(changed.sum()), tried=len(x))


def check_beside(evaluator: Evaluator, x: Tensor, logits: Tensor, others: Tensor) -> None:
    """Compare the logits (n, *O) of the first inputs (n, *S) with theirs beside inputs of another kind.

    One input among many: a statistic of the batch is then a statistic of the others.
    """
    usual = usual_lead(evaluator, logits[:_PROBE])
    for at in range(min(_BESIDE, len(x))):
        one = slice(at, at + 1)
        again = evaluator.logits(torch.cat([others, x[one]]))[-1:]
        changed = int(moved(evaluator, logits[one], again, usual).sum())
        evaluator.health.count("batch_dependence", failed=changed, tried=1)


def moved(evaluator: Evaluator, before: Tensor, after: Tensor, usual: Tensor) -> Tensor:
    """Return (n,) bool: logits (n, *O) that changed by more than rounding does, measured by the usual lead."""
    change = after - before
    if evaluator.task.one_class:  # a number added to all logits decides nothing
        change = change - change.mean(1, keepdim=True)
    return change.flatten(1).abs().amax(1) > _APART * usual


def usual_lead(evaluator: Evaluator, logits: Tensor) -> Tensor:
    """Return the median lead of the largest of logits (n, K); the spread of outputs that are no logits of one class."""
    least = 1e-3 * float(logits.abs().max())
    if evaluator.task.one_class:
        lead = logits.topk(2, 1).values
        return (lead[:, 0] - lead[:, 1]).median().clamp(min=least)
    return logits.std(correction=0).clamp(min=least)


# Earlier queries


def probe_history(evaluator: Evaluator, chunk: Chunk) -> EarlyAnswers | None:
    """Pass two inputs that lie near each other through one copy of the module, and the second alone through another.

    Both copies have the module's state, and it sees neither input: three passes of four inputs, which are no part of
    the claim's cost, as that is of the model itself. The inputs lie between the chunk's samples. Only torch modules are
    tested; state that a model keeps outside of its modules, in other objects or in files, is not seen.

    Args:
        evaluator: of the model. Models that adapt or answer at random are not tested.
        chunk: its first samples.

    Returns:
        Answers for `ask_again`; None of a model that is not tested.
    """
    model = evaluator.model
    if evaluator.random or model.reset is not None or model.whole:
        return None
    if model.module is None or model.call is not model.module:
        return None
    first, (low, high) = _places(chunk, "between"), chunk.bounds
    away = (high - low) * first.new_tensor(_STEPS[: len(first)]).view(-1, *[1] * (first.ndim - 1))
    key = rng.fold(chunk.key[: len(first)], "near")
    second = (first + away * rng.signs(key, first.shape[1:])).clamp(low, high)
    answers: tuple[Tensor | None, ...] = (None,)
    with suppress(Exception):  # modules that are made another way, as TorchScript's, cannot be copied
        one, other = (replace(model, call=own, module=own) for own in (copied(model.module), copied(model.module)))
        answers = _answers(one, first), _answers(one, second), _answers(other, second)
    if all(one is not None for one in answers):
        _, after, alone = (cast("Tensor", one) for one in answers)
        # Not to the bit: on some devices the same pass is not the same computation.
        changed = moved(evaluator, alone, after, usual_lead(evaluator, alone))
        evaluator.health.count("history_dependence", failed=int(changed.sum()), tried=len(second))
    later = _places(chunk, "later")[:_LATER]
    logits = _answers(model, later)
    evaluator.forward += len(later)
    return None if logits is None else EarlyAnswers(later, logits, usual_lead(evaluator, logits))


def ask_again(evaluator: Evaluator, early: EarlyAnswers | None) -> None:
    """Compare a model's answers now, after many queries, with its early ones; None compares nothing."""
    if early is None:
        return
    again = _answers(evaluator.model, early.x)
    evaluator.forward += len(early.x)
    changed = len(early.x) if again is None else int(moved(evaluator, early.logits, again, early.usual).sum())
    evaluator.health.count("history_dependence", failed=changed, tried=len(early.x))


def _places(chunk: Chunk, use: str) -> Tensor:
    """Return (n, *S) places between two samples, and off by a tenth of the range: no claim has passed them."""
    x, (low, high) = chunk.x[: len(_STEPS)], chunk.bounds
    off = rng.uniform(rng.fold(chunk.key[: len(x)], use), x.shape[1:], -0.1, 0.1)
    other = x.roll(1, 0) if len(x) > 1 else low + high - x
    return ((x + other) / 2 + (high - low) * off).clamp(low, high)


def _answers(model: Classifier, x: Tensor) -> Tensor | None:
    """Return a model's logits of inputs that are no samples; None where it fails or they are not finite."""
    try:
        with torch.no_grad():
            logits = model(x.clone())
    except Exception:  # the user's code, of inputs that it may not be made for
        return None
    return logits if bool(torch.isfinite(logits).all()) else None


def copied(module: nn.Module) -> nn.Module:
    """Return a module with a copy of the state: modules, buffers, tensors, lists, dicts and sets.

    Parameters are shared, and so are other objects: a trainer that a module refers to, with its data, is not copied.
    """
    made: dict[int, nn.Module] = {}
    todo: list[nn.Module] = []

    def copy_of(value: Any) -> Any:
        if isinstance(value, nn.Module):
            if id(value) not in made:
                made[id(value)] = object.__new__(type(value))
                todo.append(value)
            return made[id(value)]
        if type(value) is Tensor:
            return value.clone() if value.numel() <= _LARGEST else value
        if type(value) in (list, set, deque):
            return type(value)(map(copy_of, value))
        if type(value) in (dict, OrderedDict):
            return type(value)((key, copy_of(held)) for key, held in value.items())
        return value

    whole: nn.Module = copy_of(module)
    while todo:  # a list of modules, and no recursion: nets may be deep, and modules refer to each other in circles
        part = todo.pop()
        for name, value in vars(part).items():
            made[id(part)].__dict__[name] = dict(value) if name == "_parameters" else copy_of(value)
    return whole


# Hints


def hints(evaluator: Evaluator, chunk: Chunk, answers: Tensor) -> list[str]:
    """Return likely mistakes that the first samples give away, in sentences.

    Args:
        evaluator: makes the model's passes.
        chunk: the first samples, in a random order.
        answers: (n, K) logits of the first few of them; only where all of these predict one class are all passed.
    """
    found, y, task = [], chunk.y, evaluator.task
    if len(y) >= _ENOUGH and y.ndim == 1 and not y.is_floating_point():
        if bool((y == y[0]).all()):
            found.append(
                f"hint: all {len(y)} samples looked at first have the label {int(y[0])}: a model that always says so "
                "is never wrong. Test on samples of every class"
            )
        else:
            predicted = task.predictions(answers)
            if predicted.ndim == 1 and bool((predicted == predicted[0]).all()):
                predicted = task.predictions(evaluator.logits(chunk.x))
            if predicted.ndim == 1 and bool((predicted == predicted[0]).all()):
                found.append(
                    f"hint: the model predicts class {int(predicted[0])} for all {len(y)} samples looked at first, "
                    f"which have {len(torch.unique(y))} labels: are its weights loaded, and its inputs as in training?"
                )
    low, high = chunk.bounds
    normalises = isinstance(evaluator.model.preprocessing, tuple) and len(chunk.x) > 0
    if normalises and low < 0 and high - low < _GREY and float(chunk.x.min()) < 0:
        found.append(
            "hint: inputs below 0 look normalised, and preprocessing=(mean, std) normalises them once more: give raw "
            "inputs, or leave preprocessing out"
        )
    return found


def hints_on(threat: Threat, bounds: Bounds) -> tuple[str, ...]:
    """Return likely mistakes in a radius, beside the width of the inputs' bounds.

    Args:
        threat: with a radius in input units; others give no hint.
        bounds: the inputs' bounds.
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
