"""The further numbers of a claim as facts and tables; no kind of claim is known here, only shapes of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustest.reports.html.scales import Scale, scale

MOST_ROWS = 60
"""Rows of a table that are shown; what is longer is in the JSON file."""

_IN_A_LINE = 8
"""Entries of a mapping that are still read at a glance without a table."""

_NOTHING = "\N{EN DASH}"

_ELSEWHERE = ("health", "baseline", "class_names", "max_flip", "max_recall_drop", "pictures")
"""Details that have a place of their own on the page, or are in the claim's words already."""

_NAMES = {
    "accuracy_off": "accuracy, cue off",
    "accuracy_on": "accuracy, cue on",
    "broken_by_attack": "broken by attack",
    "drawn": "drawn to it",
    "driven_away": "driven away",
    "largest_size": "largest size found",
    "lost": "lost by the change",
    "gained": "gained by it",
    "mcnemar_p": "McNemar p",
    "most_drawn_class": "most drawn to class",
    "of": "out of",
    "quantiles": "size, by share",
    "recall_drop": "largest recall drop",
    "recall_drop_class": "in class",
    "stages": "broken, by stage",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and a value, both in words."""

    name: str
    value: str


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


def facts_and_tables(details: Mapping[str, Any], threshold: float | None = None) -> tuple[list[Fact], list[Table]]:
    """A claim's details: single values as facts, lists and mappings as tables.

    A value and its "..._interval" become one fact. A row of a table with an "interval" is drawn on a scale.

    Args:
        details: plain JSON types.
        threshold: what groups are held against, or None.
    """
    facts: list[Fact] = []
    tables: list[Table] = []
    for key, value in details.items():
        if key in _ELSEWHERE or (key.endswith("_interval") and key.removesuffix("_interval") in details):
            continue
        name = named(key)
        if _rows(value):
            tables.append(_listed(name, value, threshold))
        elif isinstance(value, Mapping) and value and all(_rows(part) for part in value.values()):
            tables += [_listed(f"{name}: {part}", rows, threshold) for part, rows in value.items()]
        elif isinstance(value, Mapping) and value and all(isinstance(part, Mapping) for part in value.values()):
            tables.append(_crossed(name, value))
        elif isinstance(value, Mapping) and any(_rows(part) for part in value.values()):
            more = facts_and_tables({f"{key}: {named(part)}": one for part, one in value.items()}, threshold)
            facts += more[0]
            tables += more[1]
        elif isinstance(value, Mapping) and len(value) > _IN_A_LINE:
            tables.append(_paired(name, value))
        elif isinstance(value, Mapping) and value:
            facts.append(Fact(name, shown(value)))
        elif value is not None and value not in ({}, []):
            facts.append(Fact(name, _with_interval(value, details.get(f"{key}_interval"))))
    return facts, tables


def named(key: object) -> str:
    """A key of the details in words."""
    return _NAMES.get(str(key), str(key).replace("_", " "))


def shown(value: object) -> str:
    """A plain JSON value in words: four figures, thousands marked, yes and no, a dash for nothing."""
    if isinstance(value, Mapping):
        return ", ".join(f"{named(key)}: {shown(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(shown(part) for part in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: _NOTHING}[value]
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return str(value)


def _with_interval(value: object, interval: object) -> str:
    return f"{shown(value)} {shown(interval)}" if isinstance(interval, Sequence) else shown(value)


def _rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _listed(name: str, rows: list[Mapping[str, Any]], threshold: float | None) -> Table:
    """A list of mappings, e.g. groups with their accuracies."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    drawn = any(_pair(row.get("interval")) for row in rows)
    cells = [
        (*(shown(row.get(key)) for key in keys), *((_drawn(row, threshold),) if drawn else ()))
        for row in rows[:MOST_ROWS]
    ]
    columns = (*(named(key) for key in keys), *(("on the scale 0..1",) if drawn else ()))
    return Table(caption=name, columns=columns, rows=tuple(cells), cut=max(0, len(rows) - MOST_ROWS))


def _drawn(row: Mapping[str, Any], threshold: float | None) -> str | Scale:
    interval = _pair(row.get("interval"))
    if interval is None:
        return ""
    value = next((v for k, v in row.items() if isinstance(v, float) and k in ("accuracy", "share", "estimate")), None)
    return scale(interval, value, threshold=threshold)


def _pair(value: object) -> tuple[float, float] | None:
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, (int, float)) for end in value):
        return float(value[0]), float(value[1])
    return None


def _crossed(name: str, value: Mapping[str, Mapping[str, Any]]) -> Table:
    """A mapping of mappings, e.g. accuracy by corruption and severity."""
    keys = list(dict.fromkeys(key for row in value.values() for key in row))
    rows = [(row, *(shown(cells.get(key)) for key in keys)) for row, cells in value.items()]
    columns = ("", *(named(key) for key in keys))
    return Table(caption=name, columns=columns, rows=tuple(rows[:MOST_ROWS]), cut=max(0, len(rows) - MOST_ROWS))


def _paired(name: str, value: Mapping[str, Any]) -> Table:
    rows = [(named(key), shown(part)) for key, part in value.items()]
    return Table(caption=name, columns=("", "value"), rows=tuple(rows[:MOST_ROWS]), cut=max(0, len(rows) - MOST_ROWS))
