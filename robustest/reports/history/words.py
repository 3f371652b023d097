"""A claim's course in words: where it stands, how far from its threshold, since when it does not hold, what changed."""

from __future__ import annotations

from robustest.history.course import BAD, GOOD, Change, Course, FirstBad, Point
from robustest.history.entry import Entry
from robustest.reports.states import STATES
from robustest.words import value_in_words

GONE = "not measured"
"""Of a claim that held when it was last measured, and was not at the latest commits."""
_COMMIT = 9
"""Characters of a commit's name that are shown."""


def word_of(course: Course) -> str:
    """Where a claim stands: one of `STATES`, or GONE."""
    if course.state == BAD:
        return "failed"
    if course.state == GOOD:
        return GONE if course.behind else "passed"
    state = course.last.state
    return state if state in STATES and state != "passed" else "inconclusive"


def value_of(entry: Entry) -> str:
    """Return what was measured, "0.410 [0.370, 0.450]; n=212 of 1000", or why nothing was."""
    interval = entry.interval
    if interval is None:
        return entry.problem or "not measured"
    whole = interval if entry.low is None or entry.high is None else (entry.low, entry.high)
    value = value_in_words(entry.estimate, whole, interval, bounds=entry.bounds, threshold=entry.threshold)
    n = str(entry.total) if entry.used == entry.total else f"{entry.used} of {entry.total}"
    return f"{value}; n={n}{' (remembered)' if entry.cached else ''}"


def slack_of(entry: Entry) -> str:
    """The distance from the interval to the threshold, with its sign; empty where there is no threshold."""
    return "" if entry.slack is None else f"{entry.slack:+.3f}"


def commit_of(point: Point | Entry) -> str:
    """A commit as a reader knows it: "1a2b3c4d5 (2026-01-31)"."""
    day = (point.when if isinstance(point, Point) else point.committed or point.time)[:10]
    return f"{point.commit[:_COMMIT]} ({day})" if point.commit else f"no known commit ({day})"


def runs_of(course: Course) -> str:
    """How much the course is made of: "12 runs at 8 commits"."""
    runs = sum(len(point.entries) for point in course.points) + len(course.dirty)
    commits = len({point.place for point in course.points})
    dirty = f", {len(course.dirty)} of changed working trees" if course.dirty else ""
    return f"{_counted(runs, 'run')} at {_counted(commits, 'commit')}{dirty}"


def first_bad_of(bad: FirstBad) -> str:
    """Since when a claim does not hold, as far as is known."""
    here = commit_of(bad.point)
    mixed = "; in another run of that commit it passed" if bad.point.mixed else ""
    earlier = _counted(bad.between, "commit")
    if bad.good is None:
        before = f"; at {earlier} before it nothing was settled" if bad.between else ""
        return f"bad since it was first settled, at {here}{before}{mixed}"
    others = [name for name in bad.what if name != "commit"]
    if "commit" not in bad.what:
        return f"bad since another run of {here}: {_listed(others)} changed, the commit did not{mixed}"
    range_ = f", or one of {earlier} before it that settled nothing" if bad.between else ""
    changed = f"{_listed(others)} changed too" if others else "nothing but the commit is known to have changed"
    return f"first bad commit {here}{range_}; last good {commit_of(bad.good)}; {changed}{mixed}"


def since_of(course: Course) -> str:
    """What is to be said of the time after a claim was last settled; empty where there is nothing."""
    latest = course.latest
    if latest is None:
        return "every run was of a changed working tree, so of no commit"
    told = []
    if latest.state not in (GOOD, BAD) and any(point.state in (GOOD, BAD) for point in course.points):
        settled = next(point for point in reversed(course.points) if point.state in (GOOD, BAD))
        told.append(f"last settled at {commit_of(settled)}: {'held' if settled.state == GOOD else 'did not hold'}")
    if course.behind:
        told.append(f"not measured at the {_counted(course.behind, 'commit')} after {commit_of(latest)}")
    return "; ".join(told)


def change_of(change: Change) -> str:
    """What became another, and where: "2026-01-31 1a2b3c4d5: threshold >= 0.45 -> >= 0.4, model"."""
    what = [f"threshold {change.before} -> {change.after}" if one == "threshold" else one for one in change.what]
    return f"{commit_of(change.point)}: {', '.join(what)}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
