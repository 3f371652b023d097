"""Borders of decisions beside slow counts: levels met exactly, sets of one sample, and empty ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, binom

from robustest import Verdict
from robustest.decisions import BaselineRule, MeanRule, ScoreBaselineRule, Terms, clopper_pearson
from robustest.decisions.bets import MANY, bets_won, betting_interval, fall_interval
from robustest.decisions.confidence import likely, share_accepted, share_among_first
from robustest.decisions.cues import CLASSES, CuePairs, CueRule, off_column, on_column
from robustest.decisions.drop import AboveChanceRule, DropRule, doubt_of_start
from robustest.decisions.mean import DrawsRule
from robustest.decisions.mean_iou import bootstrap_interval
from robustest.decisions.paired import paired_interval
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Rule, approximate, generator
from robustest.decisions.share import anytime_share_interval, evidence, settle_share
from robustest.decisions.strata import STRATUM, StrataRule

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.02)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.02)

P, F, Q = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


# Bets


def test_a_bet_is_won_at_its_limit_and_counts_where_the_other_never_won() -> None:
    """A pass has its own alpha, and a failure another; an earlier win of the other bet at that alpha undoes it."""
    limit, fail = -np.log(0.05), -np.log(0.02)
    under = limit - 1e-9
    lower = np.array([0.0, limit, limit, under, limit])
    higher = np.array([0.0, under, under, limit, 0.0])
    passes, fails = bets_won(lower, higher, pass_alpha=0.05, fail_alpha=0.02)
    assert passes.tolist() == [False, True, True, False, False]
    assert not fails.any()
    passes, fails = bets_won(np.zeros(3), np.array([fail - 1e-9, fail, 0.0]), pass_alpha=0.05, fail_alpha=0.02)
    assert (passes.tolist(), fails.tolist()) == ([False] * 3, [False, True, False])
    _, fails = bets_won(np.array([limit, 0.0]), np.array([0.0, fail]), pass_alpha=0.05, fail_alpha=0.02)
    assert fails.tolist() == [False, False]
    _, fails = bets_won(np.array([under, 0.0]), np.array([0.0, fail]), pass_alpha=0.05, fail_alpha=0.02)
    assert fails.tolist() == [False, True]


@pytest.mark.parametrize("n", [4, 7, MANY])
def test_an_interval_by_bets_stays_in_range(n: int) -> None:
    for value in (1.0, -1.0, 0.3, 1, -1):
        low, high = betting_interval(np.full(4, value), n, 0.05)
        assert -1 <= low <= high <= 1


# Shares


@pytest.mark.parametrize("above", [True, False])
def test_a_share_is_settled_at_its_level_exactly(above: bool) -> None:
    """An alpha whose logarithm is the evidence to the last bit is reached, and the next one below is not."""
    found = 0
    for run in range(20, 60):
        held = np.full(run, above)
        right, wrong = (run, 0) if above else (0, run)
        reached = float(evidence(right, wrong, 200, 99 if above else 100, above=above))
        level = float(np.exp(-reached))
        exact = [one for one in (np.nextafter(level, 0), level, np.nextafter(level, 1)) if -np.log(one) == reached]
        for alpha in exact[-1:]:
            found += 1
            alphas = {"pass_alpha": 1e-300, "fail_alpha": 1e-300, "pass_alpha" if above else "fail_alpha": alpha}
            settled = settle_share(held, 200, 100, **alphas)
            assert settled is not None
            assert (settled.verdict, settled.after, settled.certain) == (P if above else F, run, False)
    assert found > 5


def test_before_the_first_sample_a_set_may_have_any_share() -> None:
    nothing = np.zeros(0, dtype=bool)
    for n in (1, 7, 200):
        assert anytime_share_interval(nothing, n, 0.05, None) == (0.0, 1.0)
        assert anytime_share_interval(nothing, n, 0.05, EarlyVerdict(P, 0, True, 0.05)) == (0.0, 1.0)


# Strata


class Measured(Rule):
    """A rule that is settled, and decided, as it is told, and cannot decide on a part."""

    def __init__(self, settled: EarlyVerdict | None, verdict: Verdict) -> None:
        self.settled, self.verdict = settled, verdict

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        return self.settled

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        return Decision(verdict=self.verdict, rule="whole", estimate=None, interval=(0.0, 1.0))


@pytest.mark.parametrize("early", [None, EarlyVerdict(P, 9, False, 0.05)])
@pytest.mark.parametrize("settled", [None, EarlyVerdict(P, 9, False, 0.05), EarlyVerdict(F, 9, False, 0.05)])
@pytest.mark.parametrize("verdict", [P, F, Q])
@pytest.mark.parametrize("read", [90, 120])
def test_strata_are_named_as_too_few_where_only_they_keep_a_claim_open(
    early: EarlyVerdict | None, settled: EarlyVerdict | None, verdict: Verdict, read: int
) -> None:
    rule = StrataRule(whole=Measured(settled, verdict), nouns=("object", "objects"), gates=True, alpha=0.05)
    columns = {"held": np.arange(read) % 10 > 2, STRATUM: 1 + np.arange(read) % 2, "id": np.arange(read)}
    found = rule.decide(columns, 500, early)
    assert found.verdict is verdict
    named = verdict is Q and early is None and read < 100 and settled is not None and settled.verdict is P
    assert ("too few to judge" in found.rule) is named
    assert [one.n for one in found.strata] == [read // 2] * 2
    for one in found.strata:  # without a rule for a part, the share that holds
        held = columns["held"][columns[STRATUM] == int(one.name[0])]
        assert one.value == held.mean()
        assert not one.beyond
    scored = rule.decide({**columns, "score": np.full(read, 0.25)}, 500, early)
    assert [one.value for one in scored.strata] == [0.25, 0.25]


# Selections by a score


@pytest.mark.parametrize(("n", "share", "alpha"), [(10, 0.5, 0.05), (40, 0.95, 0.1), (7, 0.05, 0.3), (1, 0.5, 0.05)])
def test_all_numbers_that_are_likely_are_in_range(n: int, share: float, alpha: float) -> None:
    """A quarter of alpha is left on each side."""
    fewest, most = likely(n, share, alpha)
    assert binom.cdf(fewest, n, share) >= alpha / 4 > (binom.cdf(fewest - 1, n, share) if fewest else 0)
    assert binom.sf(most, n, share) <= alpha / 4
    assert most == 0 or binom.sf(most - 1, n, share) > alpha / 4


def test_the_share_among_the_first_is_the_union_over_their_likely_numbers() -> None:
    random = np.random.default_rng(0)
    for n, share, alpha in ((12, 0.5, 0.05), (30, 0.2, 0.1), (30, 0.9, 0.05), (20, 1.0, 0.05), (25, 0.08, 0.3)):
        fewest, most = likely(n, share, alpha)
        for right in (random.random(n) < 0.7, np.ones(n, dtype=bool), np.zeros(n, dtype=bool)):
            found = share_among_first(right, share, alpha)
            if fewest < 1:
                assert found == (0.0, 1.0)
                continue
            ends = [clopper_pearson(int(right[:k].sum()), k, alpha / 2) for k in range(fewest, most + 1)]
            assert found == pytest.approx((min(low for low, _ in ends), max(high for _, high in ends)), abs=1e-9)
    # One, and none, are the fewest that are likely.
    ones = [n for n in range(10, 40) if likely(n, 0.2, 0.1)[0] == 1]
    for n in ones:
        assert share_among_first(np.ones(n, dtype=bool), 0.2, 0.1)[0] > 0
    assert ones


def test_outside_data_accepted_are_counted_at_both_likely_places_of_the_edge() -> None:
    inside = np.arange(200.0)
    fewest, most = likely(200, 0.05, 0.05)
    outside = np.array([fewest - 1.5] * 5 + [fewest - 1] * 7 + [most - 0.5] * 11 + [most] * 13, dtype=float)
    low, high = share_accepted(inside, outside, 0.95, 0.05)
    assert low == pytest.approx(beta.ppf(0.025, 13, 36 - 13 + 1))
    assert high == pytest.approx(beta.isf(0.025, 31 + 1, 36 - 31))
    assert share_accepted(inside, np.full(9, 199.0), 0.95, 0.05)[1] == 1.0
    assert share_accepted(inside, np.full(9, -1.0), 0.95, 0.05)[0] == 0.0
    # Of few inside samples the edge may be anywhere: all may be accepted, or none.
    assert share_accepted(np.zeros(1), np.ones(9), 0.95, 0.05) == (0.0, 1.0)
    assert share_accepted(np.zeros(1), -np.ones(9), 0.95, 0.05) == (0.0, 1.0)


# Baselines


class Known(Rule):
    """A claim on a number, decided elsewhere."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        return None

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        return Decision(verdict=self.verdict, rule="number", estimate=0.5, interval=(0.4, 0.6))


