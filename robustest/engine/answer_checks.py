"""Checks of a model before it is measured: answers repeat, and depend on their own sample alone."""

# - `check_forward`: labels are classes of the model, two passes agree, and an answer does not depend on the other
# samples of its batch. Hints name likely mistakes; no verdict rests on a hint.
# - `probe_history`: an answer does not depend on earlier queries. A model that remembers queries, and gives an input
# near an earlier one the same answer, looks robust to every search that starts from samples; an attacker whose first
# query is the changed sample breaks it.

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from robustest import rng
from robustest.data.strings import Strings
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.planted import draws
from robustest.errors import ModelError
from robustest.identity.packages import home, home_of_class
from robustest.models import Classifier, Needs
from robustest.tasks import as_targets, top_of
from robustest.threats import L1, L2, Bounds, Linf, Threat, is_discrete

# Samples that the checks of the forward pass twice, and once more among other neighbours.
_PROBE = 8
# Texts inside the threat that are passed alone and beside a longer one.
_EDITED = 4
# Answers differ where a logit moves by this share of the usual lead; other batches alone move the last bits.
_APART = 0.05
# Of the same function of the same texts, in the same batch, by this share.
_SAME = 1e-4
# Samples that are passed among others of another kind, where a claim has two kinds.
_BESIDE = 2
# Distances of a second query from the first, as shares of the inputs' range: one row each.
_STEPS = (0.1, 0.03, 0.01, 0.003)
# Inputs that are passed at the start, and again after each chunk.
_LATER = 2
# Larger tensors, as a bank of features, are shared between copies.
_LARGEST = 1 << 25
# With this number of samples a single class is no accident.
_ENOUGH = 16
_GREY = 255.0


@dataclass(frozen=True, slots=True)
class EarlyAnswers:
    """Answers from before the measurement: inputs (n, *S), logits (n, *O), and their usual lead."""

    x: Tensor
    logits: Tensor
    usual: Tensor


def check_model(
    evaluator: Evaluator,
    chunk: Chunk,
    suppressed: Collection[str],
    *,
    first_of_all: bool = True,
    threat: Threat | None = None,
) -> EarlyAnswers | None:
    """Run `check_forward`, then `probe_history`; arguments as for them.

    Returns:
        Answers for `ask_again` after the measurement.

    Raises:
        DataError, ModelError: see `check_forward`.
    """
    check_forward(evaluator, chunk, suppressed, first_of_all=first_of_all, threat=threat)
    return probe_history(evaluator, chunk, threat)


# The forward pass


