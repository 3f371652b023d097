"""The files that the options of a run ask for; each reporter is loaded only then."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import pytest

from robustest.pytest_plugin.options import LOADED, SILENT

if TYPE_CHECKING:
    from robustest.account import Account, Ending, Row
    from robustest.history import Origin
    from robustest.settings import Settings


def write(config: pytest.Config, account: Account, settings: Settings, *, shard: dict[str, Any] | None) -> Account:
    """Write the files of the run, and the step's summary on GitHub; return the account.

    A file that cannot be written loses no other file and no verdict, but turns the run red: `lost` names it.
    """
    history = config.getoption("--robust-history")
    origin = None
    if any((history, config.getoption("--robust-json"), config.getoption("--robust-html"))):
        # Once, so that a second pass adds nothing twice to a history.
        from robustest.store.provenance import origin as origin_of

        origin = origin_of(apart=history, **_code_of(config, account))
    step = os.environ.get("GITHUB_STEP_SUMMARY") if os.environ.get("GITHUB_ACTIONS") else None
    written = None
    while written is not account:  # once more after a file could not be written: the others must say so
        written = account
        for what, path, write_file in _files(config, written, settings, shard, origin):
            account = account.with_file(what, path, write_file)
        if history and origin is not None and account is written:  # after the others: it records their losses
            account = account.with_file("the history", history, partial(_add_to_history, history, written, origin))
        if step and account is written:  # last: it is appended to and cannot be written again
            from robustest.reports import github

            account = account.with_file("the step's summary", step, partial(github.add_summary, step, written))
    return account


def loaded_code(config: pytest.Config) -> set[str]:
    """Return the files of this process's modules and plugins."""
    loaded = (getattr(one, "__file__", None) for one in [*sys.modules.values(), *config.pluginmanager.get_plugins()])
    return {one for one in loaded if isinstance(one, str)}


def _code_of(config: pytest.Config, account: Account) -> dict[str, Any]:
    """Return the files with the code of a run, for `origin`: of this process, and of pytest-xdist's."""
    tests = set() if config.inipath is None else {str(config.inipath)}
    for test in {row.test.partition("::")[0] for row in account.rows}:
        path = config.rootpath / test
        tests |= {str(path), *(str(folder / "conftest.py") for folder in path.parents)}
    workers: set[str] = config.stash.get(LOADED, set())
    # A worker that was killed said nothing, though rows of it may have come in.
    silent: set[str] = config.stash.get(SILENT, set())
    return {"used": loaded_code(config) | workers, "tests": tests, "known": not silent}


def _add_to_history(folder: str, account: Account, origin: Origin) -> None:
    from robustest.reports.history import entries_of
    from robustest.store import history

    history.add(Path(folder), entries_of(account, origin))


def _files(
    config: pytest.Config,
    account: Account,
    settings: Settings,
    shard: dict[str, Any] | None,
    origin: Origin | None,
) -> list[tuple[str, str, Callable[[], object]]]:
    badge, json, page, junit = (config.getoption(f"--robust-{kind}") for kind in ("badge", "json", "html", "junit"))
    here = config.invocation_params.dir

    def write_page() -> None:
        from robustest.reports.html import page as html
        from robustest.store.provenance import machine, today

        about = {"date": today(), "machine": machine()}
        about |= {"commit": origin.shown} if origin is not None and origin.shown else {}
        html.write(
            page,
            account,
            settings,
            inline=config.getoption("--robust-html-inline"),
            origin=str(here),
            about=about,
        )

    def write_junit() -> None:
        from robustest.reports import junit as reporter

        reporter.write(junit, account.rows, account.lost)

    def write_json() -> None:
        from robustest.reports import json_file

        moved = account.with_pictures_from(lambda _: here, Path(json).parent)
        json_file.write(json, moved, settings, shard=shard, origin=origin)

    def write_badge() -> None:
        from robustest.reports import badge as reporter

        reporter.write(here / badge, reporter.badge_of(account), account.service)

    every = (
        ("the badge", badge, write_badge),
        ("the page", page, write_page),
        ("the JUnit file", junit, write_junit),
        ("the JSON file", json, write_json),
    )
    return [(what, path, write_file) for what, path, write_file in every if path]


