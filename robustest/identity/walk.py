"""A walk over everything that a value reaches: data, objects, functions, classes and torch modules, as bytes.

1. Plain values and tensors count by bytes, containers by items. Functions, classes, modules and objects are nodes:
   numbered when first met and read from a queue, so that cycles end. The order is that of names and positions, the
   same in every process.
2. A function counts by its code object (`_code`): instructions, constants and names, without file, line and comments;
   then by its globals, closure and defaults. Code of installed packages counts by version (`packages.home`).
3. A class counts by its members, an object by class and state. Methods of a torch module wait until code on the walk
   reads an attribute of that name: a net's `training_step` is no part of its forward pass.
4. A user's module counts by its source and by that of all files that it imports (`packages.source`).
5. An object with `robustest_fingerprint() -> str` counts by that text.

No reading of code is complete. Therefore reads from outside are watched (`dependencies`), and a model is asked again
before stored results of it count (`robustest.run.memory`).

Digests of files instead of code objects would make an edited threshold in a test file forget an hour of training, and
would miss a patched method.
"""

from __future__ import annotations

import builtins
import copyreg
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.util
import inspect
import io
import itertools
import logging
import operator
import os
import random
import re
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from types import CodeType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors

from robustest.errors import RobustestError, expected
from robustest.identity.packages import (
    REMEDY,
    home,
    home_of,
    home_of_class,
    overridden,
    places,
    refuse_opaque,
    replacements,
    settings_of,
    source,
)
from robustest.identity.plain import Unhashable, is_plain, joined, part, simple, words
from robustest.loaded import Absent, loaded, with_torch

if TYPE_CHECKING:
    import torch
    from torch import Tensor, fx, nn
else:
    from robustest.loaded import torch

DECLARES = "robustest_fingerprint"
"""Name of the method by which an object declares its identity, e.g. the version of a model behind a network."""


@dataclass(eq=False, slots=True)
class Node:
    """An object that is read once, and named by its number elsewhere.

    Attributes:
        where: place of the first meeting.
        fill: reads the object.
        facts: parts read so far, by label.
        waiting: members that count only once code on the walk reads an attribute of that name.
    """

    value: Any
    where: str
    fill: Callable[[Node], None]
    facts: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, Any] = field(default_factory=dict)


