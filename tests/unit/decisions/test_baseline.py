"""A baseline's samples against the same samples now: the fall and its tolerance, and the claim beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multinomial

from robustest import Verdict
from robustest.decisions import BaselineRule, ShareRule, Terms
from robustest.decisions.baseline import Fall, usable_tolerance
from robustest.decisions.paired import paired_interval
from robustest.decisions.rule import Decision

Bools = NDArray[np.bool_]
SET = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
POPULATION = Terms(scope="population", alpha=0.01, fail_alpha=0.01)
P, F, Q = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


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


def compared(lost: int, gained: int, n: int, **changes: object) -> Fall:
    before, now = pairs(lost, gained, n)
    return claim_on(before, **changes).compare(columns(now))  # type: ignore[arg-type]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_the_numbers_are_those_of_the_pairs(lost: int, gained: int, rest: int) -> None:
    n = max(1, lost + gained + rest)
    found = compared(lost, gained, n)
    assert (found.lost, found.gained, found.n, found.fall) == (lost, gained, n, (lost - gained) / n)
    assert found.interval == paired_interval(lost, gained, n, 0.01)
    assert found.low == found.interval[0]


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
    ("lost", "gained", "n", "tolerance", "verdict"),
    [
        (0, 0, 200, 0.0, P),
        (1, 0, 200, 0.0, F),
        (6, 0, 20, 0.0, F),  # of 20 samples 6 lost
        (24, 10, 100, 0.0, F),  # the set itself fell by 14 points
        (24, 24, 100, 0.0, P),
        (10, 24, 100, 0.0, P),
        (20, 0, 200, 0.1, P),  # exactly a tenth
        (21, 0, 200, 0.1, F),
        (58, 0, 200, 0.29, P),  # 0.29 * 200 is 57.99999999999999 in floating point
        (59, 0, 200, 0.29, F),
        (60, 50, 200, 0.05, P),
        (60, 49, 200, 0.05, F),
        (1, 0, 3, 1 / 3, P),
    ],
)
def test_the_fall_of_a_set_is_a_number(lost: int, gained: int, n: int, tolerance: float, verdict: Verdict) -> None:
    """Alpha plays no part, and rounding decides nothing."""
    before, now = pairs(lost, gained, n, right=n - lost - gained)
    for alpha in (0.001, 0.2):
        terms = Terms(scope="set", alpha=alpha, fail_alpha=alpha)
        found = decided(claim_on(before, tolerance=tolerance, terms=terms), now)
        assert found.verdict is verdict
        assert not found.at_alpha


@pytest.mark.parametrize(
    ("lost", "gained", "n", "tolerance", "verdict"),
    [
        (6, 0, 20, 0.0, F),
        (4, 0, 20, 0.0, Q),
        (24, 10, 100, 0.0, F),
        (22, 10, 100, 0.0, Q),
        (34, 10, 100, 0.0, F),
        (0, 10, 100, 0.0, P),  # a gain is shown
        (0, 0, 100, 0.0, Q),
        (0, 0, 100, 0.05, P),
        (0, 0, 100, 0.04, Q),
        (15, 0, 1000, 0.02, Q),
        (15, 0, 1000, 0.03, P),
        (40, 0, 1000, 0.02, F),
    ],
)
def test_of_a_population_the_interval_lies_within_the_tolerance_or_beyond_it(
    lost: int, gained: int, n: int, tolerance: float, verdict: Verdict
) -> None:
    before, now = pairs(lost, gained, n, right=n - lost - gained)
    found = decided(claim_on(before, tolerance=tolerance, terms=POPULATION), now)
    assert found.verdict is verdict
    assert found.at_alpha
    assert found.reasons == ("baseline",)
    low, high = paired_interval(lost, gained, n, 0.01)
    assert verdict is (P if high <= tolerance else F if low > tolerance else Q)


@pytest.mark.parametrize(
    ("n", "p_lost", "p_gained", "tolerance"),
    [
        (40, 0.10, 0.0, 0.0),  # before, "not worse" was said in all draws
        (40, 0.12, 0.02, 0.1),
        (100, 0.04, 0.04, 0.0),
        (100, 0.05, 0.03, 0.02),
        pytest.param(60, 0.13, 0.06, 0.05, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("alpha", [0.01, pytest.param(0.05, marks=pytest.mark.slow)])
def test_a_wrong_verdict_is_no_more_probable_than_alpha(
    n: int, p_lost: float, p_gained: float, tolerance: float, alpha: float
) -> None:
    """Exact: summed over all outcomes of a population whose fall lies at the tolerance, or beyond it."""
    terms = Terms(scope="population", alpha=alpha, fail_alpha=alpha)
    fall, wrong = p_lost - p_gained, {P: 0.0, F: 0.0}
    shares = multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained])
    for lost in range(n + 1):
        for gained in range(n + 1 - lost):
            chance = shares.pmf([lost, gained, n - lost - gained])
            if chance > 1e-7:
                verdict = compared(lost, gained, n, tolerance=tolerance, terms=terms).verdict
                wrong[verdict] = wrong.get(verdict, 0.0) + chance
    if fall >= tolerance - 1e-12:
        assert wrong[P] <= alpha
    if fall <= tolerance + 1e-12:
        assert wrong[F] <= alpha


def test_an_open_comparison_names_the_samples_that_would_decide_it() -> None:
    words = {
        (6, 5, 100, 0.05): "more samples like these would show that the fall is within the tolerance",
        (16, 5, 100, 0.05): "more samples like these would show that the fall is beyond the tolerance",
        (5, 0, 100, 0.05): "more of them would decide nothing, as the fall equals the tolerance",
        (0, 0, 100, 0.0): "tolerance=0 passes only where a gain is shown: tolerate 0.065, say",
    }
    for (lost, gained, n, tolerance), text in words.items():
        before, now = pairs(lost, gained, n, right=n - lost - gained)
        found = decided(claim_on(before, tolerance=tolerance, terms=POPULATION), now)
        assert found.verdict is Q
        assert text in found.rule
        assert found.rule.startswith("not decided: fell by ")


@pytest.mark.parametrize("n", [1, 20, 100, 2000])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_a_usable_tolerance_is_shown_where_one_sample_in_twenty_changes(n: int, alpha: float) -> None:
    tolerance, more = usable_tolerance(n, alpha)
    each = round(0.025 * n)
    assert paired_interval(each, each, n, alpha)[1] <= tolerance
    assert n < more <= 20 * n
    if n >= 100:
        for samples, shown in ((1.4 * more, True), (0.7 * more, False)):
            some = round(0.025 * samples)
            assert (paired_interval(some, some, round(samples), alpha)[1] <= tolerance / 2) is shown


def test_better_is_a_gain_beyond_the_tolerance_that_the_interval_shows() -> None:
    assert compared(0, 7, 100).better
    assert not compared(0, 3, 100).better  # 3 of 100 may be chance
    assert not compared(0, 7, 100, tolerance=0.07).better
    assert compared(0, 8, 100, tolerance=0.07).better
    assert not compared(7, 0, 100).better


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (SET, "fell by 0.0250 on this set, tolerance 0.02 (7 lost, 2 gained of 200)"),
        (POPULATION, "fell by 0.0250 [-0.0128, 0.0682], tolerance 0.02 (population; 7 lost, 2 gained of 200)"),
    ],
)
def test_a_comparison_in_words_has_its_scope_its_fall_and_both_counts(terms: Terms, text: str) -> None:
    assert str(compared(7, 2, 200, tolerance=0.02, terms=terms)) == text


def test_a_fall_in_words_is_on_the_same_side_of_the_tolerance_as_it_is() -> None:
    equal = compared(2, 0, 100, tolerance=0.02)
    assert str(equal).startswith("fell by 0.0200 on this set, tolerance 0.02 ")
    assert str(replace(equal, fall=0.0200004)).startswith("fell by 0.0200004 on this set, tolerance 0.02 ")
    assert str(replace(equal, fall=0.0199996)).startswith("fell by 0.0199996 on this set, tolerance 0.02 ")


def decided(claim: BaselineRule, now: Bools) -> Decision:
    seen = columns(now, np.random.default_rng(0).permutation(len(now)))
    return claim.decide(seen, len(now), claim.settle(seen, len(now)))


def test_alone_it_passes_unless_it_is_worse() -> None:
    before, now = pairs(3, 1, 200, right=100)
    decision = decided(claim_on(before, tolerance=0.01), now)
    assert decision.verdict is P
    assert decision.rule == "no worse: fell by 0.0100 on this set, tolerance 0.01 (3 lost, 1 gained of 200)"
    assert decision.estimate == now.mean()
    before, now = pairs(20, 1, 200, right=100)
    decision = decided(claim_on(before), now)
    assert decision.verdict is F
    assert decision.rule == "worse: fell by 0.0950 on this set, tolerance 0 (20 lost, 1 gained of 200)"


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
    before, now = pairs(0, 0, n, right=n)
    high = paired_interval(0, 0, n, 0.01)[1]
    for tolerance, verdict in ((0.0, Q), (high - 0.001, Q), (high, P)):
        claim = claim_on(before, threshold=threshold, tolerance=tolerance, terms=POPULATION)
        found = decided(claim, now)
        assert found.verdict is verdict
        assert f", {high:.4f}], tolerance {tolerance:g} (population" in found.rule or tolerance in {high}
        of_these = claim_on(before, threshold=threshold, tolerance=tolerance)
        assert decided(of_these, now).verdict is P


@pytest.mark.parametrize(
    ("number", "lost", "verdict"),
    [(0.5, 3, Q), (0.5, 60, F), (0.9999, 3, F), (0.9, 3, Q), (0.9999, 30, F), (0.9999, 12, F), (0.5, 0, P)],
)
def test_an_open_comparison_beside_a_number_leaves_its_failure_and_opens_its_pass(
    number: float, lost: int, verdict: Verdict
) -> None:
    before, now = pairs(lost, 0, 300, right=300 - lost)
    found = decided(claim_on(before, threshold=number, tolerance=0.02, terms=POPULATION), now)
    assert found.verdict is verdict
    assert found.rule.startswith("not decided") is (verdict is Q)


def test_a_group_that_may_have_lost_more_is_open_however_many_the_others_are() -> None:
    before, now = pairs(0, 0, 1000, right=1000)
    claim = claim_on(before, tolerance=0.05, terms=POPULATION)
    groups = (("many", np.arange(980)), ("few", np.arange(980, 1000)))
    assert decided(claim, now).verdict is P
    found = decided(replace(claim, groups=groups), now)
    assert found.verdict is Q
    assert "in 'few'" in found.rule
    assert "in 'many'" not in found.rule


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
    for terms, words in ((SET, "0.1000 on this set in 'land'"), (POPULATION, "0.1000 [0.0378, 0.1913] in 'land'")):
        plain = claim_on(before, terms=terms)
        grouped = replace(plain, groups=GROUPS)
        assert decided(plain, now).verdict is P
        decision = grouped.decide(columns(now, shuffled), 200, None)
        assert decision.verdict is F
        assert decision.rule.startswith(f"worse: fell by {words}, tolerance 0 (")
        assert [(one.name, one.lost, one.gained) for one in grouped.falls(columns(now, shuffled))] == [
            ("land", 10, 0),
            ("water", 0, 30),
        ]
    kept = replace(claim_on(before), groups=GROUPS).decide(
        columns(np.where(np.arange(200) < 100, before, now), shuffled), 200, None
    )
    assert kept.verdict is P
    assert kept.rule.endswith("no worse in any of 2 groups")


def test_a_group_passes_at_alpha_and_fails_at_its_part_of_it() -> None:
    """Each must pass (an intersection-union test), while any of them may fail."""
    high, low = paired_interval(1, 0, 100, 0.01)[1], paired_interval(8, 0, 100, 0.01)[0]
    shared = paired_interval(8, 0, 100, 0.005)[0]
    assert shared < low
    for lost, tolerance, verdict in ((1, high, P), (8, low - 1e-6, Q), (8, shared - 1e-6, F)):
        before = np.ones(200, dtype=bool)
        now = np.arange(200) >= lost
        claim = replace(claim_on(before, tolerance=tolerance, terms=POPULATION), groups=GROUPS)
        assert decided(claim, now).verdict is verdict
    stricter = replace(claim, tolerance=shared - 1e-6, level=0.001)
    assert decided(stricter, now).verdict is Q


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
