"""Many claims in one run: the error of false failures is shared out, handed on, and never more than there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from robustest import Verdict
from robustest.verdicts import FailureBudget
from robustest.verdicts.multiplicity import holm
from robustest.verdicts.sequential import settle

runs = st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=12)
"""For each test, which of its claims are refuted."""


@given(runs, st.integers(0, 5))
def test_what_is_spent_never_exceeds_what_there_is_on_any_path(tests: list[list[bool]], others: int) -> None:
    """A refuted claim spends nothing, as its share is handed on; the others spend theirs."""
    budget = FailureBudget(tests=len(tests) + others)
    spent, ever = 0.0, 0.0
    for claims in tests:
        for number, refuted in enumerate(claims, 1):
            fresh = FailureBudget(tests=budget.tests).share(number)
            share = budget.share(number)
            assert share == pytest.approx(fresh + budget.bonus)
            budget.spent(share, refuted=refuted)
            ever += fresh
            spent += 0.0 if refuted else share
            assert spent + budget.bonus == pytest.approx(ever)
    assert spent + budget.bonus <= len(tests) / budget.tests + 1e-12


@pytest.mark.parametrize("tests", [1, 7, 200])
def test_a_tests_claims_share_what_the_test_has_however_many_they_are(tests: int) -> None:
    budget = FailureBudget(tests=tests)
    shares = []
    for number in range(1, 5001):
        shares.append(budget.share(number))
        budget.spent(shares[-1], refuted=False)
    assert sum(shares) < 1 / tests
    assert sum(shares) > 0.999 / tests
    assert shares == sorted(shares, reverse=True)


def test_a_refuted_claim_hands_its_share_on_to_the_next_and_that_one_to_the_next_but_one() -> None:
    budget = FailureBudget(tests=10)
    first = budget.share(1)
    budget.spent(first, refuted=True)
    second = budget.share(1)
    assert second == pytest.approx(2 * first)
    budget.spent(second, refuted=True)
    third = budget.share(1)
    assert third == pytest.approx(3 * first)
    budget.spent(third, refuted=False)
    assert budget.share(1) == first


def test_no_claim_takes_more_than_all_there_is() -> None:
    budget = FailureBudget(tests=1, bonus=0.9)
    assert budget.share(1) == 1.0


@pytest.mark.parametrize("false_share", [0.0, 0.3])
@pytest.mark.parametrize("claims", [1, 3])
def test_two_hundred_tests_are_seldom_blocked_by_chance(false_share: float, claims: int) -> None:
    """Exact p-values of true claims, uniform; false claims, scattered among them, are refuted whatever their share."""
    alpha, runs, tests = 0.05, 2000, 200
    generator = np.random.default_rng(0)
    blocked = uncorrected = 0
    for _ in range(runs):
        p_values = generator.random((tests, claims))
        false = generator.random((tests, claims)) < false_share
        uncorrected += bool((p_values[~false] <= alpha).any())
        budget, wrong = FailureBudget(tests=tests), False
        for row, lies in zip(p_values.tolist(), false.tolist(), strict=True):
            for number, (p, lie) in enumerate(zip(row, lies, strict=True), 1):
                share = budget.share(number)
                refuted = lie or p <= alpha * share
                wrong |= refuted and not lie
                budget.spent(share, refuted=refuted)
        blocked += wrong
    assert blocked <= binom.ppf(1 - 1e-4, runs, alpha)
    assert uncorrected > 0.99 * runs


def test_two_hundred_borderline_claims_judged_early_seldom_block_a_merge() -> None:
    """Each set holds exactly the share that is claimed of it, the worst that is true; read to the verdict."""
    n, need, tests, runs, alpha = 100, 75, 200, 40, 0.05
    outcomes = np.arange(n) < need
    generator = np.random.default_rng(0)
    blocked = 0
    for _ in range(runs):
        budget, wrong = FailureBudget(tests=tests), False
        for _ in range(tests):
            share = budget.share(1)
            settled = settle(generator.permutation(outcomes), n, need, pass_alpha=alpha, fail_alpha=alpha * share)
            assert settled is not None
            refuted = settled.verdict is Verdict.FAILED
            budget.spent(share, refuted=refuted)
            wrong |= refuted
        blocked += wrong
    assert blocked <= binom.ppf(1 - 1e-4, runs, alpha)


def test_false_claims_are_still_found_where_there_are_many() -> None:
    """A set 10 points below its threshold fails at a two-hundredth of the error too, and not by much later."""
    n, need = 1000, 500
    generator = np.random.default_rng(0)
    looked: dict[float, list[int]] = {1.0: [], FailureBudget(tests=200).share(1): []}
    for share, after in looked.items():
        for _ in range(50):
            held = generator.permutation(np.arange(n) < 400)
            settled = settle(held, n, need, pass_alpha=0.01, fail_alpha=0.01 * share)
            assert settled is not None
            assert settled.verdict is Verdict.FAILED
            after.append(settled.after)
    alone, shared = (float(np.mean(after)) for after in looked.values())
    assert alone < shared < 0.6 * n


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    assert holm([0.01, 0.5, 0.02, 0.9]) == pytest.approx([0.04, 1.0, 0.06, 1.0])
    assert holm([0.02, 0.015]) == pytest.approx([0.03, 0.03])  # the larger may not become the smaller
    assert holm([]) == []


def test_holm_keeps_the_family_wise_error() -> None:
    """Of 10 true null hypotheses, one is rejected at .1 in at most a tenth of 1000 families, but for noise."""
    draws = np.random.default_rng(0).uniform(size=(1000, 10))
    assert sum(min(holm(list(family))) <= 0.1 for family in draws) <= 100 + 3 * 9.5
