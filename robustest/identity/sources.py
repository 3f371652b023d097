"""Digests of the user's code and objects that last: by the text of the code, for files that are kept for years.

`walk` reads byte code, which each release of Python writes otherwise, and counts packages by their version. Here

1. a function counts by its statements without comments and layout, and by what it reads: globals, closure, defaults,
   modules of the user's;
2. a class by its members, an object by class and state, a network by parameters, buffers, settings and hooks;
3. code of installed packages by its name alone;
4. data by their bytes.

What cannot be read has no digest: the caller must not take it for the same.
"""

from __future__ import annotations

import ast
import copyreg
import dis
import enum
import functools
import importlib.util
import inspect
import logging
import random
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from hashlib import sha256
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from robustest.identity.packages import home, home_of, home_of_class, imported_by
from robustest.identity.plain import Unhashable, simple
from robustest.identity.walk import DECLARES, HOOKS, LOCKS, NO_MATTER, OF_TORCH

# Numbers that are drawn differ from run to run anyway, and a logger is no part of what is computed.
_BY_TYPE = (
    *(random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator, torch.Generator),
    *(logging.Logger, *LOCKS),
)
_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_BUILT_IN = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.MethodWrapperType, types.ClassMethodDescriptorType, np.ufunc),
)
_CACHED = functools.cached_property
# Attributes that a release of torch may add to each module are no settings of one.
_OF_EVERY_MODULE = OF_TORCH | (vars(nn.Module()).keys() - {"training"})
# Builtin functions by which code reads names that it computes.
_SEEKING = ("globals", "eval", "exec", "__import__")


