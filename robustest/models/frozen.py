"""The user's model, left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_pre_hook

from robustest.clock import check as check_clock
from robustest.clock import left
from robustest.models.process_state import full_float32, unchanged_process

_NOT_ANSWERING = frozenset({"__init__", "__repr__", "__setstate__", "eval", "extra_repr", "train", "training"})
"""Methods of a module that may touch its mode without any answer depending on it."""
_CHANCES = ("p", "dropout", "drop_prob")
"""What modules call the chance with which they drop something, and nothing where it is zero."""
_FAST_PATHS = (nn.TransformerEncoder, nn.TransformerEncoderLayer)
"""The mode decides how these compute, not what; their dropouts are parts of their own."""


class Handover(list[str]):
    """What a reader of the result must know of how a model was handed over, in sentences.

    Attributes:
        modal: parts of the model whose answers depend on the mode.
        training: of those, parts that eval mode did not reach.
    """

    modal = 0
    training = 0


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[Handover]:
    """Eval mode, frozen weights, full float32 inside; modes, gradient flags, random states restored after.

    Gradients are neither written nor cleared: no parameter asks for one inside the block. The process is as it was
    before, whatever the model did to it: see `robustest.models.process_state.unchanged_process`.

    Args:
        module: the model; None for a callable without one.

    Yields:
        Notes, none where nothing had to be changed, and counts for the health check `train_mode`.
    """
    notes = Handover()
    with unchanged_process(), full_float32():
        if module is None:
            with _clocked():
                yield notes
            return
        # Frozen TorchScript has no modes.
        modes = [(part, part.training) for part in module.modules() if hasattr(part, "training")]
        flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
        try:
            if any(training for _, training in modes):
                notes.append("the model was in train mode; it was measured in eval mode and put back")
                _eval(module, notes)
                stayed = [part.training for part, _ in modes if is_modal(part)]
                notes.modal, notes.training = len(stayed), sum(stayed)
            for parameter, flag in flags:
                if flag:
                    parameter.requires_grad_(False)
            yield notes
        finally:
            for part, training in modes:
                if part.training != training:
                    part.training = training
            for parameter, flag in flags:
                if parameter.requires_grad != flag:
                    parameter.requires_grad_(flag)


@contextmanager
def _clocked() -> Iterator[None]:
    """Let every forward call of a module ask the clock: a training by a user's code knows nothing of it."""
    if left() is None:
        yield
        return
    handle = register_module_forward_pre_hook(lambda *_: check_clock())
    try:
        yield
    finally:
        handle.remove()


def is_modal(part: nn.Module) -> bool:
    """Whether what a module computes depends on its mode, its own parts aside.

    It does where the code of its class reads `training`, unless a chance of dropping that is zero, or a norm without
    running statistics, makes both modes the same.
    """
    if isinstance(part, torch.jit.ScriptModule):
        return _scripted(part)
    if not _reads_mode(type(part)) or isinstance(part, _FAST_PATHS):
        return False
    if isinstance(part, _NormBase):
        return part.running_mean is not None
    chances = [vars(part)[name] for name in _CHANCES if isinstance(vars(part).get(name), (int, float))]
    return not chances or any(chance > 0 for chance in chances)


def _reads_mode(kind: type[nn.Module]) -> bool:
    """Whether the code of a module class reads `training`."""
    own = (base for base in kind.__mro__ if base not in nn.Module.__mro__)
    methods = ((name, getattr(method, "__code__", None)) for base in own for name, method in vars(base).items())
    return any(code is not None and name not in _NOT_ANSWERING and _reads(code) for name, code in methods)


def _reads(code: CodeType) -> bool:
    """Whether some code, or a function inside it, reads an attribute called `training`."""
    inner = (value for value in code.co_consts if isinstance(value, CodeType))
    return "training" in code.co_names or any(_reads(value) for value in inner)


def _scripted(part: torch.jit.ScriptModule) -> bool:
    try:
        return "training" in part.code
    except (AttributeError, RuntimeError):  # no forward of its own
        return False


def _eval(module: nn.Module, notes: list[str]) -> None:
    try:
        module.eval()
    except NotImplementedError:  # exported programs have no modes
        notes[-1] = "the model is an exported program in train mode; its mode could not be changed"
