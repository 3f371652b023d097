"""Samples to judge by that were trained on, but for rounding; and samples that merely lie close."""

from __future__ import annotations

import pytest
import torch
from robustest_training import measure_synthetic_covers
from robustest_training.trainings import TrainingSets
from torch import Tensor

from robustest import DataError
from robustest.data.near_copies import near_copies


def drawn(n: int, features: int, seed: int) -> Tensor:
    return torch.rand(n, features, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("features", [1, 2, 50])
def test_other_draws_are_none(features: int) -> None:
    for seed in range(10):
        assert near_copies(drawn(700, features, seed), drawn(2000, features, 100 + seed)) == []


def test_what_rounding_moved_is_found_and_named() -> None:
    x, train = drawn(100, 5, 1), drawn(5000, 5, 2)
    x[[3, 8]] = train[[4700, 11]] + 1e-7
    assert near_copies(x, train) == [(3, 4700), (8, 11)]
    assert near_copies(x + 100, train + 100) == [(3, 4700), (8, 11)]


def test_one_alone_or_a_few_rows_tell_nothing() -> None:
    x, train = drawn(100, 5, 1), drawn(200, 5, 2)
    x[3] = train[1] + 1e-7
    assert near_copies(x, train) == []
    assert near_copies(train[:2] + 1e-7, train[:3]) == []


def test_training_sets_refuse_a_test_set_that_was_trained_on() -> None:
    x, y = drawn(80, 6, 1), torch.arange(80) % 2
    with pytest.raises(DataError, match="but for rounding"):
        TrainingSets.of((x, y), ((x + 1e-7).clamp(0, 1), y), (0.0, 1.0))


@pytest.mark.parametrize("leaks", ["synthetic", "train"])
def test_nor_does_a_synthetic_set_hold_the_test_samples(leaks: str) -> None:
    y = torch.arange(200) % 2
    sets = {name: (drawn(200, 6, seed), y) for seed, name in enumerate(("synthetic", "train", "test"))}
    sets[leaks] = (sets["test"][0] + 1e-7, y)
    with pytest.raises(DataError, match=f"of the {leaks} set, but for rounding"):
        measure_synthetic_covers(sets["train"], sets["synthetic"], test_data=sets["test"], max_gap=0.1)