class Walk:
    """One walk; `digest` ends it.

    Args:
        recheck: True if the model is also asked; then contents of its caches may stay unknown.
        watched: True if what the code reads from outside gets stamps (`dependencies`).

    Attributes:
        declared: True if an object on the walk declares its identity.
    """

    def __init__(self, *, recheck: bool = True, watched: bool = False) -> None:
        self.recheck = recheck
        self.watched = watched
        self.declared = False
        # Attributes that code on the walk reads.
        self.names: set[str] = {"forward", "__call__"}
        # True once code computes names of attributes at run time: then every member counts.
        self.everything = False
        # How often a node was named; a value that names none has the same bytes everywhere.
        self.links = 0
        # For each class of a package, the user's functions that replace its methods.
        self.replaced: dict[type, bytes] = {}
        # Packages that code on the walk reaches, by their top-level modules.
        self.libraries: set[str] = set()
        self._nodes: list[Node] = []
        self._numbers: dict[int, int] = {}
        self._open: dict[int, int] = {}  # containers being read, and how deep they are in each other
        self._encoded: dict[int, bytes] = {}
        self._sources: dict[str, bytes] = {}
        self._alive: list[Any] = []  # an id stands for its object only as long as that lives

    def value(self, value: Any, where: str) -> bytes:
        """Return the part of a value found at `where`."""
        try:
            return self._value(value, where)
        except Unhashable as error:
            if error.placed:
                raise
            raise Unhashable(f"{where} is {error.reason}", placed=True) from None

    def _value(self, value: Any, where: str) -> bytes:
        if isinstance(value, torch.Tensor):
            return self._tensor(value, where)
        encoded = simple(value)
        if encoded is not None:
            return encoded
        if value is sys.modules:
            raise Unhashable(f"sys.modules, by which any state of the process can be read. {REMEDY}")
        container = _CONTAINERS.get(type(value))
        if container is not None:
            return self.container(value, lambda: container(self, value, where))
        if not isinstance(value, (type, ModuleType)) and (
            hasattr(type(value), DECLARES) or DECLARES in getattr(value, "__dict__", {})
        ):
            self.declared = True
            return part("declared", _declared_digest(value).encode())
        for kinds, handler in _handlers():
            if isinstance(value, kinds):
                return handler(self, value, where)
        raise Unhashable(f"a {type(value).__qualname__}")

    def node(self, value: Any, where: str, fill: Callable[[Node], None]) -> bytes:
        """Return the number of an object; `fill` reads it once, later."""
        self.links += 1
        number = self._numbers.setdefault(id(value), len(self._nodes))
        if number == len(self._nodes):
            self._nodes.append(Node(value, where, fill))
        return part("node", b"%d" % number)

    def container(self, value: Any, build: Callable[[], bytes]) -> bytes:
        """Return the part that `build` makes of a container; inside itself, the number of levels up to it."""
        if id(value) in self._encoded:
            return self._encoded[id(value)]
        if id(value) in self._open:
            self.links += 1
            return part("up", b"%d" % (len(self._open) - self._open[id(value)]))
        links = self.links
        self._open[id(value)] = len(self._open)
        try:
            encoded = build()
        finally:
            del self._open[id(value)]
        if self.links == links:  # no node inside: the same bytes everywhere
            self._keep(value, encoded)
        return encoded

    def reach(self, module: str) -> None:
        """Note a module of a package that code on the walk reaches; refuse one that may depend on what nobody sees."""
        refuse_opaque(module)
        self.libraries.add(module.partition(".")[0])

    def source(self, module: ModuleType) -> bytes:
        name = module.__name__
        if name not in self._sources:
            self._sources[name] = part("module", name.encode()) + source(module)
        return self._sources[name]

    def wait(self, node: Node, members: Mapping[str, Any], *, now: Callable[[str, Any], bool]) -> None:
        """Read the members of a node for which `now(name, member)` holds; the others wait for their names."""
        for name in sorted(members):
            if now(name, members[name]):
                self._member(node, name, members[name])
            else:
                node.waiting[name] = members[name]

    def digest(self, root: bytes) -> str:
        """Return SHA-256, as 64 hex digits, of a value's part and of all nodes that it reached."""
        read = 0
        while True:
            while read < len(self._nodes):
                self._nodes[read].fill(self._nodes[read])
                read += 1
            self.everything = self.everything or not self.names.isdisjoint({"__dict__", "__getattribute__"})
            # New code may read names that members wait for, and these may hold new code: repeat until nothing changes.
            awake = [
                (node, name)
                for node in self._nodes
                for name in sorted(node.waiting)
                if self.everything or name in self.names
            ]
            for node, name in awake:
                self._member(node, name, node.waiting.pop(name))
            if not awake:
                break
        parts = [
            joined("facts", (part("label", name.encode("utf-8", "surrogatepass")) + node.facts[name] for name in names))
            for node in self._nodes
            for names in [sorted(node.facts)]
        ]
        settings = repr(sorted(settings_of(self.libraries).items())).encode()
        return hashlib.sha256(joined("walk", [root, *parts, part("settings", settings)])).hexdigest()

    def _member(self, node: Node, name: str, value: Any) -> None:
        node.facts[f".{name}"] = self.value(value, f"{node.where}.{name}")

    def _tensor(self, value: Tensor, where: str) -> bytes:
        if id(value) in self._encoded:
            return self._encoded[id(value)]
        if torch.nn.parameter.is_lazy(value):
            raise Unhashable("a parameter that has no value yet")
        encoded = simple(value)
        if encoded is None:  # of another class, which may give operations another meaning
            encoded = joined("tensor of", [self.value(type(value), where), self._inside(value, where)])
        self._keep(value, encoded)
        return encoded

    def _inside(self, value: Any, where: str) -> bytes:
        if torch.utils._python_dispatch.is_traceable_wrapper_subclass(value):  # around other tensors
            names, how = value.__tensor_flatten__()
            return self.value([how, {name: getattr(value, name) for name in names}], where)
        plain = value.detach().as_subclass(torch.Tensor)
        if plain.numel() and not plain.untyped_storage().data_ptr():
            raise Unhashable("a tensor without bytes of its own")
        return simple(plain) or b""

    def _keep(self, value: Any, encoded: bytes) -> None:
        self._encoded[id(value)] = encoded
        self._alive.append(value)


# Encodes a value of one kind; the text is the place of the value.
Handler = Callable[[Walk, Any, str], bytes]


def _declared_digest(value: Any) -> str:
    try:
        declared = getattr(value, DECLARES)()
    except RobustestError as error:  # it gives its reason for having none
        raise Unhashable(str(error), placed=True) from None
    if not isinstance(declared, str) or not declared:
        raise Unhashable(expected(f"a {type(value).__qualname__} whose {DECLARES}() returns a text", declared))
    return declared


# Containers


def _sequence(walk: Walk, value: Sequence[Any], where: str) -> bytes:
    kind = "list" if isinstance(value, list) else "tuple"
    return joined(kind, [walk.value(item, f"{where}[{place}]") for place, item in enumerate(value)])


def _dict(walk: Walk, value: Mapping[Any, Any], where: str) -> bytes:
    def short(key: Any) -> str:
        return repr(key) if isinstance(key, (str, int)) and len(repr(key)) <= 40 else "..."

    pairs = [(walk.value(key, f"a key of {where}"), key, item) for key, item in value.items()]
    pairs.sort(key=lambda pair: pair[0])
    return joined("dict", [key + walk.value(item, f"{where}[{short(name)}]") for key, name, item in pairs])


def _set(walk: Walk, value: Iterable[Any], where: str) -> bytes:
    def label(item: Any) -> str:
        name = getattr(item, "__qualname__", None)
        return f"{type(item).__qualname__} {getattr(item, '__module__', '')} {name}" if isinstance(name, str) else ""

    links = walk.links
    parts = [walk.value(item, f"a member of {where}") for item in value if simple(item) is not None]
    # Other members may get numbers as they are met, and must not in the order of their addresses.
    others = sorted((item for item in value if simple(item) is None), key=label)
    parts += [walk.value(item, f"a member of {where}") for item in others]
    if walk.links > links and len(set(map(label, others))) < len(others):
        raise Unhashable("a set of objects, which have no order that lasts")
    return joined("frozenset" if isinstance(value, frozenset) else "set", sorted(parts))


_CONTAINERS: dict[type, Handler] = {
    list: _sequence,
    tuple: _sequence,
    dict: _dict,
    MappingProxyType: _dict,
    set: _set,
    frozenset: _set,
}

