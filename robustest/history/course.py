"""A claim's entries in the order of commits: where it stands, the first bad commit, and what changed when.

The order is that of commits, not of runs: an old commit may be measured again, or for the first time, long after. What
was measured at one commit, with one model, on one data set and against one threshold makes a point, and a point is bad
where any of its runs failed: one counterexample is enough. Where nothing was decided it is open, and neither good nor
bad. Runs of a working tree that differed from its commit say nothing of the commit, and have no say.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from robustest.history.claim import Claim
from robustest.history.entry import Entry

GOOD, BAD, OPEN = "good", "bad", "open"

Place = tuple[str, str]
"""Where a commit stands in a history: when it was committed, and its name."""


def place_of(entry: Entry) -> Place:
    """Where an entry's commit stands; a run of no known commit stands alone, at its own time."""
    return moment_of(entry)[0]


def moment_of(entry: Entry) -> tuple[Place, str]:
    """Where an entry's commit stands, and when its run was: what entries are in order of."""
    return _moment(entry[:3])


@lru_cache(maxsize=100_000)  # entries are claims times runs, and these are the run's
def _moment(run: tuple[str, str, str]) -> tuple[Place, str]:
    time, commit, committed = run
    return ((committed, commit) if commit and committed else (time, commit)), time


@dataclass(slots=True)
class Point:
    """What was found of a claim at one commit, with one model, on one data set, against one threshold.

    Attributes:
        place: of the commit.
        entries: its runs, by time.
        model, data, asked: of its runs; empty where none of them says.
        state: GOOD, BAD or OPEN.
    """

    place: Place
    entries: list[Entry]
    model: str = ""
    data: str = ""
    asked: str = ""
    state: str = OPEN

    @property
    def commit(self) -> str:
        """The commit's name; empty where it is not known."""
        return self.entries[0].commit

    @property
    def when(self) -> str:
        """When the commit was made, or else when it was measured."""
        return self.place[0]

    @property
    def mixed(self) -> bool:
        """Whether the same claim passed in one run and failed in another."""
        return {"passed", "failed"} <= {entry.verdict for entry in self.entries}

    @property
    def told(self) -> Entry:
        """The run that a report shows: the last of those that decided as the point does, or else the last."""
        if len(self.entries) == 1:
            return self.entries[0]
        word = {GOOD: "passed", BAD: "failed"}.get(self.state)
        deciding = [entry for entry in self.entries if entry.verdict == word]
        return (deciding or [entry for entry in self.entries if entry.verdict] or self.entries)[-1]

    def takes(self, entry: Entry) -> bool:
        """Whether an entry of this commit belongs here: nothing that both name is another."""
        return not any(a and b and a != b for a, b in zip(self.named, _compared_fields(entry), strict=True))

    def add(self, entry: Entry) -> None:
        """Count a run in."""
        self.entries.append(entry)
        self.model, self.data, self.asked = (
            self.model or entry.model,
            self.data or entry.data,
            self.asked or entry.asked,
        )
        if entry.verdict == "failed" or self.state == OPEN:
            self.state = _STATES.get(entry.verdict, self.state)

    @property
    def named(self) -> tuple[str, str, str]:
        """Model, data and what was asked for."""
        return self.model, self.data, self.asked


_STATES = {"passed": GOOD, "failed": BAD}


def _compared_fields(entry: Entry) -> tuple[str, str, str]:
    return entry.model, entry.data, entry.asked


