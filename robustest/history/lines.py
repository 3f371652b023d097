"""Entries as lines of JSON, and back.

A line is the list of an entry's fields, the time first. So lines in the order of their bytes are in the order of
time: a file is in order when its lines are sorted, and two files are joined by sorting the lines of both. The first
line says which claim the file is of, and names the fields. There are as many lines as claims times runs, and they may
come from elsewhere: they are held to their types a column at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn

from robustest.errors import expected
from robustest.history.claim import Claim
from robustest.history.entry import Entry

SCHEMA = 1
HEAD = b'["# '
"""What a first line begins with: it sorts before every time."""
_HEADED = "# a history of robustest"
_LARGEST = 1e100
_LONGEST = 300
"""Characters of a text."""

_MATCH: Mapping[str, Callable[[str], object]] = {
    "time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII).fullmatch,
    "committed": re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?", re.ASCII).fullmatch,
    **dict.fromkeys(("commit", "model", "data"), re.compile("[0-9a-z]{0,12}").fullmatch),
    "state": re.compile("[a-z]{1,20}").fullmatch,
    "verdict": re.compile("(passed|failed|inconclusive)?").fullmatch,
    "bounds": re.compile("(above|below)?").fullmatch,
    "comparison": re.compile("(>=|<=)?").fullmatch,
    **dict.fromkeys(("asked", "versions", "problem"), lambda text: len(text) <= _LONGEST),
}
_TRUTHS = ("dirty", "cached")
_WHOLE = ("used", "total", "forward", "backward", "seed")
_NUMBERS = ("estimate", "low", "high", "left_low", "left_high", "threshold")
_COLUMNS = {name: at for at, name in enumerate(Entry._fields)}


def head_of(claim: Claim) -> bytes:
    """The first line of a claim's file, without its end."""
    return _line([_HEADED, {"schema": SCHEMA, "claim": claim.to_dict(), "fields": list(Entry._fields)}])


def line_of(entry: Entry) -> bytes:
    """The line of an entry, without its end."""
    return _line(entry)


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def claim_of(line: bytes) -> Claim:
    """The claim that a first line tells of.

    Raises:
        TypeError, ValueError: it is none, or of another schema.
    """
    name, about = _read(line)
    if name != _HEADED or not isinstance(about, dict) or set(about) != {"schema", "claim", "fields"}:
        raise TypeError(expected("the first line of a history", name))
    if about["schema"] != SCHEMA or about["fields"] != list(Entry._fields):
        raise ValueError(f"{expected(f'schema {SCHEMA} of a history', about['schema'])}: another version wrote it")
    return Claim.from_dict(about["claim"])


Known = dict[str, set[str]]
"""Texts of each field that were looked at before: claims of one run have most of theirs in common."""


def entries_of(lines: Sequence[bytes], known: Known) -> list[Entry]:
    """The entries of lines, in their order.

    Args:
        lines: without their ends.
        known: is added to; empty at first.

    Raises:
        TypeError, ValueError: one of them is none.
    """
    rows = _read(b"[" + b",".join(lines) + b"]")
    if len(rows) != len(lines) or set(map(type, rows)) - {list} or set(map(len, rows)) - {len(_COLUMNS)}:
        raise TypeError(f"Expected lists of {len(_COLUMNS)} fields")
    columns = list(zip(*rows, strict=True))
    if columns:
        _check({name: columns[at] for name, at in _COLUMNS.items()}, known)
    return list(map(Entry._make, rows))


def _read(text: bytes) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no JSON")


def _check(columns: Mapping[str, Collection[Any]], known: Known) -> None:
    """Refuse columns that no run writes; each is gone through once, without a call of ours a value.

    Raises:
        TypeError, ValueError: naming the field.
    """
    for name, matches in _MATCH.items():
        seen = known.setdefault(name, set())
        strange = set(columns[name]) - seen  # what is no text is never among those, and matches none
        if not all(map(matches, strange)):
            raise ValueError(f"Expected {name} of a run to be a text of its form")
        seen |= strange
    for names, kinds in ((_TRUTHS, {bool}), (_WHOLE, {int}), (("seconds",), {float, int})):
        _of_types(columns, names, kinds)
    _of_types(columns, _NUMBERS, {float, int, type(None)})
    for name in (*_WHOLE, *_NUMBERS, "seconds"):
        given = {*columns[name]} - {None}
        if given and not -_LARGEST <= min(given) <= max(given) <= _LARGEST:
            raise ValueError(f"Expected {name} of a run to be a number that a run finds")
    for verdict, low, high, comparison in zip(
        columns["verdict"], columns["low"], columns["high"], columns["comparison"], strict=True
    ):
        if verdict and not (low is not None and high is not None and low <= high and comparison):
            raise ValueError("Expected a verdict with an interval and a comparison")


def _of_types(columns: Mapping[str, Collection[Any]], names: Sequence[str], kinds: AbstractSet[type]) -> None:
    for name in names:
        if not set(map(type, columns[name])) <= kinds:
            raise TypeError(f"Expected {name} of a run to be {' or '.join(sorted(kind.__name__ for kind in kinds))}")
