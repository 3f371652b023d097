"""A history in the terminal: a claim in a few lines, with a strip of its last commits."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Protocol

from robustest.history.course import BAD, GOOD, Course, Point
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
from robustest.reports.states import COLOURS

_BARS = "▁▂▃▄▅▆▇█"
_MARKS = {GOOD: ".", BAD: "x"}
_MOST_POINTS = 60
_MOST_CHANGES = 3
_INDENT = "    "


class Writer(Protocol):
    """What lines are written to."""

    width: int

    def write(self, text: str, **markup: bool) -> None: ...
    def write_line(self, text: str = "", **markup: bool) -> None: ...


def draw(screen: Writer, courses: Sequence[Course], *, bars: bool) -> None:
    """Print every claim.

    Args:
        screen: takes lines.
        courses: in the order in which they are printed.
        bars: whether block characters may be used.
    """
    for course in courses:
        word = word_of(course)
        screen.write(f"{word:13}", **{COLOURS.get(word, "yellow"): True})
        name = course.claim.test + (f"  {course.claim.key} {course.last.asked}".rstrip() if course.claim.key else "")
        first, *more = textwrap.wrap(name, max(20, screen.width - 13), break_on_hyphens=False) or [""]
        screen.write_line(first)
        for line in more:
            screen.write_line(" " * 13 + line)
        for text in _lines(course, screen.width - len(_INDENT), bars=bars):
            for line in textwrap.wrap(text, max(20, screen.width - len(_INDENT)), break_on_hyphens=False):
                screen.write_line(_INDENT + line)


def _lines(course: Course, width: int, *, bars: bool) -> list[str]:
    last = course.last
    slack = f"; slack {slack_of(last)}" if slack_of(last) else ""
    lines = [f"{value_of(last)}{slack}; {commit_of(last)}; {runs_of(course)}"]
    shown = course.points[-max(1, min(width, _MOST_POINTS)) :]
    if len(shown) > 1:
        lines += [_bars(shown)] if bars and any(point.told.interval for point in shown) else []
        lines.append("".join(_MARKS.get(point.state, "?") for point in shown))
    if course.first_bad is not None:
        lines.append(first_bad_of(course.first_bad))
    lines += [since_of(course)] if since_of(course) else []
    hidden = len(course.changes) - _MOST_CHANGES
    lines += [f"changed at {change_of(change)}" for change in course.changes[-_MOST_CHANGES:]]
    return lines + ([f"and {hidden} earlier changes of model, data or threshold"] if hidden > 0 else [])


def _bars(points: Sequence[Point]) -> str:
    """The measured values, each as high as it lies between the lowest and the highest; a blank where there is none."""
    values = [_value(point) for point in points]
    known = [value for value in values if value is not None]
    low, span = min(known), max(known) - min(known)
    top = len(_BARS) - 1
    heights = [None if value is None else round(top * (value - low) / span) if span else top // 2 for value in values]
    return "".join("·" if height is None else _BARS[height] for height in heights)


def _value(point: Point) -> float | None:
    told = point.told
    if told.estimate is not None or told.interval is None:
        return told.estimate
    return (told.interval[0] + told.interval[1]) / 2


LEGEND = (
    f"each mark is a commit: {_MARKS[GOOD]} holds, {_MARKS[BAD]} does not, ? nothing settled; '{GONE}': held before"
)
