"""From curves to coordinates: axes, ticks and a path, for an SVG in the page."""

from __future__ import annotations

from dataclasses import dataclass

from robustest.reports.html.curves import Curve, Point
from robustest.reports.html.scales import above

WIDTH, HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 348, 12, 176


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in the drawing: its place, the ends of its interval, its threshold (all y), and what it says."""

    point: Point
    x: float
    y: float | None
    low: float | None
    high: float | None
    threshold: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A curve in coordinates of a WIDTH x HEIGHT drawing.

    Attributes:
        curve: what is drawn.
        marks: its points.
        line: "x,y x,y ..." through the points that have a value; empty where only one has.
        x_ticks, y_ticks: of the axes.
        words: the curve in a sentence.
    """

    curve: Curve
    marks: tuple[Mark, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    words: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


def plot_of(curve: Curve) -> Plot:
    """Places a curve; y runs from 0 to 1, or further where values do."""
    values = [v for p in curve.points for v in (p.y, p.high, p.threshold) if v is not None]
    top = max(1.0, above(max(values))) if values and max(values) > 1 else 1.0
    end = max(point.x for point in curve.points)
    end = end if end > 0 else 1.0

    def x(value: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * value / end, 1)

    def y(value: float | None) -> float | None:
        if value is None:
            return None
        return round(_BOTTOM - (_BOTTOM - _TOP) * min(max(value / top, 0.0), 1.0), 1)

    marks = tuple(Mark(p, x(p.x), y(p.y), y(p.low), y(p.high), y(p.threshold), _words(curve, p)) for p in curve.points)
    known = [mark for mark in marks if mark.y is not None]
    return Plot(
        curve=curve,
        marks=marks,
        line=" ".join(f"{mark.x},{mark.y}" for mark in known) if len(known) > 1 else "",
        x_ticks=tuple(Tick(x(value), f"{value:g}") for value in _ticks(curve, end)),
        y_ticks=tuple(Tick(y(top * k / 4) or 0.0, f"{top * k / 4:g}") for k in range(5)),
        words=_sentence(curve),
    )


def _ticks(curve: Curve, end: float) -> list[float]:
    if curve.severities:
        return [float(value) for value in range(int(end) + 1)]
    step = above(end / 5)
    return [step * k for k in range(int(end / step + 1e-9) + 1)]


def _words(curve: Curve, point: Point) -> str:
    value = "not measured" if point.y is None else f"{point.y:.3f}"
    interval = "" if point.low is None or point.high is None else f" [{point.low:.3f}, {point.high:.3f}]"
    verdict = f", {point.verdict}" if point.verdict else ""
    return f"{curve.x_name} {point.x:g}: {curve.y_name} {value}{interval}{verdict}"


def _sentence(curve: Curve) -> str:
    ends = [point for point in curve.points if point.y is not None]
    if len(ends) < 2:
        return f"{curve.y_name} by {curve.x_name}; the numbers are in the table below."
    first, last = ends[0], ends[-1]
    return (
        f"{curve.y_name} by {curve.x_name}: {first.y:.3f} at {first.x:g}, {last.y:.3f} at {last.x:g}; "
        "the numbers are in the table below."
    )
