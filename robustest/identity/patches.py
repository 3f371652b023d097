"""Functions of installed packages that were replaced while the process runs: a version does not tell of those."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from robustest.identity.packages import home, home_of_class
from robustest.identity.plain import joined, part
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
