"""Verdicts, estimates and intervals of whole data sets and of parts, beside slow code with numbers of its own."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import ceil, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, norm, t

from robustest.decisions import failure_level, multiplicity, strata
from robustest.decisions import groups as of_groups
from robustest.decisions.baseline import BaselineRule, ScoreBaselineRule
from robustest.decisions.bets import MANY, betting_interval, fall_interval
from robustest.decisions.confidence import CalibrationErrorRule, SelectiveRule, decide_accepted, error_interval
from robustest.decisions.corruption_error import CellsRule, WeightedRule, mean_corruption_error
from robustest.decisions.corruption_error import relative_mean_corruption_error as relative
from robustest.decisions.cues import CuePairs, CueRule, draw_p_values, worst_of
from robustest.decisions.drop import AboveChanceRule, DropRule, decide_drop
from robustest.decisions.effective_robustness import effective_robustness
from robustest.decisions.mean import DrawsRule, ItemsRule, MeanRule, ScoreRule
from robustest.decisions.mean_iou import MeanIoURule, bootstrap_interval, mean_iou
from robustest.decisions.noise_floor import NoiseFloor
from robustest.decisions.paired import paired_interval
from robustest.decisions.rate import AgreementRule, RateRule
from robustest.decisions.rule import Decision, EarlyVerdict, Rule, Terms, judge_interval
from robustest.decisions.share import (
    CertifiedRule,
    ShareRule,
    anytime_share_interval,
    decide_share,
    settle_share,
)
from robustest.decisions.thresholds import count_at_least, count_at_most, fraction_at_most
from robustest.results import Verdict

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.02)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.02)
PASSED, FAILED, OPEN = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def exact(k: int, n: int, alpha: float) -> tuple[float, float]:
    return (
        float(beta.ppf(alpha, k, n - k + 1)) if k else 0.0,
        float(beta.isf(alpha, k + 1, n - k)) if k < n else 1.0,
    )


# Thresholds: the decimal that was written, or the share that was measured


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 29, 60])
def test_counts_of_a_threshold_are_those_of_its_decimal(n: int) -> None:
    for threshold in [0.0, 0.1, 0.29, 0.55, 1 / 3, 0.5, 2 / 3, 0.999, 1.0, *(k / n for k in range(n + 1))]:
        shares = [Fraction(k, n) for k in range(n + 1)]
        least = [k for k in range(n + 1) if shares[k] >= Fraction(repr(threshold)) or k / n >= threshold]
        most = [k for k in range(n + 1) if shares[k] <= Fraction(repr(threshold)) or k / n <= threshold]
        assert (count_at_least(threshold, n), count_at_most(threshold, n)) == (least[0], most[-1])
        assert [fraction_at_most(share, threshold) for share in shares] == [k <= most[-1] for k in range(n + 1)]


# One verdict, in every way in which it can fall


@pytest.mark.parametrize(
    ("interval", "at_least", "wider", "verdict"),
    [
        ((0.5, 0.6), True, None, PASSED),
        ((0.5, 0.6), False, None, OPEN),
        ((0.4, 0.5), False, None, PASSED),
        ((0.4, 0.5), True, None, OPEN),
        ((0.3, 0.49), True, None, FAILED),
        ((0.51, 0.7), False, None, FAILED),
        ((0.3, 0.49), True, (0.2, 0.5), OPEN),
        ((0.3, 0.49), True, (0.2, 0.495), FAILED),
        ((0.51, 0.7), False, (0.5, 0.8), OPEN),
        ((0.5, 0.5), True, None, PASSED),
        ((0.5, 0.5), False, None, PASSED),
    ],
)
def test_an_interval_keeps_a_threshold_of_a_half(
    interval: tuple[float, float], at_least: bool, wider: tuple[float, float] | None, verdict: Verdict
) -> None:
    assert judge_interval(interval, 0.5, at_least=at_least, wider=wider) is verdict


@pytest.mark.parametrize("n", [1, 2, 12])
@pytest.mark.parametrize("at_least", [True, False])
def test_a_share_is_decided_as_a_table_says(n: int, at_least: bool) -> None:
    for events in range(n + 1):
        interval = exact(events, n, 0.05)
        for threshold in (0.0, 0.25, 0.5, 0.75, 1.0):
            keeps = events / n >= threshold if at_least else events / n <= threshold
            common: dict[str, Any] = {"at_least": at_least, "alpha": 0.05}
            found = decide_share(events, n, threshold, scope="set", **common)
            assert found.verdict is (PASSED if keeps else FAILED)
            assert (found.rule, found.estimate) == ("certain: exact on this set", events / n)
            assert found.interval == pytest.approx(interval)
            assert not any((found.at_alpha, found.proven, found.approximate, found.strata, found.reasons))
            found = decide_share(events, n, threshold, scope="population", fail_alpha=0.001, **common)
            wider = exact(events, n, 0.001)
            sure = interval[0] >= threshold if at_least else interval[1] <= threshold
            broken = wider[1] < threshold if at_least else wider[0] > threshold
            assert found.verdict is (PASSED if sure else FAILED if broken else OPEN)
            assert (found.at_alpha, found.proven, found.rule) == (True, False, "population, alpha = 0.05 a side")
        found = decide_share(events, n, None, at_least=at_least, scope="set", alpha=0.05)
        assert (found.verdict, found.rule, found.estimate) == (OPEN, "no threshold given", events / n)


@pytest.mark.parametrize(("lost", "gained", "n"), [(0, 0, 1), (2, 1, 10), (1, 3, 10), (9, 0, 40), (40, 0, 40)])
def test_a_drop_is_decided_as_a_table_says(lost: int, gained: int, n: int) -> None:
    def bounds(alpha: float) -> tuple[float, float]:
        return paired_interval(lost, gained, n, alpha)

    low, high = bounds(0.05)
    for most in (-1.0, -0.2, 0.0, 0.1, 0.225, 0.5, 1.0):
        found = decide_drop(lost, gained, n, most, scope="set", alpha=0.05)
        assert found.verdict is (PASSED if Fraction(lost - gained, n) <= Fraction(repr(most)) else FAILED)
        assert found.estimate == (lost - gained) / n
        assert found.interval == pytest.approx((low, high))
        found = decide_drop(lost, gained, n, most, scope="population", alpha=0.05, fail_alpha=0.001)
        assert found.verdict is (PASSED if high <= most else FAILED if bounds(0.001)[0] > most else OPEN)
        assert found.at_alpha


def baseline(
    before: NDArray[Any], now: NDArray[Any], tolerance: float, threshold: float | None, terms: Terms
) -> Decision:
    other = ShareRule(threshold=threshold, at_least=True, terms=terms)
    rule = BaselineRule(
        other=other, has_threshold=threshold is not None, before=before, tolerance=tolerance, terms=terms
    )
    order = np.random.default_rng(3).permutation(len(now))
    return rule.decide({"held": now[order], "id": order}, len(now), None)


def outcomes(lost: int, gained: int, both: int, neither: int) -> tuple[NDArray[Any], NDArray[Any]]:
    sizes = (lost, gained, both, neither)
    return np.repeat([True, False, True, False], sizes), np.repeat([False, True, True, False], sizes)


@pytest.mark.parametrize("terms", [SET, POPULATION])
@pytest.mark.parametrize("threshold", [None, 0.3, 0.7])
@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.1, 0.5])
def test_a_baseline_is_decided_as_its_text_says(terms: Terms, threshold: float | None, tolerance: float) -> None:
    for counts in [(0, 0, 20, 20), (5, 0, 15, 20), (4, 0, 0, 36), (6, 0, 20, 14), (4, 3, 20, 13), (0, 8, 20, 12)]:
        before, now = outcomes(*counts)
        lost, gained, n, held = counts[0], counts[1], 40, int(before.sum())
        found = baseline(before, now, tolerance, threshold, terms)
        alone = decide_share(int(now.sum()), n, threshold, at_least=True, scope=terms.scope, alpha=0.05)
        low, high = paired_interval(lost, gained, n, 0.05)
        beyond = Fraction(lost - gained, n) > Fraction(repr(tolerance))
        whole = terms.scope == "set"
        if tolerance >= held / n:
            expected = FAILED if alone.verdict is FAILED else OPEN
        elif (beyond if whole else low > tolerance) or (threshold is not None and alone.verdict is FAILED):
            expected = FAILED
        elif not whole and high > tolerance:
            expected = OPEN
        else:
            expected = PASSED if threshold is None else alone.verdict
        assert found.verdict is expected, counts
        assert not found.proven


def test_scores_are_compared_by_bets_in_a_seeded_order() -> None:
    random = np.random.default_rng(0)
    before, now = random.random(30), random.random(30)
    before[4] = now[4] + 5e-10  # rounding is no change
    rule = ScoreBaselineRule(
        other=ScoreRule(threshold=None, terms=SET), has_threshold=False, before=before, tolerance=0.1, terms=SET, seed=5
    )
    place = np.random.default_rng(1).permutation(30)
    found = rule.compare({"score": now[place], "id": place})
    falls = before - now
    falls[4] = 0.0
    falls = falls[np.random.default_rng(5).permutation(30)]
    assert found.fall == pytest.approx(falls.mean())
    assert (found.lost, found.gained, found.n) == ((falls > 0).sum(), (falls < 0).sum(), 30)
    assert found.interval == fall_interval(falls, 0.05, 0.1)


# Confidence


def test_calibration_must_hold_with_bins_of_half_the_width_too() -> None:
    sure = np.array([0.55, 0.95] * 150)
    held = np.array([True, False] * 150)
    residual = sure - held
    rule = CalibrationErrorRule(threshold=0.3, terms=SET, bins=2, seed=1)
    found = rule.decide({"confidence": sure, "held": held}, 300, None)
    coarse = error_interval(residual, np.minimum((sure * 2).astype(int), 1), 2, 0.05)
    fine = error_interval(residual, np.minimum((sure * 4).astype(int), 3), 4, 0.05)
    assert fine[1] > coarse[1]
    assert found.interval == (coarse[0], fine[1])
    assert found.at_alpha
    part = rule.decide({"confidence": sure, "held": held}, 301, None)
    assert (part.estimate, part.interval, part.at_alpha) == (None, found.interval, True)
    assert part.rule.startswith("population, alpha = 0.05 a side; budget: 300 of 301")


@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_selection_with_ties_at_its_edge_is_open_between_its_two_ends(scope: str) -> None:
    """Of ten samples six are answered: four above the edge, three right, and two of four that tie, two right."""
    score = np.array([0.9, 0.8, 0.9, 0.7, 0.5, 0.5, 0.5, 0.5, 0.1, 0.2])
    held = np.array([1, 1, 1, 0, 1, 1, 0, 0, 1, 1], dtype=bool)
    terms = SET if scope == "set" else POPULATION
    for threshold, verdict in ((0.5, PASSED), (0.51, OPEN), (5 / 6, OPEN), (0.84, FAILED), (None, OPEN)):
        found = SelectiveRule(threshold=threshold, coverage=0.6, terms=terms).decide(
            {"msp": score, "held": held}, 10, None
        )
        assert found.estimate == pytest.approx((3 + 2 * 2 / 4) / 6)
        if scope == "set":
            assert found.verdict is verdict
            assert ("tie at the edge: 3 to 5 of 6 right" in found.rule) == (threshold in (0.51, 5 / 6))
    early = SelectiveRule(threshold=0.1, coverage=0.6, terms=terms).decide({"msp": score, "held": held}, 11, None)
    assert early.estimate is None
    assert "budget: 10 of 11" in early.rule


@pytest.mark.parametrize("seed", range(12))
def test_a_selection_is_judged_by_all_choices_among_what_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    score, held = random.integers(0, 3, 9) / 4, random.random(9) < 0.5
    for coverage in (1 / 9, 0.5, 0.8, 1.0):
        k = ceil(Fraction(repr(coverage)) * 9)
        edge = sorted(score)[-k]
        sure = [bool(right) for right, one in zip(held, score, strict=True) if one > edge]
        tied = [bool(right) for right, one in zip(held, score, strict=True) if one == edge]
        counts = [sum(sure) + sum(chosen) for chosen in combinations(tied, k - len(sure))]
        for need in range(k + 1):
            rule = SelectiveRule(threshold=need / k, coverage=coverage, terms=SET)
            found = rule.decide({"msp": score, "held": held}, 9, None)
            assert found.verdict is (PASSED if min(counts) >= need else FAILED if max(counts) < need else OPEN)
            assert found.estimate == pytest.approx(np.mean(counts) / k)


@pytest.mark.parametrize(("threshold", "verdict"), [(0.4, PASSED), (0.39, FAILED), (None, OPEN)])
def test_outside_samples_are_accepted_from_the_score_that_95_per_cent_reach(
    threshold: float | None, verdict: Verdict
) -> None:
    inside = np.arange(100.0)
    outside = np.array([4.0, 5.0, 6.0, 3.0, 2.0])
    found, edge = decide_accepted(inside, outside, threshold, SET)
    assert edge == 5.0
    assert (found.verdict, found.estimate) == (verdict, 2 / 5)
    if threshold is not None:
        assert found.rule == "certain: exact on these sets"


# Noise


def test_the_noise_of_scores_is_that_of_a_slow_count() -> None:
    place = np.array([0, 0, 1, 1, 1, 2, 3, 3])
    score = np.array([1, 0, 1, 1, 0, 1, 0, 0], dtype=float)
    rows = [score[place == i] for i in range(4)]
    found = NoiseFloor.of(place, score)
    within = np.mean([row.var(ddof=1) for row in rows if len(row) > 1])
    means = np.array([row.mean() for row in rows])
    between = means.var(ddof=1) - within * np.mean([1 / len(row) for row in rows])
    assert (found.n, found.step) == (4, 1.0)
    assert (found.rate, found.within, found.between) == pytest.approx((means.mean(), within, max(0.0, between)))
    assert NoiseFloor.of(place, score / 2).step == 0.0
    assert NoiseFloor.of(np.array([0, 0]), np.array([1.0, 0.0])).between == 0.0
    wide = NoiseFloor.of(np.array([0, 0, 1, 1, 2]), np.array([1.0, 1.0, 0.0, 0.0, 1.0]))
    assert wide.between == pytest.approx(1 / 3)


NOISE = NoiseFloor(n=50, rate=0.7, within=0.04, between=0.1, step=1.0)


def test_figures_of_noise_are_those_of_the_text() -> None:
    z = norm.isf(0.01) + norm.ppf(0.9)
    assert NOISE.spread() == pytest.approx(sqrt(2 * 0.04 / 50))
    assert NOISE.spread(4) == pytest.approx(sqrt(2 * 0.04 / 200))
    for tolerance, steps in ((0.0, 0.5), (0.02, 1.5), (0.039, 1.5), (0.06, 3.5)):
        assert NOISE.red(tolerance) == pytest.approx(norm.sf(steps / 50 / NOISE.spread()))
    graded = NoiseFloor(n=50, rate=0.7, within=0.04, between=0.1, step=0.0)
    assert graded.red(0.03) == pytest.approx(norm.sf(0.03 / NOISE.spread()))
    assert NoiseFloor(n=50, rate=1.0, within=0.0, between=0.0, step=1.0).red(0.0) == 0.0
    for loss in (0.03, 0.2, 0.9):
        for runs in (1, 3):
            paired, alone = 2 * 0.04 / runs + loss * (1 - loss), 2 * (0.1 + 0.04 / runs)
            assert NOISE.items(loss, 0.01, runs=runs) == max(2, ceil(z**2 * paired / loss**2))
            assert NOISE.items(loss, 0.01, runs=runs, paired=False) == max(2, ceil(z**2 * alone / loss**2))
            assert NOISE.items_of_claim(loss, 0.01, runs=runs) == max(2, ceil(z**2 * (0.1 + 0.04 / runs) / loss**2))
    assert NOISE.runs(0.03, 0.01) is None
    needed = [r for r in range(1, 999) if NOISE.items(0.25, 0.01, runs=r) <= 50]
    assert NOISE.runs(0.25, 0.01) == min(needed)
    assert NoiseFloor(n=50, rate=0.7, within=0.0, between=0.1, step=1.0).runs(0.4, 0.01) == 1
    assert NOISE.items(0.03, 0.01) == NOISE.items(0.03, 0.01, runs=1, paired=True)


# A line through other models


def test_a_line_and_its_intervals_are_those_of_a_textbook() -> None:
    pairs = {
        "a": (0.6, 0.5, 100, 200),
        "b": (0.7, 0.55, 100, 200),
        "c": (0.8, 0.7, 100, 200),
        "d": (0.9, 0.72, 100, 200),
    }
    found = effective_robustness({**pairs, "x": (0.85, 0.8, 50, 80)}, reference=list(pairs), alpha=0.05)

    def point(before: float, under: float, n: int, m: int) -> tuple[float, float, float, float]:
        p, q = (before * n + 0.5) / (n + 1), (under * m + 0.5) / (m + 1)
        return float(norm.ppf(p)), float(norm.ppf(q)), p * (1 - p) / n, q * (1 - q) / m

    def line(names: list[str]) -> tuple[float, float, float, NDArray[Any]]:
        x, y = np.array([point(*pairs[name])[:2] for name in names]).T
        slope, intercept = np.polyfit(x, y, 1)
        return intercept, slope, ((y - intercept - slope * x) ** 2).sum() / (len(x) - 2), x

    intercept, slope, variance, _ = line(list(pairs))
    assert (found.intercept, found.slope, found.spread) == pytest.approx((intercept, slope, sqrt(variance)))
    assert found.predict(0.75) == pytest.approx(norm.cdf(intercept + slope * norm.ppf(0.75)))
    for name, values in {**pairs, "x": (0.85, 0.8, 50, 80)}.items():
        others = [one for one in pairs if one != name]
        b, m, v, x = line(others)
        at, _, noise_before, noise_under = point(*values)
        predicted = norm.cdf(b + m * at)
        of_line = v * (1 / len(x) + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
        of_before = (m / norm.pdf(at)) ** 2 * noise_before
        reach = t.ppf(0.95, len(x) - 2) * sqrt(noise_under + norm.pdf(b + m * at) ** 2 * (of_line + of_before))
        residual = found.models[name]
        effective = values[1] - predicted
        assert (residual.before, residual.under) == values[:2]
        assert (residual.predicted, residual.effective) == pytest.approx((predicted, effective))
        assert residual.interval == pytest.approx((effective - reach, effective + reach))
    with pytest.raises(ValueError, match="alpha"):
        effective_robustness(pairs, alpha=0.0)
    with pytest.raises(ValueError, match="numbers of samples"):
        effective_robustness({**pairs, "x": (0.0, 0.5)})
    with pytest.raises(ValueError, match="numbers of samples"):
        effective_robustness({**pairs, "x": (0.5, 1.0)})
    with pytest.raises(ValueError, match=r"0\.\.1"):
        effective_robustness({**pairs, "x": (-0.1, 0.5, 10, 10)})


# Segmentation


COUNTS = np.array([[3, 0, 2, 5, 0, 4], [1, 0, 1, 1, 0, 3]])  # intersections, then unions, of three classes


def test_the_mean_iou_is_over_classes_that_occur() -> None:
    assert float(mean_iou(COUNTS.sum(0))) == pytest.approx((4 / 6 + 3 / 7) / 2)
    assert mean_iou(COUNTS).tolist() == pytest.approx([(3 / 5 + 2 / 4) / 2, (1 + 1 / 3) / 2])
    assert float(mean_iou(np.zeros(4))) == 0.0
    side = norm.cdf(sqrt(6 / 5) * t.ppf(0.05, 5))
    found = bootstrap_interval(COUNTS.repeat(3, 0), alpha=0.05, seed=0)
    weights = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=2000)
    assert found == tuple(np.quantile(mean_iou(weights @ COUNTS.repeat(3, 0)), [side, 1 - side]))
    assert bootstrap_interval(COUNTS[:1], alpha=0.05, seed=0) == (0.0, 1.0)
    union = np.random.default_rng(2).integers(50, 90, (12, 3))
    many = np.concatenate([union - np.random.default_rng(3).integers(0, 50, (12, 3)), union], 1)
    weights = np.random.default_rng(4).multinomial(12, np.full(12, 1 / 12), size=2000)
    side = norm.cdf(sqrt(12 / 11) * t.ppf(0.01, 11))
    expected = np.quantile([float(mean_iou(draw @ many)) for draw in weights], [side, 1 - side])
    assert bootstrap_interval(many, alpha=0.01, seed=4) == pytest.approx(tuple(expected), abs=1e-12)


def test_what_pixels_are_left_bound_the_mean_iou() -> None:
    columns = {"counts": COUNTS, "pixels": np.array([10, 12])}
    left = 2 * 12
    low = (4 / (6 + left) + 3 / (7 + left)) / 3
    high = ((4 + left) / (6 + left) + (3 + left) / (7 + left) + 1) / 3
    found = MeanIoURule(threshold=low, terms=SET, seed=0).decide(columns, 4, None)
    assert found.interval == pytest.approx((low, high))
    for threshold, verdict in ((low - 1e-9, PASSED), (low + 1e-9, None), (high - 1e-9, None), (high + 1e-9, FAILED)):
        early = MeanIoURule(threshold=threshold, terms=SET, seed=0).settle(columns, 4)
        if verdict is None:
            assert early is None
        else:
            assert early == EarlyVerdict(verdict, 2, certain=True, alpha=0.05 if verdict is PASSED else 0.02)
    value = (4 / 6 + 3 / 7) / 2
    assert MeanIoURule(threshold=0.5, terms=SET, seed=0).decide(columns, 3, None).interval != (value, value)
    whole = MeanIoURule(threshold=value, terms=SET, seed=0).decide(columns, 2, None)
    assert (whole.verdict, whole.estimate) == (PASSED, pytest.approx(value))
    assert whole.rule == "certain: exact on this set; the interval is a bootstrap"
    assert MeanIoURule(threshold=value + 1e-9, terms=SET, seed=0).decide(columns, 2, None).verdict is FAILED
    assert MeanIoURule(threshold=None, terms=SET, seed=0).decide(columns, 2, None).verdict is OPEN
    assert MeanIoURule(threshold=None, terms=SET, seed=0).settle(columns, 2) is None
    part = MeanIoURule(threshold=0.5, terms=SET, seed=0).for_part(POPULATION)
    assert part == ScoreRule(threshold=None, terms=POPULATION)


# Cells and weights

REFERENCE = {"a": [0.1, 0.2, 0.3, 0.4, 0.5], "b": [0.5] * 5, "clean": [0.05]}


def test_the_mean_corruption_error_is_a_mean_of_ratios() -> None:
    rates = {("a", 1): 0.2, ("a", 3): 0.1, ("b", 5): 0.25}
    assert mean_corruption_error(rates, REFERENCE) == pytest.approx((0.3 / 0.4 + 0.25 / 0.5) / 2)
    assert relative(rates, 0.02, REFERENCE) == pytest.approx(((0.3 - 0.04) / (0.4 - 0.1) + 0.23 / 0.45) / 2)
    assert relative(rates, 0.02, {"a": [0.1] * 5, "b": [0.5] * 5}) is None
    assert relative({("a", 1): 0.2}, 0.02, {"a": [0.05] * 5, "clean": [0.05]}) is None
    assert relative({("a", 1): 0.2}, 0.02, {"a": [0.06] * 5, "clean": [0.05]}) == pytest.approx(18.0)


def cells_rule(reference: Any = None, **threshold: Any) -> CellsRule:
    given = {"min_accuracy": None, "max_drop": None, "max_mce": None} | threshold
    return CellsRule.of_cells([("a", 1), ("a", 3), ("b", 5)], reference, SET, **given)


def test_cells_are_weighted_as_the_claim_says() -> None:
    columns = {
        "a/1": np.array([1, 1, 0, 1], dtype=bool),
        "a/3": np.array([0, 1, 1, 1], dtype=bool),
        "b/5": np.array([0, 0, 1, 1], dtype=bool),
        "clean": np.array([1, 1, 1, 0], dtype=bool),
    }
    rule = cells_rule(min_accuracy=0.66)
    assert rule.mean_of(columns) == pytest.approx(8 / 12)
    assert rule.decide(columns, 4, None).verdict is PASSED
    assert cells_rule(min_accuracy=0.67).decide(columns, 4, None).verdict is FAILED
    assert rule.decide(columns, 4, None).estimate == pytest.approx(8 / 12)
    rule = cells_rule(max_drop=0.09)
    assert rule.mean_of(columns) == pytest.approx(3 / 4 - 8 / 12)
    assert rule.decide(columns, 4, None).verdict is PASSED
    assert cells_rule(max_drop=0.08).decide(columns, 4, None).verdict is FAILED
    mce = ((0.25 + 0.25) / 0.4 + 0.5 / 0.5) / 2
    rule = cells_rule(REFERENCE, max_mce=1.13)
    assert rule.mean_of(columns) == pytest.approx(mce)
    assert rule.decide(columns, 4, None).verdict is PASSED
    assert cells_rule(REFERENCE, max_mce=1.12).decide(columns, 4, None).verdict is FAILED
    assert (cells_rule().argument, cells_rule().threshold, rule.argument, rule.threshold) == (
        "min_accuracy", None, "max_mce", 1.13,
    )  # fmt: skip
    scale = (2 / 0.4 + 1 / 0.5) / 2
    assert cells_rule(REFERENCE, max_mce=scale - 1e-6).threshold == scale - 1e-6
    for wrong in ({"max_mce": scale}, {"max_mce": 0.0}, {"min_accuracy": 0}, {"max_drop": 1}):
        with pytest.raises(ValueError, match="Expected"):
            cells_rule(REFERENCE, **wrong)
    with pytest.raises(ValueError, match="one threshold"):
        cells_rule(min_accuracy=0.5, max_drop=0.1)


def test_weights_are_scaled_and_a_threshold_lies_below_their_sum() -> None:
    weights = {"a": 1.0, "b": 3.0}
    columns = {"a": np.array([1.0, 0.0]), "b": np.array([0.5, 0.0])}
    rule = WeightedRule.of("most", 1.25, weights, SET)
    assert dict(rule.weights) == {"a": 0.25, "b": 0.75}
    assert rule.mean_of(columns) == pytest.approx((1.0 + 1.5) / 2)
    assert rule.decide(columns, 2, None).verdict is PASSED
    assert WeightedRule.of("most", 1.24, weights, SET).decide(columns, 2, None).verdict is FAILED
    assert WeightedRule.of("most", 3.999, weights, SET).mean.threshold == pytest.approx(3.999 / 4)
    for most in (4.0, 0.0):
        with pytest.raises(ValueError, match="most"):
            WeightedRule.of("most", most, weights, SET)


# Levels


def test_levels_share_alpha() -> None:
    assert failure_level(0.05, 10) == 0.005
    assert failure_level(1e-300, 10**100) > 0
    assert multiplicity.group_level(0.05, 7, disjoint=False) == 0.05 / 7
    assert multiplicity.group_level(0.05, 7, disjoint=True) == pytest.approx(1 - 0.95 ** (1 / 7))
    assert multiplicity.holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert multiplicity.holm([0.6, 0.7]) == [1.0, 1.0]
    assert multiplicity.holm([]) == []


def test_groups_have_bounds_at_their_level() -> None:
    held, n = [3, 0, 5], [4, 0, 9]
    for disjoint, level in ((True, 1 - 0.95 ** (1 / 3)), (False, 0.05 / 3)):
        found = of_groups.simultaneous(held, n, 0.05, disjoint=disjoint)
        assert found[0] == pytest.approx(exact(3, 4, level))
        assert (found[1], found[2]) == ((0.0, 1.0), pytest.approx(exact(5, 9, level)))
        shares = of_groups.group_shares(["a", "b", "c"], held, n, alpha=0.05, disjoint=disjoint)
        assert [one.name for one in shares] == ["c", "a", "b"]
        assert [one.share for one in shares] == [5 / 9, 3 / 4, 1.0]
        low, high = of_groups.worst_interval(shares, 0.05, disjoint=disjoint)
        assert (low, high) == pytest.approx((0.0, min(exact(3, 4, level)[1], exact(5, 9, level)[1])))
    tie = of_groups.group_shares(["a", "b"], [2, 1], [4, 2], alpha=0.05, disjoint=True)
    assert [one.name for one in tie] == ["b", "a"]


def strata_rule(*, gates: bool) -> strata.StrataRule:
    whole = ShareRule(threshold=0.5, at_least=True, terms=SET)
    return strata.StrataRule(whole=whole, nouns=("object", "objects"), alpha=0.05, gates=gates)


def test_a_stratum_is_beyond_at_the_level_that_all_share() -> None:
    level = 1 - 0.95**0.5
    for bad in range(1, 30):
        counts = np.repeat([1, 2], [100, bad])
        held = np.repeat([True, False], [100, bad])
        columns = {"held": held, "stratum": counts}
        rule = strata_rule(gates=True)
        found = rule.decide(columns, 100 + bad, None)
        beyond = exact(0, bad, level)[1] < 0.5
        assert [one.beyond for one in found.strata] == [False, beyond]
        assert found.verdict is (OPEN if beyond else PASSED)
        assert found.strata[1].interval == pytest.approx(exact(0, bad, level))
        assert (found.strata[0].name, found.strata[1].name) == ("1 object", "2 objects")
        assert (found.strata[0].value, found.strata[1].value, found.strata[1].n) == (1.0, 0.0, bad)
        assert strata_rule(gates=False).decide(columns, 100 + bad, None).verdict is PASSED
    assert rule.strata({"held": held[:100], "stratum": counts[:100]}) == ()


# Cues


def cue_columns(on: NDArray[Any], off: NDArray[Any], label: NDArray[Any], classes: int) -> dict[str, NDArray[Any]]:
    return {"on 0": on, "off 0": off, "label": label, "classes": np.full(len(label), classes)}


@pytest.mark.parametrize("target", [None, 1])
@pytest.mark.parametrize("terms", [SET, POPULATION])
def test_a_cue_is_judged_by_its_flips_and_each_recall(target: int | None, terms: Terms) -> None:
    label = np.repeat([0, 1, 2], [30, 40, 50])
    off, on = label.copy(), label.copy()
    on[:9] = 1  # nine of class 0 are drawn to class 1
    off[30:34] = 0  # four of class 1 are right with the cue alone
    columns = cue_columns(on, off, label, 3)
    rule = CueRule(targets=(target, target), max_flip_rate=0.2, max_recall_drop=0.25, terms=terms)
    pairs = CuePairs.count(columns, 0, target)
    flip, drops, worst = rule.judge(pairs)
    flips, of = (13, 120) if target is None else (9, 80)
    assert flip.estimate == flips / of
    assert flip.interval == pytest.approx((exact(flips, of, 0.025)[0], exact(flips, of, 0.05)[1]))
    classes = [0, 1, 2] if target is None else [1]
    assert (list(drops), worst) == (classes, 1)
    for k in classes:
        lost, gained, n = (0, 9, 30) if k == 0 else (4, 0, 40) if k == 1 else (0, 0, 50)

        low = paired_interval(lost, gained, n, 0.025 / len(classes))[0]
        high = paired_interval(lost, gained, n, 0.05 / len(classes))[1]
        assert drops[k].estimate == (lost - gained) / n
        assert drops[k].interval == pytest.approx((low, high))
        if terms is POPULATION:
            assert drops[k].verdict is (PASSED if high <= 0.25 else FAILED if low > 0.25 else OPEN)
    chances = draw_p_values([pairs, pairs])
    assert set(chances[0]) == set(classes)
    assert draw_p_values([pairs], [0.9])[0][1] >= 0.9


def test_a_part_without_an_event_is_not_asked_where_classes_may_be_missing() -> None:
    """The cue takes all recall of class 1 of three; of class 0 it loses nothing, and adds some to class 2."""
    label = np.tile([0, 1, 2], 40)
    off, on = label.copy(), label.copy()
    off[label == 1] = 0
    on[(label == 2) & (np.arange(120) < 30)] = 0
    columns = cue_columns(on, off, label, 3)
    rule = CueRule(targets=(None,), max_flip_rate=None, max_recall_drop=0.2, terms=SET)
    terms = Terms(scope="set", alpha=0.05, fail_alpha=0.02 / 3)
    event = (label == 1).astype(int)
    expected = RateRule(threshold=0.2, terms=terms).settle({"event": event, "counts": label == 1}, 300)
    assert expected is not None
    assert expected.verdict is FAILED
    assert rule.settle(columns, 300) == expected
    # Nothing flips: every part would pass, and a class without samples so far may not.
    assert rule.settle(cue_columns(label, label, label, 3), 121) is None
    alone = CueRule(targets=(1,), max_flip_rate=None, max_recall_drop=0.2, terms=SET)
    early = alone.settle(cue_columns(label, label, label, 3), 121)
    assert early is not None
    assert early.verdict is PASSED
    few = CuePairs.count(cue_columns(np.array([1, 1]), np.array([0, 1]), np.array([0, 1]), 2), 0, None)
    assert [few.shares_moved(k) for k in (0, 1)] == [(0.0, 1.0), (1.0, 0.0)]


@pytest.mark.parametrize("at_least", [True, False])
def test_a_part_of_a_set_has_its_interval_turned_with_the_claim(at_least: bool) -> None:
    held = np.random.default_rng(2).random(60) < 0.9
    for terms in (SET, POPULATION):
        rule = ShareRule(threshold=0.5, at_least=at_least, terms=terms)
        early = rule.settle({"held": held}, 200)
        found = rule.decide({"held": held}, 200, early)
        if terms is SET:
            assert early == settle_share(held, 200, 100, pass_alpha=0.05, fail_alpha=0.02)
            assert early is not None
            assert found.verdict is PASSED
            low, high = anytime_share_interval(held, 200, 0.05, early)
        else:
            assert early is None
            low, high = exact(int(held.sum()), 60, 0.05)
        assert found.interval == pytest.approx((low, high) if at_least else (1 - high, 1 - low))
        assert rule.doomed(101, 200) == (terms is SET)
        assert not rule.doomed(100, 200)


@pytest.mark.parametrize(
    ("common", "rare", "n", "passes"),
    [
        (100, 0, 1000, True),
        (99, 0, 1000, False),  # fewer than a hundred in all
        (100, 20, 1000, True),
        (100, 19, 1000, False),  # a stratum of more than a twentieth with fewer than twenty
        (400, 19, 1000, True),  # a rare one
        (361, 19, 1000, False),  # exactly a twentieth
        (30, 3, 33, True),  # all samples were read
    ],
)
def test_an_early_pass_waits_for_strata(common: int, rare: int, n: int, passes: bool) -> None:
    held, counts = np.ones(common + rare, dtype=bool), np.repeat([1, 2], [common, rare])
    columns = {"held": held, "stratum": counts}
    rule = strata_rule(gates=True)
    early = rule.settle(columns, n)
    whole = ShareRule(threshold=0.5, at_least=True, terms=SET).settle({"held": held}, n)
    assert whole is not None
    assert early == (whole if passes else None)
    assert strata_rule(gates=False).settle(columns, n) == whole
    failing = {"held": ~held, "stratum": counts}
    assert rule.settle(failing, n) == ShareRule(threshold=0.5, at_least=True, terms=SET).settle({"held": ~held}, n)
    found = rule.decide(columns, n, early)
    assert ("too few to judge the claim by the number of objects" in found.rule) == (not passes)
    assert rule.settle({"held": held}, n) == whole


def test_the_worst_verdict_leads() -> None:
    assert worst_of([PASSED, OPEN, FAILED]) is FAILED
    assert worst_of([PASSED, OPEN]) is OPEN
    assert worst_of([PASSED]) is PASSED
    assert worst_of([]) is OPEN


# Means of draws and of items


def test_draws_in_any_range_are_bets_on_their_share_of_it() -> None:
    random = np.random.default_rng(0)
    draws = random.uniform(2, 4, 60)
    for at_least in (True, False):
        sign = 1 if at_least else -1
        rule = DrawsRule(threshold=2.9, at_least=at_least, terms=SET, low=1.0, high=5.0)
        low, high = betting_interval(sign * (1 - 2 * (draws - 1) / 4), MANY, 0.05)
        ends = sorted(1 + 4 * (1 - sign * end) / 2 for end in (max(low, -1), min(high, 1)))
        found = rule.decide({"held": draws}, 60, None)
        assert found.interval == pytest.approx(tuple(ends))
        assert found.estimate == pytest.approx(draws.mean())
        assert rule.decide({"held": draws}, 61, None).estimate is None
        assert found.at_alpha
    for edge in (1.0, 5.0):
        assert DrawsRule(threshold=edge, at_least=True, terms=SET, low=1.0, high=5.0).threshold == edge
    for wrong in (0.99, 5.01):
        with pytest.raises(ValueError, match="range"):
            DrawsRule(threshold=wrong, at_least=True, terms=SET, low=1.0, high=5.0)
    with pytest.raises(ValueError, match="low < high"):
        DrawsRule(threshold=None, at_least=True, terms=SET, low=1.0, high=1.0)


@pytest.mark.parametrize("scope", ["set", "population"])
def test_items_share_alpha_between_early_and_last(scope: str) -> None:
    terms = SET if scope == "set" else POPULATION
    held = np.random.default_rng(1).random(80) < 0.8
    columns = {"score": held.astype(float), "held": held}
    rule = ItemsRule(threshold=0.6, terms=terms, single=True)
    found = rule.decide(columns, 80, None)
    expected = exact(int(held.sum()), 80, 0.05 if scope == "set" else 0.0375)
    assert found.interval == pytest.approx(expected)
    assert found.estimate == held.mean()
    part = rule.decide(columns, 90, None)
    assert part.estimate is None
    if scope == "population":
        low, high = betting_interval(1 - 2 * columns["score"], MANY, 0.0125)
        assert part.interval == pytest.approx(((1 - min(1, high)) / 2, (1 - max(-1, low)) / 2))
        assert part.rule == "alpha = 0.0125 a side, 80 of 90 items asked"
        free = ItemsRule(threshold=None, terms=terms, single=True).decide(columns, 80, None)
        assert free.interval == pytest.approx(exact(int(held.sum()), 80, 0.05))
        early = ItemsRule(threshold=0.4, terms=terms, single=True).settle(columns, 1000)
        draws = DrawsRule(
            threshold=0.4, at_least=True, terms=Terms(scope=scope, alpha=0.0125, fail_alpha=0.005), column="score"
        )
        assert early == draws.settle(columns, 1000)
        assert early is not None
        assert early.alpha == 0.0125


def test_a_mean_is_shown_in_its_own_sign_and_scale() -> None:
    values = np.array([-0.5, -0.25, 0.0, -0.75])
    for sign, scale in ((1, 2.0), (-1, 1.0)):
        rule = MeanRule(threshold=-0.375, terms=SET, sign=sign, scale=scale)
        found = rule.decide({"value": values}, 4, None)
        low, high = betting_interval(values, MANY, 0.05)
        ends = sorted((sign * scale * max(-1.0, low), sign * scale * min(1.0, high)))
        assert (found.verdict, found.estimate) == (PASSED, sign * scale * -0.375)
        assert found.interval == pytest.approx(tuple(ends))
        part = rule.decide({"value": values}, 5, None)
        low, high = betting_interval(values, 5, 0.05)
        assert part.interval == pytest.approx(tuple(sorted((sign * scale * low, sign * scale * high))))
        of_population = MeanRule(threshold=0.5, terms=POPULATION, sign=sign, scale=scale)
        part = of_population.decide({"value": values}, 5, None)
        assert part.interval == pytest.approx(tuple(ends))
    assert MeanRule(threshold=-0.3751, terms=SET).decide({"value": values}, 4, None).verdict is FAILED


# Agreement and rates


def test_an_agreement_is_a_share_of_what_counts() -> None:
    counts = np.array([1, 1, 0, 1, 1, 0], dtype=bool)
    agreed = np.array([1, 0, 1, 1, 1, 0], dtype=bool)
    columns = {"counts": counts, "agreed": agreed}
    for terms, threshold, verdict in ((SET, 0.75, PASSED), (SET, 0.76, FAILED), (POPULATION, 0.75, OPEN)):
        found = AgreementRule(threshold=threshold, terms=terms).decide(columns, 6, None)
        assert (found.verdict, found.estimate) == (verdict, 0.75)
        assert found.interval == pytest.approx(exact(3, 4, 0.05))
    part = AgreementRule(threshold=0.75, terms=POPULATION).decide(columns, 7, None)
    assert part.interval == pytest.approx(exact(3, 4, 0.05))
    nothing = AgreementRule(threshold=0.1, terms=SET).decide({"counts": counts & False, "agreed": agreed}, 6, None)
    assert (nothing.verdict, nothing.estimate, nothing.interval) == (OPEN, None, (0.0, 1.0))
    many = {"counts": np.ones(60, dtype=bool), "agreed": np.ones(60, dtype=bool)}
    assert AgreementRule(threshold=0.5, terms=SET, least=60).settle(many, 200) is not None
    assert AgreementRule(threshold=0.5, terms=SET, least=61).settle(many, 200) is None
    assert AgreementRule(threshold=0.5, terms=POPULATION).settle(many, 200) is None
    value = MeanRule(threshold=0.0, terms=SET).settle({"value": np.full(60, -0.5)}, 200)
    assert AgreementRule(threshold=0.5, terms=SET).settle(many, 200) == value


@pytest.mark.parametrize("signed", [True, False])
def test_a_rate_settles_as_the_mean_of_what_it_exceeds(signed: bool) -> None:
    event, counts = np.array([0, 1, 0, 0] * 20), np.array([1, 1, 0, 1] * 20, dtype=bool)
    rule = RateRule(threshold=0.6, terms=SET, signed=signed)
    value = (event - 0.6 * counts) / (1.6 if signed else 1)
    found = rule.settle({"event": event, "counts": counts}, 500)
    assert found == MeanRule(threshold=0.0, terms=SET).settle({"value": value}, 500)
    assert found is not None
    assert found.verdict is PASSED
    assert RateRule(threshold=None, terms=SET).settle({"event": event, "counts": counts}, 500) is None


# Certificates


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("terms", [SET, POPULATION])
def test_a_certified_share_joins_proofs_and_attack(alone: bool, drawn: bool, terms: Terms) -> None:
    n = 40
    for proven, held in ((40, 40), (30, 36), (10, 36), (0, 12), (24, 24), (0, 0)):
        columns = {"proven": np.arange(n) < proven, "held": np.arange(n) < held}
        for threshold in (0.5, 0.6, 0.9, None):
            rule = CertifiedRule(threshold=threshold, terms=terms, proofs_alone=alone, drawn=drawn)
            found = rule.decide(columns, n, None)
            low, high = exact(proven, n, 0.05)[0], exact(held, n, 0.05)[1]
            assert found.interval == pytest.approx((proven / n, held / n) if terms is SET else (low, high))
            assert found.estimate == (proven / n if alone else held / n)
            if threshold is None:
                expected = OPEN
            elif terms is SET:
                passed, failed = proven / n >= threshold, held / n < threshold
                expected = PASSED if passed else FAILED if failed else OPEN if alone else PASSED
            else:
                passed = low >= threshold or (not alone and exact(held, n, 0.05)[0] >= threshold)
                expected = PASSED if passed else FAILED if high < threshold else OPEN
            assert found.verdict is expected
            by_proof = threshold is not None and (proven / n >= threshold if terms is SET else low >= threshold)
            assert found.proven == by_proof
            assert found.at_alpha == (drawn or (terms is POPULATION and threshold is not None))
            assert rule.doomed(n - held, n) == (terms is SET and threshold is not None and held / n < threshold)


# A drop that starts above chance


def test_a_pass_of_a_drop_waits_for_a_start_above_chance() -> None:
    label = np.array([0, 1] * 100)
    clean = np.ones(200, dtype=bool)
    rule = AboveChanceRule(other=DropRule(threshold=0.1, terms=SET), threshold=0.1, terms=SET)
    columns = {"clean": clean, "held": clean, "label": label}
    early = rule.settle(columns, 1000)
    drop = DropRule(threshold=0.1, terms=SET).settle(columns, 1000)
    start = ShareRule(threshold=0.6, at_least=True, terms=SET, column="clean").settle(columns, 1000)
    assert early is not None
    assert drop is not None
    assert start is not None
    assert early.after == max(drop.after, start.after)
    assert not early.certain
    half = {**columns, "clean": label == 0, "held": label == 0}
    assert rule.settle(half, 1000) is None
    assert rule.decide(half, 200, None).reasons == ("no_fall",)
    assert rule.decide(columns, 200, None).verdict is PASSED
    lost = {**columns, "held": ~clean}
    failed = rule.settle(lost, 1000)
    assert failed is not None
    assert failed.verdict is FAILED
    assert rule.doomed(5, 200) == DropRule(threshold=0.1, terms=SET).doomed(5, 200)


RULES: list[Rule] = [
    ShareRule(threshold=0.5, at_least=True, terms=SET),
    DropRule(threshold=0.5, terms=SET),
    MeanRule(threshold=0.5, terms=SET),
    ScoreRule(threshold=0.5, terms=SET),
    ItemsRule(threshold=0.5, terms=SET, single=True),
    CertifiedRule(threshold=0.5, terms=SET, proofs_alone=True),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_rule_for_a_part_has_the_terms_of_the_part(rule: Any) -> None:
    part = rule.for_part(POPULATION)
    assert type(part) is type(rule)
    assert (part.terms, part.threshold) == (POPULATION, rule.threshold)
