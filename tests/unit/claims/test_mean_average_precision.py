"""Claims on mean average precision under shifts, by groups and beside another detector, on planted detectors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, Detection, Linf, Verdict
from robustest.attacks import APGD
from robustest.errors import UnknownNameError
from robustest.measure import (
    measure_accuracy,
    measure_corruption_robustness,
    measure_robust_score,
    measure_shift_accuracy,
    measure_worst_group_accuracy,
)
from robustest.tasks import MaiteDetector

IMAGES = 40
TASK = Detection(MaiteDetector(2), score_by="ap")


def targets_of(n: int = IMAGES) -> list[dict[str, Tensor]]:
    """Return a box of each class in every image, elsewhere in each."""
    places = [torch.tensor([[at, 0.0, at + 20, 20.0], [0.0, 30 + at, 20.0, 50 + at]]) for at in range(n)]
    return [{"boxes": place, "labels": torch.tensor([0, 1])} for place in places]


# The first pixel of an image says which one it is, the last row whether it was changed.
X = torch.zeros(IMAGES, 3, 8, 8)
X[:, :, 0, 0] = torch.arange(IMAGES).view(-1, 1) / 64
Y = targets_of()


class Box(NamedTuple):
    """A box to be found: the image it is in, its class, and True if the image was changed."""

    image: int
    label: int
    changed: bool


def detector(keep: Callable[[Box], bool] = lambda _: True) -> Any:
    """Return a detector with the right boxes, but those for which `keep` is False."""

    def detect(images: list[Tensor]) -> list[dict[str, Tensor]]:
        answers = []
        for image in images:
            at, changed = round(float(image[0, 0, 0]) * 64), bool(image[0, -1, 0] > 0)
            kept = [label for label in (0, 1) if keep(Box(at, label, changed))]
            scores = 0.9 - 0.005 * (2 * at + torch.arange(2.0))  # all different
            answers.append({"boxes": Y[at]["boxes"][kept], "labels": Y[at]["labels"][kept], "scores": scores[kept]})
        return answers

    return detect


def mark(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, -1] = 0.5
    return x


def mark_first(x: Tensor) -> Tensor:
    """Change one image in ten."""
    return torch.where((x[:, :1, :1, :1] * 64).round() % 10 == 0, mark(x), x)


for function in (mark, mark_first):
    function.moves = False  # type: ignore[attr-defined]

shifted: Any = functools.partial(measure_shift_accuracy, task=TASK, metric="map")
PERFECT = detector()
FRAGILE = detector(lambda box: not box.changed or box.image % 2 == 0)
ONE_CLASS = detector(lambda box: box.label == 0)


def test_a_shift_that_hides_boxes_is_red_and_one_that_does_not_is_green() -> None:
    assert shifted(PERFECT, (X, Y), mark, at_least=0.99).verdict is Verdict.PASSED
    assert shifted(PERFECT, (X, Y), mark, max_drop=0.01).verdict is Verdict.PASSED
    failed = shifted(FRAGILE, (X, Y), mark, at_least=0.9)
    assert failed.verdict is Verdict.FAILED
    alone = measure_accuracy(FRAGILE, (mark(X), Y), task=TASK, metric="map")
    assert failed.estimate == alone.estimate == failed.details["map"]
    assert failed.details["clean_map"] == 1
    assert len(failed.counterexamples) > 0
    fallen = shifted(FRAGILE, (X, Y), mark, max_drop=0.3)
    assert fallen.verdict is Verdict.FAILED
    assert fallen.estimate == pytest.approx(1 - (alone.estimate or 0), abs=1e-12)
    assert "mean average precision unshifted 1.000" in repr(fallen)
    mean = measure_shift_accuracy(FRAGILE, (X, Y), mark, task=TASK, at_least=0.6)
    assert (mean.verdict, mean.estimate) == (Verdict.FAILED, 0.5)


def test_a_shift_that_could_not_have_failed_the_claim_passes_nothing() -> None:
    limit: dict[str, float]
    for limit in ({"at_least": 0.8}, {"max_drop": 0.2}):
        idle = shifted(PERFECT, (X, Y), mark_first, **limit)
        assert idle.verdict is Verdict.INCONCLUSIVE
        assert "nothing could have failed it" in idle.ruling.rule
    assert shifted(PERFECT, (X, Y), mark_first, at_least=0.95).verdict is Verdict.PASSED
    assert shifted(PERFECT, (X, Y), mark_first, max_drop=0.05).verdict is Verdict.PASSED
    silent = detector(lambda _: False)
    assert shifted(silent, (X, Y), mark, max_drop=0.1).verdict is Verdict.INCONCLUSIVE
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}] * IMAGES
    for limit in ({"at_least": 0.1}, {"max_drop": 0.1}):
        assert "nothing to find" in shifted(PERFECT, (X, empty), mark, **limit).ruling.rule


def test_another_detector_is_compared_by_the_value_of_the_set() -> None:
    compare = functools.partial(measure_accuracy, task=TASK, metric="map")
    worse = compare(ONE_CLASS, (X, Y), no_worse_than=PERFECT, tolerance=0.1)
    assert worse.verdict is Verdict.FAILED
    assert worse.details["baseline"]["drop"] == pytest.approx(0.5)
    assert "class 1 fell by 1.000" in worse.ruling.rule
    assert compare(PERFECT, (X, Y), no_worse_than=ONE_CLASS).verdict is Verdict.PASSED
    silent = detector(lambda _: False)
    nothing = compare(PERFECT, (X, Y), no_worse_than=silent)
    assert nothing.verdict is Verdict.INCONCLUSIVE
    assert "no loss could exceed" in nothing.ruling.rule
    assert compare(PERFECT, (X, Y), no_worse_than=PERFECT).verdict is Verdict.INCONCLUSIVE
    # Under a shift the answers to shifted images are compared, not those to images as they are.
    assert shifted(FRAGILE, (X, Y), mark, no_worse_than=PERFECT, tolerance=0.1).verdict is Verdict.FAILED


class Bright(torch.nn.Module):
    """A detector of one box, as sure as the image is bright, whose slope an attack follows."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        stretch = [1 + self.slope * (image.mean() - 0.5) for image in images]
        box = torch.tensor([0.0, 0.0, 4.0, 4.0])
        return [
            {"boxes": (box * by)[None], "labels": torch.tensor([0]), "scores": (0.5 + image.mean() / 4)[None]}
            for by, image in zip(stretch, images, strict=True)
        ]