# Functions

# Functions that read attributes by computed names.
_SEEKING = (getattr, vars, dir, operator.attrgetter, operator.methodcaller)

# Functions that reach things outside the model's code and state; those of the second group are noticed by a watch.
_beyond: Callable[[], tuple[Any, ...]] = with_torch(
    lambda: (
        *(compile, eval, exec, globals, __import__, input, importlib.import_module),
        *(os.popen, os.system, torch.jit.load),
    )
)


def _watchable() -> tuple[Any, ...]:
    reader = getattr(loaded("safetensors.torch"), "load_file", Absent)
    return (open, io.open, os.getenv, np.fromfile, np.load, np.loadtxt, safetensors.safe_open, reader, torch.load)


_FILES = frozenset({"read_bytes", "read_text"})
# Functions of `os` whose answers a watch sees only where they are called as attributes of `os`.
_UNWATCHED = words("access fstat getcwd getcwdb listdir lstat open readlink scandir stat")


@dataclass(frozen=True, slots=True)
class Code:
    """A code object and those inside it.

    Attributes:
        text: bytes of the instructions.
        globals: names looked up in the module or the builtins.
        names: attributes read, and text constants that could name one.
        imports: imported modules, without the dots of relative imports.
        attributes: attributes read.
        members: each global or imported module with the attribute that is read of it, "" where it is used otherwise.
        chained: attributes that are read of globals and imported modules, of their attributes, and so on.
    """

    text: bytes
    globals: frozenset[str]
    names: frozenset[str]
    imports: frozenset[str]
    attributes: frozenset[str]
    members: frozenset[tuple[str, str]]
    chained: frozenset[str]


# Attributes by which code reaches frames, globals and classes that no name in it shows.
_LIVE = words(
    "__subclasses__ __globals__ __loader__ __builtins__ f_back f_builtins f_globals f_locals tb_frame ag_frame"
    " cr_frame gi_frame"
)
# Members of `os` and `sys` that are constants, effects without an answer, or reads that a watch sees.
_MEMBERS = {
    "sys": words(
        "__stderr__ __stdout__ argv byteorder exc_info exit float_info getrefcount getsizeof hexversion"
        " implementation int_info intern maxsize maxunicode path platform stderr stdout stdlib_module_names version"
        " version_info"
    ),
    "os": words(
        "F_OK O_APPEND O_CREAT O_EXCL O_RDONLY O_RDWR O_TRUNC O_WRONLY PathLike R_OK SEEK_CUR SEEK_END SEEK_SET W_OK"
        " X_OK _exit abort access altsep chdir chmod close cpu_count curdir devnull dup dup2 environ environb error"
        " extsep fdopen fsdecode fsencode fspath fstat fsync ftruncate getcwd getcwdb getenv getenvb getpid getppid"
        " getrandom get_terminal_size isatty kill linesep link listdir lseek lstat makedirs mkdir name open pardir"
        " path pathsep pipe popen pread putenv read readlink remove removedirs rename renames replace rmdir"
        " sched_getaffinity scandir sep stat strerror symlink system truncate umask unlink unsetenv urandom utime walk"
        " write"
    ),
}

_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOCALS = frozenset({"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF"})
_MEMBER = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"})
_SILENT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "RESUME"})
_RESOLVED = frozenset(dis.hasconst) | frozenset(dis.hasname) | frozenset(dis.hasfree)
# Flags of nesting and of a docstring (CO_HAS_DOCSTRING, since Python 3.13), which change no result.
_OF_THE_TEXT = inspect.CO_NESTED | 0x4000000


@lru_cache(maxsize=8192)
def _code(code: CodeType) -> Code:
    # Constants and names are resolved, since a docstring moves their numbers. Jumps are kept as they are: formatting
    # that changes one changes the digest, which costs a computation but no verdict.
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SILENT]
    count = code.co_argcount + code.co_kwonlyargcount
    about = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_OF_THE_TEXT
    named = *code.co_varnames[:count], "", *code.co_freevars
    parts = [part("shape", str((*about, *named)).encode()), part("handlers", code.co_exceptiontable)]
    # Python 3.11 has KW_NAMES, a number among the constants, which `dis` does not look up.
    parts += [_constant(held) for held in code.co_consts if isinstance(held, tuple)]
    for step in steps:
        argument = step.argval if step.opcode in _RESOLVED and step.opname != "KW_NAMES" else step.arg
        parts.append(part("step", step.opname.encode()) + _constant(argument))
    names = {*code.co_names, *_identifiers(code.co_consts)}
    inner = [_code(held) for held in code.co_consts if isinstance(held, CodeType)]
    return Code(
        text=joined("code", parts),
        globals=frozenset(step.argval for step in steps if step.opname in _GLOBALS).union(*(i.globals for i in inner)),
        names=frozenset(names).union(*(i.names for i in inner)),
        imports=frozenset(step.argval for step in steps if step.opname == "IMPORT_NAME").union(
            *(i.imports for i in inner)
        ),
        attributes=frozenset(step.argval for step in steps if step.opname in _MEMBER).union(
            *(i.attributes for i in inner)
        ),
        members=_members(steps).union(*(i.members for i in inner)),
        chained=_chained(steps).union(*(i.chained for i in inner)),
    )