def against(
    before: NDArray[np.bool_], now: NDArray[np.bool_], number: Verdict | None, *, terms: Terms = SET, **more: Any
) -> Decision:
    rule = BaselineRule(
        other=Known(Q if number is None else number), has_threshold=number is not None, before=before,
        **{"tolerance": 0.0, "terms": terms, **more},
    )  # fmt: skip
    return rule.decide({"held": now, "id": np.arange(len(now))}, len(now), None)


@pytest.mark.parametrize(
    ("lost", "number", "verdict"),
    [
        (0, None, P), (0, P, P), (0, F, F), (0, Q, Q),
        (1, None, F), (1, P, F), (1, F, F), (1, Q, F),
    ],
)  # fmt: skip
def test_the_fall_of_a_set_of_four_is_a_number(lost: int, number: Verdict | None, verdict: Verdict) -> None:
    found = against(np.ones(4, dtype=bool), np.arange(4) >= lost, number)
    assert found.verdict is verdict
    assert not found.at_alpha


@pytest.mark.parametrize(
    ("lost", "number", "verdict"),
    [
        (0, None, Q), (0, P, Q), (0, F, F), (0, Q, Q),
        (3, None, Q), (3, P, Q), (3, F, F), (3, Q, Q),
        (4, None, F), (4, P, F), (4, F, F), (4, Q, F),
    ],
)  # fmt: skip
def test_a_population_of_which_five_were_drawn(lost: int, number: Verdict | None, verdict: Verdict) -> None:
    """Four or five lost and none gained have a chance of .039 at most where as many are lost as gained."""
    found = against(np.ones(5, dtype=bool), np.arange(5) >= lost, number, terms=POPULATION)
    assert found.verdict is verdict
    assert found.rule.startswith("not decided") is (verdict is Q)


