"""What a code object does, whatever file and line it stands on: instructions, constants and the names it reads."""

from __future__ import annotations

import dis
import inspect
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

from robustest.identity.flow import SILENT, flow
from robustest.identity.plain import joined, part

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF", "LOAD_CLOSURE"})
_NAMED = frozenset(dis.hasname)
_KINDS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
"""Flags that say how a function is called; others say where it stands."""

Chains = frozenset[tuple[str, ...]]
"""Attributes read straight off a name: `a.b.c(x)` gives ("b", "c"), a bare `a` gives ()."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code object and those inside it.

    Attributes:
        text: bytes that stand for what it does.
        globals: names looked up in the module, and what is read off them.
        free: names looked up in enclosing functions, likewise.
        names: names of attributes read, and text constants that could name one.
        imports: (module, level, names or None) of import statements inside.
    """

    text: bytes
    globals: dict[str, Chains]
    free: dict[str, Chains]
    names: frozenset[str]
    imports: frozenset[tuple[str, int, tuple[str, ...] | None]]


@lru_cache(maxsize=8192)
def read(code: CodeType) -> Code:
    """What a code object does; comments, formatting, docstrings and its place make no difference.

    Raises:
        Unhashable: a constant of a kind that is not known.
    """
    steps = [step for step in dis.get_instructions(code) if step.opname not in SILENT]
    reading = _Reading()
    for place, step in enumerate(steps):
        reading.take(place, step, steps)
    inner = [read(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    for part_of in inner:
        reading.join(part_of)
    return Code(
        text=joined("code", [_shape(code), *flow(code, lambda inner: read(inner).text)]),
        globals={name: frozenset(chains) for name, chains in reading.globals.items()},
        free={name: frozenset(chains) for name, chains in reading.free.items()},
        names=frozenset(reading.names),
        imports=frozenset(reading.imports),
    )


class _Reading:
    def __init__(self) -> None:
        self.globals: dict[str, set[tuple[str, ...]]] = {}
        self.free: dict[str, set[tuple[str, ...]]] = {}
        self.names: set[str] = set()
        self.imports: set[tuple[str, int, tuple[str, ...] | None]] = set()

    def take(self, place: int, step: dis.Instruction, steps: list[dis.Instruction]) -> None:
        value = step.argval
        if step.opname in _GLOBAL:
            self.globals.setdefault(value, set()).add(_chain(place, steps))
        elif step.opname in _FREE:
            self.free.setdefault(value, set()).add(_chain(place, steps))
        elif step.opname == "IMPORT_NAME":
            level, names = (before.argval for before in steps[place - 2 : place])
            self.imports.add((value, level, names))
        elif step.opcode in _NAMED:
            self.names.add(value)
        self.names.update(_words(value))

    def join(self, inner: Code) -> None:
        for mine, its in ((self.globals, inner.globals), (self.free, inner.free)):
            for name, chains in its.items():
                mine.setdefault(name, set()).update(chains)
        self.names |= inner.names
        self.imports |= inner.imports


def _chain(place: int, steps: list[dis.Instruction]) -> tuple[str, ...]:
    chain: list[str] = []
    while place + 1 < len(steps) and steps[place + 1].opname in ("LOAD_ATTR", "LOAD_METHOD"):
        place += 1
        chain.append(steps[place].argval)
    return tuple(chain)


def _words(constant: object) -> set[str]:
    if isinstance(constant, str):
        return {constant} if constant.isidentifier() else set()
    return {word for item in constant for word in _words(item)} if isinstance(constant, (tuple, frozenset)) else set()


def _shape(code: CodeType) -> bytes:
    count = code.co_argcount + code.co_kwonlyargcount
    about = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KINDS)
    named = (*code.co_varnames[:count], "", *code.co_freevars)
    return joined("shape", [part("n", str(about).encode()), *(part("s", name.encode()) for name in named)])
