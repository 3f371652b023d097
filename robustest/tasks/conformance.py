"""Checks of a user's own task against the protocol, which name the member that is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robustest.errors import ConfigError, RobustestError, expected
from robustest.tasks.protocol import Task, as_targets, top_of

_ATTRIBUTES = {"name": str, "one_class": bool, "placed": bool, "losses": Mapping}
_METHODS = [name for name, member in vars(Task).items() if inspect.isfunction(member) and not name.startswith("_")]
# Losses that every search may climb.
_LOSSES = ("margin", "log_odds")
# An object with this many of the members was meant as a task.
_MEANT = 3
# Rows of the first output that are judged, and answers of each.
_ROWS, _ANSWERS = 2, 3


def check_members(task: object) -> None:
    """Raise ConfigError that names the first member of a task which is missing, or cannot be used as the protocol says.

    An object with hardly any of the members is answered as no task at all.
    """
    missing = [name for name in (*_ATTRIBUTES, *_METHODS) if not hasattr(task, name)]
    if isinstance(task, type):
        made = f"Make one: task={task.__name__}(...)."
        raise ConfigError(expected("a task", task, made if len(missing) < len(_METHODS) else ""))
    kind = type(task).__name__
    if len(missing) > len(_ATTRIBUTES) + len(_METHODS) - _MEANT:
        raise ConfigError(expected("a task such as Segmentation(classes=19, floor=0.9) or TopK(5)", task))
    if missing:
        raise ConfigError(
            f"Expected the members of robustest.tasks.Task but {kind} has no {', '.join(missing)}. Add "
            f"{_signature(missing[0])}: {_described(missing[0])}"
        )
    for name, wanted in _ATTRIBUTES.items():
        value = getattr(task, name)
        if not isinstance(value, wanted):
            raise ConfigError(expected(f"{kind}.{name} to be a {wanted.__name__.lower()}", value, _described(name)))
    losses: Mapping[str, Any] = task.losses  # type: ignore[attr-defined]
    for name in _LOSSES:
        if not callable(losses.get(name)):
            mend = "Give it a function of outputs and targets that grows as answers get worse; -margin will do."
            raise ConfigError(expected(f"{kind}.losses[{name!r}] to be a function", losses.get(name), mend))
    for name in _METHODS:
        required = [each for each in _parameters(name) if each.default is each.empty]
        try:
            inspect.signature(getattr(task, name)).bind(*required)
        except TypeError as error:
            raise ConfigError(
                f"Expected {kind}.{_signature(name)} but got {kind}.{name}{inspect.signature(getattr(task, name))}: "
                f"{error}. {_described(name)}"
            ) from None
        except ValueError:  # a function without a signature
            continue


def check_answers(task: Task, output: Tensor, y: Tensor) -> None:
    """Raise ConfigError that names the first member whose values of real outputs are not as the protocol says.

    Args:
        output: (B, *O) the model's first outputs, which `check_output` took.
        y: (B, *T) their targets.
    """
    output, y = output.detach()[:_ROWS], y[:_ROWS]
    rows, name = len(output), type(task).__name__
    if not rows:
        return
    whole = (rows,)

    def value(member: str, call: Callable[[], Any], shape: tuple[int, ...], wanted: str) -> Tensor:
        where = f"{name}.{member}"
        try:
            made = call()
        except RobustestError:
            raise
        except Exception as error:
            raise ConfigError(
                f"Expected {where} to answer for outputs {tuple(output.shape)} and targets "
                f"{tuple(y.shape)} but it raised {type(error).__name__}: {error}. {_described(member)}"
            ) from error
        if (
            not isinstance(made, Tensor)
            or tuple(made.shape[: len(shape)]) != shape
            or (made.ndim != len(shape) and wanted != "rows")
        ):
            got = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else made
            what = f"a tensor led by {rows} rows" if wanted == "rows" else f"a tensor of shape {shape}"
            raise ConfigError(expected(f"{where} to return {what}", got, _described(member)))
        kinds = {"bool": made.dtype == torch.bool, "float": made.is_floating_point(), "rows": True}
        if not kinds[wanted]:
            raise ConfigError(expected(f"{where} to return {wanted} values", made.dtype, _described(member)))
        return made

    def graded(member: str, call: Callable[[], Any]) -> None:
        made = value(member, call, whole, "float")
        if not bool(((made >= 0) & (made <= 1)).all()):
            raise ConfigError(expected(f"{name}.{member} from 0 to 1", made.tolist(), _described(member)))

    holds = value("holds", lambda: task.holds(output, y), whole, "bool")
    margin = value("margin", lambda: task.margin(output, y), whole, "float")
    if bool(((margin > 0) & ~holds).any()) or bool(((margin < 0) & holds).any()):
        raise ConfigError(
            f"Expected {name}.margin to be positive where holds is true, and negative elsewhere, but got "
            f"{margin.tolist()} where holds is {holds.tolist()}. Make both say the same."
        )
    graded("score", lambda: task.score(output, y))
    predictions = value("predictions", lambda: task.predictions(output), whole, "rows")
    value("right", lambda: task.right(predictions, y), whole, "bool")
    graded("agreement", lambda: task.agreement(predictions, y))
    read = as_targets(task, predictions)
    if tuple(read.shape) != tuple(y.shape):
        raise ConfigError(
            f"Expected {name}.predictions in the form of targets, {tuple(y.shape)}, but got "
            f"{tuple(read.shape)}. Add as_targets(self, predictions) that reads an answer as a target."
        )
    if top_of(task) and output.ndim == 2 and y.ndim != 1:
        raise ConfigError(expected(f"labels (B,) as targets of {name}, which names classes", tuple(y.shape)))
    for loss in _LOSSES:
        value("losses", partial(task.losses[loss], output, y), whole, "float")
    # Searches without gradients judge several proposals of a row at once.
    several = output.unsqueeze(1).expand(rows, _ANSWERS, *output.shape[1:])
    for member, kind, alone in (("holds", "bool", holds), ("margin", "float", margin)):
        made = value(member, partial(getattr(task, member), several, y), (rows, _ANSWERS), kind)
        if not torch.allclose(made[:, 0].double(), alone.double(), rtol=1e-4, atol=1e-6):
            raise ConfigError(
                f"Expected {name}.{member} of outputs (B, A, ...) to judge each of a row's A answers by that row's "
                f"target but got {made.tolist()} where one answer alone gives {alone.tolist()}. Give targets an axis "
                "there: y.unsqueeze(1)."
            )


def _parameters(name: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(Task, name)).parameters.values())[1:]


def _signature(name: str) -> str:
    return f"{name}({', '.join(each.name for each in _parameters(name))})" if name in _METHODS else name


def _described(name: str) -> str:
    """Return the first sentence of the protocol's own description of a member."""
    member = vars(Task)[name]
    text = inspect.getdoc(member.fget if isinstance(member, property) else member) or ""
    return " ".join(text.partition("\n\n")[0].split())
