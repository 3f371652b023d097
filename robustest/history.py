"""Histories of claims: entries of many runs, ordered by commit, and the first bad commit."""

# 1. Each run adds one `HistoryEntry` to each `ClaimId`, with its verdict, interval and digests of model and data.
# 2. Entries are ordered by commit date, not by the date of the run: an old commit may be measured late. Entries of one
#    commit with the same model, data and threshold make a `CommitPoint`.
# 3. A point is bad if any of its runs failed, since one counterexample is enough; good if one passed and none failed;
#    otherwise open. Runs of a changed working tree belong to no commit.
# 4. The first bad commit is the first bad point after the last good one. Open commits in between may be the first one
#    instead, so their number is given.

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple

from robustest.errors import expected
from robustest.typed import check_fields

GOOD, BAD, OPEN = "good", "bad", "open"

CommitPlace = tuple[str, str]
"""Place of a commit in a history: its date and its name."""

_PLAIN = re.compile("[^a-z0-9_]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", re.ASCII).fullmatch
_DIGEST = re.compile("[0-9a-zA-Z]{0,64}").fullmatch
_LONGEST_VERSIONS = 60
_STATES = {"passed": GOOD, "failed": BAD}


@dataclass(frozen=True, slots=True, order=True)
class ClaimId:
    """Identity of a claim from run to run, while its thresholds and words change."""

    test: str  # node id of the test
    key: str = ""  # `Subject.claim`; empty for the test itself, e.g. for its failures beside its claims
    place: int = 0  # index among the claims of one key in the test, in the order of recording
    service: str = ""  # part of the repository (`Settings.service`): two services may have tests of one name

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that stand for the claim in lines of runs."""
        names = [self.test, self.key, self.place, *([self.service] if self.service else [])]
        return sha256(json.dumps(names).encode()).hexdigest()[:16]

    @property
    def shown(self) -> str:
        """The test with its service, "services/a: test_model.py::test_it"."""
        return f"{self.service}: {self.test}" if self.service else self.test

    @property
    def file(self) -> str:
        """Name of the claim's file: part of the test's name, valid on every file system, and the digest."""
        name = self.test.rpartition("::")[2].partition("[")[0].lower()
        # Names of tests may be too long for a file name, or differ in case alone; the digest keeps their files apart.
        return f"{_PLAIN.sub('-', name)[:40].strip('-') or 'claim'}-{self.digest}.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Time and commit of a run.

    Raises:
        TypeError: a field has the wrong type or form.
    """

    time: str  # end of the run, in UTC: "2026-01-31T12:00:00.000Z"
    commit: str = ""  # full name of the commit that was checked out; empty if unknown
    committed: str = ""  # date of the commit, in UTC; empty if unknown
    dirty: bool = False  # True if tracked files differed from the commit, or code that ran was not added or is unknown
    versions: str = ""  # versions of robustest, torch and Python, as text

    def __post_init__(self) -> None:
        check_fields(self, "a run")
        if not _TIME(self.time):
            raise TypeError(expected('a time like "2026-01-31T12:00:00.000Z"', self.time))
        if not _DIGEST(self.commit):
            raise TypeError(expected("the name of a commit", self.commit))
        if self.committed and not _TIME(self.committed):
            raise TypeError(expected('a time like "2026-01-31T12:00:00Z"', self.committed))
        if len(self.versions) > _LONGEST_VERSIONS:
            raise TypeError(expected(f"versions in at most {_LONGEST_VERSIONS} characters", self.versions))

    @property
    def shown(self) -> str:
        """Return the commit in words, "1a2b3c4d5" or "1a2b3c4d5, changed"; empty if it is unknown."""
        return f"{self.commit[:9]}{', changed' if self.dirty else ''}" if self.commit else ""