def check_forward(
    evaluator: Evaluator,
    chunk: Chunk,
    suppressed: Collection[str],
    *,
    first_of_all: bool = True,
    threat: Threat | None = None,
) -> None:
    """Pass the first few samples again, in the same batch, in another one and alone.

    Args:
        suppressed: names of health checks that do not stop a claim.
        first_of_all: the order begins with these samples. Only they give hints: a resumed run, or a worker that joins
            in, begins elsewhere and must report the same.
        threat: the claim's; under a discrete one the model gets no input that the threat does not allow.

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
            "Switch off dropout or noise in forward (of a module inside a function by its eval(), before it is given): "
            "a verdict on one draw could not be repeated. Mark a model that adapts to its inputs with "
            "robustest.adapting(model)."
        )
    # In the opposite order (a single sample beside its mirror image), then the first and the last sample alone.
    changed, usual = torch.zeros(len(x), dtype=torch.bool, device=x.device), usual_lead(evaluator, first)
    alone = chunk.coding is not None or is_discrete(threat)  # a text has no mirror image
    others = x.flip(0) if len(x) > 1 else torch.cat([x if alone else sum(chunk.bounds) - x, x])
    changed |= moved(evaluator, first, evaluator.logits(others).flip(0)[: len(x)], usual)
    for row in {0, len(x) - 1} if len(x) > 1 else ():
        one = slice(row, row + 1)
        changed[one] |= moved(evaluator, first[one], evaluator.logits(x[one]), usual)
    if isinstance(chunk.coding, Strings):
        changed |= _beside_longer(evaluator, chunk.coding, x, first, usual)
        if is_discrete(threat) and threat.radius > 0:
            # Texts that are no samples too, which the model may pad otherwise.
            made = draws(threat, chunk.rows(torch.arange(min(_EDITED, len(x)), device=x.device)), 1).squeeze(1)
            answers = torch.cat([evaluator.logits(made[row : row + 1]) for row in range(len(made))])
            changed[: len(made)] |= _beside_longer(evaluator, chunk.coding, made, answers, usual)
    evaluator.health.count("batch_dependence", failed=int(changed.sum()), tried=len(x))


def _beside_longer(evaluator: Evaluator, coding: Strings, x: Tensor, logits: Tensor, usual: Tensor) -> Tensor:
    """Return (n,) bool: texts x (n, L) whose logits (n, *O) change beside a text that is longer than each of them.

    A model that pads a batch to its longest text may read the padding. Samples of the same length do not show that, and
    a search does not either: its proposals are mostly longer than the sample, and pad all others.
    """
    texts = coding.decode(x)
    longer = 2 * max(texts, key=len) or coding.decode(x.new_full((1, 8), ord("a")))[0]
    rows = coding.encode([*texts, longer]).to(x)
    try:
        beside = evaluator.logits(rows)[: len(x)]
    except ModelError:  # a text as long as no sample, for which the model need not be made
        return torch.zeros(len(x), dtype=torch.bool, device=x.device)
    return moved(evaluator, logits, beside, usual)


def check_beside(evaluator: Evaluator, x: Tensor, logits: Tensor, others: Tensor) -> None:
    """Compare logits (n, *O) of the first inputs (n, *S) with theirs beside inputs of another kind."""
    usual = usual_lead(evaluator, logits[:_PROBE])
    for at in range(min(_BESIDE, len(x))):
        one = slice(at, at + 1)
        # One input among many: a statistic of the batch is then a statistic of the others.
        again = evaluator.logits(torch.cat([others, x[one]]))[-1:]
        changed = int(moved(evaluator, logits[one], again, usual).sum())
        evaluator.health.count("batch_dependence", failed=changed, tried=1)


def moved(evaluator: Evaluator, before: Tensor, after: Tensor, usual: Tensor, *, share: float = _APART) -> Tensor:
    """Return (n,) bool: logits (n, *O) that changed by more than a share of the usual lead."""
    change = after - before
    if top_of(evaluator.task):  # a number added to all logits decides nothing
        change = change - change.mean(1, keepdim=True)
    return change.flatten(1).abs().amax(1) > share * usual


def usual_lead(evaluator: Evaluator, logits: Tensor) -> Tensor:
    """Return the median lead of the largest of logits (n, K); for other tasks the outputs' standard deviation."""
    least = 1e-3 * float(logits.abs().max())
    if top_of(evaluator.task):
        lead = logits.topk(2, 1).values
        return (lead[:, 0] - lead[:, 1]).median().clamp(min=least)
    return logits.std(correction=0).clamp(min=least)


# Earlier queries


def probe_history(evaluator: Evaluator, chunk: Chunk, threat: Threat | None = None) -> EarlyAnswers | None:
    """Compare a copy of the module that got a nearby query before with one that did not.

    Torch modules are tested, and functions and objects of the user's code that give scores or labels; state in other
    objects or files escapes. Models that adapt or answer at random are not tested.

    Returns:
        Answers for `ask_again`; None for a model that is not tested.
    """
    model = evaluator.model
    if evaluator.random or model.reset is not None:
        return None
    if isinstance(chunk.coding, Strings) and model.estimator is None and model.max_queries is None:
        first, second = (chunk.coding.encode(texts).to(chunk.x) for texts in _near_texts(chunk.coding, chunk.x))
        # The same function of the same texts: a cache gives the near text's answer, which need not be far off.
        _compare_copies(evaluator, model.call, first, second, share=_SAME)
    if model.whole or model.decode is not None:
        return None
    asked = model.gives is not Needs.GRADIENT and model.estimator is None and model.max_queries is None
    if asked and model.module is None and chunk.coding is None and not is_discrete(threat):
        # The same function of the same arrays: a cache gives the answer to an earlier input nearby.
        first, second = _near_places(chunk)
        _compare_copies(evaluator, model.call, first, second, share=_SAME)
    if model.module is None or model.call is not model.module:
        return None
    if is_discrete(threat):
        part = chunk.rows(torch.arange(min(len(_STEPS), len(chunk.x)), device=chunk.x.device))
        first, second, later = draws(threat, part, 3).unbind(1)
    else:
        (first, second), later = _near_places(chunk), _places(chunk, "later")
    _compare_copies(evaluator, model.module, first, second)
    later = later[:_LATER]
    logits = _answers(model, later)
    evaluator.forward += len(later)
    return None if logits is None else EarlyAnswers(later, logits, usual_lead(evaluator, logits))


