"""Groups of samples, however people write them down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustest import DataError
from robustest.data.groups import as_groups


def named(groups: Any, total: int) -> dict[str, list[int]]:
    found = as_groups(groups, total)
    assert found.total == total
    assert found.sizes == tuple(len(ids) for ids in found.members)
    return {name: ids.tolist() for name, ids in zip(found.names, found.members, strict=True)}


@pytest.mark.parametrize(
    "groups",
    [[10, 2, 10, 2, 2], np.array([10, 2, 10, 2, 2]), torch.tensor([10, 2, 10, 2, 2]), (10, 2, 10, 2, 2)],
)
def test_integers(groups: Any) -> None:
    assert list(named(groups, 5).items()) == [("2", [1, 3, 4]), ("10", [0, 2])]


@pytest.mark.parametrize("groups", [["b", "a", "b", None], np.array(["b", "a", "b", None], dtype=object)])
def test_strings_and_samples_in_no_group(groups: Any) -> None:
    assert list(named(groups, 4).items()) == [("a", [1]), ("b", [0, 2])]


def test_numpy_strings() -> None:
    assert named(np.array(["b", "a", "b"]), 3) == {"a": [1], "b": [0, 2]}


@pytest.mark.parametrize(
    "groups",
    [[("land", 0), ("water", 1), ("land", 0)], np.array([["land", "0"], ["water", "1"], ["land", "0"]])],
)
def test_combinations(groups: Any) -> None:
    assert named(groups, 3) == {"land, 0": [0, 2], "water, 1": [1]}


def test_rows_of_integers_are_combinations() -> None:
    assert named(torch.tensor([[0, 1], [0, 0], [0, 1]]), 3) == {"0, 0": [1], "0, 1": [0, 2]}


def test_a_mapping_of_positions_and_masks_may_overlap() -> None:
    found = as_groups({"old": [4, 1, 1], "dark": np.array([True, True, False, False, False]), "none": []}, 5)
    assert found.names == ("old", "dark")
    assert [ids.tolist() for ids in found.members] == [[1, 4], [0, 1]]
    assert not found.disjoint
    assert as_groups({"a": [0], "b": torch.tensor([False, True])}, 2).disjoint


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2], "each of 3 samples but got 2"),
        ("abc", "integers or strings, or a mapping"),
        (7, "integers or strings, or a mapping"),
        ([1.5, 2.0, 1.0], "group of sample 0 but got 1.5"),
        ([None, None, None], "one group or more"),
        ([1, "1", 2], "two are called '1'"),
        ({"a": [0, 3]}, r"positions in 0..2 for the group 'a' but got 0..3"),
        ({"a": [-1]}, r"positions in 0..2"),
        ({"a": [True, False]}, "mask of 3 samples for the group 'a' but got 2"),
        ({"a": [0.5]}, "positions, or"),
        ({"a": []}, "one group or more"),
        ({}, "one group or more"),
    ],
)
def test_what_names_no_groups_is_refused(groups: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_groups(groups, 3)
