"""Verdicts on a share of which every outcome is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from robustest import Verdict
from robustest.decisions import clopper_pearson, decide_share

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
alphas = st.floats(1e-6, 0.4)


def decide(events: int, n: int, threshold: float | None, **changes: object) -> Verdict:
    options = {"at_least": True, "scope": "set", "alpha": 0.01, **changes}
    return decide_share(events, n, threshold, **options).verdict  # type: ignore[arg-type]


@given(counts, alphas)
def test_the_interval_is_scipys_exact_one(count: tuple[int, int], alpha: float) -> None:
    events, n = count
    want = binomtest(events, n).proportion_ci(confidence_level=1 - 2 * alpha, method="exact")
    assert clopper_pearson(events, n, alpha) == pytest.approx((want.low, want.high), rel=1e-6, abs=1e-9)


@given(counts, alphas)
def test_the_interval_holds_the_estimate_and_shrinks_with_alpha(count: tuple[int, int], alpha: float) -> None:
    events, n = count
    low, high = clopper_pearson(events, n, alpha)
    assert 0 <= low <= events / n <= high <= 1
    wider_low, wider_high = clopper_pearson(events, n, alpha / 2)
    assert wider_low <= low
    assert high <= wider_high


@pytest.mark.parametrize("n", [1, 7, 60])
@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_neither_end_errs_more_often_than_alpha(n: int, alpha: float) -> None:
    """Summed over all outcomes, for shares all over 0..1: no simulation needed."""
    ends = np.array([clopper_pearson(k, n, alpha) for k in range(n + 1)])
    for share in np.linspace(0.001, 0.999, 101):
        chance = binom.pmf(np.arange(n + 1), n, share)
        assert chance[ends[:, 0] > share].sum() <= alpha + 1e-12
        assert chance[ends[:, 1] < share].sum() <= alpha + 1e-12


@pytest.mark.parametrize(
    ("events", "n", "threshold", "verdict"),
    [
        (110, 200, 0.55, Verdict.PASSED),
        (109, 200, 0.55, Verdict.FAILED),
        (0, 10, 0.0, Verdict.PASSED),
        (10, 10, 1.0, Verdict.PASSED),
        (9, 10, 1.0, Verdict.FAILED),
    ],
)
def test_a_claim_about_this_set_is_certain(events: int, n: int, threshold: float, verdict: Verdict) -> None:
    assert decide(events, n, threshold) is verdict


@pytest.mark.parametrize(
    ("events", "threshold", "verdict"),
    [(58, 0.29, Verdict.PASSED), (59, 0.29, Verdict.FAILED), (0, 0.0, Verdict.PASSED), (1, 0.0, Verdict.FAILED)],
)
def test_at_most_is_the_other_way_round(events: int, threshold: float, verdict: Verdict) -> None:
    assert decide(events, 200, threshold, at_least=False) is verdict


@pytest.mark.parametrize(
    ("events", "at_least", "verdict"),
    [
        (95, 0.8, Verdict.PASSED),
        (95, 0.95, Verdict.INCONCLUSIVE),
        (97, 0.99, Verdict.INCONCLUSIVE),
        (95, 0.99, Verdict.FAILED),  # at a share of 0.99, 95 or fewer come once in 290 samples of 100
        (50, 0.8, Verdict.FAILED),
        (100, 1.0, Verdict.INCONCLUSIVE),  # no finite sample shows that a share is 1
        (0, 0.0, Verdict.PASSED),  # every share is at least 0
    ],
)
def test_a_claim_about_the_population_needs_the_bound_beyond_it(events: int, at_least: float, verdict: Verdict) -> None:
    assert decide(events, 100, at_least, scope="population") is verdict


@given(counts, st.floats(0, 1), alphas)
def test_population_verdicts_are_those_of_the_exact_tests(
    count: tuple[int, int], threshold: float, alpha: float
) -> None:
    """Passed where the exact test rejects "less than" at alpha, failed where it rejects "more"; ties aside."""
    events, n = count
    above = binomtest(events, n, threshold, alternative="greater").pvalue
    below = binomtest(events, n, threshold, alternative="less").pvalue
    if min(abs(above - alpha), abs(below - alpha)) < 1e-9 or threshold in (0, 1):
        return
    want = Verdict.PASSED if above < alpha else Verdict.FAILED if below < alpha else Verdict.INCONCLUSIVE
    assert decide(events, n, threshold, scope="population", alpha=alpha) is want


@given(counts, st.floats(0, 1), alphas)
def test_at_most_of_events_is_at_least_of_the_rest(count: tuple[int, int], threshold: float, alpha: float) -> None:
    events, n = count
    first = decide(events, n, threshold, scope="population", at_least=False, alpha=alpha)
    low, high = clopper_pearson(events, n, alpha)
    want = Verdict.PASSED if high <= threshold else Verdict.FAILED if low > threshold else Verdict.INCONCLUSIVE
    assert first is want


@given(counts, st.floats(0, 1), st.floats(1e-6, 0.1))
def test_a_failure_may_need_more_than_a_pass(count: tuple[int, int], threshold: float, fail_alpha: float) -> None:
    """It is judged by an interval of its own, which is not the one that is shown."""
    events, n = count
    decision = decide_share(events, n, threshold, at_least=True, scope="population", alpha=0.1, fail_alpha=fail_alpha)
    assert decision.interval == clopper_pearson(events, n, 0.1)
    low, high = clopper_pearson(events, n, 0.1)[0], clopper_pearson(events, n, fail_alpha)[1]
    want = Verdict.PASSED if low >= threshold else Verdict.FAILED if high < threshold else Verdict.INCONCLUSIVE
    assert decision.verdict is want


@pytest.mark.parametrize("scope", ["set", "population"])
def test_nothing_claimed_is_nothing_decided(scope: str) -> None:
    decision = decide_share(5, 10, None, at_least=True, scope=scope, alpha=0.01)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.rule == "no threshold given"
    assert decision.estimate == 0.5
    assert decision.interval == clopper_pearson(5, 10, 0.01)


def test_the_rule_says_what_was_claimed_and_how_sure() -> None:
    assert "this set" in decide_share(5, 10, 0.5, at_least=True, scope="set", alpha=0.01).rule
    rule = decide_share(5, 10, 0.5, at_least=True, scope="population", alpha=0.02).rule
    assert "population" in rule
    assert "0.02" in rule
