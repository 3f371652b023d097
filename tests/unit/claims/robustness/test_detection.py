"""Detectors under attack and shift: a small one of torchvision's, trained on drawn shapes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, Detection, Linf, ModelError, Verdict
from robustest.attacks import APGD
from robustest.measure import measure_accuracy, measure_robust_accuracy, measure_robust_score, measure_shift_accuracy
from robustest.tasks import MaiteDetector, TorchvisionDetector

sys.path.insert(0, str(Path(__file__).parents[3]))
import detections

TORCHVISION = TorchvisionDetector(detections.CLASSES)
TASK = Detection(TORCHVISION, floor=0.7)


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    return detections.trained()


def test_answers_are_those_that_the_detector_gives_by_itself(detector: Any) -> None:
    x, _ = detections.drawn(6, seed=4)
    own, threshold = detector(list(x)), detector.score_thresh
    said = TASK.predictions(TORCHVISION.answers(detector, x))
    assert detector.score_thresh == threshold
    for answer, listed in zip(own, said, strict=True):
        sure = answer["scores"] >= TASK.confidence
        expected = torch.cat([answer["boxes"], answer["labels"][:, None], answer["scores"][:, None]], 1)[sure]
        assert len(expected) > 0
        torch.testing.assert_close(listed[: len(expected)], expected)
        assert bool((listed[len(expected) :, 4] == -1).all())


@pytest.mark.slow
def test_an_attack_makes_a_detector_miss_what_it_found(detector: nn.Module) -> None:
    data = detections.drawn(6, seed=5)
    still = measure_robust_accuracy(detector, data, Linf(1e-5), task=TASK, attack="fast", exact=True)
    assert still.estimate == still.details["clean_accuracy"] == 1
    assert not [note for note in still.words.notes if "fab" not in note]  # no health check spoke
    hit = measure_robust_accuracy(detector, data, Linf(8 / 255), task=TASK, attack="fast", at_least=0.9)
    assert hit.verdict is Verdict.FAILED
    assert hit.counterexamples[0].answer.startswith("F1 1.000 -> ")
    worst = measure_robust_score(detector, data, Linf(8 / 255), task=TASK, attack="fast", exact=True)
    assert worst.estimate is not None
    assert worst.estimate < 0.6


def test_boxes_follow_in_a_claim_on_shifts_or_are_refused(detector: nn.Module) -> None:
    data = detections.drawn(12, seed=6)
    moved = measure_shift_accuracy(detector, data, "translation", severity=2, task=TASK, exact=True)
    assert moved.estimate is not None
    assert moved.estimate >= 0.75
    with pytest.raises(ConfigError, match="turns or bends"):
        measure_shift_accuracy(detector, data, "rotation", severity=2, task=TASK, exact=True)


def test_an_untrained_detector_holds_nowhere() -> None:
    data = detections.drawn(4, seed=7)
    result = measure_robust_accuracy(detections.detector(), data, Linf(1 / 255), task=TASK, attack="fast", exact=True)
    assert result.outcomes == (False,) * 4


class Maite:
    """A detector by MAITE's protocol, whose answers are objects."""

    def __init__(self, detector: nn.Module, *, cut: bool) -> None:
        self.detector, self.cut = detector, cut

    def __call__(self, images: list[Tensor]) -> list[SimpleNamespace]:
        answers = self.detector(images)
        if self.cut:
            answers = [{name: value.detach().numpy() for name, value in one.items()} for one in answers]
        return [SimpleNamespace(**one) for one in answers]


class Held:
    """Data by MAITE's protocol: items of an image, a target and what is known of it."""

    def __init__(self, n: int, seed: int) -> None:
        self.x, self.y = detections.drawn(n, seed)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, at: int) -> tuple[Tensor, SimpleNamespace, dict[str, int]]:
        return self.x[at], SimpleNamespace(**self.y[at], scores=torch.ones(2)), {"id": at}


def test_detectors_and_data_by_maites_protocol(detector: nn.Module) -> None:
    data, told = Held(4, seed=5), MaiteDetector(detections.CLASSES, rows=20, gradient=True)
    soft = Detection(told, floor=0.7)
    hit = measure_robust_accuracy(Maite(detector, cut=False), data, Linf(8 / 255), task=soft, attack="fast", exact=True)
    assert hit.details["clean_accuracy"] == 1
    assert hit.estimate is not None
    assert hit.estimate < 1
    with pytest.raises(ModelError, match="Expected gradients"):
        measure_robust_accuracy(Maite(detector, cut=True), data, Linf(8 / 255), task=soft, attack="fast", exact=True)
    hard = Detection(MaiteDetector(detections.CLASSES, rows=20), floor=0.7)
    moved = measure_shift_accuracy(Maite(detector, cut=True), data, "contrast", severity=1, task=hard, exact=True)
    assert moved.details["clean_accuracy"] == 1


