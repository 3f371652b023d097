"""A walk over everything that a value reaches: objects get numbers where they are met, and are read in turn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from robustest.errors import RobustestError, expected
from robustest.identity.plain import Unhashable, joined, part, simple

Handler = Callable[["Walk", Any, str], bytes]
"""Encodes a value of its kind; the text says where the value was found."""

_TELLING = frozenset({"__dict__", "__getattribute__"})
"""Attributes through which any other may be reached."""


@dataclass(eq=False, slots=True)
class Node:
    """An object that other objects share: it is read once, and named by its number elsewhere.

    Attributes:
        value: the object.
        where: where it was first met.
        fill: reads it.
        facts: what was read, by label.
        waiting: members that count only once the code that was met reads an attribute of that name.
        made: whether it is a class of modules that code may make instances of.
    """

    value: Any
    where: str
    fill: Callable[[Node], None]
    facts: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, Any] = field(default_factory=dict)
    made: bool = False


class Walk:
    """One walk; `digest` ends it.

    Everything goes in the order of names and of positions, so that two processes walk alike. Containers count by
    what they hold; functions, classes, modules and objects are nodes, read from a queue, so that circles end.

    Attributes:
        names: attributes that code met so far reads.
        everything: code was met that reads attributes by names made up as it runs: every member counts.
        links: how often a node was named; what names none means the same wherever it is met.
        said: something that was met says itself what it is.
        replaced: by class, what stands in it for methods of its own (`patches`).
        asked: whether what is met is asked as well, so that what a cache holds need not be known.
    """

    def __init__(self, handlers: Sequence[tuple[type | tuple[type, ...], Handler]], *, asked: bool = True) -> None:
        self.asked = asked
        self.names: set[str] = {"forward", "__call__"}
        self.everything = False
        self._handlers = handlers
        self._nodes: list[Node] = []
        self._numbers: dict[int, int] = {}
        self._open: dict[int, int] = {}  # containers being read, and how deep they are in each other
        self._known: dict[int, bytes] = {}
        self._kept: list[Any] = []  # an id stands for its object only as long as that lives
        self.links = 0
        self.said = False
        self.replaced: dict[type, bytes] = {}

    def value(self, value: Any, where: str) -> bytes:
        """The part that stands for a value.

        Raises:
            Unhashable: it, or something that it holds, has no identity; placed.
        """
        try:
            return self._value(value, where)
        except Unhashable as error:
            if error.placed:
                raise
            raise Unhashable(f"{where} is {error.reason}", placed=True) from None

    def _value(self, value: Any, where: str) -> bytes:
        if isinstance(value, Tensor):
            return self._tensor(value, where)
        encoded = simple(value)
        if encoded is not None:
            return encoded
        container = _CONTAINERS.get(type(value))
        if container is not None:
            return self.container(value, lambda: container(self, value, where))
        said = _own_name(value)
        if said is not None:
            self.said = True
            return part("said", said.encode())
        for kinds, handler in self._handlers:
            if isinstance(value, kinds):
                return handler(self, value, where)
        raise Unhashable(f"a {type(value).__qualname__}")

    def node(self, value: Any, where: str, fill: Callable[[Node], None]) -> bytes:
        """The number of an object; `fill` will read it once, later."""
        self.links += 1
        number = self._numbers.setdefault(id(value), len(self._nodes))
        if number == len(self._nodes):
            self._nodes.append(Node(value, where, fill))
        return part("node", b"%d" % number)

    def made(self, cls: type) -> None:
        """Code that was met may make instances of a class that is a node."""
        if id(cls) in self._numbers:
            self._nodes[self._numbers[id(cls)]].made = True

    def container(self, value: Any, build: Callable[[], bytes]) -> bytes:
        """What `build` makes of a container, unless that is known, or the container holds itself."""
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in self._open:
            self.links += 1
            return part("up", b"%d" % (len(self._open) - self._open[id(value)]))
        links = self.links
        self._open[id(value)] = len(self._open)
        try:
            encoded = build()
        finally:
            del self._open[id(value)]
        if self.links == links:  # nothing in it depends on where it was met
            self._keep(value, encoded)
        return encoded

    def wait(self, node: Node, members: Mapping[str, Any], *, now: Callable[[str, Any], bool]) -> None:
        """Read those members of a node that count at once; the others wait for their names."""
        for name in sorted(members):
            if now(name, members[name]):
                self._member(node, name, members[name])
            else:
                node.waiting[name] = members[name]

    def digest(self, root: bytes) -> str:
        """SHA-256, as 64 hex digits, of a value's part and of all nodes that it reached."""
        read = 0
        while read < len(self._nodes) or self._awake():
            while read < len(self._nodes):
                self._nodes[read].fill(self._nodes[read])
                read += 1
        parts = [joined("facts", _labelled_parts(node.facts)) for node in self._nodes]
        return hashlib.sha256(joined("walk", [root, *parts])).hexdigest()

    def _awake(self) -> bool:
        """Read members whose time has come; whether there were any."""
        self.everything = self.everything or not _TELLING.isdisjoint(self.names)
        found = False
        for node in list(self._nodes):
            for name in sorted(node.waiting):
                if node.made if name in MAKING else self.everything or name in self.names:
                    self._member(node, name, node.waiting.pop(name))
                    found = True
        return found

    def _member(self, node: Node, name: str, value: Any) -> None:
        node.facts[f".{name}"] = self.value(value, f"{node.where}.{name}")

    def _tensor(self, value: Tensor, where: str) -> bytes:
        if id(value) in self._known:
            return self._known[id(value)]
        if torch.nn.parameter.is_lazy(value):
            raise Unhashable("a parameter that has no value yet")
        encoded = simple(value)
        if encoded is None:  # of a class of its own, which may give operations another meaning
            encoded = joined("tensor of", [self.value(type(value), where), self._inside(value, where)])
        self._keep(value, encoded)
        return encoded

    def _inside(self, value: Any, where: str) -> bytes:
        """What a tensor of a class of its own holds: bytes, or, around other tensors, those."""
        if is_traceable_wrapper_subclass(value):
            names, how = value.__tensor_flatten__()
            return self.value([how, {name: getattr(value, name) for name in names}], where)
        plain = value.detach().as_subclass(Tensor)
        if plain.numel() and not plain.untyped_storage().data_ptr():
            raise Unhashable("a tensor without bytes of its own")
        return simple(plain) or b""

    def _keep(self, value: Any, encoded: bytes) -> None:
        self._known[id(value)] = encoded
        self._kept.append(value)


