"""The last results, as a table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustest.account import Account, Row
from robustest.cli.claims import claim_of
from robustest.cli.exits import missing
from robustest.cli.fields import result_of
from robustest.cli.runs import read_run
from robustest.cli.screen import Screen
from robustest.cli.store_warnings import telling
from robustest.cli.table import ending, show_rows
from robustest.endings import Ending
from robustest.reports import github

STORE, FILE = Path(".robustest"), Path("robust.json")
"""Where results are where nobody says otherwise."""


COMMENT = 60_000
"""Bytes of Markdown, at most: GitHub refuses a comment of more than 65,536 characters."""


def show(path: str | None, *, details: bool, markdown: bool = False) -> int:
    """Print results as pytest's section `robustness` does.

    Args:
        path: what --robust-json wrote; a store (`.robustest`), or the folder of its results; or a folder with either.
            None looks for both here, the store first.
        details: whether every number of every claim is printed.
        markdown: whether they are printed as a step's summary on GitHub has them, with everything escaped.

    Returns:
        0 where every test ended well, 1 where one did not, 3 where results were lost or the run was cut short.

    Raises:
        Refused: there are no results.
    """
    where = _results_path(Path(path) if path is not None else None)
    if where.is_dir():
        with telling() as problems:
            account = _remembered(where)
        account, rows = account.lost_too(problems), account.results
        dates = sorted(row.result.cached for row in rows if row.result is not None)
        span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        about = f"{where}: the latest result of each claim, measured {span}"
    else:
        run = read_run(where)
        account, shard = run.account, run.shard
        about = "" if shard is None else f"shard {shard.index} of {shard.count}; robustest merge joins them"
    account = account.sectioned()
    if markdown:
        sys.stdout.write(github.summary(account.rows, account.lost, account.sections, budget=COMMENT))
        return ending(account.rows, account.lost, account.session)
    screen = Screen()
    if about:
        screen.write_line(about)
    return show_rows(screen, account, details=details)


def _results_path(path: Path | None) -> Path:
    """A file, or a folder that holds remembered results."""
    if path is not None and not path.is_dir():
        return path
    if path is not None and path.name == "results" and not (path / "results").is_dir():
        return path.parent
    root = path or Path()
    for place in (root, root / STORE):
        if (place / "results").is_dir() and (path is not None or place != root):
            return place
    if (root / FILE).is_file():
        return root / FILE
    raise missing(
        f"Expected results in {path or 'this folder'} but there are none: neither {STORE / 'results'} nor {FILE}. "
        "Run the tests: pytest --robust"
    )


def _remembered(store: Path) -> Account:
    """The latest result of each claim, whenever that was, and how its test ended when it was last run."""
    from robustest.store.files import load_records

    latest: dict[tuple[str, str], tuple[str, list[Row]]] = {}
    endings: list[Ending] = []
    for record in load_records(store):
        try:
            if "endings" in record:
                endings += [Ending.from_dict(one) for one in record["endings"]]
                continue
            row, when = _row(record)
        except (KeyError, TypeError, ValueError) as error:
            what = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise missing(
                f"Expected the records of robustest in {store} but got one of {record.get('test', '?')} with {what}. "
                "Another version wrote it: run the tests again, or delete the store."
            ) from None
        key = _claim(row)
        if key not in latest or when > latest[key][0]:  # an earlier one had another threshold
            latest[key] = (when, [])
        if when == latest[key][0]:
            latest[key][1].append(row)
    if not latest:
        raise missing(f"Expected results in {store} but none are remembered there. Run the tests: pytest --robust")
    rows = [row for _, rows in latest.values() for row in rows]
    return Account(results=tuple(_with_ending(row, endings) for row in rows), endings=tuple(endings), session=None)


def _with_ending(row: Row, endings: Sequence[Ending]) -> Row:
    """A row with the ending that its claim brought about, or else that of its test's call."""
    here = [ending for ending in endings if ending.test == row.test and (ending.claimed or ending.phase == "call")]
    first = next((ending for ending in here if ending.claimed), here[0] if here else None)
    return replace(row, ending=first)


def _claim(row: Row) -> tuple[str, str]:
    return (row.test, "") if row.result is None else claim_of(row.test, row.result)


def _row(record: dict[str, Any]) -> tuple[Row, str]:
    result, test, when = result_of(record["result"]), str(record["test"]), str(record["when"])
    replay = f"pytest --robust --robust-seed={result.seed} {shlex.quote(test)}"
    return Row(test=test, result=replace(result, cached=when), problem="", replay=replay), when
