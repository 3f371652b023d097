"""What `--robust-json` wrote, read back and checked: the file may come from another machine, or be cut short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustest.cli.exits import missing
from robustest.errors import expected
from robustest.ledger import Row
from robustest.reports.json_file import SCHEMA
from robustest.reports.states import QUIET, state
from robustest.results import Result
from robustest.version import VERSION


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
        lost: what did not arrive, in sentences.
        rows: one per claim.
        shard: which part of a run it is; None for a whole one.
        content: digest of all it says.
    """

    path: Path
    version: str
    settings: Mapping[str, Any]
    lost: tuple[str, ...]
    rows: tuple[Row, ...]
    shard: Shard | None
    content: str


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
        Refused: it is not there, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise missing(f"Expected {what} but got: {error.strerror}. {mend}") from None
    except (ValueError, RecursionError) as error:
        raise missing(f"Expected {what} but the file is damaged: {error}. {mend}") from None


def _run(path: Path, data: object) -> Run:
    schema = _field(data, "schema", int)
    if schema != SCHEMA:
        raise TypeError(expected(f"schema {SCHEMA}", schema))
    return Run(
        path=path,
        version=_field(data, "robustest", str),
        settings=_field(data, "settings", dict),
        lost=tuple(_texts(_field(data, "lost", list), "lost")),
        rows=tuple(_row(row) for row in _field(data, "results", list)),
        shard=_shard(data.get("shard") if isinstance(data, dict) else None),
        content=sha256(json.dumps(data, sort_keys=True).encode()).hexdigest(),
    )


def blocking(row: Row, settings: Mapping[str, Any]) -> bool:
    """Whether a row keeps a run from being green.

    What was recorded without a threshold is no claim; and inconclusive claims may be let off by the settings.
    """
    found = state(row.result)
    return found not in QUIET and not (found == "inconclusive" and settings.get("inconclusive") == "skip")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON")


def _field(data: object, name: str, kind: type) -> Any:
    if not isinstance(data, dict):
        raise TypeError(expected("an object", data))
    value = data[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(expected(f"{name} to be {_KINDS[kind]}", value))
    return value


_KINDS = {int: "a whole number", str: "text", dict: "an object", list: "a list"}


def _texts(values: list[Any], name: str) -> list[str]:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(expected(f"{name} to list texts", value))
    return values


def _shard(data: object) -> Shard | None:
    if data is None:
        return None
    index, count = _field(data, "index", int), _field(data, "count", int)
    if not 1 <= index <= count:
        raise ValueError(f"Expected a shard of 1..{count} but got {index}")
    tests = _texts(_field(data, "tests", list), "tests")
    reported = data.get("reported") if isinstance(data, dict) else None
    return Shard(
        index=index,
        count=count,
        tests=tuple(tests),
        reported=None if reported is None else frozenset(_texts(_field(data, "reported", list), "reported")),
    )


def _row(data: object) -> Row:
    test, problem, replay = (_field(data, name, str) for name in ("test", "problem", "replay"))
    result = data["result"] if isinstance(data, dict) else None
    if result is None and not problem:
        raise ValueError(f"neither a result nor a problem of {test}")
    return Row(test=test, result=None if result is None else result_of(result), problem=problem, replay=replay)


def result_of(data: object) -> Result:
    """A result as files hold it.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    if not isinstance(data, dict):
        raise TypeError(expected("a result", data))
    try:
        result = Result.from_dict(data)
    except AttributeError as error:
        raise TypeError(str(error)) from None
    for name, (kinds, what) in _TYPES.items():
        value = getattr(result, name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise TypeError(expected(f"{name} of a result to be {what}", value))
    if len(result.interval) != 2 or not all(type(end) in (int, float) for end in result.interval):
        raise TypeError(expected("interval of a result to be two numbers", result.interval))
    if type(result.at_alpha) is not bool:
        raise TypeError(expected("at_alpha of a result to be true or false", result.at_alpha))
    if not all(outcome is None or type(outcome) is bool for outcome in result.outcomes):
        raise TypeError("Expected outcomes of a result to be true, false or null")
    return result


_TEXT = ((str,), "text")
_NUMBER = ((int, float, type(None)), "a number or null")
_COUNT = ((int,), "a whole number")
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("claim", "statement", "rule", "quantity", "comparison", "setting", "method"), _TEXT),
    **dict.fromkeys(("cached", "data", "model"), _TEXT),
    **dict.fromkeys(("estimate", "threshold"), _NUMBER),
    **dict.fromkeys(("n_used", "n_total", "seed", "replayed"), _COUNT),
    "alpha": ((int, float), "a number"),
    "details": ((dict,), "an object"),
}
