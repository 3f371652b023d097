"""Guards of rules on people: what they foresee and notice, and how many labels are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from robustest_people.annotator_shares import (
    FEWEST_ANNOTATORS,
    Estimate,
    decide_foreseen,
    decide_noticed,
    foreseen_interval,
    noticed_interval,
    share_interval,
)
from robustest_people.beta_mixture import Cells
from robustest_people.label_agreement import FEWEST_ANSWERS, ComparedPredictions, LookedAtRule
from robustest_people.label_quality import decide_wrong
from robustest_people.replication_gap import (
    FEWEST,
    MOST_UNCOVERED,
    Gap,
    Gaps,
    decide_gap,
    jackknife_accuracy,
    matched_accuracy,
    replication_gaps,
)
from robustest_people.selection_gap import Missing, SelectionGap, decide_selection_gap

from robustest import Verdict
from robustest.decisions import ShareRule, Terms, clopper_pearson
from robustest.decisions.two_set_drop import cluster_mean_interval

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
TERMS = Terms(scope="population", alpha=0.05, fail_alpha=0.05)
SCOPES = pytest.mark.parametrize("terms", [SET, TERMS], ids=["set", "population"])

P, F, Q = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def estimate(value: float, error: float = 0.02, annotators: int = 30) -> Estimate:
    return Estimate(value=value, error=error, items=100, annotators=annotators, freedom=annotators - 1)


def how(terms: Terms) -> str:
    """By Student's t about alpha, and by bets alpha."""
    return f"by annotator, {'about ' if terms is SET else ''}alpha = 0.05 a side"


def foreseen(
    at_least: float | None,
    *,
    terms: Terms = SET,
    interval: tuple[float, float] = (0.75, 0.85),
    idle: float = 0.5,
    annotators: int = 30,
) -> Any:
    return decide_foreseen(interval, estimate(0.8, annotators=annotators), at_least, idle=idle, terms=terms)


@SCOPES
@pytest.mark.parametrize(
    ("at_least", "verdict"),
    [(0.7, P), (0.75, P), (0.75 + 1e-6, Q), (0.8, Q), (0.85, Q), (0.85 + 1e-6, F), (0.9, F), (None, Q)],
)
def test_what_is_foreseen_is_judged_by_its_interval(at_least: float | None, verdict: Verdict, terms: Terms) -> None:
    found = foreseen(at_least, terms=terms)
    assert (found.verdict, found.estimate, found.interval) == (verdict, 0.8, (0.75, 0.85))
    assert found.at_alpha is (at_least is not None)
    assert found.approximate is (terms is SET)
    assert found.rule == ("no threshold given" if at_least is None else how(terms))


@SCOPES
def test_guessing_foresees_nothing(terms: Terms) -> None:
    assert foreseen(0.7, idle=0.749, terms=terms).verdict is P
    guessed = foreseen(0.7, idle=0.75, terms=terms)
    assert guessed.verdict is Q
    assert guessed.rule.startswith("guessing, or always giving the most frequent answer, reaches 0.750")
    assert foreseen(0.9, idle=0.99, terms=terms).verdict is F, "what fails, fails"


@SCOPES
@pytest.mark.parametrize(("annotators", "verdict"), [(FEWEST_ANNOTATORS - 1, Q), (FEWEST_ANNOTATORS, P)])
def test_few_annotators_speak_for_nobody_else(annotators: int, verdict: Verdict, terms: Terms) -> None:
    for found in (
        foreseen(0.5, annotators=annotators, terms=terms),
        noticed(0.1, annotators=annotators, terms=terms),
    ):
        assert found.verdict is verdict
        few = f"{annotators} annotators: at least {FEWEST_ANNOTATORS} are needed to estimate their differences"
        assert found.rule == (few if verdict is Q else how(terms))


CUE = (0.35, 0.45)


