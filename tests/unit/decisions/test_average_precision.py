"""Mean average precision: equal to pycocotools on generated sets, and the coverage of its intervals."""

from __future__ import annotations

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
    average_precision,
    block_values,
    blocks,
    group_interval,
)
from robustest.decisions.clusters import CLUSTER
from robustest.decisions.rule import Terms
from robustest.results import Verdict
from robustest.words import number

Boxes = NDArray[np.float64]
SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)


def generated(
    seed: int, images: int, *, kinds: int = 4, levels: int = 1000, crowds: float = 0.1
) -> tuple[Boxes, Boxes]:
    """Return answers and targets (n, R, 6) with empty images, crowds, ties in scores, and a class without targets.

    Args:
        levels: number of different scores.
        crowds: share of targets that mark a crowd.
    """
    random = np.random.default_rng(seed)
    answers, targets = np.zeros((images, 130, 6)), np.zeros((images, 12, 6))
    answers[:, :, 4] = targets[:, :, 4] = -1
    for image in range(images):
        number = 0 if random.random() < 0.15 else int(random.integers(1, 13))
        corner, side = random.integers(0, 400, (number, 2)), random.choice([10, 24, 32, 60, 96, 180], (number, 2))
        there = targets[image, :number]
        there[:, :2], there[:, 2:4] = corner, corner + side
        there[:, 4] = random.integers(0, kinds - 1, number)  # the last class has no target
        there[:, 5] = np.where(random.random(number) < crowds, -1, 1) * random.choice([1, 0.75, 0.5], number)
        near = there[random.random(number) < 0.8]
        rows = np.concatenate([near, near[random.random(len(near)) < 0.4]])
        if image % 7 == 0 and len(rows):  # more answers of a class than COCO's evaluation reads
            rows = np.concatenate([rows, np.repeat(rows[:1], 130 - len(rows), 0)])
        rows[:, :4] += random.integers(-6, 7, (len(rows), 4)) * (random.random((len(rows), 1)) < 0.8)
        rows[:, 2:4] = np.maximum(rows[:, 2:4], rows[:, :2] + 1)
        stray = int(random.integers(0, 5)) if len(rows) < 120 else 0
        false = np.zeros((stray, 6))
        false[:, :2] = random.integers(0, 400, (stray, 2))
        false[:, 2:4] = false[:, :2] + random.choice([8, 40, 150], (stray, 2))
        false[:, 4] = random.integers(0, kinds, stray)
        rows = np.concatenate([rows, false])
        rows[:, 5] = random.integers(1, levels + 1, len(rows)) / (levels + 1)
        answers[image, : len(rows)] = rows[random.permutation(len(rows))]
    return answers, targets


def of_pycocotools(answers: Boxes, targets: Boxes, kinds: int = 4) -> dict[str, Any]:
    """Return pycocotools' figures."""
    reason = "pycocotools is the reference: pip install robustest[test]"
    coco = pytest.importorskip("pycocotools.coco", reason=reason)
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason=reason)
    marks: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, (given, there) in enumerate(zip(answers, targets, strict=True)):
        for row in there[there[:, 4] >= 0]:
            width, height = row[2] - row[0], row[3] - row[1]
            marks.append(
                {
                    "id": len(marks) + 1,
                    "image_id": image + 1,
                    "category_id": int(row[4]),
                    "bbox": [row[0], row[1], width, height],
                    "area": width * height * abs(row[5]),
                    "iscrowd": int(row[5] < 0),
                }
            )
        for row in given[given[:, 4] >= 0]:
            box = [row[0], row[1], row[2] - row[0], row[3] - row[1]]
            found.append({"image_id": image + 1, "category_id": int(row[4]), "bbox": box, "score": row[5]})
    truth = coco.COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image + 1} for image in range(len(answers))],
        "categories": [{"id": kind} for kind in range(kinds)],
        "annotations": marks,
    }
    truth.createIndex()
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_class = {str(k): float(precision[:, :, k].mean()) for k in range(kinds) if (precision[:, :, k] > -1).any()}
    names = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
    return dict(zip(names, evaluation.stats[:6].tolist(), strict=True)) | {"map_by_class": by_class}