@pytest.mark.parametrize("number", [None, P, F, Q])
@pytest.mark.parametrize("terms", [SET, POPULATION])
def test_a_loss_that_is_shown_fails_beside_any_number(number: Verdict | None, terms: Terms) -> None:
    found = against(np.ones(40, dtype=bool), np.arange(40) >= 10, number, terms=terms)
    assert (found.verdict, found.reasons, found.at_alpha) == (F, ("baseline",), terms is POPULATION)


def test_a_population_is_no_worse_where_its_whole_interval_is_tolerated() -> None:
    before = np.ones(200, dtype=bool)
    for tolerance, verdict in ((0.03, P), (0.01, Q)):
        found = against(before, before, None, terms=POPULATION, tolerance=tolerance)
        assert found.verdict is verdict
        assert against(before, before, P, terms=POPULATION, tolerance=tolerance).verdict is verdict
        assert against(before, before, None, tolerance=tolerance).verdict is P


def test_several_outcomes_a_sample_are_one_draw_each() -> None:
    random = np.random.default_rng(0)
    before, now = random.random((60, 4)) < 0.8, random.random((60, 4)) < 0.7
    names = tuple("abcd")
    rule = BaselineRule(
        other=Known(Q), has_threshold=False, before=before, tolerance=0.0, terms=SET, columns=names,
        parts=(("first", names[:1]), ("rest", names[1:])), level=0.01,
    )  # fmt: skip
    columns = {name: now[:, at] for at, name in enumerate(names)} | {"id": np.arange(60), "held": now[:, 0]}
    whole, first, rest = rule.falls(columns)
    fall = before.sum(1).astype(int) - now.sum(1)
    assert whole.interval == fall_interval(fall / 4, 0.05, 0.0)
    assert (whole.n, whole.lost, whole.gained) == (240, int((before & ~now).sum()), int((now & ~before).sum()))
    assert first.interval == paired_interval(first.lost, first.gained, 60, 0.05)
    assert first.low == paired_interval(first.lost, first.gained, 60, 0.01)[0]
    assert rest.n == 180