class Change(NamedTuple):
    """What became another from one point to a later one.

    Attributes:
        point: the first with the new.
        what: of "model", "data" and "threshold", at least one.
        before, after: what was asked for, where the threshold changed.
    """

    point: Point
    what: tuple[str, ...]
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstBad:
    """Where a claim that does not hold stopped holding, as far as runs tell.

    Attributes:
        point: the first that is known to be bad since the last good one.
        good: the last good one before; None where the claim was never seen to hold.
        between: how many commits lie between both of which nothing is decided: each may be the first as well.
        what: what is another than at the last good point, of "commit", "model", "data", "threshold" and
            "versions".
    """

    point: Point
    good: Point | None
    between: int
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A claim through its runs.

    Attributes:
        claim: which.
        points: in the order of commits.
        dirty: runs that were of no commit.
        changes: where model, data or threshold became another.
        first_bad: where it stopped holding; None where the last that is decided is good, or nothing is.
        behind: commits of the history after the last at which this claim has an entry.
    """

    claim: Claim
    points: Sequence[Point]
    dirty: Sequence[Entry] = ()
    changes: Sequence[Change] = ()
    first_bad: FirstBad | None = None
    behind: int = 0

    @property
    def latest(self) -> Point | None:
        """The last point; None where every run was of a changed working tree."""
        return self.points[-1] if self.points else None

    @property
    def last(self) -> Entry:
        """The run that says where the claim stands."""
        return self.points[-1].told if self.points else self.dirty[-1]

    @property
    def state(self) -> str:
        """GOOD where the last point is; BAD where the last that is decided is; else OPEN."""
        if self.first_bad is not None:
            return BAD
        return self.points[-1].state if self.points else OPEN


def timeline_of(history: Mapping[Claim, Iterable[Entry]]) -> list[Place]:
    """Every commit that the runs of a history were of, in order."""
    runs = {entry[:4] for entries in history.values() for entry in entries}  # few, beside the entries
    return sorted({_moment((time, commit, committed))[0] for time, commit, committed, dirty in runs if not dirty})


def course_of(
    claim: Claim, entries: Iterable[Entry], timeline: Sequence[Place], beside: Iterable[Entry] = ()
) -> Course:
    """A claim's course.

    Args:
        claim: which.
        entries: of its runs, in any order.
        timeline: the commits of the whole history.
        beside: entries of the claim's test itself: where it could not be measured, no claim has an entry.
    """
    own, extra = list(entries), list(beside)
    measured = {entry.time for entry in own} if extra else set()
    every = own + [entry for entry in extra if entry.time not in measured and not entry.verdict]
    placed = [(_moment(entry[:3]), entry) for entry in every if not entry.dirty]
    placed.sort(key=itemgetter(0))
    points = _points(placed)
    return Course(
        claim=claim,
        points=points,
        dirty=sorted((entry for entry in own if entry.dirty), key=lambda entry: entry.time),
        changes=_changes(points),
        first_bad=_first_bad(points, timeline),
        behind=len(timeline) - bisect_right(timeline, points[-1].place) if points else len(timeline),
    )


def _points(placed: Iterable[tuple[tuple[Place, str], Entry]]) -> list[Point]:
    points: list[Point] = []
    before = None
    for (place, _), entry in placed:
        if place == before and points[-1].takes(entry):
            points[-1].add(entry)
        else:
            state = _STATES.get(entry.verdict, OPEN)
            points.append(Point(place, [entry], entry.model, entry.data, entry.asked, state))
        before = place
    return points


def _changes(points: Sequence[Point]) -> list[Change]:
    model = data = asked = ""  # what the last point that named each named
    changes = []
    for point in points:
        if point.model != model or point.data != data or point.asked != asked:
            named = (model, data, asked)
            if what := _different(named, point.named):
                told = (asked, point.asked) if "threshold" in what else ("", "")
                changes.append(Change(point, what, *told))
            model, data, asked = point.model or model, point.data or data, point.asked or asked
    return changes


def _different(before: tuple[str, str, str], after: tuple[str, str, str]) -> tuple[str, ...]:
    (model, data, asked), (model_then, data_then, asked_then) = before, after
    what: tuple[str, ...] = ("model",) if model and model_then and model != model_then else ()
    what += ("data",) if data and data_then and data != data_then else ()
    return what + (("threshold",) if asked and asked_then and asked != asked_then else ())


def _first_bad(points: Sequence[Point], timeline: Sequence[Place]) -> FirstBad | None:
    decided = [point for point in points if point.state != OPEN]
    if not decided or decided[-1].state != BAD:
        return None
    last_good = max((at for at, point in enumerate(decided) if point.state == GOOD), default=-1)
    first, good = decided[last_good + 1], decided[last_good] if last_good >= 0 else None
    if good is None:
        return FirstBad(point=first, good=None, between=bisect_left(timeline, first.place), what=())
    between = max(0, bisect_left(timeline, first.place) - bisect_right(timeline, good.place))
    same = ("commit",) if first.place != good.place else ()
    what = same + _different(good.named, first.named)
    what += ("versions",) if good.told.versions != first.told.versions else ()
    return FirstBad(point=first, good=good, between=between, what=what)
