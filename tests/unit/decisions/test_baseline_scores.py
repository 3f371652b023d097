"""A baseline's scores against the same samples' now: the fall of their mean and its tolerance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from robustest import Verdict
from robustest.decisions import ScoreBaselineRule, Terms
from robustest.decisions.baseline import Fall
from robustest.decisions.bets import fall_interval
from robustest.decisions.mean import ScoreRule
from robustest.decisions.rule import Decision

Scores = NDArray[np.float64]
SET = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
POPULATION = Terms(scope="population", alpha=0.01, fail_alpha=0.01)


def claim_on(
    before: Scores | None, *, threshold: float | None = None, tolerance: float = 0.0, terms: Terms = SET
) -> ScoreBaselineRule:
    return ScoreBaselineRule(
        other=ScoreRule(threshold=threshold, terms=terms),
        has_threshold=threshold is not None,
        before=before,
        tolerance=tolerance,
        terms=terms,
        seed=0,
    )


def columns(now: Scores, order: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.generic]]:
    ids = np.arange(len(now)) if order is None else order
    return {"held": now[ids] > 0.5, "score": now[ids], "id": ids}


def compared(before: Scores, now: Scores, **changes: object) -> Fall:
    return claim_on(before, **changes).compare(columns(now))  # type: ignore[arg-type]


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
    on_set = "the mean score fell by 0.0000 on this set, tolerance 0 (0 lower, 0 higher of 100)"
    assert decision.rule == f"no worse: {on_set}"
    assert not decision.at_alpha


def test_a_clear_fall_fails_unless_it_is_tolerated() -> None:
    before = np.full(100, 0.9)
    now = before - np.random.default_rng(0).uniform(0.1, 0.3, 100)
    assert decided(claim_on(before), now).verdict is Verdict.FAILED
    assert decided(claim_on(before, tolerance=0.35), now).verdict is Verdict.PASSED


@pytest.mark.parametrize("n", [3, 100])
def test_a_fall_of_exactly_the_tolerance_is_tolerated(n: int) -> None:
    """Scores are sums of fractions: rounding decides nothing."""
    before = np.full(n, 0.9)
    for fall in (0.29, 1 / 3, 0.1):
        assert compared(before, before - fall, tolerance=fall).verdict is Verdict.PASSED
        assert compared(before, before - fall - 2e-6, tolerance=fall).verdict is Verdict.FAILED


def test_a_little_lost_by_all_is_lost() -> None:
    before = np.full(100, 0.9)
    assert decided(claim_on(before), before - 0.002).verdict is Verdict.FAILED
    assert decided(claim_on(before, tolerance=0.002), before - 0.002).verdict is Verdict.PASSED
    # Of the population 100 samples show no fall as small as that.
    found = decided(claim_on(before, terms=POPULATION), before - 0.002)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "would show that the fall is beyond the tolerance" in found.rule


def test_a_gain_makes_up_for_a_loss() -> None:
    generator = np.random.default_rng(3)
    noise = generator.uniform(0, 0.3, 200)
    before, moved = np.full(200, 0.5), np.concatenate([noise[:100], -noise[:100]])
    assert decided(claim_on(before), before - moved).verdict is Verdict.PASSED
    assert decided(claim_on(before), before - moved - 0.001).verdict is Verdict.FAILED


def test_a_threshold_holds_beside_the_baseline() -> None:
    before = np.full(100, 0.6)
    assert decided(claim_on(before, threshold=0.7), before).verdict is Verdict.FAILED
    assert decided(claim_on(before, threshold=0.5), before).verdict is Verdict.PASSED
    assert decided(claim_on(before, threshold=0.5), before - 0.002).verdict is Verdict.FAILED
    assert decided(claim_on(before, threshold=0.3, terms=POPULATION), before).verdict is Verdict.INCONCLUSIVE
    assert decided(claim_on(before, threshold=0.3, tolerance=0.1, terms=POPULATION), before).verdict is Verdict.PASSED
    assert decided(claim_on(before, threshold=0.9, tolerance=0.1, terms=POPULATION), before).verdict is Verdict.FAILED
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
@pytest.mark.parametrize("tolerance", [0.05, pytest.param(0.0, marks=pytest.mark.slow)])
def test_a_population_at_the_tolerance_passes_and_fails_no_oftener_than_alpha(skewed: str, tolerance: float) -> None:
    """Of few draws with rare large gains all may have fallen, and with rare large losses none."""
    generator, runs = np.random.default_rng(5), 100
    values, chances = {
        "rare large gains": ((-0.8, 0.1), (1 / 9, 8 / 9)),
        "rare large losses": ((0.8, -0.1), (1 / 9, 8 / 9)),
        "even": ((-0.3, 0.3), (0.5, 0.5)),
    }[skewed]
    terms = Terms(scope="population", alpha=0.05, fail_alpha=0.05)
    verdicts = []
    for _ in range(runs):
        fall = generator.choice(values, 20, p=chances) + tolerance
        before = np.where(fall > 0, 0.9, 0.05)
        verdicts.append(compared(before, before - fall, tolerance=tolerance, terms=terms).verdict)
    most = binom.ppf(1 - 1e-4, runs, 0.05)
    assert verdicts.count(Verdict.PASSED) <= most
    assert verdicts.count(Verdict.FAILED) <= most


def test_a_population_may_have_lost_what_few_scores_show() -> None:
    before = np.full(200, 0.9)
    for tolerance, verdict in ((0.0, Verdict.INCONCLUSIVE), (0.01, Verdict.INCONCLUSIVE), (0.03, Verdict.PASSED)):
        claim = claim_on(before, tolerance=tolerance)
        assert claim.decide(columns(before), 200, None).verdict is Verdict.PASSED
        of_others = replace(claim, other=ScoreRule(threshold=None, terms=POPULATION), terms=POPULATION)
        found = of_others.decide(columns(before), 200, None)
        assert found.verdict is verdict
        assert found.at_alpha
    found = of_others.compare(columns(before))
    assert found.interval == fall_interval(np.zeros(200), 0.01, 0.03)


def test_the_share_before_is_the_mean_score_of_the_baseline() -> None:
    assert claim_on(np.array([0.25, 0.75, 1.0, 0.0])).share_before == 0.5
    with pytest.raises(ValueError, match="Expected a baseline to compare with"):
        _ = claim_on(None).share_before
