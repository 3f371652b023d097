"""Accuracy on the line: models on it, models above it, and intervals that know how little they know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from robustest import ConfigError, Cost, DataError, Result, UnknownNameError, Verdict
from robustest.decisions.effective_robustness import effective_robustness


def on_line(before: float, intercept: float = -0.8, slope: float = 1.1) -> float:
    return float(norm.cdf(intercept + slope * norm.ppf(before)))


BEFORE = {"a": 0.6, "b": 0.7, "c": 0.8, "d": 0.9, "e": 0.95}
LINE: dict[str, Any] = {name: (accuracy, on_line(accuracy)) for name, accuracy in BEFORE.items()}


def test_models_on_a_line_are_as_robust_as_it_foretells() -> None:
    found = effective_robustness(LINE)
    assert (found.intercept, found.slope) == pytest.approx((-0.8, 1.1))
    assert found.spread == pytest.approx(0, abs=1e-9)
    assert found.predict(0.85) == pytest.approx(on_line(0.85))
    for name, residual in found.models.items():
        assert (residual.before, residual.under) == LINE[name]
        assert residual.predicted == pytest.approx(residual.under)
        assert residual.effective == pytest.approx(0, abs=1e-9)
        assert residual.interval == pytest.approx((0, 0), abs=1e-6), "accuracies without numbers have no error"


def test_a_model_above_the_line_does_not_draw_it_up() -> None:
    """Five points above: the line is that of the others, exactly."""
    robust = (0.85, on_line(0.85) + 0.05)
    found = effective_robustness({**LINE, "robust": robust})
    assert found.models["robust"].effective == pytest.approx(0.05)
    assert found.models["a"].effective != pytest.approx(0, abs=1e-6), "but it does draw the line of the others"


def test_a_line_through_reference_models_alone() -> None:
    found = effective_robustness({**LINE, "robust": (0.85, on_line(0.85) + 0.05)}, reference=list(LINE))
    assert found.slope == pytest.approx(1.1)
    assert found.models["robust"].effective == pytest.approx(0.05)
    assert found.models["a"].effective == pytest.approx(0, abs=1e-9)


def test_the_interval_covers_as_promised() -> None:
    """Seven models on a line, their accuracies measured on 500 samples each side; model 'x' truly is 3 points above."""
    random, truth, missed, runs = np.random.default_rng(0), np.linspace(0.55, 0.92, 7), 0, 300
    for _ in range(runs):
        measured: dict[str, Any] = {
            f"m{i}": (random.binomial(500, p) / 500, random.binomial(500, on_line(p)) / 500, 500, 500)
            for i, p in enumerate(truth)
        }
        measured["x"] = (random.binomial(500, 0.8) / 500, random.binomial(500, on_line(0.8) + 0.03) / 500, 500, 500)
        low, high = (
            effective_robustness(measured, reference=[f"m{i}" for i in range(7)], alpha=0.05).models["x"].interval
        )
        missed += not low <= 0.03 <= high
    assert missed <= 0.14 * runs, "10 % promised; the probits and the delta method are approximations"
    assert missed > 0, "and not by intervals that say nothing"


def test_more_samples_make_narrower_intervals() -> None:
    def width(n: int) -> float:
        results = {name: (*pair, n, n) for name, pair in LINE.items()}
        low, high = effective_robustness(results).models["c"].interval
        return high - low

    assert width(100) > width(1000) > width(10_000)


def test_accuracies_of_one_are_moved_inside_by_half_a_sample() -> None:
    found = effective_robustness({**LINE, "top": (1.0, 0.97, 200, 200)}, reference=list(LINE))
    assert found.models["top"].predicted == pytest.approx(on_line(200.5 / 201))
    assert found.models["top"].effective == pytest.approx(0.97 - on_line(200.5 / 201))


def result_of(kind: str, **details: Any) -> Result:
    return Result.of(
        kind=kind, statement="", verdict=Verdict.PASSED, rule="", quantity="", estimate=0.5, interval=(0, 1),
        threshold=None, comparison=">=", n=400, n_total=400, outcomes=(), cost=Cost(), seed=0, setting="",
        method="", details=details,
    )  # fmt: skip


def test_results_of_both_kinds_are_read() -> None:
    pairs = {name: (*pair, 400, 400) for name, pair in LINE.items()}
    paired = {name: result_of("shift_accuracy", clean_accuracy=a, shifted_accuracy=b) for name, (a, b) in LINE.items()}
    unpaired = {
        name: result_of("transfer_accuracy", source_accuracy=a, target_accuracy=b, source_n=400, target_n=400)
        for name, (a, b) in LINE.items()
    }
    assert effective_robustness(paired) == effective_robustness(unpaired) == effective_robustness(pairs)


@pytest.mark.parametrize(
    ("results", "arguments", "error", "message"),
    [
        (LINE, {"alpha": 0.5}, ConfigError, "alpha in"),
        (LINE, {"reference": ["a", "bb"]}, UnknownNameError, "Unknown reference model 'bb'"),
        (LINE, {"reference": ["a", "b", "c"]}, ConfigError, "three reference models or more besides .* but got 2"),
        ({"a": (0.5, 0.4)}, {}, ConfigError, "but got 0"),
        ({}, {}, ConfigError, "but got 0"),
        ({**LINE, "f": (1.0, 0.5)}, {}, DataError, "numbers of samples with an accuracy of 1 for 'f'"),
        ({**LINE, "f": (1.5, 0.5)}, {}, DataError, "accuracy in 0..1 for 'f'"),
        ({**LINE, "f": (0.5,)}, {}, DataError, "accuracies, for 'f'"),
        ({**LINE, "f": 0.5}, {}, DataError, "accuracies, for 'f'"),
        ({**LINE, "f": result_of("robust_accuracy")}, {}, DataError, "'f' is 'robust_accuracy'"),
        (
            {**LINE, "f": result_of("shift_accuracy", clean_accuracy=None, shifted_accuracy=None)},
            {},
            DataError,
            "looked at in part",
        ),
        ({name: (0.7, pair[1]) for name, pair in LINE.items()}, {}, DataError, "as accurate as each other"),
    ],
)
def test_what_makes_no_line_is_refused(
    results: dict[str, Any], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        effective_robustness(results, **arguments)
