"""Guards of the claim that a synthetic set stands in for real data: each part at its border, and all together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from robustest_training.synthetic_rule import (
    UNUSUAL,
    CoversRule,
    Part,
    Trained,
    difference_interval,
    fewest_held_out,
    share_below_interval,
)

from robustest import Verdict
from robustest.decisions import Terms

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)
P, F, Q = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def rule(terms: Terms = SET, parts: int = 2) -> CoversRule:
    return CoversRule(parts=parts, terms=terms, seed=0)


def trained(accuracy: float, size: int = 1000, n: int = 5000, variance: float = 1e-6) -> Trained:
    return Trained(
        size=size, right=(np.arange(n) < accuracy * n).astype(float), variance=variance, freedom=50.0, draws=8
    )


@pytest.mark.parametrize(("max_gap", "verdict"), [(0.15, P), (0.1, Q), (0.05, F), (None, Q)])
def test_the_gap_is_judged_by_its_interval(max_gap: float | None, verdict: Verdict) -> None:
    part = rule().boundary(trained(0.9), trained(0.8), max_gap, idle=0.25)
    assert (part.verdict, part.rule) == (verdict, "")
    assert part.value == pytest.approx(0.1)
    assert part.interval == difference_interval(trained(0.9), trained(0.8), 0.05)


def test_a_failure_needs_its_share_of_alpha() -> None:
    real, synthetic = trained(0.9), trained(0.8)
    for parts in (1, 4, 50):
        low = difference_interval(real, synthetic, 0.05 / parts)[0]
        assert rule(parts=parts).boundary(real, synthetic, low - 1e-6, idle=0.25).verdict is F
        assert rule(parts=parts).boundary(real, synthetic, low + 1e-6, idle=0.25).verdict is Q
    assert rule(parts=0).boundary(real, synthetic, 0.05, idle=0.25).verdict is F
    high = difference_interval(real, synthetic, 0.05)[1]
    assert rule().boundary(real, synthetic, high, idle=0.25).verdict is P
    assert rule().boundary(real, synthetic, high - 1e-6, idle=0.25).verdict is Q


def test_real_samples_that_teach_nothing_lose_nothing() -> None:
    real, synthetic = trained(0.9), trained(0.9)
    low = real.interval(0.05)[0]
    idle = rule().boundary(real, synthetic, 0.5, idle=low)
    assert idle.verdict is Q
    assert idle.rule == f"real samples teach the learner no more than always to answer the largest class ({low:.3f})"
    narrow = rule().boundary(real, synthetic, 0.5, idle=0.5)
    assert narrow.verdict is Q
    assert narrow.rule.startswith("nothing could have failed it: real samples teach only 0.400 beyond 0.500")
    assert rule().boundary(real, synthetic, 0.39, idle=0.5).verdict is P
    assert rule().boundary(trained(0.9), trained(0.5), 0.1, idle=0.95).verdict is F


@pytest.mark.parametrize(("max_shift", "verdict"), [(0.1, P), (0.0999, Q), (0.01, F), (None, Q)])
def test_label_shifts_of_a_set_are_facts(max_shift: float | None, verdict: Verdict) -> None:
    """60 : 40 against 50 : 50, a tenth apart; that others are may still be chance."""
    part = rule().labels(np.array([6000, 4000]), np.array([5000, 5000]), max_shift)
    assert part.value == pytest.approx(0.1)
    if max_shift == 0.1:
        part = rule().labels(np.array([6000, 4000]), np.array([5000, 5000]), 0.1 + 1e-9)
    assert part.verdict is verdict
    assert part.interval[0] is not None
    assert part.interval[0] < 0.1


def test_label_shifts_of_a_population_are_judged_by_the_upper_end() -> None:
    synthetic, real = np.array([6000, 4000]), np.array([5000, 5000])
    assert rule(POPULATION).labels(synthetic, real, 0.101).verdict is Q
    assert rule(SET).labels(synthetic, real, 0.101).verdict is P
    assert rule(POPULATION).labels(synthetic, real, 0.2).verdict is P


def ratios(copied: int, n: int = 1000) -> Any:
    """So many values below all held-out ones, the others above them."""
    return np.concatenate([np.zeros(copied), np.full(n - copied, 2.0)])


HELD_OUT = np.linspace(0.5, 1.0, 2000)


@pytest.mark.parametrize(("max_copies", "verdict"), [(0.1, P), (0.099, Q), (0.05, F), (None, Q)])
def test_copies_in_a_set_are_counted(max_copies: float | None, verdict: Verdict) -> None:
    part = rule().copies(ratios(100), HELD_OUT, max_copies)
    assert (part.verdict, part.value, part.rule) == (verdict, 0.1, "")
    assert part.interval == share_below_interval(ratios(100), HELD_OUT, UNUSUAL, 0.05)
    population = rule(POPULATION).copies(ratios(100), HELD_OUT, max_copies)
    assert population.verdict is (Q if verdict is P else verdict)
    assert rule(POPULATION).copies(ratios(100), HELD_OUT, 0.15).verdict is P


def test_too_few_held_out_samples_place_no_quantile() -> None:
    fewest = fewest_held_out(UNUSUAL)
    few = rule().copies(ratios(0), HELD_OUT[: fewest - 1], 0.5)
    assert few.verdict is Q
    assert few.rule == f"{fewest - 1} test samples, fewer than {fewest}, do not place a quantile of 0.01"
    assert rule().copies(ratios(0), HELD_OUT[:fewest], 0.5).verdict is P


CURVE = [trained(0.5, 100), trained(0.7, 200), trained(0.9, 400)]


@pytest.mark.parametrize(("max_factor", "verdict"), [(3.0, P), (2.0, Q), (1.2, F), (None, Q)])
def test_the_factor_is_judged_at_the_size_that_it_names(max_factor: float | None, verdict: Verdict) -> None:
    """400 synthetic samples teach what 200 real ones do: a factor of 2."""
    part = rule().diversity(CURVE, trained(0.7, 400), max_factor)
    assert part.verdict is verdict
    assert part.value == pytest.approx(2.0, abs=0.05)
    low, high = part.interval
    assert low is not None
    assert high is not None
    assert 1.5 < low < 2.1
    assert 1.9 < high < 2.7


def test_factors_beyond_the_curve_are_not_told() -> None:
    part = rule().diversity(CURVE, trained(0.7, 400), 5.0)
    assert part.verdict is Q
    assert part.rule == "the real learning curve tells factors of 1 to 4, not 5"


def test_a_flat_curve_resolves_nothing() -> None:
    flat = [trained(0.7, 100), trained(0.7, 200), trained(0.7, 400)]
    part = rule().diversity(flat, trained(0.7, 400), 2.0)
    assert (part.verdict, part.value) == (Q, None)
    assert part.rule == "not resolved: the real learning curve is flat there"
    assert "not resolved" in Part(name="n", value=None, interval=(None, 1.0), threshold=2.0, verdict=Q).why()


def part(verdict: Verdict, threshold: float | None = 0.1, name: str = "n", value: float = 0.05) -> Part:
    return Part(name=name, value=value, interval=(None, 0.5), threshold=threshold, verdict=verdict)


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [((P, P), P), ((P, F), F), ((P, Q), Q), ((F, Q), F), ((Q, P), Q)],
)
def test_all_parts_that_are_claimed_must_hold(verdicts: tuple[Verdict, Verdict], verdict: Verdict) -> None:
    parts = [part(verdicts[0], name="gap"), part(verdicts[1], name="other"), part(Q, None, name="unclaimed")]
    found = rule().decide(parts)
    assert (found.verdict, found.estimate, found.interval, found.at_alpha) == (verdict, 0.05, (-1.0, 0.5), True)
    named = [name for name, one in zip(("gap", "other"), verdicts, strict=True) if one is verdict is not P]
    assert [name for name in ("gap", "other", "unclaimed") if f"{name} 0.05 [ - , 0.5]" in found.rule] == named
    assert found.rule.endswith("training draws and test samples, about alpha = 0.05 a side")
    assert found.approximate


ABOUT = "not shown for the population: Student's t over training draws and test samples holds only about alpha = 0.05"


@pytest.mark.parametrize(("threshold", "verdict"), [("high", P), ("between", Q), ("low", F)])
@pytest.mark.parametrize("name", ["gap", "factor"])
def test_what_holds_only_about_passes_a_set_and_no_population(name: str, threshold: str, verdict: Verdict) -> None:
    """The gap and the factor of the tests above: a pass alone becomes inconclusive, and says why."""
    at_most = {"gap": {"high": 0.15, "between": 0.1, "low": 0.05}, "factor": {"high": 3.0, "between": 2.0, "low": 1.2}}
    of_set, population = (
        one.boundary(trained(0.9), trained(0.8), at_most[name][threshold], idle=0.25)
        if name == "gap"
        else one.diversity(CURVE, trained(0.7, 400), at_most[name][threshold])
        for one in (rule(SET), rule(POPULATION))
    )
    assert (of_set.verdict, of_set.rule) == (verdict, "")
    assert population.verdict is (Q if verdict is P else verdict)
    assert population.rule.startswith(ABOUT) is (verdict is P)
    assert 'claim it of these sets (scope="set")' in population.rule or verdict is not P
    assert population.interval == of_set.interval


def test_without_a_gap_nothing_is_claimed() -> None:
    found = rule().decide([part(Q, None), part(F)])
    assert (found.verdict, found.rule, found.at_alpha) == (Q, "no threshold given", False)
    empty = Part(name="n", value=0.05, interval=(-0.2, None), threshold=None, verdict=Q)
    assert rule().decide([empty]).interval == (-0.2, 1.0)
    assert empty.told()["verdict"] == "not claimed"
    assert part(P).told() == {"part": "n", "value": 0.05, "interval": [None, 0.5], "at most": 0.1, "verdict": "passed"}