def lasting_digest(value: object) -> str:
    """Return SHA-256, as 64 hex digits, of a value: the same for each release of Python, robustest and other packages.

    Raises:
        Unhashable: a part of it cannot be read.
    """
    digest = sha256()
    waiting: list[Any] = [value]
    # Values may read a container that holds them; they are kept, so that no number is used again.
    met = dict[int, tuple[int, object]]()
    while waiting:
        value = waiting.pop()
        known = simple(value)
        if known is None and id(value) in met:
            known = b"met %d" % met[id(value)][0]
        if known is not None:
            digest.update(known)
            continue
        met[id(value)] = len(met), value
        digest.update(type(value).__name__.encode())
        parts = list(_parts(value))
        digest.update(b" of %d:" % len(parts))
        waiting += reversed(parts)
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[Any]:
    """Yield the parts of a value, in an order that lasts."""
    if not isinstance(value, (type, ModuleType)) and (
        hasattr(type(value), DECLARES) or DECLARES in getattr(value, "__dict__", {})
    ):
        yield str(getattr(value, DECLARES)())
    elif isinstance(value, FunctionType):
        yield from _of_function(value)
    elif isinstance(value, ModuleType):
        yield value.__name__
        if not _installed(home_of, value):
            yield _source_of_module(value)
    elif type(value) in (tuple, list):
        yield from value
    elif type(value) in (dict, types.MappingProxyType):
        yield from value.items()
    elif type(value) in (set, frozenset):
        yield from sorted(map(lasting_digest, value))
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, property):
        yield from (value.fget, value.fset)
    elif isinstance(value, (staticmethod, classmethod, functools._lru_cache_wrapper)):
        yield value.__wrapped__
    elif isinstance(value, _CACHED):
        yield value.func
    elif isinstance(value, _BUILT_IN):
        yield getattr(value, "__qualname__", value.__name__)
        owner = getattr(value, "__self__", None)
        yield None if owner is None or isinstance(owner, ModuleType) else owner
    elif isinstance(value, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        yield str(value)
    elif isinstance(value, type):
        yield from _of_class(value)
    elif isinstance(value, enum.Enum):
        yield from (type(value), value.name, value.value)
    elif isinstance(value, weakref.ref):
        yield value()
    elif isinstance(value, _BY_TYPE):
        return
    elif isinstance(value, Tensor):  # of another class, which may give operations another meaning
        yield from (type(value), value.detach().as_subclass(Tensor))
    elif type(value).__qualname__ == "OptimizedModule" and "_orig_mod" in vars(value).get("_modules", {}):
        yield value._modules["_orig_mod"]
    elif isinstance(value, nn.Module) and not isinstance(value, torch.jit.ScriptModule):
        yield value.code if isinstance(value, fx.GraphModule) else type(value)
        yield from (value._parameters, value._buffers, value._modules)
        yield from (list((getattr(value, name, None) or {}).values()) for name in HOOKS)
        settings = {"training"} if isinstance(value, fx.GraphModule) else vars(value).keys() - _OF_EVERY_MODULE
        yield {name: vars(value)[name] for name in sorted(settings)}
    else:
        yield from _of_object(value)


def _of_function(function: FunctionType) -> Iterator[Any]:
    code, known = function.__code__, function.__globals__
    compiled = vars(function).get("_torchdynamo_orig_callable")
    if compiled is not None:
        yield compiled
        return
    yield function.__qualname__
    if _installed(home, known.get("__name__"), known.get("__file__", code.co_filename)):
        # A package's function counts by its name where the package has it under that name; one that the package made of
        # the user's, as a decorator does, by what it holds.
        at: Any = sys.modules.get(function.__module__ or "")
        owned = at is not None and _installed(home_of, at)
        for name in function.__qualname__.split("."):
            at = getattr(at, "__dict__", {}).get(name)
        if owned and at is function:
            return
        yield str(known.get("__name__")).partition(".")[0]
    else:
        yield _source(code)
        attributes = _attributes(code)
        for name in sorted(_of_code(code, _GLOBALS)):
            if name in known:
                yield name
                yield known[name]
                yield from _read_of(known[name], attributes)
            elif name in _SEEKING:
                raise Unhashable(f"{function.__qualname__}, which computes by {name}() what it reads")
        yield from _imported(_source(code), known.get("__name__", ""), known.get("__file__", ""))
    for name, cell in sorted(zip(code.co_freevars, function.__closure__ or (), strict=True), key=lambda pair: pair[0]):
        with suppress(ValueError):  # not assigned yet
            yield name
            yield cell.cell_contents
    yield from (function.__defaults__, function.__kwdefaults__)
    yield {name: held for name, held in sorted(vars(function).items()) if name != "__wrapped__"}


def _read_of(module: object, names: set[str]) -> Iterator[Any]:
    # The file of a module does not show the values that its names have now.
    if isinstance(module, ModuleType) and not _installed(home_of, module):
        for name in sorted(names & vars(module).keys()):
            yield name
            yield vars(module)[name]


def _imported(text: str, name: str, file: str) -> Iterator[str]:
    """Yield names and texts of the user's modules that a text imports, and that these import."""
    # By their files alone, which are the same before and after the module was imported.
    found, waiting = set[str](), _imports(text, name, file)
    while waiting:
        name = waiting.pop()
        file = _file_of(name) or ""
        if name in found or not file or _installed(home, name, file):
            continue
        found.add(name)
        try:
            text = Path(file).read_text(encoding="utf-8")
            yield from (name, ast.unparse(_parsed(text)))
        except (OSError, SyntaxError, ValueError):
            raise Unhashable(f"{name}, a module without a source") from None
        waiting += _imports(text, name, file)


def _imports(text: str, name: str, file: str) -> list[str]:
    found = [one for node in ast.walk(_parsed(text)) for one in imported_by(node, name, file)]
    above = {name.rpartition(".")[0] for name in found} - {""}
    return sorted({*found, *above}, reverse=True)


def _file_of(name: str) -> str | None:
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None)
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for place in range(len(rest)):  # step by step, as finding a module would import those above it
            if spec is None:
                return None
            dotted = ".".join([top, *rest[: place + 1]])
            spec = PathFinder.find_spec(dotted, spec.submodule_search_locations)
    except (ImportError, ValueError, AttributeError):
        return None
    return None if spec is None or not spec.has_location else spec.origin


