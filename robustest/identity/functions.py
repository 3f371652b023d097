"""Functions, by what they do and what they reach."""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import operator
import os
import sys
import types
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from robustest.identity.bytecode import read
from robustest.identity.imports import imported, read_off
from robustest.identity.packages import MEND, home, home_of
from robustest.identity.plain import Unhashable, joined, part
from robustest.identity.walk import Handler, Node, Walk

_SEEKING = (getattr, vars, dir, operator.attrgetter, operator.methodcaller)
"""What reads attributes by names made up as it runs."""

_BEYOND = (
    *(compile, eval, exec, globals, __import__, input, open, io.open, importlib.import_module),
    *(os.getenv, os.popen, os.system, np.fromfile, np.load, np.loadtxt),
    *(safetensors.safe_open, safetensors.torch.load_file, torch.load, torch.jit.load),
)
"""What reaches things that are not part of the model's code or state."""

_UNWATCHED = (os.stat, os.lstat, os.access, os.readlink)
"""Builtin functions that ask for a path and raise no audit event."""

_FILES = frozenset({"read_bytes", "read_text"})


def function(walk: Walk, value: types.FunctionType, where: str) -> bytes:
    """A function by its code, what that code reaches, and its defaults; an installed package's by its name."""
    compiled = vars(value).get("_torchdynamo_orig_callable")
    if compiled is not None:
        return joined("compiled", [walk.value(compiled, where)])
    seek(walk, value)
    package = home(value.__globals__.get("__name__"), value.__globals__.get("__file__"))
    if package is None:
        return walk.node(value, value.__qualname__, lambda node: _read(walk, node))
    known = _packaged_name(value)
    if known is not None:
        return part("function", known.encode())
    name = part("name", f"{package} {value.__globals__.get('__name__')}.{value.__code__.co_qualname}".encode())
    return joined("function of", [name, read(value.__code__).text, _bound(walk, value)])


def _packaged_name(value: types.FunctionType) -> str | None:
    """Version and name of a function that an installed package has under its name, whatever it was wrapped in."""
    at: Any = sys.modules.get(value.__module__ or "")
    package = None if at is None else home_of(at)
    for name in value.__qualname__.split("."):
        at = getattr(at, "__dict__", {}).get(name)
    return f"{package} {value.__module__}.{value.__qualname__}" if at is value and package is not None else None


def seek(walk: Walk, value: Any) -> None:
    """Take note where a value reads attributes by names made up as it runs.

    Raises:
        Unhashable: it reads what is not part of the model at all.
    """
    walk.everything = walk.everything or any(value is one for one in _SEEKING)
    if any(value is one for one in _BEYOND):
        raise Unhashable(f"{value.__qualname__}(), which reaches beyond the model's code and state. {MEND}")


def _builtin(walk: Walk, value: Any, where: str) -> bytes:
    seek(walk, value)
    # Looked up in `os` as it runs, it is the wrapper that `dependencies` puts there; held by itself, it is not.
    if not walk.asked and any(value is one for one in _UNWATCHED) and not where.startswith("os."):
        raise Unhashable(
            f"{value.__name__}(), taken out of os, so that its calls are not seen. Write os.{value.__name__}() where "
            "it is called"
        )
    owner = value.__self__
    if not isinstance(owner, types.ModuleType):
        return joined("builtin of", [part("name", value.__qualname__.encode()), walk.value(owner, where)])
    return joined("builtin", [part("name", value.__qualname__.encode()), walk.value(owner, where)])


def _read(walk: Walk, node: Node) -> None:
    value: types.FunctionType = node.value
    code = read(value.__code__)
    reads = _FILES & code.names
    if reads:
        raise Unhashable(f"{node.where} reads a file with {min(reads)}(). {MEND}", placed=True)
    walk.names |= code.names
    node.facts["code"] = code.text
    node.facts["bound"] = _bound(walk, value)
    for name in sorted(code.globals):
        found = value.__globals__.get(name, vars(builtins).get(name, _ABSENT))
        node.facts[f"global {name}"] = (
            part("absent") if found is _ABSENT else read_off(walk, found, code.globals[name], name, node.where)
        )
    for statement in sorted(code.imports, key=repr):
        node.facts[f"import {statement}"] = imported(walk, value, statement)
    walk.wait(node, {k: v for k, v in vars(value).items() if k != "__wrapped__"}, now=lambda *_: False)


def _bound(walk: Walk, value: types.FunctionType) -> bytes:
    """Defaults and what a function holds of the functions around it."""
    name = value.__qualname__
    chains = read(value.__code__).free
    parts = [walk.value(held, f"a default of {name}") for held in (value.__defaults__, value.__kwdefaults__)]
    for free, cell in sorted(zip(value.__code__.co_freevars, value.__closure__ or (), strict=True), key=lambda p: p[0]):
        try:
            held = cell.cell_contents
        except ValueError:  # not set yet
            held = None
        parts += [part("free", free.encode()), read_off(walk, held, chains.get(free, ((),)), free, name)]
    return joined("bound", parts)


def _method(walk: Walk, value: types.MethodType, where: str) -> bytes:
    return joined("method", [walk.value(value.__func__, where), walk.value(value.__self__, where)])


def _property(walk: Walk, value: property, where: str) -> bytes:
    return joined("property", [walk.value(value.fget, where), walk.value(value.fset, where)])


def _wrapped(walk: Walk, value: Any, where: str) -> bytes:
    if isinstance(value, functools._lru_cache_wrapper) and not walk.asked and value.cache_info().currsize:
        written = value.__wrapped__.__module__
        if home(written, getattr(sys.modules.get(written), "__file__", None)) is None:
            raise Unhashable(
                f"{value.__qualname__}, a cache that holds answers already: what these came of cannot be known. Empty "
                "it first, or read what it holds where it is used"
            )
    return joined(type(value).__name__, [walk.value(value.__wrapped__, where)])


def _slot(walk: Walk, value: Any, where: str) -> bytes:
    return joined("slot", [part("name", value.__name__.encode()), walk.value(value.__objclass__, where)])


def _operator(walk: Walk, value: Any, where: str) -> bytes:
    name = str(value)
    if name.partition(".")[0] not in ("aten", "prim", "prims", "torchvision"):
        raise Unhashable(f"{name}, an operator of one's own, whose code cannot be found. {MEND}")
    return part("operator", f"{torch.__version__} {name}".encode())


_ABSENT = object()

HANDLERS: tuple[tuple[type | tuple[type, ...], Handler], ...] = (
    (types.FunctionType, function),
    (types.BuiltinFunctionType, _builtin),
    (types.MethodType, _method),
    (property, _property),
    ((staticmethod, classmethod, functools._lru_cache_wrapper), _wrapped),
    ((types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType), _slot),
    ((torch._ops.OpOverload, torch._ops.OpOverloadPacket), _operator),
)
