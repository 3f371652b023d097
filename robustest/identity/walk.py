"""A walk over everything that a value reaches: data, objects, functions, classes and torch modules, as bytes.

1. Plain values and tensors count by bytes, containers by items. Functions, classes, modules and objects are nodes:
   numbered when first met and read from a queue, so that cycles end. The order is that of names and positions, the
   same in every process.
2. A function counts by its text (`sources`), by its byte code where it has none; then by the globals that it reads,
   its closure and defaults. Code of installed packages counts by version (`packages.home`).
3. A class counts by its members, an object by class and state. Methods of a torch module wait until code on the walk
   reads an attribute of that name: a net's `training_step` is no part of its forward pass.
4. A user's module counts by its text, by that of the user's modules that it imports, and by the values that code on the
   walk reads of it.
5. An object with `robustest_fingerprint() -> str` counts by that text; a network of another framework by its graph and
   parameters (`STATE`).

No reading of code is complete. Therefore reads from outside are watched (`dependencies`), and a model is asked again
before stored results of it count (`robustest.run.memory`).

A digest that lasts, for files that are kept for years, counts packages by their names, not by their versions, and
refuses functions without a text. It is of what a user wrote, and stands for no result: nothing else is refused.

Digests of files instead of functions would make an edited threshold in a test file forget an hour of training, and
would miss a patched method.
"""

from __future__ import annotations

import builtins
import collections
import copyreg
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib
import inspect
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
from importlib.machinery import EXTENSION_SUFFIXES
from types import CodeType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from robustest.errors import RobustestError, expected
from robustest.identity.dependencies import WRAPPED, NotingClass, door
from robustest.identity.packages import (
    REMEDY,
    home,
    home_of,
    home_of_class,
    is_own,
    overridden,
    places,
    refuse_opaque,
    replacements,
    settings_of,
)
from robustest.identity.plain import Unhashable, is_plain, joined, part, simple, words
from robustest.identity.sources import file_of, source, text_of
from robustest.loaded import with_torch

if TYPE_CHECKING:
    import torch
    from torch import Tensor, fx, nn
else:
    from robustest.loaded import torch

DECLARES = "robustest_fingerprint"
"""Name of the method by which an object declares its identity, e.g. the version of a model behind a network."""

