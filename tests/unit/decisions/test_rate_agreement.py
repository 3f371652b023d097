"""Agreement among the samples that count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustest import Verdict
from robustest.decisions import Terms
from robustest.decisions.rate import AgreementRule

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)


def columns(counts: int, agreed: int, n: int, seed: int = 0) -> dict[str, Any]:
    """n samples in random order, of which some count, and of these some are agreed on."""
    order = np.random.default_rng(seed).permutation(n)
    return {"counts": (np.arange(n) < counts)[order], "agreed": (np.arange(n) < agreed)[order]}


@pytest.mark.parametrize(("agreed", "verdict"), [(9, Verdict.PASSED), (8, Verdict.FAILED)])
def test_a_whole_set_is_exact(agreed: int, verdict: Verdict) -> None:
    decision = AgreementRule(threshold=0.9, terms=SET).decide(columns(10, agreed, 100), 100, None)
    assert (decision.verdict, decision.estimate) == (verdict, agreed / 10)


def test_agreement_outside_of_what_counts_is_not_counted() -> None:
    seen = {"counts": np.array([True, False, False]), "agreed": np.array([False, True, True])}
    assert AgreementRule(threshold=0.5, terms=SET).decide(seen, 3, None).estimate == 0.0


def test_where_nothing_counts_nothing_is_said() -> None:
    decision = AgreementRule(threshold=0.0, terms=SET).decide(columns(0, 0, 50), 50, None)
    assert (decision.verdict, decision.estimate, decision.interval) == (Verdict.INCONCLUSIVE, None, (0.0, 1.0))


@pytest.mark.parametrize(("agreed", "verdict"), [(380, Verdict.PASSED), (100, Verdict.FAILED)])
def test_an_early_verdict_is_that_of_all(agreed: int, verdict: Verdict) -> None:
    claim, n = AgreementRule(threshold=0.7, terms=SET), 1000
    whole = columns(400, agreed, n)
    for after in range(64, n, 64):
        seen = {name: column[:after] for name, column in whole.items()}
        settled = claim.settle(seen, n)
        if settled is not None:
            break
    assert settled is not None
    assert after < n - 64
    decision = claim.decide(seen, n, settled)
    assert (decision.verdict, decision.estimate) == (verdict, None)
    low, high = decision.interval
    assert low <= agreed / 400 <= high
    assert (low > 0.7) if verdict is Verdict.PASSED else (high < 0.7)


def test_early_verdicts_are_seldom_wrong() -> None:
    """At the very threshold, one below: passing is wrong, and happens in at most a share alpha of orders."""
    claim, n, wrong = AgreementRule(threshold=0.7, terms=SET), 300, 0
    for seed in range(200):
        settled = claim.settle(columns(100, 69, n, seed), n)
        wrong += settled is not None and settled.verdict is Verdict.PASSED
    assert wrong <= 0.05 * 200 + 6


def test_a_population_is_judged_by_its_bound() -> None:
    claim = AgreementRule(threshold=0.9, terms=POPULATION)
    assert claim.settle(columns(100, 100, 100), 100) is None
    assert claim.decide(columns(100, 92, 200), 200, None).verdict is Verdict.INCONCLUSIVE
    assert claim.decide(columns(100, 100, 200), 200, None).verdict is Verdict.PASSED
    assert claim.decide(columns(100, 60, 200), 200, None).verdict is Verdict.FAILED
    assert claim.decide(columns(100, 60, 150), 200, None).verdict is Verdict.FAILED  # a part will do


def test_without_a_threshold_there_is_a_value_and_no_verdict() -> None:
    claim = AgreementRule(threshold=None, terms=SET)
    assert claim.settle(columns(10, 5, 20), 20) is None
    decision = claim.decide(columns(10, 5, 20), 20, None)
    assert (decision.verdict, decision.estimate) == (Verdict.INCONCLUSIVE, 0.5)
    assert not claim.doomed(20, 20)


def test_nothing_is_settled_before_enough_samples_count() -> None:
    seen = columns(64, 64, 64)
    assert AgreementRule(threshold=0.5, terms=SET, least=64).settle(seen, 5000) is not None
    assert AgreementRule(threshold=0.5, terms=SET, least=65).settle(seen, 5000) is None
