"""How outcomes come about, in words that two runs compare."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def measured_by(identity: object, task: object) -> str:
    """All that outcomes hang on besides model, samples and seed; empty where some of it has no words of its own.

    A claim's statement names its attack, not the steps, and its task, not every cut. With fewer steps, or an easier
    cut, a worse model looks as good as it was. Of values only what is not the default is told, so that a new field of
    a later version changes nothing.

    Args:
        identity: as `Plan.identity`.
        task: what answers are.
    """
    try:
        return "" if identity is None else _told((identity, task))
    except _Wordless:
        return ""


class _Wordless(Exception):
    """A value whose repr differs from run to run."""


def _told(value: object) -> str:
    if value is None or isinstance(value, (str, bool, int, float)):
        return repr(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_told, value))})"
    if is_dataclass(value):
        given = ((field, getattr(value, field.name, None)) for field in fields(value) if field.compare)
        changed = (f"{field.name}={_told(one)}" for field, one in given if not _is_default(field, one))
        return f"{type(value).__name__}({', '.join(changed)})"
    raise _Wordless


def _is_default(field: Field[Any], value: object) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return type(default) is type(value) and bool(default == value)
