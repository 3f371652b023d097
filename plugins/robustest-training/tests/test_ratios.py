"""Ratios of a few runs: how often the truth is missed, and what so few runs may settle."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest
from robustest_training.landscape import decide_ratio

from robustest import Verdict
from robustest.packs import Terms


@pytest.mark.parametrize("runs", [2, 3, 8])
def test_the_truth_is_missed_no_oftener_than_alpha(runs: int) -> None:
    random, alpha, sets, truth = np.random.default_rng(runs), 0.05, 500, 0.4
    found = [
        decide_ratio(
            truth * np.exp(random.normal(0, 0.5, runs)), truth, terms=Terms(scope="set", alpha=alpha, fail_alpha=alpha)
        )
        for _ in range(sets)
    ]
    allowed = sets * alpha + 2 * sqrt(sets * alpha * (1 - alpha))
    for verdict in (Verdict.PASSED, Verdict.FAILED):
        count = sum(one.verdict is verdict for one in found)
        assert sets * alpha / 3 < count <= allowed, "at the truth both are wrong, and each is as rare as it may be"


def test_the_estimate_is_the_geometric_mean_inside_its_interval() -> None:
    found = decide_ratio(np.array([0.1, 0.2, 0.4]), 0.9, terms=Terms(scope="set", alpha=0.05, fail_alpha=0.05))
    assert found.estimate == pytest.approx(0.2)
    low, high = found.interval
    assert low * high == pytest.approx(0.04)
    reach = 2.91999 * np.log([0.1, 0.2, 0.4]).std(ddof=1) / sqrt(3)  # Student's t of two degrees of freedom
    assert high == pytest.approx(0.2 * exp(reach), rel=1e-4)
    assert (found.verdict, found.at_alpha) == (Verdict.PASSED, True)


def test_runs_that_differ_much_settle_nothing() -> None:
    assert (
        decide_ratio(np.array([0.01, 0.02, 0.9]), 0.5, terms=Terms(scope="set", alpha=0.05, fail_alpha=0.05)).verdict
        is Verdict.INCONCLUSIVE
    )
    assert (
        decide_ratio(np.array([1.9, 2.0, 2.1]), 0.5, terms=Terms(scope="set", alpha=0.05, fail_alpha=0.05)).verdict
        is Verdict.FAILED
    )
    nothing = decide_ratio(np.array([1.0, 1.0]), None, terms=Terms(scope="set", alpha=0.05, fail_alpha=0.05))
    assert (nothing.verdict, nothing.rule) == (Verdict.INCONCLUSIVE, "no threshold given")
