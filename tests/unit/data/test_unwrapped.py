"""Data as projects keep them: modules of Lightning, class names, whole numbers as inputs, dicts with logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from robustest import DataError, Linf, ModelError, Verdict
from robustest.data.samples import class_names, unwrapped
from robustest.measure import (
    measure_accuracy,
    measure_consistency,
    measure_no_spurious_feature,
    measure_robust_accuracy,
    measure_shift_accuracy,
    measure_transfer_accuracy,
    measure_worst_group_accuracy,
)
from robustest.reports.text import failure_text

TOKENS = torch.randint(1, 50, (80, 6), generator=torch.Generator().manual_seed(0))


class Bag(nn.Module):
    """Class 1 where token 7 or more tokens above 25 are there."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(60, 2)
        with torch.no_grad():
            self.table.weight[:, 0] = 0
            self.table.weight[:, 1] = (torch.arange(60) > 25).float() - 0.5
            self.table.weight[59, 1] = 50.0

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        assert ids.dtype == torch.int64
        return {"logits": self.table(ids).sum(1)}


MODEL = Bag().eval()
LABELS = MODEL(TOKENS)["logits"].argmax(1)
DATA = (TOKENS, LABELS)


class Token:
    """A cue that is a token at the first place."""

    name = "token 59 first"

    def on(self, x: Tensor) -> Tensor:
        return torch.cat([torch.full_like(x[:, :1], 59), x[:, 1:]], 1)

    def off(self, x: Tensor) -> Tensor:
        return x


def dropped(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)


def test_claims_without_gradients_take_token_ids() -> None:
    shift = measure_shift_accuracy(MODEL, DATA, dropped, at_least=0.1, exact=True)
    assert shift.details["clean_accuracy"] == 1
    assert 0.5 < shift.estimate < 1
    flips = measure_consistency(MODEL, DATA, dropped, max_flip_rate=0.9, exact=True)
    assert flips.estimate == pytest.approx(1 - shift.estimate)
    cue = measure_no_spurious_feature(MODEL, DATA, Token(), max_flip_rate=0.05, max_recall_drop=0.05)
    assert cue.verdict is Verdict.FAILED, "the token decides"
    groups = measure_worst_group_accuracy(MODEL, DATA, LABELS, at_least=0.9, exact=True)
    assert groups.verdict is Verdict.PASSED
    wrong = (TOKENS, 1 - LABELS)
    assert measure_transfer_accuracy(MODEL, DATA, wrong, max_drop=0.5).verdict is Verdict.FAILED


def test_items_and_loaders_of_token_ids_are_taken_alike() -> None:
    whole = measure_shift_accuracy(MODEL, DATA, dropped, at_least=0.1, exact=True)
    for data in (
        TensorDataset(*DATA),
        DataLoader(TensorDataset(*DATA), 16),
        [(x.numpy(), int(y)) for x, y in zip(*DATA, strict=True)],
    ):
        assert measure_shift_accuracy(MODEL, data, dropped, at_least=0.1, exact=True).outcomes == whole.outcomes


def test_what_moves_inputs_by_fractions_refuses_token_ids() -> None:
    with pytest.raises(DataError, match=r"floating-point inputs but got torch.int64.*claim groups, transfer, cues"):
        measure_robust_accuracy(MODEL, DATA, Linf(0.1))
    with pytest.raises(ModelError, match="whole numbers after the change"):
        measure_shift_accuracy(MODEL, DATA, lambda x: x + 0.5, at_least=0.1)
    with pytest.raises(DataError, match="whole numbers below 16,777,216"):
        measure_shift_accuracy(MODEL, (TOKENS * 2**22, LABELS), dropped, at_least=0.1)


class Module:
    """What a LightningDataModule offers."""

    def __init__(self, loader: Any) -> None:
        self.stages: list[str] = []
        self.loader = loader

    def setup(self, stage: str) -> None:
        self.stages.append(stage)

    def test_dataloader(self) -> Any:
        assert self.stages == ["test"]
        return self.loader


def test_a_data_module_gives_its_test_loader() -> None:
    loader = DataLoader(TensorDataset(*DATA), 16)
    module = Module(loader)
    assert unwrapped(module) is loader
    assert unwrapped(module) is loader, "it is set up once"
    with pytest.raises(DataError, match="one loader"):
        unwrapped(Module([loader, loader]))


def test_class_names_are_found_through_loaders_and_subsets() -> None:
    named = TensorDataset(*DATA)
    named.classes = ["cat", "dog"]  # type: ignore[attr-defined]
    assert class_names(DataLoader(Subset(named, range(10)))) == ("cat", "dog")
    features = {"image": None, "label": SimpleNamespace(names=["cat", "dog"])}
    assert class_names(SimpleNamespace(features=features)) == ("cat", "dog")
    assert class_names(DATA) == ()


def test_a_failure_names_the_classes() -> None:
    found = measure_shift_accuracy(MODEL, DATA, dropped, at_least=1.0, exact=True, classes=["calm", "angry"])
    assert "(calm)" in failure_text(found, replay="")
    assert "(angry)" in failure_text(found, replay="")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ([{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}], "judges classes, not boxes"),
        ({"out": torch.zeros(4, 3, 8, 8)}, "task="),
        ("text", "Wrap the model in a function"),
    ],
)
def test_another_task_is_told_in_a_sentence(output: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        measure_robust_accuracy(lambda _: output, (torch.rand(4, 3, 8, 8), torch.zeros(4).long()), Linf(0.1))


@pytest.mark.parametrize("kind", [bool, np.float64, np.int32])
def test_labels_are_those_that_an_estimator_was_fitted_on(kind: Any) -> None:
    rows = np.random.default_rng(0).random((60, 2), dtype=np.float32)
    labels = (rows[:, 0] > 0.5).astype(kind)
    model = LogisticRegression(C=1e4).fit(rows, labels)
    assert measure_accuracy(model, (rows, labels), at_least=0.9).verdict == "passed"
    if kind is np.float64:
        with pytest.raises(DataError, match=r"among the model's classes \(0.0, 1.0\) but got 0.5"):
            measure_accuracy(model, (rows, labels / 2), at_least=0.9)
