"""Claims on draws: exactly at the truth they pass as seldom as alpha says, stopped wherever they settle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest import ConfigError, DataError, Verdict
from robustest.decisions import DrawsRule, Terms

TERMS = Terms(scope="set", alpha=0.05, fail_alpha=0.05)


def verdict_of(rule: DrawsRule, values: NDArray[np.float64]) -> Verdict:
    settled = rule.settle({"held": values}, len(values))
    return Verdict.INCONCLUSIVE if settled is None else settled.verdict


@pytest.mark.parametrize("collapses", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("at_least", [True, False])
def test_a_mean_at_the_threshold_passes_and_fails_as_seldom_as_alpha(collapses: float, at_least: bool) -> None:
    random = np.random.default_rng(round(1000 * collapses))
    mean = 500 * (1 - collapses) + 20 * collapses
    rule = DrawsRule(threshold=mean, at_least=at_least, terms=TERMS, low=0, high=500)
    gates = [verdict_of(rule, np.where(random.random(100) < collapses, 20.0, 500.0)) for _ in range(400)]
    for verdict in (Verdict.PASSED, Verdict.FAILED):
        assert gates.count(verdict) <= 0.05 * 400 + 3 * (400 * 0.05 * 0.95) ** 0.5
    assert gates.count(Verdict.INCONCLUSIVE) > 300


def test_what_did_not_settle_is_not_decided_by_the_last_draw_either() -> None:
    random = np.random.default_rng(3)
    rule = DrawsRule(threshold=0.9, at_least=True, terms=TERMS)
    for _ in range(20):
        columns = {"held": random.random(100) < 0.9}
        settled = rule.settle(columns, 100)
        decided = rule.decide(columns, 100, settled).verdict
        assert decided is (Verdict.INCONCLUSIVE if settled is None else settled.verdict)


@pytest.mark.parametrize(("at_least", "good"), [(True, 480.0), (False, 20.0)])
def test_what_is_clear_settles_early_on_either_side(at_least: bool, good: float) -> None:
    rule = DrawsRule(threshold=250, at_least=at_least, terms=TERMS, low=0, high=500)
    for value, verdict in ((good, Verdict.PASSED), (500 - good, Verdict.FAILED)):
        columns = {"held": np.full(200, value)}
        settled = rule.settle(columns, 200)
        assert settled is not None
        assert settled.after < 20
        decision = rule.decide(columns, 200, settled)
        assert decision.verdict is verdict
        low, high = decision.interval
        assert low <= value <= high
        assert decision.at_alpha


def test_the_interval_has_the_mean_of_the_draws_in_their_own_unit() -> None:
    values = np.random.default_rng(1).uniform(-300, -100, 200)
    rule = DrawsRule(threshold=None, at_least=True, terms=TERMS, low=-1800, high=0)
    decision = rule.decide({"held": values}, 200, None)
    low, high = decision.interval
    assert low < -200 < high
    assert high - low < 400
    assert decision.estimate == pytest.approx(values.mean())
    assert decision.verdict is Verdict.INCONCLUSIVE


def test_shares_are_means_of_zeros_and_ones() -> None:
    held = np.arange(100) % 10 > 0
    rule = DrawsRule(threshold=0.5, at_least=True, terms=TERMS)
    decision = rule.decide({"held": held}, 100, rule.settle({"held": held}, 100))
    assert decision.verdict is Verdict.PASSED
    assert decision.estimate == 0.9


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_a_draw_outside_the_range_is_an_error_and_is_not_clipped(value: float) -> None:
    rule = DrawsRule(threshold=0.5, at_least=True, terms=TERMS)
    with pytest.raises(DataError, match="never clipped"):
        rule.settle({"held": np.array([1.0, value])}, 10)


@pytest.mark.parametrize(("threshold", "low", "high"), [(2.0, 0.0, 1.0), (0.5, 1.0, 0.0)])
def test_a_threshold_outside_the_range_and_an_empty_range_are_errors(threshold: float, low: float, high: float) -> None:
    with pytest.raises(ConfigError):
        DrawsRule(threshold=threshold, at_least=True, terms=TERMS, low=low, high=high)


GATES = 2000
STRICT = Terms(scope="set", alpha=0.01, fail_alpha=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("collapses", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("claim", ["share", "mean"])
def test_of_2000_gates_set_at_the_truth_no_more_than_alpha_pass(claim: str, collapses: float) -> None:
    random = np.random.default_rng(round(1000 * collapses))
    fallen = random.random((GATES, 200)) < collapses
    values, truth, high = ~fallen, 1 - collapses, 1.0
    if claim == "mean":
        values, truth, high = np.where(fallen, 20.0, 500.0), 500 - 480 * collapses, 500.0
    rule = DrawsRule(threshold=truth, at_least=True, terms=STRICT, low=0, high=high)
    passed = sum(verdict_of(rule, row) is Verdict.PASSED for row in values)
    assert passed <= 0.01 * GATES


def test_a_t_interval_passes_a_third_of_such_gates() -> None:
    values = np.where(np.random.default_rng(0).random((GATES, 100)) < 0.01, 20.0, 500.0)
    error = values.std(1, ddof=1) / 10
    assert np.mean(values.mean(1) - 2.365 * error > 500 - 4.8) == pytest.approx(0.36, abs=0.04)


def test_a_mean_well_above_what_is_claimed_settles_within_100_episodes() -> None:
    random = np.random.default_rng(5)
    rule = DrawsRule(threshold=450, at_least=True, terms=TERMS, low=0, high=500)
    after = []
    for _ in range(200):
        values = np.where(random.random(200) < 1 / 60, 20.0, 500.0)  # a mean of .984 of the range
        settled = rule.settle({"held": values}, 200)
        after.append(settled.after if settled is not None and settled.verdict is Verdict.PASSED else 10**9)
    assert np.mean(np.array(after) <= 200) >= 0.95
    assert np.median(after) <= 100
