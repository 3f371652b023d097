"""Training on sets of classes, on distributions over classes and on weighted samples: targets and losses by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from robustest_training.repair import (
    Recipe,
    logit_adjusted_training,
    multilabel_training,
    soft_label_training,
    weighted_training,
)
from robustest_training.repair.multilabel import _binary, _most_shown, _soft
from torch import Tensor, nn

from robustest import DataError, StoreError
from robustest.measure import measure_multilabel_accuracy

QUICK = Recipe(epochs=6, batch_size=32, learning_rate=0.02)
N = 400


def rows(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images whose row k is bright where class k is shown, their sets, and one class of each for a label."""
    generator = torch.Generator().manual_seed(seed)
    y, two = torch.arange(N) % 3, torch.rand(N, generator=generator) < 0.3
    sets = nn.functional.one_hot(y, 3).bool()
    sets[two] |= sets[two].roll(1, 1)
    x = 0.3 * torch.rand(N, 1, 6, 6, generator=generator)
    x[:, 0, :3] += 0.3 * sets.unsqueeze(2)
    return x, sets, y


X, SETS, Y = rows(0)
TEST = rows(1)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def exact(model: object, scores: Any = "sigmoid") -> list[float]:
    """The exact set for one object and for two."""
    how: dict[str, Any] = {"metric": "exact-set", "scores": scores, "exact": True}
    return [row["exact_set"] for row in measure_multilabel_accuracy(model, TEST[:2], **how).details["by_objects"]]


def test_multi_label_training_finds_second_objects() -> None:
    plain = logit_adjusted_training(net(), (X, Y), tau=0.0, recipe=QUICK).model
    before = max(exact(plain)[1], exact(plain, "softmax")[1])
    model, log = multilabel_training(
        net(), (X, SETS), recipe=QUICK, claim=lambda m: measure_multilabel_accuracy(m, TEST[:2], at_least=0.9)
    )
    assert exact(model)[1] > before + 0.3
    assert exact(model)[0] > 0.9
    assert log.claim is not None
    assert log.settings["loss"] == "bce"
    assert log.epochs[-1].accuracy > 0.9
    soft = multilabel_training(net(), (X, SETS), loss="soft", recipe=QUICK).model
    assert measure_multilabel_accuracy(soft, TEST[:2], exact=True).details["top1_in_set"] > 0.9


def test_a_set_of_other_classes_than_the_models_is_refused() -> None:
    wider = torch.cat([SETS, torch.zeros(N, 1, dtype=torch.bool)], 1)
    with pytest.raises(DataError, match=r"model's 3 classes but got 4"):
        multilabel_training(net(), (X, wider), recipe=QUICK)
    with pytest.raises(DataError, match="sample 7 shows none"):
        multilabel_training(net(), (X, SETS & (torch.arange(N) != 7)[:, None]), loss="soft", recipe=QUICK)


def test_losses_are_those_of_the_books() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0]])
    sets = torch.tensor([[1.0, 0.0, 1.0]])
    p = logits.sigmoid()
    assert float(_binary(logits, sets)) == pytest.approx(float(-(p[0, 0].log() + (1 - p[0, 1]).log() + p[0, 2].log())))
    q = logits.log_softmax(1)
    assert float(_soft(logits, sets / 2)) == pytest.approx(float(-(q[0, 0] + q[0, 2]) / 2))
    assert _most_shown(logits, sets).tolist() == [True]
    assert _most_shown(logits, torch.tensor([[0.2, 0.5, 0.3]])).tolist() == [False]
    assert _most_shown(logits, torch.zeros(1, 3)).tolist() == [False]


def test_a_checkpoint_is_of_these_targets(tmp_path: Any) -> None:
    path = tmp_path / "place.safetensors"
    first = multilabel_training(net(), (X, SETS), recipe=QUICK, checkpoint=path)
    again = multilabel_training(net(), (X, SETS), recipe=QUICK, checkpoint=path)
    assert again.log.resumed > 0
    assert torch.equal(first.model[1].weight, again.model[1].weight)
    turned = SETS.clone()
    turned[7] = torch.tensor([True, True, True])
    with pytest.raises(StoreError, match="of another one"):
        multilabel_training(net(), (X, turned), recipe=QUICK, checkpoint=path)


def test_samples_of_weight_zero_teach_nothing() -> None:
    """Most labels are the next class: plain training learns that, training with weights of 0 for these does not."""
    wrong = torch.rand(N, generator=torch.Generator().manual_seed(3)) < 0.6
    spoilt = torch.where(wrong, (Y + 1) % 3, Y)
    weighted = weighted_training(net(), (X, spoilt), np.where(wrong.numpy(), 0, 15), recipe=QUICK).model
    plain = logit_adjusted_training(net(), (X, spoilt), tau=0.0, recipe=QUICK).model
    right = [float((model(TEST[0]).argmax(1) == TEST[2]).float().mean()) for model in (plain, weighted)]
    assert right[0] < 0.4
    assert right[1] > 0.7


def test_equal_weights_change_nothing() -> None:
    weighted = weighted_training(net(), (X, Y), torch.full((N,), 3.0), recipe=QUICK).model
    plain = logit_adjusted_training(net(), (X, Y), tau=0.0, recipe=QUICK).model
    assert torch.allclose(weighted[1].weight, plain[1].weight, atol=1e-5)


def test_a_distribution_over_classes_is_learned() -> None:
    """Samples of class 2 are said to be of class 0 half the time."""
    targets = nn.functional.one_hot(Y, 3).double()
    targets[Y == 2] = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)
    model, log = soft_label_training(net(), (X, Y), targets.numpy(), recipe=QUICK)
    shown = model(TEST[0][TEST[2] == 2]).softmax(1).mean(0).detach()
    assert float(shown[0]) == pytest.approx(0.5, abs=0.15)
    assert log.settings["of"] == "distributions"
    assert [row.n for row in log.by_class] == torch.bincount(Y).tolist()  # judged by the labels


@pytest.mark.parametrize(
    ("repair", "given", "words"),
    [
        (weighted_training, np.ones(9), rf"weights of shape \({N},\) but got \(9,\)"),
        (weighted_training, np.zeros(N), "positive weight"),
        (weighted_training, np.where(np.arange(N) == 5, -1.0, 1.0), "those of sample 5"),
        (weighted_training, np.where(np.arange(N) == 5, np.nan, 1.0), "those of sample 5"),
        (weighted_training, ["high"] * N, "an array of numbers"),
        (soft_label_training, np.ones(N), rf"targets of shape \({N}, K\)"),
        (soft_label_training, np.full((N, 3), 0.5), "sum to 1 but row 0 sums to 1.5"),
        (soft_label_training, np.full((N, 4), 0.25), "model's 3 classes but got 4"),
    ],
)
def test_targets_and_weights_that_cannot_be_trained_on_are_refused(repair: Any, given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        repair(net(), (X, Y), given, recipe=QUICK)