def _own_name(value: Any) -> str | None:
    """What an object says that it is, where it offers to."""
    if isinstance(value, (type, ModuleType)):
        return None
    if not hasattr(type(value), SAYS) and SAYS not in getattr(value, "__dict__", {}):
        return None
    try:
        said = getattr(value, SAYS)()
    except RobustestError as error:  # it says why it has none
        raise Unhashable(str(error), placed=True) from None
    if not isinstance(said, str) or not said:
        raise Unhashable(expected(f"a {type(value).__qualname__} whose {SAYS}() returns a text", said))
    return said


SAYS = "robustest_fingerprint"
"""The method by which an object says what it is: the name and version of a model behind a network, say."""

MAKING = frozenset({"__init__", "__new__", "__post_init__"})
"""Methods that count only where code makes instances of their class."""


def _labelled_parts(facts: Mapping[str, bytes]) -> Iterable[bytes]:
    return (part("label", name.encode("utf-8", "surrogatepass")) + facts[name] for name in sorted(facts))


def _sequence(walk: Walk, value: Sequence[Any], where: str) -> bytes:
    kind = "list" if isinstance(value, list) else "tuple"
    return joined(kind, [walk.value(item, f"{where}[{place}]") for place, item in enumerate(value)])


def _dict(walk: Walk, value: Mapping[Any, Any], where: str) -> bytes:
    pairs = [(walk.value(key, f"a key of {where}"), key, item) for key, item in value.items()]
    pairs.sort(key=lambda pair: pair[0])
    return joined("dict", [key + walk.value(item, f"{where}[{_short(name)}]") for key, name, item in pairs])


def _set(walk: Walk, value: Iterable[Any], where: str) -> bytes:
    kind = "frozenset" if isinstance(value, frozenset) else "set"
    links = walk.links
    parts = [walk.value(item, f"a member of {where}") for item in value if simple(item) is not None]
    # Other members may get numbers as they are met: not in the order of their addresses.
    others = sorted((item for item in value if simple(item) is None), key=_label)
    parts += [walk.value(item, f"a member of {where}") for item in others]
    if walk.links > links and len(set(map(_label, others))) < len(others):
        raise Unhashable("a set of objects, which have no order that lasts")
    return joined(kind, sorted(parts))


def _label(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return f"{type(value).__qualname__} {getattr(value, '__module__', '')} {name}" if isinstance(name, str) else ""


def _short(key: Any) -> str:
    return repr(key) if isinstance(key, (str, int)) and len(repr(key)) <= 40 else "..."


_CONTAINERS: dict[type, Handler] = {
    list: _sequence,
    tuple: _sequence,
    dict: _dict,
    MappingProxyType: _dict,
    set: _set,
    frozenset: _set,
}
