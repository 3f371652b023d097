"""The files of a run's shards become that of the whole run, or it is said what is missing."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustest.cli.exits import missing, wrong
from robustest.cli.runs import Run, Shard, read_run
from robustest.cli.screen import Screen
from robustest.cli.table import show_rows
from robustest.errors import ConfigError
from robustest.ledger import Row
from robustest.reports import github, html, json_file, junit
from robustest.settings import Settings, coerce
from robustest.store.provenance import commit
from robustest.version import VERSION

_PLACES = ("pictures", "store", "corpus", "baseline")
"""Settings that say where a machine keeps its files: they may differ, but not whether there is such a place."""

_MOST = 20
"""Problems of one kind that are printed; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file, and which part of the run it has."""

    run: Run
    shard: Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where the whole run is written; None writes none of a kind.

    Attributes:
        output: the JSON file.
        xml: the JUnit file.
        page: the folder of the HTML page.
        inline: whether the page has its pictures inside.
    """

    output: str | None = None
    xml: str | None = None
    page: str | None = None
    inline: bool = False


def merge(paths: Sequence[str], targets: Targets, *, details: bool) -> int:
    """Merge shards, print the whole, and write it where asked; on GitHub into the step's summary too.

    Args:
        paths: files, or patterns where no shell expanded them.
        targets: where to write the whole.
        details: whether every number of every claim is printed.

    Returns:
        0 where every claim passed, else 1.

    Raises:
        Refused: shards do not make up one whole run; nothing is written.
        ConfigError: a page is asked for, and Jinja2 is not installed; nothing is written.
    """
    output = targets.output
    files = [Path(name) for path in paths for name in _expanded(path)]
    if output is not None and Path(output).resolve() in [file.resolve() for file in files]:
        raise wrong(f"Expected -o to name another file than the shards but got {output}, which is one of them.")
    rows, settings = whole([read_run(file) for file in files])
    if targets.page is not None:
        about = {"commit": commit()} if commit() else None
        html.write(targets.page, rows, [], settings, inline=targets.inline, about=about)
    if output is not None:
        json_file.write(output, rows, [], settings)
    if targets.xml is not None:
        junit.write(targets.xml, rows)
    github.report(rows, [], environ=os.environ, annotations=False)  # the shards' own steps have annotated
    return show_rows(Screen(), rows, [], {"inconclusive": settings.inconclusive}, details=details)


def whole(runs: Sequence[Run]) -> tuple[list[Row], Settings]:
    """The rows of the whole run in the order of collection, and its settings: those of the first shard.

    Raises:
        Refused: a shard is missing, there twice, of another run or no shard; a test is missing or there twice;
            something was lost; or nothing was measured.
    """
    problems = [f"{run.path} is of a whole run, not a shard of one" for run in runs if run.shard is None]
    problems += [f"{run.path} lost results: {lost}" for run in runs for lost in run.lost]
    parts = sorted((Part(run, run.shard) for run in runs if run.shard is not None), key=lambda part: part.shard.index)
    kept: dict[int, Part] = {}
    for part in parts:
        first = kept.setdefault(part.shard.index, part)
        if first.run.content != part.run.content:
            problems.append(
                f"shard {part.shard.index} is there twice, and not the same: {first.run.path} and {part.run.path}"
            )
    once = list(kept.values())
    problems += [problem for part in once[1:] for problem in _of_another_run(once[0], part)]
    if once:
        count = max(part.shard.count for part in once)
        problems += [f"shard {index} of {count} is missing" for index in range(1, count + 1) if index not in kept]
    if not problems:
        problems = list(_incomplete(once))
    if problems:
        raise missing("\n".join(["Expected the shards of one whole run but:", *_listed(problems)]))
    try:
        return _ordered(once), Settings().but(coerce(once[0].run.settings))
    except ConfigError as error:
        raise missing(f"Expected the settings of a run in {once[0].run.path} but got: {error}") from error


def _expanded(path: str) -> list[str]:
    return sorted(glob.glob(path)) or [path] if glob.has_magic(path) and not Path(path).exists() else [path]


def _of_another_run(first: Part, other: Part) -> Iterator[str]:
    """Why a shard cannot be of the same run as the first; the first is of this version, or its file was refused."""
    a, b = first.run, other.run
    if a.version != b.version:
        yield f"{a.path} was written by robustest {a.version}, {b.path} by {b.version}"
    if first.shard.count != other.shard.count:
        yield f"{a.path} is one of {first.shard.count} shards, {b.path} one of {other.shard.count}"
    for name in sorted({*a.settings, *b.settings}):
        ours, theirs = _compared(a, name), _compared(b, name)
        if ours != theirs:
            yield f"{a.path} was measured with {name} = {ours!r}, {b.path} with {name} = {theirs!r}"
    if first.shard.tests != other.shard.tests:
        yield f"{a.path} and {b.path} collected other tests: {_difference(first.shard.tests, other.shard.tests)}"


def _compared(run: Run, name: str) -> Any:
    value = run.settings.get(name)
    return value is not None if name in _PLACES else value


def _difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    lone = sorted({*ours} ^ {*theirs})
    if not lone:
        return "the same in another order"
    return f"{lone[0]} is only in one of them" + (f", and {len(lone) - 1} more" if len(lone) > 1 else "")


def _incomplete(parts: Sequence[Part]) -> Iterator[str]:
    """What is missing, or too much, in shards of the same run."""
    tests = dict.fromkeys(parts[0].shard.tests)
    if any(part.run.version != VERSION for part in parts):
        yield f"they were written by robustest {parts[0].run.version}; this is {VERSION}"
    reported: dict[str, Path] = {}
    for part in parts:
        here = dict.fromkeys(row.test for row in part.run.rows)
        yield from (f"{part.run.path} reports {test}, which was not collected" for test in here if test not in tests)
        if part.shard.reported is not None:
            yield from (
                f"{part.run.path} reports {test}, another shard's" for test in here if test not in part.shard.reported
            )
            here = {test: None for test in tests if test in part.shard.reported}
        for test in here:
            if test in reported:
                yield f"{test} was reported by two shards: {reported[test]} and {part.run.path}"
            reported[test] = part.run.path
    yield from (f"no shard reported {test}" for test in tests if test not in reported)
    if not any(part.run.rows for part in parts):
        yield "none of them has a result: a run without a verdict is not green"


def _listed(problems: Iterable[str]) -> list[str]:
    every = list(dict.fromkeys(problems))
    more = [f"  and {len(every) - _MOST} more"] if len(every) > _MOST else []
    return [f"  {problem}" for problem in every[:_MOST]] + more


def _ordered(parts: Sequence[Part]) -> list[Row]:
    order = {test: place for place, test in enumerate(parts[0].shard.tests)}
    return sorted((row for part in parts for row in part.run.rows), key=lambda row: order[row.test])