class HistoryEntry(NamedTuple):
    """Result of one claim in one run; a flat tuple, as their number is claims times runs."""

    # time, committed, dirty and versions are as in `Origin`
    time: str
    commit: str  # first characters of the commit's name; empty if unknown
    committed: str
    dirty: bool
    state: str  # state of the row, one of `robustest.account.STATES`
    verdict: str = ""  # "passed", "failed" or "inconclusive"; empty if nothing was measured
    estimate: float | None = None  # measured value; None for an early verdict, or if nothing was measured
    # ends of the value's interval; None if nothing was measured
    low: float | None = None
    high: float | None = None
    # ends of the interval that this search left, if it only bounds the value; else None
    left_low: float | None = None
    left_high: float | None = None
    bounds: str = ""  # "above" or "below" if the value is only a bound; else empty
    # number of evaluated samples, and of all samples
    used: int = 0
    total: int = 0
    threshold: float | None = None
    comparison: str = ""
    required: str = ""  # all requirements and the scope as text, to notice their changes
    seconds: float = 0.0  # wall-clock seconds
    seed: int = 0
    cached: bool = False  # True if the whole result was remembered from an earlier run
    # first characters of digests; empty if unknown
    model: str = ""
    data: str = ""
    versions: str = ""
    problem: str = ""  # reason why nothing was measured, in a line

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval that this search left, if it only bounds the value; else that of the value, or None."""
        low, high = (self.low, self.high) if self.left_low is None else (self.left_low, self.left_high)
        return None if low is None or high is None else (low, high)

    @property
    def slack(self) -> float | None:
        """Distance from the interval to the threshold, negative if the interval contains it; None without one."""
        interval = self.interval
        if interval is None or self.threshold is None:
            return None
        return interval[0] - self.threshold if self.comparison == ">=" else self.threshold - interval[1]


@lru_cache(maxsize=100_000)  # one call for each claim and run, but few distinct arguments
def _moment(run: tuple[str, str, str]) -> tuple[CommitPlace, str]:
    """Return the place of an entry's commit and the time of its run, from its first three fields."""
    time, commit, committed = run
    # A run of an unknown commit has a place at its own time.
    return ((committed, commit) if commit and committed else (time, commit)), time


@dataclass(slots=True)
class CommitPoint:
    """Entries of a claim at one commit, with one model, one data set and one threshold."""

    place: CommitPlace  # place of the commit
    entries: list[HistoryEntry]  # entries by time
    # fields of the entries; empty if none of them has one
    model: str = ""
    data: str = ""
    required: str = ""
    state: str = OPEN  # GOOD, BAD or OPEN

    @property
    def commit(self) -> str:
        """First characters of the commit's name; empty if unknown."""
        return self.entries[0].commit

    @property
    def mixed(self) -> bool:
        """True if the claim passed in one run and failed in another."""
        return {"passed", "failed"} <= {entry.verdict for entry in self.entries}

    @property
    def conditions(self) -> tuple[str, str, str]:
        return self.model, self.data, self.required

    @property
    def shown(self) -> HistoryEntry:
        """The entry that reports show: the last one that decided the point's state, else the last measured one."""
        if len(self.entries) == 1:
            return self.entries[0]
        word = {GOOD: "passed", BAD: "failed"}.get(self.state)
        deciding = [entry for entry in self.entries if entry.verdict == word]
        return (deciding or [entry for entry in self.entries if entry.verdict] or self.entries)[-1]


class ConditionChange(NamedTuple):
    """A change of model, data or threshold from one point to a later one."""

    point: CommitPoint  # the first point after the change
    what: tuple[str, ...]  # one or more of "model", "data" and "threshold"
    # requirements, if the threshold changed
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstBad:
    """The point at which a claim stopped holding, as far as the runs show."""

    point: CommitPoint  # first bad point since the last good one
    good: CommitPoint | None  # last good point before it; None if the claim never held
    between: int  # number of undecided commits between both, each of which may be the first bad one instead
    what: tuple[str, ...]  # differences to the last good point: "commit", "model", "data", "threshold", "versions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimHistory:
    """A claim through its runs."""

    claim: ClaimId
    points: Sequence[CommitPoint]  # points in the order of commits
    dirty: Sequence[HistoryEntry] = ()  # entries of changed working trees
    changes: Sequence[ConditionChange] = ()  # changes of model, data or threshold
    # point at which the claim stopped holding; None if its last decided point is good, or none is decided
    first_bad: FirstBad | None = None
    behind: int = 0  # number of commits of the whole history after the claim's last point

    @property
    def last(self) -> HistoryEntry:
        """The entry of the last point, else of the last changed working tree."""
        return self.points[-1].shown if self.points else self.dirty[-1]

    @property
    def state(self) -> str:
        """GOOD if the last point is good, BAD if the last decided point is bad, else OPEN."""
        if self.first_bad is not None:
            return BAD
        return self.points[-1].state if self.points else OPEN


def timeline_of(history: Mapping[ClaimId, Iterable[HistoryEntry]]) -> list[CommitPlace]:
    """Return the places of all commits of a history, in order."""
    runs = {entry[:4] for entries in history.values() for entry in entries}  # few, compared with the entries
    return sorted({_moment((time, commit, committed))[0] for time, commit, committed, dirty in runs if not dirty})