@pytest.mark.parametrize(("seed", "images", "levels", "crowds"), [(0, 40, 1000, 0.1), (1, 60, 5, 0.3), (2, 25, 1, 0.0)])
def test_the_figures_are_those_of_pycocotools(seed: int, images: int, levels: int, crowds: float) -> None:
    answers, targets = generated(seed, images, levels=levels, crowds=crowds)
    assert bool((targets[:, :, 4] < 0).all(1).any())  # an image without a target
    own, reference = average_precision(answers, targets), of_pycocotools(answers, targets)
    assert own["map_by_class"].keys() == reference["map_by_class"].keys() == {"0", "1", "2"}
    for kind, value in reference.pop("map_by_class").items():
        assert own["map_by_class"][kind] == pytest.approx(value, abs=1e-12)
    assert {name: own[name] for name in reference} == pytest.approx(reference, abs=1e-12)
    assert 0 < own["map"] < 1


def drawn(random: np.random.Generator, images: int, *, kinds: int = 3, quality: float = 0.75) -> tuple[Boxes, Boxes]:
    """Return answers and targets of independent images, which are easy or hard, with classes from common to rare."""
    answers, targets = np.zeros((images, 8, 6)), np.zeros((images, 4, 6))
    number = random.integers(1, 5, images)
    there = np.arange(4) < number[:, None]
    place = 100.0 * np.arange(4)
    kind = np.minimum(random.geometric(0.5, (images, 4)) - 1, kinds - 1)
    targets[:, :, 0], targets[:, :, 2] = place, place + 40
    targets[:, :, 3] = 40
    targets[:, :, 4], targets[:, :, 5] = np.where(there, kind, -1), 1
    share = random.beta(4 * quality, 4 * (1 - quality), (images, 1))
    found = there & (random.random((images, 4)) < share)
    shift = np.round(random.exponential(4, (images, 4)))
    answers[:, :4] = targets
    answers[:, :4, :3:2] += shift[:, :, None]
    answers[:, :4, 4] = np.where(found, kind, -1)
    answers[:, :4, 5] = random.beta(5, 2, (images, 4))
    false = random.random((images, 4)) < 0.6 * (1 - share)
    answers[:, 4:, :2], answers[:, 4:, 2:4] = 500, 540
    answers[:, 4:, 4] = np.where(false, random.integers(0, kinds, (images, 4)), -1)
    answers[:, 4:, 5] = random.beta(2, 5, (images, 4))
    return answers, targets


def rows_of(answers: Boxes, targets: Boxes, **more: Any) -> dict[str, Any]:
    return {ANSWERS: answers, TARGETS: targets, "id": np.arange(len(answers)), **more}


def decided(threshold: float | None, answers: Boxes, targets: Boxes, terms: Terms = SET, **more: Any) -> Any:
    rule = MeanAveragePrecision(threshold=threshold, terms=terms)
    return rule.decide(rows_of(answers, targets, **more), len(answers), None)


def test_a_claim_about_a_set_is_exact_and_the_order_of_equal_scores_passes_nothing() -> None:
    answers, targets = drawn(np.random.default_rng(0), 60)
    value = average_precision(answers, targets)["map"]
    assert decided(value, answers, targets).verdict is Verdict.PASSED
    assert decided(value + 1e-9, answers, targets).verdict is Verdict.FAILED
    assert decided(None, answers, targets).verdict is Verdict.INCONCLUSIVE
    equal = np.where(np.arange(6) == 5, 1.0, answers)
    first = Matches.of(equal, targets)
    value, worst = first.mean(), first.mean(worst_order=True)
    assert worst < value
    assert decided(worst, equal, targets).verdict is Verdict.PASSED
    lucky = decided(value, equal, targets)
    assert lucky.verdict is Verdict.INCONCLUSIVE
    assert "equal score" in lucky.rule
    # Both values are written on their side of the threshold.
    close = worst + 1e-6
    assert f" {number(worst, close)} in the worst" in decided(close, equal, targets).rule
    assert decided(value + 1e-9, equal, targets).verdict is Verdict.FAILED
    # No order of equal scores gives less than the worst one, or another one for it.
    random = np.random.default_rng(1)
    for _ in range(5):
        order = random.permutation(len(equal))
        shuffled = Matches.of(equal[order][:, random.permutation(equal.shape[1])], targets[order])
        assert shuffled.mean() >= worst - 1e-12
        assert shuffled.mean(worst_order=True) == pytest.approx(worst, abs=1e-12)


