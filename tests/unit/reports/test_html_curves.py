"""Which claims make a curve of the HTML report, and where its points lie."""

from __future__ import annotations

from typing import Any

import pytest

from robustest import Result
from robustest.account import Ending, Row
from robustest.reports.html.figures import PageCurve, curves_of, plot_of, round_above
from robustest.results import Variation


def judged(number: int, test: str, result: Result | None) -> Row:
    """A row of a claim that failed, or of a test without a result."""
    ending = Ending(test=test, phase="call", outcome="failed", reason="because", claimed=True)
    return Row(test, result, ending=ending)


def on_axis(axis: str, at: float, name: str, **parameters: Any) -> dict[str, Any]:
    """Fields of a result of a claim that varies a number."""
    return {"varied": (Variation(name, {axis: at, **parameters}, axis),), "axis": axis, "at": at}


@pytest.fixture
def ball(made: Any) -> Any:
    """Builds a claim on a ball: `ball(0.1, 0.5)` has accuracy 0.5 at radius 0.1."""

    def build(eps: float, value: float | None, test: str = "", norm: str = "Linf", **changes: Any) -> Row:
        result = made(**on_axis("eps", eps, norm), setting="reworded", estimate=value, **changes)
        return judged(1, test or f"test_a.py::test_it[{eps}]", result)

    return build


def ends(curve: PageCurve) -> list[tuple[float, float | None]]:
    return [(point.x, point.y) for point in curve.points]


def test_claims_that_differ_in_radius_alone_are_a_curve_from_clean(ball: Any) -> None:
    (curve,) = curves_of([ball(0.2, 0.25), ball(0.1, 0.5), ball(0.05, None)])
    assert ends(curve) == [(0, 1.0), (0.05, None), (0.1, 0.5), (0.2, 0.25)]
    assert (curve.title, curve.x_name, curve.y_name) == ("Linf, fast", "radius (Linf)", "accuracy")
    assert curve.test == "test_a.py::test_it[…]"


