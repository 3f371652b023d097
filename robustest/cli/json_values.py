"""JSON from elsewhere, held to what any program can work with before anything looks into it."""

from __future__ import annotations

import json
import math
from typing import Any

DEEPEST = 32
"""Levels of lists and objects: results have fewer than ten."""
LARGEST = 1e100
"""Of numbers: results have shares, sizes, counts and seconds."""
LONGEST = 1_000_000
"""Characters of one text."""


def parsed(data: bytes) -> Any:
    """The value that a JSON text stands for.

    Raises:
        ValueError: it is no JSON in UTF-8, has a name twice in one object, is nested deeper than `DEEPEST`, or has a
            number or a text beyond `LARGEST` or `LONGEST`.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    _check(value)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:80]!r} is there twice in one object")
    return made


def _check(value: Any) -> None:
    """Without recursion, so that no depth can break it."""
    waiting = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, (dict, list)):
            if depth > DEEPEST:
                raise ValueError(f"it is nested deeper than {DEEPEST} levels")
            inside = one.values() if isinstance(one, dict) else one
            waiting += [(part, depth + 1) for part in inside if part is not None and part is not True]
            if isinstance(one, dict) and any(len(name) > LONGEST for name in one):
                raise ValueError(f"a name of more than {LONGEST:,} characters")
        elif isinstance(one, str) and len(one) > LONGEST:
            raise ValueError(f"a text of {len(one):,} characters, of which {LONGEST:,} are allowed")
        elif isinstance(one, (int, float)) and not (abs(one) <= LARGEST and math.isfinite(one)):
            raise ValueError(f"a number beyond {LARGEST:g}")
