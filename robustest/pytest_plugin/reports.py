"""How a run is told of: the account of it, and the files that its options ask for.

Each reporter is loaded only where it has something to write.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustest.account import Account, Row
    from robustest.endings import Ending
    from robustest.history import Origin
    from robustest.settings import Settings


def write(config: pytest.Config, account: Account, settings: Settings, *, shard: dict[str, Any] | None) -> Account:
    """Write what the run's options ask for, and the step's summary on GitHub.

    A file that cannot be written loses no other, and no verdict: it is named in the account's `lost`, which turns the
    run red, and the others are written once more, as they must say so too.

    Args:
        config: has the options, and the folder that the run was started in.
        account: what there is to tell.
        settings: the run's.
        shard: which part of a run this is; None where it is the whole.

    Returns:
        The account with what could not be written.
    """
    from robustest.account import put

    told = None
    origin = _origin(config)  # once, so that the same is not added to a history twice
    while told is not account:  # once more where something could not be written: the others must say so too
        told = account
        for what, path, made in _files(config, told, settings, shard, origin):
            account = put(account, what, path, made)
        history = config.getoption("--robust-history")
        if history and origin is not None and told is account:  # after the others, as it is to say what was lost
            account = put(account, "the history", history, partial(_add_to_history, history, account, origin))
        step = os.environ.get("GITHUB_STEP_SUMMARY") if os.environ.get("GITHUB_ACTIONS") else None
        if step and told is account:  # last, as it is added to and cannot be written anew
            from robustest.reports import github

            added = partial(github.add_summary, step, account.rows, account.lost, account.sections)
            account = put(account, "the step's summary", step, added)
    return account


def _origin(config: pytest.Config) -> Origin | None:
    """When and of what commit this run is, where it writes what says so."""
    if not (config.getoption("--robust-history") or config.getoption("--robust-json")):
        return None
    from robustest.store.provenance import origin

    return origin(apart=config.getoption("--robust-history"))


def _add_to_history(folder: str, account: Account, origin: Origin) -> None:
    from robustest.reports.history.entries import entries_of
    from robustest.store import history

    history.add(Path(folder), entries_of(account.rows, account.lost, origin))


def _files(
    config: pytest.Config,
    account: Account,
    settings: Settings,
    shard: dict[str, Any] | None,
    origin: Origin | None,
) -> list[tuple[str, str, Callable[[], object]]]:
    """Each file with its name in words, where it goes, and what writes it."""
    json, page, junit = (config.getoption(f"--robust-{kind}") for kind in ("json", "html", "junit"))
    files: list[tuple[str, str, Callable[[], object]]] = []
    rows = account.rows
    if page:
        files.append(("the page", page, lambda: _write_page(config, account, settings)))
    if junit:
        files.append(("the JUnit file", junit, lambda: _write_junit(junit, rows, account.lost)))
    if json:
        start = config.invocation_params.dir
        moved = account.pictured(lambda _: start, Path(json).parent)
        files.append(("the JSON file", json, lambda: _write_json(json, moved, settings, shard, origin)))
    return files


def _write_json(
    path: str, account: Account, settings: Settings, shard: Mapping[str, Any] | None, origin: Origin | None
) -> None:
    from robustest.reports import json_file

    json_file.write(path, account, settings, shard=shard, origin=origin)


def _write_page(config: pytest.Config, account: Account, settings: Settings) -> None:
    from robustest.reports import html
    from robustest.store.provenance import commit, machine, today

    html.write(
        config.getoption("--robust-html"),
        account.rows,
        account.lost,
        settings,
        inline=config.getoption("--robust-html-inline"),
        origin=str(config.invocation_params.dir),
        about={"date": today(), "machine": machine(), **({"commit": commit()} if commit() else {}), **account.left_out},
        sections=account.sections,
    )


def _write_junit(path: str, rows: Sequence[Row], lost: Sequence[str]) -> None:
    from robustest.reports import junit

    junit.write(path, rows, lost)


def remember_endings(account: Account, store: str) -> None:
    """Keep how each robustness test ended beside the results that the store remembers, for `robustest show`.

    A test that passed has no record, unless it must replace that of an earlier end, or a claim of it did not hold.

    Args:
        account: what there is to tell.
        store: the folder; where no result is remembered in it, nothing is kept.
    """
    from robustest.results import Verdict
    from robustest.store.files import save_record
    from robustest.store.provenance import when

    if not (Path(store) / "results").is_dir():
        return
    of: dict[str, list[Ending]] = {}
    for ending in account.endings:
        if ending.robust:
            of.setdefault(ending.test, []).append(ending)
    unkept = {row.test for row in account.results if row.result is None or row.result.verdict is not Verdict.PASSED}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a store that cannot be written has told its tests so
        for test, ones in of.items():
            key = sha256(f"ending of {test}".encode("utf-8", "surrogatepass")).hexdigest()
            plain = test not in unkept and all(ending.outcome == "passed" for ending in ones)
            if not plain or (Path(store) / "results" / key[:2] / f"{key}.json").exists():
                told = [ending.to_dict() for ending in ones]
                save_record(Path(store), key, {"test": test, "claim": "", "when": when(), "endings": told})


def update_baselines(rows: Sequence[Row]) -> list[str]:
    """Write the outcomes of every claim that was measured for its baseline; what could not be written, in sentences."""
    from robustest.errors import StoreError
    from robustest.store.baselines import BaselineEntry, unpacked, unpacked_scores, write
    from robustest.store.provenance import commit, today

    entries: dict[str, dict[str, BaselineEntry]] = {}
    for row in rows:
        made = {} if row.result is None else row.result.details.get("baseline") or {}
        # A fall between two data sets is compared by both of its ends, each of which has an entry of its own.
        for about in (made, made.get("start") or {}):
            if row.result is None or not about.get("update"):
                continue
            result = row.result
            entries.setdefault(about["file"], {})[about["key"]] = BaselineEntry(
                test=row.test,
                claim=result.claim,
                quantity=result.quantity,
                outcomes=unpacked(about["cells"])
                if "cells" in about
                else tuple(bool(held) for held in result.outcomes),
                data=about.get("data", result.data),
                model=result.model or None,
                seed=result.seed,
                method=result.method,
                date=today(),
                commit=commit(),
                estimate=result.estimate,
                interval=result.interval,
                scores=unpacked_scores(about["scores"]) if "scores" in about else None,
                measured_by=about.get("measured_by", ""),
            )
    problems = []
    for file, made in entries.items():
        try:
            write(Path(file), made)
        except StoreError as error:
            problems.append(str(error))
    return problems