def _members(steps: list[dis.Instruction]) -> frozenset[tuple[str, str]]:
    found, aliases = set(), {}
    module = ""
    for step, after in itertools.pairwise(steps):
        if step.opname == "IMPORT_NAME":
            module = step.argval
            if after.opname.startswith("STORE_"):
                aliases[after.argval] = module
        elif step.opname == "IMPORT_FROM":
            found.add((module, step.argval))
        elif step.opname in _GLOBALS or (step.opname in _LOCALS and step.argval in aliases):
            name = aliases.get(step.argval, step.argval) if step.opname in _LOCALS else step.argval
            found.add((name, after.argval if after.opname in _MEMBER else ""))
    return frozenset(found)


def _chained(steps: list[dis.Instruction]) -> frozenset[str]:
    found, inside = set(), False
    for step in steps:
        if step.opname in _MEMBER and inside:
            found.add(step.argval)
        else:
            inside = step.opname in _GLOBALS or step.opname in _LOCALS
    return frozenset(found)


def _constant(value: object) -> bytes:
    if isinstance(value, CodeType):
        return _code(value).text
    if isinstance(value, tuple):
        return joined("tuple", map(_constant, value))
    if isinstance(value, frozenset):  # whose order depends on the process
        return joined("frozenset", sorted(map(_constant, value)))
    if isinstance(value, slice):
        return joined("slice", map(_constant, (value.start, value.stop, value.step)))
    encoded = simple(value)
    if encoded is None:
        raise Unhashable(f"a constant of type {type(value).__name__} in the code")
    return encoded


def _identifiers(constant: object) -> Iterator[str]:
    if isinstance(constant, str) and constant.isidentifier():
        yield constant
    elif isinstance(constant, (tuple, frozenset)):
        for item in constant:
            yield from _identifiers(item)


def _function(walk: Walk, value: types.FunctionType, where: str) -> bytes:
    compiled = vars(value).get("_torchdynamo_orig_callable")
    if compiled is not None:
        return joined("compiled", [walk.value(compiled, where)])
    _seek(walk, value)
    package = home(value.__globals__.get("__name__"), value.__globals__.get("__file__"))
    if package is None:
        return walk.node(value, value.__qualname__, lambda node: _read_function(walk, node))
    walk.reach(str(value.__globals__.get("__name__")))
    # A package's function counts by version and name where the package has it under that name, whatever it was
    # wrapped in; another function of the package's code, by code, defaults and closure.
    at: Any = sys.modules.get(value.__module__ or "")
    owner = None if at is None else home_of(at)
    for name in value.__qualname__.split("."):
        at = getattr(at, "__dict__", {}).get(name)
    if at is value and owner is not None:
        return part("function", f"{owner} {value.__module__}.{value.__qualname__}".encode())
    name = f"{package} {value.__globals__.get('__name__')}.{value.__code__.co_qualname}"
    return joined("function of", [part("name", name.encode()), _code(value.__code__).text, _bound(walk, value)])


def _seek(walk: Walk, value: Any) -> None:
    """Note a function that reads attributes by computed names, e.g. `getattr(self, name)`."""
    walk.everything = walk.everything or any(value is one for one in _SEEKING)
    if any(value is one for one in (_beyond() if walk.watched else (*_beyond(), *_watchable()))):
        raise Unhashable(f"{value.__qualname__}(), which reaches beyond the model's code and state. {REMEDY}")


def _read_function(walk: Walk, node: Node) -> None:
    value: types.FunctionType = node.value
    code = _code(value.__code__)
    reads = _FILES & code.names
    if reads and not walk.watched:
        raise Unhashable(f"{node.where} reads a file with {min(reads)}(). {REMEDY}", placed=True)
    if live := _LIVE & code.attributes:
        raise Unhashable(
            f"{node.where} reads {min(live)}, which any code of the process may change. {REMEDY}", placed=True
        )
    for module, attribute in sorted(code.members):
        held = value.__globals__.get(module, sys.modules.get(module))
        allowed = _MEMBERS.get(getattr(held, "__name__", "")) if isinstance(held, ModuleType) else None
        if allowed is not None and attribute not in allowed and hasattr(held, attribute or "__name__"):
            what = f"{module}.{attribute}" if attribute else f"{module}, passed on"
            raise Unhashable(f"{node.where} reads {what}, whose state is not seen. {REMEDY}", placed=True)
    walk.names |= code.names
    node.facts["code"] = code.text
    node.facts["bound"] = _bound(walk, value)
    for name in sorted(code.globals):
        found = value.__globals__.get(name, vars(builtins).get(name, _ABSENT))
        node.facts[f"global {name}"] = (
            part("absent") if found is _ABSENT else _used(walk, found, code, name, node.where)
        )
    for name in sorted(code.imports):
        node.facts[f"import {name}"] = _imported(walk, value, name, code)
    walk.wait(node, {k: v for k, v in vars(value).items() if k != "__wrapped__"}, now=lambda *_: False)


_ABSENT = object()


def _bound(walk: Walk, value: types.FunctionType) -> bytes:
    name, code = value.__qualname__, _code(value.__code__)
    parts = [walk.value(held, f"a default of {name}") for held in (value.__defaults__, value.__kwdefaults__)]
    for free, cell in sorted(zip(value.__code__.co_freevars, value.__closure__ or (), strict=True), key=lambda p: p[0]):
        try:
            held = cell.cell_contents
        except ValueError:  # not set yet
            held = None
        if free == "__class__" and isinstance(held, type):  # what super() looks up: no instance is made of it
            encoded = class_of(walk, held, name)
        else:
            encoded = walk.value(held, name) if _is_guarded(held) else _used(walk, held, code, free, name)
        parts += [part("free", free.encode()), encoded]
    return joined("bound", parts)