STATE = "robustest_state"
"""Name of the method by which a class of robustest returns the plain values that stand for an instance: the graph and
the parameters of a network of another framework, whose objects cannot be walked. Unlike a declared identity it is all
that the instance computes with."""


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
        lasting: True for the same bytes with each release of Python, robustest and other packages.

    Attributes:
        declared: True if an object on the walk declares its identity.
    """

    def __init__(self, *, recheck: bool = True, lasting: bool = False) -> None:
        self.recheck = recheck
        self.lasting = lasting
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
        self._sources: dict[tuple[str, bool], bytes] = {}
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
        if hasattr(type(value), STATE) and type(value).__module__.partition(".")[0] == "robustest":
            if self.lasting:
                raise Unhashable(f"a {type(value).__qualname__}, whose graph each release of its framework writes anew")
            return joined("state", [class_of(self, type(value), where), self.value(getattr(value, STATE)(), where)])
        handler = next(handler for kinds, handler in _handlers() if isinstance(value, kinds))  # the last is of objects
        return handler(self, value, where)

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

    def package(self, module: str, file: str | None) -> str | None:
        """Return what stands for a module of a package that code on the walk reaches; None for the user's.

        Raises:
            Unhashable: it may depend on what nobody sees.
        """
        found = home(module, file)
        if found is None or self.lasting:
            return None if found is None else public(module)
        refuse_opaque(module)
        self.libraries.add(module.partition(".")[0])
        return f"{found} {module}"

    def package_of(self, module: ModuleType) -> str | None:
        return self.package(module.__name__, getattr(module, "__file__", None))

    def source(self, name: str, module: ModuleType | None = None, *, deep: bool = True) -> bytes:
        """Return the part of the text of a module, which need not be loaded, and of the user's that it imports.

        Args:
            deep: False for the module alone.
        """
        file = file_of(name) if module is None else getattr(module, "__file__", None)
        if not file and not hasattr(module, "__path__"):
            raise Unhashable("a module without a file")
        if (name, deep) not in self._sources:
            release = home if not self.lasting else lambda one, file: home(one, file) and public(one)
            self._sources[name, deep] = part("module", name.encode()) + source(name, file or "", release, deep=deep)
        return self._sources[name, deep]

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

# Names by which code reads attributes whose names it computes.
_COMPUTED = words("getattr vars dir attrgetter methodcaller __dict__ __getattribute__")
# Functions by which code reaches what no name in it shows.
_HIDDEN = (globals, eval, exec, __import__, importlib.import_module)
# Further ones, whose answers are no part of the code and state, and have no stamp.
_BEYOND = (compile, input, os.popen, os.system)
# Functions of `os` whose answers a watch sees only where they are called as attributes of `os`.
_UNWATCHED = WRAPPED.keys() | {"listdir"}


@dataclass(frozen=True, slots=True)
class Code:
    """What a code object and those inside it read.

    Attributes:
        globals: names looked up in the module or the builtins.
        names: attributes read, and text constants that could name one.
        imports: imported modules, without the dots of relative imports.
        attributes: attributes read.
        members: each global or imported module with the attribute that is read of it, "" where it is used otherwise.
        chains: each global and variable of an outer function with the names that are read of it one after another.
    """

    globals: frozenset[str]
    names: frozenset[str]
    imports: frozenset[str]
    attributes: frozenset[str]
    members: frozenset[tuple[str, str]]
    chains: frozenset[tuple[str, ...]]


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
_OUTER = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF"})
_READ = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_MEMBER = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"})
_SILENT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "RESUME"})


@lru_cache(maxsize=8192)
def _code(code: CodeType) -> Code:
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SILENT]
    names = {*code.co_names, *_identifiers(code.co_consts)}
    inner = [_code(held) for held in code.co_consts if isinstance(held, CodeType)]
    return Code(
        globals=frozenset(step.argval for step in steps if step.opname in _GLOBALS).union(*(i.globals for i in inner)),
        names=frozenset(names).union(*(i.names for i in inner)),
        imports=frozenset(step.argval for step in steps if step.opname == "IMPORT_NAME").union(
            *(i.imports for i in inner)
        ),
        attributes=frozenset(step.argval for step in steps if step.opname in _MEMBER).union(
            *(i.attributes for i in inner)
        ),
        members=_members(steps).union(*(i.members for i in inner)),
        chains=_chains(steps).union(*(i.chains for i in inner)),
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


def _chains(steps: list[dis.Instruction]) -> frozenset[tuple[str, ...]]:
    found = set()
    chain: tuple[str, ...] = ()
    for step in steps:
        if step.opname in _READ and chain:
            chain = *chain, step.argval
            continue
        found.add(chain)
        chain = (step.argval,) if step.opname in _GLOBALS or step.opname in _OUTER else ()
    return frozenset(found - {()})


def _byte_code(code: CodeType) -> bytes:
    """Return the part of code without a text: its instructions, constants and names, without file and lines."""
    count = code.co_argcount + code.co_kwonlyargcount
    about = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~inspect.CO_NESTED
    names = *code.co_varnames[:count], "", *code.co_freevars, "", *code.co_names
    steps = [part("shape", str((*about, *names)).encode()), part("steps", code.co_code)]
    return joined("code", [*steps, part("handlers", code.co_exceptiontable), *map(_constant, code.co_consts)])


def _constant(value: object) -> bytes:
    if isinstance(value, CodeType):
        return _byte_code(value)
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


def public(module: str) -> str:
    """Return the name of a package's module without its private parts, which move from release to release."""
    top, *rest = module.split(".")
    inner = [] if top.startswith("robustest") else [name for name in rest if name[:1] != "_"]
    return ".".join([top.lstrip("_"), *inner])


