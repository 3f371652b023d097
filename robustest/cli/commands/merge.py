"""The files of a run's shards become that of the whole run, or it is said what is missing."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from robustest.account import Account, Row, put
from robustest.cli.exits import missing, wrong
from robustest.cli.runs import Run, Shard, read_run
from robustest.cli.screen import Screen
from robustest.cli.table import show_rows
from robustest.endings import Ending, Session, meaning
from robustest.errors import ConfigError
from robustest.history import Origin
from robustest.reports import github, html, json_file, junit
from robustest.settings import Settings, coerce
from robustest.store.provenance import commit
from robustest.version import VERSION

_PLACES = ("pictures", "store", "corpus", "baseline")
"""Settings that say where a machine keeps its files: they may differ, but not whether there is such a place."""

_MOST = 20
"""Problems of one kind that are printed; the rest is counted."""

_Tested = TypeVar("_Tested", Row, Ending)


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
        0 where every test of every shard ended well, as pytest has it; 1 where one did not; 3 where a file could not
        be written.

    Raises:
        Refused: shards do not make up one whole run; nothing is written.
        ConfigError: a page is asked for, and Jinja2 is not installed; nothing is written.
    """
    output = targets.output
    files = [Path(name) for path in paths for name in _expanded(path)]
    if output is not None and Path(output).resolve() in [file.resolve() for file in files]:
        raise wrong(f"Expected -o to name another file than the shards but got {output}, which is one of them.")
    if targets.page is not None:
        html.check()
    runs = [read_run(file) for file in files]
    account, settings = whole(runs)
    account = account.sectioned()
    origins = {row.test: run.path for run in runs for row in run.rows}
    account = _write(account, settings, targets, origins=origins, origin=_origin(runs))
    return show_rows(Screen(), account, details=details)


def _write(
    account: Account, settings: Settings, targets: Targets, *, origins: Mapping[str, Path], origin: Origin | None
) -> Account:
    """Write what is asked for; the account with what could not be.

    Args:
        account, settings: of the whole run.
        targets: where to.
        origins: the file that tells of each test: its pictures are looked for beside it, and nowhere else.
        origin: when and of what commit the run was.
    """
    output, xml, page = targets.output, targets.xml, targets.page
    step = os.environ.get("GITHUB_STEP_SUMMARY") if os.environ.get("GITHUB_ACTIONS") else None
    folders = {test: path.parent for test, path in origins.items()}
    rows = account.rows
    if page is not None:
        about = {**({"commit": commit()} if commit() else {}), **account.left_out}
        made = partial(html.write, page, rows, [], settings, inline=targets.inline, below=folders, about=about)
        made = partial(made, sections=account.sections)
        account = put(account, "the page", page, made)
    if xml is not None:
        account = put(account, "the JUnit file", xml, lambda: junit.write(xml, rows))
    if step is not None:  # the shards' own steps have annotated
        account = put(account, "the step's summary", step, lambda: github.add_summary(step, rows, [], account.sections))
    if output is not None:
        moved = account.pictured(folders.__getitem__, Path(output).parent)
        account = put(account, "the JSON file", output, lambda: json_file.write(output, moved, settings, origin=origin))
    return account


def _origin(runs: Sequence[Run]) -> Origin | None:
    """When the last shard ended, and of what; None where shards do not say, or were of several commits."""
    every = [run.origin for run in runs if run.origin is not None]
    if len(every) < len(runs) or len({(one.commit, one.committed) for one in every}) != 1:
        return None
    return replace(max(every, key=lambda one: one.time), dirty=any(one.dirty for one in every))


def whole(runs: Sequence[Run]) -> tuple[Account, Settings]:
    """The account of the whole run, and its settings: those of the first shard.

    Raises:
        Refused: a shard is missing, there twice, of another run or no shard; it was cut short, or lost something; a
            test is missing or there twice; or nothing was measured.
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
    problems += [problem for part in once for problem in _cut_short(part)]
    problems += [problem for part in once[1:] for problem in _of_another_run(once[0], part)]
    if once:
        count = max(part.shard.count for part in once)
        absent = (index for index in range(1, count + 1) if index not in kept)
        problems += [f"shard {index} of {count} is missing" for index in islice(absent, _MOST + 1)]
    if not problems:
        problems = list(_incomplete(once))
    if problems:
        raise missing("\n".join(["Expected the shards of one whole run but:", *_listed(problems)]))
    try:
        return joined(once), Settings().but(coerce(once[0].run.settings))
    except ConfigError as error:
        raise missing(f"Expected the settings of a run in {once[0].run.path} but got: {error}") from error


def joined(parts: Sequence[Part]) -> Account:
    """The account of the run that shards make up: what a run without shards would have told."""
    order = {test: place for place, test in enumerate(parts[0].shard.tests)}
    accounts = [part.run.account for part in parts]
    sessions = [part.run.session for part in parts]
    codes = {session.exit for session in sessions} - ({5} if any(session.exit != 5 for session in sessions) else set())
    return Account(
        results=tuple(_ordered((row for account in accounts for row in account.results), order)),
        endings=tuple(dict.fromkeys(_ordered((one for account in accounts for one in account.endings), order))),
        session=Session(
            exit=1 if 1 in codes else max(codes),
            stopped=next((session.stopped for session in sessions if session.stopped), ""),
            collected=len(order),
            deselected=tuple(dict.fromkeys(name for session in sessions for name in session.deselected)),
            ran=sum(session.ran for session in sessions),
            selection="; ".join(dict.fromkeys(session.selection for session in sessions if session.selection)),
        ),
    )


def _cut_short(part: Part) -> Iterator[str]:
    """Why a shard has no say: pytest was interrupted, broke down, or found nothing to run where there was something."""
    code, path = part.run.session.exit, part.run.path
    share = part.shard.tests[part.shard.index - 1 :: part.shard.count]
    if code not in (0, 1, 5, 6) or (code == 5 and share):
        stopped = f" ({part.run.session.stopped})" if part.run.session.stopped else ""
        yield f"{path} was cut short: pytest ended with exit code {code}: {meaning(code)}{stopped}"


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
        ours, theirs = _comparable(a, name), _comparable(b, name)
        if ours != theirs:
            yield f"{a.path} was measured with {name} = {ours!r}, {b.path} with {name} = {theirs!r}"
    if first.shard.tests != other.shard.tests:
        yield f"{a.path} and {b.path} collected other tests: {_difference(first.shard.tests, other.shard.tests)}"


def _comparable(run: Run, name: str) -> Any:
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
        robust = (ending.test for ending in part.run.account.endings if ending.robust)
        here = dict.fromkeys((*(row.test for row in part.run.rows), *robust))
        yield from (f"{part.run.path} reports {test}, which was not collected" for test in here if test not in tests)
        if part.shard.reported is not None:
            yield from (
                f"{part.run.path} reports {test}, another shard's" for test in here if test not in part.shard.reported
            )
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


def _ordered(ones: Iterable[_Tested], order: Mapping[str, int]) -> list[_Tested]:
    """By their tests' places; what is of no robustness test comes first, as modules that could not be collected do."""
    return sorted(ones, key=lambda one: order.get(one.test, -1))