def _is_guarded(value: object) -> bool:
    return isinstance(value, ModuleType) and value.__name__ in _MEMBERS


def _used(walk: Walk, value: Any, code: Code, name: str, reader: str) -> bytes:
    if not isinstance(value, ModuleType):
        return walk.value(value, f"{name} (read by {reader})")
    # What is read of a module by a chain of names is more than its functions: an object that was put there, say.
    names, chained = code.names, code.chained - _STREAMS
    parts: list[bytes] = []
    met = {id(value)}
    waiting = [(value, name)]
    while waiting:
        module, dotted = waiting.pop()
        if isinstance(module, _on_demand()):
            registered = {op.partition(".")[0] for op in torch._C._dispatch_get_all_op_names()}
            used = [op for op in sorted(registered) if names.issuperset(op.split("::"))]
            parts.append(joined("operators", [_operator_part(op.replace("::", ".")) for op in used]))
            continue
        package = home_of(module)
        if package is None:
            parts.append(walk.source(module))
        else:
            walk.reach(module.__name__)
        for attribute in sorted(names & vars(module).keys()):
            held, at = vars(module)[attribute], f"{dotted}.{attribute}"
            if isinstance(held, ModuleType):
                if id(held) not in met:
                    met.add(id(held))
                    waiting.append((held, at))
            # A user's file does not show the values that its names have now. A package's version stands for its
            # state, but not for the functions that the user may have replaced.
            elif package is None or isinstance(held, _replaceable()) or is_plain(held) or attribute in chained:
                parts.append(part("name", at.encode()) + walk.value(held, f"{at} (read by {reader})"))
    return joined("module", parts)


# Modules that create their attributes, torch's operators, on access.
_on_demand = with_torch(lambda: (type(torch.ops), type(torch.ops.aten)))

# Attributes of `sys` that are written to.
_STREAMS = words("stdout stderr __stdout__ __stderr__")
_replaceable = with_torch(lambda: (types.FunctionType, types.BuiltinFunctionType, type, torch.Tensor, type(os.environ)))


# Namespaces of operators that a version of torch or torchvision identifies.
OPERATORS = ("aten", "prim", "prims", "torchvision")


def _operator_part(name: str) -> bytes:
    if name.partition(".")[0] not in OPERATORS:
        raise Unhashable(f"{name}, an operator of one's own, whose code cannot be found. {REMEDY}")
    return part("operator", f"{torch.__version__} {name}".encode())


def _imported(walk: Walk, by: types.FunctionType, name: str, code: Code) -> bytes:
    """Return the part of a module that a function imports when it runs."""
    # The statement may have been relative to any package above.
    above = list(filter(None, (by.__globals__.get("__package__") or "").split(".")))
    relative = [".".join(filter(None, [*above[:count], name])) for count in range(len(above), 0, -1)]
    parts = []
    for one in filter(None, [name, *relative]):
        loaded = sys.modules.get(one)
        if loaded is not None:
            package = home_of(loaded)
        else:
            spec = _unloaded(one)
            if spec is None:
                continue
            package = home(one, spec.origin if spec.has_location else None)
        if package is not None:  # the same, whether or not it is loaded by now
            walk.reach(one)
            parts.append(part("module", f"{package} {one}".encode()))
        elif loaded is not None:
            parts.append(_used(walk, loaded, code, one, by.__qualname__))
        else:
            parts = []
            break
    if not parts:
        why = f"{name}, imported by {by.__qualname__}, is not loaded before it is needed. Import it at the file's top"
        raise Unhashable(why, placed=True)
    return joined("import", parts)


def _unloaded(name: str) -> ModuleSpec | None:
    # Finding the module itself would load all packages above it.
    while (parent := name.rpartition(".")[0]) and parent not in sys.modules:
        name = parent
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _module(walk: Walk, value: ModuleType, where: str) -> bytes:
    package = home_of(value)
    if package is not None:
        walk.reach(value.__name__)
        if _is_guarded(value):
            raise Unhashable(f"{value.__name__}, a module of which any state may be read. {REMEDY}")
        return part("module", f"{package} {value.__name__}".encode())
    if str(getattr(value, "__file__", "")).endswith(tuple(EXTENSION_SUFFIXES)):
        raise Unhashable(f"{value.__name__}, compiled code that may read what nobody sees. {REMEDY}")
    # A module that is passed on: any attribute may be read from it.
    walk.everything = True
    return walk.source(value)


