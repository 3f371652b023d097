"""The lines of runs: one a run, with all that it found of every claim, and what such lines name.

There are as many entries as claims times runs, and most of what they say they have in common. So a run's line begins
with the run; names a list of claims and what was asked of each, which many runs share; lists the few sorts of endings
there were (state, verdict, seed, model, data) and has a letter a claim for them; and then has a column of low ends, of
high ends, of what was found, of seconds. No line builds on another run's: a line that is lost loses one run, and
never changes what another found. Lists of claims are named by a digest of what they say, as are things asked.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from robustest.history.claim import Claim
from robustest.history.entry import Entry
from robustest.history.lines import LONGEST, Asked, asked_of, check_numbers, line_of, name_of, parsed, several

LISTED = b'["='
"""What the line of a list of claims begins with: it sorts behind the runs, which begin with their time."""
_LETTERS = string.digits + string.ascii_letters
_PLACES = {letter: at for at, letter in enumerate(_LETTERS)}
_REFERENCE = re.compile("[0-9a-f]{16}[.][0-9a-f]{8}").fullmatch
_ONE, _FROM_ZERO, _BOTH = range(3)
"""How a value's interval and that of what the search left are kept: one only; the first is the second, begun at 0;
both."""
_NUMBERS = {float, int, type(None)}
_FORMS: Mapping[str, Callable[[str], object]] = {
    "time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII).fullmatch,
    "committed": re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?", re.ASCII).fullmatch,
    **dict.fromkeys(("commit", "digest"), re.compile("[0-9a-z]{0,12}").fullmatch),
    "state": re.compile("[a-z]{1,20}").fullmatch,
    "verdict": re.compile("(passed|failed|inconclusive)?").fullmatch,
    **dict.fromkeys(("versions", "problem", "listed"), lambda text: len(text) <= LONGEST),
}


class Sort(NamedTuple):
    """What entries of one run have in common with most others of it.

    Attributes:
        state, verdict, seed, cached: as of an `Entry`.
        model, data: places in the run's list of digests.
        ends: how the intervals are kept.
    """

    state: str
    verdict: str
    seed: int
    cached: bool
    model: int
    data: int
    ends: int


class Run(NamedTuple):
    """A run's line.

    Attributes:
        time, commit, committed, dirty, versions: of the run.
        listed: the name of the list of its claims; all that follows is in that order.
        digests: of models and data.
        sorts: the `Sort`s that there are.
        which: a letter a claim, or a number where there are more sorts than letters.
        lows, highs: ends of the interval that is shown, of what the search left where it only bounds the value.
        found: an estimate of all samples (a float), or how many samples were used (an int), or both in a list.
        seconds: what each cost.
        others: place, low and high of the value's interval, where they do not follow from those above.
        problems: place and text.
    """

    time: str
    commit: str
    committed: str
    dirty: bool
    versions: str
    listed: str
    digests: Sequence[str]
    sorts: Sequence[Sequence[Any]]
    which: str | Sequence[int]
    lows: Sequence[float | None]
    highs: Sequence[float | None]
    found: Sequence[Any]
    seconds: Sequence[float]
    others: Sequence[tuple[int, float | None, float | None]]
    problems: Sequence[tuple[int, str]]


def lines_of(entries: Iterable[tuple[Claim, Entry]]) -> tuple[bytes, bytes]:
    """The line of a run and that of the list of its claims, without their ends.

    Args:
        entries: of one run, in any order.
    """
    ones = sorted(((f"{claim.digest}.{asked_of(one).name}", one) for claim, one in set(entries)), key=_order)
    references = [reference for reference, _ in ones]
    rows = [one for _, one in ones]
    digests = sorted({digest for one in rows for digest in (one.model, one.data)})
    each = [_sort_of(one, digests) for one in rows]
    sorts = sorted(set(each))
    places = [sorts.index(sort) for sort in each]
    first = rows[0]
    run = Run(
        first.time,
        first.commit,
        first.committed,
        first.dirty,
        first.versions,
        name_of(references),
        digests,
        sorts,
        "".join(_LETTERS[at] for at in places) if len(sorts) <= len(_LETTERS) else places,
        [one.low if one.left_low is None else one.left_low for one in rows],
        [one.high if one.left_high is None else one.left_high for one in rows],
        [_finding(one) for one in rows],
        [int(one.seconds) if one.seconds == int(one.seconds) else one.seconds for one in rows],  # shorter by two bytes
        [(at, one.low, one.high) for at, (one, sort) in enumerate(zip(rows, each, strict=True)) if sort.ends == _BOTH],
        [(at, one.problem) for at, one in enumerate(rows) if one.problem],
    )
    return line_of(run), line_of([f"={run.listed}", references])


def _order(one: tuple[str, Entry]) -> tuple[str, str]:
    return one[0], repr(one[1])


def _sort_of(one: Entry, digests: Sequence[str]) -> Sort:
    if one.left_low is None and one.left_high is None:
        ends = _ONE
    elif None not in (one.left_low, one.left_high) and one.low == 0 and one.high == one.left_high:
        ends = _FROM_ZERO
    else:
        ends = _BOTH
    named = digests.index(one.model), digests.index(one.data)
    return Sort(one.state, one.verdict, one.seed, one.cached, *named, ends)


def _finding(one: Entry) -> object:
    if one.estimate is None:
        return one.used
    return float(one.estimate) if one.used == one.total else [float(one.estimate), one.used]


def references_in(line: bytes) -> tuple[str, list[str]]:
    """The name of a list of claims, and the claims: a digest of each, and the name of what was asked.

    Raises:
        TypeError, ValueError: it is none, or says something else than its name stands for.
    """
    row = parsed(line)
    if len(row) != 2 or type(row[1]) is not list or not all(type(one) is str and _REFERENCE(one) for one in row[1]):
        raise TypeError("Expected a name and a list of claims")
    if row[0] != f"={name_of(row[1])}":
        raise ValueError(f"Expected the name ={name_of(row[1])} of a list of claims")
    return name_of(row[1]), row[1]


def run_in(line: bytes) -> Run:
    """The run of a line.

    Raises:
        TypeError, ValueError: it is none.
    """
    row = parsed(line)
    if len(row) != len(Run._fields):
        raise TypeError(f"Expected a list of {len(Run._fields)} fields")
    run = Run(*row)
    if type(run.dirty) is not bool:
        raise TypeError("Expected dirty of a run to be true or false")
    _texts({name: [getattr(run, name)] for name in ("time", "commit", "committed", "versions", "listed")})
    if type(run.digests) is not list:
        raise TypeError("Expected digests of a run to be a list")
    _texts({"digest": run.digests})
    if type(run.sorts) is not list or not all(type(one) is list and len(one) == len(Sort._fields) for one in run.sorts):
        raise TypeError(f"Expected lists of {len(Sort._fields)} fields as sorts of a run")
    for one in map(Sort._make, run.sorts):
        _texts({name: [getattr(one, name)] for name in ("state", "verdict")})
        check_numbers("seed, model and data", [one.seed, one.model, one.data], {int})
        if not (0 <= one.model < len(run.digests) and 0 <= one.data < len(run.digests)):
            raise ValueError("Expected a digest of the run for each model and data")
        if type(one.cached) is not bool or type(one.ends) is not int or one.ends not in (_ONE, _FROM_ZERO, _BOTH):
            raise TypeError("Expected cached of a run to be true or false, and ends to be 0, 1 or 2")
    return run


def _texts(columns: Mapping[str, Iterable[Any]]) -> None:
    for name, values in columns.items():
        if not all(type(value) is str and _FORMS[name](value) for value in values):
            raise ValueError(f"Expected {name} of a run to be a text of its form")


def entries_of(run: Run, asked: Sequence[Asked]) -> list[Entry]:
    """What a run found of each claim of its list.

    Args:
        run: of a line.
        asked: of each claim, in the order of the list.

    Raises:
        TypeError, ValueError: its columns are not what a run writes.
    """
    count = len(asked)
    for name in ("lows", "highs", "found", "seconds"):
        several(getattr(run, name), count, name)
    if not count:
        raise TypeError("Expected claims in a run")
    sorts = _sorts(run, count)
    bounds, total, threshold, comparison, words = zip(*asked, strict=True)
    state, verdict, seed, cached, model, data, ends = zip(*sorts, strict=True)
    low, high, left_low, left_high = _intervals(run, ends)
    estimate, used = _values(run.found, total)
    check_numbers("seconds", run.seconds, {float, int})
    columns = zip(
        *map(repeat, run[:4]),
        *(state, verdict, estimate, low, high, left_low, left_high, bounds, used, total, threshold, comparison),
        *(words, run.seconds, seed, cached, [run.digests[at] for at in model], [run.digests[at] for at in data]),
        repeat(run.versions),
        _problems(run, count),
        strict=False,  # what is repeated has no end; the others were counted
    )
    # As `map(Entry._make, columns)`, at a third of the time: there are claims times runs of them.
    entries: list[Entry] = list(map(tuple.__new__, repeat(Entry), columns))
    for decided, from_, to, how in zip(verdict, low, high, comparison, strict=True):
        if decided and not (from_ is not None and to is not None and from_ <= to and how):
            raise ValueError("Expected a verdict with an interval and a comparison")
    return entries


def _sorts(run: Run, count: int) -> list[Sequence[Any]]:
    if isinstance(run.which, str) and len(run.which) == count and set(run.which) <= _PLACES.keys():
        places = [_PLACES[letter] for letter in run.which]
    else:
        several(run.which, count, "which")
        check_numbers("which", run.which, {int})
        places = [int(at) for at in run.which]
    if not 0 <= min(places) <= max(places) < len(run.sorts):
        raise ValueError("Expected a sort for each claim of a run")
    return [run.sorts[at] for at in places]


def _intervals(run: Run, ends: Sequence[int]) -> tuple[Iterable[float | None], ...]:
    """Low and high of the value, and of what the search left."""
    check_numbers("low", run.lows, _NUMBERS)
    check_numbers("high", run.highs, _NUMBERS)
    both = [at for at, end in enumerate(ends) if end == _BOTH]
    if type(run.others) is not list or [one[:1] for one in run.others] != [[at] for at in both]:
        raise TypeError("Expected both intervals of each claim of a run that has two")
    if not any(ends):
        return run.lows, run.highs, repeat(None, len(ends)), repeat(None, len(ends))
    low = [0.0 if end == _FROM_ZERO else value for end, value in zip(ends, run.lows, strict=True)]
    high = list(run.highs)
    for at, *interval in run.others:
        check_numbers("interval", interval, _NUMBERS)
        low[at], high[at] = interval
    left = [
        [None if end == _ONE else value for end, value in zip(ends, column, strict=True)]
        for column in (run.lows, run.highs)
    ]
    return low, high, *left


def _values(found: Sequence[Any], total: Sequence[int]) -> tuple[list[float | None], list[int]]:
    """The estimate, and how many samples were used."""
    kinds = set(map(type, found))
    if not kinds <= {int, float, list}:
        raise TypeError("Expected what was found to be a number, or two")
    check_numbers("found", [value for value in found if type(value) is not list], {int, float})
    estimate: list[float | None] = [value if type(value) is float else None for value in found]
    used = [value if type(value) is int else all_ for value, all_ in zip(found, total, strict=True)]
    if list in kinds:
        for at, value in enumerate(found):
            if type(value) is list:
                several(value, 2, "estimate and samples")
                check_numbers("estimate", value[:1], {float})
                check_numbers("used", value[1:], {int})
                estimate[at], used[at] = value
    return estimate, used


def _problems(run: Run, count: int) -> Sequence[str]:
    texts = [""] * count
    if type(run.problems) is not list:
        raise TypeError("Expected problems of a run to be a list")
    for one in run.problems:
        several(one, 2, "a place and a problem")
        at, text = one
        check_numbers("place", [at], {int})
        _texts({"problem": [text]})
        if not 0 <= at < count:
            raise ValueError("Expected a problem of a claim of the run")
        texts[at] = text
    return texts
