"""What `--robust-json` wrote, read back and checked: the file may come from another machine, or be cut short."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustest.account import Account, Row
from robustest.cli.exits import missing
from robustest.cli.fields import field_of, result_of, texts
from robustest.cli.json_values import parsed
from robustest.endings import Ending, Session
from robustest.errors import expected
from robustest.history import Origin
from robustest.reports.json_file import SCHEMA
from robustest.reports.states import state
from robustest.safe_files import read_regular
from robustest.version import VERSION

LARGEST = 512 * 2**20
"""Bytes of a file of results, at most: a claim about a million samples has 12 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Which part of a run a file has.

    Attributes:
        index: 1 for the first.
        count: how many there are.
        tests: ids of all robust tests of the whole run, in the order of collection.
        reported: ids of those that were this shard's; None where the file does not say.
    """

    index: int
    count: int
    tests: tuple[str, ...]
    reported: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A file of results.

    Attributes:
        path: where it is.
        version: the robustest that wrote it.
        settings: as it says.
        account: what it tells: results, how the tests ended, what was lost.
        session: what pytest said of the run.
        shard: which part of a run it is; None for a whole one.
        origin: when and of what commit it was; None where the file does not say.
        content: digest of all it says.
    """

    path: Path
    version: str
    settings: Mapping[str, Any]
    account: Account
    session: Session
    shard: Shard | None
    origin: Origin | None
    content: str

    @property
    def rows(self) -> tuple[Row, ...]:
        """One per claim, or test that could not measure."""
        return self.account.results

    @property
    def lost(self) -> tuple[str, ...]:
        """What did not arrive, in sentences."""
        return self.account.lost


def read_run(path: Path) -> Run:
    """Read a file.

    Raises:
        Refused: it is not there, or is no whole file of results of this version.
    """
    data = read_json(path, f"results at {path}", f"Write them: pytest --robust --robust-json={path}")
    try:
        return _run(path, data)
    except (ValueError, TypeError, KeyError) as error:
        version = data.get("robustest") if isinstance(data, dict) else None
        other = "" if version in (None, VERSION) else f" It was written by robustest {version}; this is {VERSION}."
        what = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise missing(f"Expected a whole file of pytest --robust-json but got, in {path}: {what}.{other}") from None


def read_json(path: Path, what: str, mend: str) -> object:
    """The content of a JSON file.

    Args:
        path: the file.
        what: what is expected there.
        mend: how it comes about.

    Raises:
        Refused: it is not there, or is no JSON that can be worked with.
    """
    try:
        return parsed(read_regular(path, most=LARGEST))
    except OSError as error:
        raise missing(f"Expected {what} but got: {error.strerror or error}. {mend}") from None
    except ValueError as error:
        raise missing(f"Expected {what} but the file is damaged: {error}. {mend}") from None


def _run(path: Path, data: object) -> Run:
    schema = field_of(data, "schema", int)
    if schema != SCHEMA:
        mend = "Run the tests again with this version" if schema < SCHEMA else "Install the version that wrote it"
        raise TypeError(expected(f"schema {SCHEMA}", schema, mend))
    session = _session(field_of(data, "pytest", dict))
    account = Account(
        results=tuple(_row(row) for row in field_of(data, "results", list)),
        endings=tuple(_ending(ending) for ending in field_of(data, "tests", list)),
        session=session,
        lost=tuple(texts(field_of(data, "lost", list), "lost")),
    )
    _check(account, field_of(data, "counts", dict))
    return Run(
        path=path,
        version=field_of(data, "robustest", str),
        settings=field_of(data, "settings", dict),
        account=account,
        session=session,
        shard=_shard(data.get("shard") if isinstance(data, dict) else None),
        origin=_origin(data.get("origin") if isinstance(data, dict) else None),
        content=sha256(json.dumps(data, sort_keys=True).encode()).hexdigest(),
    )


def _origin(data: object) -> Origin | None:
    return None if data is None else Origin.from_dict(data)


def _check(account: Account, counts: Mapping[str, Any]) -> None:
    """Refuse a file whose parts do not belong together.

    Raises:
        ValueError: a result's ending is not among the tests', or the file counts otherwise than its rows.
    """
    ended = set(account.endings)
    for row in account.results:
        if row.ending is not None and row.ending.outcome != "passed" and row.ending not in ended:
            raise ValueError(f"a result of {row.test} that ended as no test did")
    found = Counter(state(row) for row in account.rows)
    if dict(found) != counts:
        raise ValueError(f"counts of {json.dumps(counts)[:200]} but rows of {json.dumps(found)}")


def _session(data: dict[str, Any]) -> Session:
    numbers = {name: field_of(data, name, int) for name in ("exit", "collected", "ran")}
    words = {name: field_of(data, name, str) for name in ("stopped", "selection")}
    if surplus := sorted(set(data) - set(numbers) - set(words) - {"deselected"}):
        raise TypeError(f"Expected the fields of pytest's end but got also {surplus}")
    return Session(deselected=tuple(texts(field_of(data, "deselected", list), "deselected")), **words, **numbers)


def _ending(data: object) -> Ending:
    if not isinstance(data, dict):
        raise TypeError(expected("the ending of a test", data))
    return Ending.from_dict(data)


def _shard(data: object) -> Shard | None:
    if data is None:
        return None
    index, count = field_of(data, "index", int), field_of(data, "count", int)
    if not 1 <= index <= count:
        raise ValueError(f"Expected a shard of 1..{count} but got {index}")
    tests = texts(field_of(data, "tests", list), "tests")
    reported = data.get("reported") if isinstance(data, dict) else None
    return Shard(
        index=index,
        count=count,
        tests=tuple(tests),
        reported=None if reported is None else frozenset(texts(field_of(data, "reported", list), "reported")),
    )


def _row(data: object) -> Row:
    test, problem, replay = (field_of(data, name, str) for name in ("test", "problem", "replay"))
    result, ending = (data["result"], data["ending"]) if isinstance(data, dict) else (None, None)
    if result is None and not problem:
        raise ValueError(f"neither a result nor a problem of {test}")
    return Row(
        test=test,
        result=None if result is None else result_of(result),
        problem=problem,
        replay=replay,
        ending=_ending(ending),
    )