def _compare_copies(evaluator: Evaluator, call: Any, first: Tensor, second: Tensor, *, share: float = _APART) -> None:
    """Count the inputs (n, *S) `second` that a copy of a model which got `first` before answers otherwise."""
    # Both copies have the model's state, and the model itself evaluates neither input. The copies' three passes of
    # four inputs are not counted, as the claim's cost is that of the model.
    answers: tuple[Tensor | None, ...] = (None,)
    with suppress(Exception):  # modules that are made another way, as TorchScript's, cannot be copied
        module = evaluator.model.module is not None
        one, other = (
            replace(evaluator.model, call=own, module=own if module else None) for own in (copied(call), copied(call))
        )
        answers = _answers(one, first), _answers(one, second), _answers(other, second)
    if all(one is not None for one in answers):
        _, after, alone = (cast("Tensor", one) for one in answers)
        # Not to the bit: on some devices the same pass is not the same computation.
        changed = moved(evaluator, alone, after, usual_lead(evaluator, alone), share=share)
        evaluator.health.count("history_dependence", failed=int(changed.sum()), tried=len(second))


def _near_texts(coding: Strings, x: Tensor) -> tuple[list[Any], list[Any]]:
    """Return samples in reverse, and texts near these by which a cache may take one for the other.

    One each in other capitals, with another end, with more blanks and with another beginning.
    """
    marks: tuple[Any, Any] = (" ", "e") if coding.kind == "str" else (b" ", b"e")
    blank, letter = marks
    # No claim has passed them. By words, if there are several: their beginnings are no sample's.
    words = [text.split(blank) for text in coding.decode(x[: len(_STEPS)])]
    turned = [blank.join(each[::-1]) if len(each) > 1 else each[0][::-1] for each in words]
    changes: list[Callable[[Any], Any]] = [
        lambda text: text.swapcase(),
        lambda text: text + letter + letter,
        lambda text: blank + text.replace(blank, blank + blank),
        lambda text: letter + text[1:],
    ]
    return turned, [change(text) for change, text in zip(changes, turned, strict=False)]


def ask_again(evaluator: Evaluator, early: EarlyAnswers | None) -> None:
    """Compare a model's answers after many queries with its early ones."""
    if early is None:
        return
    again = evaluator.called(lambda: _answers(evaluator.model, early.x))
    evaluator.forward += len(early.x)
    changed = len(early.x) if again is None else int(moved(evaluator, early.logits, again, early.usual).sum())
    evaluator.health.count("history_dependence", failed=changed, tried=len(early.x))


def _near_places(chunk: Chunk) -> tuple[Tensor, Tensor]:
    """Return inputs (n, *S) between samples, and others near them, by each of `_STEPS`."""
    first, (low, high) = _places(chunk, "between"), chunk.bounds
    away = (high - low) * first.new_tensor(_STEPS[: len(first)]).view(-1, *[1] * (first.ndim - 1))
    key = rng.fold(chunk.key[: len(first)], "near")
    return first, (first + away * rng.signs(key, first.shape[1:])).clamp(low, high)


def _places(chunk: Chunk, use: str) -> Tensor:
    """Return (n, *S) inputs between two samples, off by a tenth of the range: no claim has passed them."""
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