def noticed(
    at_least: float | None, *, terms: Terms = SET, planted: tuple[float, float] = (0.5, 0.7), annotators: int = 30
) -> Any:
    cue = estimate(0.4, annotators=annotators), CUE
    return decide_noticed(cue, (estimate(0.6), planted), at_least, terms=terms)


@SCOPES
@pytest.mark.parametrize(("at_least", "verdict"), [(0.3, P), (0.4, Q), (0.5, F), (None, Q)])
def test_what_is_noticed_is_judged_by_its_interval(at_least: float | None, verdict: Verdict, terms: Terms) -> None:
    found = noticed(at_least, terms=terms)
    assert (found.verdict, found.estimate, found.interval) == (verdict, 0.4, CUE)
    assert found.at_alpha is (at_least is not None)
    assert found.approximate is (terms is SET)
    assert found.rule == ("no threshold given" if at_least is None else how(terms))


@SCOPES
def test_more_than_none_is_more_than_none(terms: Terms) -> None:
    low, high = CUE
    assert noticed(low, terms=terms).verdict is Q
    assert noticed(low - 1e-6, terms=terms).verdict is P
    assert noticed(high, terms=terms).verdict is Q
    assert noticed(high + 1e-6, terms=terms).verdict is F


@SCOPES
def test_a_study_that_could_show_nothing_shows_nothing(terms: Terms) -> None:
    """Where nobody notices what is known to be spurious, or nothing was there to compare with."""
    for at_least in (0.3, 0.5):
        blind = noticed(at_least, planted=(0.0, 0.7), terms=terms)
        assert blind.verdict is Q
        assert blind.rule.startswith("people do not notice the planted cue either (+0.600)")
    assert noticed(0.3, planted=(1e-6, 0.7), terms=terms).verdict is P
    assert noticed(0.5, planted=(1e-6, 0.7), terms=terms).verdict is F
    cue, control = (estimate(0.4), CUE), (estimate(0.6), (0.5, 0.7))
    for one, planted in ((None, control), (cue, None), (None, None)):
        found = decide_noticed(one, planted, 0.1, terms=terms)
        assert found.verdict is Q
        assert found.rule.startswith("the study lacks the cue or the planted cue")
    nothing = decide_noticed(None, None, None, terms=terms)
    assert (nothing.estimate, nothing.interval, nothing.rule) == (None, (-1.0, 1.0), "no threshold given")


ANNOTATOR = np.repeat(np.arange(12), np.arange(1, 13) * 4)
"""Twelve annotators of 4, 8, ... answers, who are right in a half, or in three of four where they gave most."""
HELD = np.arange(len(ANNOTATOR)) % 4 < np.where(ANNOTATOR < 6, 2, 3)


def test_other_annotators_have_a_wider_interval_of_a_population() -> None:
    """Of the set by Student's t, of the population by bets on the annotators' shares, each of which counts alike."""
    found = estimate(float(HELD.mean()), annotators=12)
    assert foreseen_interval(HELD, ANNOTATOR, found, SET) == share_interval(HELD, found, 0.05)
    shares = np.array([0.5] * 6 + [0.75] * 6)
    low, high = foreseen_interval(HELD, ANNOTATOR, found, TERMS)
    assert (low, high) == cluster_mean_interval(shares, 0.05)
    assert low < found.interval(0.05)[0] < found.interval(0.05)[1] < high
    for value in (0.01, 0.99):  # the share of all answers may be beyond what annotators who count alike have
        low, high = foreseen_interval(HELD, ANNOTATOR, estimate(value, annotators=12), TERMS)
        assert (min(low, high, value), max(low, high, value)) == (low, high)
        assert value in (low, high)


