"""The lines of a claim's file: which claim it is of, and what was ever asked of it.

What stays the same from run to run is written here once, under a name made of what it says, and the lines of runs
(`robustest.history.runs`) name it. Files may come from elsewhere, so that nothing is believed that no run writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import Any, NamedTuple, NoReturn

from robustest.errors import expected
from robustest.history.claim import Claim
from robustest.history.entry import Entry

SCHEMA = 3
HEAD = b'["# '
"""What a first line begins with: it sorts before all others."""
_HEADED = "# a history of robustest"
LONGEST = 300
"""Characters of a text."""
_LARGEST = 1e100

bounds_form = re.compile("(above|below)?").fullmatch
comparison_form = re.compile("(>=|<=)?").fullmatch


class Asked(NamedTuple):
    """What was asked of a claim: fields of an `Entry` that no result moves."""

    bounds: str
    total: int
    threshold: float | None
    comparison: str
    asked: str

    @property
    def name(self) -> str:
        """What stands for it in the lines of runs: a digest of all it says."""
        return name_of(self)


def asked_of(entry: Entry) -> Asked:
    """What an entry says that no result moves."""
    return Asked(entry.bounds, entry.total, entry.threshold, entry.comparison, entry.asked)


def name_of(value: object) -> str:
    """Eight characters that stand for a value of plain JSON types."""
    return sha256(line_of(value)).hexdigest()[:8]


def line_of(value: object) -> bytes:
    """A line, without its end."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def head_of(**about: object) -> bytes:
    """A first line, which says what the file is of."""
    return line_of([_HEADED, {"schema": SCHEMA, **about}])


def about_of(line: bytes, name: str) -> Any:
    """What a first line says the file is of, under this name.

    Raises:
        TypeError, ValueError: it is no first line of such a file, or of another schema.
    """
    parts = parsed(line)
    if not isinstance(parts, list) or len(parts) != 2 or parts[0] != _HEADED or not isinstance(parts[1], dict):
        raise TypeError("Expected the first line of a history")
    if parts[1].get("schema") != SCHEMA:
        raise ValueError(
            f"{expected(f'schema {SCHEMA} of a history', parts[1].get('schema'))}: another version wrote it. Install "
            "that version, or begin a history in another folder"
        )
    if set(parts[1]) != {"schema", name}:
        raise TypeError(f"Expected the first line of a file of a {name}")
    return parts[1][name]


def claim_of(line: bytes) -> Claim:
    """The claim that a first line tells of.

    Raises:
        TypeError, ValueError: it is none, or of another schema.
    """
    return Claim.from_dict(about_of(line, "claim"))


def asked_line_of(asked: Asked) -> bytes:
    """The line of what was asked, without its end."""
    return line_of([asked.name, *asked])


def asked_in(line: bytes) -> Asked:
    """What was asked, of a line.

    Raises:
        TypeError, ValueError: it is none, or says something else than its name stands for.
    """
    row = parsed(line)
    if not isinstance(row, list) or len(row) != 1 + len(Asked._fields):
        raise TypeError(f"Expected a list of {1 + len(Asked._fields)} fields")
    asked = Asked(*row[1:])
    texts = (asked.bounds, asked.comparison, asked.asked)
    if not all(type(text) is str and len(text) <= LONGEST for text in texts):
        raise TypeError("Expected bounds, comparison and what was asked to be texts")
    if not (bounds_form(asked.bounds) and comparison_form(asked.comparison)):
        raise ValueError("Expected bounds and comparison of a run to be texts of their form")
    check_numbers("total", [asked.total], {int})
    check_numbers("threshold", [asked.threshold], {int, float, type(None)})
    if row[0] != asked.name:
        raise ValueError(expected(f"the name {asked.name} of what was asked", row[0]))
    return asked


def check_numbers(name: str, values: Collection[Any], kinds: AbstractSet[type]) -> None:
    """Refuse a column of numbers that no run finds: gone through as a whole, without a call of ours a value.

    Raises:
        TypeError, ValueError: naming the field.
    """
    seen = set(map(type, values))
    if not seen <= kinds:
        raise TypeError(f"Expected {name} of a run to be {' or '.join(sorted(kind.__name__ for kind in kinds))}")
    given = [value for value in values if value is not None] if type(None) in seen else values
    if given and not -_LARGEST <= min(given) <= max(given) <= _LARGEST:
        raise ValueError(f"Expected {name} of a run to be a number that a run finds")


def parsed(text: bytes) -> Any:
    """What a line says, in plain JSON types.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no JSON")


def several(values: Sequence[object], count: int, what: str) -> None:
    """Refuse a column of another length.

    Raises:
        TypeError: it is no list, or has another length.
    """
    if type(values) is not list or len(values) != count:
        raise TypeError(f"Expected {count} values of {what} in a run")
