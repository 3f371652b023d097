"""Answers and targets that say two things at once are errors: the easier of the two would be judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import DataError, Detection, ModelError, Regression
from robustest.measure import measure_shift_accuracy
from robustest.tasks import MaiteDetector

X = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BOX = torch.tensor([[1.0, 1.0, 5.0, 5.0]])


def answering(label: Any, scores: Any) -> Any:
    def detector(images: Sequence[Tensor]) -> list[dict[str, Any]]:
        return [{"boxes": BOX, "labels": torch.tensor([label]), "scores": torch.tensor([scores])} for _ in images]

    return detector


@pytest.mark.parametrize(
    ("label", "scores", "match"),
    [(2, [0.0, 0.9, 0.1], "of the likeliest class"), (1.9, 0.9, "whole labels"), (-0.4, 0.9, "whole labels")],
)
def test_a_label_that_its_scores_contradict(label: Any, scores: Any, match: str) -> None:
    targets = [{"boxes": BOX, "labels": torch.tensor([int(label) if match[0] == "w" else 1])} for _ in X]
    with pytest.raises(ModelError, match=match):
        measure_shift_accuracy(
            answering(label, scores),
            (X, targets),
            "gaussian_noise",
            severity=1,
            at_least=0.9,
            task=Detection(MaiteDetector(3), floor=0.8),
        )


def test_classes_that_tie_may_have_either_label() -> None:
    targets = [{"boxes": BOX, "labels": torch.tensor([1])} for _ in X]
    found = measure_shift_accuracy(
        answering(2, [0.0, 0.9, 0.9]),
        (X, targets),
        "gaussian_noise",
        severity=1,
        task=Detection(MaiteDetector(3), floor=0.8),
    )
    assert found.estimate == 1


def test_targets_that_float32_cannot_tell_within_the_tolerance() -> None:
    seconds = torch.arange(6) + 1_700_000_000
    task = Regression(1.0)
    with pytest.raises(DataError, match="float32"):
        task.targets(seconds)
    with pytest.raises(DataError, match="float32"):
        task.targets(seconds.double())
    assert task.targets(torch.arange(6) + 1_700).shape == (6, 1)
    assert Regression(1e-3).targets(torch.rand(5, dtype=torch.float64)).shape == (5, 1)
    assert Regression(1e5).targets(seconds).shape == (6, 1)