def test_images_are_read_in_the_order_of_the_data() -> None:
    answers, targets = drawn(np.random.default_rng(2), 40)
    answers[:, :, 5] = np.round(answers[:, :, 5], 1)
    order = np.random.default_rng(3).permutation(40)
    rule = MeanAveragePrecision(threshold=None, terms=SET)
    found = rule.decide({ANSWERS: answers[order], TARGETS: targets[order], "id": order}, 40, None)
    assert found.estimate == pytest.approx(average_precision(answers, targets)["map"], abs=1e-12)


@pytest.mark.parametrize("terms", [SET, POPULATION])
def test_nothing_passes_that_says_nothing(terms: Terms) -> None:
    answers, targets = drawn(np.random.default_rng(4), 700)
    silent, empty = answers.copy(), targets.copy()
    silent[:, :, 4] = empty[:, :, 4] = -1
    assert decided(0.2, silent, targets, terms).verdict is Verdict.FAILED
    for given in (answers, silent):  # no image has a target
        assert decided(0.01, given, empty, terms).verdict is not Verdict.PASSED
    crowds = np.where(np.arange(6) == 5, -1.0, targets)
    assert decided(0.01, answers, crowds, terms).verdict is not Verdict.PASSED
    few = MeanAveragePrecision(threshold=0.01, terms=terms).decide(rows_of(answers[:40], targets[:40]), 700, None)
    assert few.verdict is Verdict.INCONCLUSIVE


def test_sizes_and_classes_that_are_absent_have_no_value() -> None:
    answers, targets = drawn(np.random.default_rng(5), 30, kinds=2)
    found = average_precision(answers, targets)
    assert found["map_small"] is None
    assert found["map_large"] is None
    assert found["map_medium"] == pytest.approx(found["map"], abs=1e-12)
    only = np.where((targets[:, :, 4:5] == 1) & (np.arange(6) == 4), -1.0, targets)
    assert average_precision(answers, only)["map_by_class"].keys() == {"0"}


def some(matches: Matches, ids: NDArray[np.int64], n: int) -> Matches:
    """Return the matches of images drawn from n, numbered anew in the order of ids."""
    place = np.full(n, -1)
    place[ids] = np.arange(len(ids))
    at, there = place[matches.image] >= 0, place[matches.target_image] >= 0
    image, score = place[matches.image][at], matches.score[at]
    order = np.lexsort((image, -score))
    return Matches(
        image=image[order],
        kind=matches.kind[at][order],
        score=score[order],
        right=matches.right[at][order],
        wrong=matches.wrong[at][order],
        target_image=place[matches.target_image][there],
        target_kind=matches.target_kind[there],
        counts=matches.counts[there],
    )


def test_intervals_cover_the_value_of_the_population() -> None:
    n, random = 2000, np.random.default_rng(6)
    whole = Matches.of(*drawn(random, n))
    value = whole.mean()
    of_sets = np.mean([some(whole, random.choice(n, BLOCK, replace=False), n).mean() for _ in range(300)])
    missed = np.zeros(2)
    for _ in range(80):
        sample = some(whole, random.choice(n, 200, replace=False), n)
        low, high = group_interval(sample, np.arange(200), 0.05)
        missed[0] += not low <= value <= high
        blocked = block_values(sample, blocks(np.arange(200)))
        assert len(blocked) == 4
        missed[1] += abs(blocked.mean() - of_sets) > 0.15
    assert missed[0] <= 16  # 8 are expected at alpha = .05 a side; more than 16 have a probability of .003
    assert missed[1] == 0


def test_the_interval_of_a_population_claim_is_made_of_whole_blocks_or_clusters() -> None:
    answers, targets = drawn(np.random.default_rng(7), 900)
    found = decided(0.3, answers, targets, POPULATION)
    assert found.verdict is Verdict.PASSED
    assert found.at_alpha
    assert "sets of 50 images" in found.rule
    low, high = found.interval
    assert low < found.estimate < high
    assert decided(high + 0.01, answers, targets, POPULATION).verdict is Verdict.FAILED
    assert decided(found.estimate, answers, targets, POPULATION).verdict is Verdict.INCONCLUSIVE
    pairs = {CLUSTER: np.arange(900) // 2}
    by_pair = decided(0.3, answers, targets, POPULATION, **pairs)
    assert "9 of them" in by_pair.rule
    assert "450 clusters" in by_pair.clusters
    assert by_pair.interval[1] - by_pair.interval[0] > high - low
    assert len(blocks(np.arange(900))) == 18
    assert all(mask.sum() == BLOCK for mask in blocks(np.arange(900)))
    assert decided(0.3, answers[:49], targets[:49], POPULATION).interval == (0.0, 1.0)