def copied(whole: Any) -> Any:
    """Return a module, function or object with a copy of its state: modules, buffers, tensors, lists, dicts and sets.

    Functions of the user's code have copies of the globals and closures that they use; objects of the user's classes
    are copied with their attributes. Parameters are shared, and so are other objects: a trainer that a module refers
    to, with its data, is not copied. Functions that are bound to a module, which it may keep, are bound to its copy. Of
    compiled modules the code before compilation is copied, as the compiled one has the state of the original.
    """
    made: dict[int, Any] = {}
    todo: list[nn.Module] = []
    inside = not isinstance(whole, nn.Module)  # what a module refers to may be a trainer

    def copy_of(value: Any) -> Any:
        if id(value) in made:
            return made[id(value)]
        if isinstance(value, (nn.Module, FunctionType)):
            for compiled in ("_orig_mod", "_torchdynamo_orig_callable"):
                if (before := getattr(value, compiled, None)) is not None:
                    return copy_of(before)
        if isinstance(value, nn.Module):
            made[id(value)] = object.__new__(type(value))
            todo.append(value)
            return made[id(value)]
        if type(value) is Tensor:
            return value.clone() if value.numel() <= _LARGEST else value
        if type(value) in (list, set, deque):
            return type(value)(map(copy_of, value))
        if type(value) in (dict, OrderedDict):
            return type(value)((key, copy_of(held)) for key, held in value.items())
        if type(value) is tuple:
            return tuple(map(copy_of, value))
        if type(value) is partial:
            keywords = {name: copy_of(held) for name, held in value.keywords.items()}
            return partial(copy_of(value.func), *map(copy_of, value.args), **keywords)
        if isinstance(value, FunctionType) and (
            any(isinstance(held, nn.Module) for held in _held(value)) or (inside and _may_hold_state(value))
        ):
            return function_copy(value)
        if isinstance(value, MethodType) and (inside or isinstance(value.__self__, nn.Module)):
            return MethodType(value.__func__, copy_of(value.__self__))
        if inside and hasattr(value, "__dict__") and not isinstance(value, (type, ModuleType, FunctionType)):
            kind = type(value)
            # An object that another package made, or that frees something at its end, is shared.
            if home_of_class(kind) is None and not hasattr(kind, "__del__"):
                own = made[id(value)] = object.__new__(kind)
                own.__dict__.update((name, copy_of(held)) for name, held in vars(value).items())
                return own
        return value

    def function_copy(function: FunctionType) -> FunctionType:
        place = id(function.__globals__)
        own_globals = made.setdefault(place, dict(function.__globals__))
        cells = tuple(CellType() for _ in function.__closure__ or ())
        own = FunctionType(function.__code__, own_globals, function.__name__, None, cells or None)
        made[id(function)] = own
        own.__defaults__ = None if function.__defaults__ is None else tuple(map(copy_of, function.__defaults__))
        own.__kwdefaults__ = copy_of(function.__kwdefaults__)
        for cell, before in zip(cells, function.__closure__ or (), strict=True):
            cell.cell_contents = copy_of(before.cell_contents)
        codes = [function.__code__]
        while codes:
            code = codes.pop()
            codes += [held for held in code.co_consts if isinstance(held, CodeType)]
            for name in code.co_names:
                if name in function.__globals__:
                    own_globals[name] = copy_of(function.__globals__[name])
        return own

    copy = copy_of(whole)
    while todo:  # a list of modules, and no recursion: nets may be deep, and modules refer to each other in circles
        part = todo.pop()
        for name, value in vars(part).items():
            made[id(part)].__dict__[name] = dict(value) if name == "_parameters" else copy_of(value)
        made[id(part)].__dict__["_compiled_call_impl"] = None  # of `module.compile()`
    return copy


def _may_hold_state(function: FunctionType) -> bool:
    """Return True for a function of the user's code, and of robustest, whose `scores_model` wraps one."""
    module = function.__module__  # None for a function that was made without the name of a module
    own = (module or "").startswith(f"{__name__.partition('.')[0]}.")
    return own or home(module, function.__code__.co_filename) is None


