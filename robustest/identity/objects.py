"""Classes, by what their methods do; objects, by their class and state."""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import logging
import os
import random
import sys
import threading
import types
import weakref
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any

import numpy as np
import torch
from torch import nn

from robustest.identity.functions import seek
from robustest.identity.packages import MEND, home_of_class
from robustest.identity.patches import replaced_in
from robustest.identity.plain import Unhashable, joined, part, words
from robustest.identity.walk import MAKING, Handler, Node, Walk

_NO_MATTER = words(
    "__abstractmethods__ __annotate__ __annotate_func__ __annotations__ __annotations_cache__ __classcell__"
    " __conditional_annotations__"
    " __class_getitem__ __dataclass_fields__ __dataclass_params__ __del__ __dict__ __dir__ __doc__ __firstlineno__"
    " __format__ __getnewargs__ __getnewargs_ex__ __getstate__ __init_subclass__ __match_args__ __module__"
    " __orig_bases__ __parameters__ __qualname__ __reduce__ __reduce_ex__ __replace__ __repr__ __setstate__"
    " __sizeof__ __slotnames__ __slots__ __static_attributes__ __str__ __subclasshook__ __type_params__ __weakref__"
    " _abc_impl _is_protocol _is_runtime_protocol _member_map_ _member_names_ _member_type_ _missing_"
    " _new_member_ _unhashable_values_ _unhashable_values_map_ _hashable_values_ _use_args_ _value2member_map_"
    " _value_repr_ _boundary_ _flag_mask_ _singles_mask_ _all_bits_ _inverted_ _generate_next_value_"
)
"""Members of classes that say nothing of what their instances do, or say again what others say."""

_GENERATED = "<string>"
"""The file that the methods which `dataclass` writes say they are from."""

_SHARED = (vars(random)["_inst"], vars(np.random.mtrand)["_rand"], torch.default_generator)
"""The process's generators of random numbers: their state is nobody's model's."""

_LOCKS = (type(threading.Lock()), type(threading.RLock()))


def class_of(walk: Walk, cls: type, where: str, *, made: bool = False) -> bytes:
    """A class, reached through an instance or a subclass; `made` where code may make instances of it."""
    package = home_of_class(cls)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if package is None:
        number = walk.node(cls, cls.__qualname__, lambda node: _read(walk, node))
        if made:
            for base in cls.__mro__:
                walk.made(base)
        return number
    told = part("class", f"{package} {name}".encode())
    if not issubclass(cls, nn.Module):
        return told
    # What was replaced in a package's class is not told by the package's version.
    called = [walk.value(cls.forward, f"{name}.forward"), walk.value(cls.__call__, name)]
    return joined("module class", [told, *called, replaced_in(walk, cls)])


def foreign(cls: type) -> frozenset[str]:
    """Names in a class's bases from installed packages, whose code, which nobody reads here, may look them up."""
    bases = [base for base in cls.__mro__ if base not in (object, nn.Module) and home_of_class(base) is not None]
    return frozenset(name for base in bases for name in vars(base))


def _class(walk: Walk, value: type, where: str) -> bytes:
    seek(walk, value)
    return class_of(walk, value, where, made=True)


def _read(walk: Walk, node: Node) -> None:
    cls: type = node.value
    node.facts["name"] = part("name", f"{cls.__module__}.{cls.__qualname__}".encode())
    node.facts["bases"] = joined("bases", [class_of(walk, base, node.where) for base in cls.__mro__[1:]])
    node.facts["kind"] = class_of(walk, type(cls), node.where)
    module = _module_of(cls)
    if str(getattr(module, "__file__", "")).endswith(tuple(EXTENSION_SUFFIXES)):  # methods that are no Python code
        node.facts["file"] = walk.value(module, node.where)
    whole, overridden = not issubclass(cls, nn.Module), foreign(cls)

    def now(name: str, member: Any) -> bool:
        if name in MAKING:
            return whole
        dunder = name.startswith("__") and name.endswith("__")
        return whole or name in overridden or (dunder and isinstance(member, types.FunctionType))

    walk.wait(node, {name: m for name, m in vars(cls).items() if _matters(cls, name, m)}, now=now)


