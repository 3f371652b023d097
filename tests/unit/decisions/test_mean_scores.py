"""Mean scores, settled early; mean IoU, which is no mean, and settled only where it is certain."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest.decisions import Terms
from robustest.decisions.mean import ScoreRule
from robustest.decisions.mean_iou import MeanIoURule, bootstrap_interval, mean_iou
from robustest.results import Verdict

ALPHA = 0.05
TERMS = Terms(scope="set", alpha=ALPHA, fail_alpha=ALPHA)


def shuffled(mean: float, seed: int, n: int = 600) -> NDArray[np.float64]:
    """Scores of exactly this mean, in random order."""
    random = np.random.default_rng(seed)
    scores = random.beta(6, 2, n)
    scores = np.clip(scores + mean - scores.mean(), 0, 1)
    while abs(gap := mean - scores.mean()) > 1e-12:
        scores = np.clip(scores + gap, 0, 1)
    return random.permutation(scores)


@pytest.mark.parametrize(("side", "wrong"), [(-0.01, Verdict.PASSED), (0.01, Verdict.FAILED)])
def test_on_the_wrong_side_of_a_threshold_few_claims_are_settled_wrongly(side: float, wrong: Verdict) -> None:
    rule = ScoreRule(threshold=0.7, terms=TERMS)
    settled = [rule.settle({"score": shuffled(0.7 + side, seed)}, 600) for seed in range(200)]
    assert sum(one is not None and one.verdict is wrong for one in settled) <= 200 * ALPHA


def test_far_from_the_threshold_a_part_is_enough() -> None:
    scores = shuffled(0.8, 0)
    settled = ScoreRule(threshold=0.7, terms=TERMS).settle({"score": scores}, len(scores))
    assert settled is not None
    assert settled.verdict is Verdict.PASSED
    assert settled.after < 300


@pytest.mark.parametrize(("threshold", "verdict"), [(0.75, Verdict.PASSED), (0.7501, Verdict.FAILED)])
def test_all_samples_decide_exactly(threshold: float, verdict: Verdict) -> None:
    decision = ScoreRule(threshold=threshold, terms=TERMS).decide({"score": np.array([0.5, 1.0] * 20)}, 40, None)
    assert decision.verdict is verdict
    assert decision.estimate == 0.75
    assert 0 <= decision.interval[0] < 0.75 < decision.interval[1] <= 1


def images(random: np.random.Generator, n: int) -> NDArray[np.int64]:
    """(n, 8) intersections and unions of four classes, of images that differ in what is in them and in hardness."""
    size = random.dirichlet(np.ones(4), n) * 1000
    right = random.beta(8, 2, (n, 1)) * np.linspace(0.7, 1, 4)
    union = size + (size.sum(1, keepdims=True) - size) * (1 - right.mean(1, keepdims=True)) * 0.3
    return np.concatenate([size * right, union], 1).astype(np.int64)


def test_the_mean_iou_is_that_of_the_sums() -> None:
    assert mean_iou(np.array([5, 0, 0, 10, 4, 0])) == 0.25  # the third class does not occur
    assert mean_iou(np.zeros(4, dtype=np.int64)) == 0


def test_a_mean_iou_is_settled_only_where_the_rest_cannot_change_it() -> None:
    counts = images(np.random.default_rng(0), 50)
    pixels = np.full(50, 1000)
    value = float(mean_iou(counts.sum(0)))
    for threshold in (value - 0.02, value + 0.02):
        rule = MeanIoURule(threshold=threshold, terms=TERMS, seed=0)
        decided = rule.decide({"counts": counts, "pixels": pixels}, 50, None)
        assert decided.verdict is (Verdict.PASSED if threshold < value else Verdict.FAILED)
        assert "bootstrap" in decided.rule
        for read in range(5, 51, 5):
            settled = rule.settle({"counts": counts[:read], "pixels": pixels[:read]}, 50)
            assert settled is None or settled.verdict is decided.verdict
    part = {"counts": counts[:30], "pixels": pixels[:30]}
    assert MeanIoURule(threshold=value, terms=TERMS, seed=0).decide(part, 50, None).verdict is Verdict.INCONCLUSIVE
    low = MeanIoURule(threshold=0.05, terms=TERMS, seed=0).settle(part, 50)
    assert low is not None
    assert low.certain


@pytest.mark.slow
def test_bootstrap_intervals_cover() -> None:
    truth = float(mean_iou(images(np.random.default_rng(9), 400_000).sum(0)))
    random = np.random.default_rng(0)
    hits = 0
    for seed in range(500):
        low, high = bootstrap_interval(images(random, 150), alpha=0.01, seed=seed)
        hits += low <= truth <= high
    assert hits >= 0.97 * 500


def test_one_sample_says_nothing() -> None:
    assert bootstrap_interval(np.ones((1, 4), dtype=np.int64), alpha=0.01, seed=0) == (0.0, 1.0)
