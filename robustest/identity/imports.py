"""Modules that code reads from: the attributes it reads off them where those can be found, their files where not."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from robustest.identity.packages import home, home_of
from robustest.identity.plain import Unhashable, is_plain, joined, part
from robustest.identity.walk import Handler, Node, Walk

_ABSENT = object()
_ON_DEMAND = (type(torch.ops), type(torch.ops.aten))
"""Modules that find their attributes when they are asked for."""

_TOLD = (types.FunctionType, types.BuiltinFunctionType, type, types.ModuleType, torch.Tensor)


def read_off(walk: Walk, value: Any, chains: Iterable[tuple[str, ...]], name: str, reader: str) -> bytes:
    """A value that code reads: all of it, or, of a module, the attributes that are read off it.

    Args:
        walk: the walk it is met on.
        value: the value.
        chains: the attributes, as `bytecode.Code` has them.
        name: the value's name.
        reader: the code's name.
    """
    if not isinstance(value, types.ModuleType):
        return walk.value(value, f"{name} (read by {reader})")
    parts = []
    for chain in sorted(chains):
        dotted = ".".join((name, *chain))
        parts += [part("chain", dotted.encode()), _along(walk, value, chain, f"{dotted} (read by {reader})")]
    return joined("module", parts)


def _along(walk: Walk, value: Any, chain: tuple[str, ...], where: str) -> bytes:
    package = None
    for name in chain:
        if not isinstance(value, types.ModuleType):
            break
        package = home_of(value)
        found = vars(value).get(name, _ABSENT)
        if found is _ABSENT and isinstance(value, _ON_DEMAND):
            found = getattr(value, name, _ABSENT)
        if found is _ABSENT:
            return walk.value(value, where)
        value = found
    known = isinstance(value, (*_TOLD, type(os.environ))) or is_plain(value)
    if package is not None and not known:  # a package's own state; its name is in the chain
        return part("of", package.encode())
    return walk.value(value, where)


def imported(walk: Walk, by: types.FunctionType, statement: tuple[str, int, tuple[str, ...] | None]) -> bytes:
    """What an import statement inside a function brings in.

    Args:
        walk: the walk it is met on.
        by: the function.
        statement: the module, how many packages up it is, and the names taken from it.

    Raises:
        Unhashable: it is one's own, and not loaded yet.
    """
    name, level, names = statement
    if level:
        name = importlib.util.resolve_name("." * level + name, by.__globals__.get("__package__") or "")
    loaded = sys.modules.get(name)
    package = home_of(loaded) if loaded is not None else _home_unloaded(name)
    if loaded is not None:
        chains = [(n,) for n in names] if names and "*" not in names else [()]
        found = read_off(walk, loaded, chains, name, by.__qualname__)
        if package is None:
            return found
    if package is None:
        why = f"{name}, imported by {by.__qualname__}, is not loaded before it is needed. Import it at the file's top"
        raise Unhashable(why, placed=True)
    return part("module", f"{package} {name} {names}".encode())  # the same, whether or not it is loaded by now


def _home_unloaded(name: str) -> str | None:
    """The package of a module that is not loaded; to look for the module itself would load what it is part of."""
    parent = name.rpartition(".")[0]
    sought = name if parent in sys.modules else name.partition(".")[0]
    spec = importlib.util.find_spec(sought)
    return home(name, spec.origin) if spec is not None and spec.has_location else None


def _module(walk: Walk, value: types.ModuleType, where: str) -> bytes:
    """A module that anything may be read from: an installed package's by its version, one's own by its source."""
    package = home_of(value)
    if package is not None:
        return part("module", f"{package} {value.__name__}".encode())
    walk.everything = True
    return walk.node(value, where, lambda node: _source(walk, node))


def _source(walk: Walk, node: Node) -> None:
    """The file of a module, and those of the user's own modules that it took something from."""
    value: types.ModuleType = node.value
    file = getattr(value, "__file__", None)
    if not isinstance(file, str):
        raise Unhashable(f"{node.where} is a module without a file", placed=True)
    node.facts["name"] = part("name", value.__name__.encode())
    node.facts["source"] = part("source", hashlib.sha256(Path(file).read_bytes()).digest())
    for name in sorted(vars(value)):
        held = vars(value)[name]
        if isinstance(held, (types.FunctionType, type)):
            held = sys.modules.get(held.__module__ or "")
        if isinstance(held, types.ModuleType) and held is not value and home_of(held) is None:
            node.facts[f"uses {name}"] = _module(walk, held, held.__name__)


HANDLERS: tuple[tuple[type | tuple[type, ...], Handler], ...] = ((types.ModuleType, _module),)