def _builtin(walk: Walk, value: Any, where: str) -> bytes:
    _seek(walk, value)
    # Looked up in `os` as it runs, it is the wrapper that `dependencies` puts there; held by itself, it is not.
    if (
        not walk.recheck
        and value.__name__ in _UNWATCHED
        and value.__module__ in ("posix", "nt")
        and not where.startswith(("os.", "posix."))
    ):
        raise Unhashable(
            f"{value.__name__}(), taken out of os, so that its calls are not seen. Write os.{value.__name__}() where "
            "it is called"
        )
    owner = value.__self__
    if isinstance(owner, ModuleType) and (allowed := _MEMBERS.get({"posix": "os", "nt": "os"}.get(owner.__name__, ""))):
        if value.__name__ not in allowed:
            raise Unhashable(f"{value.__name__}(), whose answer is not seen. {REMEDY}")
        return joined("builtin", [part("name", value.__qualname__.encode())])
    if isinstance(owner, ModuleType) and _is_guarded(owner):
        if value.__name__ not in _MEMBERS[owner.__name__]:
            raise Unhashable(f"{owner.__name__}.{value.__name__}(), whose answer is not seen. {REMEDY}")
        return joined("builtin", [part("name", value.__qualname__.encode())])
    kind = "builtin" if isinstance(owner, ModuleType) else "builtin of"
    return joined(kind, [part("name", value.__qualname__.encode()), walk.value(owner, where)])


def _wrapped(walk: Walk, value: Any, where: str) -> bytes:
    if isinstance(value, functools._lru_cache_wrapper) and not walk.recheck and value.cache_info().currsize:
        written = value.__wrapped__.__module__
        if home(written, getattr(sys.modules.get(written), "__file__", None)) is None:
            raise Unhashable(
                f"{value.__qualname__}, a cache that holds answers already, whose origin cannot be known. Empty it "
                "first, or read what it holds where it is used"
            )
    return joined(type(value).__name__, [walk.value(value.__wrapped__, where)])


# Classes and objects

# Methods of a torch module that count only if code on the walk may make instances.
_MAKING = ("__init__", "__new__", "__post_init__")

# Members of classes that no computation depends on, or that repeat other members.
NO_MATTER = words(
    "__abstractmethods__ __annotate__ __annotate_func__ __annotations__ __annotations_cache__ __classcell__"
    " __conditional_annotations__"
    " __class_getitem__ __dataclass_fields__ __dataclass_params__ __del__ __dict__ __dir__ __doc__ __firstlineno__"
    " __format__ __getnewargs__ __getnewargs_ex__ __getstate__ __init_subclass__ __match_args__ __module__"
    " __mutable_keys__ __non_callable_proto_members__ __optional_keys__ __orig_bases__ __parameters__"
    " __protocol_attrs__ __qualname__ __readonly_keys__ __reduce__ __reduce_ex__ __replace__ __repr__"
    " __required_keys__ __setstate__"
    " __sizeof__ __slotnames__ __slots__ __static_attributes__ __str__ __subclasshook__ __type_params__ __weakref__"
    " _abc_impl _is_protocol _is_runtime_protocol _member_map_ _member_names_ _member_type_ _missing_"
    " _new_member_ _unhashable_values_ _unhashable_values_map_ _hashable_values_ _use_args_ _value2member_map_"
    " _value_repr_ _boundary_ _flag_mask_ _singles_mask_ _all_bits_ _inverted_ _generate_next_value_"
)

# The process's generators of random numbers: their state belongs to no model.
_shared = with_torch(lambda: (vars(random)["_inst"], vars(np.random.mtrand)["_rand"], torch.default_generator))

LOCKS = (type(threading.Lock()), type(threading.RLock()))


def _class(walk: Walk, value: type, where: str) -> bytes:
    _seek(walk, value)
    found = class_of(walk, value, where)
    if not issubclass(value, torch.nn.Module):
        return found
    made = [
        walk.value(vars(base)[name], f"{base.__qualname__}.{name}")
        for base in value.__mro__
        if home_of_class(base) is None
        for name in _MAKING
        if name in vars(base)
    ]
    return joined("made", [found, *made]) if made else found


def class_of(walk: Walk, cls: type, where: str) -> bytes:
    """Return the part of a class that was reached through an instance or a subclass."""
    package = home_of_class(cls)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if package is None:
        return walk.node(cls, cls.__qualname__, lambda node: _read_class(walk, node))
    walk.reach(cls.__module__)
    label = part("class", f"{package} {name}".encode())
    if not issubclass(cls, torch.nn.Module):
        return label
    # A package's version does not show methods that were replaced.
    if cls not in walk.replaced:
        bases = [base for base in cls.__mro__ if home_of_class(base) is not None]
        own = [(f"{base.__name__}.{at}", held) for base in bases for at, held in replacements(base)[0]]
        walk.replaced[cls] = joined("methods", [part("name", n.encode()) + walk.value(held, n) for n, held in own])
    called = [walk.value(cls.forward, f"{name}.forward"), walk.value(cls.__call__, name)]
    return joined("module class", [label, *called, walk.replaced[cls]])


def replaced_in_torch(walk: Walk) -> bytes:
    """Return the part of the user's functions in torch's namespaces, and of torch's functions under another's name."""
    if own_kernels := overridden():
        raise Unhashable(f"torch's operator {own_kernels[0]} with an implementation of one's own. {REMEDY}")
    parts = []
    for place in places():
        own, aliases = replacements(place)
        parts += [part("alias", str(aliases).encode())]
        parts += [part("name", name.encode()) + walk.value(held, f"{place.__name__}.{name}") for name, held in own]
    return joined("torch", parts)


def _package_names(cls: type) -> frozenset[str]:
    bases = [base for base in cls.__mro__ if base not in (object, torch.nn.Module) and home_of_class(base) is not None]
    return frozenset(name for base in bases for name in vars(base))