def _held(function: FunctionType) -> list[Any]:
    """Return the values that a function has from the one around it; none if one is not set yet."""
    try:
        return [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        return []


# Hints


def hints(evaluator: Evaluator, chunk: Chunk, answers: Tensor) -> list[str]:
    """Return likely mistakes that the first samples show, as sentences.

    Args:
        chunk: the first samples, in random order.
        answers: (n, K) logits of the first few.
    """
    found, y, task = [], chunk.y, evaluator.task
    if len(y) >= _ENOUGH and y.ndim == 1 and not y.is_floating_point():
        if bool((y == y[0]).all()):
            found.append(
                f"hint: all {len(y)} samples looked at first have the label {int(y[0])}: a model that always says so "
                "is never wrong. Test on samples of every class"
            )
        else:
            predicted = as_targets(task, task.predictions(answers))
            if predicted.ndim == 1 and bool((predicted == predicted[0]).all()):
                # The few answers agree: pass the whole chunk before saying so.
                predicted = as_targets(task, task.predictions(evaluator.logits(chunk.x)))
                if bool((predicted == predicted[0]).all()):
                    found.append(
                        f"hint: the model predicts class {int(predicted[0])} for all {len(y)} samples looked at first, "
                        f"which have {len(torch.unique(y))} labels: are its weights loaded, and its inputs as in "
                        "training?"
                    )
    found += _channels_last(evaluator, chunk, answers)
    low, high = chunk.bounds
    normalises = isinstance(evaluator.model.preprocessing, tuple) and len(chunk.x) > 0
    if normalises and low < 0 and high - low < _GREY and float(chunk.x.min()) < 0:
        found.append(
            "hint: inputs below 0 look normalised, and preprocessing=(mean, std) normalises them once more: give raw "
            "inputs, or leave preprocessing out"
        )
    return found


# Channels of pictures: grey, colours, colours with transparency.
_CHANNELS = (1, 3, 4)


def _channels_last(evaluator: Evaluator, chunk: Chunk, answers: Tensor) -> list[str]:
    # A model without convolutions takes images in any order of their axes, and is wrong on most.
    shape, task, few = tuple(chunk.x.shape[1:]), evaluator.task, chunk.y[: len(answers)]
    if len(shape) != 3 or shape[2] not in _CHANNELS or min(shape[:2]) <= max(_CHANNELS) or not top_of(task):
        return []
    if float(task.right(task.predictions(answers), few).double().mean()) >= 0.5:
        return []
    return [
        f"hint: samples of shape {shape} look like pictures whose channels come last, and most answers are wrong: give "
        "x.permute(0, 3, 1, 2) if the model was trained on (N, C, H, W)"
    ]


# L1 and L2 radii of pictures in the literature begin at a tenth of the bounds' width.
_LEAST_RADIUS = 0.1
# Radii of k / 255 are meant in grey levels up to this k.
_MOST_GREY = 64


def check_radius(evaluator: Evaluator, threat: Threat, chunk: Chunk) -> None:
    """Count a radius that is most likely in other units than the inputs, and note what may be meant."""
    mistake = radius_mistake(threat, chunk.bounds, chunk.x.shape[1:])
    if mistake:
        evaluator.note(f"hint: {mistake}")
    # An L-inf radius as wide as the bounds makes the claim harder, not emptier; one of k / 255 in bounds of another
    # width may well be meant, and is a caveat (`radius_caveat`).
    width = chunk.bounds[1] - chunk.bounds[0]
    open_to_doubt = isinstance(threat, Linf) and (threat.eps >= width or width < _GREY / 2)
    failed = len(chunk.x) if mistake and not open_to_doubt else 0
    evaluator.health.count("radius_units", failed=failed, tried=len(chunk.x))


def radius_caveat(threat: Threat, bounds: Bounds, shape: Sequence[int]) -> str:
    """Return the caveat of a radius that may be meant in other units; "" for none."""
    width = bounds[1] - bounds[0]
    if not isinstance(threat, Linf) or not radius_mistake(threat, bounds, shape) or threat.eps >= width:
        return ""
    return f"{threat} is {threat.eps * _GREY / width:g} grey levels in bounds [{bounds[0]:g}, {bounds[1]:g}]"


def radius_mistake(threat: Threat, bounds: Bounds, shape: Sequence[int]) -> str:
    """Return the likely mistake in a radius, by the bounds and the shape (*S) of a sample; "" for none."""
    # A user's own threat may have an eps in other units, or one for each channel.
    if not isinstance(threat, (Linf, L2, L1)) or not threat.eps:
        return ""
    eps, width = threat.eps, bounds[1] - bounds[0]
    name, within = type(threat).__name__, f"the bounds [{bounds[0]:g}, {bounds[1]:g}]"
    if isinstance(threat, Linf) and eps >= width:
        return (
            f"{threat} lets every input element be anything inside {within}: the radius is in input units. Did you "
            f"mean {name}({eps:g} / 255)?"
        )
    if eps <= 1 and width >= _GREY / 2:
        return (
            f"{threat} is less than {100 * eps / width:.2g} % of {within}: the radius is in input units. Did you mean "
            f"{name}({eps * _GREY:g})?"
        )
    if len(shape) != 3:  # no pictures
        return ""
    grey = eps * _GREY
    if name == "Linf" and width == 2 and abs(grey - round(grey)) < 1e-6 and 1 <= round(grey) <= _MOST_GREY:
        return (
            f"{threat} is {round(grey)} / 255, which is {grey / 2:g} grey levels in {within}: the radius is in input "
            f"units. Did you mean {name}({2 * round(grey)} / 255)?"
        )
    # The change of each value if all change alike.
    spread = math.sqrt(math.prod(shape)) if name == "L2" else math.prod(shape)
    if name in ("L1", "L2") and eps < _LEAST_RADIUS * width and eps / spread < width / _GREY:
        levels, usual = eps / spread * _GREY / width, width / 2 if name == "L2" else 10 * width
        return (
            f"{threat} moves a picture of {math.prod(shape)} values by {levels:.2g} grey levels on average: a radius "
            f"of this size belongs to L-inf. Did you mean Linf({eps * _GREY:.3g} / 255), or {name}({usual:g})?"
        )
    return ""
