"""Reliability over k runs: unbiased estimators, and the lowest rate of an item."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from robustest.decisions import Terms
from robustest.decisions.reliability import (
    chance_of_draws,
    chances_of_draws,
    decide_worst_item,
    item_rates,
    runs_needed,
)
from robustest.decisions.share import clopper_pearson
from robustest.results import Verdict

POPULATION = Terms(scope="population", alpha=0.01, fail_alpha=0.01)
SET = Terms(scope="set", alpha=0.01, fail_alpha=0.01)


@given(st.integers(1, 9), st.data())
def test_the_estimator_has_the_chance_as_its_mean(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    needed, p = data.draw(st.integers(1, k)), data.draw(st.integers(0, 100)) / 100
    successes = np.arange(n + 1)
    mean = binom.pmf(successes, n, p) @ chances_of_draws(successes, np.full(n + 1, n), k, needed)
    assert mean == pytest.approx(binom.sf(needed - 1, k, p), abs=1e-9)


def test_it_is_the_known_estimator_of_pass_hat_k_and_of_pass_at_k() -> None:
    for n, k in ((5, 3), (8, 1), (4, 4)):
        for c in range(n + 1):
            assert chance_of_draws(c, n, k, k) == math.comb(c, k) / math.comb(n, k)
            assert chance_of_draws(c, n, k, 1) == 1 - math.comb(n - c, k) / math.comb(n, k)


def test_it_counts_the_drawn_runs() -> None:
    draws = list(product([1, 1, 1, 0, 0], repeat=1))
    assert chance_of_draws(3, 5, 1, 1) == sum(one[0] for one in draws) / 5
    assert chance_of_draws(3, 5, 4, 3) == 2 / 5  # one of the two failures is left out
    assert chance_of_draws(3, 5, 4, 2) == 1


def scores(*counts: tuple[int, int]) -> list[np.ndarray]:
    return [(np.arange(n) < c).astype(float) for c, n in counts]


def test_every_item_has_to_show_it_alone() -> None:
    all_right = item_rates(scores(*[(10, 10)] * 50), 0.6, POPULATION, 0)
    assert decide_worst_item(all_right, 0.6, POPULATION).verdict is Verdict.PASSED
    assert decide_worst_item(all_right, 0.64, POPULATION).verdict is Verdict.INCONCLUSIVE
    one_short = item_rates(scores(*[(10, 10)] * 49, (9, 9)), 0.6, POPULATION, 0)
    found = decide_worst_item(one_short, 0.6, POPULATION)
    assert (found.verdict, found.interval[0]) == (Verdict.INCONCLUSIVE, clopper_pearson(9, 9, 0.01)[0])
    assert "not shown for 1 of 50 items" in found.rule


def test_an_item_fails_at_its_part_of_alpha() -> None:
    few, many = scores((1, 12), *[(12, 12)] * 2), scores((1, 12), *[(12, 12)] * 200)
    for found, failed in ((few, True), (many, False)):
        rates = item_rates(found, 0.6, POPULATION, 0)
        assert (decide_worst_item(rates, 0.6, POPULATION).verdict is Verdict.FAILED) is failed
        assert rates[0].high == clopper_pearson(1, 12, 0.01 / len(found))[1]


@pytest.mark.parametrize(("right", "verdict"), [(2, Verdict.FAILED), (3, Verdict.PASSED), (4, Verdict.PASSED)])
def test_of_a_set_the_counts_decide(right: int, verdict: Verdict) -> None:
    rates = item_rates(scores((right, 5), (5, 5)), 0.6, SET, 0)
    assert decide_worst_item(rates, 0.6, SET).verdict is verdict
    assert [one.below for one in rates] == [right < 3, False]


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.95])
def test_the_runs_needed_are_the_fewest(threshold: float) -> None:
    needed = runs_needed(threshold, 0.01)
    assert needed is not None
    assert clopper_pearson(needed, needed, 0.01)[0] >= threshold > clopper_pearson(needed - 1, needed - 1, 0.01)[0]
    assert runs_needed(1.0, 0.01) is None


def test_graded_scores_are_bounded_by_bets() -> None:
    graded = [np.full(60, 0.9), np.full(60, 0.8)]
    rates = item_rates(graded, 0.7, POPULATION, 0)
    assert decide_worst_item(rates, 0.7, POPULATION).verdict is Verdict.PASSED
    assert decide_worst_item(item_rates(graded, 0.85, SET, 0), 0.85, SET).verdict is Verdict.FAILED
    assert decide_worst_item(item_rates(graded, 0.8, SET, 0), 0.8, SET).verdict is Verdict.PASSED
    assert decide_worst_item(rates, None, POPULATION).verdict is Verdict.INCONCLUSIVE


def test_the_lowest_chance_is_missed_no_oftener_than_alpha() -> None:
    random, terms = np.random.default_rng(0), Terms(scope="population", alpha=0.1, fail_alpha=0.1)
    chance, passed, failed = np.array([0.7, 0.75, 0.8, 0.95]), 0, 0
    for _ in range(300):
        runs = [(random.random(25) < p).astype(float) for p in chance]
        rates = item_rates(runs, 0.7, terms, 0)
        passed += decide_worst_item(rates, 0.7001, terms).verdict is Verdict.PASSED
        failed += decide_worst_item(rates, 0.6999, terms).verdict is Verdict.FAILED
    assert max(passed, failed) <= 45  # 300 at .1, and three standard errors
