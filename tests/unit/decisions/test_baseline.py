"""A baseline's samples against the same samples now: the exact test, and what becomes of the claim beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from robustest import Verdict
from robustest.decisions import BaselineRule, ShareRule, Terms
from robustest.decisions.baseline import OutcomeChange
from robustest.decisions.paired import paired_interval
from robustest.decisions.rule import Decision

Bools = NDArray[np.bool_]
SET = Terms(scope="set", alpha=0.01, fail_alpha=0.01)


def claim_on(
    before: Bools | None, *, threshold: float | None = None, tolerance: float = 0.0, terms: Terms = SET
) -> BaselineRule:
    return BaselineRule(
        other=ShareRule(threshold=threshold, at_least=True, terms=terms),
        has_threshold=threshold is not None,
        before=before,
        tolerance=tolerance,
        terms=terms,
    )


def pairs(lost: int, gained: int, n: int, right: int = 0) -> tuple[Bools, Bools]:
    """Outcomes before and now; `right` of the others hold both times."""
    before, now = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    before[:lost] = now[lost : lost + gained] = True
    before[lost + gained : lost + gained + right] = now[lost + gained : lost + gained + right] = True
    return before, now


def columns(now: Bools, order: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.generic]]:
    ids = np.arange(len(now)) if order is None else order
    return {"held": now[ids], "id": ids}


def compared(lost: int, gained: int, n: int, **changes: object) -> OutcomeChange:
    before, now = pairs(lost, gained, n)
    return claim_on(before, **changes).compare(columns(now))  # type: ignore[arg-type]


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 100))
def test_the_numbers_are_those_of_the_exact_test(lost: int, gained: int, rest: int) -> None:
    n = max(1, lost + gained + rest)
    found = compared(lost, gained, n)
    assert (found.lost, found.gained, found.n) == (lost, gained, n)
    for p, more in ((found.p_lost, lost), (found.p_gained, gained)):
        want = binomtest(more, lost + gained, 0.5, alternative="greater").pvalue if lost + gained else 1.0
        assert p == pytest.approx(want, rel=1e-9, abs=1e-300)
    assert found.interval == paired_interval(lost, gained, n, 0.01)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_samples_are_paired_by_their_place_in_the_data_in_whatever_order_they_come(
    outcomes: list[tuple[bool, bool]], random: object
) -> None:
    before, now = (np.array(side) for side in zip(*outcomes, strict=True))
    order = np.random.default_rng(random.randint(0, 2**32)).permutation(len(now))  # type: ignore[attr-defined]
    found = claim_on(before).compare(columns(now, order))
    assert found.lost == sum(b and not a for b, a in outcomes)
    assert found.gained == sum(a and not b for b, a in outcomes)


@pytest.mark.parametrize(
    ("lost", "gained", "tolerance", "worse", "better"),
    [
        (0, 0, 0.0, False, False),
        (7, 0, 0.0, True, False),  # 2 ** -7 is less than a hundredth
        (6, 0, 0.0, False, False),  # 2 ** -6 is more
        (0, 7, 0.0, False, True),
        (0, 6, 0.0, False, False),
        (20, 0, 0.1, False, False),  # exactly a tenth of 200
        (21, 0, 0.1, True, False),
        (58, 0, 0.29, False, False),  # 0.29 * 200 is 57.99999999999999 in floating point
        (0, 20, 0.1, False, False),
        (0, 21, 0.1, False, True),
        (60, 50, 0.01, False, False),  # five points lost, by chance perhaps
    ],
)
def test_worse_is_more_than_the_tolerance_and_more_than_chance(
    lost: int, gained: int, tolerance: float, worse: bool, better: bool
) -> None:
    found = compared(lost, gained, 200, tolerance=tolerance)
    assert (found.worse, found.better) == (worse, better)


@pytest.mark.parametrize("fail_alpha", [0.01, 0.003, 1e-9])
def test_a_loss_is_judged_at_alpha_whatever_an_early_failure_may_spend(fail_alpha: float) -> None:
    """8 lost: p = .0039. A comparison waits for every sample: what it does not call worse has no second chance."""
    before, now = pairs(8, 0, 200)
    for alpha, worse in ((0.01, True), (0.003, False)):
        terms = Terms(scope="set", alpha=alpha, fail_alpha=fail_alpha)
        assert claim_on(before, terms=terms).compare(columns(now)).worse is worse


def test_a_comparison_in_words_has_both_counts_and_the_p_value() -> None:
    assert str(compared(7, 2, 200)) == "against the baseline 7 lost, 2 gained of 200, McNemar p = 0.09"


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_what_only_chance_moved_is_called_worse_no_oftener_than_alpha(alpha: float) -> None:
    """Summed over all ways that changes which might as well have gone the other way can fall: exact."""
    terms = Terms(scope="set", alpha=alpha, fail_alpha=alpha)
    largest = 0.0
    for moved in range(41):
        worse = [compared(lost, moved - lost, 50, terms=terms).worse for lost in range(moved + 1)]
        size = float(binom.pmf(np.flatnonzero(worse), moved, 0.5).sum())
        assert size <= alpha
        largest = max(largest, size)
    assert largest > alpha / 2  # and it is not so careful that it would see nothing


def test_a_point_lost_is_seen_where_two_accuracies_far_apart_would_drown_it() -> None:
    """2 % of 2000 samples change sides, three of four of them for the worse: the accuracy falls by one point."""
    generator = np.random.default_rng(0)
    runs, caught, alarms = 400, 0, 0
    for _ in range(runs):
        for p_lost, fell in ((0.015, True), (0.01, False)):
            draws = generator.random(2000)
            before = generator.random(2000) < 0.8
            now = before.copy()
            lost, gained = draws < p_lost, (draws >= p_lost) & (draws < 0.02)
            before[lost], now[lost], before[gained], now[gained] = True, False, False, True
            decision = decided(claim_on(before), now)
            caught += fell and decision.verdict is Verdict.FAILED
            alarms += not fell and decision.verdict is Verdict.FAILED
    assert caught >= 0.75 * runs
    assert alarms <= binom.ppf(1 - 1e-4, runs, 0.01)


def decided(claim: BaselineRule, now: Bools) -> Decision:
    seen = columns(now, np.random.default_rng(0).permutation(len(now)))
    return claim.decide(seen, len(now), claim.settle(seen, len(now)))


def test_alone_it_passes_unless_it_is_worse() -> None:
    before, now = pairs(3, 1, 200, right=100)
    decision = decided(claim_on(before), now)
    assert decision.verdict is Verdict.PASSED
    assert decision.rule == "no worse: against the baseline 3 lost, 1 gained of 200, McNemar p = 0.31"
    assert decision.estimate == now.mean()
    before, now = pairs(20, 1, 200, right=100)
    decision = decided(claim_on(before), now)
    assert decision.verdict is Verdict.FAILED
    assert decision.rule.startswith("worse: against the baseline 20 lost, 1 gained of 200")


@pytest.mark.parametrize(
    ("lost", "threshold", "verdict"),
    [
        (0, 0.5, Verdict.PASSED),
        (0, 0.6, Verdict.FAILED),  # no worse than before, and not good enough
        (30, 0.4, Verdict.FAILED),  # good enough, and worse than before
        (30, 0.9, Verdict.FAILED),
    ],
)
def test_beside_a_threshold_both_must_hold(lost: int, threshold: float, verdict: Verdict) -> None:
    before, now = pairs(lost, 0, 200, right=100)
    decision = decided(claim_on(before, threshold=threshold), now)
    assert decision.verdict is verdict
    if verdict is Verdict.PASSED:
        assert decision.rule.startswith("certain: exact on this set; no worse: ")


def test_a_threshold_that_is_kept_early_waits_for_the_comparison_and_one_that_is_not_does_not() -> None:
    now = np.ones(1000, dtype=bool)
    before = now.copy()
    claim = claim_on(before, threshold=0.5)
    assert claim.other.settle(columns(now[:64]), 1000) is not None
    assert claim.settle(columns(now[:64]), 1000) is None
    broken = columns(~now[:64])
    settled = claim.settle(broken, 1000)
    assert settled is not None
    decision = claim.decide(broken, 1000, settled)
    assert decision.verdict is Verdict.FAILED
    assert decision.estimate is None
    assert decision == claim.other.decide(broken, 1000, settled)


def test_a_threshold_that_seemed_broken_and_is_not_leaves_the_comparison_to_be_made() -> None:
    """All that was lost comes first, so that the threshold seems broken until the last samples have been read."""
    before, now = pairs(30, 0, 200, right=100)
    claim, seen = claim_on(before, threshold=0.4), columns(now)
    settled = claim.settle(seen, 200)
    assert settled is not None
    assert not settled.certain
    decision = claim.decide(seen, 200, settled)
    assert decision.verdict is Verdict.FAILED
    assert decision.rule.startswith("worse: ")


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_what_was_not_all_looked_at_is_not_compared(threshold: float | None) -> None:
    before = np.ones(1000, dtype=bool)
    claim = claim_on(before, threshold=threshold)
    decision = claim.decide(columns(before[:64]), 1000, None)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.estimate is None
    assert decision.rule.endswith("64 of 1000 samples looked at; the baseline needs every sample")


def test_a_population_that_failed_already_has_failed_whatever_the_baseline_says() -> None:
    terms = Terms(scope="population", alpha=0.01, fail_alpha=0.01)
    claim = claim_on(np.zeros(1000, dtype=bool), threshold=0.5, terms=terms)
    assert claim.decide(columns(np.zeros(64, dtype=bool)), 1000, None).verdict is Verdict.FAILED


@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize("n", [60, 500])
def test_a_population_may_have_lost_what_few_samples_show(n: int, threshold: float | None) -> None:
    """Nothing was lost: of this set that is a pass, of the population only where the tolerance holds all it may be."""
    terms = Terms(scope="population", alpha=0.01, fail_alpha=0.01)
    before, now = pairs(0, 0, n, right=n)
    high = paired_interval(0, 0, n, 0.01)[1]
    for tolerance, verdict in (
        (0.0, Verdict.INCONCLUSIVE),
        (high - 0.001, Verdict.INCONCLUSIVE),
        (high, Verdict.PASSED),
    ):
        claim = claim_on(before, threshold=threshold, tolerance=tolerance, terms=terms)
        found = decided(claim, now)
        assert found.verdict is verdict
        assert (f"a drop of up to {high:.4f} is possible" in found.rule) == (verdict is Verdict.INCONCLUSIVE)
        of_these = claim_on(before, threshold=threshold, tolerance=tolerance)
        assert decided(of_these, now).verdict is Verdict.PASSED


def test_a_group_that_may_have_lost_more_is_open_however_many_the_others_are() -> None:
    terms = Terms(scope="population", alpha=0.01, fail_alpha=0.01)
    before, now = pairs(0, 0, 1000, right=1000)
    claim = claim_on(before, tolerance=0.05, terms=terms)
    groups = (("many", np.arange(980)), ("few", np.arange(980, 1000)))
    assert decided(claim, now).verdict is Verdict.PASSED
    assert decided(replace(claim, groups=groups), now).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("threshold", "verdict"), [(None, Verdict.PASSED), (0.4, Verdict.PASSED), (0.6, Verdict.FAILED)]
)
def test_while_the_baseline_is_made_only_the_threshold_can_fail(threshold: float | None, verdict: Verdict) -> None:
    _, now = pairs(0, 0, 200, right=100)
    claim = claim_on(None, threshold=threshold)
    decision = decided(claim, now)
    assert decision.verdict is verdict
    if threshold is None:
        assert decision.rule == "baseline updated: there is nothing to compare with"
    with pytest.raises(ValueError, match="baseline"):
        claim.compare(columns(now))


def test_it_is_doomed_where_the_claim_beside_it_is() -> None:
    before = np.ones(100, dtype=bool)
    assert claim_on(before, threshold=0.9).doomed(11, 100)
    assert not claim_on(before, threshold=0.9).doomed(10, 100)
    assert not claim_on(before).doomed(100, 100)


GROUPS = (("land", np.arange(0, 100)), ("water", np.arange(100, 200)))


def test_what_one_group_lost_is_not_made_up_for_by_another() -> None:
    before, now = np.zeros(200, dtype=bool), np.zeros(200, dtype=bool)
    before[:10] = True  # land loses ten
    now[100:130] = True  # water gains thirty
    shuffled = np.random.default_rng(0).permutation(200).astype(np.int64)
    plain = replace(claim_on(before), groups=())
    grouped = replace(claim_on(before), groups=GROUPS, level=0.005)
    assert decided(plain, now).verdict is Verdict.PASSED
    decision = grouped.decide(columns(now, shuffled), 200, None)
    assert decision.verdict is Verdict.FAILED
    assert decision.rule == "worse: against the baseline in 'land' 10 lost, 0 gained of 100, McNemar p = 0.00098"
    assert [(one.name, one.lost, one.gained) for one in grouped.compare_groups(columns(now, shuffled))] == [
        ("land", 10, 0),
        ("water", 0, 30),
    ]
    kept = grouped.decide(columns(np.where(np.arange(200) < 100, before, now), shuffled), 200, None)
    assert kept.verdict is Verdict.PASSED
    assert kept.rule.endswith("no worse in any of 2 groups")


def test_each_group_has_its_share_of_the_error() -> None:
    """Seven lost of seven changed have a chance of 2 ** -7 = .0078: enough at .01, not at half of it."""
    before, now = np.arange(200) < 20, (np.arange(200) < 20) & (np.arange(200) >= 7)
    for level, verdict in ((0.01, Verdict.FAILED), (0.005, Verdict.PASSED)):
        claim = replace(claim_on(before), groups=GROUPS, level=level)
        assert decided(claim, now).verdict is verdict


@pytest.mark.parametrize(
    ("held", "lost", "verdict"),
    [(6, 6, Verdict.INCONCLUSIVE), (6, 1, Verdict.INCONCLUSIVE), (6, 0, Verdict.PASSED), (7, 7, Verdict.FAILED),
     (7, 6, Verdict.PASSED)],
)  # fmt: skip
def test_a_loss_that_could_only_be_chance_does_not_pass(held: int, lost: int, verdict: Verdict) -> None:
    """Six lost of six have a chance of 2 ** -6 > .01: nothing that becomes of them could be called worse."""
    before = np.arange(200) < held
    now = before & (np.arange(200) >= lost)
    decision = decided(claim_on(before), now)
    assert decision.verdict is verdict
    assert decision.rule.startswith("too few samples to tell a loss from chance") is (verdict is Verdict.INCONCLUSIVE)


def test_the_first_of_two_ends_speaks_for_a_fall() -> None:
    """Shifted samples are the first part, unshifted ones the second: of the first three are lost, of the other none."""
    before = np.ones((10, 2), dtype=bool)
    held = np.array([False] * 3 + [True] * 7)
    claim = BaselineRule(
        other=ShareRule(threshold=None, at_least=True, terms=SET),
        has_threshold=False,
        before=before,
        tolerance=0.0,
        terms=SET,
        columns=("held", "clean"),
        parts=(("shifted samples", ("held",)), ("unshifted samples", ("clean",))),
        together=False,
    )
    columns = {"id": np.arange(10), "held": held, "clean": np.ones(10, dtype=bool)}
    assert claim.compare(columns).lost == 3
    assert claim.share_before == 1.0
