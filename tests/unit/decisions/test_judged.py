"""Rates behind a judge's verdicts: alpha is held, and what is known of the judge counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, fisher_exact, norm

from robustest.decisions.judged import (
    Count,
    Verdicts,
    _normal_score,
    corner_interval,
    critical_score,
    powered_interval,
    powered_interval_by_cluster,
    rogan_gladen,
    rogan_gladen_interval,
    rogan_gladen_refuted,
)
from robustest.decisions.share import clopper_pearson

Bools = NDArray[np.bool_]


def judged(random: np.random.Generator, n: int, rate: float, right: float = 0.95, wrong: float = 0.2) -> Any:
    """Return truth and verdicts of items; a judge accepts right and wrong ones with these chances."""
    truth = random.random(n) < rate
    return truth, random.random(n) < np.where(truth, right, wrong)


def partly(truth: Bools, labels: int) -> NDArray[np.float64]:
    return np.where(np.arange(len(truth)) < labels, truth, np.nan)


def test_the_formula_of_rogan_and_gladen() -> None:
    verdicts = Verdicts(Count(90, 100), Count(20, 100))
    assert rogan_gladen(Count(62, 100), verdicts) == pytest.approx(0.6)
    assert rogan_gladen(Count(5, 100), verdicts) == 0
    assert rogan_gladen(Count(99, 100), verdicts) == 1
    assert rogan_gladen(Count(62, 100), Verdicts(Count(20, 100), Count(20, 100))) is None


def test_the_score_of_an_outcome_is_a_conditional_mean_of_a_normal_variable() -> None:
    for n, p in ((7, 0.3), (40, 0.95), (500, 0.02)):
        every = np.array([float(_normal_score(Count(x, n), np.array(p))) for x in range(n + 1)])
        mass = binom.pmf(np.arange(n + 1), n, p)
        assert mass @ every == pytest.approx(0, abs=1e-6)
        assert mass @ every**2 <= 1
        assert (np.diff(every) >= 0).all()
        ends = norm.ppf(np.array([binom.cdf(2, n, p), binom.cdf(3, n, p)]))
        if np.isfinite(ends).all():
            assert ends[0] <= every[3] <= ends[1]


def test_the_critical_value_bounds_every_variable_that_is_smaller_in_convex_order() -> None:
    assert norm.isf(0.01) < critical_score(0.01) < 2.7
    # The worst one has two values: those of a normal variable, averaged above and below its quantile.
    for alpha in (0.001, 0.01, 0.1):
        mean_above = norm.pdf(norm.isf(alpha)) / alpha
        assert mean_above <= critical_score(alpha) + 1e-3


def test_a_perfect_judge_leaves_the_error_of_the_share() -> None:
    exact = rogan_gladen_interval(Count(800, 1000), Verdicts(Count(2000, 2000), Count(0, 2000)), 0.01)
    assert clopper_pearson(800, 1000, 0.01) == pytest.approx(exact, abs=0.01)
    assert exact[0] < clopper_pearson(800, 1000, 0.01)[0]


def test_a_judge_that_may_be_no_better_than_chance_bounds_nothing() -> None:
    assert rogan_gladen_interval(Count(550, 1000), Verdicts(Count(60, 100), Count(50, 100)), 0.01) == (0, 1)
    assert rogan_gladen_interval(Count(800, 1000), Verdicts(Count(95, 100), Count(0, 0)), 0.01) == (0, 1)
    assert rogan_gladen_interval(Count(800, 1000), Verdicts(Count(0, 0), Count(1, 50)), 0.01) == (0, 1)


def test_counts_that_no_rate_explains_bound_nothing() -> None:
    """The judge accepts nine in ten of right items, and nearly all items of the claim."""
    verdicts = Verdicts(Count(450, 500), Count(50, 500))
    assert rogan_gladen_interval(Count(1990, 2000), verdicts, 0.01) == (0, 1)
    assert rogan_gladen_interval(Count(10, 2000), verdicts, 0.01) == (0, 1)
    assert rogan_gladen_interval(Count(1790, 2000), verdicts, 0.01)[0] > 0.9


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.95])
def test_rogan_and_gladen_hold_alpha(rate: float) -> None:
    """Whatever the share of right items among the labelled ones."""
    random, missed = np.random.default_rng(3), [0, 0]
    for _ in range(60):
        _, accepted = judged(random, 300, rate)
        truth, verdicts = judged(random, 120, 0.5)
        counts = Count.of(accepted), Verdicts.of(verdicts, truth)
        missed[0] += rogan_gladen_refuted(*counts, rate, alpha=0.1, above=True)
        missed[1] += rogan_gladen_refuted(*counts, rate, alpha=0.1, above=False)
    assert max(missed) <= 12  # 60 at .1, and three standard errors


def test_a_rate_far_from_the_truth_is_refuted() -> None:
    counts = Count(800, 1000), Verdicts(Count(190, 200), Count(20, 100))
    assert rogan_gladen_refuted(*counts, 0.6, alpha=0.01, above=True)
    assert not rogan_gladen_refuted(*counts, 0.6, alpha=0.01, above=False)
    assert rogan_gladen_refuted(*counts, 0.95, alpha=0.01, above=False)
    assert not rogan_gladen_refuted(*counts, 0.95, alpha=0.01, above=True)
    low, high = rogan_gladen_interval(*counts, 0.01)
    assert 0.6 < low < 0.8 < high < 0.95


def test_bounds_of_each_share_hold_the_formula_between_them() -> None:
    verdicts = Verdicts(Count(190, 200), Count(30, 200))
    counts = {
        "accepted": Count(700, 1000),
        "accepted_right": verdicts.accepted_right,
        "rejected_wrong": verdicts.rejected_wrong,
    }
    wide = corner_interval(lambda name, level: counts[name].interval(level), 0.01)
    narrow = rogan_gladen_interval(counts["accepted"], verdicts, 0.01)
    assert wide[0] < narrow[0] < (rogan_gladen(counts["accepted"], verdicts) or 0) < narrow[1] < wide[1]
    assert corner_interval(lambda *_: (0.0, 1.0), 0.01) == (0, 1)


@pytest.mark.parametrize("wrong", [0.05, 0.9])
def test_labels_drawn_at_random_hold_alpha_for_any_judge(wrong: float) -> None:
    random, missed, alpha = np.random.default_rng(5), [0, 0], 0.1
    for _ in range(50):
        truth, accepted = judged(random, 400, 0.8, wrong=wrong)
        _, (low, high) = powered_interval(accepted.astype(float), partly(truth, 80), alpha, seed=0)
        missed[0] += low > 0.8
        missed[1] += high < 0.8
    assert max(missed) <= 11


def test_a_good_judge_narrows_the_bounds_of_the_labels_and_a_useless_one_hardly_widens_them() -> None:
    random = np.random.default_rng(7)
    good: list[float] = []
    useless: list[float] = []
    alone: list[float] = []
    for _ in range(3):
        truth, accepted = judged(random, 4000, 0.8, right=0.98, wrong=0.05)
        for accept, widths in ((accepted, good), (random.random(4000) < 0.5, useless)):
            low, high = powered_interval(accept.astype(float), partly(truth, 300), 0.01, seed=0)[1]
            widths.append(high - low)
        alone.append(float(np.ptp(clopper_pearson(int(truth[:300].sum()), 300, 0.01))))
    assert np.mean(good) < 0.65 * np.mean(alone)
    assert np.mean(useless) < 1.2 * np.mean(alone)


def test_graded_labels_and_scores_are_taken() -> None:
    random = np.random.default_rng(9)
    truth = random.random(1000)
    score = np.clip(truth + random.normal(0.1, 0.05, 1000), 0, 1)
    estimate, (low, high) = powered_interval(score, np.where(np.arange(1000) < 200, truth, np.nan), 0.01, seed=0)
    assert low < 0.5 < high
    assert abs(estimate - 0.5) < 0.03
    assert high - low < 0.12
    assert score.mean() > high, "the judge's mean is not"


def test_the_threshold_is_decided_by_its_own_bet() -> None:
    truth, accepted = judged(np.random.default_rng(1), 600, 0.85)
    score, labels = accepted.astype(float), partly(truth, 150)
    low = powered_interval(score, labels, 0.01, seed=0)[1][0]
    assert powered_interval(score, labels, 0.01, seed=0, beside=low - 0.01)[1][0] >= low - 0.01
    assert powered_interval(score, labels, 0.01, seed=0, beside=low + 0.01)[1][0] < low + 0.01


def test_clusters_hold_alpha() -> None:
    """Passages are judged as a whole: 30 of them with 20 questions are 30 draws."""
    random, missed = np.random.default_rng(11), [0, 0]
    for _ in range(40):
        passage = np.repeat(np.arange(30), 20)
        truth = (random.random(30) < 0.8)[passage]
        score = (random.random(30) < np.where(truth[::20], 0.95, 0.2))[passage].astype(float)
        labels = np.where(random.random(600) < 0.5, truth, np.nan)
        low, high = powered_interval_by_cluster(score, labels, passage, 0.1)[1]
        missed[0] += low > 0.8
        missed[1] += high < 0.8
    assert max(missed) <= 9


def test_chance_is_that_of_fisher() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        truth, verdict = judged(random, 60, 0.7, wrong=0.7)
        verdicts = Verdicts.of(verdict, truth)
        table = [
            [(verdict & truth).sum(), (~verdict & truth).sum()],
            [(verdict & ~truth).sum(), (~verdict & ~truth).sum()],
        ]
        assert verdicts.by_chance() == pytest.approx(fisher_exact(table, "greater").pvalue)
