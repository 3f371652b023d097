"""`robustest show`: the last results as a table."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

from robustest.account import Account, Ending, Row
from robustest.cli.results_file import read_results, result_of
from robustest.cli.screen import Screen, exit_code, missing, show_account, store_warnings
from robustest.reports import github

# Default places of results.
_STORE, _FILE = Path(".robustest"), Path("robust.json")


def show(path: str | None, *, details: bool, markdown: bool = False) -> int:
    """Print results as pytest's section `robustness` does.

    Args:
        path: a file of --robust-json, a store (`.robustest`) or its folder of results, or a folder with either. None
            looks for both in the current folder, the store first.
        details: True to print every number of every claim.
        markdown: True to print the summary of a step on GitHub instead.

    Returns:
        0 if every test ended well, 1 if one did not, 3 if results were lost or the run was cut short.

    Raises:
        Refused: there are no results.
    """
    where = _results_path(Path(path) if path is not None else None)
    if where.is_dir():
        with store_warnings() as problems:
            account = _remembered(where)
        account = account.with_lost(problems)
        dates = sorted(row.result.cached for row in account.results if row.result is not None)
        span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        about = f"{where}: the latest result of each claim, measured {span}"
    else:
        run = read_results(where)
        account, shard = run.account, run.shard
        about = "" if shard is None else f"shard {shard.index} of {shard.count}; join them with robustest merge"
    account = account.with_sections()
    if markdown:
        sys.stdout.write(github.summary(account, budget=github.COMMENT))
        return exit_code(account.rows, account.lost, account.session)
    screen = Screen()
    if about:
        screen.write_line(about)
    return show_account(screen, account, details=details)


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
    """Return the latest result of each claim in a store, and the endings of the tests' last runs."""
    from robustest.store.files import load_records

    latest: dict[tuple[str, str], tuple[str, list[Row]]] = {}
    endings: list[Ending] = []
    for record in load_records(store):
        try:
            if "endings" in record:
                endings += [Ending.from_dict(one) for one in record["endings"]]
                continue
            result, test, when = result_of(record["result"]), str(record["test"]), str(record["when"])
        except (KeyError, TypeError, ValueError) as error:
            what = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise missing(
                f"Expected the records of robustest in {store} but got one of {record.get('test', '?')} with {what}. "
                "Another version wrote it: run the tests again, or delete the store."
            ) from None
        replay = f"pytest --robust --robust-seed={result.seed} {shlex.quote(test)}"
        key = test, result.claim
        if key not in latest or when > latest[key][0]:  # an earlier one had another threshold
            latest[key] = (when, [])
        if when == latest[key][0]:
            latest[key][1].append(Row(test, replace(result, cached=when), "", replay))
    if not latest:
        raise missing(f"Expected results in {store} but none are remembered there. Run the tests: pytest --robust")
    rows = []
    for row in (row for _, ones in latest.values() for row in ones):
        # The ending that the test's claims caused, else that of its call.
        here = [one for one in endings if one.test == row.test and (one.claimed or one.phase == "call")]
        rows.append(replace(row, ending=next((one for one in here if one.claimed), here[0] if here else None)))
    return Account(results=tuple(rows), endings=tuple(endings), session=None)
