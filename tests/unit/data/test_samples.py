"""The data people have: what is read, when, and what is refused."""

from __future__ import annotations

import threading
from collections import UserDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
)
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import to_tensor

from robustest import DataError
from robustest.data import Samples, as_samples
from robustest.measure import measure_shift_accuracy

N = 10
X = torch.rand(N, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 4
SOME = torch.tensor([7, 0, 3])


def pictures() -> list[Image.Image]:
    return [Image.fromarray((x.permute(1, 2, 0) * 255).byte().numpy()) for x in X]


class Items(Dataset):  # type: ignore[type-arg]
    """A map-style set of any items that counts what is read."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        assert type(index) is int  # a tensor as index breaks lists and Hugging Face sets
        self.read.append(index)
        return self.items[index]


def stacked(items: list[Any]) -> dict[str, Tensor]:
    """A collate function as people write for Hugging Face models."""
    return {
        "pixel_values": torch.stack([item["image"] for item in items]),
        "labels": torch.tensor([item["id"] for item in items]),
    }


PAIRS = list(zip(X, Y.tolist(), strict=True))
SAME = {
    "tensors": (X, Y),
    "list of two": [X, Y],
    "arrays": (X.numpy(), Y.numpy()),
    "list of labels": (X, Y.tolist()),
    "float64": (X.double(), Y),
    "small labels": (X, Y.to(torch.uint8)),
    "tensors that ask for gradients": (X.clone().requires_grad_(True), Y),
    "tensor data set": TensorDataset(X, Y),
    "list of pairs": PAIRS,
    "items with more": Items([(x, y, "more") for x, y in PAIRS]),
    "arrays as items": Items([(x.numpy(), np.int64(y)) for x, y in PAIRS]),
    "nested lists as items": Items([{"image": x.tolist(), "label": y} for x, y in PAIRS]),
    "pixel_values and labels": Items([{"pixel_values": x, "labels": y} for x, y in PAIRS]),
    "img and fine_label": Items([{"img": x, "fine_label": y, "coarse_label": 9} for x, y in PAIRS]),
    "x and y in a dict-like": Items([UserDict(x=x, y=torch.tensor(y)) for x, y in PAIRS]),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=3),
    "shuffling loader": DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True),
    "loader with collate": DataLoader(
        Items([{"image": x, "id": y} for x, y in PAIRS]), batch_size=3, collate_fn=stacked
    ),
    "samples": Samples(lambda ids: (X[ids], Y[ids]), N),
}


@pytest.mark.parametrize("data", SAME.values(), ids=SAME)
def test_the_same_samples_come_from_every_kind_of_data(data: Any) -> None:
    samples = as_samples(data)
    assert len(samples) == N
    x, y = samples.take(SOME)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert torch.equal(x, X[SOME])
    assert torch.equal(y, Y[SOME])
    assert not x.requires_grad


def test_pil_images_become_floats_in_the_unit_interval() -> None:
    data = Items([{"image": image, "label": label} for image, label in zip(pictures(), Y.tolist(), strict=True)])
    x, y = as_samples(data).take(SOME)
    assert torch.equal(x, torch.stack([to_tensor(pictures()[i]) for i in SOME]))
    assert float((x - X[SOME]).abs().max()) < 1 / 255
    assert torch.equal(y, Y[SOME])


def test_grey_pil_images_have_one_channel() -> None:
    x, _ = as_samples([(Image.new("L", (5, 3), 255), 1)]).take(torch.tensor([0]))
    assert torch.equal(x, torch.ones(1, 1, 3, 5))


@pytest.mark.parametrize("transform", [None, to_tensor], ids=["PIL", "tensors"])
def test_image_folders(tmp_path: Path, transform: Any) -> None:
    for name, colour in (("black", 0), ("white", 255)):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (4, 4), (colour,) * 3).save(tmp_path / name / f"{number}.png")
    x, y = as_samples(ImageFolder(str(tmp_path), transform=transform)).take(torch.tensor([0, 5]))
    assert torch.equal(x, torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]))
    assert y.tolist() == [0, 1]


def test_making_samples_reads_none() -> None:
    data = Items(PAIRS)
    samples = as_samples(data)
    assert data.read == []
    samples.take(SOME)
    assert data.read == SOME.tolist()


def test_a_measurement_reads_each_sample_once_and_the_first_once_more() -> None:
    data = Items(PAIRS * 30)
    measure_shift_accuracy(lambda x: x.flatten(1)[:, :4], data, "brightness")
    first, looked = data.read[:16], data.read[16:]
    assert first[::-1] == looked[:16]  # whether they are the same each time
    looked[:16] = first
    assert sorted(looked) == list(range(300))
    assert looked != sorted(looked)  # in the seeded order


def test_reading_goes_chunk_by_chunk() -> None:
    """After the first chunk stops the measurement, no more than the next was read, ahead of it."""
    data = Items([*PAIRS * 30])
    data.items = [(x, 99) for x, _ in data.items]
    with pytest.raises(DataError, match="99"):
        measure_shift_accuracy(lambda x: x.flatten(1)[:, :4], data, "brightness")
    assert 0 < len(data.read) <= 160


def test_read_only_arrays_are_read_without_a_warning() -> None:
    x = X.numpy().copy()
    x.setflags(write=False)  # memory maps and views of other libraries are
    assert torch.equal(as_samples((x, Y.numpy())).take(SOME)[0], X[SOME])


def test_arrays_in_any_memory_order_are_read() -> None:
    flipped = X.numpy()[:, :, ::-1]
    assert torch.equal(as_samples((flipped, Y.numpy())).take(SOME)[0], X.flip(2)[SOME])


def test_a_measurement_does_not_write_on_the_users_arrays() -> None:
    x, y = X.clone(), Y.clone()
    measure_shift_accuracy(lambda z: z.mul_(0.5).flatten(1)[:, :4], (x, y), "brightness", suppress=("random_forward",))
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


def test_a_loader_over_part_of_its_set_is_never_measured_on_all_of_it() -> None:
    loader = DataLoader(TensorDataset(X, Y), sampler=SubsetRandomSampler([1, 2, 3]))
    try:
        samples = as_samples(loader)
    except DataError:
        return
    assert len(samples) == 3


def test_a_batch_sampler_of_a_part_is_refused_and_one_of_the_whole_set_is_read() -> None:
    data = TensorDataset(X, Y)
    for part in (BatchSampler(SubsetRandomSampler([1, 2, 3]), 2, False), [[1, 2], [3, 3]], [[0, 0]] * N):
        with pytest.raises(DataError, match="over its whole data set"):
            as_samples(DataLoader(data, batch_sampler=part))
    for whole in (BatchSampler(RandomSampler(data), 3, True), [[9, 8, 7, 6, 5], [0, 1, 2, 3, 4]]):
        x, _ = as_samples(DataLoader(data, batch_sampler=whole)).take(SOME)
        assert torch.equal(x, X[SOME])


def test_a_sampler_that_draws_with_replacement_is_refused() -> None:
    """It gives some samples twice and some never, where each would be read once."""
    data = TensorDataset(X, Y)
    again = RandomSampler(data, replacement=True)
    for loader in (DataLoader(data, sampler=again), DataLoader(data, batch_sampler=BatchSampler(again, 2, False))):
        with pytest.raises(DataError, match="over its whole data set"):
            as_samples(loader)
    assert len(as_samples(DataLoader(data, shuffle=True))) == N


def test_samples_of_a_transform_with_weights_are_numbers_alone() -> None:
    weights = nn.Parameter(torch.ones(()))
    data = [(x * weights, int(y)) for x, y in PAIRS]

    def stacked(items: list[Any]) -> Any:
        return default_collate(items)

    for one in (data, DataLoader(data, collate_fn=stacked)):  # type: ignore[arg-type]
        x, _ = as_samples(one).take(SOME)
        assert not x.requires_grad
        assert torch.equal(x, X[SOME])


def test_a_subset_is_the_way_to_measure_on_part() -> None:
    x, _ = as_samples(Subset(TensorDataset(X, Y), [4, 5])).take(torch.tensor([1]))
    assert torch.equal(x, X[5:6])


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter(PAIRS)


REFUSED = {
    "no samples": ((X[:0], Y[:0]), "at least one sample"),
    "an empty list": ([], "at least one sample"),
    "a stream": (Stream(), "iterable-only"),
    "a loader over a stream": (DataLoader(Stream()), "iterable-only"),
    "a generator": ((pair for pair in PAIRS), "iterable-only"),
    "nothing": (None, "NoneType"),
    "a number": (5, "5 (int)"),
    "inputs alone, one number each": ((torch.rand(N), Y), "shape (N, ...)"),
    "more labels than samples": ((X, torch.cat([Y, Y])), "10 samples and 20 labels"),
    "float labels": ((X, Y.float()), "y.long()"),
    "bool labels": ((X, Y > 1), "torch.bool"),
    "one-hot labels": ((X, torch.eye(4)[Y].long()), "shape (N,)"),
    "a column of labels": ((X, Y.view(-1, 1)), "shape (N,)"),
    "words as labels": ((X, ["cat"] * N), "integers"),
    "words as inputs": ((np.array([["a"]] * N), Y), "Expected"),
    "ragged inputs": ((np.array([[1.0], [1.0, 2.0]], dtype=object), [0, 1]), "Expected"),
    "8-bit images": (((X * 255).byte(), Y), "Divide 8-bit images by 255"),
    "complex inputs": ((X.to(torch.complex64), Y), "floating-point"),
    "a dict of columns": ({"x": X, "y": Y}, "(x, y)"),
}


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED)
def test_data_that_cannot_be_measured_on(data: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        as_samples(data).take(torch.tensor([0]))
    assert words in str(caught.value)


REFUSED_ITEMS = {
    "8-bit arrays": ((np.zeros((3, 4, 4), np.uint8), 1), "Divide 8-bit images by 255"),
    "a float label": ((X[0], 1.0), "integer class label"),
    "a bool label": ((X[0], True), "integer class label"),
    "a bool tensor label": ((X[0], torch.tensor(True)), "integer class label"),
    "no label": ((X[0],), "(image, label)"),
    "an image alone": (X[0], "(image, label)"),
    "a word": ("ab", "(image, label)"),
    "a path as image": (("cat.png", 1), "a tensor, an array or a PIL image"),
    "a dict without image": ({"picture": X[0], "label": 1}, "['label', 'picture']"),
    "a dict without label": ({"image": X[0], "class": 1}, "['class', 'image']"),
}


@pytest.mark.parametrize(("item", "words"), REFUSED_ITEMS.values(), ids=REFUSED_ITEMS)
def test_items_that_cannot_be_measured_on(item: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        as_samples(Items([item] * 3)).take(torch.tensor([0]))
    assert words in str(caught.value)


def test_items_of_different_shapes_name_the_shapes() -> None:
    with pytest.raises(DataError, match=r"one shape.*\(1, 2, 2\).*\(1, 3, 3\)"):
        as_samples([(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 3, 3), 0)]).take(torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("collate", "words"),
    [
        (lambda items: ([x for x, _ in items], Y[: len(items)]), "tensor of inputs"),
        (lambda items: (torch.stack([x for x, _ in items]).mul(255).byte(), Y[: len(items)]), "8-bit"),
        (lambda items: torch.stack([x for x, _ in items]), "(image, label)"),
    ],
    ids=["a list of inputs", "8-bit", "no labels"],
)
def test_batches_that_cannot_be_measured_on(collate: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        as_samples(DataLoader(Items(PAIRS), collate_fn=collate)).take(torch.tensor([0]))
    assert words in str(caught.value)


def test_a_process_that_is_forked_while_a_sample_is_read_can_read(fork: Any) -> None:
    """As the workers of a DataLoader are; the thread that reads does not exist in them."""
    begun, over = threading.Event(), threading.Event()

    class Slow(Dataset[Any]):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            begun.set()
            over.wait(20)
            return X[0], 0

    reader = threading.Thread(target=as_samples(Slow()).take, args=(torch.tensor([0]),))
    reader.start()
    begun.wait()
    try:
        assert fork("from robustest.data import samples; print(samples._reading.acquire(timeout=2))") == "True"
    finally:
        over.set()
        reader.join()