def _read_class(walk: Walk, node: Node) -> None:
    cls: type = node.value
    node.facts["name"] = part("name", f"{cls.__module__}.{cls.__qualname__}".encode())
    node.facts["bases"] = joined("bases", [class_of(walk, base, node.where) for base in cls.__mro__[1:]])
    node.facts["kind"] = class_of(walk, type(cls), node.where)
    module = _module_of(cls)
    if str(getattr(module, "__file__", "")).endswith(tuple(EXTENSION_SUFFIXES)):  # methods that are no Python code
        raise Unhashable(f"{cls.__qualname__}, compiled code that may read what nobody sees. {REMEDY}")
    members = {
        name: held
        for name, held in vars(cls).items()
        if name not in NO_MATTER and not isinstance(held, (types.MemberDescriptorType, types.GetSetDescriptorType))
    }
    if not issubclass(cls, torch.nn.Module):
        walk.wait(node, members, now=lambda *_: True)
        return
    overridden = _package_names(cls)

    def now(name: str, member: Any) -> bool:
        special = name[:2] == name[-2:] == "__" and isinstance(member, types.FunctionType)
        return name in overridden or special

    walk.wait(node, {name: held for name, held in members.items() if name not in _MAKING}, now=now)


def _object(walk: Walk, value: Any, where: str) -> bytes:
    if any(value is shared for shared in _shared()):
        return part("random numbers")
    if isinstance(value, inspect.Signature):  # libraries hang it on their functions, and it reads nothing
        return part("signature", str(value).encode())
    parameters = vars(type(value)).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        return walk.node(value, where, lambda node: _read_object(walk, node))

    def frozen() -> bytes:
        parts = [class_of(walk, type(value), where)]
        for name in sorted(one.name for one in dataclasses.fields(value)):
            parts += [part("field", name.encode()), walk.value(getattr(value, name), f"{where}.{name}")]
        return joined("dataclass", parts)

    return walk.container(value, frozen)


def _read_object(walk: Walk, node: Node) -> None:
    value: Any = node.value
    cls: Any = type(value)
    node.facts["class"] = class_of(walk, cls, node.where)
    reduce = copyreg.dispatch_table.get(cls)
    try:
        kept = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except Exception as error:
        raise Unhashable(f"{node.where} keeps what cannot be read ({error}). {REMEDY}", placed=True) from error
    if isinstance(kept, str):  # known by its name in its module
        node.facts["known as"] = part("name", kept.encode()) + walk.value(_module_of(value), node.where)
        kept = (None, (), None)
    own = [getattr(cls, name) is not getattr(object, name) for name in ("__reduce_ex__", "__reduce__", "__getstate__")]
    if reduce is None and not any(own):
        kept = (None, kept[1][1:], None, *kept[3:])  # what follows the class; attributes are read below, by name
    maker, given, state, items, pairs = (*kept, None, None, None)[:5]
    node.facts["given"] = walk.value((maker, *given), node.where)
    node.facts["items"] = walk.value(None if items is None else list(items), node.where)
    node.facts["pairs"] = walk.value(None if pairs is None else list(pairs), node.where)
    if state is not None:
        node.facts["state"] = walk.value(state, node.where)
        return
    attributes = dict(getattr(value, "__dict__", {}))
    for base in cls.__mro__:
        for name, member in vars(base).items():
            if "__slots__" in vars(base) and isinstance(member, types.MemberDescriptorType):
                try:
                    attributes.setdefault(name, member.__get__(value))
                except AttributeError:  # not set
                    continue
    walk.wait(node, attributes, now=lambda *_: True)


def _logger(walk: Walk, value: logging.Logger, where: str) -> bytes:
    walk.reach("logging")  # of whose levels code may ask
    return part("logger", value.name.encode())


def _module_of(value: Any) -> ModuleType | None:
    return sys.modules.get(getattr(value, "__module__", None) or "")


def _packed(walk: Walk, value: Any, where: str) -> bytes:
    if not value._has_method("__getstate__"):
        raise Unhashable(f"a {value._type().name()}, whose state cannot be read. {REMEDY}")
    return joined("packed", [part("name", value._type().name().encode()), walk.value(value.__getstate__(), where)])


def _outside(walk: Walk, value: object, where: str) -> bytes:
    raise Unhashable(f"a {type(value).__name__.strip('_')}, which is not part of a model's state. {REMEDY}")


# Torch modules: state, settings, hooks and code; TorchScript and graphs by their text

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
HOW = ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
# Attributes of every torch module: read by `_read_state`, or without influence on results.
OF_TORCH = words(
    "_parameters _buffers _modules _non_persistent_buffers_set _is_full_backward_hook _state_dict_hooks"
    " _state_dict_pre_hooks _load_state_dict_pre_hooks _load_state_dict_post_hooks _compiled_call_impl"
).union(HOOKS, HOW)

# The module with which an exported program checks shapes; it computes nothing.
_GUARDS = "_guards_fn"

# TorchScript's notes of files and callers, and its process-wide counter of classes with one name.
_PLACES_IN_SCRIPT = re.compile(r" # \S+:\d+:\d+$|, scope: \S+|(?<=\.)___torch_mangle_\d+\.", re.MULTILINE)


def _torch_module(walk: Walk, value: nn.Module, where: str) -> bytes:
    # torch.compile's wrapper; importing its class takes a second
    if type(value).__qualname__ == "OptimizedModule" and "_orig_mod" in value._modules:
        return joined("compiled", [walk.value(value._orig_mod, where)])

    def fill(node: Node) -> None:
        cls = type(value)
        node.facts["class"] = class_of(walk, cls, node.where)
        _read_state(walk, node)
        settings = {name: held for name, held in vars(value).items() if name not in OF_TORCH}
        # A package's code, which is not read here, may read any attribute.
        all_count = home_of_class(cls) is not None or bool(_package_names(cls))
        walk.wait(node, settings, now=lambda _, held: all_count or is_plain(held))

    return walk.node(value, where, fill)