def _matters(cls: type, name: str, member: Any) -> bool:
    if name in _NO_MATTER or isinstance(member, (types.MemberDescriptorType, types.GetSetDescriptorType)):
        return False
    written = isinstance(member, types.FunctionType) and member.__code__.co_filename == _GENERATED
    return not (written and dataclasses.is_dataclass(cls) and name not in MAKING)


def _enum(walk: Walk, value: enum.Enum, where: str) -> bytes:
    cls = class_of(walk, type(value), where)
    return joined("enum", [cls, part("name", str(value.name).encode()), walk.value(value.value, where)])


def _object(walk: Walk, value: Any, where: str) -> bytes:
    if any(value is shared for shared in _SHARED):
        return part("random numbers")
    parameters = vars(type(value)).get("__dataclass_params__")
    if parameters is not None and parameters.frozen:
        return walk.container(value, lambda: _frozen(walk, value, where))
    return walk.node(value, where, lambda node: _state(walk, node))


def _frozen(walk: Walk, value: Any, where: str) -> bytes:
    parts = [class_of(walk, type(value), where)]
    for name in sorted(field.name for field in dataclasses.fields(value)):
        parts += [part("field", name.encode()), walk.value(getattr(value, name), f"{where}.{name}")]
    return joined("dataclass", parts)


def _state(walk: Walk, node: Node) -> None:
    """An object's class and what it keeps: its attributes, or what it says for itself where it has a say.

    Raises:
        Unhashable: it keeps something where Python cannot see it.
    """
    value: Any = node.value
    cls: Any = type(value)
    node.facts["class"] = class_of(walk, cls, node.where)
    reduce = copyreg.dispatch_table.get(cls)
    try:
        kept = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except Exception as error:
        raise Unhashable(f"{node.where} keeps what cannot be read ({error}). {MEND}", placed=True) from error
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
    else:
        walk.wait(node, {**_slots(value), **getattr(value, "__dict__", {})}, now=lambda *_: True)


def _module_of(value: Any) -> types.ModuleType | None:
    return sys.modules.get(getattr(value, "__module__", None) or "")


def _slots(value: Any) -> dict[str, Any]:
    """The attributes that an object keeps outside a dict."""
    kept = {}
    for cls in type(value).__mro__:
        for name, member in vars(cls).items():
            if "__slots__" in vars(cls) and isinstance(member, types.MemberDescriptorType):
                try:
                    kept[name] = member.__get__(value)
                except AttributeError:  # not set
                    continue
    return kept


def _referred(walk: Walk, value: weakref.ref[Any], where: str) -> bytes:
    return joined("weak", [walk.value(value(), where)])


def _named(walk: Walk, value: logging.Logger, where: str) -> bytes:
    return part("logger", value.name.encode())


def _lock(walk: Walk, value: object, where: str) -> bytes:
    return part("lock")


def _packed(walk: Walk, value: Any, where: str) -> bytes:
    """An object of C++, such as a quantised layer's weights, where it can be saved."""
    if not value._has_method("__getstate__"):
        raise Unhashable(f"a {value._type().name()}, whose state cannot be read. {MEND}")
    return joined("packed", [part("name", value._type().name().encode()), walk.value(value.__getstate__(), where)])


def _outside(walk: Walk, value: object, where: str) -> bytes:
    raise Unhashable(f"a {type(value).__name__.strip('_')}, which is not part of a model's state. {MEND}")


HANDLERS: tuple[tuple[type | tuple[type, ...], Handler], ...] = (
    (type, _class),
    (enum.Enum, _enum),
    (weakref.ref, _referred),
    (logging.Logger, _named),
    (_LOCKS, _lock),
    (torch.ScriptObject, _packed),
    ((type(os.environ), types.GeneratorType, types.FrameType), _outside),
    (object, _object),
)
