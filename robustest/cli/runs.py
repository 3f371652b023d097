"""Verbs about results of runs: `show` prints the last ones, `merge` makes one run of the files of its shards."""

from __future__ import annotations

import glob
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from robustest.account import Account, Ending, Row, Session, exit_reason
from robustest.cli.results_file import ResultsFile, Shard, check_result, read_results
from robustest.cli.screen import Screen, exit_code, missing, show_account, store_warnings, wrong
from robustest.errors import ConfigError
from robustest.history import Origin
from robustest.reports import github, json_file
from robustest.reports.html import page
from robustest.reports.junit import write as write_junit
from robustest.results import Result
from robustest.settings import Settings, coerce
from robustest.store.files import load_records
from robustest.typed import from_plain
from robustest.version import VERSION

# Default places of results.
_STORE, _FILE = Path(".robustest"), Path("robust.json")
# Settings that name a machine's folders: they may differ, but must be set in all shards or in none.
_PLACES = ("pictures", "store", "corpus", "baseline")
# Problems that are printed; further ones are counted.
_MOST = 20

_Tested = TypeVar("_Tested", Row, Ending)


def show(paths: Sequence[str], *, details: bool, markdown: bool = False, verbose: bool = False) -> int:
    """Print results as pytest's section `robustness` does.

    Args:
        paths: files of --robust-json, a store (`.robustest`) or its folder of results, or a folder with either. None
            looks for both in the current folder, the store first.
        markdown: True to print Markdown for a comment, of all of them; its first line is the comment's mark.

    Returns:
        0 if every test ended well, 1 if one did not, 3 if results were lost or a run was cut short.
    """
    runs = [_shown(Path(path)) for path in paths] or [_shown(None)]
    codes = [exit_code(account.rows, account.lost, account.session) for _, account in runs]
    if markdown:
        worst = sorted(zip(codes, runs, strict=True), key=lambda one: -one[0])
        texts = [github.summary(account, budget=github.COMMENT // len(runs)) for _, (_, account) in worst]
        sys.stdout.write("".join([github.mark_of([account.service for _, account in runs]), "\n", *texts]))
        return max(codes)
    screen = Screen()
    for about, account in runs:
        for line in filter(None, (about, account.service and f"service {account.service}")):
            screen.write_line(line)
        show_account(screen, account, details=details, verbose=verbose)
    return max(codes)


def _shown(path: Path | None) -> tuple[str, Account]:
    """Return words about the results at a path, and the results."""
    where = _results_path(path)
    if where.is_dir():
        with store_warnings() as problems:
            account = _remembered(where)
        account = account.with_lost(problems)
        dates = sorted(row.result.evidence.cached for row in account.results if row.result is not None)
        span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        about = f"{where}: the latest result of each claim, measured {span}"
    else:
        run = read_results(where)
        account, shard = run.account, run.shard
        about = "" if shard is None else f"shard {shard.index} of {shard.count}; join them with robustest merge"
    return about, account.with_sections()


def write_page(file: str, *, output: str, html_inline: bool) -> int:
    """Write the page of a run from its file, as the end of the run would have; return the exit code of `show`.

    The machine that measured is not in the file, so the page has the versions of the run instead.

    Raises:
        ConfigError: Jinja2 is not installed.
        Refused: the file is no whole file of results.
    """
    page.check()
    run = read_results(Path(file))
    account = run.account.with_sections()
    about = {}
    if run.origin is not None:
        named = {"date": run.origin.time[:10], "versions": run.origin.versions, "commit": run.origin.shown}
        about = {name: text for name, text in named.items() if text}
    if run.shard is not None:  # a page of a part must not read as one of the whole
        about["shard"] = f"{run.shard.index} of {run.shard.count}"
    try:
        settings = Settings().but(coerce(run.settings))
    except ConfigError as error:
        raise missing(f"Expected the settings of a run in {file} but got: {error}. Run the tests again") from error
    # Pictures are looked for beside the file that names them, and nowhere else.
    below = {row.test: run.path.parent for row in account.results}
    page.write(output, account, settings, inline=html_inline, below=below, about=about)
    Screen().write_line(f"wrote {Path(output) / 'index.html'}")
    return exit_code(account.rows, account.lost, run.session)


def _results_path(path: Path | None) -> Path:
    if path is not None and not path.is_dir():
        return path
    if path is not None and path.name == "results" and not (path / "results").is_dir():
        return path.parent
    root = path or Path()
    for place in (root, root / _STORE):
        if (place / "results").is_dir() and (path is not None or place != root):
            return place
    if (root / _FILE).is_file():
        return root / _FILE
    raise missing(
        f"Expected results in {path or 'this folder'} but found neither {_STORE / 'results'} nor {_FILE}. "
        "Run the tests: pytest --robust"
    )


def _remembered(store: Path) -> Account:
    latest: dict[tuple[str, str], tuple[str, list[Row]]] = {}
    endings: list[Ending] = []
    for record in load_records(store):
        try:
            if "endings" in record:
                endings += [from_plain(Ending, one, "an ending") for one in record["endings"]]
                continue
            result, test, when = Result.from_dict(record["result"]), str(record["test"]), str(record["when"])
            check_result(result)
        except (KeyError, TypeError, ValueError) as error:
            what = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise missing(
                f"Expected the records of robustest in {store} but got one of {record.get('test', '?')} with {what}. "
                "Another version wrote it: run the tests again, or delete the store."
            ) from None
        replay = f"pytest --robust --robust-seed={result.evidence.seed} {shlex.quote(test)}"
        key = test, result.subject.claim
        if key not in latest or when > latest[key][0]:  # an earlier one had another threshold
            latest[key] = (when, [])
        if when == latest[key][0]:
            latest[key][1].append(Row(test, result.but(cached=when), "", replay))
    if not latest:
        raise missing(f"Expected results in {store} but none are remembered there. Run the tests: pytest --robust")
    rows = []
    for row in (row for _, ones in latest.values() for row in ones):
        # The ending that the test's claims caused, else that of its call.
        here = [one for one in endings if one.test == row.test and (one.claimed or one.phase == "call")]
        rows.append(replace(row, ending=next((one for one in here if one.claimed), here[0] if here else None)))
    return Account(results=tuple(rows), endings=tuple(endings), session=None)


def merge(
    files: Sequence[str],
    *,
    output: str | None,
    junit: str | None,
    html: str | None,
    html_inline: bool,
    details: bool,
    verbose: bool = False,
) -> int:
    """Merge shards, print the whole run, write its files, and append to the step's summary on GitHub.

    Shards that are not one whole run are refused, and nothing is written.

    Args:
        files: files, or patterns that no shell expanded.

    Returns:
        0 if every test of every shard ended well, 1 if one did not, 3 if a file could not be written.
    """
    paths = []
    for file in files:
        pattern = glob.has_magic(file) and not Path(file).exists()
        # A file whose name looks like a pattern is taken literally.
        paths += [Path(name) for name in (sorted(glob.glob(file)) or [file] if pattern else [file])]
    if output is not None and Path(output).resolve() in [path.resolve() for path in paths]:
        raise wrong(f"Expected -o to name another file than the shards but got {output}. Choose another name.")
    if html is not None:
        page.check()
    runs = [read_results(path) for path in paths]
    account, settings = whole(runs)
    account = account.with_sections()
    # Pictures are looked for beside the file that names them, and nowhere else.
    folders = {row.test: run.path.parent for run in runs for row in run.account.results}
    if html is not None:
        origin = origin_of(runs)  # not that of this checkout
        about = {"commit": origin.shown} if origin is not None and origin.shown else {}
        write = partial(page.write, html, account, settings, inline=html_inline, below=folders, about=about)
        account = account.with_file("the page", html, write)
    if junit is not None:
        account = account.with_file("the JUnit file", junit, partial(write_junit, junit, account.rows))
    step = os.environ.get("GITHUB_STEP_SUMMARY") if os.environ.get("GITHUB_ACTIONS") else None
    if step is not None:  # the steps of the shards have annotated the tests
        account = account.with_file("the step's summary", step, partial(github.add_summary, step, account))
    if output is not None:
        moved = account.with_pictures_from(folders.__getitem__, Path(output).parent)
        write = partial(json_file.write, output, moved, settings, origin=origin_of(runs))
        # The JSON file is last, so that it names every file that could not be written.
        account = account.with_file("the JSON file", output, write)
    return show_account(Screen(), account, details=details, verbose=verbose)


def origin_of(runs: Sequence[ResultsFile]) -> Origin | None:
    """Return the time of the last shard and the commit; None if a shard lacks them, or commits differ."""
    every = [run.origin for run in runs if run.origin is not None]
    if len(every) < len(runs) or len({(one.commit, one.committed) for one in every}) != 1:
        return None
    return replace(max(every, key=lambda one: one.time), dirty=any(one.dirty for one in every))


def whole(runs: Sequence[ResultsFile]) -> tuple[Account, Settings]:
    """Return the account of the whole run, and its settings, those of the first shard."""
    problems = [f"{run.path} is a whole run, not a shard (--robust-shard)" for run in runs if run.shard is None]
    problems += [f"{run.path} lost results: {lost}" for run in runs for lost in run.account.lost]
    parts = sorted(((run.shard, run) for run in runs if run.shard is not None), key=lambda part: part[0].index)
    kept: dict[int, tuple[Shard, ResultsFile]] = {}
    for shard, run in parts:
        _, first = kept.setdefault(shard.index, (shard, run))
        # The same file named twice is harmless; two different files of one shard are two runs.
        if first.content != run.content:
            problems.append(f"shard {shard.index} has two files with different content: {first.path} and {run.path}")
    once = list(kept.values())
    for shard, run in once:
        code, share = run.session.exit, shard.tests[shard.index - 1 :: shard.count]
        # pytest's exit codes: 0 passed, 1 failed, 5 no tests, 6 warnings exceeded. Any other cut the shard short, and
        # "no tests" is an error if the shard has a share of them.
        if code not in (0, 1, 5, 6) or (code == 5 and share):
            stopped = f" ({run.session.stopped})" if run.session.stopped else ""
            reason = f"pytest ended with exit code {code}: {exit_reason(code)}{stopped}"
            problems.append(f"{run.path} was cut short: {reason}")
    for other in once[1:]:
        problems += _differences(once[0], other)
    if once:
        count = max(shard.count for shard, _ in once)
        absent = (index for index in range(1, count + 1) if index not in kept)
        problems += [f"shard {index} of {count} is missing" for index in islice(absent, _MOST + 1)]
    if not problems:
        problems = list(_incomplete(once))
    if problems:
        every = list(dict.fromkeys(problems))
        more = [f"  and {len(every) - _MOST} more"] if len(every) > _MOST else []
        lines = ["Expected the shards of one whole run but:", *(f"  {text}" for text in every[:_MOST]), *more]
        raise missing(
            "\n".join([*lines, "Run the missing or broken shards again: --robust-shard=K/N --robust-json=FILE"])
        )
    try:
        return joined(once), Settings().but(coerce(once[0][1].settings))
    except ConfigError as error:
        path = once[0][1].path
        raise missing(f"Expected the settings of a run in {path} but got: {error}. Run the shard again") from error


def joined(parts: Sequence[tuple[Shard, ResultsFile]]) -> Account:
    """Return the account that the same run without shards would have."""
    order = {test: place for place, test in enumerate(parts[0][0].tests)}
    accounts = [run.account for _, run in parts]
    sessions = [run.session for _, run in parts]
    # A shard without tests ends with 5, which says nothing of the others.
    codes = {session.exit for session in sessions} - ({5} if any(session.exit != 5 for session in sessions) else set())

    def ordered(ones: Iterable[_Tested]) -> list[_Tested]:
        """Sort by test; endings without a robustness test, e.g. of modules that could not be collected, come first."""
        return sorted(ones, key=lambda one: order.get(one.test, -1))

    return Account(
        results=tuple(ordered(row for account in accounts for row in account.results)),
        endings=tuple(dict.fromkeys(ordered(one for account in accounts for one in account.endings))),
        session=Session(
            exit=1 if 1 in codes else max(codes),
            stopped=next((session.stopped for session in sessions if session.stopped), ""),
            collected=len(order),
            deselected=tuple(dict.fromkeys(name for session in sessions for name in session.deselected)),
            ran=sum(session.ran for session in sessions),
            selection="; ".join(dict.fromkeys(session.selection for session in sessions if session.selection)),
            files_left_out=max(session.files_left_out for session in sessions),
        ),
        service=accounts[0].service,
    )


def _differences(first: tuple[Shard, ResultsFile], other: tuple[Shard, ResultsFile]) -> Iterator[str]:
    (one, a), (two, b) = first, other
    if a.version != b.version:
        yield f"{a.path} was written by robustest {a.version}, {b.path} by {b.version}"
    # A shard that passed on another commit would stand for tests that fail on this one.
    commits = ["" if run.origin is None else run.origin.commit for run in (a, b)]
    if commits[0] != commits[1]:
        names = [name[:12] or "no known commit" for name in commits]
        yield f"{a.path} was measured on {names[0]}, {b.path} on {names[1]}"
    # What passes with one release of torch may fail with another, and the merged file can name one alone.
    versions = ["unknown versions" if run.origin is None else run.origin.versions for run in (a, b)]
    if versions[0] != versions[1]:
        yield f"{a.path} was measured with {versions[0]}, {b.path} with {versions[1]}"
    if one.count != two.count:
        yield f"{a.path} is one of {one.count} shards, {b.path} one of {two.count}"
    for name in sorted({*a.settings, *b.settings}):
        ours, theirs = (
            run.settings.get(name) is not None if name in _PLACES else run.settings.get(name) for run in (a, b)
        )
        if ours != theirs:
            yield f"{a.path} was measured with {name} = {ours!r}, {b.path} with {name} = {theirs!r}"
    if one.tests != two.tests:
        lone = sorted({*one.tests} ^ {*two.tests})
        more = f", and {len(lone) - 1} more" if len(lone) > 1 else ""
        what = f"{lone[0]} is only in one of them{more}" if lone else "the same tests in another order"
        yield f"{a.path} and {b.path} collected different tests: {what}"


def _incomplete(parts: Sequence[tuple[Shard, ResultsFile]]) -> Iterator[str]:
    tests = dict.fromkeys(parts[0][0].tests)
    if any(run.version != VERSION for _, run in parts):
        yield f"the files were written by robustest {parts[0][1].version}; this is {VERSION}"
    reported: dict[str, Path] = {}
    for shard, run in parts:
        # Each shard reports claims outside of tests, "session", for itself.
        robust = (one.test for one in run.account.endings if one.robust and one.phase != "session")
        here = dict.fromkeys((*(row.test for row in run.account.results), *robust))
        yield from (f"{run.path} reports {test}, which was not collected" for test in here if test not in tests)
        if shard.reported is not None:
            others = (test for test in here if test not in shard.reported)
            yield from (f"{run.path} reports {test}, which belongs to another shard" for test in others)
        for test in here:
            if test in reported:
                yield f"{test} was reported by two shards: {reported[test]} and {run.path}"
            reported[test] = run.path
    yield from (f"no shard reported {test}" for test in tests if test not in reported)
    if not any(run.account.results for _, run in parts):
        yield "no file has a result: a run without a verdict is not green"
