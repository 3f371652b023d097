"""Verdicts on the same samples, judged twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from robustest import Verdict
from robustest.decisions import decide_drop, mcnemar
from robustest.decisions.drop import paired_change
from robustest.decisions.paired import paired_interval

pairs = st.integers(1, 300).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda lost: st.tuples(st.just(lost), st.integers(0, n - lost), st.just(n)))
)


def decide(lost: int, gained: int, n: int, max_drop: float | None, scope: str = "set") -> Verdict:
    return decide_drop(lost, gained, n, max_drop, scope=scope, alpha=0.01).verdict


@given(st.integers(0, 500), st.integers(0, 500))
def test_mcnemar_is_the_exact_sign_test_on_what_changed(lost: int, gained: int) -> None:
    want = binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(want, rel=1e-9, abs=1e-300)


def test_a_change_has_the_counts_the_interval_and_the_test_of_its_pairs() -> None:
    before = np.array([True] * 30 + [False] * 10)
    after = np.array([True] * 18 + [False] * 12 + [True] * 3 + [False] * 7)
    change = paired_change(before, after, alpha=0.01)
    assert (change.n, change.lost, change.gained) == (40, 12, 3)
    low, high = paired_interval(12, 3, 40, 0.01)  # of what is lost: the change is what is gained
    assert change.interval == (-high, -low)
    assert change.interval[0] < -9 / 40 < change.interval[1]
    assert change.p == mcnemar(12, 3)
    assert paired_change(after, before, alpha=0.01).interval == pytest.approx((low, high))


@pytest.mark.parametrize(("lost", "p"), [(0, 1.0), (1, 0.5), (7, 2**-7)])
def test_losses_without_gains_are_coins_that_all_fall_alike(lost: int, p: float) -> None:
    assert mcnemar(lost, 0) == pytest.approx(p)


@pytest.mark.parametrize(
    ("lost", "gained", "n", "max_drop", "verdict"),
    [
        (12, 2, 200, 0.05, Verdict.PASSED),  # exactly 5 points
        (13, 2, 200, 0.05, Verdict.FAILED),
        (0, 9, 200, 0.0, Verdict.PASSED),
        (58, 0, 200, 0.29, Verdict.PASSED),  # 0.29 * 200 is 57.99999999999999 in floating point
        (59, 0, 200, 0.29, Verdict.FAILED),
    ],
)
def test_a_drop_on_this_set_is_certain(lost: int, gained: int, n: int, max_drop: float, verdict: Verdict) -> None:
    assert decide(lost, gained, n, max_drop) is verdict


@pytest.mark.parametrize(
    ("lost", "gained", "max_drop", "verdict"),
    [
        (5, 5, 0.1, Verdict.PASSED),
        (300, 5, 0.1, Verdict.FAILED),
        (105, 5, 0.1, Verdict.INCONCLUSIVE),
        (0, 1000, 0.0, Verdict.PASSED),
    ],
)
def test_a_drop_in_the_population_needs_the_bound_beyond_it(
    lost: int, gained: int, max_drop: float, verdict: Verdict
) -> None:
    assert decide(lost, gained, 1000, max_drop, "population") is verdict


@given(pairs)
def test_estimate_and_interval_belong_together(pair: tuple[int, int, int]) -> None:
    lost, gained, n = pair
    decision = decide_drop(lost, gained, n, None, scope="set", alpha=0.01)
    low, high = decision.interval
    assert decision.estimate == (lost - gained) / n
    assert -1 <= low <= decision.estimate <= high <= 1
    assert decision.verdict is Verdict.INCONCLUSIVE
    mirrored = decide_drop(gained, lost, n, None, scope="set", alpha=0.01).interval
    assert mirrored == pytest.approx((-high, -low))


@pytest.mark.thinned
@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.3, 0.05), (0.02, 0.0), (0.5, 0.5), (0.0, 0.4)])
@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_neither_end_errs_more_often_than_alpha(shares: tuple[float, float], alpha: float) -> None:
    """Summed over all outcomes of 25 pairs that are lost and gained with these chances."""
    n, (p_lost, p_gained) = 25, shares
    law = multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained])
    too_high = too_low = total = 0.0
    for lost in range(n + 1):
        for gained in range(n - lost + 1):
            chance = float(law.pmf([lost, gained, n - lost - gained]))
            low, high = decide_drop(lost, gained, n, None, scope="set", alpha=alpha).interval
            total += chance
            too_high += chance * (low > p_lost - p_gained)
            too_low += chance * (high < p_lost - p_gained)
    assert math.isclose(total, 1, rel_tol=1e-9)
    assert too_high <= alpha
    assert too_low <= alpha