def _function(walk: Walk, value: types.FunctionType, where: str) -> bytes:
    held, known = vars(value), value.__globals__
    if "_torchdynamo_orig_callable" in held:
        return joined("compiled", [walk.value(held["_torchdynamo_orig_callable"], where)])
    _seek(walk, value, where)
    package = walk.package(str(known.get("__name__")), known.get("__file__"))
    if package is None:
        return walk.node(value, value.__qualname__, lambda node: _read_function(walk, node))
    # A package's function counts by version and name where the package has it under that name, whatever it was
    # wrapped in; another function of the package's code, by code, defaults and closure.
    at: Any = sys.modules.get(value.__module__ or "")
    owner = None if at is None else walk.package_of(at)
    for name in value.__qualname__.split("."):
        at = getattr(at, "__dict__", {}).get(name)
    if at is value and owner is not None:
        return part("function", f"{owner}.{value.__qualname__}".encode())
    if known is vars(functools) and "registry" in held:  # singledispatch; it keeps for which classes it was called
        return joined("dispatched", [walk.value(held["registry"], where)])
    if walk.lasting:  # a release may write the code that stands around a user's function otherwise
        return joined("function of", [part("name", f"{package}.{value.__qualname__}".encode()), _bound(walk, value)])
    code = part("name", f"{package}.{value.__code__.co_qualname}".encode()) + _byte_code(value.__code__)
    return joined("function of", [code, _bound(walk, value)])


def _seek(walk: Walk, value: Any, where: str) -> None:
    """Note a function that reads attributes by computed names, e.g. `getattr`; refuse one that reaches beyond."""
    walk.everything = walk.everything or any(value is one for one in _SEEKING)
    if any(value is one for one in (_HIDDEN if walk.lasting else (*_HIDDEN, *_BEYOND))):
        raise Unhashable(f"{value.__qualname__}(), which reaches beyond the model's code and state. {REMEDY}")
    opens = "" if walk.lasting else door(value)
    if not opens:
        return
    # A watch sees what a library opens where the function is looked up in its module, and, where nothing is asked
    # again, also where it is a global or in a closure; a method only where it is looked up in its class.
    name, seen, _ = where.partition(" (read by")
    if "." in opens or not (seen and where.endswith(")")) or (walk.recheck and "." not in name):
        raise Unhashable(
            f"{opens}, taken out of its module, so that what it opens is not seen. Look it up in {value.__module__} "
            "where it is called"
        )


def _read_function(walk: Walk, node: Node) -> None:
    value: types.FunctionType = node.value
    code, known = _code(value.__code__), value.__globals__
    # pytest writes the assertions of tests anew, so that their text is not what runs.
    text = text_of(value.__code__, exact=not (walk.lasting and "@pytest_ar" in known))
    if walk.lasting and text is None:
        raise Unhashable(f"{value.__qualname__}, a function without a source")
    if not walk.lasting:
        _refuse_live(node.where, code, known)
    walk.names |= code.names
    node.facts["code"] = _byte_code(value.__code__) if text is None else part("text", text.encode("utf-8", "replace"))
    node.facts["bound"] = _bound(walk, value)
    for name in sorted(code.globals):
        found = known.get(name, vars(builtins).get(name, _ABSENT))
        node.facts[f"global {name}"] = (
            part("absent") if found is _ABSENT else _used(walk, found, code, name, node.where)
        )
    for name in sorted(code.imports):
        node.facts[f"import {name}"] = _imported(walk, value, name)
    walk.wait(node, {k: v for k, v in vars(value).items() if k != "__wrapped__"}, now=lambda *_: False)


def _refuse_live(where: str, code: Code, known: Mapping[str, Any]) -> None:
    """Refuse code that reads what any code of the process may change."""
    if live := _LIVE & code.attributes:
        raise Unhashable(f"{where} reads {min(live)}, which any code of the process may change. {REMEDY}", placed=True)
    for module, attribute in sorted(code.members):
        held = known.get(module, sys.modules.get(module))
        allowed = _MEMBERS.get(getattr(held, "__name__", "")) if isinstance(held, ModuleType) else None
        if allowed is not None and attribute not in allowed and hasattr(held, attribute or "__name__"):
            what = f"{module}.{attribute}" if attribute else f"{module}, passed on"
            raise Unhashable(f"{where} reads {what}, whose state is not seen. {REMEDY}", placed=True)


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
            encoded = walk.value(held, name) if _is_guarded(walk, held) else _used(walk, held, code, free, name)
        parts += [part("free", free.encode()), encoded]
    return joined("bound", parts)


