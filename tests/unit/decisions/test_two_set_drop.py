"""Differences of shares between two sets of samples."""

from __future__ import annotations

from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustest import Verdict
from robustest.decisions import Terms
from robustest.decisions import two_set_drop as two_set_drop_module
from robustest.decisions.share import set_share_interval
from robustest.decisions.two_set_drop import TwoSetDropRule, decide_two_set_drop, two_set_drop

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)


@pytest.mark.parametrize(
    ("most", "verdict"), [(0.1, Verdict.PASSED), (0.099, Verdict.FAILED), (None, Verdict.INCONCLUSIVE)]
)
def test_a_fall_on_two_sets_is_exact(most: float | None, verdict: Verdict) -> None:
    """.9 - .8 is .1, whatever floating-point numbers make of it."""
    fall = two_set_drop(9, 10, 8, 10)
    assert fall == two_set_drop(np.array([4, 5]), np.array([5, 5]), np.array([8]), np.array([10])) == Fraction(1, 10)
    decision = decide_two_set_drop(fall, most, interval=(-0.3, 0.5), terms=SET)
    assert (decision.verdict, decision.estimate, decision.interval) == (verdict, 0.1, (-0.3, 0.5))


def test_a_fall_between_populations_needs_the_interval() -> None:
    def verdict(most: float) -> Verdict:
        return decide_two_set_drop(Fraction(1, 10), most, interval=(0.05, 0.15), terms=POPULATION).verdict

    assert verdict(0.15) is Verdict.PASSED
    assert verdict(0.1) is Verdict.INCONCLUSIVE
    assert verdict(0.04) is Verdict.FAILED


def claim_of(threshold: float | None, **changes: Any) -> TwoSetDropRule:
    return TwoSetDropRule(
        **{"threshold": threshold, "first": 90, "n_first": 100, "whole": True, "terms": SET} | changes
    )


@given(st.integers(0, 80), st.integers(1, 80), st.sampled_from([0.0, 0.05, 0.1, 0.3]))
def test_a_stream_settles_as_the_whole_set_is(held: int, n: int, threshold: float) -> None:
    outcomes = np.arange(n) < min(held, n)
    # An order as rare as this one, of 80 over 40 or fewer, would settle a claim wrongly at any alpha above 1e-23.
    claim = claim_of(threshold, terms=Terms(scope="set", alpha=1e-30, fail_alpha=1e-30))
    settled = claim.settle({"held": outcomes}, n)
    # The interval takes 80 ms, and no part in the verdict on a set.
    with patch.object(two_set_drop_module, "share_difference_interval", lambda *_: (-1.0, 1.0)):
        whole = claim.decide({"held": outcomes}, n, None)
    assert settled is not None
    assert settled.verdict is whole.verdict
    assert whole.estimate == float(Fraction(90, 100) - Fraction(min(held, n), n))
    doomed = claim.doomed(n - min(held, n), n)
    assert doomed == (whole.verdict is Verdict.FAILED)


def test_an_early_fall_has_an_interval_and_no_estimate() -> None:
    """100 of 1,000 target samples, half of them right: .9 cannot have fallen by .1 at most."""
    outcomes = np.random.default_rng(0).permutation(np.arange(100) < 50)
    claim = claim_of(0.1)
    settled = claim.settle({"held": outcomes}, 1000)
    assert settled is not None
    decision = claim.decide({"held": outcomes}, 1000, settled)
    assert (decision.verdict, decision.estimate) == (Verdict.FAILED, None)
    assert decision.interval[0] > 0.1
    low, high = set_share_interval(50, 50, 1000, 0.05)
    assert decision.interval[0] >= 0.9 - high
    assert decision.interval[1] <= 0.9 - low + 1e-12


def test_populations_and_half_known_sources_wait() -> None:
    outcomes = np.zeros(100, dtype=bool)
    for claim in (claim_of(0.1, terms=POPULATION), claim_of(0.1, whole=False), claim_of(None)):
        assert claim.settle({"held": outcomes}, 1000) is None
        assert not claim.doomed(1000, 1000)
    assert claim_of(0.1, terms=POPULATION).decide({"held": outcomes}, 1000, None).verdict is Verdict.FAILED
    half = claim_of(0.1, whole=False).decide({"held": outcomes}, 100, None)
    assert (half.verdict, half.estimate) == (Verdict.INCONCLUSIVE, None)
    assert "in part" in half.rule
