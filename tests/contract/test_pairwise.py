"""The thinned tables keep every pair of values."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from pairwise import axes, covering, pairs, singles, thin, thinned

CASES = [case for case in itertools.product("abcdef", range(5), ("x", "y", "z")) if case[:2] != ("a", 0)]


def test_every_pair_is_kept_and_most_cases_are_not() -> None:
    kept = [CASES[at] for at in covering(CASES)]
    assert set().union(*map(pairs, kept)) == set().union(*map(pairs, CASES))
    assert len(kept) < len(CASES) / 2


def test_no_case_is_lost() -> None:
    params = thinned(CASES, [str(case) for case in CASES])
    assert [one.values for one in params] == CASES
    assert sum(not one.marks for one in params) == len(covering(CASES))


class Row(SimpleNamespace):
    """An item of pytest, as far as `thin` looks."""

    def iter_markers(self, name: str) -> list[Any]:
        return [mark.mark for mark in self.marks if mark.mark.name == name]

    def get_closest_marker(self, name: str) -> Any:
        return next((mark for mark in self.marks if mark.name == name), None)

    def add_marker(self, name: str) -> None:
        self.marks.append(getattr(pytest.mark, name))


def table(values: list[str], *marks: Any) -> list[Row]:
    """Rows of a table whose axes are one of two names and others of one name each."""
    names = [("a", "b"), *[(f"c{at}",) for at in range(1, len(values))]]
    stacked = [pytest.mark.parametrize(",".join(axis), []) for axis in names]
    rows = []
    for case in itertools.product(*values):
        given = {name: value for axis, value in zip(names, case, strict=True) for name in axis}
        rows.append(Row(nodeid=f"t.py::test[{case}]", callspec=SimpleNamespace(params=given), marks=[*marks, *stacked]))
    return rows


@pytest.mark.parametrize(("values", "parts"), [(["pqrs", "uvw"], singles), (["pqrs", "uvw", "xyz"], pairs)])
def test_a_thinned_table_keeps_every_value_or_every_pair(values: list[str], parts: Any) -> None:
    rows = table(values, pytest.mark.thinned)
    thin(rows)
    kept = [axes(row) for row in rows if not row.get_closest_marker("slow")]
    assert set().union(*map(parts, kept)) == set().union(*(parts(axes(row)) for row in rows))
    assert len(kept) <= len(rows) / 2
    again = table(values)
    thin(again)
    assert not any(row.get_closest_marker("slow") for row in again)
