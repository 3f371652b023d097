"""Curves over several claims: a quantity against the radius of a ball, accuracy against the severity of a shift."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from robustest.results import Result

_NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One claim on a curve.

    Attributes:
        x: radius or severity; 0 is the unchanged input.
        y: the value; None where only the interval is known.
        low, high: the interval, or None.
        threshold: what was claimed of this value, or None.
        verdict: of the claim; empty for a point that no claim made.
        number: the claim's on the page; 0 for none.
    """

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    verdict: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points of growing x.

    Attributes:
        title: what is drawn.
        test: the tests' common name.
        x_name, y_name: of the axes.
        points: two or more.
        severities: whether x is a severity, so whole numbers.
    """

    title: str
    test: str
    x_name: str
    y_name: str
    points: tuple[Point, ...]
    severities: bool = False


class Judged(Protocol):
    """A claim with its place on the page."""

    @property
    def number(self) -> int: ...
    @property
    def test(self) -> str: ...
    @property
    def result(self) -> Result | None: ...
    @property
    def verdict(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Key:
    """The properties that the points of one curve have in common.

    Attributes:
        test: the test function.
        kind: of the claim.
        quantity, method, family, axis: as of the results.
        varied: what is varied, without the number on the axis.
    """

    test: str
    kind: str
    quantity: str
    method: str
    family: str
    axis: str
    varied: str


@dataclass(frozen=True, slots=True)
class _Placed:
    point: Point
    model: str
    clean: float | None


def curves_of(claims: Iterable[Judged]) -> list[Curve]:
    """All curves of two or more claims that differ in radius or severity alone, and those that details hold.

    Claims belong together where test function, kind of claim, quantity, attack, norm or shift, and model agree. What
    would put two values above one x belongs to nothing we know: no curve is better than a wrong one.

    Args:
        claims: in the order of the page.
    """
    groups: dict[_Key, list[_Placed]] = {}
    inside: list[Curve] = []
    for claim in claims:
        if claim.result is None:
            continue
        inside += [*_corruptions(claim.test, claim.result), *_own(claim.test, claim.result)]
        found = _place(claim, claim.result)
        if found is not None:
            groups.setdefault(found[0], []).append(found[1])
    curves = [curve for key, placed in groups.items() for part in _models(placed) for curve in _curve(key, part)]
    return curves + inside


def _place(claim: Judged, result: Result) -> tuple[_Key, _Placed] | None:
    if result.axis is None or result.at is None:
        return None
    point = Point(
        x=float(result.at),
        y=result.estimate,
        low=result.interval[0],
        high=result.interval[1],
        threshold=result.threshold,
        verdict=claim.verdict,
        number=claim.number,
    )
    quantity = result.quantity
    if quantity == "accuracy drop" and _number(result.details, "shifted_accuracy") is not None:
        quantity = "accuracy"  # the curve of the accuracy itself; its interval and threshold are of the drop
        point = replace(point, y=_number(result.details, "shifted_accuracy"), low=None, high=None, threshold=None)
    varied = ", ".join(str(one.without_axis) for one in result.varied)
    key = _Key(_family(claim.test), result.kind, quantity, result.method, result.family, result.axis, varied)
    clean = _number(result.details, "clean_accuracy") if quantity.endswith("accuracy") else None
    return key, _Placed(point, result.model, clean)


def _family(test: str) -> str:
    """A test's id with the numbers in its parameters blurred: test_a[linf-0.1] and test_a[linf-0.2] are one family."""
    name, bracket, parameters = test.partition("[")
    return name + bracket + _NUMBER.sub("…", parameters)


def _models(placed: list[_Placed]) -> list[list[_Placed]]:
    """By model, where there are several; early verdicts know no digest of theirs and go with the only one."""
    models = list(dict.fromkeys(one.model for one in placed if one.model))
    if len(models) < 2:
        return [placed]
    return [[one for one in placed if one.model == model] for model in models]


def _curve(key: _Key, placed: list[_Placed]) -> list[Curve]:
    points = sorted((one.point for one in placed), key=lambda point: point.x)
    if len([point for point in points if _is_drawn(point)]) < 2 or len({point.x for point in points}) < len(points):
        return []
    clean = {one.clean for one in placed if one.clean is not None}
    if len(clean) == 1 and points[0].x > 0:
        points.insert(0, Point(x=0.0, y=clean.pop()))
    severities = key.axis == "severity"
    kind = key.varied or key.quantity
    return [
        Curve(
            title=kind if severities else f"{kind}, {key.method}",
            test=key.test,
            x_name="severity" if severities else f"{'radius' if key.axis == 'eps' else key.axis} ({kind})",
            y_name=key.quantity,
            points=tuple(points),
            severities=severities,
        )
    ]


def _is_drawn(point: Point) -> bool:
    """Whether there is something to draw: a curve of one point is no curve."""
    return point.y is not None or point.low is not None


def _corruptions(test: str, result: Result) -> list[Curve]:
    """Curves that one claim holds: accuracy by shift and severity, in details["by_severity"]."""
    table = result.details.get("by_severity")
    if not isinstance(table, Mapping):
        return []
    curves = []
    for name, cells in table.items():
        if not isinstance(cells, Mapping):
            continue
        points = sorted((p for p in (_cell(x, cell) for x, cell in cells.items()) if p), key=lambda p: p.x)
        clean = _number(result.details, "clean_accuracy")
        if clean is not None and points and points[0].x > 0:
            points.insert(0, Point(x=0.0, y=clean))
        if len([point for point in points if _is_drawn(point)]) > 1:
            title = str(name)
            curves.append(
                Curve(
                    title=title, test=test, x_name="severity", y_name="accuracy", points=tuple(points), severities=True
                )
            )
    return curves


def _own(test: str, result: Result) -> list[Curve]:
    """Curves that a kind of claim drew itself, in details["curves"]: title, names of the axes ("x", "y"), and points.

    A point has "x", "y", perhaps its "interval", and "verdict": a claim's, or "other" for another thing than the rest
    of the curve.
    """
    curves = []
    for drawn in _rows(result.details.get("curves")):
        found = [_own_point(point) for point in _rows(drawn.get("points"))]
        points = sorted((point for point in found if point is not None), key=lambda point: point.x)
        words = {key: str(drawn.get(key, "")) for key in ("title", "x", "y")}
        if len(points) > 1:
            curves.append(
                Curve(title=words["title"], test=test, x_name=words["x"], y_name=words["y"], points=tuple(points))
            )
    return curves


def _own_point(point: Mapping[str, Any]) -> Point | None:
    x, y = _number(point, "x"), _number(point, "y")
    if x is None or y is None:
        return None
    ends = point.get("interval")
    low, high = ends if isinstance(ends, Sequence) and len(ends) == 2 else (None, None)
    return Point(x=x, y=y, low=low, high=high, verdict=str(point.get("verdict", "")))


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _cell(severity: object, cell: Any) -> Point | None:
    try:
        x = float(str(severity))
    except ValueError:
        return None
    if isinstance(cell, Mapping):
        interval = cell.get("interval")
        low, high = interval if isinstance(interval, Sequence) and len(interval) == 2 else (None, None)
        return Point(x=x, y=_number(cell, "accuracy"), low=low, high=high)
    return Point(x=x, y=float(cell)) if isinstance(cell, (int, float)) else None


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if isinstance(value, (int, float)) else None
