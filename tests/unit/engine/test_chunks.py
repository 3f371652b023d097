"""Chunks: a partition that depends on the number of samples alone, read and checked."""

# ruff: noqa: ARG005 - the makers of items are all called alike

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from robustest import DataError, HealthWarning, Linf, ModelError, rng
from robustest.cues import PixelPatch
from robustest.data import as_samples
from robustest.engine.chunks import load, partition
from robustest.measure import (
    measure_no_spurious_feature,
    measure_robust_accuracy,
    measure_robust_to,
    measure_shift_accuracy,
)
from robustest.strategies import shifts

CPU = torch.device("cpu")


@given(st.integers(0, 5000))
def test_a_partition_holds_everybody_once_in_order(n: int) -> None:
    order = rng.permutation(0, n)
    chunks = list(partition(order))
    assert torch.equal(torch.cat([*chunks, order[:0]]), order)
    assert all(len(chunk) > 0 for chunk in chunks)


def test_chunks_start_small_and_grow_up_to_a_limit() -> None:
    sizes = [len(chunk) for chunk in partition(torch.arange(20_000))]
    assert sizes[0] == 64
    assert sizes[:-1] == sorted(sizes[:-1])
    assert all(size % 64 == 0 for size in sizes[:-1])
    assert sizes[-2] == sizes[-3] == 512


@given(st.integers(1, 20_000))
def test_no_chunk_but_a_smallest_one_is_more_than_a_sixth_of_what_was_read_before(n: int) -> None:
    """So that a verdict costs little more than the samples up to its point."""
    read = 0
    for chunk in partition(torch.arange(n)):
        assert len(chunk) <= max(64, read / 6)
        read += len(chunk)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_where_a_run_stops_does_not_change_the_chunks_before(n: int, stop: int) -> None:
    """What is remembered of a short run serves a longer one, but for the chunk that was cut."""
    order = rng.permutation(0, n)
    whole, cut = [c.tolist() for c in partition(order)], [c.tolist() for c in partition(order[:stop])]
    assert cut[:-1] == whole[: max(0, len(cut) - 1)]
    assert not cut or whole[len(cut) - 1][: len(cut[-1])] == cut[-1]


def test_a_chunk_is_the_samples_asked_for_with_their_own_keys() -> None:
    x, y = torch.rand(10, 2, 3), torch.arange(10)
    ids = torch.tensor([7, 1])
    chunk = load(as_samples((x, y)), ids, bounds=(0, 1), seed=3, device=CPU)
    assert torch.equal(chunk.x, x[ids])
    assert torch.equal(chunk.y, y[ids])
    assert torch.equal(chunk.key, rng.keys(3, torch.arange(10))[ids])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_inputs_that_are_not_finite_name_the_sample(value: float) -> None:
    x = torch.rand(10, 2, 3)
    x[4, 1, 2] = value
    with pytest.raises(DataError, match="sample 4 has NaN or infinite"):
        load(as_samples((x, torch.arange(10))), torch.arange(10).flip(0), bounds=(0, 1), seed=0, device=CPU)


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0])
def test_inputs_outside_the_bounds_name_the_sample_and_the_span(value: float) -> None:
    x = torch.full((10, 2, 3), 0.5)
    x[4, 1, 2] = value
    with pytest.raises(DataError) as caught:
        load(as_samples((x, torch.arange(10))), torch.arange(10).flip(0), bounds=(0, 1), seed=0, device=CPU)
    for word in ("[0, 1]", "sample 4", f"{value:g}", "bounds=(low, high)", "preprocessing=(mean, std)"):
        assert word in str(caught.value)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_inputs_at_the_bounds_are_inside(value: float) -> None:
    samples = as_samples((torch.full((3, 2), value), torch.arange(3)))
    assert len(load(samples, torch.arange(3), bounds=(0, 1), seed=0, device=CPU).x) == 3


def test_items_that_are_single_numbers_are_refused_as_data() -> None:
    with pytest.raises(DataError):
        load(as_samples([(torch.tensor(0.5), 1)] * 4), torch.arange(4), bounds=(0, 1), seed=0, device=CPU)


def test_data_that_give_fewer_than_asked_are_refused() -> None:
    samples = as_samples((torch.rand(10, 2), torch.arange(10)))
    short = type(samples)(lambda ids: samples.take(ids[:-1]), 10)
    with pytest.raises(DataError, match="Expected 10 samples and labels but the data gave 9 and 9"):
        load(short, torch.arange(10), bounds=(0, 1), seed=0, device=CPU)


MEASUREMENTS: dict[str, Callable[..., Any]] = {
    "attack": lambda model, data: measure_robust_accuracy(model, data, Linf(0.01), attack="fgsm"),
    "shift": lambda model, data: measure_shift_accuracy(model, data, "brightness"),
    "cue": lambda model, data: measure_no_spurious_feature(model, data, PixelPatch(top=0, left=0)),
}


@pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)
@pytest.mark.parametrize("label", [-1, 3, 12])
@pytest.mark.parametrize("place", [0, 150, 299], ids=["first chunk", "second chunk", "last"])
def test_a_label_that_is_no_class_is_found_wherever_it_comes(
    measure: Callable[..., Any], label: int, place: int, toys: Callable[..., Any]
) -> None:
    toy = toys(300)
    toy.y[rng.permutation(0, 300)[place]] = label
    with pytest.raises(DataError, match=rf"0\.\.2.*{label}"):
        measure(toy.model, (toy.x, toy.y))