def _read_state(walk: Walk, node: Node) -> None:
    value = node.value
    for kind in ("_parameters", "_buffers"):
        held: Mapping[str, Tensor | None] = getattr(value, kind)
        node.facts[kind] = walk.value({name: held[name] for name in sorted(held)}, node.where)
    inside = {name: held for name, held in value._modules.items() if name != _GUARDS}
    parts = [part("name", k.encode()) + walk.value(v, f"{node.where}.{k}") for k, v in inside.items()]
    node.facts["modules"] = joined("modules", parts)
    for kind in HOOKS:
        hooks = []  # in order; torch's numbers for them count all hooks of the process
        for number, hook in (getattr(value, kind, None) or {}).items():
            how = [number in getattr(value, name, ()) for name in HOW if name.startswith(kind)]
            hooks.append(walk.value(hook, f"a hook of {node.where}") + part("how", str(how).encode()))
        node.facts[kind] = joined("hooks", hooks)


def _graph(walk: Walk, value: fx.GraphModule, where: str) -> bytes:
    def fill(node: Node) -> None:
        _read_state(walk, node)
        node.facts["code"] = part("code", value.code.encode())
        node.facts["training"] = walk.value(value.training, node.where)
        called = [step.target for step in value.graph.nodes if callable(step.target)]
        node.facts["calls"] = joined("calls", [walk.value(target, f"a function in {node.where}") for target in called])
        tensors = {name: held for name, held in vars(value).items() if isinstance(held, torch.Tensor)}
        node.facts["constants"] = walk.value(tensors, node.where)

    return walk.node(value, where, fill)


def _script(walk: Walk, value: torch.jit.ScriptModule, where: str) -> bytes:
    def fill(node: Node) -> None:
        node.facts["graph"] = _script_text(walk, value, where)
        names = {step.s("name") for step in _steps(value.inlined_graph) if step.kind() == "prim::GetAttr"}
        for name, inside in value.named_modules():
            at = f"{where}.{name}" if name else where
            state = dict(sorted([*inside.named_parameters(recurse=False), *inside.named_buffers(recurse=False)]))
            read = {key: inside._c.getattr(key) for key in sorted(names) if inside._c.hasattr(key)}
            read = {key: held for key, held in read.items() if not isinstance(held, torch._C.ScriptModule)}
            node.facts[f"state {name}"] = walk.value(state, at)
            node.facts[f"read {name}"] = walk.value(read, at)

    return walk.node(value, where, fill)


def _script_text(walk: Walk, value: Any, where: str) -> bytes:
    graph = value.inlined_graph
    parts = [part("graph", _PLACES_IN_SCRIPT.sub("", str(graph)).encode())]
    for step in _steps(graph):
        if step.kind() in ("prim::CallMethod", "prim::PythonOp", "^"):
            raise Unhashable(f"{where} calls what TorchScript does not show ({step.kind()})", placed=True)
        for name in step.attributeNames():
            if step.kindOf(name) in ("t", "ts"):
                held = step.t(name) if step.kindOf(name) == "t" else list(step.ts(name))
                parts.append(walk.value(held, f"a constant of {where}"))
    return joined("script", parts)


def _steps(graph: Any) -> Iterator[Any]:
    for step in graph.nodes():
        yield step
        for block in step.blocks():
            yield from _steps(block)


_handlers: Callable[[], tuple[tuple[type | tuple[type, ...], Handler], ...]] = with_torch(
    lambda: (
        (torch.jit.ScriptModule, _script),
        (torch.jit.ScriptFunction, _script_text),
        (torch.fx.GraphModule, _graph),
        (torch.nn.Module, _torch_module),
        (types.FunctionType, _function),
        (types.BuiltinFunctionType, _builtin),
        (
            types.MethodType,
            lambda walk, v, where: joined("method", [walk.value(v.__func__, where), walk.value(v.__self__, where)]),
        ),
        (
            property,
            lambda walk, v, where: joined("property", [walk.value(v.fget, where), walk.value(v.fset, where)]),
        ),
        ((staticmethod, classmethod, functools._lru_cache_wrapper), _wrapped),
        (
            (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType),
            lambda walk, v, where: joined(
                "slot", [part("name", v.__name__.encode()), walk.value(v.__objclass__, where)]
            ),
        ),
        ((torch._ops.OpOverload, torch._ops.OpOverloadPacket), lambda _walk, v, _where: _operator_part(str(v))),
        (ModuleType, _module),
        (type, _class),
        (
            enum.Enum,
            lambda walk, v, where: joined(
                "enum",
                [class_of(walk, type(v), where), part("name", str(v.name).encode()), walk.value(v.value, where)],
            ),
        ),
        (weakref.ref, lambda walk, v, where: joined("weak", [walk.value(v(), where)])),
        (logging.Logger, _logger),
        (LOCKS, lambda _walk, _v, _where: part("lock")),
        (torch.ScriptObject, _packed),
        ((type(os.environ), types.GeneratorType, types.FrameType), _outside),
        (object, _object),
    )
)
