"""Histories in a folder: a file for each claim, and a file for each month of runs.

One line per entry would repeat most fields: 200 claims and 1,000 runs take 29 to 48 MB instead of 4.8 MB.

- A claim's file: the first line names the claim; each further line is a set of `Requirements` that it ever had.
- A month's file: the first line names the month. A list line, `["=NAME", [REFERENCE, ...]]`, lists claims with their
  requirements. A `RunLine` has a whole run in columns, in the order of its list.

Names are digests of contents, and the lines of a file are a sorted set: histories are joined by the union of their
lines, in either order, also by git's `merge=union`. A file with a malformed line is refused, with the line's number.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from robustest.errors import StoreError, expected
from robustest.history import ClaimId, HistoryEntry
from robustest.safe_files import read_below, write_atomic
from robustest.store.files import alone
from robustest.typed import from_plain, to_plain

# Most bytes of a file.
LARGEST = 64 * 2**20
SCHEMA = 3
_MOST_FILES = 20_000
# Most characters of a text, and of a claim's names.
_LONGEST, _LONGEST_ID = 300, 4_000
_LARGEST_NUMBER = 1e100
_ATTRIBUTES = "*.jsonl text eol=lf merge=union\n"
_REMEDY = "Restore it from version control, or delete it and lose its content"
_MONTH = re.compile(r"runs-(\d{4}-\d\d)\.jsonl", re.ASCII).fullmatch
# Beginning of a first line, which sorts before all others.
_HEAD = b'["# '
_TITLE = "# a history of robustest"
# Beginning of a list line, which sorts after the runs, since these begin with their time.
_LIST = b'["='
_LETTERS = string.digits + string.ascii_letters
_PLACES = {letter: at for at, letter in enumerate(_LETTERS)}
_REFERENCE = re.compile("[0-9a-f]{16}[.][0-9a-f]{8}").fullmatch
_NUMBERS = {float, int, type(None)}
# Files may come from elsewhere: texts of other forms are refused.
_FORMS: Mapping[str, Callable[[str], object]] = {
    "time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII).fullmatch,
    "committed": re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?", re.ASCII).fullmatch,
    **dict.fromkeys(("commit", "digest"), re.compile("[0-9a-z]{0,12}").fullmatch),
    "state": re.compile("[a-z]{1,20}").fullmatch,
    "verdict": re.compile("(passed|failed|inconclusive)?").fullmatch,
    "bounds": re.compile("(above|below)?").fullmatch,
    "comparison": re.compile("(>=|<=)?").fullmatch,
    **dict.fromkeys(("versions", "problem", "listed", "required"), lambda text: len(text) <= _LONGEST),
}

History = dict[ClaimId, list[HistoryEntry]]


class Requirements(NamedTuple):
    """Fields of a `HistoryEntry` that do not depend on results."""

    bounds: str
    total: int
    threshold: float | None
    comparison: str
    required: str


class EntryClass(NamedTuple):
    """Fields that most entries of one run share; `model` and `data` are indices into `RunLine.digests`."""

    state: str
    verdict: str
    seed: int
    cached: bool
    model: int
    data: int
    ends: int


# The intervals of an entry: one alone; a second one, of the value, from 0 to the upper end of the first; or a second
# one with other ends, which are in `RunLine.others`.
_ONE, _FROM_ZERO, _BOTH = range(3)


class RunLine(NamedTuple):
    """All entries of one run, in columns.

    Attributes:
        listed: name of the list of claims, which orders all columns.
        digests: of models and data.
        classes: the distinct `EntryClass`es.
        which: a letter for each claim's class; numbers if letters do not suffice.
        lows, highs: interval that a report shows.
        found: an estimate from all samples (float), or the number of evaluated samples (int), or both in a list.
        others: index, low and high of value intervals that do not follow from the columns.
        problems: index and text.
    """

    time: str
    commit: str
    committed: str
    dirty: bool
    versions: str
    listed: str
    digests: Sequence[str]
    classes: Sequence[Sequence[Any]]
    which: str | Sequence[int]
    lows: Sequence[float | None]
    highs: Sequence[float | None]
    found: Sequence[Any]
    seconds: Sequence[float]
    others: Sequence[tuple[int, float | None, float | None]]
    problems: Sequence[tuple[int, str]]


def read(folder: Path) -> History:
    """Return the entries of every claim that has a file, by time.

    Raises:
        StoreError: the folder has no history, or a file is damaged.
    """
    names = _names(folder)
    if not names:
        raise StoreError(
            f"Expected a history in {folder} but there is none. Begin one: pytest --robust --robust-history={folder}"
        )
    months = [(name, found[1]) for name in names if (found := _MONTH(name))]
    claims: dict[str, tuple[ClaimId, dict[str, Requirements]]] = {}
    entries: History = {}
    for name in names:
        if _MONTH(name) is None:
            claim, requirements = _read_claim(folder, name)
            claims[claim.digest] = claim, requirements
            entries[claim] = []
    times: Counter[str] = Counter()
    for name, month in months:
        times.update(_read_month(folder, name, month, claims, entries))
    if len(times) == times.total():
        return entries
    # Parts of one run may be added separately: each entry counts once.
    return {claim: list(dict.fromkeys(ones)) for claim, ones in entries.items()}


def add(folder: Path, entries: Mapping[ClaimId, Iterable[HistoryEntry]]) -> None:
    """Add entries to a folder, each once.

    Raises:
        StoreError: a file is damaged; all files stay as they are.
        OSError: the folder cannot be written.
    """
    lines: dict[str, set[bytes]] = {}
    runs: dict[tuple[str, str, str, bool, str], list[tuple[ClaimId, HistoryEntry]]] = {}
    for claim, ones in entries.items():
        for one in ones:
            runs.setdefault((one.time, one.commit, one.committed, one.dirty, one.versions), []).append((claim, one))
            requirements = _requirements(one)
            line = _line([_digest(requirements), *requirements])
            lines.setdefault(claim.file, {first_line(claim=_head_of(claim))}).add(line)
    for (time, *_), found in runs.items():
        lines.setdefault(f"runs-{time[:7]}.jsonl", {first_line(runs=time[:7])}).update(run_lines(found))
    _join(folder, lines)


def add_history(folder: Path, other: Path) -> None:
    """Add the lines of another folder; the order of the two makes no difference.

    Raises:
        StoreError: a file of either is damaged; the folder stays as it is.
        OSError: the folder cannot be written.
    """
    read(other)  # refuses damaged files
    _join(folder, {name: set(_lines(other, name)) for name in _names(other)})


def _join(folder: Path, lines: Mapping[str, set[bytes]]) -> None:
    with alone(folder):
        before = {}
        for name in _names(folder):
            before[name] = _lines(folder, name)
            for number, line in enumerate(before[name], 1):  # conflicts that git left must not be sorted away
                if not (line.startswith(b'["') and line.endswith(b"]")):
                    _refuse(folder, name, number, repr(line[:60].decode("utf-8", "replace")))
        if not (folder / ".gitattributes").exists():
            write_atomic(folder / ".gitattributes", _ATTRIBUTES.encode())
        # Claims first: a run's line names them, and the writing may be interrupted.
        for name in sorted({*before, *lines}, key=lambda name: (_MONTH(name) is not None, name)):
            ordered = sorted({*before.get(name, ()), *lines.get(name, ())})
            if ordered != before.get(name):
                write_atomic(folder / name, b"\n".join(ordered) + b"\n")


# ---- files and lines


def _names(folder: Path) -> list[str]:
    names = sorted(path.name for path in Path(folder).glob("*.jsonl") if not path.name.startswith("."))
    if len(names) > _MOST_FILES:
        raise StoreError(
            f"Expected at most {_MOST_FILES} files in {folder} but got {len(names)}. Delete files of old tests."
        )
    return names


def _lines(folder: Path, name: str) -> list[bytes]:
    try:
        content = read_below(folder, name, most=LARGEST)
    except OSError as error:
        raise StoreError(f"Expected to read {folder / name} but got: {error.strerror or error}. {_REMEDY}.") from error
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    if lines.pop() != b"":
        _refuse(folder, name, len(lines) + 1, "a line without an end")
    return lines


def _numbered(folder: Path, name: str) -> tuple[bytes, list[tuple[int, bytes]]]:
    numbers: dict[bytes, int] = {}
    for number, line in enumerate(_lines(folder, name), 1):
        numbers.setdefault(line, number)
    heads = [line for line in numbers if line.startswith(_HEAD)]
    if len(heads) != 1:
        _refuse(folder, name, 1, f"{len(heads)} first lines instead of one")
    return heads[0], [(numbers[line], line) for line in sorted(numbers) if line != heads[0]]


def _refuse(folder: Path, name: str, number: int, what: str) -> NoReturn:
    raise StoreError(
        f"Expected a line of a history in {folder / name}, line {number}, but got: {what[:300]}. {_REMEDY}."
    )


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _digest(value: object) -> str:
    return sha256(_line(value)).hexdigest()[:8]


def first_line(**about: object) -> bytes:
    """Return the first line of a file: `claim=...` or `runs=...`."""
    return _line([_TITLE, {"schema": SCHEMA, **about}])


def _head_of(claim: ClaimId) -> dict[str, Any]:
    """Return the fields of a claim; a repository with one model names no service."""
    fields: dict[str, Any] = to_plain(claim)
    return fields if claim.service else {name: value for name, value in fields.items() if name != "service"}


def _parsed(text: bytes) -> Any:
    def no_constant(name: str) -> NoReturn:
        raise ValueError(f"{name}, which is no JSON")

    try:
        return json.loads(text, parse_constant=no_constant)
    except RecursionError:
        raise ValueError("too deep nesting") from None


def _parsed_head(line: bytes, name: str) -> Any:
    parts = _parsed(line)
    if not isinstance(parts, list) or len(parts) != 2 or parts[0] != _TITLE or not isinstance(parts[1], dict):
        raise TypeError("Expected the first line of a history")
    if parts[1].get("schema") != SCHEMA:
        raise ValueError(
            f"{expected(f'schema {SCHEMA} of a history', parts[1].get('schema'))}: another version wrote it. Install "
            "that version, or begin a history in another folder"
        )
    if set(parts[1]) != {"schema", name}:
        raise TypeError(f"Expected the first line of a file of a {name}")
    return parts[1][name]


def _read_claim(folder: Path, name: str) -> tuple[ClaimId, dict[str, Requirements]]:
    head, lines = _numbered(folder, name)
    number = 1
    try:
        about = _parsed_head(head, "claim")
        claim = from_plain(ClaimId, {"service": "", **about} if isinstance(about, dict) else about, "a claim")
        if about.get("service") == "":
            raise ValueError("Expected no service, or a name")
        if max(map(len, (claim.test, claim.key, claim.service))) > _LONGEST_ID or not 0 <= claim.place < 1_000_000:
            raise ValueError(expected(f"texts of at most {_LONGEST_ID} characters, and a place, of a claim", claim))
        found = {}
        for at, line in lines:
            number, row = at, _parsed(line)
            if not isinstance(row, list) or len(row) != 1 + len(Requirements._fields):
                raise TypeError(f"Expected a list of {1 + len(Requirements._fields)} fields")
            one = Requirements(*row[1:])
            _check_texts({key: [getattr(one, key)] for key in ("bounds", "comparison", "required")})
            _check_numbers("total", [one.total], {int})
            _check_numbers("threshold", [one.threshold], _NUMBERS)
            if row[0] != _digest(one):
                raise ValueError(expected(f"the name {_digest(one)} of requirements", row[0]))
            found[_digest(one)] = one
    except (ValueError, TypeError, KeyError) as error:
        _refuse(folder, name, number, str(error))
    if claim.file != name:
        raise StoreError(f"Expected the claim of {folder / name} but got that of {claim.file}. {_REMEDY}.")
    return claim, found


def _read_month(
    folder: Path,
    name: str,
    month: str,
    claims: Mapping[str, tuple[ClaimId, Mapping[str, Requirements]]],
    entries: History,
) -> list[str]:
    head, lines = _numbered(folder, name)
    number = 1
    try:
        if _parsed_head(head, "runs") != month:
            raise ValueError(f"Expected the runs of {month}")
        lists: dict[str, tuple[list[list[HistoryEntry]], list[Requirements]]] = {}
        runs: list[tuple[int, RunLine]] = []
        for number, line in lines:
            if not line.startswith(_LIST):
                runs.append((number, _parsed_run(line)))
                continue
            row = _parsed(line)
            if len(row) != 2 or type(row[1]) is not list or not all(type(r) is str and _REFERENCE(r) for r in row[1]):
                raise TypeError("Expected a name and a list of claims")
            if row[0] != f"={_digest(row[1])}":
                raise ValueError(f"Expected the name ={_digest(row[1])} of a list of claims")
            places, requirements = [], []
            for reference in row[1]:
                digest, _, key = reference.partition(".")
                claim, by_key = claims.get(digest, (None, {}))
                if claim is not None and key not in by_key:
                    raise ValueError(f"Expected a line {key} in {claim.file}, which a run names")
                # A claim without a file was deleted on purpose: its entries are read and dropped.
                places.append([] if claim is None else entries[claim])
                requirements.append(by_key[key] if claim is not None else Requirements("", 0, None, ">=", ""))
            lists[_digest(row[1])] = places, requirements
        for at, run in runs:
            number = at
            if run.listed not in lists:
                raise ValueError(f"Expected the list {run.listed[:20]} of claims, which the run names")
            if run.time[:7] != month:
                raise ValueError(f"Expected a run of {month}")
            places, requirements = lists[run.listed]
            for place, entry in zip(places, _entries(run, requirements), strict=True):
                place.append(entry)
    except (ValueError, TypeError) as error:
        _refuse(folder, name, number, str(error))
    # Equal times let `read` find runs that were added in parts.
    return [run.time for _, run in runs]


# ---- runs


def _requirements(entry: HistoryEntry) -> Requirements:
    return Requirements(entry.bounds, entry.total, entry.threshold, entry.comparison, entry.required)


def run_lines(entries: Iterable[tuple[ClaimId, HistoryEntry]]) -> tuple[bytes, bytes]:
    """Return the lines, without ends, of one run and of its list of claims."""
    pairs = sorted(
        ((f"{claim.digest}.{_digest(_requirements(one))}", one) for claim, one in set(entries)),
        key=lambda pair: (
            pair[0],
            repr(pair[1]),
        ),  # by repr: entries of one claim cannot be compared (None < 0.5 raises)
    )
    references, rows = [reference for reference, _ in pairs], [one for _, one in pairs]
    digests = sorted({digest for one in rows for digest in (one.model, one.data)})
    each, found = [], []
    for one in rows:
        if one.left_low is None:
            ends = _ONE
        elif one.low == 0 and one.high == one.left_high:
            ends = _FROM_ZERO
        else:
            ends = _BOTH
        model, data = digests.index(one.model), digests.index(one.data)
        each.append(EntryClass(one.state, one.verdict, one.seed, one.cached, model, data, ends))
        estimate = None if one.estimate is None else float(one.estimate)
        found.append(one.used if estimate is None else estimate if one.used == one.total else [estimate, one.used])
    classes = sorted(set(each))
    places = [classes.index(one) for one in each]
    first = rows[0]
    run = RunLine(
        time=first.time,
        commit=first.commit,
        committed=first.committed,
        dirty=first.dirty,
        versions=first.versions,
        listed=_digest(references),
        digests=digests,
        classes=classes,
        which="".join(_LETTERS[at] for at in places) if len(classes) <= len(_LETTERS) else places,
        lows=[one.low if one.left_low is None else one.left_low for one in rows],
        highs=[one.high if one.left_high is None else one.left_high for one in rows],
        found=found,
        seconds=[
            int(one.seconds) if one.seconds == int(one.seconds) else one.seconds for one in rows
        ],  # "3", not "3.0"
        others=[
            (at, one.low, one.high) for at, (one, cls) in enumerate(zip(rows, each, strict=True)) if cls.ends == _BOTH
        ],
        problems=[(at, one.problem) for at, one in enumerate(rows) if one.problem],
    )
    return _line(run), _line([f"={run.listed}", references])


def _parsed_run(line: bytes) -> RunLine:
    row = _parsed(line)
    if len(row) != len(RunLine._fields):
        raise TypeError(f"Expected a list of {len(RunLine._fields)} fields")
    run = RunLine(*row)
    if type(run.dirty) is not bool:
        raise TypeError("Expected dirty of a run to be true or false")
    if type(run.digests) is not list:
        raise TypeError("Expected digests of a run to be a list")
    _check_texts({name: [getattr(run, name)] for name in ("time", "commit", "committed", "versions", "listed")})
    _check_texts({"digest": run.digests})
    width = len(EntryClass._fields)
    if type(run.classes) is not list or not all(type(one) is list and len(one) == width for one in run.classes):
        raise TypeError(f"Expected lists of {width} fields as classes of a run")
    for one in map(EntryClass._make, run.classes):
        _check_texts({name: [getattr(one, name)] for name in ("state", "verdict")})
        _check_numbers("seed, model and data", [one.seed, one.model, one.data], {int})
        if not (0 <= one.model < len(run.digests) and 0 <= one.data < len(run.digests)):
            raise ValueError("Expected a digest of the run for each model and data")
        if type(one.cached) is not bool or type(one.ends) is not int or one.ends not in (_ONE, _FROM_ZERO, _BOTH):
            raise TypeError("Expected cached of a run to be true or false, and ends to be 0, 1 or 2")
    return run


def _entries(run: RunLine, requirements: Sequence[Requirements]) -> list[HistoryEntry]:
    # Columns are checked as a whole, for speed.
    count = len(requirements)
    for name in ("lows", "highs", "found", "seconds"):
        _check_length(getattr(run, name), count, name)
    if not count:
        raise TypeError("Expected claims in a run")
    if isinstance(run.which, str) and len(run.which) == count and set(run.which) <= _PLACES.keys():
        which = [_PLACES[letter] for letter in run.which]
    else:
        _check_length(run.which, count, "which")
        _check_numbers("which", run.which, {int})
        which = [int(at) for at in run.which]
    if not 0 <= min(which) <= max(which) < len(run.classes):
        raise ValueError("Expected a class for each claim of a run")
    bounds, total, threshold, comparison, required = zip(*requirements, strict=True)
    state, verdict, seed, cached, model, data, ends = zip(*(run.classes[at] for at in which), strict=True)

    _check_numbers("low", run.lows, _NUMBERS)
    _check_numbers("high", run.highs, _NUMBERS)
    both = [at for at, end in enumerate(ends) if end == _BOTH]
    if type(run.others) is not list or [one[:1] for one in run.others] != [[at] for at in both]:
        raise TypeError("Expected both intervals of each claim that has two")
    low, high = list(run.lows), list(run.highs)
    left_low: Iterable[float | None] = repeat(None, count)
    left_high: Iterable[float | None] = repeat(None, count)
    if any(ends):
        left_low, left_high = (
            [None if end == _ONE else value for end, value in zip(ends, column, strict=True)] for column in (low, high)
        )
        low = [0.0 if end == _FROM_ZERO else value for end, value in zip(ends, low, strict=True)]
        for at, *interval in run.others:
            _check_numbers("interval", interval, _NUMBERS)
            low[at], high[at] = interval

    kinds = set(map(type, run.found))
    if not kinds <= {int, float, list}:
        raise TypeError("Expected an estimate, a number of samples, or both in a run")
    _check_numbers("found", [value for value in run.found if type(value) is not list], {int, float})
    estimate: list[float | None] = [value if type(value) is float else None for value in run.found]
    used = [value if type(value) is int else every for value, every in zip(run.found, total, strict=True)]
    for at, value in enumerate(run.found) if list in kinds else ():
        if type(value) is list:
            _check_length(value, 2, "estimate and samples")
            _check_numbers("estimate", value[:1], {float})
            _check_numbers("used", value[1:], {int})
            estimate[at], used[at] = value
    _check_numbers("seconds", run.seconds, {float, int})

    problems = [""] * count
    if type(run.problems) is not list:
        raise TypeError("Expected problems of a run to be a list")
    for one in run.problems:
        _check_length(one, 2, "an index and a problem")
        at, text = one
        _check_numbers("index", [at], {int})
        _check_texts({"problem": [text]})
        if not 0 <= at < count:
            raise ValueError("Expected a problem of a claim of the run")
        problems[at] = text

    columns = zip(
        *map(repeat, run[:4]),
        *(state, verdict, estimate, low, high, left_low, left_high, bounds, used, total, threshold, comparison),
        *(required, run.seconds, seed, cached, [run.digests[at] for at in model], [run.digests[at] for at in data]),
        repeat(run.versions),
        problems,
        strict=False,  # repeated fields have no end; the others were counted
    )
    # The same as `map(HistoryEntry._make, columns)` in a third of the time.
    entries: list[HistoryEntry] = list(map(tuple.__new__, repeat(HistoryEntry), columns))
    for decided, start, end, how in zip(verdict, low, high, comparison, strict=True):
        if decided and not (start is not None and end is not None and start <= end and how):
            raise ValueError("Expected a verdict with an interval and a comparison")
    return entries


def _check_texts(columns: Mapping[str, Iterable[Any]]) -> None:
    for name, values in columns.items():
        if not all(type(value) is str and _FORMS[name](value) for value in values):
            raise ValueError(f"Expected {name} of a run to be a text in its format")


def _check_numbers(name: str, values: Collection[Any], kinds: AbstractSet[type]) -> None:
    # Vectorised: this is a hot loop.
    present = set(map(type, values))
    if not present <= kinds:
        raise TypeError(f"Expected {name} of a run to be {' or '.join(sorted(kind.__name__ for kind in kinds))}")
    given = [value for value in values if value is not None] if type(None) in present else values
    if given and not -_LARGEST_NUMBER <= min(given) <= max(given) <= _LARGEST_NUMBER:
        raise ValueError(f"Expected {name} of a run to be a finite number below {_LARGEST_NUMBER:g}")


def _check_length(values: object, count: int, what: str) -> None:
    if type(values) is not list or len(values) != count:
        raise TypeError(f"Expected {count} values of {what} in a run")
