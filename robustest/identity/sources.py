"""Digests of the user's code and objects that last: by the text of the code, for files that are kept for years.

`walk` reads byte code, which each release of Python writes otherwise, and counts packages by their version. Here

1. a function counts by its statements without comments and layout, and by what it reads: globals, closure, defaults,
   modules of the user's;
2. a class by its members, an object by class and state, a network by parameters, buffers, settings and hooks;
3. code of installed packages by its name and that of its module, and by what the user put in its place;
4. data by their bytes.

What cannot be read has no digest: the caller must not take it for the same.
"""

from __future__ import annotations

import ast
import builtins
import collections
import copyreg
import dis
import enum
import functools
import importlib
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
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from robustest.identity.packages import home, home_of, home_of_class, imported_by, is_own, replacements
from robustest.identity.plain import Unhashable, simple, words
from robustest.identity.walk import DECLARES, HOOKS, HOW, LOCKS, NO_MATTER, OF_TORCH, OPERATORS

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
# Functions by which code reads what no name in it shows.
_SEEKING = (globals, eval, exec, __import__, importlib.import_module)
# Names by which code reads attributes whose names it computes.
_COMPUTED = words("getattr vars dir attrgetter methodcaller __dict__ __getattribute__")
_NUMBERS = (bool, int, float, complex, np.ndarray, Tensor)
# Methods that Python writes for data classes and named tuples, and `attrs` for its own.
_WRITTEN = words(
    "__init__ __new__ __repr__ __eq__ __lt__ __le__ __gt__ __ge__ __hash__ __setattr__ __delattr__ __replace__"
    " _asdict _make _replace"
)
# Methods that count where they are the user's: Python gives each class or enumeration others.
_TEXTS = words("__format__ __repr__ __str__ _missing_")
# Values that count by their parts, of whose class the user may have made another.
_KINDS = (functools.partial, property, staticmethod, classmethod, _CACHED, weakref.ref, *_BY_TYPE)


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
        return
    if isinstance(value, _KINDS) and not _installed(home_of_class, type(value)):
        yield type(value)
        held = getattr(value, "__dict__", {})
        yield {name: held[name] for name in sorted(held) if name[:2] != "__"}
    if isinstance(value, FunctionType):
        yield from _of_function(value)
    elif isinstance(value, ModuleType):
        yield from _of_module(value)
    elif type(value) in (tuple, list):
        yield from value
    elif type(value) in (dict, types.MappingProxyType):
        yield from value.items()
    elif type(value) in (set, frozenset):
        yield from sorted(map(lasting_digest, value))
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords, vars(value))
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, property):
        yield from (value.fget, value.fset)
    elif isinstance(value, (staticmethod, classmethod, functools._lru_cache_wrapper)):
        yield value.__wrapped__
    elif isinstance(value, _CACHED):
        yield value.func
    elif isinstance(value, _BUILT_IN):
        yield from _of_built_in(value)
    elif isinstance(value, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        yield str(value)
        if str(value).partition(".")[0] not in OPERATORS:
            raise Unhashable(f"{value}, an operator of one's own, whose code cannot be found")
    elif isinstance(value, type):
        yield from _of_class(value)
    elif isinstance(value, enum.Enum):
        yield from (type(value), value.name, value.value)
    elif isinstance(value, weakref.ref):
        yield value()
    elif isinstance(value, _BY_TYPE):
        return
    elif isinstance(value, Tensor):  # of another class, which may give operations another meaning
        yield from _of_tensor(value)
    elif type(value).__qualname__ == "OptimizedModule" and "_orig_mod" in vars(value).get("_modules", {}):
        yield value._modules["_orig_mod"]
    elif isinstance(value, nn.Module) and not isinstance(value, torch.jit.ScriptModule):
        if isinstance(value, fx.GraphModule):
            yield value.code
            yield [step.target for step in value.graph.nodes if callable(step.target) and _replaced(step.target)]
        else:
            yield type(value)
        yield from (value._parameters, value._buffers, value._modules)
        for kind in HOOKS:
            flags = [getattr(value, name, ()) for name in HOW if name.startswith(kind)]
            hooks = (getattr(value, kind, None) or {}).items()
            yield [(hook, *(number in flag for flag in flags)) for number, hook in hooks]
        settings = {"training"} if isinstance(value, fx.GraphModule) else vars(value).keys() - _OF_EVERY_MODULE
        yield {name: vars(value)[name] for name in sorted(settings)}
    else:
        yield from _of_object(value)


def _of_function(function: FunctionType) -> Iterator[Any]:
    code, known, held = function.__code__, function.__globals__, vars(function)
    if "_torchdynamo_orig_callable" in held:
        yield held["_torchdynamo_orig_callable"]
        return
    yield function.__qualname__
    attributes: set[str] | None = _attributes(code)
    if _installed(home, known.get("__name__"), known.get("__file__", code.co_filename)):
        # A package's function counts by its name where the package has it under that name; one that the package made of
        # the user's, as a decorator does, by what it holds.
        yield _public(known.get("__name__"))
        at: Any = sys.modules.get(function.__module__ or "")
        owned = at is not None and _installed(home_of, at)
        for name in function.__qualname__.split("."):
            at = getattr(at, "__dict__", {}).get(name)
        if owned and at is function:
            return
        if known is vars(functools) and "registry" in held:  # singledispatch; it keeps for which classes it was called
            yield held["registry"]
            return
    else:
        yield _source(code)
        names = _of_code(code, _GLOBALS)
        if not _COMPUTED.isdisjoint({*names, *_attributes(code)}):
            attributes = None
        for name in sorted(names):
            found = known.get(name, vars(builtins).get(name))
            if any(found is one for one in _SEEKING):
                raise Unhashable(f"{function.__qualname__}, which computes by {name}() what it reads")
            if name in known:
                yield name
                yield from _read(found, attributes, function)
        yield from _imported(_source(code), known.get("__name__", ""), known.get("__file__", ""))
    for name, cell in sorted(zip(code.co_freevars, function.__closure__ or (), strict=True), key=lambda pair: pair[0]):
        with suppress(ValueError):  # not assigned yet
            yield name
            yield from _read(cell.cell_contents, attributes, function)
    for default in (*(function.__defaults__ or ()), None, *sorted((function.__kwdefaults__ or {}).items())):
        yield from _read(default, attributes, function)
    yield {name: one for name, one in sorted(held.items()) if name != "__wrapped__"}


def _read(value: object, names: set[str] | None, by: FunctionType) -> Iterator[Any]:
    """Yield a value that a function holds; of a module what the function reads of it, by the names in its code."""
    if not isinstance(value, ModuleType) or names is None:
        yield value
        return
    met, waiting = [value], [value]
    while waiting:
        module = waiting.pop()
        own = not _installed(home_of, module)
        if own or module is value:
            yield module.__name__
        if own:
            yield _source_of_module(module)
        for name in sorted(names & vars(module).keys()):
            held = vars(module)[name]
            if any(held is one for one in _SEEKING):
                raise Unhashable(f"{by.__qualname__}, which computes by {name}() what it reads")
            if isinstance(held, ModuleType):
                if all(held is not one for one in met):
                    met.append(held)
                    waiting.append(held)
            # The file of a module does not show the values that its names have now.
            elif own or _replaced(held):
                yield f"{module.__name__}.{name}"
                yield held


def _of_module(module: ModuleType) -> Iterator[Any]:
    """Yield the parts of a module that is passed on: any attribute may be read from it."""
    yield module.__name__
    if not _installed(home_of, module):
        text = _source_of_module(module)
        yield text
        yield from _imported(text, module.__name__, module.__file__ or "")
        # The file does not show the values that its names have now; texts and paths may be those of this machine.
        yield {name: one for name, one in sorted(vars(module).items()) if isinstance(one, _NUMBERS)}


def _of_built_in(value: Any) -> Iterator[Any]:
    owner = getattr(value, "__self__", None)
    module = owner if isinstance(owner, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
    name = getattr(value, "__qualname__", value.__name__)
    if name.endswith("(vectorized)") or (module is not None and not _installed(home_of, module)):
        raise Unhashable(f"{name}, a function without a source")
    yield name
    yield _public(getattr(module, "__name__", None)) if owner is None or owner is module else owner


def _of_tensor(value: Any) -> Iterator[Any]:
    if nn.parameter.is_lazy(value):
        raise Unhashable("a parameter that has no value yet")
    yield type(value)
    if is_traceable_wrapper_subclass(value):  # around other tensors
        names, how = value.__tensor_flatten__()
        yield from (how, {name: getattr(value, name) for name in names})
        return
    plain = value.detach().as_subclass(Tensor)
    if plain.numel() and not plain.untyped_storage().data_ptr():
        raise Unhashable("a tensor without bytes of its own")
    yield plain


def _replaced(held: Any) -> bool:
    """Return True for what a user put in a package's place."""
    try:
        return is_own(held) or type(held).__module__ == "unittest.mock"
    except Unhashable:  # a package's function that reaches outside
        return False


def _public(module: str | None) -> str:
    """Return the name of a package's module without its private parts, which move from release to release."""
    top, *rest = (module or "").split(".")
    inner = [] if top.startswith("robustest") else [name for name in rest if name[:1] != "_"]
    return ".".join([top.lstrip("_"), *inner])


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
        yield from (name, text := _text(name, file))
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
    for base in cls.__mro__:
        if base not in own:
            if base is cls:
                yield _public(base.__module__)
            with suppress(Unhashable):  # of a package that reaches outside
                yield from (pair for pair in replacements(base)[0] if not _written(*pair))
            continue
        yield [
            own.index(above) if above in own else f"{_public(above.__module__)}.{above.__qualname__}"
            for above in base.__bases__
        ]
        for name, member in sorted(vars(base).items()):
            counts = name not in NO_MATTER or (name in _TEXTS and _replaced(getattr(member, "__func__", member)))
            if counts and not isinstance(member, _SLOTS) and not _written(name, member):
                yield name
                yield member


def _written(name: str, member: object) -> bool:
    # Their texts are none, or those of a release of Python.
    code = getattr(getattr(member, "__func__", member), "__code__", None)
    return name in _WRITTEN and code is not None and code.co_filename.startswith(("<", collections.__file__))


def _of_object(value: Any) -> Iterator[Any]:
    cls = type(value)
    if isinstance(value, (types.GeneratorType, types.FrameType, torch.ScriptObject, torch.jit.ScriptModule)):
        raise Unhashable(f"a {cls.__name__}, whose state cannot be read")
    if is_dataclass(value) and _installed(home_of_class, cls):  # fields that are not compared change no outcomes
        yield from (cls, {field.name: getattr(value, field.name, None) for field in fields(value) if field.compare})
        return
    reduce = copyreg.dispatch_table.get(cls)
    try:
        kept = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except Exception as error:
        raise Unhashable(f"a {cls.__qualname__}, which keeps what cannot be read ({error})") from error
    if isinstance(kept, str):  # known by its name in its module
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        yield from (kept, _public(getattr(module, "__name__", None)))
        if module is not None and _installed(home_of, module):
            return
        if callable(value):
            raise Unhashable(f"{kept}, a function without a source")
        yield from (cls, getattr(value, "__dict__", None))
        return
    yield cls
    maker, given, state, items, pairs = (*kept, None, None, None)[:5]
    ordinary = maker in (copyreg.__newobj__, copyreg.__newobj_ex__, copyreg._reconstructor)  # type: ignore[attr-defined]
    yield None if ordinary else maker
    yield tuple(one for one in given if one is not cls)
    if isinstance(state, dict) and all(type(name) is str for name in state):
        # What a property has kept is made of the rest, once it was asked.
        kept_by = {name for base in cls.__mro__ for name, one in vars(base).items() if isinstance(one, _CACHED)}
        state = {name: state[name] for name in sorted(state.keys() - kept_by)} or None
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
    file = getattr(module, "__file__", None)
    if file is None and hasattr(module, "__path__"):  # a folder
        return ""
    return _text(module.__name__, file or "")


def _text(name: str, file: str) -> str:
    try:
        return ast.unparse(_parsed(Path(file).read_text(encoding="utf-8")))
    except (OSError, SyntaxError, ValueError):
        raise Unhashable(f"{name}, a module without a source") from None


@functools.lru_cache(maxsize=32)
def _parsed(text: str) -> ast.Module:
    return _Strings().visit(ast.parse(text))  # type: ignore[no-any-return]


class _Strings(ast.NodeTransformer):
    """Formatted strings as calls: releases of Python write their quotes otherwise."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        return self._call("__joined__", node.values)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        given = [node.value, ast.Constant(node.conversion), node.format_spec or ast.Constant(None)]
        return self._call("__formatted__", given)

    def _call(self, name: str, given: list[ast.expr]) -> ast.expr:
        return ast.Call(func=ast.Name(name), args=[self.visit(one) for one in given], keywords=[])


def _source(code: CodeType) -> str:
    """Return the statements of a function without comments and layout."""
    try:
        tree = _parsed("".join(inspect.findsource(code)[0]))
    except (OSError, SyntaxError, ValueError):
        tree = ast.Module(body=[], type_ignores=[])
    found: list[Any] = [node for node in ast.walk(tree) if _begins(node, code)]
    if len(found) > 1:  # lambdas in one line
        found = [node for node in found if _spans(node.body, code)][-1:]
    if not found:
        raise Unhashable(f"{code.co_name}, a function without a source")
    return ast.unparse(found[0])


def _begins(node: Any, code: CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name != code.co_name:
        return False
    return min([node.lineno, *(one.lineno for one in node.decorator_list)]) == code.co_firstlineno


def _spans(node: ast.expr, code: CodeType) -> bool:
    """Return True if all of a code object lies in an expression."""
    places = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]
    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    return bool(places) and all(begin <= (a, c) and (b, d) <= end for a, b, c, d in places)
