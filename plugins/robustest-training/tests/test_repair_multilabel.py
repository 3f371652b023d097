"""Training on sets of classes and on what people say: targets by hand, and frequencies that chose the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from robustest_training.repair import Recipe, frequency_weighted_training, logit_adjusted_training, multilabel_training
from robustest_training.repair.annotations import _binary, _most_shown, _of_annotations, _of_sets, _soft
from torch import Tensor, nn

from robustest import ConfigError, DataError, MultiLabel, StoreError
from robustest.data.groups import LabelSets
from robustest.measure import measure_accuracy

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


@dataclass(frozen=True, kw_only=True)
class Answers:
    """As `robustest_people.Annotations` has them: how many selected each sample for its label, of how many."""

    selected: NDArray[np.int64]
    shown: NDArray[np.int64]
    independent: bool = True

    def __len__(self) -> int:
        return len(self.selected)

    @property
    def frequency(self) -> NDArray[np.float64]:
        share = np.full(len(self), np.nan)
        np.divide(self.selected, self.shown, out=share, where=self.shown > 0)
        return share


def said(n: int = N, **changes: Any) -> Answers:
    return Answers(**({"selected": np.full(n, 12), "shown": np.full(n, 15)} | changes))


def exact(model: nn.Module, scores: Any = "sigmoid") -> list[float]:
    """The share of samples whose set is predicted exactly, for one object and for two."""
    right = (LabelSets.predicted(model(TEST[0]), scores) == TEST[1]).all(1)
    return [float(right[TEST[1].sum(1) == objects].float().mean()) for objects in (1, 2)]


def test_multi_label_training_finds_second_objects() -> None:
    plain = logit_adjusted_training(net(), (X, Y), tau=0.0, recipe=QUICK).model
    before = max(exact(plain)[1], exact(plain, "softmax")[1])
    model, log = multilabel_training(
        net(), (X, SETS), recipe=QUICK, claim=lambda m: measure_accuracy(m, TEST[:2], task=MultiLabel(), at_least=0.9)
    )
    assert exact(model)[1] > before + 0.3
    assert exact(model)[0] > 0.9
    assert log.claim is not None
    assert log.settings["loss"] == "bce"
    assert log.epochs[-1].accuracy > 0.9
    soft = multilabel_training(net(), (X, SETS), loss="soft", recipe=QUICK).model
    assert TEST[1].gather(1, soft(TEST[0]).argmax(1, keepdim=True)).float().mean() > 0.9


def test_targets_of_sets() -> None:
    binary = _of_sets(LabelSets.of((X, SETS)), "bce")
    assert torch.equal(binary.targets(torch.arange(5), 3), SETS[:5].double())
    soft = _of_sets(LabelSets.of((X, SETS)), "soft")
    given = soft.targets(torch.arange(N), 3)
    assert torch.allclose(given.sum(1), torch.ones(N, dtype=torch.float64))
    assert torch.equal(given > 0, SETS)
    with pytest.raises(DataError, match=r"model's 4 classes but got 3"):
        binary.targets(torch.arange(5), 4)


def test_targets_of_annotations_share_the_rest_evenly() -> None:
    frequency = np.arange(N) % 15
    _, method = _of_annotations((X, Y), said(selected=frequency), "soft")
    targets = method.targets(torch.tensor([3, 14]), 3)
    assert targets.tolist() == [pytest.approx([0.2, 0.4, 0.4]), pytest.approx([1 / 30, 1 / 30, 14 / 15])]


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


def test_samples_that_nobody_selects_teach_nothing() -> None:
    """Most labels are the next class, and people say so: plain training learns that, weighted training does not."""
    wrong = torch.rand(N, generator=torch.Generator().manual_seed(3)) < 0.6
    spoilt = torch.where(wrong, (Y + 1) % 3, Y)
    frequency = np.where(wrong.numpy(), 0, 15)
    weighted = frequency_weighted_training(net(), (X, spoilt), said(selected=frequency), recipe=QUICK).model
    plain = logit_adjusted_training(net(), (X, spoilt), tau=0.0, recipe=QUICK).model
    right = [float((model(TEST[0]).argmax(1) == TEST[2]).float().mean()) for model in (plain, weighted)]
    assert right[0] < 0.4
    assert right[1] > 0.7


@pytest.mark.parametrize(
    "repair",
    [frequency_weighted_training, lambda *a, **k: multilabel_training(*a, loss="soft", **k)],
    ids=["weights", "soft labels"],
)
def test_frequencies_that_chose_the_samples_are_refused(repair: Any) -> None:
    with pytest.raises(DataError, match="these chose them"):
        repair(net(), (X, Y), said(independent=False))
    few = said(selected=np.full(N, 3), shown=np.full(N, 3))
    _, log = repair(net(), (X, Y), few, recipe=Recipe(epochs=1))  # other annotators than those who chose
    assert any("as few as 3 annotators" in note for note in log.notes)
    with pytest.raises(DataError, match=f"annotations of {N} samples but got some of 9"):
        repair(net(), (X, Y), said(9))
    unasked = said(shown=np.where(np.arange(N) == 5, 0, 15), selected=np.where(np.arange(N) == 5, 0, 12))
    with pytest.raises(DataError, match="shown sample 5"):
        repair(net(), (X, Y), unasked)
    with pytest.raises(ConfigError, match="annotations such as"):
        repair(net(), (X, Y), [1.0] * N)


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DataError, match="nobody selected any"):
        frequency_weighted_training(net(), (X, Y), said(selected=np.zeros(N, dtype=int)))
    with pytest.raises(ConfigError, match="loss to be one of"):
        multilabel_training(net(), (X, SETS), loss="hinge")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match='loss="soft" with annotations'):
        multilabel_training(net(), (X, Y), said())
    with pytest.raises(DataError, match="columns"):
        multilabel_training(net(), (X, torch.cat([SETS, SETS], 1)))
    with pytest.raises(DataError, match="every one shows"):
        multilabel_training(net(), (X, torch.ones(N, 3)))
    empty = SETS.clone()
    empty[4] = False
    with pytest.raises(DataError, match="sample 4 shows none"):
        multilabel_training(net(), (X, empty), loss="soft")
    assert LabelSets.of((X, empty)).objects[4] == 0
    with pytest.raises(DataError, match="finite"):
        multilabel_training(net(), (X / 0.0, SETS))