def _of_class(cls: type) -> Iterator[Any]:
    yield cls.__qualname__
    yield None if type(cls) is type else type(cls)
    own = [base for base in cls.__mro__ if not _installed(home_of_class, base)]
    for base in own:
        yield [above.__qualname__ for above in base.__bases__ if above not in own]
        made = is_dataclass(base) or hasattr(base, "_fields")  # their methods are written by Python
        for name, member in sorted(vars(base).items()):
            generated = made and isinstance(member, FunctionType) and member.__code__.co_filename.startswith("<")
            if name not in NO_MATTER and not isinstance(member, _SLOTS) and not generated:
                yield name
                yield member


def _of_object(value: Any) -> Iterator[Any]:
    cls = type(value)
    yield cls
    if isinstance(value, (types.GeneratorType, types.FrameType, torch.ScriptObject, torch.jit.ScriptModule)):
        raise Unhashable(f"a {cls.__name__}, whose state cannot be read")
    if is_dataclass(value) and _installed(home_of_class, cls):  # fields that are not compared change no outcomes
        yield {field.name: getattr(value, field.name, None) for field in fields(value) if field.compare}
        return
    reduce = copyreg.dispatch_table.get(cls)
    try:
        kept = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except Exception as error:
        raise Unhashable(f"a {cls.__qualname__}, which keeps what cannot be read ({error})") from error
    if isinstance(kept, str):  # known by its name in its module
        yield kept
        return
    maker, given, state, items, pairs = (*kept, None, None, None)[:5]
    ordinary = maker in (copyreg.__newobj__, copyreg.__newobj_ex__, copyreg._reconstructor)  # type: ignore[attr-defined]
    yield None if ordinary else maker
    yield tuple(one for one in given if one is not cls)
    if isinstance(state, dict) and all(type(name) is str for name in state):
        # What a property has kept is made of the rest, once it was asked.
        kept_by = {name for base in cls.__mro__ for name, one in vars(base).items() if isinstance(one, _CACHED)}
        state = {name: state[name] for name in sorted(state.keys() - kept_by)}
    yield state
    yield from ([] if held is None else list(held) for held in (items, pairs))


def _installed(home_of_it: Callable[..., str | None], *where: Any) -> bool:
    """Return True for code of a package; also of one that reaches outside, of which `home` is an error."""
    try:
        return home_of_it(*where) is not None
    except Unhashable:
        return True


def _of_code(code: CodeType, steps: frozenset[str]) -> set[str]:
    found = {step.argval for step in dis.get_instructions(code) if step.opname in steps}
    return found.union(*(_of_code(one, steps) for one in code.co_consts if isinstance(one, CodeType)))


def _attributes(code: CodeType) -> set[str]:
    return {*code.co_names}.union(*(_attributes(one) for one in code.co_consts if isinstance(one, CodeType)))


def _source_of_module(module: ModuleType) -> str:
    try:
        return ast.unparse(ast.parse(inspect.getsource(module)))
    except (OSError, TypeError, SyntaxError):
        raise Unhashable(f"{module.__name__}, a module without a source") from None


@functools.lru_cache(maxsize=32)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _source(code: CodeType) -> str:
    """Return the statements of a function without comments and layout; of lambdas all that begin in its line."""
    try:
        tree = _parsed("".join(inspect.findsource(code)[0]))
    except (OSError, SyntaxError, ValueError):
        tree = ast.Module(body=[], type_ignores=[])
    kind = ast.Lambda if code.co_name == "<lambda>" else (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, kind)
        and min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))]) == code.co_firstlineno
    ]
    if not found:
        raise Unhashable(f"{code.co_name}, a function without a source")
    return "\n".join(found)