def _is_guarded(walk: Walk, value: object) -> bool:
    return not walk.lasting and isinstance(value, ModuleType) and value.__name__ in _MEMBERS


def _used(walk: Walk, value: Any, code: Code, name: str, reader: str) -> bytes:
    if not isinstance(value, ModuleType):
        return walk.value(value, f"{name} (read by {reader})")
    # Of a module, what the code reads by chains of names; of one that it passes on, what any code on the walk reads.
    chains = sorted({chain[1:] for chain in code.chains if chain[0] == name}) or [()]
    return joined("module", [_along(walk, value, chain, code, reader) for chain in chains])


def _along(walk: Walk, module: ModuleType, chain: Sequence[str], code: Code, reader: str) -> bytes:
    """Return the part of all that is read along a chain of names from a module."""
    parts: list[bytes] = []
    while True:
        if isinstance(module, _on_demand()):
            registered = {op.partition(".")[0] for op in torch._C._dispatch_get_all_op_names()}
            used = [op for op in sorted(registered) if code.names.issuperset(op.split("::"))]
            parts += [_operator_part(walk, op.replace("::", ".")) for op in used]
            break
        own = walk.package_of(module) is None
        if own and (not chain or not _COMPUTED.isdisjoint(code.names)):  # a computed name may be any
            parts.append(walk.value(module, module.__name__))
        elif own:
            # What is kept for years depends on what is read of a module, not on all that it builds on.
            parts.append(walk.source(module.__name__, module, deep=not walk.lasting))
        for name in sorted((set(chain[:1]) or code.names) & vars(module).keys()):
            held, at = vars(module)[name], f"{module.__name__}.{name}"
            # A user's file does not show the values that its names have now. A package's version stands for its
            # state, but not for what the user may have put there.
            if not isinstance(held, ModuleType) and (own or (_counts(walk, held) and at not in _STREAMS)):
                parts.append(part("name", at.encode()) + walk.value(held, f"{at} (read by {reader})"))
        held = vars(module).get(chain[0]) if chain else None
        if not isinstance(held, ModuleType):
            break
        module, chain = held, chain[1:]
    return joined("chain", parts)


def _counts(walk: Walk, held: object) -> bool:
    """Return True if what a package's module has under a name counts by itself."""
    return not walk.lasting or is_own(held) or any(held is one for one in (*_HIDDEN, *_SEEKING))


# Modules that create their attributes, torch's operators, on access.
_on_demand = with_torch(lambda: (type(torch.ops), type(torch.ops.aten)))

# Attributes of `sys` that are written to.
_STREAMS = words("sys.stdout sys.stderr sys.__stdout__ sys.__stderr__")


# Namespaces of operators that a version of torch or torchvision identifies.
OPERATORS = ("aten", "prim", "prims", "torchvision")


def _operator_part(walk: Walk, name: str) -> bytes:
    if name.partition(".")[0] not in OPERATORS:
        raise Unhashable(f"{name}, an operator of one's own, whose code cannot be found. {REMEDY}")
    return part("operator", name.encode() if walk.lasting else f"{torch.__version__} {name}".encode())


def _imported(walk: Walk, by: types.FunctionType, name: str) -> bytes:
    """Return the part of a module that a function imports when it runs."""
    # The statement may have been relative to any package above.
    above = list(filter(None, (by.__globals__.get("__package__") or "").split(".")))
    relative = [".".join(filter(None, [*above[:count], name])) for count in range(len(above), 0, -1)]
    parts = []
    for one in filter(None, [name, *relative]):
        file, held = file_of(one), sys.modules.get(one)
        if file is None:
            continue
        package = walk.package(one, file or None)
        if package is not None:  # the same, whether or not it is loaded by now
            parts.append(part("module", package.encode()))
        elif held is None or walk.lasting:  # as its text will make it
            parts.append(walk.source(one))
        else:
            parts.append(walk.value(held, one))
    if not parts:
        why = f"{name}, imported by {by.__qualname__}, is not loaded before it is needed. Import it at the file's top"
        raise Unhashable(why, placed=True)
    return joined("import", parts)