@pytest.mark.parametrize(
    "other",
    [
        {"norm": "L2"},
        {"method": "pgd"},
        {"quantity": "fooling rate"},
        {"kind": "no_universal_perturbation"},
        {"test": "test_a.py::test_other[0.2]"},
        {"test": "test_a.py::test_it[vgg-0.2]"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_differs_otherwise_is_no_curve(ball: Any, other: dict[str, str]) -> None:
    assert curves_of([ball(0.1, 0.5), ball(0.2, 0.25, **other)]) == []


def test_another_parameter_of_a_threat_is_another_curve(made: Any) -> None:
    """Two sets of parameters of a corruption, at two severities each: none is joined with the other."""
    claims = [
        judged(n, f"t[{level}]", made(**on_axis("severity", level, "fog", parameters=size), estimate=value))
        for n, (level, size, value) in enumerate([(1, "32", 0.5), (3, "32", 0.4), (1, "64", 0.3), (3, "64", 0.2)])
    ]
    assert [ends(curve)[1:] for curve in curves_of(claims)] == [[(1, 0.5), (3, 0.4)], [(1, 0.3), (3, 0.2)]]


def test_any_number_that_is_varied_makes_a_curve(made: Any) -> None:
    """A claim's argument may be the axis, without a threat or a shift."""
    claims = [judged(1, f"t[{at}]", made(axis="coverage", at=at, estimate=at, details={})) for at in (0.5, 0.9)]
    (curve,) = curves_of(claims)
    assert (ends(curve), curve.x_name) == ([(0.5, 0.5), (0.9, 0.9)], "coverage (accuracy)")


def test_models_do_not_share_a_curve(ball: Any) -> None:
    first = [ball(eps, 0.5, f"t[resnet18-{eps}]", model="aa") for eps in (0.1, 0.2)]
    second = [ball(eps, 0.25, f"t[resnet34-{eps}]", model="bb") for eps in (0.1, 0.2)]
    assert [ends(curve)[1:] for curve in curves_of(first + second)] == [
        [(0.1, 0.5), (0.2, 0.5)],
        [(0.1, 0.25), (0.2, 0.25)],
    ]


def test_two_values_above_one_radius_are_no_curve(ball: Any) -> None:
    """Early verdicts have no digest of the model that would tell these apart."""
    assert curves_of([ball(eps, 0.5, f"t[resnet{n}-{eps}]") for n in (18, 34) for eps in (0.1, 0.2)]) == []


def test_clean_accuracies_that_differ_start_no_curve(ball: Any) -> None:
    (curve,) = curves_of([ball(0.1, 0.5), ball(0.2, 0.25, details={"clean_accuracy": 0.9})])
    assert ends(curve) == [(0.1, 0.5), (0.2, 0.25)]


def test_what_has_no_radius_or_no_result_is_left_out(ball: Any, made: Any) -> None:
    assert curves_of([judged(1, "t", None), judged(2, "t", made(setting="Patch(height=3, width=3)"))] * 2) == []
    no_axis = made(varied=(Variation("Linf", {"eps": 0.2}),), setting="Linf(eps=0.2)")
    assert curves_of([ball(0.1, 0.5), judged(2, "test_a.py::test_it[0.2]", no_axis)]) == []


def test_severities_of_a_shift_are_a_curve_and_drops_are_drawn_as_accuracy(made: Any) -> None:
    def shift(severity: int, **changes: Any) -> Row:
        changes = {"kind": "shift_accuracy", "method": "paired", **changes}
        return judged(severity, f"t[{severity}]", made(**on_axis("severity", severity, "gaussian_noise"), **changes))

    drop = {"quantity": "accuracy drop", "details": {"clean_accuracy": 1.0, "shifted_accuracy": 0.75}}
    (curve,) = curves_of([shift(3, estimate=0.5), shift(1, estimate=0.25, interval=(0.2, 0.3), **drop)])
    assert ends(curve) == [(0, 1.0), (1, 0.75), (3, 0.5)]
    assert (curve.points[1].low, curve.points[1].threshold) == (None, None)  # they are of the drop
    assert (curve.title, curve.x_name, curve.severities) == ("gaussian_noise", "severity", True)


def test_a_claim_on_many_shifts_has_its_curves_inside(made: Any) -> None:
    cells = {
        "fog": {"1": 0.9, "3": {"accuracy": 0.5, "interval": [0.4, 0.6]}, "odd": 1.0, "2": "no number"},
        "snow": {"5": 0.5},
        "none": "no table",
    }
    result = made(setting="15 corruptions", details={"clean_accuracy": 1.0, "by_severity": cells})
    fog, snow = curves_of([judged(1, "t", result)])
    assert ends(fog) == [(0, 1.0), (1, 0.9), (3, 0.5)]
    assert (fog.points[2].low, fog.points[2].high) == (0.4, 0.6)
    assert ends(snow) == [(0, 1.0), (5, 0.5)]


def test_points_lie_where_their_numbers_say(ball: Any) -> None:
    (curve,) = curves_of([ball(0.1, 0.5), ball(0.2, None)])
    drawn = plot_of(curve)
    clean, middle, last = drawn.marks
    assert (clean.x, clean.y) == (drawn.left, drawn.top)
    assert (middle.x, middle.y) == ((drawn.left + drawn.right) / 2, (drawn.top + drawn.bottom) / 2)
    assert (last.x, last.y) == (drawn.right, None)
    assert drawn.line == f"{clean.x},{clean.y} {middle.x},{middle.y}"  # an interval alone draws no line
    assert last.low is not None
    assert last.high is not None
    assert drawn.top < last.high < last.low < drawn.bottom
    assert middle.words == "radius (Linf) 0.1: accuracy 0.500 [0.125, 0.375], failed"
    assert drawn.words.startswith("accuracy by radius (Linf): 1.000 at 0, 0.500 at 0.1;")


def test_ticks_of_severities_are_whole(made: Any) -> None:
    result = made(details={"by_severity": {"fog": {"1": 0.5, "5": 0.25}}})
    drawn = plot_of(curves_of([judged(1, "t", result)])[0])
    assert [text for _, text in drawn.x_ticks] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(("value", "step"), [(0.03, 0.05), (0.02, 0.02), (1.0, 1), (1.1, 2), (7, 10), (20, 20)])
def test_steps_are_one_two_or_five(value: float, step: float) -> None:
    assert round_above(value) == pytest.approx(step)


def test_a_kind_of_claim_may_draw_a_curve_of_its_own(made: Any) -> None:
    points = [
        {"x": 200, "y": 0.8, "interval": [0.7, 0.9]},
        {"x": 100, "y": 0.6},
        {"x": 150, "y": 0.7, "verdict": "other"},
    ]
    drawn = {"title": "a learner", "x": "samples", "y": "accuracy", "points": [*points, {"x": "?", "y": 1}, 3]}
    result = made(setting="n", details={"curves": [drawn, {"title": "one", "points": points[:1]}, None]})
    (curve,) = curves_of([judged(1, "t", result)])
    assert (curve.title, curve.x_name, curve.y_name) == ("a learner", "samples", "accuracy")
    assert [(point.x, point.y, point.low, point.verdict) for point in curve.points] == [
        (100, 0.6, None, ""),
        (150, 0.7, None, "other"),
        (200, 0.8, 0.7, ""),
    ]
