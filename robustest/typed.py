"""Data classes whose fields have the types of their annotations, also when they are read from JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from robustest.errors import expected

T = TypeVar("T")

INLINE: Mapping[str, bool] = {"inline": True}
"""Metadata of a field that holds a data class whose fields stand in JSON beside those of its owner."""

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}


def from_plain(cls: Callable[..., T], data: object, what: str) -> T:
    """Return a data class from JSON types: its fields are named, none is missing, and each has its annotated type.

    Lists become tuples and frozensets, objects data classes, and texts members of an enumeration.

    Args:
        what: the data class in words, for messages.

    Raises:
        KeyError: a field is missing.
        TypeError: a field is unknown, or has another type.
        ValueError: a text is no member of its enumeration.
    """
    if not isinstance(data, Mapping):
        raise TypeError(expected(f"the fields of {what}", data))
    names = _names(cls)
    # Ignoring an unknown field of another version could change a verdict.
    if surplus := sorted(set(data) - set(names)):
        raise TypeError(f"Expected the fields of {what} but got also {surplus}")
    for name in names:
        if name not in data:
            raise KeyError(name)
    hints = _hints(cls)
    inside = {name: {field: data[field] for field in _names(hints[name])} for name in _inline(cls)}
    return cls(
        **{
            name: from_plain(hint, inside[name], what)
            if name in inside
            else _made(hint, data[name], f"{name} of {what}")
            for name, hint in hints.items()
        }
    )


def to_plain(value: Any) -> Any:
    """Return plain JSON types, the inverse of `from_plain`; raise TypeError for any other value inside."""
    # Exact types: a subclass, such as numpy's float64, would return from JSON as another type; NaN is no JSON. They are
    # first, as there is an outcome for each sample.
    if value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {}
        inline = _inline(type(value))
        for each in fields(value):
            made = to_plain(getattr(value, each.name))
            plain |= made if each.name in inline else {each.name: made}
        return plain
    raise TypeError(f"Expected plain JSON types in a result but got {value!r} ({type(value).__name__})")


def check_fields(value: Any, what: str) -> None:
    """Raise TypeError unless each field of a data class, a plain value or a mapping, has its annotated type."""
    kind: Any = type(value)
    for name, hint in _hints(kind).items():
        _made(hint, getattr(value, name), f"{name} of {what}")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {one.name: hints[one.name] for one in fields(cls)}


@cache
def _inline(cls: Any) -> frozenset[str]:
    return frozenset(one.name for one in fields(cls) if one.metadata.get("inline"))


@cache
def _names(cls: Any) -> tuple[str, ...]:
    """Return the names of a data class's fields in JSON."""
    hints, inline = _hints(cls), _inline(cls)
    return tuple(name for one in hints for name in (_names(hints[one]) if one in inline else (one,)))


def _made(hint: Any, value: Any, what: str) -> Any:
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for kind in options:
        # Exact types: true is no number, and a subclass such as numpy's float64 would not return from JSON.
        if kind is Any or type(value) in ((int, float) if kind is float else (kind,)):
            return value
    if str in options and isinstance(value, str):
        return value
    kind = next((one for one in options if one not in _WORDS), None)
    if kind is None:
        raise TypeError(expected(f"{what} to be {' or '.join(_WORDS[one] for one in options)}", value))
    if is_dataclass(kind):
        return from_plain(kind, value, what)  # type: ignore[arg-type]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise TypeError(expected(f"{what} to be an object", value))
        return {
            _made(parts[0], key, f"a name of {what}"): _made(parts[1], part, f"{key} of {what}")
            for key, part in value.items()
        }
    if not isinstance(value, (list, tuple)):
        raise TypeError(expected(f"{what} to be a list", value))
    if origin is tuple and parts[-1] is not ... and len(value) != len(parts):
        raise TypeError(expected(f"{what} to be {len(parts)} values", value))
    entries = value
    if all(one in _WORDS for one in (get_args(parts[0]) or parts[:1])):
        # One value of each type is enough: lists of outcomes are as long as the data.
        for one in {type(one): one for one in value}.values():
            _made(parts[0], one, f"an entry of {what}")
    else:
        entries = [_made(parts[0], one, f"an entry of {what}") for one in value]
    return entries if origin is Sequence else origin(entries)
