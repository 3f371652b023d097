"""Functions of installed packages that were replaced while the process runs: a version does not tell of those."""

from __future__ import annotations

import functools
import operator
import sys
import types
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from robustest.identity.packages import home, home_of_class
from robustest.identity.plain import Unhashable, joined, part
from robustest.identity.walk import Walk

_PLACES = (torch, F, torch.Tensor, torch._C._nn, torch.linalg, torch.special, torch.fft)
"""Where code of torch's own looks up what it calls."""

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)


def replaced(walk: Walk) -> bytes:
    """What stands in torch's own places for functions of the user's, or under a name that is not its own."""
    parts = []
    for place in _PLACES:
        members = tuple(vars(place).values())
        seen, aliases = _looked_at.get(place, ((), b""))
        if len(members) != len(seen) or not all(map(operator.is_, members, seen)):
            # Aliases are the same in every process, unless one of them was replaced.
            aliases = joined("aliases", [part("alias", f"{a} {b}".encode()) for a, b in _aliases(place)])
            own = list(_own(walk, place))
            parts += own
            if not own:
                _looked_at[place] = members, aliases
        parts.append(aliases)
    return joined("torch", parts)


_looked_at: dict[Any, tuple[tuple[Any, ...], bytes]] = {}
"""The members of places in which nothing was the user's when they were last looked at, and their aliases."""


def replaced_in(walk: Walk, cls: type) -> bytes:
    """What stands for methods in an installed package's class, or its bases, and is the user's."""
    known = walk.replaced.get(cls)
    if known is None:
        bases = [base for base in cls.__mro__ if home_of_class(base) is not None]
        known = walk.replaced[cls] = joined("methods", [found for base in bases for found in _own(walk, base)])
    return known


_SCANNED = frozenset({"numpy", "random", "torch", "torchvision"})
_UNSCANNED = ("torch._", "torch.ao", "torch.distributed", "torch.export", "torch.fx", "torch.jit", "torch.onnx")
"""Parts of torch whose names are many, and which no training calls by themselves."""


def replaced_anywhere() -> dict[str, Any]:
    """Return the user's functions, and mocks, that stand in numerical packages and their classes, by place.

    This looks at every name of every module that is loaded, which takes a tenth of a second: for what cannot be asked.
    The names of torch's own functions that stand in another's place are under "aliases".
    """
    found: dict[str, Any] = {"aliases": [sorted(_aliases(place)) for place in _PLACES]}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] not in _SCANNED or name.startswith(_UNSCANNED) or module is None:
            continue
        for place, held in list(getattr(module, "__dict__", {}).items()):
            if _may_be_own(held):
                found[f"{name}.{place}"] = held
            elif isinstance(held, type) and held.__module__ == name:
                inner = {f"{name}.{place}.{at}": one for at, one in list(vars(held).items()) if _may_be_own(one)}
                found |= inner
    for place in _PLACES:
        found |= {f"{place.__name__}.{at}": one for at, one in list(vars(place).items()) if _is_own(one)}
    return found


def _may_be_own(held: Any) -> bool:
    """Return True for a function of the user's, however it is bound, and for a mock; quick to say no."""
    while isinstance(held, (functools.partial, types.MethodType)):
        held = held.func if isinstance(held, functools.partial) else held.__func__
    if type(held).__module__ == "unittest.mock":
        return True
    if type(held) is not types.FunctionType:
        return False
    top = str(held.__globals__.get("__name__")).partition(".")[0]
    if top in _SCANNED or top.startswith("namedtuple_"):
        return False
    try:
        return _is_own(held)
    except Unhashable:  # a package's that reaches outside: no function of the user's
        return False


def _own(walk: Walk, place: Any) -> Iterator[bytes]:
    for name, held in sorted(vars(place).items()):
        if _is_own(held):
            where = f"{place.__name__}.{name}"
            yield part("name", where.encode()) + walk.value(held, where)


def _is_own(held: Any) -> bool:
    """Whether something that is called is a function of the user's, or an object of a class of theirs."""
    while isinstance(held, (functools.partial, types.MethodType)):
        held = held.func if isinstance(held, functools.partial) else held.__func__
    if isinstance(held, types.FunctionType):
        return home(held.__globals__.get("__name__"), held.__globals__.get("__file__")) is None
    if isinstance(held, (*_FUNCTIONS, type, types.ModuleType)) or not callable(held):
        return False
    return home_of_class(type(held)) is None


def _aliases(place: Any) -> Iterator[tuple[str, str]]:
    """Names of functions that call themselves otherwise: the same in every process, unless one was replaced."""
    for name, held in sorted(vars(place).items()):
        if isinstance(held, _FUNCTIONS) and held.__name__ != name and not _is_own(held):
            yield name, held.__qualname__
