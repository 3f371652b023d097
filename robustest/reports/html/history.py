"""The page of a history: a chart a claim, of its intervals and thresholds from commit to commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from robustest.history.course import BAD, GOOD, OPEN, Course, Point
from robustest.reports.history.words import (
    GONE,
    change_of,
    commit_of,
    first_bad_of,
    runs_of,
    since_of,
    slack_of,
    value_of,
    word_of,
)
from robustest.reports.html.album import write_whole
from robustest.reports.html.page import MARKS, rendered
from robustest.reports.html.scales import above
from robustest.version import VERSION

_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 348, 16, 116
_COLUMNS = 76
"""Of a chart, at most: 1,000 commits share them, each with the widest interval and the worst verdict of its commits."""
_LETTER = 10
"""How wide a letter is, with room beside it."""
_RECENT = 8
_MOST_CHANGES = 20
_WORDS = {BAD: "failed", OPEN: "inconclusive", GOOD: "passed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A claim's course as paths of a drawing.

    Attributes:
        intervals: for each verdict a path of upright lines, from end to end of the intervals.
        crosses: a path of marks under the columns that do not hold.
        threshold: a path of the thresholds; empty where there is none.
        changes: a path of upright lines, where a column has another model, data or threshold.
        letters: over them: x, and the first letters of what changed; none where the last ones are too near.
        ticks: of the axis: y and the value there.
        words: the chart in a sentence.
    """

    intervals: dict[str, str]
    crosses: str
    threshold: str
    changes: str
    letters: list[tuple[float, str]]
    ticks: list[tuple[float, str]]
    words: str
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM
    width: int = 360
    height: int = 136


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A claim on the page.

    Attributes:
        number: 1 for the first.
        test, name, word, value, slack, when, runs: the claim, where it stands, and what was last found.
        chart: None where nothing was measured at any commit.
        told: sentences: the first bad commit, and what else is to be said.
        changes: what became another, the latest first.
        hidden: how many more there are.
        recent: the last commits, the latest first.
    """

    number: int
    test: str
    name: str
    word: str
    value: str
    slack: str
    when: str
    runs: str
    chart: Chart | None
    told: list[str]
    changes: list[str]
    hidden: int
    recent: list[tuple[str, str, str, str]]


def write(folder: str, courses: Sequence[Course]) -> None:
    """Write `index.html` whole or not at all; other files of the folder stay.

    Args:
        folder: made if absent.
        courses: in the order in which they are shown.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    drawn = [_draw(number, course) for number, course in enumerate(courses, 1)]
    counts = Counter(one.word for one in drawn)
    bad = len(drawn) - counts["passed"] - counts["measured"]
    text = rendered(
        "history.html",
        headline=f"{bad} of {len(drawn)} claims do not stand" if bad else f"All {len(drawn)} claims stand",
        state=next((word for word in ("failed", "error", "inconclusive") if counts[word]), "none" if bad else "passed"),
        claims=drawn,
        counts=counts,
        marks={**MARKS, GONE: MARKS["skipped"]},
        version=VERSION,
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_whole(Path(folder) / "index.html", text.encode("utf-8", "backslashreplace"))


def _draw(number: int, course: Course) -> Drawn:
    last, runs = course.last, runs_of(course)
    bad = [first_bad_of(course.first_bad)] if course.first_bad is not None else []
    return Drawn(
        number=number,
        test=course.claim.test,
        name=f"{course.claim.key} {last.asked}".strip() if course.claim.key else "the test beside its claims",
        word=word_of(course),
        value=value_of(last),
        slack=slack_of(last),
        when=commit_of(last),
        runs=runs,
        chart=_chart(course, runs),
        told=[*bad, *filter(None, [since_of(course)])],
        changes=[change_of(one) for one in reversed(course.changes[-_MOST_CHANGES:])],
        hidden=max(0, len(course.changes) - _MOST_CHANGES),
        recent=[_row(point) for point in reversed(course.points[-_RECENT:])],
    )


def _row(point: Point) -> tuple[str, str, str, str]:
    told = point.told
    return commit_of(point), value_of(told), told.asked or "-", told.verdict or told.state


@dataclass(slots=True)
class _Column:
    """Neighbouring commits that share a place in a chart."""

    state: str
    low: float | None
    high: float | None
    threshold: float | None


def _column(points: Sequence[Point]) -> _Column:
    told = [point.entries[0] if len(point.entries) == 1 else point.told for point in points]
    states = {point.state for point in points}
    lows = [entry.low if entry.left_low is None else entry.left_low for entry in told if entry.low is not None]
    highs = [entry.high if entry.left_high is None else entry.left_high for entry in told if entry.high is not None]
    return _Column(
        state=next(state for state in (BAD, OPEN, GOOD) if state in states),
        low=min(lows, default=None),
        high=max((high for high in highs if high is not None), default=None),
        threshold=next((entry.threshold for entry in reversed(told) if entry.threshold is not None), None),
    )


def _chart(course: Course, runs: str) -> Chart | None:
    points = course.points
    count = min(len(points), _COLUMNS)
    starts = [-(-at * len(points) // count) for at in range(count + 1)] if count else []
    columns = [_column(points[from_:to]) for from_, to in pairwise(starts)]
    highs = [value for one in columns for value in (one.high, one.threshold) if value is not None and value < 1e99]
    lows = [value for one in columns for value in (one.low, one.threshold) if value is not None]
    if not any(one.low is not None for one in columns):
        return None
    top = max(1.0, above(max(highs))) if highs and max(highs) > 1 else 1.0
    bottom = -above(-min(lows)) if min(lows) < 0 else 0.0

    def x(at: int) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (at + 0.5) / count, 1)

    def y(value: float) -> float:
        share = min(max((value - bottom) / (top - bottom), 0.0), 1.0)
        return round(_BOTTOM - (_BOTTOM - _TOP) * share, 1)

    intervals: dict[str, str] = {}
    for at, one in enumerate(columns):
        if one.low is not None and one.high is not None:
            word, from_, to = _WORDS[one.state], y(one.low), y(one.high)
            intervals[word] = intervals.get(word, "") + f"M{x(at):g} {max(from_, to + 1):g}V{to:g}"
    half = (_RIGHT - _LEFT) / count / 2
    lines = _lines(course, count, x)
    steps = [(x(at), y(one.threshold)) for at, one in enumerate(columns) if one.threshold is not None]
    return Chart(
        intervals=intervals,
        crosses="".join(_cross(x(at)) for at, one in enumerate(columns) if one.state == BAD),
        threshold="".join(f"M{at - half:.1f} {level:g}H{at + half:.1f}" for at, level in steps),
        changes="".join(f"M{at:g} {_TOP - 4}V{_BOTTOM}" for at, _ in lines),
        letters=_apart(lines),
        ticks=[(y(value), f"{value:g}") for value in (bottom, (bottom + top) / 2, top)],
        words=f"{course.claim.key or course.claim.test}: {word_of(course)}; {runs}",
    )


def _cross(x: float) -> str:
    y = _BOTTOM + 8
    return f"M{x - 2:g} {y - 2}l4 4m0 -4l-4 4"


def _lines(course: Course, count: int, x: Callable[[int], float]) -> list[tuple[float, str]]:
    """A line a column in which something changed, with the first letters of what did."""
    if not course.changes:
        return []
    places = {id(point): at for at, point in enumerate(course.points)}
    found: dict[int, set[tuple[str, ...]]] = {}
    for change in course.changes:
        at = places[id(change.point)] * count // len(places)
        found.setdefault(at, set()).add(change.what)
    return [(x(at), "".join(sorted({one[0].upper() for what in found[at] for one in what}))) for at in sorted(found)]


def _apart(lines: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Letters that can be read: those that would lie over the ones before are left out."""
    told: list[tuple[float, str]] = []
    end = float("-inf")
    for at, letters in lines:
        half = _LETTER * len(letters) / 2
        if at - half >= end:
            told.append((at, letters))
            end = at + half
    return told
