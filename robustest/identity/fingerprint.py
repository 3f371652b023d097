"""Digests of values and of models."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustest.identity.plain import Unhashable as Unhashable
from robustest.identity.plain import joined, part
from robustest.identity.walk import Walk, replaced_in_torch
from robustest.loaded import loaded, torch_version

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    from robustest.loaded import torch

_HOOKS_OF_ALL = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of a model.

    Attributes:
        digest: 64 hex digits; None if the model has no identity, then no result of it is stored.
        reason: the source of the digest, or the reason why there is none, in words.
        declared: True if the digest rests on a `robustest_fingerprint()`.
    """

    digest: str | None
    reason: str
    declared: bool = False


def digest(value: object, *, recheck: bool = True) -> str:
    """Return SHA-256, as 64 hex digits, of a value; the same in every process, different for different values.

    Args:
        value: plain data, tensors, arrays (by dtype, shape and bytes, on any device) and containers (dicts in any
            order); functions, classes and objects by code and state (`robustest.identity.walk`).
        recheck: True if the model is asked again before a result is recalled; otherwise a cache that already holds
            results has no identity.
    """
    return _digest(Walk(recheck=recheck), value)


def lasting_digest(value: object) -> str:
    """Return `digest` of what the user wrote: the same for each release of Python, robustest and other packages.

    Raises:
        Unhashable: a part of it cannot be read, or is a function without a source.
    """
    return _digest(Walk(lasting=True), value)


def _digest(walk: Walk, value: object) -> str:
    try:
        return walk.digest(walk.value(value, "the value"))
    except RecursionError:
        raise Unhashable("a value nested too deeply") from None


def fingerprint(
    call: Callable[..., Any], module: nn.Module | None, preprocessing: object, *, example: Tensor | None = None
) -> Fingerprint:
    """Return the identity of everything that a model computes with; never raise.

    It covers parameters and buffers, settings (train flags, eps, numbers of heads), hooks, and the code that `forward`
    and `__call__` reach (`robustest.identity.walk`), but no comments, formatting, file names or gradients. Code without
    an identity is replaced by the graph of `torch.export`.

    Args:
        call: maps a batch to logits.
        module: the module behind `call`, if any.
        preprocessing: applied to inputs first, or None.
        example: a batch (B >= 1, *S) for `torch.export`; None leaves the export out.
    """
    try:
        walk = Walk()
        hooks = [getattr(loaded("torch.nn.modules.module"), name, None) for name in _HOOKS_OF_ALL]
        parts = [
            walk.value(call, "the model"),
            walk.value(module, "the model"),
            walk.value(preprocessing, "the preprocessing"),
            walk.value([list(held.values()) for held in hooks if held], "a hook of every module"),
        ]
        found = walk.digest(joined("model", [*parts, replaced_in_torch(walk), *_versions()]))
        return Fingerprint(found, "weights, settings and code", walk.declared)
    except Unhashable as error:
        why = error.reason
    except Exception as error:  # an object's own code, which is run to read it, must not cost the verdict
        why = f"the model could not be looked at: {type(error).__name__}: {error}"
    if module is None or call is not module or example is None:
        return Fingerprint(None, why)
    try:
        return Fingerprint(_exported(module, preprocessing, example), f"weights and exported graph, since {why}")
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Fingerprint(None, f"{why}; and torch.export cannot take its place: {line}")


def _exported(module: nn.Module, preprocessing: object, example: Tensor) -> str:
    from robustest.exporting import exported  # which loads torch; few models are exported

    batch = example[:1].expand(2, *example.shape[1:]).clone()  # torch.export specialises on batches of one
    program = exported(module, batch, torch.export.Dim("batch"))
    walk = Walk()
    constants = {name: held for name, held in program.constants.items() if isinstance(held, torch.Tensor)}
    parts = [
        part("graph", program.graph_module.code.encode()),
        walk.value(dict(program.state_dict), "the model"),
        walk.value(constants, "a constant of the model"),
        walk.value({name: held.training for name, held in module.named_modules()}, "the model"),
        walk.value(preprocessing, "the preprocessing"),
    ]
    return walk.digest(joined("exported", [*parts, replaced_in_torch(walk), *_versions()]))


def _versions() -> list[bytes]:
    versions = (platform.python_implementation(), platform.python_version(), torch_version())
    dtype = "torch.float32" if loaded("torch") is None else str(torch.get_default_dtype())
    return [part("versions", " ".join(versions).encode()), part("dtype", dtype.encode())]