def take_back(options: argparse.Namespace, here: Path) -> None:
    """Remove the page, JUnit and JSON files of an earlier run, and turn its badge grey.

    A run that is killed, or ends before its first test, must not leave older files, which could be green.
    """
    page = options.robust_html and Path(options.robust_html, "index.html")
    for path in filter(None, (page, options.robust_json, options.robust_junit)):
        with suppress(OSError):  # there is none, or the end of the run says that it cannot be written
            if S_ISREG(os.lstat(here / path).st_mode):  # not a link such as /dev/stdout
                os.unlink(here / path)
    if options.robust_badge:
        from robustest.errors import ConfigError
        from robustest.reports import badge

        with suppress(OSError, ConfigError):
            badge.write(here / options.robust_badge, badge.UNFINISHED)


def track(config: pytest.Config, account: Account, settings: Settings) -> None:
    """Send the run to the trackers of --robust-track, and print a line for each; nothing else follows from it."""
    from robustest.reports import trackers
    from robustest.store.provenance import origin

    targets = trackers.targets_of(config.getoption("--robust-track"))
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    about = origin(apart=config.getoption("--robust-history"), **_code_of(config, account))
    for delivery in trackers.send(targets, account, settings, about):
        if reporter is not None:
            reporter.write_line(delivery.text, red=not delivery.arrived)


def remember_endings(account: Account, store: str) -> None:
    """Store the endings of robustness tests beside their results, if any, for `robustest show`."""
    from robustest.results import Verdict
    from robustest.store.files import save_record
    from robustest.store.provenance import when
    from robustest.typed import to_plain

    if not (Path(store) / "results").is_dir():
        return
    by_test: dict[str, list[Ending]] = {}
    for ending in account.endings:
        if ending.robust and ending.phase != "session":  # a claim outside of tests, which no later run would replace
            by_test.setdefault(ending.test, []).append(ending)
    broken = {row.test for row in account.results if row.result is None or row.result.verdict is not Verdict.PASSED}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests have warned already of a store that cannot be written
        for test, endings in by_test.items():
            # Test ids are no file names; a digest of the id is one, and overwrites the ending of the last run.
            key = sha256(f"ending of {test}".encode("utf-8", "surrogatepass")).hexdigest()
            # A test that passed needs no record, unless it replaces an earlier one, or one of its claims did not
            # hold.
            plain = test not in broken and all(ending.outcome == "passed" for ending in endings)
            if not plain or (Path(store) / "results" / key[:2] / f"{key}.json").exists():
                content = to_plain(endings)
                save_record(Path(store), key, {"test": test, "claim": "", "when": when(), "endings": content})


def update_baselines(rows: Sequence[Row]) -> list[str]:
    """Write the outcomes of every claim that was measured for its baseline; return the failures in sentences."""
    from robustest.errors import StoreError
    from robustest.store.baselines import ROUNDING, BaselineEntry, unpacked, unpacked_scores, write
    from robustest.store.provenance import commit, today

    entries: dict[str, dict[str, BaselineEntry]] = {}
    for row in rows:
        result = row.result
        made = {} if result is None else result.details.get("baseline") or {}
        # A fall between two data sets is compared at both of its ends, each of which has its own entry.
        for about in (made, made.get("start") or {}):
            if result is None or not about.get("update"):
                continue
            scores = unpacked_scores(about["scores"]) if "scores" in about else None
            # The estimate of a Brier score, or of flips, is no mean of the scores that are compared.
            estimate = result.estimate
            if scores and estimate is not None and abs(sum(scores) / len(scores) - estimate) > ROUNDING:
                estimate = None
            entries.setdefault(about["file"], {})[about["key"]] = BaselineEntry(
                test=row.test,
                claim=result.subject.claim,
                quantity=result.numbers.quantity,
                outcomes=unpacked(about["cells"])
                if "cells" in about
                else tuple(bool(held) for held in result.outcomes),
                data=about.get("data", result.evidence.data),
                model=result.evidence.model or None,
                seed=result.evidence.seed,
                method=result.subject.method,
                date=today(),
                commit=commit(),
                estimate=estimate,
                interval=result.interval,
                scores=scores,
                measured_by=about.get("measured_by", ""),
            )
    problems = []
    for file, made in entries.items():
        try:
            write(Path(file), made)
        except StoreError as error:
            problems.append(str(error))
    return problems
