"""A baseline's scores against the same samples' now: what fails, what passes, and what neither test settles."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from robustest import Verdict
from robustest.decisions import ScoreBaselineRule, Terms
from robustest.decisions.baseline import ScoreChange, chance_of_swaps, sign_flip, sign_flip_by_draws
from robustest.decisions.bets import p_above_zero
from robustest.decisions.mean import ScoreRule
from robustest.decisions.rule import Decision

Scores = NDArray[np.float64]
SET = Terms(scope="set", alpha=0.01, fail_alpha=0.01)


def claim_on(before: Scores | None, *, threshold: float | None = None, tolerance: float = 0.0) -> ScoreBaselineRule:
    return ScoreBaselineRule(
        other=ScoreRule(threshold=threshold, terms=SET),
        has_threshold=threshold is not None,
        before=before,
        tolerance=tolerance,
        terms=SET,
        seed=0,
    )


def columns(now: Scores, order: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.generic]]:
    ids = np.arange(len(now)) if order is None else order
    return {"held": now[ids] > 0.5, "score": now[ids], "id": ids}


def compared(before: Scores, now: Scores, **changes: float) -> ScoreChange:
    return claim_on(before, **changes).compare(columns(now))


def decided(claim: ScoreBaselineRule, now: Scores) -> Decision:
    seen = columns(now, np.random.default_rng(1).permutation(len(now)))
    return claim.decide(seen, len(now), claim.settle(seen, len(now)))


def test_samples_are_paired_by_their_place_in_the_data_whatever_order_they_come_in() -> None:
    generator = np.random.default_rng(0)
    before, now = generator.random(40), generator.random(40)
    claim = claim_on(before)
    found = claim.compare(columns(now))
    assert found == claim.compare(columns(now, generator.permutation(40)))
    assert found.fall == pytest.approx(before.mean() - now.mean())
    assert (found.lost, found.gained) == ((before > now).sum(), (before < now).sum())


def test_scores_as_they_were_pass_and_alone_they_say_so() -> None:
    before = np.random.default_rng(0).random(100)
    decision = decided(claim_on(before), before)
    assert decision.verdict is Verdict.PASSED
    assert decision.rule.startswith("no worse: against the baseline the mean score fell by 0.0000, 0 lower, 0 higher")
    assert decision.at_alpha


def test_a_clear_fall_fails_unless_it_is_tolerated() -> None:
    before = np.full(100, 0.9)
    now = before - np.random.default_rng(0).uniform(0.1, 0.3, 100)
    assert decided(claim_on(before), now).verdict is Verdict.FAILED
    assert decided(claim_on(before, tolerance=0.35), now).verdict is Verdict.PASSED


def test_a_fall_of_exactly_the_tolerance_is_tolerated() -> None:
    before = np.full(100, 0.9)
    assert not compared(before, before - 0.29, tolerance=0.29).beyond


def test_a_little_lost_by_all_is_no_chance_and_never_passes() -> None:
    """Bets must allow for a rare large gain that 100 samples can miss; swaps of then and now see the fall at once."""
    before = np.full(100, 0.9)
    found = compared(before, before - 0.002)
    assert found.p_lost > 0.01
    assert found.chance == 0
    decision = decided(claim_on(before), before - 0.002)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.rule.startswith("lost, and not by chance alone")


def test_few_samples_that_could_not_show_a_loss_are_inconclusive() -> None:
    before = np.full(8, 0.9)
    decision = decided(claim_on(before), before - np.array([0.4, *[0.0] * 7]))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.rule.startswith("too few samples")
    assert decided(claim_on(before), before).verdict is Verdict.PASSED  # nothing fell


def test_changes_to_and_fro_pass() -> None:
    generator = np.random.default_rng(3)
    before, noise = np.full(200, 0.5), generator.uniform(0, 0.3, 200)
    now = before - np.concatenate([noise[:102], -noise[102:]])
    assert compared(before, now).fall > 0
    assert decided(claim_on(before), now).verdict is Verdict.PASSED


def test_a_threshold_holds_beside_the_baseline() -> None:
    before = np.full(100, 0.6)
    assert decided(claim_on(before, threshold=0.7), before).verdict is Verdict.FAILED
    assert decided(claim_on(before, threshold=0.5), before).verdict is Verdict.PASSED
    assert decided(claim_on(before, threshold=0.5), before - 0.002).verdict is Verdict.INCONCLUSIVE
    assert decided(claim_on(before, threshold=0.7), before - 0.002).verdict is Verdict.FAILED
    assert decided(claim_on(None), before).verdict is Verdict.PASSED


def test_part_of_the_samples_never_passes() -> None:
    before = np.full(100, 0.9)
    seen = columns(before[:60])
    assert claim_on(before).decide(seen, 100, None).verdict is Verdict.INCONCLUSIVE


def test_a_gain_is_better_only_where_bets_show_it() -> None:
    before = np.full(100, 0.5)
    assert compared(before, before + 0.3).better
    assert not compared(before, before + 0.001).better


@pytest.mark.parametrize("skewed", ["rare large gains", "rare large losses", "even"])
def test_a_population_that_lost_nothing_fails_no_oftener_than_alpha(skewed: str) -> None:
    """Its mean change is 0; of few draws with rare large gains all may have fallen, which a flip test would reject."""
    generator, runs = np.random.default_rng(5), 1000
    values, chances = {
        "rare large gains": ((-0.8, 0.1), (1 / 9, 8 / 9)),
        "rare large losses": ((0.8, -0.1), (1 / 9, 8 / 9)),
        "even": ((-0.3, 0.3), (0.5, 0.5)),
    }[skewed]
    failed = sum(p_above_zero(generator.choice(values, 20, p=chances)) <= 0.01 for _ in range(runs))
    assert failed <= binom.ppf(1 - 1e-4, runs, 0.01)
    assert p_above_zero(np.full(20, 0.8)) <= 0.01


def test_shares_of_flips_are_those_of_every_flip() -> None:
    change = np.array([0.3, -0.1, 0.25, 0.05, 0.4, -0.2, 0.0])
    sums = [np.dot(signs, change) for signs in itertools.product((-1, 1), repeat=len(change))]
    exact = np.mean(np.array(sums) >= change.sum() - 1e-12)
    assert sign_flip_by_draws(change, alpha=0.001, seed=0) == pytest.approx(exact, abs=0.01)
    assert sign_flip_by_draws(np.array([4, 3, -1, 2, 2]) / 7, alpha=0.01, seed=0) == pytest.approx(
        sign_flip(np.array([4, 3, -1, 2, 2])), abs=0.02
    )
    assert sign_flip_by_draws(np.zeros(3), alpha=0.01, seed=0) == 1.0


def test_a_population_may_have_lost_what_few_scores_show() -> None:
    before = np.full(200, 0.9)
    population = Terms(scope="population", alpha=0.01, fail_alpha=0.01)
    for tolerance, verdict in ((0.0, Verdict.INCONCLUSIVE), (0.2, Verdict.PASSED)):
        claim = claim_on(before, tolerance=tolerance)
        assert claim.decide(columns(before), 200, None).verdict is Verdict.PASSED
        of_others = replace(claim, other=ScoreRule(threshold=None, terms=population), terms=population)
        assert of_others.decide(columns(before), 200, None).verdict is verdict


def test_the_share_before_is_the_mean_score_of_the_baseline() -> None:
    assert claim_on(np.array([0.25, 0.75, 1.0, 0.0])).share_before == 0.5
    with pytest.raises(ValueError, match="Expected a baseline to compare with"):
        _ = claim_on(None).share_before


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6, 12])
def test_all_swaps_of_means_of_a_few_runs_are_counted(parts: int) -> None:
    change = np.array([1, 1, -1, 0, parts, -1, 2 % (parts + 1), 1]) / parts
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(change))).reshape(len(change), -1)
    every = float(((signs * np.abs(change)[:, None]).sum(0) >= change.sum() - 1e-9).mean())
    for seed in range(3):
        assert chance_of_swaps(change, alpha=0.01, seed=seed) == pytest.approx(every)
    odd = change * 0.917
    assert chance_of_swaps(odd, alpha=0.01, seed=1) == sign_flip_by_draws(odd, alpha=0.01, seed=1)
    assert chance_of_swaps(0 * change, alpha=0.01, seed=0) == 1