def _module(walk: Walk, value: ModuleType, where: str) -> bytes:
    package = walk.package_of(value)
    if package is not None:
        if _is_guarded(walk, value):
            raise Unhashable(f"{value.__name__}, a module of which any state may be read. {REMEDY}")
        return part("module", package.encode())
    if str(getattr(value, "__file__", "")).endswith(tuple(EXTENSION_SUFFIXES)):
        raise Unhashable(f"{value.__name__}, compiled code that may read what nobody sees. {REMEDY}")

    def fill(node: Node) -> None:
        node.facts["text"] = walk.source(value.__name__, value)
        # Passed on: any attribute may be read from it.
        members = {
            name: held
            for name, held in vars(value).items()
            if name[:2] != "__" and not (isinstance(held, ModuleType) and home_of(held) is not None)
        }
        if walk.lasting:  # texts and paths may be those of one machine
            members = {name: held for name, held in members.items() if isinstance(held, _numbers())}
        walk.wait(node, members, now=lambda _, held: isinstance(held, _numbers()))

    return walk.node(value, where, fill)


_numbers = with_torch(lambda: (bool, int, float, complex, np.ndarray, torch.Tensor))


def _builtin(walk: Walk, value: Any, where: str) -> bytes:
    _seek(walk, value, where)
    owner = value.__self__
    place = {"posix": "os", "nt": "os"}.get(value.__module__ or "", value.__module__)
    if not walk.lasting and isinstance(owner, ModuleType) and (allowed := _MEMBERS.get(str(place))) is not None:
        # Looked up in `os` as it runs, it is the wrapper that `dependencies` puts there; held by itself, it is not.
        if place == "os" and value.__name__ in _UNWATCHED and not where.startswith(("os.", "posix.")):
            raise Unhashable(
                f"{value.__name__}(), taken out of os, so that its calls are not seen. Write os.{value.__name__}() "
                "where it is called"
            )
        if value.__name__ not in allowed:
            raise Unhashable(f"{place}.{value.__name__}(), whose answer is not seen. {REMEDY}")
        return joined("builtin", [part("name", value.__qualname__.encode())])
    kind = "builtin" if isinstance(owner, ModuleType) else "builtin of"
    return joined(kind, [part("name", value.__qualname__.encode()), walk.value(owner, where)])


def _ufunc(walk: Walk, value: np.ufunc, where: str) -> bytes:
    # It does not say where it comes from; one that NumPy makes of a user's function hides it.
    for module in ("numpy", "scipy.special"):
        if getattr(sys.modules.get(module), value.__name__, None) is value:
            return part("ufunc", f"{walk.package(module, None)}.{value.__name__}".encode())
    raise Unhashable(f"{value.__name__}, a function without a source. {REMEDY}")


def _wrapped(walk: Walk, value: Any, where: str) -> bytes:
    if isinstance(value, functools._lru_cache_wrapper) and not walk.recheck and value.cache_info().currsize:
        written = value.__wrapped__.__module__
        if home(written, getattr(sys.modules.get(written), "__file__", None)) is None:
            raise Unhashable(
                f"{value.__qualname__}, a cache that holds answers already, whose origin cannot be known. Empty it "
                "first, or read what it holds where it is used"
            )
    return _around(walk, value, where, value.__wrapped__)


def _around(walk: Walk, value: Any, where: str, *inside: object) -> bytes:
    """Return the part of an object by what stands inside; if its class is the user's, by all else that it holds."""
    parts = [walk.value(one, where) for one in inside]
    if home_of_class(type(value)) is None:
        held = {name: one for name, one in getattr(value, "__dict__", {}).items() if name[:2] != "__"}
        parts += [class_of(walk, type(value), where), walk.value(held, where)]
    return joined(type(value).__name__, parts)


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

# Methods that Python writes for data classes and named tuples, and `attrs` for its own: each release writes others.
_WRITTEN = words(
    "__init__ __new__ __repr__ __eq__ __lt__ __le__ __gt__ __ge__ __hash__ __setattr__ __delattr__ __replace__"
    " _asdict _make _replace"
)

# The process's generators of random numbers: their state belongs to no model.
_shared = with_torch(lambda: (vars(random)["_inst"], vars(np.random.mtrand)["_rand"], torch.default_generator))

