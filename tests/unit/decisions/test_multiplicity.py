"""Many claims in one run: the error of wrong early failures is shared out beforehand, and never more than there is."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from robustest import Verdict
from robustest.decisions import failure_level
from robustest.decisions.multiplicity import holm
from robustest.decisions.share import settle_share

sys.path.insert(0, str(Path(__file__).parent))
from orders import wrong_rate


@given(st.floats(5e-324, 0.4999), st.integers(1, 10**6))
def test_a_family_takes_alpha_together_and_a_claim_never_nothing(alpha: float, size: int) -> None:
    level = failure_level(alpha, size)
    assert level * size <= alpha * (1 + 1e-12) or level == pytest.approx(2.2250738585072014e-308)
    assert math.isfinite(math.log(level))


@pytest.mark.parametrize("false_share", [0.0, 0.3])
def test_two_hundred_claims_are_seldom_blocked_by_chance(false_share: float) -> None:
    """Exact p-values of true claims, uniform; false claims, scattered among them, are refuted whatever their share."""
    alpha, runs, claims = 0.05, 2000, 200
    generator = np.random.default_rng(0)
    p_values = generator.random((runs, claims))
    true = generator.random((runs, claims)) >= false_share
    blocked = ((p_values <= failure_level(alpha, claims)) & true).any(1).sum()
    uncorrected = ((p_values <= alpha) & true).any(1).sum()
    assert blocked <= binom.ppf(1 - 1e-4, runs, alpha)
    assert uncorrected > 0.99 * runs


def test_two_hundred_borderline_claims_judged_early_seldom_block_a_merge() -> None:
    """Each set holds exactly the share that is claimed, the worst that is true; the exact chance, over all orders."""
    claims, alpha = 200, 0.05
    one = wrong_rate(100, 75, passes=False, alpha=alpha, level=failure_level(alpha, claims))
    assert 0 < 1 - (1 - one) ** claims <= alpha


def test_false_claims_are_still_found_where_many_share_the_error() -> None:
    """A set 10 points below its threshold fails at a hundredth of the error too, and not by much later."""
    n, need = 1000, 500
    generator = np.random.default_rng(0)
    looked: dict[float, list[int]] = {0.01: [], failure_level(0.01, 100): []}
    for level, after in looked.items():
        for _ in range(50):
            held = generator.permutation(np.arange(n) < 400)
            settled = settle_share(held, n, need, pass_alpha=0.01, fail_alpha=level)
            assert settled is not None
            assert settled.verdict is Verdict.FAILED
            after.append(settled.after)
    alone, shared = (float(np.mean(after)) for after in looked.values())
    assert alone < shared < 2 * alone


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    assert holm([0.01, 0.5, 0.02, 0.9]) == pytest.approx([0.04, 1.0, 0.06, 1.0])
    assert holm([0.02, 0.015]) == pytest.approx([0.03, 0.03])  # the larger may not become the smaller
    assert holm([]) == []


def test_holm_keeps_the_family_wise_error() -> None:
    """Of 10 true null hypotheses, one is rejected at .1 in at most a tenth of 1000 families, but for noise."""
    draws = np.random.default_rng(0).uniform(size=(1000, 10))
    assert sum(min(holm(list(family))) <= 0.1 for family in draws) <= 100 + 3 * 9.5


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.4))
def test_holm_rejects_more_than_bonferroni_and_keeps_the_order(p: list[float], alpha: float) -> None:
    rejected = {n for n, value in enumerate(holm(p)) if value <= alpha}
    assert {n for n, value in enumerate(p) if value * len(p) <= alpha} <= rejected
    assert all(p[n] <= alpha for n in rejected)
    assert not rejected or max(p[n] for n in rejected) <= min(
        (p[n] for n in range(len(p)) if n not in rejected), default=1
    )


def test_holm_steps_down_where_bonferroni_stays() -> None:
    assert [p <= 0.01 for p in holm([0.5, 0.001, 0.0045, 0.009])] == [False, True, False, False], ".0045 > .01 / 3"
    assert max(holm([0.001, 0.0045, 0.009])) <= 0.01, "0.01 / 3, 0.01 / 2, 0.01"


def test_holm_errs_seldom_where_nothing_changed() -> None:
    """Exact: of m claims with d changed samples each, by chance one is called worse with probability <= alpha."""
    alpha, m, d = 0.05, 8, 20
    tail = [float(binom.sf(k - 1, d, 0.5)) for k in range(d + 1)]
    called = sum(float(binom.pmf(k, d, 0.5)) for k in range(d + 1) if tail[k] <= alpha / m)
    assert 1 - (1 - called) ** m <= alpha, "Holm's first step decides whether any is called"
    for p in tail:
        assert [q <= alpha for q in holm([p] + [1.0] * (m - 1))] == [m * p <= alpha] + [False] * (m - 1)
