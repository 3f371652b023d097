"""The further numbers of a claim as tables; no kind of claim is known here, only shapes of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustest.reports.html.scales import Scale, scale
from robustest.results import SHOWN_ELSEWHERE, is_rows, is_table, named, shown

MOST_ROWS = 60
"""Rows of a table that are shown; what is longer is in the JSON file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of words and scales.

    Attributes:
        caption: what it shows.
        columns: their names; the first holds the rows' names.
        rows: cells by row, words or scales.
        cut: rows that are left out.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Scale, ...], ...]
    cut: int = 0


def tables_of(details: Mapping[str, Any], names: Mapping[str, str], threshold: float | None = None) -> list[Table]:
    """Those of a claim's details that are tables; the others are facts (`robustest.results.facts_of`).

    A row with an "interval" is drawn on a scale.

    Args:
        details: plain JSON types.
        names: keys in words.
        threshold: what groups are held against, or None.
    """
    tables: list[Table] = []
    for key, value in details.items():
        if key in SHOWN_ELSEWHERE:
            continue
        name = named(key, names)
        if is_rows(value):
            tables.append(_listed(name, value, names, threshold))
        elif isinstance(value, Mapping) and any(is_rows(part) for part in value.values()):
            mixed = not is_table(value)
            join = f"{name}: {{}}"
            inside = {join.format(named(part, names) if mixed else part): one for part, one in value.items()}
            tables += tables_of(inside, names, threshold)
        elif isinstance(value, Mapping) and is_table(value):
            crossed = all(isinstance(part, Mapping) for part in value.values())
            tables.append((_table_of_rows if crossed else _paired)(name, value, names))
    return tables


def _listed(name: str, rows: list[Mapping[str, Any]], names: Mapping[str, str], threshold: float | None) -> Table:
    """A list of mappings, e.g. groups with their accuracies."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    drawn = any(_pair(row.get("interval")) for row in rows)
    cells = [
        (*(shown(row.get(key), names) for key in keys), *((_scale_of(row, threshold),) if drawn else ()))
        for row in rows[:MOST_ROWS]
    ]
    columns = (*(named(key, names) for key in keys), *(("on the scale 0..1",) if drawn else ()))
    return Table(caption=name, columns=columns, rows=tuple(cells), cut=max(0, len(rows) - MOST_ROWS))


def _scale_of(row: Mapping[str, Any], threshold: float | None) -> str | Scale:
    interval = _pair(row.get("interval"))
    if interval is None:
        return ""
    value = next((v for k, v in row.items() if isinstance(v, float) and k in ("accuracy", "share", "estimate")), None)
    return scale(interval, value, threshold=threshold)


def _pair(value: object) -> tuple[float, float] | None:
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, (int, float)) for end in value):
        return float(value[0]), float(value[1])
    return None


def _table_of_rows(name: str, value: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> Table:
    """A mapping of mappings, e.g. accuracy by corruption and severity."""
    keys = list(dict.fromkeys(key for row in value.values() for key in row))
    rows = [(row, *(shown(cells.get(key), names) for key in keys)) for row, cells in value.items()]
    columns = ("", *(named(key, names) for key in keys))
    return Table(caption=name, columns=columns, rows=tuple(rows[:MOST_ROWS]), cut=max(0, len(rows) - MOST_ROWS))


def _paired(name: str, value: Mapping[str, Any], names: Mapping[str, str]) -> Table:
    rows = [(named(key, names), shown(part, names)) for key, part in value.items()]
    return Table(caption=name, columns=("", "value"), rows=tuple(rows[:MOST_ROWS]), cut=max(0, len(rows) - MOST_ROWS))