# Drops


def test_a_start_is_doubted_up_to_chance_and_up_to_the_fall_allowed() -> None:
    low = clopper_pearson(30, 100, 0.05)[0]
    assert "at chance" in doubt_of_start(30, 100, low, 0.01, alpha=0.05)
    assert doubt_of_start(30, 100, low - 1e-9, 0.01, alpha=0.05) == ""
    assert "nothing could have failed" in doubt_of_start(30, 100, 0.0, 0.3, alpha=0.05)
    assert doubt_of_start(30, 100, 0.0, 0.299, alpha=0.05) == ""
    assert "stopped looking" in doubt_of_start(80, 100, 0.25, 0.55, alpha=0.05)
    assert "stopped looking" in doubt_of_start(40, 100, 0.25, 0.15, alpha=0.05)
    assert doubt_of_start(80, 100, 0.25, 0.549, alpha=0.05) == ""


@pytest.mark.parametrize("n", [40, 50])
def test_an_early_pass_has_tested_its_start_and_a_whole_set_tests_it_again(n: int) -> None:
    """All of one class, half right before and after: nothing fell, and nothing could."""
    rule = AboveChanceRule(other=DropRule(threshold=0.2, terms=SET), threshold=0.2, terms=SET)
    half = np.tile([True, False], 20)
    columns = {"clean": half, "held": half, "label": np.zeros(40, dtype=np.int64), "id": np.arange(40)}
    found = rule.decide(columns, n, EarlyVerdict(P, 20, True, 0.05))
    assert found.verdict is (Q if n == 40 else P)
    assert (found.reasons == ("no_fall",)) is (n == 40)
    assert rule.decide(columns, 40, None).verdict is Q
    free = AboveChanceRule(other=DropRule(threshold=0.2, terms=SET), threshold=None, terms=SET)
    assert free.decide(columns, 40, None).verdict is P


# Cues


def cue_columns(label: list[int], cues: list[tuple[list[int], list[int]]], classes: int = 3) -> dict[str, Any]:
    found = {"label": np.array(label), CLASSES: np.full(len(label), classes)}
    for cue, (off, on) in enumerate(cues):
        found |= {off_column(cue): np.array(off), on_column(cue): np.array(on)}
    return found


def test_one_sample_is_enough_to_count_pairs() -> None:
    pairs = CuePairs.count(cue_columns([0], [([0], [2])]), 0, None)
    assert (pairs.flips, pairs.of, pairs.members.tolist(), pairs.gained.tolist()) == (1, 1, [1, 0, 0], [1, 0, 0])
    assert (pairs.drawn.tolist(), pairs.driven.tolist(), pairs.accuracy) == ([0, 0, 1], [1, 0, 0], (0.0, 1.0))


def test_while_classes_may_come_only_a_part_with_an_event_fails() -> None:
    """A flip rate of 0 that one flip breaks, and recall that no sample lost: the claim fails, and cannot pass."""
    label = [0, 1] * 10
    still, flipped = (label, label), (label, [1, *label[1:]])
    for cue, verdict in ((still, None), (flipped, F)):
        rule = CueRule(targets=(None,), max_flip_rate=0.0, max_recall_drop=0.9, terms=SET)
        settled = rule.settle(cue_columns(label, [cue]), 40)
        assert (None if settled is None else settled.verdict) is verdict
    rule = CueRule(targets=(None,), max_flip_rate=0.9, max_recall_drop=None, terms=SET)
    settled = rule.settle(cue_columns(label * 10, [(label * 10, label * 10)]), 220)
    assert settled is not None
    assert settled.verdict is P


