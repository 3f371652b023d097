"""Reader of the files that `--robust-json` writes."""

# A file may come from another machine, be cut short, or be malicious. So three checks precede any use: sizes, depth and
# numbers of the JSON; types of every field; and whether every report can be made of it.

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustest.account import Account, Ending, Row, Session
from robustest.cli.screen import Exit, Refused, exit_of_pytest, missing
from robustest.errors import expected
from robustest.history import Origin
from robustest.reports.html.album import Album
from robustest.reports.html.figures import curves_of, plot_of
from robustest.reports.html.page import card_of
from robustest.reports.json_file import SCHEMA
from robustest.reports.text import failure_text
from robustest.results import Result, numbers_apart
from robustest.safe_files import read_regular
from robustest.settings import is_service
from robustest.typed import from_plain, to_plain
from robustest.version import VERSION

LARGEST = 512 * 2**20
"""Largest file in bytes: a claim about a million samples takes 12 MB."""
DEEPEST = 32
"""Deepest nesting of lists and objects; results have fewer than ten levels."""
LARGEST_NUMBER = 1e100
"""Largest number; results have shares, sizes, counts and seconds."""
LONGEST = 1_000_000
"""Characters of the longest text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The part of a run that a file has."""

    index: int  # its number, from 1
    count: int  # number of shards
    tests: tuple[str, ...]  # ids of all robustness tests of the whole run, in the order of collection
    reported: frozenset[str] | None = None  # ids of this shard's tests; None if the file lacks them

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(f"Expected a shard of 1..{self.count} but got {self.index}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsFile:
    """A file of results."""

    path: Path
    version: str  # version of robustest that wrote it
    settings: Mapping[str, Any]  # settings of the run, unchecked
    account: Account  # results, endings and losses
    session: Session
    shard: Shard | None  # the part of the run; None for a whole run
    origin: Origin | None  # time and commit of the run; None if unknown
    content: str  # digest of the whole content


def read_written(file: Path, code: int) -> ResultsFile:
    """Return the results of a run of pytest that ended with this exit code."""
    if not file.is_file():
        raise Refused(
            f"Expected results but pytest ended with exit code {code} before it wrote any. See its output above.",
            Exit.MISSING if code in (0, 1) else exit_of_pytest(code),
        )
    return read_results(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """The fields of a file of `robustest.reports.json_file`."""

    schema: int
    robustest: str
    origin: Origin | None
    settings: Mapping[str, Any]
    shard: Shard | None
    pytest: Session
    counts: Mapping[str, int]
    lost: tuple[str, ...]
    chance: Mapping[str, Any]
    tests: tuple[Ending, ...]
    results: tuple[Row, ...]


def read_results(path: Path) -> ResultsFile:
    """Read a file of results."""
    data = read_json(path, f"results at {path}", f"Write them: pytest --robust --robust-json={path}")
    try:
        schema = data.get("schema") if isinstance(data, dict) else None
        if type(schema) is int and schema != SCHEMA:
            remedy = "Run the tests again with this version" if schema < SCHEMA else "Install the version that wrote it"
            raise TypeError(expected(f"schema {SCHEMA}", schema, remedy))
        content = from_plain(_Content, data, "the file")
        service = content.settings.get("service", "")
        if not is_service(service):
            raise ValueError(f"Expected a service of one short line but got {str(service)[:100]!r}")
        account = Account(
            results=content.results,
            endings=content.tests,
            session=content.pytest,
            lost=content.lost,
            service=service,
        )
        # Parts that do not belong together: an ending that no test has, counts of other rows.
        ended = set(account.endings)
        for row in account.results:
            if row.result is not None:
                check_result(row.result)
            elif not row.problem:
                raise ValueError(f"Expected a result or a problem of {row.test} but got neither")
            if row.ending is None or (row.ending.outcome != "passed" and row.ending not in ended):
                raise ValueError(f"a result of {row.test} with an ending that its test does not have")
        # A test that was set up has an ending: one that was cut out of the file would not be missed.
        if 0 < len(tests := {one.test for one in ended if one.robust}) < content.pytest.ran:
            raise ValueError(f"{content.pytest.ran} robustness tests that ran, but endings of {len(tests)}")
        found = Counter(row.state for row in account.rows)
        if dict(found) != content.counts:
            raise ValueError(f"counts of {json.dumps(content.counts)[:200]} but rows of {json.dumps(found)}")
        return ResultsFile(
            path=path,
            version=content.robustest,
            settings=content.settings,
            account=account,
            session=content.pytest,
            shard=content.shard,
            origin=content.origin,
            # The digest finds two different files of one shard, whatever their indentation.
            content=sha256(json.dumps(data, sort_keys=True).encode()).hexdigest(),
        )
    except (ValueError, TypeError, KeyError) as error:
        version = data.get("robustest") if isinstance(data, dict) else None
        other = "" if version in (None, VERSION) else f" It was written by robustest {version}; this is {VERSION}."
        what = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise missing(
            f"Expected a whole file of pytest --robust-json but got, in {path}: {what}.{other} Write it again: "
            f"pytest --robust --robust-json={path}"
        ) from None


def read_json(path: Path, what: str, remedy: str) -> object:
    """Return the content of a JSON file, of limited size, depth and numbers.

    Args:
        path: the file.
        what: the expected content, for messages.
        remedy: a way to make the file, for messages.
    """
    try:
        return parse_json(read_regular(path, most=LARGEST))
    except OSError as error:
        raise missing(f"Expected {what} but got: {error.strerror or error}. {remedy}") from None
    except ValueError as error:
        raise missing(f"Expected {what} but the file is damaged: {error}. {remedy}") from None


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is no JSON in UTF-8, has a name twice in one object, or exceeds a limit.
    """
    too_deep = f"nesting deeper than {DEEPEST} levels"

    def no_constant(name: str) -> None:
        raise ValueError(f"{name}, which is no JSON")

    # JSON parsers disagree on which of two equal names counts, so a file could mean two things.
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the name {twice[:80]!r} twice in one object")
        return made

    try:
        value = json.loads(data.decode("utf-8"), parse_constant=no_constant, object_pairs_hook=once)
    except RecursionError:
        raise ValueError(too_deep) from None
    # A validation library (msgspec, pydantic) would not replace this walk: none limits depth, repeated names and sizes
    # of numbers inside of free-form details.
    waiting = [(value, 1)]  # without recursion, so that no depth can break it
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, (dict, list)):
            if depth > DEEPEST:
                raise ValueError(too_deep)
            inside = one.values() if isinstance(one, dict) else one
            waiting += [(part, depth + 1) for part in inside if part is not None and part is not True]
            if isinstance(one, dict) and any(len(name) > LONGEST for name in one):
                raise ValueError(f"a name of more than {LONGEST:,} characters")
        elif isinstance(one, str) and len(one) > LONGEST:
            raise ValueError(f"a text of {len(one):,} characters; at most {LONGEST:,} are allowed")
        elif isinstance(one, (int, float)) and not (abs(one) <= LARGEST_NUMBER and math.isfinite(one)):
            raise ValueError(f"a number beyond {LARGEST_NUMBER:g}")
    return value


def check_result(result: Result) -> None:
    """Raise TypeError or ValueError if a result of a file contradicts itself, or no report could be made of it."""
    # Numbers that were edited, or of two runs, must be no one's verdict.
    evaluated = sum(outcome is not None for outcome in result.outcomes)
    if result.outcomes and (len(result.outcomes), evaluated) != (result.numbers.n_total, result.numbers.n):
        found = f"{evaluated} of {len(result.outcomes)} outcomes"
        raise ValueError(f"a result with n={result.numbers.n} of {result.numbers.n_total}, but {found}")
    for problem in numbers_apart(to_plain(result.ruling) | to_plain(result.numbers)):
        raise ValueError(f"a result that contradicts itself: {problem}")
    # Details have no fixed form, and only the reports know which parts they need: so make the reports.
    try:
        row = Row("", result)
        failure_text(result, replay="")
        card_of(1, row, Album(folder=Path(), origin=Path(), inline=True, below={}))  # takes no picture of any test
        _ = [plot_of(curve) for curve in curves_of([row])]
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, StopIteration) as error:
        problem = f"{type(error).__name__}: {error}"[:200]
        raise TypeError(f"details of {result.subject.kind!r} that cannot be reported ({problem})") from None