def test_annotators_are_compared_with_themselves_where_they_gave_answers_of_both_kinds() -> None:
    first = np.arange(len(ANNOTATOR)) % 4 < 2
    found = estimate(float(HELD[first].mean() - HELD[~first].mean()), annotators=12)
    assert noticed_interval((first, ~first), HELD, ANNOTATOR, found, SET) == found.interval(0.05)
    paired = cluster_mean_interval(np.array([1.0] * 6 + [0.75] * 6), 0.05)  # (1 + difference) / 2, of 1 and of a half
    ends = tuple(2 * end - 1 for end in paired)
    expected = min(ends[0], found.value), max(ends[1], found.value)
    assert noticed_interval((first, ~first), HELD, ANNOTATOR, found, TERMS) == pytest.approx(expected)
    others = ANNOTATOR < 6
    apart = estimate(-0.25, annotators=12)
    ends = cluster_mean_interval(np.full(6, 0.5), 0.05, minus=np.full(6, 0.75))
    assert noticed_interval((others, ~others), HELD, ANNOTATOR, apart, TERMS) == ends
    for value in (-0.99, 0.99):
        beyond = noticed_interval((first, ~first), HELD, ANNOTATOR, estimate(value, annotators=12), TERMS)
        assert beyond[0] <= value <= beyond[1]


def wrong(at_most: float | None, *, bad: int, undecided: int = 0, looked: int = 100, scope: str = "set") -> Any:
    return decide_wrong(bad, undecided, looked, 100 if scope == "set" else 1000, at_most, scope=scope, alpha=0.05)


@pytest.mark.parametrize(
    ("at_most", "undecided", "verdict"),
    [(0.1, 0, P), (0.099, 0, F), (0.15, 5, P), (0.149, 5, Q), (0.1, 5, Q), (0.09, 5, F), (None, 0, Q)],
)
def test_a_whole_set_is_counted_and_the_undecided_speak_for_neither(
    at_most: float | None, undecided: int, verdict: Verdict
) -> None:
    found = wrong(at_most, bad=10, undecided=undecided)
    assert (found.verdict, found.estimate, found.at_alpha) == (verdict, 0.1, False)
    assert found.interval == (0.1, (10 + undecided) / 100)
    assert found.rule == ("no threshold given" if at_most is None else "certain: exact on this set")


@pytest.mark.parametrize(("at_most", "verdict"), [(0.5, P), (0.1, Q), (0.01, F), (None, Q)])
def test_a_sample_of_a_set_leaves_room(at_most: float | None, verdict: Verdict) -> None:
    found = wrong(at_most, bad=6, looked=60)
    assert found.verdict is verdict
    assert found.at_alpha is (at_most is not None)
    low, high = found.interval
    assert 0.06 <= low < 0.1 < high <= 0.46, "six are known to be wrong, and 54 to be right"
    if at_most is not None:
        assert found.rule == "uniform sample of the set, alpha = 0.05 a side"


@pytest.mark.parametrize(("at_most", "verdict"), [(0.5, P), (0.1, Q), (0.01, F), (None, Q)])
def test_a_population_has_exact_bounds(at_most: float | None, verdict: Verdict) -> None:
    found = wrong(at_most, bad=10, undecided=5, scope="population")
    assert found.verdict is verdict
    low, high = clopper_pearson(10, 100, 0.05)[0], clopper_pearson(15, 100, 0.05)[1]
    assert found.interval == pytest.approx((low, high))
    assert found.at_alpha is (at_most is not None)
    assert wrong(high, bad=10, undecided=5, scope="population").verdict is P
    assert wrong(high - 1e-6, bad=10, undecided=5, scope="population").verdict is Q
    assert wrong(low, bad=10, undecided=5, scope="population").verdict is Q
    assert wrong(low - 1e-6, bad=10, undecided=5, scope="population").verdict is F


# What people say of predictions


def agreement(
    selected: list[list[int]], shown: list[list[int]], label: list[int], predicted: list[int]
) -> ComparedPredictions:
    return ComparedPredictions.of(*(np.array(one) for one in (selected, shown, label, predicted)))


