"""Intervals of streams that were read on after their verdict: whole, and on the side of the verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustest import Verdict
from robustest.decisions import BaselineRule, DropRule, MeanRule, Rule, ShareRule, Terms
from robustest.decisions.groups import WorstGroupRule
from robustest.decisions.rate import AgreementRule, RateRule
from robustest.decisions.two_set_drop import TwoSetDropRule

TERMS = Terms(scope="set", alpha=0.05, fail_alpha=0.01)
N = 300
Columns = dict[str, NDArray[Any]]


def claims(threshold: float) -> dict[str, Rule | RateRule]:
    """One claim of each kind that may stop early, whose columns `columns_of` has."""
    half = np.arange(N) % 2 == 0
    ids = np.arange(N)
    share = ShareRule(threshold=threshold, at_least=True, terms=TERMS)
    return {
        "share": share,
        "share that does not hold": ShareRule(threshold=threshold, at_least=False, terms=TERMS),
        "beside a baseline": BaselineRule(
            other=share, has_threshold=True, before=np.ones(N, dtype=bool), tolerance=0.0, terms=TERMS
        ),
        "drop": DropRule(threshold=threshold, terms=TERMS),
        "mean": MeanRule(threshold=threshold, terms=TERMS),
        "mean at least": MeanRule(threshold=-threshold, terms=TERMS, sign=-1, column="negated"),
        "rate": RateRule(threshold=threshold, terms=TERMS),
        "agreement": AgreementRule(threshold=threshold, terms=TERMS),
        "fall": TwoSetDropRule(threshold=threshold, first=90, n_first=100, whole=True, terms=TERMS),
        "worst group": WorstGroupRule(
            threshold=threshold,
            names=("a", "b"),
            members=(ids[half], ids[~half]),
            disjoint=True,
            terms=TERMS,
        ),
    }


def columns_of(held: NDArray[np.bool_]) -> Columns:
    fell = (~held).astype(np.int64)
    return {
        "held": held,
        "clean": np.ones(len(held), dtype=bool),
        "id": np.arange(len(held)),
        "value": fell.astype(float),
        "negated": -held.astype(float),
        "event": fell,
        "counts": np.ones(len(held), dtype=bool),
        "agreed": held,
    }


LOWER = {"share", "beside a baseline", "mean at least", "agreement", "worst group"}
"""Kinds that claim at least the threshold."""

phases = st.lists(st.tuples(st.integers(1, 120), st.floats(0, 1)), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", list(claims(0.5)))
@settings(deadline=None, max_examples=60)
@given(data=st.data(), parts=phases, threshold=st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.7, 0.9]))
def test_an_interval_is_one_and_speaks_for_its_verdict(
    kind: str, data: st.DataObject, parts: list[tuple[int, float]], threshold: float
) -> None:
    """Whatever the order: chance may bring the contrary of what came first, and some draw will."""
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    held = np.concatenate([random.random(length) < share for length, share in parts])[: N - 1]
    claim = claims(threshold)[kind]
    settled = None
    for read in range(20, len(held) + 20, 20):
        columns = columns_of(held[:read])
        settled = claim.settle(columns, N)
        if settled is not None:
            break
    decision = claim.decide(columns, N, settled)
    low, high = decision.interval
    assert low <= high
    if decision.verdict is Verdict.INCONCLUSIVE:
        return
    assert settled is not None
    kept = decision.verdict is Verdict.PASSED
    if (kind in LOWER) == kept:
        assert low >= threshold - 1e-4
    else:
        assert high <= threshold + 1e-4


@pytest.mark.parametrize("kind", list(claims(0.5)))
def test_what_comes_after_a_verdict_may_contradict_it_and_leaves_it_standing(kind: str) -> None:
    """Settled by what came first, and read on to the end of a chunk that says the contrary."""
    for first in (True, False):
        held = np.concatenate([np.full(60, first), np.full(200, not first)])
        claim = claims(0.3 if kind in LOWER else 0.6)[kind]
        settled = claim.settle(columns_of(held[:60]), N)
        if settled is None:
            assert kind == "beside a baseline", "which fails early alone"
            assert first
            continue
        low, high = claim.decide(columns_of(held), N, settled).interval
        assert low <= high
        if (settled.verdict is Verdict.PASSED) == (kind in LOWER):
            assert low >= (0.3 if kind in LOWER else 0.6)
        else:
            assert high <= (0.3 if kind in LOWER else 0.6)
