"""Figures of the page in coordinates: scales of claims, curves over several claims, and tables of further numbers."""

# No kind of claim is known here: curves come from the axes of results, tables from the shape of their details.

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robustest.account import Row
from robustest.results import SHOWN_ELSEWHERE, Result, is_rows, is_table, named, shown
from robustest.words import end_of, interval_in_words, number

MOST_ROWS = 60
"""Largest number of rows of a table on the page; the JSON file has all."""
_NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?", re.IGNORECASE)
_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 348, 12, 176


def round_above(value: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is >= `value`, which is > 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A value on a horizontal scale; positions are percentages of its width, clipped to its ends."""

    low: float
    high: float
    estimate: float | None  # measured value; None if only the interval is known
    threshold: float | None
    # ends of the part of the scale where the claim does not hold; None without a threshold
    broken: tuple[float, float] | None
    before: float | None  # value of the baseline, or None
    top: float  # value at the right end; the left end is 0
    words: str  # description for screen readers


def scale_of(result: Result) -> Scale:
    """Return the scale of a result: 0 to 1, or further if the value is no share, e.g. a size in input units."""
    baseline = result.details.get("baseline") or {}
    before = baseline.get("accuracy") if result.numbers.quantity.endswith("accuracy") or "of" in baseline else None
    return scale(
        result.interval,
        result.estimate,
        threshold=result.ruling.threshold,
        comparison=result.ruling.comparison,
        before=before,
        quantity=result.numbers.quantity,
        bounds=result.numbers.bounds,
        claim=result.requirement,
    )


def scale(
    interval: tuple[float, float],
    estimate: float | None,
    *,
    threshold: float | None = None,
    comparison: str = ">=",
    before: float | None = None,
    quantity: str = "accuracy",
    bounds: str = "",
    claim: str = "",
) -> Scale:
    """Return a scale of plain numbers; the arguments are fields of `Result` and `Scale`."""
    low, high = interval
    largest = max((v for v in (high, estimate, threshold, before) if v is not None and math.isfinite(v)), default=1.0)
    top = 1.0 if largest <= 1 else round_above(largest)

    def at(value: float) -> float:
        return round(100 * min(max(value / top, 0.0), 1.0), 2)

    least, most = end_of(low, threshold, above=False), end_of(high, threshold, above=True)
    value = "" if estimate is None else number(estimate, threshold)
    words = f"{quantity} {value or 'not measured'}, between {least} and {most}"
    if bounds == "above":
        words = f"{quantity} at most {value or most}, up to {most}"
    elif bounds:
        words = f"{quantity} at least {value or least}, from {least}"
    place = None if threshold is None else at(threshold)
    return Scale(
        low=at(low),
        high=at(high),
        estimate=None if estimate is None else at(estimate),
        threshold=place,
        broken=None if place is None else ((0.0, place) if comparison == ">=" else (place, 100.0)),
        before=None if before is None else at(before),
        top=top,
        words="; ".join(part for part in (words, claim and f"required {claim}") if part),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One claim on a curve."""

    x: float  # radius or severity; 0 is the unchanged input
    y: float | None  # value; None if only the interval is known
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    verdict: str = ""  # state of the claim; empty for a point without a claim
    number: int = 0  # number of the claim on the page; 0 for none

    @property
    def drawn(self) -> bool:
        return self.y is not None or self.low is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCurve:
    """Two or more points with increasing x; `severities` is True if x is a severity, a whole number."""

    title: str
    test: str
    x_name: str
    y_name: str
    points: tuple[CurvePoint, ...]
    severities: bool = False


@dataclass(frozen=True, slots=True)
class _Family:
    """Properties that the claims of one curve share; `varied` is the threat or shift without its number on the axis."""

    test: str
    kind: str
    quantity: str
    method: str
    family: str
    axis: str
    varied: str


def curves_of(rows: Iterable[Row]) -> list[PageCurve]:
    """Return the curves of claims that differ in radius or severity alone, and the curves inside of details."""
    families: dict[_Family, list[tuple[CurvePoint, str, float | None]]] = {}  # with digest and clean accuracy
    inside: list[PageCurve] = []
    for place, row in enumerate(rows, 1):
        result = row.result
        if result is None:
            continue
        inside += [*_severity_curves(row.test, result), *_drawn_curves(row.test, result)]
        subject = result.subject
        if subject.axis is None or subject.at is None:
            continue
        low, high = result.interval
        point = CurvePoint(
            x=float(subject.at),
            y=result.estimate,
            low=low,
            high=high,
            threshold=result.ruling.threshold,
            verdict=row.state,
            number=place,
        )
        quantity = result.numbers.quantity
        # A curve of the accuracy is easier to read than one of its drop.
        if quantity == "accuracy drop" and _number(result.details, "shifted_accuracy") is not None:
            quantity = "accuracy"  # the accuracy itself; interval and threshold are those of the drop
            point = replace(point, y=_number(result.details, "shifted_accuracy"), low=None, high=None, threshold=None)
        name, bracket, parameters = row.test.partition("[")
        # test_a[linf-0.1] and test_a[linf-0.2] are one curve.
        test = name + bracket + _NUMBER.sub("…", parameters)
        varied = ", ".join(str(one.without_axis) for one in subject.varied)
        family = _Family(test, subject.kind, quantity, subject.method, subject.family, subject.axis, varied)
        clean = _number(result.details, "clean_accuracy") if quantity.endswith("accuracy") else None
        families.setdefault(family, []).append((point, result.evidence.model, clean))
    curves = []
    for family, placed in families.items():
        # Early verdicts have no digest of the model, and go with the only one there is.
        models = list(dict.fromkeys(model for _, model, _ in placed if model))
        groups = [placed] if len(models) < 2 else [[one for one in placed if one[1] == model] for model in models]
        for group in groups:
            points = sorted((point for point, _, _ in group), key=lambda point: point.x)
            # A curve with two values above one x is left out: no curve is better than a wrong one.
            if sum(point.drawn for point in points) < 2 or len({point.x for point in points}) < len(points):
                continue
            clean_values = {clean for _, _, clean in group if clean is not None}
            # All claims have the same clean accuracy: it is the value at radius 0.
            if len(clean_values) == 1 and points[0].x > 0:
                points.insert(0, CurvePoint(x=0.0, y=clean_values.pop()))
            severities = family.axis == "severity"
            varied = family.varied or family.quantity
            axis = "radius" if family.axis == "eps" else family.axis
            curves.append(
                PageCurve(
                    title=varied if severities else f"{varied}, {family.method}",
                    test=family.test,
                    x_name="severity" if severities else f"{axis} ({varied})",
                    y_name=family.quantity,
                    points=tuple(points),
                    severities=severities,
                )
            )
    return curves + inside


def _severity_curves(test: str, result: Result) -> list[PageCurve]:
    by_shift = result.details.get("by_severity")
    if not isinstance(by_shift, Mapping):
        return []
    curves = []
    clean = _number(result.details, "clean_accuracy")
    for name, cells in by_shift.items():
        points = []
        for severity, cell in cells.items() if isinstance(cells, Mapping) else ():
            try:
                x = float(str(severity))
            except ValueError:
                continue
            if isinstance(cell, Mapping):
                low, high = _ends(cell.get("interval")) or (None, None)
                points.append(CurvePoint(x=x, y=_number(cell, "accuracy"), low=low, high=high))
            elif isinstance(cell, (int, float)):
                points.append(CurvePoint(x=x, y=float(cell)))
        points.sort(key=lambda point: point.x)
        if clean is not None and points and points[0].x > 0:
            points.insert(0, CurvePoint(x=0.0, y=clean))
        if sum(point.drawn for point in points) > 1:
            title, drawn = str(name), tuple(points)
            curves.append(
                PageCurve(title=title, test=test, x_name="severity", y_name="accuracy", points=drawn, severities=True)
            )
    return curves


def _drawn_curves(test: str, result: Result) -> list[PageCurve]:
    curves = []
    for drawn in _mappings(result.details.get("curves")):
        points = []
        # A point has "x", "y", an optional "interval", and "verdict": a claim's, or "other" for a point that stands
        # out.
        for point in _mappings(drawn.get("points")):
            x, y = _number(point, "x"), _number(point, "y")
            if x is not None and y is not None:
                low, high = _ends(point.get("interval")) or (None, None)
                points.append(CurvePoint(x=x, y=y, low=low, high=high, verdict=str(point.get("verdict", ""))))
        if len(points) > 1:
            title, x_name, y_name = (str(drawn.get(key, "")) for key in ("title", "x", "y"))
            points.sort(key=lambda point: point.x)
            curves.append(PageCurve(title=title, test=test, x_name=x_name, y_name=y_name, points=tuple(points)))
    return curves


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _ends(value: object) -> tuple[float, float] | None:
    # Details may come from a file, so nothing about their types is certain.
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, (int, float)) for end in value):
        return float(value[0]), float(value[1])
    return None