LOCKS = (type(threading.Lock()), type(threading.RLock()))


# Numbers that are drawn differ from run to run anyway: the state of a generator does not last.
_drawn = with_torch(
    lambda: (*(random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator, torch.Generator),)
)


def _is_written(name: str, member: object) -> bool:
    code = getattr(getattr(member, "__func__", member), "__code__", None)
    return name in _WRITTEN and code is not None and code.co_filename.startswith(("<", collections.__file__))


def _class(walk: Walk, value: type, where: str) -> bytes:
    _seek(walk, value, where)
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
    if home_of_class(cls) is None:
        return walk.node(cls, cls.__qualname__, lambda node: _read_class(walk, node))
    package = walk.package(cls.__module__, getattr(sys.modules.get(cls.__module__), "__file__", None))
    label = part("class", f"{package}.{cls.__qualname__}".encode())
    if not issubclass(cls, torch.nn.Module):
        return label
    # A package's version does not show methods that were replaced.
    if cls not in walk.replaced:
        bases = [base for base in cls.__mro__ if home_of_class(base) is not None]
        own = [(f"{base.__name__}.{at}", held) for base in bases for at, held in replacements(base)[0]]
        own = [(name, held) for name, held in own if not (walk.lasting and _is_written(name.partition(".")[2], held))]
        walk.replaced[cls] = joined("methods", [part("name", n.encode()) + walk.value(held, n) for n, held in own])
    name = f"{cls.__module__}.{cls.__qualname__}"
    called = [] if walk.lasting else [walk.value(cls.forward, f"{name}.forward"), walk.value(cls.__call__, name)]
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
    node.facts["name"] = part("name", cls.__qualname__.encode())
    node.facts["bases"] = joined("bases", [class_of(walk, base, node.where) for base in cls.__bases__])
    node.facts["kind"] = class_of(walk, type(cls), node.where)
    module = _module_of(cls)
    if str(getattr(module, "__file__", "")).endswith(tuple(EXTENSION_SUFFIXES)):  # methods that are no Python code
        raise Unhashable(f"{cls.__qualname__}, compiled code that may read what nobody sees. {REMEDY}")
    network = issubclass(cls, torch.nn.Module)

    def counts(name: str, held: object) -> bool:
        if walk.lasting and _is_written(name, held):
            return False
        # A method that the user has written matters: how an object is written or copied, say.
        return name not in NO_MATTER or (not network and is_own(getattr(held, "__func__", held)))

    slots = (types.MemberDescriptorType, types.GetSetDescriptorType)
    members = {name: held for name, held in vars(cls).items() if not isinstance(held, slots) and counts(name, held)}
    if not network:
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
    if walk.lasting and isinstance(value, _drawn()):
        return joined("random numbers", [class_of(walk, type(value), where)])
    if isinstance(value, inspect.Signature):  # libraries hang it on their functions, and it reads nothing
        return part("signature", str(value).encode())
    own = home_of_class(type(value)) is None
    parameters = vars(type(value)).get("__dataclass_params__")
    # Fields of a package's that are not compared change no outcomes, and its releases differ in them.
    compared = walk.lasting and not own and dataclasses.is_dataclass(value)
    if not compared and (parameters is None or not parameters.frozen):
        return walk.node(value, where, lambda node: _read_object(walk, node))

    def frozen() -> bytes:
        parts = [class_of(walk, type(value), where)]
        held = {one.name: getattr(value, one.name, None) for one in dataclasses.fields(value)}
        left = {one.name for one in dataclasses.fields(value) if compared and not one.compare}
        if own:  # and what was set beside the fields
            held |= _without_kept(walk, value, getattr(value, "__dict__", {}))
        for name in sorted(held.keys() - left):
            parts += [part("field", name.encode()), walk.value(held[name], f"{where}.{name}")]
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
        module = _module_of(value)
        if walk.lasting and callable(value) and (module is None or home_of(module) is None):
            raise Unhashable(f"{kept}, a function without a source")
        known = b"" if walk.lasting and module is None else walk.value(module, node.where)
        node.facts["known as"] = part("name", kept.encode()) + known
        kept = (None, (), None)
    own = [getattr(cls, name) is not getattr(object, name) for name in ("__reduce_ex__", "__reduce__", "__getstate__")]
    if reduce is None and not any(own):
        kept = (None, kept[1][1:], None, *kept[3:])  # what follows the class; attributes are read below, by name
    maker, given, state, items, pairs = (*kept, None, None, None)[:5]
    node.facts["given"] = walk.value((maker, *given), node.where)
    node.facts["items"] = walk.value(None if items is None else list(items), node.where)
    node.facts["pairs"] = walk.value(None if pairs is None else list(pairs), node.where)
    if state is not None:
        kept = _without_kept(walk, value, state) if isinstance(state, dict) else state
        node.facts["state"] = walk.value(kept, node.where)
        return
    attributes = _without_kept(walk, value, getattr(value, "__dict__", {}))
    for base in cls.__mro__:
        for name, member in vars(base).items():
            if "__slots__" in vars(base) and isinstance(member, types.MemberDescriptorType):
                try:
                    attributes.setdefault(name, member.__get__(value))
                except AttributeError:  # not set
                    continue
    walk.wait(node, attributes, now=lambda *_: True)


