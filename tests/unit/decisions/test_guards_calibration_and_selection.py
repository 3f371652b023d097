"""Guards of rules on confidence: calibration errors, the surest samples, and outside data that is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustest import Verdict
from robustest.decisions import Terms
from robustest.decisions.confidence import (
    CalibrationErrorRule,
    SelectiveRule,
    capital_above,
    capital_below,
    decide_accepted,
)

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)

P, F, Q = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def off_by(gap: float, n: int = 1000) -> dict[str, Any]:
    """Samples of confidence .85, of which this much fewer are right."""
    return {"confidence": np.full(n, 0.85), "held": np.arange(n) < round((0.85 - gap) * n)}


def calibration(threshold: float | None, bins: int = 10) -> CalibrationErrorRule:
    return CalibrationErrorRule(threshold=threshold, terms=SET, bins=bins, seed=0)


@pytest.mark.parametrize(("threshold", "verdict"), [(0.4, P), (0.3, Q), (0.2, F), (None, Q)])
def test_the_error_is_of_the_population_whatever_the_scope(threshold: float | None, verdict: Verdict) -> None:
    found = calibration(threshold).decide(off_by(0.3), 1000, None)
    assert found.verdict is verdict
    assert found.at_alpha is (threshold is not None)
    assert found.estimate == pytest.approx(0.3, abs=0.02)
    assert found.interval[0] <= 0.3 <= found.interval[1]
    assert found.interval[1] - found.interval[0] < 0.15
    assert calibration(threshold).settle(off_by(0.3), 1000) is None
    assert not calibration(threshold).doomed(1000, 1000)


@pytest.mark.parametrize(("threshold", "verdict"), [(0.45, P), (0.3, Q), (0.15, F)])
def test_a_part_of_the_samples_is_judged_alike(threshold: float, verdict: Verdict) -> None:
    found = calibration(threshold).decide(off_by(0.3), 2000, None)
    assert (found.verdict, found.estimate, found.at_alpha) == (verdict, None, True)
    assert "budget: 1000 of 2000" in found.rule


def test_errors_that_cancel_inside_a_bin_show_in_finer_ones() -> None:
    """Of one bin half are too sure and half not sure enough; twice as many bins tell them apart."""
    n = 2000
    sure = np.concatenate([np.full(n // 2, 0.3), np.full(n // 2, 0.7)])
    held = np.concatenate([np.arange(n // 2) < 0.7 * n // 2, np.arange(n // 2) < 0.3 * n // 2])
    found = calibration(0.2, bins=1).decide({"confidence": sure, "held": held}, n, None)
    assert found.verdict is not P
    assert found.interval[1] > 0.35
    alike = calibration(0.2, bins=1).decide({"confidence": np.full(n, 0.5), "held": np.arange(n) < n // 2}, n, None)
    assert alike.verdict is P


def selective(threshold: float | None, coverage: float = 0.5, terms: Terms = SET) -> SelectiveRule:
    return SelectiveRule(threshold=threshold, coverage=coverage, terms=terms)


ORDER = np.random.default_rng(0).permutation(100)
SURE = np.linspace(1.0, 0.0, 100)[ORDER]


def right(first: int, rest: int) -> dict[str, Any]:
    """Of the fifty surest so many are right, and of the others."""
    held = np.concatenate([np.arange(50) < first, np.arange(50) < rest])[ORDER]
    return {"msp": SURE, "held": held}


@pytest.mark.parametrize(("threshold", "verdict"), [(0.8, P), (0.81, F), (None, Q)])
def test_the_surest_half_of_a_set_is_judged_alone(threshold: float | None, verdict: Verdict) -> None:
    for rest in (0, 50):
        found = selective(threshold).decide(right(40, rest), 100, None)
        assert (found.verdict, found.estimate, found.at_alpha) == (verdict, 0.8, False)
        assert found.interval[0] < 0.8 < found.interval[1]
    assert selective(threshold).settle(right(40, 0), 100) is None
    assert not selective(threshold).doomed(100, 100)


def test_all_are_answered_at_full_coverage() -> None:
    assert selective(0.5, 1.0).decide(right(40, 10), 100, None).verdict is P
    assert selective(0.51, 1.0).decide(right(40, 10), 100, None).verdict is F


@pytest.mark.parametrize(("first", "threshold", "verdict"), [(40, 0.5, P), (40, 0.8, Q), (5, 0.95, F)])
def test_a_population_s_surest_are_judged_by_the_interval(first: int, threshold: float, verdict: Verdict) -> None:
    found = selective(threshold, terms=POPULATION).decide(right(first, 10), 100, None)
    assert (found.verdict, found.at_alpha) == (verdict, True)
    part = {name: values[:90] for name, values in right(first, 10).items()}
    budget = selective(threshold).decide(part, 100, None)
    assert (budget.verdict, budget.estimate, budget.at_alpha) == (verdict, None, True)


@pytest.mark.parametrize(("threshold", "verdict"), [(0.4, P), (0.5, Q), (0.7, Q), (0.8, Q), (0.81, F)])
def test_samples_that_tie_at_the_edge_must_hold_whichever_are_answered(threshold: float, verdict: Verdict) -> None:
    """Of ten two are surest and right, and eight tie for three places, of which two are right."""
    sure = np.array([0.9, 0.9, *[0.5] * 8])
    held = np.array([True, True, *[True] * 2, *[False] * 6])
    found = selective(threshold).decide({"msp": sure, "held": held}, 10, None)
    assert found.verdict is verdict
    assert found.estimate == pytest.approx((2 + 3 * 2 / 8) / 5)
    if verdict is Q:
        assert found.rule == "samples tie at the edge: 2 to 4 of 5 right"


def accepted(threshold: float | None, terms: Terms = SET, high: int = 20, n: int = 100) -> Any:
    """Inside scores 1..100; of the outside ones so many lie just at the edge, the others below it."""
    inside = np.arange(1.0, 101.0)
    outside = np.concatenate([np.full(high, 6.0), np.full(n - high, 5.0)])
    return decide_accepted(inside, outside, threshold, terms)


@pytest.mark.parametrize(("threshold", "verdict"), [(0.2, P), (0.19, F), (None, Q)])
def test_outside_samples_at_the_edge_are_accepted(threshold: float | None, verdict: Verdict) -> None:
    """95 of 100 inside samples score 6 or more."""
    found, edge = accepted(threshold)
    assert edge == 6.0
    assert (found.verdict, found.estimate, found.at_alpha) == (verdict, 0.2, False)


@pytest.mark.parametrize(("threshold", "verdict"), [(0.3, P), (0.2, Q), (0.1, F), (None, Q)])
def test_accepted_shares_of_populations_are_judged_by_the_interval(threshold: float | None, verdict: Verdict) -> None:
    """Ten thousand inside scores place the edge; whichever it is, the same outside ones lie above it."""
    inside, outside = np.linspace(0, 1, 10_000), np.concatenate([np.full(200, 0.9), np.zeros(800)])
    found, _ = decide_accepted(inside, outside, threshold, POPULATION)
    low, high = found.interval
    assert 0.15 < low < 0.2 < high < 0.25
    assert (found.verdict, found.at_alpha) == (verdict, threshold is not None)


@pytest.mark.parametrize("claimed", [0.05, 0.2, 0.5])
def test_too_sure_is_as_wrong_as_not_sure_enough(claimed: float) -> None:
    random = np.random.default_rng(1)
    residual, place = random.uniform(-0.2, 0.6, 400), random.integers(0, 5, 400)
    for capital in (
        lambda r: capital_below(r, place, 5, claimed),
        lambda r: capital_above(r, place, claimed),
    ):
        assert capital(residual) == pytest.approx(capital(-residual), rel=1e-9)
    # Signs of bins do not matter either.
    turned = np.where(place % 2 == 0, residual, -residual)
    assert capital_below(turned, place, 5, claimed) == pytest.approx(capital_below(residual, place, 5, claimed))
