"""The content of a file of outcomes, as every reader returns it: columns, scores by metric, and absent parts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustest.data.readers.remedies import DROPPED, Mendable
from robustest.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    from robustest.data.readers.document import Document

Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of a file, one for each run of an item.

    Attributes:
        columns: values by the name of their column, each of the number of rows. A tool's file has `item` and what else
            `Outcomes.of` takes by default: `run`, `group`, `digest`, `prompt`, `answer`, `expected`.
        scores: a tool's scores by the name of their metric, one for each row, None where there is none; None for a
            table, whose scores are columns.
        metric: the metric that is meant if none is named; "" if there is none.
        low, high: the range of the scores, if the file says so.
        announced: number of items that the tool evaluated or was to evaluate, by its own account; None if unknown.
        absent: names of the items that have no row though they were to be evaluated, as far as the file has them.
    """

    columns: Columns
    scores: Mapping[str, Sequence[Any]] | None = None
    metric: str = ""
    low: float = 0.0
    high: float = 1.0
    announced: int | None = None
    absent: tuple[str, ...] = ()

    def chosen(self, name: str | None, where: object) -> Columns:
        """Return the columns with the scores of a metric as `score`.

        Raises:
            Mendable: there are several metrics, and none of this name.
        """
        scores = self.scores
        if scores is None:
            return self.columns
        if not max(map(len, self.columns.values()), default=0):
            raise Mendable(DataError(f"Expected at least one sample in {where} but there is none."))
        names = sorted(scores)
        chosen = name if name is not None else self.metric or (names[0] if len(names) == 1 else None)
        if chosen is None or chosen not in scores:
            got = "none is named" if chosen is None else f"score={chosen!r}"
            listed = ", ".join(names) or "no metric at all"
            raise Mendable(
                ConfigError(f"Expected score= to be one of {listed} in {where} but {got}."),
                *({"score": one} for one in sorted(names, key=lambda one: not any(scores[one]))),
            )
        return {**self.columns, "score": scores[chosen]}


@dataclass(frozen=True)
class Format:
    """The files of one tool.

    Attributes:
        recognises: function from a document to whether it is of this format; it may read all of the document.
        read: function from a document and the keywords of `options` to its table. It raises `Mendable`, or an error of
            robustest, for what is no such file.
        options: keywords that only this format takes.
        command: a command of the tool that writes such a file again, with `{path}` for the file; or "".
        tool: name of the tool, for messages.
    """

    recognises: Callable[[Document], bool]
    read: Callable[[Document, Mapping[str, Any]], Table]
    tool: str
    options: tuple[str, ...] = ()
    command: str = ""

    def command_for(self, path: Path) -> str:
        """Return the command that writes a file again, or ""."""
        return self.command.replace("{path!r}", repr(str(path))).replace("{path}", shlex.quote(str(path)))


@dataclass
class Scores:
    """Collects the scores of rows by metric: a metric that a row lacks has no score there."""

    rows: int = 0
    by_metric: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, scores: Mapping[str, Any]) -> None:
        """Add a row with its scores."""
        for name, value in scores.items():
            self.by_metric.setdefault(name, [None] * self.rows).append(value)
        self.rows += 1
        for values in self.by_metric.values():
            if len(values) < self.rows:
                values.append(None)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Return the columns of records; an absent value is None."""
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def column(columns: Mapping[str, Sequence[Any]], name: str) -> Sequence[Any] | None:
    """Return a column by its name, or by a path such as "data.correct" into the mappings of one; None without any."""
    if name in columns:
        return columns[name]
    # The column's own name may contain dots.
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        first = ".".join(parts[:cut])
        if first in columns:
            values = [_at(value, parts[cut:]) for value in columns[first]]
            if any(found for found, _ in values):
                return [value for _, value in values]
    return None


def _at(value: Any, path: Sequence[str]) -> tuple[bool, Any]:
    for place, name in enumerate(path):
        if isinstance(value, Mapping):
            rest = ".".join(path[place:])
            if rest in value:
                return True, value[rest]
            if name not in value:
                return False, None
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return False, None
    return True, value


def leaves(columns: Mapping[str, Sequence[Any]], depth: int = 3) -> dict[str, Sequence[Any]]:
    """Return the columns that hold plain values, and those inside of mappings by their paths."""
    found: dict[str, Sequence[Any]] = {}
    for name, values in columns.items():
        mappings = [one for one in values if isinstance(one, Mapping)]
        if not mappings:
            found[name] = values
        elif depth:
            inner = dict.fromkeys(str(key) for one in mappings[:50] for key in one)
            nested = {
                f"{name}.{key}": [one.get(key) if isinstance(one, Mapping) else None for one in values] for key in inner
            }
            found.update(leaves(nested, depth - 1))
    return found


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one in place of any other value."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Return the mappings in a list; none of any other value."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


# Words for a right answer, the most likely first; in small letters.
_RIGHT = (
    *("pass", "passed", "correct", "right", "true", "yes", "y", "ok", "success", "succeeded"),
    *("c", "a", "win", "1", "good", "accept", "accepted", "hit"),
)


def right_first(words: Iterable[str]) -> list[str]:
    """Return words for answers that may be right or wrong, the most likely one for a right answer first."""
    return sorted(words, key=lambda one: (_RIGHT.index(one.lower()) if one.lower() in _RIGHT else len(_RIGHT), one))


def plain(value: object) -> str:
    """Return a value of a tool's file as the text that reports show."""
    if value is None or isinstance(value, str):
        return value or ""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def check_keywords(given: Mapping[str, Any], taken: Iterable[str]) -> None:
    """Raise a `Mendable` for a keyword that a reader does not take."""
    have = set(taken)
    for name in given:
        if name not in have:
            raise Mendable(unknown("keyword for this file", name, have), {name: DROPPED})
