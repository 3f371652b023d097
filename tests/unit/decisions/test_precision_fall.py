"""Falls of mean average precision: exact on a set in any order of equal scores, and bounded on a population."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest.decisions.average_precision import (
    ANSWERS,
    BLOCK,
    TARGETS,
    Matches,
    MeanAveragePrecision,
    WorstGroupPrecision,
    average_precision,
)
from robustest.decisions.bets import fall_interval
from robustest.decisions.clusters import CLUSTER
from robustest.decisions.precision_fall import CLEAN_ANSWERS, CLEAN_TARGETS, PrecisionBaselineRule, PrecisionDropRule
from robustest.decisions.rule import Decision, Terms
from robustest.results import Verdict

Boxes = NDArray[np.float64]
SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)


def targets_of(images: int, kinds: int = 2) -> Boxes:
    """Return (n, kinds, 6) targets: a box of each class in every image."""
    rows = np.zeros((images, kinds, 6))
    rows[:, :, 0], rows[:, :, 2], rows[:, :, 3] = 50 * np.arange(kinds), 50 * np.arange(kinds) + 40, 40
    rows[:, :, 4], rows[:, :, 5] = np.arange(kinds), 1
    return rows


def found(targets: Boxes, share: float, seed: int, *, level: float | None = None) -> Boxes:
    """Return answers that find a share of the targets, a box at a time, with random scores or one score."""
    random = np.random.default_rng(seed)
    answers = targets.copy()
    answers[..., 4] = np.where(random.random(targets.shape[:2]) < share, targets[..., 4], -1)
    answers[..., 5] = random.random(targets.shape[:2]) if level is None else level
    return answers


def drop(
    max_drop: float | None, before: Boxes, now: Boxes, targets: Boxes, terms: Terms = SET, **more: Any
) -> Decision:
    columns = {CLEAN_ANSWERS: before, CLEAN_TARGETS: targets, ANSWERS: now, TARGETS: targets, **more}
    columns["id"] = np.arange(len(now))
    return PrecisionDropRule(threshold=max_drop, terms=terms).decide(columns, len(now), None)


def beside(
    tolerance: float, before: Boxes, now: Boxes, targets: Boxes, terms: Terms = SET, *, at_least: float | None = None
) -> Decision:
    order = np.random.default_rng(0).permutation(len(now))
    columns = {ANSWERS: now[order], TARGETS: targets[order], "id": order, "held": np.ones(len(now), dtype=bool)}
    rule = PrecisionBaselineRule(
        other=MeanAveragePrecision(threshold=at_least, terms=terms),
        has_threshold=at_least is not None,
        before=np.concatenate([before, targets], 1),
        tolerance=tolerance,
        terms=terms,
    )
    return rule.decide(columns, len(now), None)


def test_a_fall_of_a_set_is_the_difference_of_coco_s_values() -> None:
    targets = targets_of(30)
    before, now = found(targets, 0.9, 0), found(targets, 0.6, 1)
    fall = average_precision(before, targets)["map"] - average_precision(now, targets)["map"]
    assert 0.1 < fall < 0.5
    for decide in (drop, beside):
        assert decide(fall, before, now, targets).verdict is Verdict.PASSED
        assert decide(fall - 1e-9, before, now, targets).verdict is Verdict.FAILED
    assert drop(None, before, now, targets).estimate == pytest.approx(fall, abs=1e-12)
    assert drop(None, before, now, targets).verdict is Verdict.INCONCLUSIVE


def test_no_order_of_equal_scores_makes_a_value_better_than_the_best_one() -> None:
    targets = targets_of(5, kinds=1)
    answers = found(targets, 1.0, 0, level=0.5)
    answers[[1, 3], :, :2] += 100  # false
    answers[[1, 3], :, 2:4] += 100
    values = [
        Matches.of(answers[list(order)], targets[list(order)]).mean() for order in permutations(range(len(targets)))
    ]
    matches = Matches.of(answers, targets)
    assert matches.mean(order="best") == pytest.approx(max(values), abs=1e-12)
    assert matches.mean(order="worst") <= min(values) + 1e-12
    assert min(values) < matches.mean() < max(values)


def test_a_fall_that_hangs_on_the_order_of_equal_scores_decides_nothing() -> None:
    targets = targets_of(5, kinds=1)
    before = found(targets, 1.0, 0, level=0.5)
    before[[0, 1], :, :4] += 100  # false answers come first: in the order of the data the value is low
    now = found(targets, 1.0, 1)
    now[[0, 1], :, 4] = -1
    now[2, :, :4] += 100
    now[2, :, 5] = 0.01
    one = Matches.of(before, targets)
    fall = one.mean() - average_precision(now, targets)["map"]
    most = one.mean(order="best") - average_precision(now, targets)["map"]
    assert fall < most
    middle = max(0.0, (fall + most) / 2)
    for decide in (drop, beside):
        undecided = decide(middle, before, now, targets)
        assert undecided.verdict is Verdict.INCONCLUSIVE
        assert "equal score" in undecided.rule
        assert decide(most, before, now, targets).verdict is Verdict.PASSED


def test_a_drop_from_nothing_passes_nothing() -> None:
    targets = targets_of(20)
    weak = found(targets, 0.1, 0)
    value = Matches.of(weak, targets).mean(order="worst")
    assert drop(value, weak, weak, targets).verdict is Verdict.INCONCLUSIVE
    assert "nothing could have failed it" in drop(value, weak, weak, targets).rule
    assert drop(value / 2, weak, weak, targets).verdict is Verdict.PASSED
    none = np.where(np.arange(6) == 4, -1.0, targets)
    for decide in (drop, beside):
        assert decide(0.0, none, none, none).verdict is Verdict.INCONCLUSIVE
        assert decide(0.1, none, weak, targets).verdict is Verdict.INCONCLUSIVE  # the other model finds nothing


def test_the_class_that_was_lost_stands_in_the_line() -> None:
    targets = targets_of(20, kinds=10)
    lost = np.where((targets[..., 4:5] == 3) & (np.arange(6) == 4), -1.0, targets)
    for decide in (drop, beside):
        tolerated = decide(0.15, targets, lost, targets)
        assert tolerated.verdict is Verdict.PASSED  # a tenth of the mean
        assert "class 3 fell by 1.000" in tolerated.rule
        assert decide(0.05, targets, lost, targets).verdict is Verdict.FAILED
        assert "fell by 1.000" not in decide(0.05, targets, targets, targets).rule


def test_about_a_population_falls_of_disjoint_sets_are_bounded_by_bets() -> None:
    images = 10 * BLOCK
    targets = targets_of(images)
    before, now = found(targets, 0.95, 0), found(targets, 0.2, 1)
    sets = [slice(at, at + BLOCK) for at in range(0, images, BLOCK)]
    falls = [
        average_precision(before[one], targets[one])["map"] - average_precision(now[one], targets[one])["map"]
        for one in sets
    ]
    decision = drop(0.9, before, now, targets, POPULATION)
    assert decision.interval == pytest.approx(fall_interval(np.array(falls), 0.05, 0.9), abs=1e-9)
    assert decision.interval[0] < np.mean(falls) < decision.interval[1]
    assert drop(0.1, before, now, targets, POPULATION).verdict is Verdict.FAILED
    # Of images in pairs half as many sets are draws.
    pairs = drop(0.9, before, now, targets, POPULATION, **{CLUSTER: np.arange(images) // 2})
    assert pairs.interval[1] - pairs.interval[0] > decision.interval[1] - decision.interval[0]
    assert pairs.clusters
    alone = drop(0.5, before[:BLOCK], before[:BLOCK], targets[:BLOCK], POPULATION)
    assert alone.verdict is Verdict.INCONCLUSIVE  # one set shows little
    same = beside(0.5, before, before, targets, POPULATION)
    assert same.verdict is Verdict.PASSED
    assert beside(0.1, before, now, targets, POPULATION).verdict is Verdict.FAILED


def test_a_baseline_beside_a_threshold_needs_both() -> None:
    targets = targets_of(20)
    good, bad = targets.copy(), found(targets, 0.5, 0)
    assert beside(0.0, bad, good, targets, at_least=0.9).verdict is Verdict.PASSED
    assert beside(0.0, bad, bad, targets, at_least=0.9).verdict is Verdict.FAILED
    assert beside(0.1, good, bad, targets, at_least=0.1).verdict is Verdict.FAILED


def groups(at_least: float, answers: Boxes, targets: Boxes, names: NDArray[Any], terms: Terms = SET) -> Decision:
    kinds = np.unique(names)
    rule = WorstGroupPrecision(
        threshold=at_least,
        names=tuple(map(str, kinds)),
        members=tuple(np.flatnonzero(names == kind) for kind in kinds),
        disjoint=True,
        terms=terms,
    )
    order = np.random.default_rng(0).permutation(len(answers))
    return rule.decide({ANSWERS: answers[order], TARGETS: targets[order], "id": order}, len(answers), None)


def test_the_worst_group_s_value_is_that_of_its_images_alone() -> None:
    targets = targets_of(40)
    names = np.arange(40) % 2
    answers = found(targets, 0.9, 0)
    answers[names == 1] = found(targets[names == 1], 0.3, 1)
    value = average_precision(answers[names == 1], targets[names == 1])["map"]
    assert average_precision(answers, targets)["map"] > value + 0.1
    assert groups(value, answers, targets, names).verdict is Verdict.PASSED
    failed = groups(value + 1e-9, answers, targets, names)
    assert failed.verdict is Verdict.FAILED
    assert failed.estimate == pytest.approx(value, abs=1e-12)
    equal = np.where(np.arange(6) == 5, 0.5, answers)
    equal[::3, :, :4] += 200
    lucky = min(Matches.of(equal[names == k], targets[names == k]).mean() for k in (0, 1))
    worst = min(Matches.of(equal[names == k], targets[names == k]).mean(order="worst") for k in (0, 1))
    assert worst < lucky
    assert groups(lucky, equal, targets, names).verdict is Verdict.INCONCLUSIVE
    # A group in which there is nothing to find shows nothing, and does not hide one that fails.
    targets[names == 0, :, 4] = -1
    assert groups(0.01, answers, targets, names).verdict is Verdict.INCONCLUSIVE
    assert groups(value + 0.01, answers, targets, names).verdict is Verdict.FAILED


def test_bounds_of_groups_hold_for_all_at_once() -> None:
    images = 16 * BLOCK
    targets, names = targets_of(images), np.arange(images) % 2
    answers = found(targets, 0.9, 0)
    passed = groups(0.4, answers, targets, names, POPULATION)
    assert passed.verdict is Verdict.PASSED
    assert passed.at_alpha
    answers[names == 1] = found(targets[names == 1], 0.2, 1)
    failed = groups(0.6, answers, targets, names, POPULATION)
    assert failed.verdict is Verdict.FAILED
    assert groups(0.2, answers, targets, names, POPULATION).verdict is Verdict.INCONCLUSIVE
    few = groups(0.1, answers[:60], targets[:60], names[:60], POPULATION)
    assert few.interval == (0.0, 1.0)