@dataclass(frozen=True, slots=True)
class PlotMark:
    """A point of a plot: its place, the ends of its interval, its threshold (y coordinates), and a description."""

    point: CurvePoint
    x: float
    y: float | None
    low: float | None
    high: float | None
    threshold: float | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A curve in coordinates of a drawing."""

    curve: PageCurve
    marks: tuple[PlotMark, ...]
    line: str  # "x,y x,y ..." through the points that have a value; empty for fewer than two
    # places on the axes, each with its text
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    words: str  # description for screen readers
    width: int = _WIDTH
    height: int = _HEIGHT
    # area inside of the axes
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


def plot_of(curve: PageCurve) -> Plot:
    """Place a curve in a drawing; y runs from 0 to 1, or further if values do."""
    values = [v for p in curve.points for v in (p.y, p.high, p.threshold) if v is not None]
    top = max(1.0, round_above(max(values))) if values and max(values) > 1 else 1.0
    end = max(point.x for point in curve.points)
    end = end if end > 0 else 1.0

    def x(value: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * value / end, 1)

    def y(value: float | None) -> float | None:
        if value is None:
            return None
        return round(_BOTTOM - (_BOTTOM - _TOP) * min(max(value / top, 0.0), 1.0), 1)

    def words(point: CurvePoint) -> str:
        value = "not measured" if point.y is None else number(point.y)
        interval = "" if point.low is None or point.high is None else f" {interval_in_words(point.low, point.high)}"
        verdict = f", {point.verdict}" if point.verdict else ""
        return f"{curve.x_name} {point.x:g}: {curve.y_name} {value}{interval}{verdict}"

    marks = tuple(PlotMark(p, x(p.x), y(p.y), y(p.low), y(p.high), y(p.threshold), words(p)) for p in curve.points)
    estimates = [mark for mark in marks if mark.y is not None]
    if curve.severities:
        x_values = [float(value) for value in range(int(end) + 1)]
    else:
        step = round_above(end / 5)
        x_values = [step * k for k in range(int(end / step + 1e-9) + 1)]
    about = f"{curve.y_name} by {curve.x_name}"
    if len(estimates) > 1:
        first, last = estimates[0].point, estimates[-1].point
        about = f"{about}: {number(first.y or 0.0)} at {first.x:g}, {number(last.y or 0.0)} at {last.x:g}"
    return Plot(
        curve=curve,
        marks=marks,
        line=" ".join(f"{mark.x},{mark.y}" for mark in estimates) if len(estimates) > 1 else "",
        x_ticks=tuple((x(value), f"{value:g}") for value in x_values),
        y_ticks=tuple((y(top * k / 4) or 0.0, f"{top * k / 4:g}") for k in range(5)),
        words=f"{about}; the numbers are in the table below.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table of texts and scales; the first column names the rows, and `cut` counts the rows that are left out."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Scale, ...], ...]
    cut: int = 0


def tables_of(details: Mapping[str, Any], names: Mapping[str, str], threshold: float | None = None) -> list[PageTable]:
    """Return the details of a claim that are tables; the others are facts (`robustest.results.facts_of`)."""
    tables: list[PageTable] = []

    def add(columns: Sequence[str], rows: Sequence[tuple[str | Scale, ...]]) -> None:
        cut = max(0, len(rows) - MOST_ROWS)
        tables.append(PageTable(caption=name, columns=tuple(columns), rows=tuple(rows[:MOST_ROWS]), cut=cut))

    for key, value in details.items():
        if key in SHOWN_ELSEWHERE:
            continue
        name = named(key, names)
        if is_rows(value):  # a list of mappings, e.g. groups with their accuracies; intervals are drawn on a scale
            keys = list(dict.fromkeys(key for row in value for key in row))
            drawn = any(_ends(row.get("interval")) for row in value)
            cells = [
                (*(shown(row.get(key), names) for key in keys), *((_row_scale(row, threshold),) if drawn else ()))
                for row in value
            ]
            add([*(named(key, names) for key in keys), *(("on the scale 0..1",) if drawn else ())], cells)
        elif isinstance(value, Mapping) and any(is_rows(part) for part in value.values()):  # several of those
            mixed = not is_table(value)
            inside = {f"{name}: {named(part, names) if mixed else part}": one for part, one in value.items()}
            tables += tables_of(inside, names, threshold)
        elif isinstance(value, Mapping) and is_table(value):
            if all(isinstance(part, Mapping) for part in value.values()):  # e.g. accuracy by corruption and severity
                keys = list(dict.fromkeys(key for row in value.values() for key in row))
                crossed = [(row, *(shown(one.get(key), names) for key in keys)) for row, one in value.items()]
                add(["", *(named(key, names) for key in keys)], crossed)
            else:
                add(["", "value"], [(named(key, names), shown(part, names)) for key, part in value.items()])
    return tables


def _row_scale(row: Mapping[str, Any], threshold: float | None) -> str | Scale:
    interval = _ends(row.get("interval"))
    if interval is None:
        return ""
    value = next((v for k, v in row.items() if isinstance(v, float) and k in ("accuracy", "share", "estimate")), None)
    return scale(interval, value, threshold=threshold)
