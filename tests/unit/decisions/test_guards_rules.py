"""Guards of the rules: what each does at its border, on a population, and before every sample was looked at."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest import ConfigError, Verdict
from robustest.decisions import BaselineRule, CertifiedRule, DropRule, ShareRule, Terms, clopper_pearson
from robustest.decisions.cues import CLASSES, CueRule, off_column, on_column, worst_of
from robustest.decisions.groups import WorstGroupRule
from robustest.decisions.multiplicity import group_level
from robustest.decisions.paired import paired_interval
from robustest.decisions.rule import Decision, EarlyVerdict, decide_early
from robustest.decisions.two_set_drop import TwoSetDropRule, share_difference_interval

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=1e-6)
CERTAIN = Terms(scope="set", alpha=1e-12, fail_alpha=1e-12)
"""Nothing is settled by chance."""


def columns(**values: list[Any] | NDArray[Any]) -> dict[str, NDArray[Any]]:
    found = {name: np.asarray(value) for name, value in values.items()}
    found.setdefault("id", np.arange(len(next(iter(found.values())))))
    return found


# The worst of several groups


def worst(threshold: float | None, terms: Terms, sizes: tuple[int, ...] = (20, 20)) -> WorstGroupRule:
    ends = np.cumsum((0, *sizes))
    members = tuple(np.arange(a, b) for a, b in pairwise(ends))
    return WorstGroupRule(
        threshold=threshold, names=tuple("abcdef"[: len(sizes)]), members=members, disjoint=True, terms=terms
    )


def held_of(*counts: tuple[int, int]) -> list[bool]:
    return [place < right for right, size in counts for place in range(size)]


def test_a_set_is_judged_to_the_sample_and_a_population_by_its_interval() -> None:
    """18 of 20 are exactly .9 of this set; of what it was drawn from nobody knows."""
    seen = columns(held=held_of((18, 20), (20, 20)))
    of_set = worst(0.9, SET).decide(seen, 40, None)
    assert (of_set.verdict, of_set.rule, of_set.at_alpha) == (Verdict.PASSED, "certain: exact on this set", False)
    above = worst(0.91, SET).decide(seen, 40, None)
    assert (above.verdict, above.at_alpha) == (Verdict.FAILED, False)
    drawn = worst(0.9, POPULATION).decide(seen, 40, None)
    assert (drawn.verdict, drawn.at_alpha) == (Verdict.INCONCLUSIVE, True)
    assert drawn.rule == "population, these 2 groups at once, alpha = 0.05 a side"
    nothing = worst(None, POPULATION).decide(seen, 40, None)
    assert (nothing.verdict, nothing.rule, nothing.at_alpha) == (Verdict.INCONCLUSIVE, "no threshold given", False)


@pytest.mark.parametrize(("right", "verdict"), [(40, Verdict.PASSED), (0, Verdict.FAILED)])
def test_of_a_population_nothing_settles_before_the_end(right: int, verdict: Verdict) -> None:
    held = held_of((right // 2, 20), (right // 2, 20))
    for read in (20, 39):
        seen = {name: values[:read] for name, values in columns(held=held).items()}
        assert worst(0.5, POPULATION).settle(seen, 40) is None
        assert worst(None, SET).settle(seen, 40) is None
    settled = worst(0.5, SET).settle(columns(held=held), 40)
    assert settled is not None
    assert settled.verdict is verdict


def test_a_budget_on_a_population_has_the_interval_of_what_was_read() -> None:
    held = held_of((18, 20), (20, 20))
    seen = {name: values[:30] for name, values in columns(held=held).items()}  # 18 of 20, 10 of 10
    drawn = worst(0.9, POPULATION).decide(seen, 40, None)
    level = group_level(0.05, 2, disjoint=True)
    low = min(clopper_pearson(18, 20, 0.05)[0], clopper_pearson(10, 10, 0.05)[0])
    high = min(clopper_pearson(18, 20, level)[1], clopper_pearson(10, 10, level)[1])
    assert drawn.interval == pytest.approx((low, high))
    of_set = worst(0.9, SET).decide(seen, 40, None)
    assert of_set.interval != pytest.approx((low, high))


def test_the_groups_that_fail_a_set_are_named_and_those_of_a_population_are_not() -> None:
    held = held_of((0, 20), (20, 20))
    seen = {name: values[:39] for name, values in columns(held=held).items()}
    settled = worst(0.9, SET).settle(seen, 40)
    assert settled is not None
    assert worst(0.9, SET).decide(seen, 40, settled).rule == f"{_kind(settled)} after {settled.after} of 40: a"
    drawn = worst(0.9, POPULATION).decide(seen, 40, None)
    assert drawn.verdict is Verdict.FAILED
    assert drawn.rule.startswith("population, alpha = 0.05 a side; budget: 39 of 40")
    assert ": a" not in drawn.rule[-4:]


def _kind(settled: EarlyVerdict) -> str:
    return "certain" if settled.certain else f"alpha = {settled.alpha:.2g}"


def test_a_failed_group_is_placed_in_the_whole_stream() -> None:
    """The verdict is after the sample that settled it, counted among all that were read; the earliest one counts."""
    order = np.array([0, 20, 1, 21, 2, 22, 3, 23])
    held = np.zeros(40, dtype=bool)
    rule = worst(1.0, SET)
    settled = rule.settle({"held": held[order], "id": order}, 40)
    assert settled is not None
    assert (settled.verdict, settled.after, settled.certain) == (Verdict.FAILED, 1, True)
    late = np.ones(40, dtype=bool)
    late[[3, 22]] = False  # read as the seventh and the sixth
    settled = rule.settle({"held": late[order], "id": order}, 40)
    assert settled is not None
    assert settled.after == 6


def test_all_groups_have_to_pass_and_the_last_one_says_when() -> None:
    rule, held = worst(0.5, SET, (4, 4)), np.ones(8, dtype=bool)
    order = np.array([0, 1, 4, 5, 2, 3, 6, 7])
    assert rule.settle({"held": held[order][:3], "id": order[:3]}, 8) is None
    settled = rule.settle({"held": held[order][:5], "id": order[:5]}, 8)
    assert settled is not None
    assert (settled.verdict, settled.after, settled.certain) == (Verdict.PASSED, 4, True)


# A share, a fall


@pytest.mark.parametrize("terms", [SET, POPULATION], ids=["set", "population"])
def test_only_a_set_is_doomed_by_counted_samples(terms: Terms) -> None:
    rule = ShareRule(threshold=0.9, at_least=True, terms=terms)
    assert not rule.doomed(10, 100)
    assert rule.doomed(11, 100) is (terms.scope == "set")
    assert not ShareRule(threshold=None, at_least=True, terms=terms).doomed(100, 100)
    most = ShareRule(threshold=0.1, at_least=False, terms=terms)
    assert not most.doomed(10, 100)
    assert most.doomed(11, 100) is (terms.scope == "set")


@pytest.mark.parametrize("rule", [ShareRule, DropRule])
def test_a_population_settles_at_the_end_alone(rule: Any) -> None:
    more = {"at_least": True} if rule is ShareRule else {}
    seen = columns(held=[False] * 90, clean=[True] * 90)
    assert rule(threshold=0.5, terms=POPULATION, **more).settle(seen, 100) is None
    assert rule(threshold=None, terms=SET, **more).settle(seen, 100) is None
    settled = rule(threshold=0.5, terms=SET, **more).settle(seen, 100)
    assert settled is not None
    assert settled.verdict is Verdict.FAILED


@pytest.mark.parametrize("at_least", [True, False])
def test_a_share_of_what_does_not_hold_is_turned_round(at_least: bool) -> None:
    seen = columns(held=held_of((60, 80)))
    rule = ShareRule(threshold=0.5, at_least=at_least, terms=POPULATION)
    low, high = clopper_pearson(60, 80, 0.05)
    assert rule.decide(seen, 100, None).interval == pytest.approx((low, high) if at_least else (1 - high, 1 - low))
    whole = rule.decide(seen, 80, None)
    assert whole.estimate == (0.75 if at_least else 0.25)
    assert whole.verdict is Verdict.PASSED


def test_a_fall_counts_what_was_lost_less_what_was_gained() -> None:
    seen = columns(clean=[True, True, True, False], held=[True, False, False, True])
    assert DropRule(threshold=0.25, terms=SET).decide(seen, 4, None).estimate == 0.25
    assert DropRule(threshold=0.25, terms=SET).decide(seen, 4, None).verdict is Verdict.PASSED
    assert DropRule(threshold=0.24, terms=SET).decide(seen, 4, None).verdict is Verdict.FAILED
    assert not DropRule(threshold=0.24, terms=SET).doomed(4, 4)


def test_a_verdict_before_the_end_says_what_it_rests_on() -> None:
    end = {"threshold": 0.5, "interval": (0.6, 0.9), "read": 40, "n": 100}
    for certain in (True, False):
        settled = EarlyVerdict(Verdict.PASSED, 33, certain, 0.012)
        found = decide_early(**end, early=settled, at_least=True, terms=SET)
        assert (found.verdict, found.estimate, found.at_alpha) == (Verdict.PASSED, None, not certain)
        assert found.rule == f"{'certain' if certain else 'alpha = 0.012'} after 33 of 100"
    budget = decide_early(**end, early=None, at_least=True, terms=SET)
    assert (budget.verdict, budget.at_alpha) == (Verdict.INCONCLUSIVE, False)
    assert budget.rule == "budget: 40 of 100 samples looked at"
    drawn = decide_early(**end, early=None, at_least=True, terms=POPULATION)
    assert (drawn.verdict, drawn.at_alpha) == (Verdict.PASSED, True)
    turned = decide_early(**end, early=None, at_least=False, terms=POPULATION)
    assert turned.verdict is Verdict.FAILED
    without = decide_early(**{**end, "threshold": None}, early=None, at_least=True, terms=POPULATION)
    assert (without.verdict, without.rule) == (
        Verdict.INCONCLUSIVE,
        "no threshold given; budget: 40 of 100 samples looked at",
    )


# What is proven, broken or open


def certified(threshold: float | None, **changes: Any) -> CertifiedRule:
    return CertifiedRule(**{"threshold": threshold, "terms": SET, "proofs_alone": True, **changes})


PROVEN, OPEN, BROKEN = (True, True), (False, True), (False, False)


def outcomes(proven: int, left: int, broken: int) -> dict[str, NDArray[Any]]:
    rows = [PROVEN] * proven + [OPEN] * left + [BROKEN] * broken
    return columns(proven=[row[0] for row in rows], held=[row[1] for row in rows])


@pytest.mark.parametrize(
    ("threshold", "alone", "verdict", "estimate"),
    [
        (0.6, True, Verdict.PASSED, 0.6),
        (0.61, True, Verdict.INCONCLUSIVE, 0.6),
        (0.8, True, Verdict.INCONCLUSIVE, 0.6),
        (0.81, True, Verdict.FAILED, 0.6),
        (0.6, False, Verdict.PASSED, 0.8),
        (0.8, False, Verdict.PASSED, 0.8),
        (0.81, False, Verdict.FAILED, 0.8),
        (None, True, Verdict.INCONCLUSIVE, 0.6),
        (None, False, Verdict.INCONCLUSIVE, 0.8),
    ],
)
def test_proofs_pass_and_what_is_broken_fails(
    threshold: float | None, alone: bool, verdict: Verdict, estimate: float
) -> None:
    """60 of 100 are proven, 20 open, 20 broken: between .6 and .8 only an attack may pass it."""
    rule = certified(threshold, proofs_alone=alone)
    seen = outcomes(60, 20, 20)
    found = rule.decide(seen, 100, rule.settle(seen, 100))
    assert (found.verdict, found.estimate, found.interval) == (verdict, estimate, (0.6, 0.8))
    if threshold == 0.6:
        assert found.rule.startswith("proven: 60 of 100 samples cannot be broken; ")
    assert found.proven is (threshold == 0.6)
    if threshold is not None and verdict is Verdict.INCONCLUSIVE:
        assert found.rule == "open: 60 of 100 samples are proven, 20 are wrong or broken"


@pytest.mark.parametrize("drawn", [True, False])
def test_proofs_by_draws_rest_on_alpha(drawn: bool) -> None:
    for threshold in (0.6, 0.7, 0.9):
        assert certified(threshold, drawn=drawn).decide(outcomes(60, 20, 20), 100, None).at_alpha is drawn


@pytest.mark.parametrize("alone", [True, False])
def test_what_is_left_settles_a_pass_only_where_it_may(alone: bool) -> None:
    seen = outcomes(0, 90, 0)
    settled = certified(0.5, proofs_alone=alone).settle(seen, 100)
    assert (settled is None) is alone
    by_proof = certified(0.5, proofs_alone=alone).settle(outcomes(90, 0, 0), 100)
    assert by_proof is not None
    assert by_proof.verdict is Verdict.PASSED
    by_attack = certified(0.5, proofs_alone=alone).settle(outcomes(0, 0, 90), 100)
    assert by_attack is not None
    assert by_attack.verdict is Verdict.FAILED
    assert certified(0.9, proofs_alone=alone).doomed(11, 100)
    assert not certified(0.9, proofs_alone=alone).doomed(10, 100)


def test_a_population_has_the_outer_ends_of_both() -> None:
    seen = outcomes(60, 20, 20)
    found = certified(0.7, terms=POPULATION).decide(seen, 100, None)
    assert found.interval == pytest.approx((clopper_pearson(60, 100, 0.05)[0], clopper_pearson(80, 100, 0.05)[1]))
    budget = certified(0.99).decide(outcomes(60, 20, 0), 100, None)
    assert budget.interval[0] < 0.75
    assert budget.interval[1] > 0.99


# A fall from one set of samples to another


def fall(threshold: float | None, *, whole: bool = True, terms: Terms = SET) -> TwoSetDropRule:
    """From 45 of 50, which is .9."""
    return TwoSetDropRule(threshold=threshold, first=45, n_first=50, whole=whole, terms=terms)


@pytest.mark.parametrize(("threshold", "verdict"), [(0.1, Verdict.PASSED), (0.099, Verdict.FAILED)])
def test_a_fall_between_sets_is_exact(threshold: float, verdict: Verdict) -> None:
    """80 of 100 are a fall of exactly .1; so 80 are needed, and 20 that do not hold are still allowed."""
    seen = columns(held=np.random.default_rng(0).permutation(held_of((80, 100))))
    found = fall(threshold).decide(seen, 100, None)
    assert (found.verdict, found.rule, found.at_alpha) == (verdict, "certain: exact on these sets", False)
    assert found.estimate == pytest.approx(0.1)
    settled = fall(threshold, terms=CERTAIN).settle(seen, 100)
    assert settled is not None
    assert settled.verdict is verdict
    assert fall(0.1).doomed(21, 100)
    assert not fall(0.1).doomed(20, 100)
    assert fall(0.099).doomed(20, 100)
    drawn = fall(threshold, terms=POPULATION).decide(seen, 100, None)
    assert (drawn.verdict, drawn.at_alpha) == (Verdict.INCONCLUSIVE, True)
    assert drawn.interval == share_difference_interval(45, 50, 80, 100, 0.05)
    assert fall(0.4, terms=POPULATION).decide(seen, 100, None).verdict is Verdict.PASSED


@pytest.mark.parametrize(("whole", "terms"), [(False, SET), (True, POPULATION), (False, POPULATION)])
def test_a_fall_that_is_no_fact_settles_nothing_early(whole: bool, terms: Terms) -> None:
    seen = columns(held=held_of((0, 99)))
    assert fall(0.1, whole=whole, terms=terms).settle(seen, 100) is None
    assert not fall(0.1, whole=whole, terms=terms).doomed(100, 100)
    assert fall(None).settle(seen, 100) is None
    assert not fall(None).doomed(100, 100)
    assert fall(0.1).settle(seen, 100) is not None


def test_a_part_of_the_second_set_leaves_room() -> None:
    seen = columns(held=held_of((40, 50)))
    found = fall(0.1).decide(seen, 100, None)
    low, high = found.interval
    assert (found.verdict, found.estimate) == (Verdict.INCONCLUSIVE, None)
    assert -0.1 < low < 0.1 < high < 0.9
    drawn = fall(0.1, terms=POPULATION).decide(seen, 100, None)
    assert drawn.interval == share_difference_interval(45, 50, 40, 50, 0.05)
    part = fall(0.1, whole=False).decide(columns(held=held_of((80, 100))), 100, None)
    assert part.rule.endswith("; the first set in part too")
    assert part.interval == share_difference_interval(45, 50, 80, 100, 0.05)


# Cues


def cue_columns(label: list[int], without: list[list[int]], with_cue: list[list[int]]) -> dict[str, NDArray[Any]]:
    found = {"label": np.array(label), CLASSES: np.full(len(label), 2)}
    for cue, (before, after) in enumerate(zip(without, with_cue, strict=True)):
        found |= {off_column(cue): np.array(before), on_column(cue): np.array(after)}
    return found


HALF = [0] * 50 + [1] * 50


def moved(n: int, label: list[int] = HALF) -> list[int]:
    """Predictions as the labels, but for the first so many, which are of the other class."""
    return [1 - y if place < n else y for place, y in enumerate(label)]


def cue_rule(
    max_flip_rate: float | None,
    drop: float | None = None,
    targets: tuple[int | None, ...] = (None,),
    terms: Terms = SET,
) -> CueRule:
    return CueRule(targets=targets, max_flip_rate=max_flip_rate, max_recall_drop=drop, terms=terms)


@pytest.mark.parametrize(("max_flip_rate", "verdict"), [(0.1, Verdict.PASSED), (0.09, Verdict.FAILED)])
def test_a_cue_that_moves_few_samples_passes(max_flip_rate: float, verdict: Verdict) -> None:
    seen = cue_columns(HALF, [HALF], [moved(10)])
    rule = cue_rule(max_flip_rate)
    found = rule.decide(seen, 100, rule.settle(seen, 100))
    assert (found.verdict, found.estimate) == (verdict, 0.1)
    assert found.interval == pytest.approx((clopper_pearson(10, 100, 0.05)[0], clopper_pearson(10, 100, 0.05)[1]))


def test_of_several_cues_all_must_hold_and_the_worst_is_shown() -> None:
    seen = cue_columns(HALF, [HALF, HALF], [moved(2), moved(20)])
    rule = cue_rule(0.1, targets=(None, None))
    found = rule.decide(seen, 100, None)
    assert (found.verdict, found.estimate) == (Verdict.FAILED, 0.2)
    assert found.interval[0] == pytest.approx(clopper_pearson(20, 100, 0.025)[0])
    assert rule.lead(seen) == 1
    assert rule.lead(seen, among=(0,)) == 0
    assert cue_rule(0.2, targets=(None, None)).decide(seen, 100, None).verdict is Verdict.PASSED
    assert not rule.doomed(100, 100)


@pytest.mark.parametrize("terms", [SET, POPULATION], ids=["set", "population"])
def test_cues_settle_early_on_a_set_alone(terms: Terms) -> None:
    rule = cue_rule(0.1, targets=(None, None), terms=terms)
    still, flips = cue_columns(HALF, [HALF, HALF], [HALF, HALF]), cue_columns(HALF, [HALF, HALF], [HALF, moved(60)])
    for seen, verdict in ((still, Verdict.PASSED), (flips, Verdict.FAILED)):
        settled = rule.settle(seen, 101)
        assert (None if settled is None else settled.verdict) is (verdict if terms is SET else None)


def test_a_recall_that_relies_on_the_cue_is_claimed_by_class() -> None:
    """With the cue all are right; without it the first ten of class 0 are not."""
    seen = cue_columns(HALF, [moved(10)], [HALF])
    for drop, verdict in ((0.2, Verdict.PASSED), (0.19, Verdict.FAILED)):
        found = cue_rule(None, drop).decide(seen, 100, None)
        assert (found.verdict, found.estimate) == (verdict, 0.2)
        assert cue_rule(None, drop).by_recall
        targeted = cue_rule(None, drop, targets=(0,), terms=CERTAIN)
        assert targeted.decide(seen, 100, None).verdict is verdict
        assert cue_rule(None, drop, targets=(1,)).decide(seen, 100, None).verdict is Verdict.PASSED
        settled = targeted.settle(seen, 100)
        assert (None if settled is None else settled.verdict) is (verdict if drop < 0.2 else None), "a tie is left"
    assert cue_rule(None, 0.3).settle(seen, 101) is None, "a class that was not seen yet may be lost"
    both = cue_rule(0.5, 0.1)
    assert both.decide(seen, 100, None).verdict is Verdict.FAILED
    assert not both.by_recall


def test_a_suspected_class_counts_others_that_move_into_it() -> None:
    seen = cue_columns(HALF, [HALF], [moved(10)])
    into_one, into_zero = cue_rule(0.2, targets=(1,)), cue_rule(0.0, targets=(0,))
    assert into_one.decide(seen, 100, None).estimate == 0.2, "ten of the fifty of class 0"
    assert into_one.decide(seen, 100, None).verdict is Verdict.PASSED
    assert cue_rule(0.19, targets=(1,)).decide(seen, 100, None).verdict is Verdict.FAILED
    assert into_zero.decide(seen, 100, None).estimate == 0.0
    assert into_zero.decide(seen, 100, None).verdict is Verdict.PASSED


@pytest.mark.parametrize("label", [[0] * 20, [1] * 20])
def test_a_suspected_class_needs_its_own_samples_and_others(label: list[int]) -> None:
    seen = cue_columns(label, [label], [label])
    with pytest.raises(ConfigError, match="lack one of them"):
        cue_rule(0.2, targets=(1,)).decide(seen, 20, None)


def test_a_budget_on_cues_has_an_interval_of_all() -> None:
    seen = cue_columns(HALF, [HALF, HALF], [moved(2), moved(20)])
    found = cue_rule(0.5, targets=(None, None), terms=POPULATION).decide(seen, 1000, None)
    assert found.interval == pytest.approx((clopper_pearson(20, 100, 0.025)[0], clopper_pearson(20, 100, 0.05)[1]))
    assert (found.verdict, found.at_alpha) == (Verdict.PASSED, True)
    assert found.rule == "population, alpha = 0.05 a side; budget: 100 of 1000 samples looked at"
    assert cue_rule(0.01, targets=(None, None), terms=POPULATION).decide(seen, 1000, None).verdict is Verdict.FAILED
    of_set = cue_rule(0.5, targets=(None, None)).decide(seen, 1000, None)
    assert (of_set.verdict, of_set.at_alpha) == (Verdict.INCONCLUSIVE, False)
    assert cue_rule(None).settle(seen, 1000) is None
    nothing = cue_rule(None, terms=POPULATION).decide(seen, 1000, None)
    assert (nothing.verdict, nothing.rule) == (
        Verdict.INCONCLUSIVE,
        "no threshold given; budget: 100 of 1000 samples looked at",
    )
    by_recall = cue_rule(None, 0.2, terms=POPULATION).decide(seen, 1000, None)
    assert (by_recall.verdict, by_recall.interval) == (Verdict.INCONCLUSIVE, (0.0, 1.0))


def test_the_cue_that_exceeds_its_limit_leads_before_one_that_moves_more_within_its_own() -> None:
    """The first cue flips 20 of 100 and may flip 10; the second restores 34 of 100 of recall and may restore 40."""
    flips = [1 - y if place % 50 < 10 else y for place, y in enumerate(HALF)]
    lost = [1 - y if place < 17 else y for place, y in enumerate(HALF)]
    recall = cue_columns(HALF, [HALF, lost], [flips, HALF])
    by_both = cue_rule(0.1, 0.4, targets=(None, None))
    assert by_both.lead(recall) == 0
    assert by_both.decide(recall, 100, None).verdict is Verdict.FAILED
    assert cue_rule(0.3, 0.3, targets=(None, None)).lead(recall) == 1, "34 of 100 are more than 30, 20 are not"
    assert cue_rule(0.5, 0.5, targets=(None, None)).lead(recall) == 1, "34 of 100 are nearer to the limit than 20"
    assert cue_rule(0.1, targets=(None, None)).lead(recall) == 0, "20 flips and 17"
    assert cue_rule(None, 0.1, targets=(None, None)).lead(recall) == 1, "recall alone is claimed"


def test_the_worst_that_a_cue_can_do_counts_what_it_can_move_at_all() -> None:
    """Of class 0 the first 5 of 50 can be moved, of class 1 the first 20."""
    label = np.array(HALF)
    can = np.array([place % 50 < (5 if y == 0 else 20) for place, y in enumerate(HALF)])
    seen = cue_columns(HALF, [HALF], [HALF])
    assert cue_rule(0.1).worst(seen, 0, can) == 0.25
    assert cue_rule(0.1, targets=(1,)).worst(seen, 0, can) == 0.1, "others that may move into the suspected class"
    assert cue_rule(0.1, targets=(0,)).worst(seen, 0, can) == 0.4
    assert cue_rule(None, 0.1).worst(seen, 0, can) == 0.4, "the class that can lose most"
    assert cue_rule(None, 0.1, targets=(0,)).worst(seen, 0, can) == 0.1
    assert cue_rule(0.1, 0.4).worst(seen, 0, can) == 0.25, "recall cannot break its claim"
    assert cue_rule(0.1, 0.39).worst(seen, 0, can) == np.inf
    nobody = {name: values[label == 1] for name, values in seen.items()}
    assert cue_rule(0.1, targets=(1,)).worst(nobody, 0, can[label == 1]) == 0.0, "there are no others"


def test_the_worst_of_verdicts() -> None:
    every = [Verdict.PASSED, Verdict.INCONCLUSIVE, Verdict.FAILED]
    assert worst_of(every) is Verdict.FAILED
    assert worst_of(every[:2]) is Verdict.INCONCLUSIVE
    assert worst_of(every[:1]) is Verdict.PASSED
    assert worst_of([]) is Verdict.INCONCLUSIVE


# A baseline


@pytest.mark.parametrize(
    ("threshold", "terms", "held", "verdict", "at_alpha"),
    [
        (0.5, SET, 90, Verdict.PASSED, False),
        (0.95, SET, 90, Verdict.FAILED, False),
        (0.9, POPULATION, 90, Verdict.INCONCLUSIVE, True),
        (0.95, POPULATION, 80, Verdict.FAILED, True),
        (None, POPULATION, 90, Verdict.INCONCLUSIVE, True),
        (None, POPULATION, 60, Verdict.FAILED, True),
        (None, SET, 90, Verdict.PASSED, False),
        (0.5, SET, 60, Verdict.FAILED, False),
        (None, SET, 60, Verdict.FAILED, False),
    ],
)
def test_a_comparison_rests_on_chance_where_it_is_about_a_population(
    threshold: float | None, terms: Terms, held: int, verdict: Verdict, at_alpha: bool
) -> None:
    """90 of 100 held in the baseline. The fall of a set is a number, whatever alpha is."""
    number = ShareRule(threshold=threshold, at_least=True, terms=terms)
    before = np.arange(100) < 90
    rule = BaselineRule(other=number, has_threshold=threshold is not None, before=before, tolerance=0.0, terms=terms)
    found = rule.decide(columns(held=np.arange(100) < held), 100, None)
    assert (found.verdict, found.at_alpha) == (verdict, at_alpha)
    assert ("no worse: " in found.rule) is (held == 90 and verdict is not Verdict.INCONCLUSIVE)
    assert found.rule.startswith("not decided: ") is (verdict is Verdict.INCONCLUSIVE)
    assert found.rule.startswith("worse: ") is (held < 90)


@pytest.mark.parametrize("threshold", [0.5, None])
def test_a_population_is_no_worse_where_the_whole_interval_of_the_fall_is_tolerated(threshold: float | None) -> None:
    """Nothing was lost in this set; of what it was drawn from a few in a hundred may be."""
    before, high = np.arange(100) < 90, paired_interval(0, 0, 100, 0.05)[1]
    assert high > 0

    def found(terms: Terms, tolerance: float) -> Decision:
        number = ShareRule(threshold=threshold, at_least=True, terms=terms)
        asked = threshold is not None
        rule = BaselineRule(other=number, has_threshold=asked, before=before, tolerance=tolerance, terms=terms)
        return rule.decide(columns(held=before), 100, None)

    for tolerance in (0.0, high - 1e-6):
        left_open = found(POPULATION, tolerance)
        assert (left_open.verdict, left_open.at_alpha) == (Verdict.INCONCLUSIVE, True)
        assert left_open.rule.startswith(f"not decided: fell by 0.0000 [{-high:.4f}, {high:.4f}")
        assert ("tolerate 0.042, say" in left_open.rule) is (tolerance == 0)
        assert left_open.rule.endswith("alpha = 0.05 a side") is (threshold is not None)
        assert found(SET, tolerance).verdict is Verdict.PASSED
    tolerated = found(POPULATION, high)
    assert (tolerated.verdict, tolerated.at_alpha) == (Verdict.PASSED, True)
    assert "no worse: " in tolerated.rule
    assert "not decided" not in tolerated.rule