RANKED = Detection(TORCHVISION, score_by="ap")


@pytest.mark.slow
def test_losses_that_delete_add_and_move_boxes_lower_the_mean_average_precision(detector: nn.Module) -> None:
    data = detections.drawn(6, seed=5)
    clean = measure_accuracy(detector, data, task=RANKED, metric="map")
    assert clean.estimate is not None
    values = {}
    for loss in ("delete", "add", "move", "margin"):
        found = measure_robust_score(
            detector,
            data,
            Linf(4 / 255),
            task=RANKED,
            metric="map",
            attack=APGD(steps=10, loss=loss),
            at_least=0.01,
            exact=True,
        )
        assert f"apgd-{loss}" in repr(found)
        assert found.details["clean_map"] == pytest.approx(clean.estimate, abs=1e-12)
        assert found.estimate == found.details["map"]
        assert found.counterexamples[0].answer.startswith("average precision ")
        values[loss] = float(found.estimate or 0)
    assert max(values.values()) < clean.estimate - 0.05
    assert min(values["move"], values["margin"]) < 0.6 * clean.estimate


class Fixed(nn.Module):
    """A detector that gives one answer to every image."""

    def __init__(self, answer: dict[str, Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [{name: value.clone() for name, value in self.answer.items()} for _ in images]


def fixed(boxes: Tensor, labels: Tensor, scores: Tensor) -> Fixed:
    return Fixed({"boxes": boxes, "labels": labels, "scores": scores})


def test_a_claim_on_mean_average_precision_is_green_for_no_silent_or_constant_detector() -> None:
    x, targets = detections.drawn(8, seed=3)
    task = Detection(MaiteDetector(detections.CLASSES), score_by="ap")
    silent = fixed(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    none = measure_accuracy(silent, (x, targets), task=task, metric="map", at_least=0.01)
    assert (none.verdict, none.estimate) == (Verdict.FAILED, 0)
    no_boxes = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}] * 8
    empty = measure_accuracy(silent, (x, no_boxes), task=task, metric="map", at_least=0.01)
    assert empty.verdict is Verdict.INCONCLUSIVE
    assert "nothing to find" in empty.ruling.rule
    # Right on every image, as all show the same boxes: an answer that ignores them would be, too.
    same = fixed(targets[0]["boxes"], targets[0]["labels"], torch.ones(2))
    constant = measure_accuracy(same, (x, targets[:1] * 8), task=task, metric="map", at_least=0.5)
    assert constant.estimate == 1
    assert constant.verdict is Verdict.INCONCLUSIVE


def test_metrics_of_boxes_need_their_task() -> None:
    data = detections.drawn(2, seed=3)
    with pytest.raises(ConfigError, match='score_by="ap"'):
        measure_accuracy(detections.detector(), data, task=TASK, metric="map")
    with pytest.raises(ConfigError, match='"f1" or "ap"'):
        Detection(TORCHVISION, score_by="map")  # type: ignore[arg-type]


def test_crowds_need_not_be_found_and_excuse_answers_of_their_class() -> None:
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 20, 48, 48]])
    given = {"boxes": boxes, "labels": torch.tensor([0, 1]), "iscrowd": [0, 1], "area": [300.0, 1344.0]}
    targets = RANKED.targets([given])
    assert targets[0, :2, 5].tolist() == [0.75, -1]
    assert RANKED.strata(targets).tolist() == [1]
    rows = torch.zeros(1, 3, 6)
    rows[0, :, :4] = torch.stack([boxes[0], boxes[1], boxes[1]])
    rows[0, 0, 4], rows[0, 1, 5] = 0.8, 0.9  # the target's class, and the crowd's
    assert float(RANKED.score(rows, targets)) == 1
    rows[0, 2, 4] = 0.9  # another class than the crowd's
    assert float(RANKED.score(rows, targets)) == 0.5
    nothing = RANKED.targets([{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}])
    assert float(RANKED.score(rows, nothing)) == pytest.approx(0.1)
