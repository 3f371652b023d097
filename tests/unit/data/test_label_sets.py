"""Sets of classes in the place of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from robustest import DataError
from robustest.data.groups import LabelSets

X = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
SETS = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize("sets", [SETS, SETS.bool(), SETS.numpy(), SETS.float()], ids=["int", "bool", "array", "float"])
def test_a_sample_has_its_first_class_for_a_label(sets: Any) -> None:
    given = LabelSets.of((X, sets))
    x, y = given.samples.take(torch.tensor([1, 2, 3]))
    assert torch.equal(x, X[1:])
    assert y.tolist() == [1, 0, 0]
    assert given.objects.tolist() == [1, 2, 0, 3]
    assert torch.equal(given.sets, SETS.bool())


def test_a_data_set_keeps_its_inputs_and_its_own_labels_are_not_read() -> None:
    given = LabelSets.of((TensorDataset(X, torch.full((4,), 77)), SETS))
    x, y = given.samples.take(torch.arange(4))
    assert torch.equal(x, X)
    assert y.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (X, r"\(x, sets\)"),
        ((X, [0, 1, 2, 0]), "tensor or an array"),
        ((X, torch.tensor([0, 1, 2, 0])), r"shape \(N, K\) with K >= 2"),
        ((X, SETS[:, :1]), "K >= 2"),
        ((X, SETS[:3]), "4 samples"),
        ((X, 2 * SETS), "row 0 is"),
        ((X, SETS / 0.0), "0 and 1"),
        ((X, torch.ones(4, 3)), r"every one shows the classes \[0, 1, 2\]"),
        ((X, np.array([["a", "b"]] * 4)), "tensor or an array"),
    ],
    ids=range(9),
)
def test_what_is_no_table_of_sets_is_refused(data: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        LabelSets.of(data)
