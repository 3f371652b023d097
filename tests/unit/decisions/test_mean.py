"""Claims on means of bounded values: when they are settled, and how often wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from robustest.decisions import MeanRule, Terms
from robustest.results import Verdict

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)
N = 400


def _values(mean: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """N multiples of 1/8 in -1..1 in random order, whose mean is as near the given one as they allow."""
    values = np.clip(np.round(8 * generator.uniform(-1, 1, N)) / 8 + mean, -1, 1)
    values = np.round(values * 8) / 8
    gap = round((mean * N - values.sum()) * 8)
    while gap:
        place = int(generator.integers(N))
        step = np.sign(gap) / 8
        if -1 <= values[place] + step <= 1:
            values[place] += step
            gap -= int(np.sign(gap))
    return generator.permutation(values)


@pytest.mark.parametrize(("mean", "verdict"), [(0.25, Verdict.PASSED), (0.2525, Verdict.FAILED)])
def test_at_the_threshold_it_is_seldom_wrong(mean: float, verdict: Verdict) -> None:
    generator, claim, wrong = np.random.default_rng(0), MeanRule(threshold=0.25, terms=SET), 0
    for run in range(300):
        columns = {"value": _values(mean, generator)}
        settled = claim.settle(columns, N)
        wrong += settled is not None and settled.verdict is not verdict
        if run % 10 == 0:  # the same sum each time, in another order; the interval beside it takes long
            assert claim.decide(columns, N, settled).verdict is verdict, "every sample was looked at"
    assert wrong <= binom.ppf(0.999, 300, 0.05)


@pytest.mark.parametrize("mean", [-0.5, 0.0, 0.5])
def test_far_from_the_threshold_it_is_settled_soon_and_the_interval_holds_the_mean(mean: float) -> None:
    generator = np.random.default_rng(1)
    claim = MeanRule(threshold=0.25, terms=SET)
    missed = 0
    for _ in range(60):
        value = _values(mean, generator)
        settled = claim.settle({"value": value}, N)
        assert settled is not None
        assert settled.verdict is (Verdict.PASSED if mean < 0.25 else Verdict.FAILED)
        assert settled.after < 0.8 * N
        decision = claim.decide({"value": value[: settled.after]}, N, settled)
        assert (decision.verdict, decision.estimate) == (settled.verdict, None)
        low, high = decision.interval
        missed += not low <= value.mean() <= high
    assert missed <= binom.ppf(0.999, 60, 0.1)


def test_all_samples_give_the_exact_verdict_and_the_mean() -> None:
    value = np.array([0.125, 0.25, 0.375] * 10)
    for threshold, verdict in ((0.25, Verdict.PASSED), (0.2499, Verdict.FAILED)):
        decision = MeanRule(threshold=threshold, terms=SET).decide({"value": value}, 30, None)
        assert (decision.verdict, decision.estimate) == (verdict, 0.25)
        assert decision.rule == "certain: exact on this set"


def test_sign_and_scale_turn_back_what_is_shown() -> None:
    value = -np.array([0.25, 0.75] * 20)
    decision = MeanRule(threshold=-0.5, terms=SET, sign=-1).decide({"value": value}, 40, None)
    assert (decision.verdict, decision.estimate) == (Verdict.PASSED, 0.5)
    low, high = decision.interval
    assert 0 <= low < 0.5 < high <= 1
    scaled = MeanRule(threshold=0.5, terms=SET, scale=4.0).decide({"value": -value}, 40, None)
    assert scaled.estimate == 2.0


def test_a_population_is_judged_by_the_interval_and_waits() -> None:
    value = np.array([0.0, 0.5] * 200)
    claim = MeanRule(threshold=0.25, terms=POPULATION)
    assert claim.settle({"value": value[:300]}, 400) is None
    assert claim.decide({"value": value}, 400, None).verdict is Verdict.INCONCLUSIVE
    for threshold, verdict in ((0.4, Verdict.PASSED), (0.1, Verdict.FAILED)):
        decision = MeanRule(threshold=threshold, terms=POPULATION).decide({"value": value}, 400, None)
        assert decision.verdict is verdict


def test_a_spent_budget_is_inconclusive() -> None:
    decision = MeanRule(threshold=0.25, terms=SET).decide({"value": np.full(10, 0.25)}, 400, None)
    assert (decision.verdict, decision.estimate) == (Verdict.INCONCLUSIVE, None)
    assert decision.rule == "budget: 10 of 400 samples looked at"


def test_without_a_threshold_nothing_is_settled() -> None:
    claim = MeanRule(threshold=None, terms=SET)
    assert claim.settle({"value": np.zeros(400)}, 400) is None
    assert claim.decide({"value": np.zeros(400)}, 400, None).verdict is Verdict.INCONCLUSIVE
