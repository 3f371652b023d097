"""Comparisons of items that were drawn together: A/A stays at alpha, and a loss is shown by clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest.claims.outcomes import measure_rate
from robustest.data import Outcomes
from robustest.decisions import BaselineRule, ScoreBaselineRule, ShareRule, Terms
from robustest.decisions.clusters import CLUSTER
from robustest.decisions.mean import ScoreRule
from robustest.decisions.rule import Decision
from robustest.results import Verdict

PASSAGES, QUESTIONS = 60, 10
TERMS = Terms(scope="population", alpha=0.01, fail_alpha=0.01)


def recorded(right: NDArray[Any], cluster: str | None = "passage") -> Outcomes:
    """Questions (passages, questions) on passages."""
    rows = [
        {"item": f"p{p:02}/q{q:02}", "score": float(one), "passage": p}
        for p, of in enumerate(right)
        for q, one in enumerate(of)
    ]
    return Outcomes.of(rows, cluster=cluster)


def earlier(right: NDArray[Any], cluster: str | None = "passage") -> Outcomes:
    """The same of another system: a file of its own."""
    return replace(recorded(right, cluster), source="before.csv")


def read_once(random: np.random.Generator, mean: float = 0.8) -> NDArray[np.bool_]:
    """A system that reads a text once for all questions on it: most are right or wrong together."""
    share = random.beta(mean * 0.6, (1 - mean) * 0.6, (PASSAGES, 1))
    return random.random((PASSAGES, QUESTIONS)) < share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draws", "least", "most"),  # more reds than `most` have a chance below .002 at an error of .01
    [(20, 1, 2), pytest.param(80, 6, 4, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("scores", [False, True])
def test_two_runs_of_one_system_are_seldom_called_different(*, scores: bool, draws: int, least: int, most: int) -> None:
    random, red = np.random.default_rng(5), {"passage": 0, None: 0}
    for _ in range(draws):
        pair = [read_once(random) * (0.9 if scores else 1) for _ in range(2)]
        for cluster in red:
            now, before = (recorded(one, cluster) for one in pair)
            found = measure_rate(now, no_worse_than=before, tolerance=0.01)
            red[cluster] += found.verdict is Verdict.FAILED
    assert red[None] >= least, "else the case is none"
    assert red["passage"] <= most


def test_a_small_fall_is_shown_by_passages_or_not_at_all() -> None:
    before = np.ones((PASSAGES, QUESTIONS))
    same = measure_rate(recorded(before), no_worse_than=earlier(before), tolerance=0.05)
    # Of 60 passages 1 in 13 may be lost as a whole; 600 questions would show a tolerance of .01.
    assert same.verdict is Verdict.INCONCLUSIVE
    assert same.details["clusters"] == "60 clusters of 10 units"
    assert measure_rate(recorded(before, None), no_worse_than=earlier(before, None), tolerance=0.05).verdict is (
        Verdict.PASSED
    )
    assert measure_rate(recorded(before), no_worse_than=earlier(before), tolerance=0.2).verdict is Verdict.PASSED
    lost = before.copy()
    lost[:30] = 0
    found = measure_rate(recorded(lost), no_worse_than=earlier(before), tolerance=0.2)
    assert found.verdict is Verdict.FAILED
    assert "by 60 clusters of 10 units" in found.rule
    of_set = measure_rate(recorded(before), no_worse_than=earlier(before), tolerance=0, scope="set")
    assert of_set.verdict is Verdict.PASSED
    assert "clusters" not in of_set.details


def test_a_threshold_and_a_comparison_count_clusters_both() -> None:
    before = np.ones((PASSAGES, QUESTIONS))
    how: dict[str, Any] = {"no_worse_than": earlier(before), "at_least": 0.8}
    assert measure_rate(recorded(before), tolerance=0.2, **how).verdict is Verdict.PASSED
    assert measure_rate(recorded(before), tolerance=0.05, **how).verdict is Verdict.INCONCLUSIVE


def test_missing_items_are_one_cluster() -> None:
    # Of 60 passages the last ten were not asked: as many clusters of their own would show that the fall is too large.
    before = np.ones((PASSAGES, QUESTIONS))
    rows = recorded(before)
    now = rows.rows(np.arange(500))
    found = measure_rate(now, no_worse_than=rows, tolerance=0.1)
    assert found.details["clusters"] == "51 clusters of 10..100 units"
    assert found.verdict is Verdict.INCONCLUSIVE


def decided(clusters: NDArray[np.int64], tolerance: float, *, scores: bool, groups: bool = False) -> Decision:
    held = np.ones(1000, dtype=bool)
    columns = {"held": held, "score": held.astype(float), "id": np.arange(1000), CLUSTER: clusters}
    how: dict[str, Any] = {"has_threshold": False, "tolerance": tolerance, "terms": TERMS}
    rule: BaselineRule | ScoreBaselineRule
    if scores:
        rule = ScoreBaselineRule(other=ScoreRule(threshold=None, terms=TERMS), before=columns["score"], seed=0, **how)
    else:
        parts = (("first", np.arange(500)), ("last", np.arange(500, 1000))) if groups else ()
        other = ShareRule(threshold=None, at_least=True, terms=TERMS)
        rule = BaselineRule(other=other, before=held, groups=parts, **how)
    return rule.decide(columns, 1000, None)


@pytest.mark.parametrize(("scores", "groups"), [(False, False), (False, True), (True, False)])
def test_few_clusters_pass_no_comparison(scores: bool, groups: bool) -> None:
    for few in (1, 2):
        found = decided(np.arange(1000) % few, 0.98, scores=scores, groups=groups)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.clusters.startswith(f"{few} cluster")
    assert decided(np.arange(1000) % 20, 0.1, scores=scores, groups=groups).verdict is Verdict.INCONCLUSIVE
    assert decided(np.arange(1000) % 200, 0.1, scores=scores, groups=groups).verdict is Verdict.PASSED
    assert decided(np.arange(1000), 0.02, scores=scores, groups=groups).verdict is Verdict.PASSED, "single units"