def test_the_worst_value_of_a_target_without_samples_is_of_flips_alone() -> None:
    columns = cue_columns([0, 0, 1, 1], [([0, 0, 1, 1], [0, 0, 1, 1])])
    moved = np.array([True, False, True, True])
    for target, flips, drop in ((None, 0.75, 1.0), (0, 1.0, 0.5), (1, 0.5, 1.0), (2, 0.75, 0.0)):
        by_flips = CueRule(targets=(target,), max_flip_rate=0.1, max_recall_drop=None, terms=SET)
        by_recall = CueRule(targets=(target,), max_flip_rate=None, max_recall_drop=0.1, terms=SET)
        both = CueRule(targets=(target,), max_flip_rate=0.1, max_recall_drop=0.5, terms=SET)
        assert by_flips.worst(columns, 0, moved) == flips
        assert by_recall.worst(columns, 0, moved) == drop
        assert both.worst(columns, 0, moved) == (flips if drop <= 0.5 else np.inf)


# Seeds, means, and approximate rules


@pytest.mark.parametrize("seed", [-5, 0, 7, 2**63])
def test_a_seed_is_any_whole_number(seed: int) -> None:
    assert 0 <= bootstrap_interval(np.array([[3, 4], [1, 4]]), alpha=0.3, seed=seed)[0] <= 1
    assert generator(seed).random() == generator(seed).random() != generator(seed + 1).random()
    scores = ScoreBaselineRule(
        other=Known(Q), has_threshold=False, before=np.full(9, 0.5), tolerance=0.0, terms=SET, seed=seed
    )
    found = scores.decide({"score": np.full(9, 0.5), "held": np.ones(9, dtype=bool), "id": np.arange(9)}, 9, None)
    assert found.verdict is P


def test_two_samples_have_a_bootstrap_and_one_has_none() -> None:
    rows = np.array([[3, 2, 4, 4], [1, 4, 4, 4]])
    low, high = bootstrap_interval(rows, alpha=0.3, seed=0)
    assert (low, high) != (0.0, 1.0)
    assert 0.5 <= low <= high <= 0.75
    assert bootstrap_interval(rows[:1], alpha=0.3, seed=0) == (0.0, 1.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_intervals_of_extreme_means_reach_their_range_and_no_further(sign: int) -> None:
    value = np.full(5, float(sign))
    low, high = MeanRule(threshold=None, terms=POPULATION).decide({"value": value}, 5, None).interval
    assert (high if sign > 0 else low) == sign
    assert -1 <= low < high <= 1
    draws = DrawsRule(threshold=None, at_least=True, terms=POPULATION, column="x", low=-3.0, high=5.0)
    low, high = draws.decide({"x": np.full(5, 5.0 if sign > 0 else -3.0)}, 5, None).interval
    assert (high if sign > 0 else low) == (5.0 if sign > 0 else -3.0)
    assert -3 <= low < high <= 5


@pytest.mark.parametrize("verdict", [P, F, Q])
@pytest.mark.parametrize("terms", [SET, POPULATION], ids=["set", "population"])
def test_an_approximate_rule_passes_no_population(verdict: Verdict, terms: Terms) -> None:
    decision = Decision(verdict=verdict, rule="by a bootstrap", estimate=0.5, interval=(0.4, 0.6))
    found = approximate(decision, terms, by="a bootstrap", units="images", instead="claim less")
    assert found.approximate
    refused = verdict is P and terms is POPULATION
    assert found.verdict is (Q if refused else verdict)
    assert (found.rule != "by a bootstrap") is refused
    assert (found.estimate, found.interval) == (0.5, (0.4, 0.6))
