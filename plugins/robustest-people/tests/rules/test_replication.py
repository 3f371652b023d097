"""Gaps between a data set and its replication: what matching on noisy frequencies does, and that it is taken away."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from robustest_people.beta_mixture import Cells
from robustest_people.replication_gap import (
    Gap,
    Gaps,
    decide_gap,
    jackknife_accuracy,
    matched_accuracy,
    replication_gaps,
)
from scipy.stats import beta, binom

from robustest import Verdict
from robustest.decisions import Terms

MATCHED_BY = 10
"""Annotators whose answers, in five bins, the simulated replication is matched by."""


class Limits(NamedTuple):
    """Gaps with infinitely many images."""

    raw: float
    naive: float
    jackknife: float


def correct(s: Any) -> Any:
    """P(correct | s) of the simulated model, the same in both data sets: the true gap is 0."""
    return 0.35 + 0.6 * s


def limits(n: int, delete: int) -> Limits:
    """By quadrature: s of the original is Beta(6, 1.6), that of the pool Beta(2, 1.6), reweighted by the bins."""
    s = (np.arange(4000) + 0.5) / 4000
    first, pool = (density / density.sum() for density in (beta.pdf(s, 6, 1.6), beta.pdf(s, 2, 1.6)))
    bins = np.minimum(np.arange(MATCHED_BY + 1) * 5 // MATCHED_BY, 4)
    chance = binom.pmf(np.arange(MATCHED_BY + 1)[:, None], MATCHED_BY, s)
    second = np.zeros_like(s)
    for one in range(5):
        inside = chance[bins == one].sum(0)
        second += (inside @ first) * inside * pool / (inside @ pool)

    def adjusted(annotators: int) -> float:
        seen = binom.pmf(np.arange(annotators + 1)[:, None], annotators, s)
        return float(((seen @ first) * (seen @ (second * correct(s))) / (seen @ second)).sum())

    accuracy = float(first @ correct(s))
    jackknife = (n * adjusted(n) - (n - delete) * adjusted(n - delete)) / delete
    return Limits(float((first - second) @ correct(s)), accuracy - adjusted(n), accuracy - jackknife)


def simulate(random: np.random.Generator, n: int, items: int) -> tuple[Cells, Cells]:
    """Both data sets, annotated by n annotators after the replication was matched by ten others."""
    first, pool = random.beta(6, 1.6, items), random.beta(2, 1.6, 12 * items)
    of_first, of_pool = (np.minimum(random.binomial(MATCHED_BY, s) * 5 // MATCHED_BY, 4) for s in (first, pool))
    chosen = [
        random.choice(np.flatnonzero(of_pool == one), int((of_first == one).sum()), replace=False) for one in range(5)
    ]
    second = pool[np.concatenate(chosen)]
    shown = np.full(items, n)
    a, b = (Cells.of(random.binomial(n, s), shown, random.random(items) < correct(s)) for s in (first, second))
    return a, b


def many(n: int, items: int, runs: int, *, resamples: int, seed: int, correction: str = "jackknife") -> list[Gaps]:
    random = np.random.default_rng(seed)
    return [
        replication_gaps(*simulate(random, n, items), correction, resamples=resamples, seed=run) for run in range(runs)
    ]


def test_matching_on_noise_leaves_the_bias_that_the_theory_says() -> None:
    """Truth 0. Raw, four and a half points; at equal measured frequency a third of it with ten annotators, a bias of
    the order 1 / n; the jackknife leaves less than half of that, of the order 1 / n squared.
    """
    ten, twenty, forty = limits(10, 1), limits(20, 2), limits(40, 4)
    assert ten.raw == twenty.raw == forty.raw == pytest.approx(0.044, abs=0.002)
    assert 1.5 < ten.naive / twenty.naive < twenty.naive / forty.naive < 2
    assert 2 < ten.jackknife / twenty.jackknife < twenty.jackknife / forty.jackknife < 4
    assert 0 < ten.jackknife < ten.naive / 2 < 0.01
    assert 0 < forty.jackknife < 0.001


def test_the_gaps_of_the_papers_setting() -> None:
    """Ten annotators: about 4.4 points raw, 1.4 naive, .3 by the jackknife, each within half a point."""
    gaps = many(10, 2000, 60, resamples=2, seed=0)
    for name, points in (("raw", 4.4), ("naive", 1.4), ("corrected", 0.3)):
        assert 100 * np.mean([getattr(gap, name).estimate for gap in gaps]) == pytest.approx(points, abs=0.5), name


@pytest.mark.parametrize(("n", "delete"), [(10, 1), (40, 4)])
def test_estimates_approach_the_limits(n: int, delete: int) -> None:
    gaps = many(n, 2000, 60, resamples=10, seed=1)
    want = limits(n, delete)
    for name, limit in (("raw", want.raw), ("naive", want.naive), ("corrected", want.jackknife)):
        values = np.array([getattr(gap, name).estimate for gap in gaps])
        assert abs(values.mean() - limit) <= 3 * values.std(ddof=1) / len(values) ** 0.5, name


def test_the_jackknife_is_unbiased_with_forty_annotators() -> None:
    """200 repetitions: the mean gap is within two standard errors of the truth, 0; the naive one is far outside."""
    gaps = many(40, 1000, 200, resamples=10, seed=2)
    corrected, naive = (np.array([getattr(gap, name).estimate for gap in gaps]) for name in ("corrected", "naive"))
    assert abs(corrected.mean()) <= 2 * corrected.std(ddof=1) / 200**0.5
    assert naive.mean() > 3 * naive.std(ddof=1) / 200**0.5


def test_the_bootstraps_error_is_at_least_the_true_one() -> None:
    gaps = many(20, 1000, 60, resamples=60, seed=3)
    for name in ("raw", "naive", "corrected"):
        errors = np.mean([getattr(gap, name).error for gap in gaps])
        spread = np.std([getattr(gap, name).estimate for gap in gaps], ddof=1)
        assert 0.8 * spread <= errors <= 2 * spread, name


def test_the_mixture_takes_the_bias_away_too() -> None:
    gaps = many(20, 2000, 8, resamples=2, seed=4, correction="beta-mixture")
    values = np.array([gap.corrected.estimate for gap in gaps])
    assert abs(values.mean()) <= 2.5 * values.std(ddof=1) / 8**0.5
    assert np.mean([gap.naive.estimate for gap in gaps]) > values.mean()


def test_matching_weighs_frequencies_as_the_original_has_them() -> None:
    """Ten annotators; 3 of 4 original items are at 10 of 10, 1 at 5 of 10; v2 is right on 1/2 there and on 1/4 here."""
    v1 = Cells.of(np.array([10, 10, 10, 5]), np.full(4, 10), np.ones(4, dtype=bool))
    v2 = Cells.of(np.array([10, 10, 5, 5, 5, 5]), np.full(6, 10), np.array([1, 0, 1, 0, 0, 0], dtype=bool))
    assert matched_accuracy(v1, v2, v1.count[None], v2.count[None], 10).tolist() == [0.75 * 0.5 + 0.25 * 0.25]


def test_frequencies_that_the_replication_lacks_are_read_off_between_its_own() -> None:
    """At 4 and 8 of 10 it is right on all and on none; at 6 half of them, beyond 8 none are assumed."""
    v1 = Cells.of(np.array([6, 10]), np.full(2, 10), np.ones(2, dtype=bool))
    v2 = Cells.of(np.array([4, 8]), np.full(2, 10), np.array([True, False]))
    assert matched_accuracy(v1, v2, v1.count[None], v2.count[None], 10).tolist() == [0.25]
    gaps = replication_gaps(v1, v2, None, resamples=10, seed=0)
    assert gaps.uncovered == 1.0
    assert decide_gap(gaps, 1.0, terms=TERMS).verdict is Verdict.INCONCLUSIVE


def test_thinning_is_drawing_without_replacement() -> None:
    cells = Cells.of(np.array([0, 3, 10]), np.array([10, 12, 10]), np.array([True, False, True]))
    chances = cells.thinned(9)
    assert chances.sum(1) == pytest.approx(1)
    assert chances @ np.arange(10) == pytest.approx(9 * cells.selected / cells.shown)
    assert (chances[cells.selected == 10, 9], chances[cells.selected == 0, 0]) == (1, 1)


def test_the_jackknife_agrees_with_taking_annotators_away_at_random() -> None:
    """The authors draw the annotators that are taken away; here their mean is computed."""
    random = np.random.default_rng(5)
    v1, v2 = simulate(random, 10, 4000)
    ours = float(jackknife_accuracy(v1, v2, v1.count[None], v2.count[None], 10, delete=2)[0])

    def fewer(cells: Cells) -> Cells:
        each = [np.repeat(column, cells.count) for column in (cells.selected, cells.shown, cells.correct)]
        left = random.hypergeometric(each[0], each[1] - each[0], 8)
        return Cells.of(left, np.full(len(left), 8), each[2].astype(bool))

    def matched(a: Cells, b: Cells, n: int) -> float:
        return float(matched_accuracy(a, b, a.count[None], b.count[None], n)[0])

    drawn = np.array([matched(fewer(v1), fewer(v2), 8) for _ in range(40)])
    theirs = (10 * matched(v1, v2, 10) - 8 * drawn) / 2
    assert abs(ours - theirs.mean()) <= 4 * theirs.std(ddof=1) / 40**0.5 + 1e-3


def test_items_with_more_annotations_count_as_much_as_others() -> None:
    """Annotations beyond the fewest that any item has are averaged over, not thrown away and not counted twice."""
    random = np.random.default_rng(6)
    s = random.beta(6, 1.6, 20_000)
    right = random.random(len(s)) < correct(s)
    some = np.where(random.random(len(s)) < 0.5, 10, 25)
    ragged = Cells.of(random.binomial(some, s), some, right)
    even = Cells.of(random.binomial(10, s), np.full(len(s), 10), right)
    a, b = (matched_accuracy(even, cells, even.count[None], cells.count[None], 10)[0] for cells in (even, ragged))
    assert a == pytest.approx(right.mean())
    assert b == pytest.approx(a, abs=0.003)
    assert replication_gaps(ragged, even, None, resamples=2, seed=0).annotations == 10


TERMS = Terms(scope="set", alpha=0.01, fail_alpha=0.01)


def gaps_of(estimate: float, error: float, uncovered: float = 0.0) -> Gaps:
    gap = Gap(estimate=estimate, error=error)
    return Gaps(raw=gap, naive=gap, corrected=gap, annotations=10, uncovered=uncovered)


@pytest.mark.parametrize(
    ("gaps", "most", "verdict"),
    [
        (gaps_of(0.01, 0.01), 0.05, Verdict.PASSED),
        (gaps_of(0.01, 0.01), 0.02, Verdict.INCONCLUSIVE),
        (gaps_of(0.1, 0.01), 0.05, Verdict.FAILED),
        (gaps_of(0.01, 0.01), None, Verdict.INCONCLUSIVE),
        (gaps_of(0.01, 0.01, uncovered=0.06), 0.05, Verdict.INCONCLUSIVE),
        (gaps_of(0.01, 0.01, uncovered=0.04), 0.05, Verdict.PASSED),
    ],
)
def test_the_interval_decides(gaps: Gaps, most: float | None, verdict: Verdict) -> None:
    decision = decide_gap(gaps, most, terms=TERMS)
    assert decision.verdict is verdict
    assert decision.estimate == gaps.corrected.estimate
    assert decision.interval == gaps.corrected.interval(0.01)


def test_failing_is_at_alpha_as_passing_is() -> None:
    shared = Terms(scope="set", alpha=0.01, fail_alpha=1e-9)
    assert decide_gap(gaps_of(0.1, 0.01), 0.05, terms=shared).verdict is Verdict.FAILED


def test_items_that_all_agree_still_leave_an_error() -> None:
    everything = Cells.of(np.full(100, 10), np.full(100, 10), np.ones(100, dtype=bool))
    gaps = replication_gaps(everything, everything, "jackknife", resamples=20, seed=0)
    assert (gaps.raw.estimate, gaps.corrected.estimate) == (0, 0)
    assert gaps.corrected.error == pytest.approx(2 * 2**0.5 / 100)
    low, high = gaps.corrected.interval(1e-300)
    assert (low, high) == (-1, 1), "no gap is larger"


def test_the_seed_repeats_it() -> None:
    v1, v2 = simulate(np.random.default_rng(7), 10, 200)
    first, again, other = (
        replication_gaps(v1, v2, "jackknife", resamples=20, seed=seed).corrected.error for seed in (-3, -3, 4)
    )
    assert first == again != other


def test_cells_gather_items_that_are_alike() -> None:
    cells = Cells.of(np.array([1, 1, 2]), np.array([10, 10, 10]), np.array([True, True, True]))
    assert (cells.selected.tolist(), cells.count.tolist(), cells.size) == ([1, 2], [2, 1], 3)
    again = cells.resampled(50, np.random.default_rng(0))
    assert again.shape == (50, 2)
    assert set(again.sum(1).tolist()) == {3}
