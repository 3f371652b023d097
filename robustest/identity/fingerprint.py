"""The identity of what a model computes, and of anything else that a result depends on, as a hash."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustest.exporting import exported
from robustest.identity import functions, imports, modules, objects
from robustest.identity.patches import replaced
from robustest.identity.plain import Unhashable as Unhashable
from robustest.identity.plain import joined, part
from robustest.identity.walk import Walk

_HANDLERS = (*modules.HANDLERS, *functions.HANDLERS, *imports.HANDLERS, *objects.HANDLERS)

_EVERYWHERE = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)
"""Hooks that torch runs for every module."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of a model.

    Attributes:
        digest: 64 hex digits; None where the model has no identity that can be found: nothing is remembered of it.
        reason: how the digest was found, or why there is none, in words.
        said: whether it rests on what the model, or a part of it, says of itself.
    """

    digest: str | None
    reason: str
    said: bool = False


def digest(value: object, *, asked: bool = True) -> str:
    """SHA-256, as 64 hex digits, of a value: equal in every process for equal values, and for no others.

    Args:
        value: None, numbers, texts, bytes, enum members, dtypes, devices, tensors and arrays (by dtype, shape and
            bytes, wherever they live); tuples, lists, dicts (in any order) and sets of values; frozen dataclass
            instances (by class and fields); functions, classes and objects (by code and state, as `fingerprint` says).
        asked: whether what it depends on shows elsewhere; else a cache that already holds answers has no identity.

    Raises:
        Unhashable: a value has no identity that bytes could stand for; the message names it.
    """
    walk = Walk(_HANDLERS, asked=asked)
    try:
        return walk.digest(walk.value(value, "the value"))
    except RecursionError:
        raise Unhashable("a value nested too deeply") from None


def fingerprint(
    call: Callable[..., Any], module: nn.Module | None, preprocessing: object, *, example: Tensor | None = None
) -> Fingerprint:
    """The identity of what a model computes; never an error.

    It covers parameters and buffers, settings (train flags, eps, counts of heads), hooks, and the code that is reached
    from `forward` and `__call__`: its instructions, its constants, and the functions, classes, values and methods that
    it reads, however far. Comments, formatting, line numbers, file names and gradients make no difference. Code of
    installed packages counts by the package's version, and what was replaced in torch by what stands there now;
    TorchScript and graphs by their text. An object with a method `robustest_fingerprint() -> str` is taken at its
    word. Where code cannot be told, the graph that `torch.export` makes of the module takes its place.

    What cannot be seen is what code reads from outside: files, the network and the environment. Code that is seen to
    do so has no identity; for what is not seen, the model is asked (`robustest.run.memory`).

    Args:
        call: what maps a batch to logits.
        module: the module behind it, where there is one.
        preprocessing: what is applied to inputs first, or None.
        example: a batch (B >= 1, *S) that the module takes, for `torch.export`; None leaves it out.
    """
    try:
        seen, said = _by_code(call, module, preprocessing)
        return Fingerprint(seen, "weights, settings and code", said)
    except Unhashable as error:
        why = error.reason
    except Exception as error:  # whatever an object does when it is looked at must not cost the verdict
        why = f"the model could not be looked at: {type(error).__name__}: {error}"
    if module is None or call is not module or example is None:
        return Fingerprint(None, why)
    try:
        return Fingerprint(_exported(module, preprocessing, example), f"weights and exported graph, since {why}")
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Fingerprint(None, f"{why}; and torch.export cannot take its place: {line}")


def _by_code(call: object, module: nn.Module | None, preprocessing: object) -> tuple[str, bool]:
    walk = Walk(_HANDLERS)
    hooks = [vars(nn.modules.module).get(name) for name in _EVERYWHERE]
    parts = [
        walk.value(call, "the model"),
        walk.value(module, "the model"),
        walk.value(preprocessing, "the preprocessing"),
        walk.value([list(held.values()) for held in hooks if held], "a hook of every module"),
    ]
    return walk.digest(joined("model", [*parts, replaced(walk), *_surroundings()])), walk.said


def _exported(module: nn.Module, preprocessing: object, example: Tensor) -> str:
    """The digest of the graph for batches of any size: code that depends on the size cannot be exported."""
    batch = example[:1].expand(2, *example.shape[1:]).clone()  # for one sample, torch would make its number a constant
    program = exported(module, batch, torch.export.Dim("batch"))
    walk = Walk(_HANDLERS)
    constants = {name: held for name, held in program.constants.items() if isinstance(held, Tensor)}
    parts = [
        part("graph", program.graph_module.code.encode()),
        walk.value(dict(program.state_dict), "the model"),
        walk.value(constants, "a constant of the model"),
        walk.value({name: held.training for name, held in module.named_modules()}, "the model"),
        walk.value(preprocessing, "the preprocessing"),
    ]
    return walk.digest(joined("exported", [*parts, replaced(walk), *_surroundings()]))


def _surroundings() -> list[bytes]:
    versions = (platform.python_implementation(), platform.python_version(), torch.__version__)
    return [part("versions", " ".join(versions).encode()), part("dtype", str(torch.get_default_dtype()).encode())]