def test_what_people_say_is_told_class_by_class() -> None:
    """Three classes and ten answers each: a clear one, a tie, a half, less than a half, and nobody."""
    selected = [[9, 1, 0], [5, 5, 0], [8, 4, 0], [9, 4, 0], [0, 0, 0]]
    one = agreement(selected, [[10, 10, 10]] * 5, [0, 0, 0, 1, 2], [0, 1, 1, 1, 0])
    assert one.main.tolist() == [True, False, False, False, False]
    assert one.contained.tolist() == [True, True, True, False, False]
    assert one.tied.tolist() == [False, True, False, False, False]
    assert one.right.tolist() == [True, False, False, True, False]
    assert one.defensible.tolist() == [False, True, False, False, False]
    assert one.unsupported.tolist() == [False, False, False, False, True]
    assert one.disputed.tolist() == [False, False, False, True, False]
    assert one.frequency.tolist() == pytest.approx([0.9, 0.5, 0.4, 0.4, 0.0])


def test_the_fewest_answers_of_prediction_label_and_leading_class_count() -> None:
    one = agreement([[1, 5, 9], [1, 5, 9], [1, 5, 9]], [[7, 11, 12], [17, 11, 12], [17, 13, 12]], [0, 0, 0], [1, 1, 1])
    assert one.answers.tolist() == [7, 11, 12]
    never = agreement([[0, 3]], [[0, 3]], [0], [0])
    assert (never.frequency.tolist(), never.answers.tolist()) == ([0.0], [0])


def looked(threshold: float | None, terms: Terms) -> LookedAtRule:
    share = {"threshold": threshold, "at_least": True, "terms": terms}
    return LookedAtRule(sure=ShareRule(**share), possible=ShareRule(**share, column="possible"))


@pytest.mark.parametrize(("threshold", "verdict"), [(0.6, P), (0.61, Q), (0.8, Q), (0.81, F), (None, Q)])
def test_who_was_not_looked_at_enough_speaks_for_neither_side(threshold: float | None, verdict: Verdict) -> None:
    order = np.random.default_rng(0).permutation(100)
    seen = {"held": (np.arange(100) < 60)[order], "possible": (np.arange(100) < 80)[order]}
    of_set = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
    found = looked(threshold, of_set).decide(seen, 100, None)
    assert (found.verdict, found.estimate, found.at_alpha) == (verdict, 0.6, False)
    assert found.interval[0] < 0.6
    assert found.interval[1] > 0.8
    if threshold in (0.61, 0.8):
        assert found.rule == f"20 samples have fewer than {FEWEST_ANSWERS} answers, and could decide it"
    drawn = looked(threshold, TERMS).decide(seen, 100, None)
    assert drawn.at_alpha is (threshold is not None)
    settled = looked(threshold, Terms(scope="set", alpha=1e-12, fail_alpha=1e-12)).settle(seen, 100)
    assert (None if settled is None else settled.verdict) is (verdict if verdict in (P, F) else None)
    assert not looked(threshold, of_set).doomed(100, 100)


def test_one_half_at_alpha_makes_the_whole_so() -> None:
    """The first half settled before the end for certain, the other by chance."""
    seen = {"held": np.ones(60, dtype=bool), "possible": np.ones(60, dtype=bool)}
    rule = looked(0.5, Terms(scope="set", alpha=0.05, fail_alpha=0.05))
    settled = rule.settle(seen, 100)
    assert settled is not None
    assert settled.verdict is P
    assert not settled.certain
    assert rule.decide(seen, 100, settled).at_alpha


def test_ten_answers_are_enough() -> None:
    assert FEWEST_ANSWERS == FEWEST == 10


# Gaps of selection


def gap(
    value: float,
    margin: float | None,
    *,
    error: float = 0.02,
    annotators: int = 30,
    sizes: Any = (0.8, 0.6),
    terms: Terms = SET,
) -> Any:
    found = SelectionGap(gap=estimate(value, error, annotators), label=sizes[0], prediction=sizes[1], missing=Missing())
    return decide_selection_gap(found, margin, terms=terms)