def claim_history(
    claim: ClaimId,
    entries: Iterable[HistoryEntry],
    timeline: Sequence[CommitPlace],
    test_entries: Iterable[HistoryEntry] = (),
) -> ClaimHistory:
    """Return the history of one claim.

    Args:
        claim: identity of the claim.
        entries: its entries, in any order.
        timeline: places of the whole history's commits.
        test_entries: entries of the claim's test itself: a test that could not measure has no entry of its claims.
    """
    own, extra = list(entries), list(test_entries)
    measured = {entry.time for entry in own} if extra else set()
    every = own + [entry for entry in extra if entry.time not in measured and not entry.verdict]
    placed = [(_moment(entry[:3]), entry) for entry in every if not entry.dirty]
    placed.sort(key=itemgetter(0))
    points: list[CommitPoint] = []
    for (place, _), entry in placed:
        last = points[-1] if points and points[-1].place == place else None
        conditions = (entry.model, entry.data, entry.required)
        # Conditions that only one of both knows, e.g. the data of an early verdict, do not tell them apart.
        if last is None or any(a and b and a != b for a, b in zip(last.conditions, conditions, strict=True)):
            points.append(CommitPoint(place, [entry], *conditions, _STATES.get(entry.verdict, OPEN)))
            continue
        last.entries.append(entry)
        last.model, last.data, last.required = (a or b for a, b in zip(last.conditions, conditions, strict=True))
        # A failed run is never outvoted: one counterexample refutes the claim at this commit.
        if entry.verdict == "failed" or last.state == OPEN:
            last.state = _STATES.get(entry.verdict, last.state)
    changes = []
    known = ("", "", "")  # the last model, data and requirements that any point had
    for point in points:
        if point.conditions != known:
            if what := _differences(known, point.conditions):
                required = (known[2], point.required) if "threshold" in what else ("", "")
                changes.append(ConditionChange(point, what, *required))
            known = tuple(new or old for new, old in zip(point.conditions, known, strict=True))  # type: ignore[assignment]
    return ClaimHistory(
        claim=claim,
        points=points,
        dirty=sorted((entry for entry in own if entry.dirty), key=lambda entry: entry.time),
        changes=changes,
        first_bad=_first_bad(points, timeline),
        behind=len(timeline) - bisect_right(timeline, points[-1].place) if points else len(timeline),
    )


def _differences(before: tuple[str, str, str], after: tuple[str, str, str]) -> tuple[str, ...]:
    pairs = zip(("model", "data", "threshold"), before, after, strict=True)
    return tuple(name for name, a, b in pairs if a and b and a != b)


def _first_bad(points: Sequence[CommitPoint], timeline: Sequence[CommitPlace]) -> FirstBad | None:
    decided = [point for point in points if point.state != OPEN]
    if not decided or decided[-1].state != BAD:
        return None
    last_good = max((at for at, point in enumerate(decided) if point.state == GOOD), default=-1)
    first = decided[last_good + 1]
    if last_good < 0:
        return FirstBad(point=first, good=None, between=bisect_left(timeline, first.place), what=())
    good = decided[last_good]
    between = max(0, bisect_left(timeline, first.place) - bisect_right(timeline, good.place))
    what: tuple[str, ...] = ("commit",) if first.place != good.place else ()
    what += _differences(good.conditions, first.conditions)
    what += ("versions",) if good.shown.versions != first.shown.versions else ()
    return FirstBad(point=first, good=good, between=between, what=what)


def claim_histories(history: Mapping[ClaimId, Sequence[HistoryEntry]]) -> list[ClaimHistory]:
    """Return the history of every claim: bad ones first, then open ones, then those not measured any more.

    Args:
        history: entries of each claim, in any order.
    """
    by_test: dict[ClaimId, list[ClaimId]] = {}
    by_service: dict[str, dict[ClaimId, Sequence[HistoryEntry]]] = {}
    for claim, entries in history.items():
        by_service.setdefault(claim.service, {})[claim] = entries
        if claim.key:
            by_test.setdefault(ClaimId(claim.test, service=claim.service), []).append(claim)
    # A commit at which another service was measured says nothing of this one.
    timelines = {service: timeline_of(part) for service, part in by_service.items()}
    found = []
    for claim, entries in history.items():
        if not entries:
            continue
        timeline, whole = timelines[claim.service], ClaimId(claim.test, service=claim.service)
        if claim.key:
            found.append(claim_history(claim, entries, timeline, history.get(whole, ())))
            continue
        others = [entry for one in by_test.get(whole, by_service[claim.service]) for entry in history[one]]
        # A test itself is listed only while its last entry is later than those of its claims; for a test without
        # claims, only if it is as late as the whole history's. Later measurements of its claims show that it runs
        # again.
        latest = max(_moment(entry[:3]) for entry in (*entries, *others))
        if max(_moment(entry[:3]) for entry in entries) == latest:
            found.append(claim_history(claim, entries, timeline))
    order = {BAD: 0, OPEN: 1}
    return sorted(found, key=lambda one: (order.get(one.state, 2), not one.behind, one.claim))
