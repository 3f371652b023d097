"""Domains of a split: the right samples, labelled with their superclasses, readable by loaders and by the engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustest import DataError
from robustest.data import as_samples
from robustest.data.hierarchies import BreedsSplit, domains

SPLIT = BreedsSplit(
    superclasses=("cat", "dog"), source=((4,), (0, 1)), target=((2,), (5, 6)), names={"cat": "cat", 4: "tabby"}
)
Y = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 4, 2])
X = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 1, 2, 2).clone()


class Items(Dataset[tuple[Tensor, int]]):
    """A data set that tells its labels, or not, and counts how often its images are read."""

    def __init__(self, targets: Any = None, transform: Any = None) -> None:
        self.reads = 0
        if targets is not None:
            self.targets = targets
        self.target_transform = transform

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        self.reads += 1
        return X[i], int(Y[i])


def test_a_domain_has_its_subclasses_under_their_superclasses() -> None:
    source, target = domains((X, Y), SPLIT)
    assert source.ids.tolist() == [0, 1, 4, 7, 8]
    assert source.labels.tolist() == [1, 1, 0, 1, 0]
    assert source.subclasses.tolist() == [0, 1, 4, 0, 4]
    assert target.ids.tolist() == [2, 5, 6, 9]
    assert target.labels.tolist() == [0, 1, 1, 0]


def test_samples_items_arrays_and_loaders_agree() -> None:
    source = domains((X, Y), SPLIT)[0]
    x, y = source.arrays()
    assert x[:, 0, 0, 0].tolist() == [0, 1, 4, 7, 8]
    assert y.tolist() == [1, 1, 0, 1, 0]
    assert torch.equal(torch.stack([source[i][0] for i in range(len(source))]), x)
    assert [source[i][1] for i in range(len(source))] == y.tolist()
    assert source[-1][1] == 0
    with pytest.raises(IndexError):
        source[5]
    loaded = list(DataLoader(source, batch_size=2))
    assert torch.equal(torch.cat([images for images, _ in loaded]), x)
    taken, labels = as_samples(source.samples()).take(torch.tensor([3, 0]))
    assert (taken[:, 0, 0, 0].tolist(), labels.tolist()) == ([7, 0], [1, 1])


@pytest.mark.parametrize("targets", [Y.tolist(), Y, Y.numpy()])
def test_labels_are_read_without_images_where_the_data_set_has_them(targets: Any) -> None:
    items = Items(targets)
    assert domains(items, SPLIT)[0].ids.tolist() == [0, 1, 4, 7, 8]
    assert items.reads == 0


@pytest.mark.parametrize("items", [Items(), Items([9] * 10, transform=int), Items([9] * 3)])
def test_labels_are_read_item_by_item_where_it_has_not(items: Items) -> None:
    """A target transform makes other labels of them; targets of another length belong to something else."""
    assert domains(items, SPLIT)[0].ids.tolist() == [0, 1, 4, 7, 8]
    assert items.reads == len(X)


def test_a_subclass_without_samples_is_named() -> None:
    with pytest.raises(DataError, match="every subclass of the target domain but there are none of 5, 6"):
        domains((X[:5], Y[:5]), SPLIT)


def test_a_split_of_one_domain_has_no_two() -> None:
    whole = BreedsSplit(superclasses=("cat",), source=((4, 2),), names={})
    with pytest.raises(DataError, match='Pass split="rand"'):
        domains((X, Y), whole)