def judged_about(verdict: Verdict, of_set: Any, population: Any, by: str) -> None:
    """Hold what an approximate rule gives: a set has the verdict, and of a population a pass alone is withheld."""
    assert of_set.verdict is verdict
    assert population.verdict is (Q if verdict is P else verdict)
    about = f"not shown for the population: {by} holds only about alpha = 0.05 a side"
    assert population.rule.startswith(about) is (verdict is P)
    assert 'scope="set"' in population.rule or verdict is not P
    assert verdict is P or population.rule == of_set.rule
    assert "not shown" not in of_set.rule
    assert of_set.approximate
    assert population.approximate
    assert (population.estimate, population.interval) == (of_set.estimate, of_set.interval)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("margin", "verdict"), [(0.3, P), (0.2, Q), (0.1, F), (None, Q)])
def test_a_gap_in_either_direction_has_a_size(margin: float | None, verdict: Verdict, sign: int) -> None:
    found = gap(sign * 0.2, margin)
    low, high = estimate(0.2).interval(0.05)
    assert (found.verdict, found.estimate) == (verdict, 0.2)
    assert found.interval == pytest.approx((low, high))
    assert found.at_alpha is (margin is not None)
    by = "Student's t by image and annotator"
    judged_about(verdict, found, gap(sign * 0.2, margin, terms=TERMS), by)
    assert (found.rule == "two one-sided tests by image and annotator, about alpha = 0.05 a side") is (
        margin is not None
    )


def test_a_gap_that_may_be_none_has_a_size_from_zero_on() -> None:
    found = gap(0.01, 0.001)
    assert found.interval == pytest.approx((0.0, estimate(0.01).interval(0.05)[1]))
    assert found.verdict is Q
    assert gap(-0.01, 0.5).interval[0] == 0.0


def test_a_margin_wider_than_all_that_is_selected_could_not_fail() -> None:
    assert gap(0.0, 0.5, sizes=(0.25, 0.25)).verdict is Q
    assert gap(0.0, 0.5, sizes=(0.25, 0.25)).rule.startswith("nothing could have failed it")
    assert gap(0.0, 0.5, sizes=(0.25, 0.26)).verdict is P
    assert gap(0.0, 0.3, annotators=FEWEST_ANNOTATORS - 1).verdict is Q
    assert gap(0.0, 0.3, annotators=FEWEST_ANNOTATORS).verdict is P


# Replications


def cells(*rows: tuple[int, int, int, int]) -> Cells:
    """Selected, of how many, whether the model is right, and how many such items there are."""
    table = np.array(rows)
    return Cells(table[:, 0], table[:, 1], table[:, 2], table[:, 3])


EASY, HARD = (
    cells((9, 10, 1, 90), (9, 10, 0, 10), (3, 10, 1, 40), (3, 10, 0, 60)),
    cells((9, 10, 1, 45), (9, 10, 0, 5), (3, 10, 1, 60), (3, 10, 0, 90)),
)


@pytest.mark.parametrize("correction", [None, "jackknife"])
def test_at_equal_frequency_both_are_as_hard(correction: str | None) -> None:
    """Nine in ten right of items that most select and four in ten of others: only how many of each differs."""
    found = replication_gaps(EASY, HARD, correction, resamples=50, seed=3)
    assert found.raw.estimate == pytest.approx(130 / 200 - 105 / 200)
    assert found.naive.estimate == pytest.approx(0.0, abs=1e-9)
    assert (found.annotations, found.uncovered) == (10, 0.0)
    assert found.raw.error > 2 * np.hypot(1 / 200, 1 / 200)
    if correction is None:
        assert found.corrected == found.naive
    else:
        assert found.corrected != found.naive
    assert replication_gaps(EASY, HARD, correction, resamples=50, seed=3) == found
    assert replication_gaps(EASY, HARD, correction, resamples=50, seed=4).raw.error != found.raw.error
    assert replication_gaps(EASY, HARD, correction, resamples=50, seed=3 + 2**64) == found