def test_a_forward_that_draws_is_a_model_error(toy: Any) -> None:
    with pytest.raises(ModelError, match=r"random_forward.*dropout"):
        MEASUREMENTS["shift"](lambda x: toy.model(x + 0.1 * torch.rand_like(x)), (toy.x, toy.y))


def test_a_forward_that_draws_may_be_meant(toy: Any) -> None:
    result = measure_shift_accuracy(
        lambda x: toy.model(x + 0.001 * torch.rand_like(x)), (toy.x, toy.y), "brightness", suppress=("random_forward",)
    )
    assert result.numbers.n == len(toy.x)


def softmax(model: Any) -> Any:
    return lambda x: model(x).softmax(1)


def test_probabilities_get_a_warning_and_a_note(toy: Any) -> None:
    with pytest.warns(HealthWarning, match=r'^softmax_outputs: .*suppress=\("softmax_outputs",\)') as caught:
        result = MEASUREMENTS["attack"](softmax(toy.model), (toy.x, toy.y))
    assert len(caught) == 1
    assert any(note.startswith("softmax_outputs") for note in result.words.notes)


def test_probabilities_may_be_meant(toy: Any) -> None:
    # Warnings are errors here, so that a warning would be seen.
    measure_shift_accuracy(softmax(toy.model), (toy.x, toy.y), "brightness", suppress=("softmax_outputs",))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_what_only_resembles_probabilities_gets_no_warning(toy: Any, scale: float) -> None:
    MEASUREMENTS["attack"](lambda x: toy.model(x).softmax(1) * scale, (toy.x, toy.y))


class Items(Dataset[Any]):
    """Images and labels, each made by functions of the index and of how often it was read."""

    def __init__(self, image: Callable[[int, int], Any], label: Callable[[int, int], int] = lambda i, k: i % 2) -> None:
        self.image = image
        self.label = label
        self.read = [0] * 40

    def __len__(self) -> int:
        return len(self.read)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        if i >= len(self):
            raise IndexError(i)
        self.read[i] += 1
        return self.image(i, self.read[i]), self.label(i, self.read[i])


def grey(value: float) -> Tensor:
    return torch.full((1, 4, 4), value)


VANISHING: dict[str, Callable[[], Any]] = {
    "random pixels": lambda: Items(lambda i, k: torch.rand(1, 4, 4)),
    "numpy's noise": lambda: Items(lambda i, k: np.random.rand(1, 4, 4).astype(np.float32)),
    "a flip": lambda: Items(lambda i, k: (torch.arange(16.0) / 16).view(1, 4, 4).flip(2 if k % 2 else ())),
    "other images when read again": lambda: Items(lambda i, k: grey(i / 40 if k == 1 else 1 - i / 40)),
    "by a bit": lambda: Items(lambda i, k: grey(i / 40 + (2**-20 if k > 1 else 0))),
    "labels": lambda: Items(lambda i, k: grey(i / 40), lambda i, k: (i + k) % 2),
    "a size": lambda: Items(lambda i, k: torch.full((1, 4, 3 + min(k, 2)), 0.5)),
    "a batch that is sorted": lambda: DataLoader(
        Items(lambda i, k: grey(i / 40)),
        collate_fn=lambda items: default_collate(sorted(items, key=lambda one: one[1])),
    ),
    "behind a loader": lambda: DataLoader(Items(lambda i, k: torch.rand(1, 4, 4)), batch_size=8),
}
LASTING: dict[str, Callable[[], Any]] = {
    "the same images": lambda: Items(lambda i, k: grey(i / 40)),
    "drawn by the index": lambda: Items(lambda i, k: torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(i))),
    "a loader that shuffles": lambda: DataLoader(Items(lambda i, k: grey(i / 40)), shuffle=True),
}


def two(z: Tensor) -> Tensor:
    return z.flatten(1)[:, :2]


CLAIMS: dict[str, Callable[[Any], Any]] = {
    "attack": lambda data: measure_robust_accuracy(two, data, Linf(0.01), attack="fgsm", at_least=0.01),
    "shift": lambda data: measure_shift_accuracy(two, data, "brightness"),
    "search": lambda data: measure_robust_to(two, data, shifts(names=["brightness"]), max_examples=3),
}


@pytest.mark.parametrize("name", VANISHING)
def test_data_that_are_others_when_read_again_are_no_data(name: str) -> None:
    with pytest.raises(DataError, match=r"Expected the data to give the same samples .* but got: .*Switch off random"):
        CLAIMS["attack"](VANISHING[name]())


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_reads_its_data_twice(claim: str) -> None:
    with pytest.raises(DataError, match="changed, the first of them"):
        CLAIMS[claim](VANISHING["random pixels"]())


@pytest.mark.parametrize("name", LASTING)
def test_data_that_last_are_measured_whatever_order_they_come_in(name: str) -> None:
    assert CLAIMS["shift"](LASTING[name]()).numbers.n == 40
