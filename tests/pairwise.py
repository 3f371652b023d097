"""Tables of tests thinned to pairs: every two values that occur together still do, in the tests of every day.

Faults mostly take one value or two to show (Kuhn, Wallace and Gallo, IEEE TSE 2004), while a table of three columns
grows with the third power. Cases that bring no new pair are marked slow: `tox -e slow` runs the whole table.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest


def pairs(case: Sequence[Any]) -> set[Any]:
    """The pairs of a case, each value with its column; values are told apart by their text."""
    return set(itertools.combinations([(at, str(value)) for at, value in enumerate(case)], 2))


def singles(case: Sequence[Any]) -> set[Any]:
    """The values of a case, each with its column."""
    return {(at, str(value)) for at, value in enumerate(case)}


def covering(cases: Sequence[Sequence[Any]], parts: Callable[[Sequence[Any]], set[Any]] = pairs) -> list[int]:
    """Return positions of cases, ascending, in which every pair of values occurs that occurs in any case.

    Greedy: first cases of which all pairs are new, then those with one known pair, and so on. The order in which they
    are taken is drawn, as neighbours in a table share most of their values.

    Args:
        cases: rows of a table.
        parts: what of a case has to occur, in place of its pairs.
    """
    order = np.random.default_rng(0).permutation(len(cases)).tolist()
    own = [parts(case) for case in cases]
    covered: set[Any] = set()
    chosen = []
    for least in range(max(map(len, own), default=0), 0, -1):
        for at in order:
            if len(own[at] - covered) >= least:
                chosen.append(at)
                covered |= own[at]
    return sorted(chosen)


def axes(item: Any) -> tuple[Any, ...]:
    """What each `parametrize` of a test gives this row of its table; values are told apart as objects."""
    given = item.callspec.params
    names = [mark.args[0] for mark in item.iter_markers("parametrize")]
    split = [name.replace(",", " ").split() if isinstance(name, str) else name for name in names]
    others = [[name] for name in given if not any(name in axis for axis in split)]  # of fixtures with parameters
    return tuple(tuple(id(given[name]) for name in axis) for axis in (*split, *others))


def thin(items: Iterable[Any]) -> None:
    """Mark as slow the rows that a table marked `thinned` leaves to the slow tests.

    Of two axes each value stays with some value of the other one, of three and more each pair does.
    """
    tables: dict[str, list[Any]] = {}
    for item in items:
        if item.get_closest_marker("thinned") and not item.get_closest_marker("slow"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for rows in tables.values():
        cases = [axes(row) for row in rows]
        kept = {*covering(cases, singles if len(cases[0]) < 3 else pairs)}
        for at, row in enumerate(rows):
            if at not in kept:
                row.add_marker("slow")


def thinned(cases: Sequence[Sequence[Any]], ids: Sequence[str]) -> list[Any]:
    """Return all cases as pytest takes them, those marked slow that bring no new pair."""
    kept = set(covering(cases))
    slow = pytest.mark.slow
    return [
        pytest.param(*case, id=name, marks=() if at in kept else slow)
        for at, (case, name) in enumerate(zip(cases, ids, strict=True))
    ]