def test_detectors_are_compared_under_an_attack_without_a_floor() -> None:
    task = Detection(MaiteDetector(1, gradient=True), score_by="ap")
    x = 0.5 + 0.01 * torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = [{"boxes": torch.tensor([[0.0, 0, 4, 4]]), "labels": torch.tensor([0])}] * 6
    attack = APGD(steps=5, loss="move")
    for metric in ("map", "mean"):
        result = measure_robust_score(
            Bright(8.0), (x, y), Linf(0.05), task=task, metric=metric, attack=attack, no_worse_than=Bright(0.5)
        )
        assert result.verdict is Verdict.FAILED
        assert "worse: " in result.ruling.rule


def test_the_worst_group_of_images_decides() -> None:
    place = ["day" if at % 2 else "night" for at in range(IMAGES)]
    by_group = functools.partial(measure_worst_group_accuracy, task=TASK, metric="map", groups=place)
    blind = detector(lambda box: box.image % 2 == 1 or box.label == 0)
    failed = by_group(blind, (X, Y), at_least=0.7)
    assert (failed.verdict, failed.estimate) == (Verdict.FAILED, 0.5)
    assert failed.details["worst_group"] == "night"
    assert measure_accuracy(blind, (X, Y), task=TASK, metric="map", at_least=0.7).verdict is Verdict.PASSED
    assert by_group(PERFECT, (X, Y), at_least=0.7).verdict is Verdict.PASSED


def test_claims_that_cannot_be_made_say_which_ones_can() -> None:
    data = (X, Y)
    with pytest.raises(ConfigError, match="another model"):
        measure_accuracy(PERFECT, data, task=TASK, metric="map", no_worse_than="kept.json")
    with pytest.raises(ConfigError, match="two ends"):
        shifted(PERFECT, data, mark, max_drop=0.1, no_worse_than=FRAGILE)
    with pytest.raises(ConfigError, match="at_least="):
        measure_shift_accuracy(PERFECT, data, mark, task=TASK, max_drop=0.1)
    with pytest.raises(ConfigError, match="each group"):
        measure_worst_group_accuracy(PERFECT, data, [0, 1] * 20, task=TASK, metric="map", no_worse_than=FRAGILE)
    with pytest.raises(ConfigError, match='"mean" or "map"'):
        measure_worst_group_accuracy(PERFECT, data, [0, 1] * 20, task=TASK, metric="miou")
    with pytest.raises(UnknownNameError, match="assert_shift_accuracy"):
        measure_corruption_robustness(PERFECT, data, task=TASK, metric="map")  # type: ignore[call-arg]