def test_frequencies_that_the_replication_lacks_are_read_off_between_those_it_has() -> None:
    original, other = cells((5, 10, 1, 10), (9, 10, 1, 30)), cells((3, 10, 0, 50), (7, 10, 1, 50))
    ones = original.count[None], other.count[None]
    matched = matched_accuracy(original, other, *ones, 10)
    assert matched.tolist() == pytest.approx([(10 * 0.5 + 30 * 1.0) / 40])
    assert replication_gaps(original, other, None, resamples=5, seed=0).uncovered == 1.0


def test_an_extrapolation_takes_annotators_away() -> None:
    ones = EASY.count[None], HARD.count[None]
    for delete in (1, 3):
        all_of_them = matched_accuracy(EASY, HARD, *ones, 10)
        fewer = matched_accuracy(EASY, HARD, *ones, 10 - delete)
        found = jackknife_accuracy(EASY, HARD, *ones, 10, delete=delete)
        assert found == pytest.approx((10 * all_of_them - (10 - delete) * fewer) / delete)
    assert jackknife_accuracy(EASY, HARD, *ones, 10) == pytest.approx(found_by_one())


def found_by_one() -> Any:
    return jackknife_accuracy(EASY, HARD, EASY.count[None], HARD.count[None], 10, delete=1)


def test_where_all_agree_an_item_or_two_may_still_be_wrong() -> None:
    alike = cells((9, 10, 1, 50))
    found = replication_gaps(alike, cells((9, 10, 1, 200)), None, resamples=10, seed=0)
    assert found.raw.error == pytest.approx(2 * np.hypot(1 / 50, 1 / 200))
    low, high = found.raw.interval(0.05)
    assert high == pytest.approx(1.6449 * found.raw.error, rel=1e-3)
    assert low == -high


@pytest.mark.parametrize(("uncovered", "verdict"), [(0.0, P), (MOST_UNCOVERED, P), (MOST_UNCOVERED + 1e-6, Q)])
def test_a_gap_is_judged_where_the_replication_covers_the_original(uncovered: float, verdict: Verdict) -> None:
    one = Gap(estimate=0.1, error=0.01)
    gaps = Gaps(raw=one, naive=one, corrected=one, annotations=10, uncovered=uncovered)
    by = "the image bootstrap"
    judged_about(verdict, decide_gap(gaps, 0.2, terms=SET), decide_gap(gaps, 0.2, terms=TERMS), by)
    judged_about(Q, decide_gap(gaps, None, terms=SET), decide_gap(gaps, None, terms=TERMS), by)
    covered = Gaps(raw=one, naive=one, corrected=one, annotations=10, uncovered=0.0)
    for at, one_verdict in ((0.2, P), (0.1, Q), (0.05, F)):
        judged_about(one_verdict, decide_gap(covered, at, terms=SET), decide_gap(covered, at, terms=TERMS), by)
    for terms in (SET, TERMS):
        assert decide_gap(covered, 0.2, terms=terms).at_alpha
        assert not decide_gap(covered, None, terms=terms).at_alpha


def test_two_draws_of_the_bootstrap_have_an_error_already() -> None:
    """Their standard deviation, of one degree of freedom."""
    found = replication_gaps(EASY, HARD, None, resamples=2, seed=3)
    assert np.isfinite(found.raw.error)
    assert found.raw.error > 2 * np.hypot(1 / 200, 1 / 200)


def test_of_a_chosen_sample_every_label_that_nobody_looked_at_may_be_wrong_or_right() -> None:
    """3 wrong and 1 undecided of 10, of 40: 3 at least, and 34 at most."""
    decision = decide_wrong(3, 1, 10, 40, 0.5, scope="set", alpha=0.01, chosen="the first ten")
    assert decision.interval == (3 / 40, 34 / 40)
    assert decision.verdict is Verdict.INCONCLUSIVE
