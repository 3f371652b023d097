"""Guards of scores, of classes left out, and of outcomes that are compared."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, Settings
from robustest.decisions import Terms
from robustest.decisions.mean import COUNTS, PIXELS
from robustest.models import Needs, as_classifier
from robustest.run.plan import restrict_to
from robustest.run.scores import check_paired, iou_by_class, mean_of, pixel_counts, rule_of
from robustest.tasks import CLASSIFICATION, Segmentation

TASK = Segmentation(classes=3)


def setup(task: Any = TASK, **settings: Any) -> Any:
    made = Settings(**settings)
    return SimpleNamespace(task=task, settings=made, terms=Terms.of(made))


@pytest.mark.parametrize(
    ("metric", "task", "scope", "words"),
    [
        ("mean", CLASSIFICATION, "population", None),
        ("mean", TASK, "set", None),
        ("miou", TASK, "set", None),
        ("miou", CLASSIFICATION, "set", "a task that counts intersections"),
        ("miou", TASK, "population", 'scope="set" for metric="miou"'),
        ("median", TASK, "set", 'metric to be "mean", "miou" or "map"'),
    ],
)
def test_a_metric_has_its_rule_or_is_refused(metric: str, task: Any, scope: str, words: str | None) -> None:
    if words is not None:
        with pytest.raises(ConfigError, match=words):
            rule_of(metric, 0.5, setup(task, scope=scope, seed=4))
        return
    rule: Any = rule_of(metric, 0.5, setup(task, scope=scope, seed=4))
    assert (rule.threshold, rule.terms.scope) == (0.5, scope)
    assert type(rule).__name__ == ("MeanIoURule" if metric == "miou" else "ScoreRule")
    assert metric == "mean" or rule.seed == 4


def test_a_metric_that_is_no_mean_of_samples_is_not_paired() -> None:
    for metric, baseline in (("mean", "b.json"), ("miou", None), ("mean", None)):
        check_paired(metric, baseline)
    with pytest.raises(ConfigError, match="no mean of samples that could be paired"):
        check_paired("miou", "b.json")
    assert mean_of(TASK, "miou") == "IoU over classes"
    assert mean_of(TASK, "mean").startswith("score by ")


def test_unions_are_counted_over_the_set() -> None:
    y = torch.tensor([[[0, 0], [1, 1]], [[0, 1], [1, 1]]])
    predicted = torch.tensor([[[0, 1], [1, 1]], [[0, 1], [1, 0]]])
    counts = pixel_counts(TASK, predicted, y)
    assert counts[PIXELS].tolist() == [4, 4]
    assert pixel_counts(TASK, predicted[:1], y[:1])[PIXELS].tolist() == [4]
    found = iou_by_class({name: one.numpy() for name, one in counts.items()})
    both = [int(((y == k) & (predicted == k)).sum()) for k in range(3)]
    union = [int(((y == k) | (predicted == k)).sum()) for k in range(3)]
    assert union[2] == 0
    assert found == {"0": both[0] / union[0], "1": both[1] / union[1], "2": None}
    assert iou_by_class({COUNTS: np.array([[1, 2, 4, 4], [1, 0, 4, 1]])}) == {"0": 0.25, "1": 0.4}


class Net(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Map:
    """The first two of three classes."""

    whole, outputs = False, 3

    def __len__(self) -> int:
        return 2

    def restrict(self, logits: Tensor) -> Tensor:
        return logits[:, :2]


def test_a_model_keeps_the_classes_of_the_data_alone() -> None:
    model, classes = as_classifier(Net()), Map()
    x = torch.rand(4, 3, 1, 1)
    assert restrict_to(model, SimpleNamespace(whole=True)) is model  # type: ignore[arg-type]
    inside = restrict_to(model, classes)  # type: ignore[arg-type]
    around = restrict_to(replace(model, module=None), classes)  # type: ignore[arg-type]
    assert (inside.module is not None, around.module, inside.recipe) == (True, None, None)
    for one in (inside, around):
        assert torch.equal(one.call(x), x.flatten(1)[:, :2])
    assert inside.module is inside.call
    with pytest.raises(ConfigError, match="Expected scores to choose among 2 of 3 classes"):
        restrict_to(replace(model, gives=Needs.LABELS), classes)  # type: ignore[arg-type]