def _without_kept(walk: Walk, value: object, state: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a state; if it is to last, without what properties have kept, which is made of the rest."""
    members = {name: one for base in type(value).__mro__ for name, one in vars(base).items()} if walk.lasting else {}
    return {name: one for name, one in state.items() if not isinstance(members.get(name), functools.cached_property)}


def _logger(walk: Walk, value: logging.Logger, where: str) -> bytes:
    # A logger is no part of what is computed, unless code asks for its level.
    of = class_of(walk, type(value), where)
    return joined("logger", [of, part("name", b"" if walk.lasting else value.name.encode())])


def _module_of(value: Any) -> ModuleType | None:
    return sys.modules.get(getattr(value, "__module__", None) or "")


def _packed(walk: Walk, value: Any, where: str) -> bytes:
    if walk.lasting or not value._has_method("__getstate__"):
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
        # Attributes that a release of torch may add to each module are no settings of one.
        idle = OF_TORCH if not walk.lasting else OF_TORCH | (vars(torch.nn.Module()).keys() - {"training"})
        settings = {name: held for name, held in vars(value).items() if name not in idle}
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
        called = [target for target in called if not walk.lasting or is_own(target)]
        node.facts["calls"] = joined("calls", [walk.value(target, f"a function in {node.where}") for target in called])
        tensors = {name: held for name, held in vars(value).items() if isinstance(held, torch.Tensor)}
        node.facts["constants"] = walk.value(tensors, node.where)

    return walk.node(value, where, fill)


def _script(walk: Walk, value: torch.jit.ScriptModule, where: str) -> bytes:
    if walk.lasting:
        raise Unhashable(f"a {type(value).__qualname__}, whose graph each release of torch writes otherwise")

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
        (property, lambda walk, v, where: _around(walk, v, where, v.fget, v.fset)),
        (functools.cached_property, lambda walk, v, where: _around(walk, v, where, v.func)),
        ((staticmethod, classmethod, functools._lru_cache_wrapper), _wrapped),
        (np.ufunc, _ufunc),
        (
            (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType),
            lambda walk, v, where: joined(
                "slot", [part("name", v.__name__.encode()), walk.value(v.__objclass__, where)]
            ),
        ),
        ((torch._ops.OpOverload, torch._ops.OpOverloadPacket), lambda walk, v, _where: _operator_part(walk, str(v))),
        (ModuleType, _module),
        (type, _class),
        (NotingClass, lambda walk, v, where: _class(walk, v.of, where)),
        (
            enum.Enum,
            lambda walk, v, where: joined(
                "enum",
                [class_of(walk, type(v), where), part("name", str(v.name).encode()), walk.value(v.value, where)],
            ),
        ),
        (weakref.ref, lambda walk, v, where: _around(walk, v, where, v())),
        (logging.Logger, _logger),
        (LOCKS, lambda _walk, _v, _where: part("lock")),
        (torch.ScriptObject, _packed),
        (type(os.environ), lambda _walk, _v, _where: part("environment")),  # each variable that is read gets a stamp
        ((types.GeneratorType, types.FrameType), _outside),
        (object, _object),
    )
)
