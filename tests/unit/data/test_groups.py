"""Groups of samples, however people write them down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from robustest import ConfigError, DataError, scores_model
from robustest.data.groups import Groups, subgroups
from robustest.measure import measure_accuracy, measure_worst_group_accuracy


def named(groups: Any, total: int) -> dict[str, list[int]]:
    found = Groups.of(groups, total)
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
    found = Groups.of({"old": [4, 1, 1], "dark": np.array([True, True, False, False, False]), "none": []}, 5)
    assert found.names == ("old", "dark")
    assert [ids.tolist() for ids in found.members] == [[1, 4], [0, 1]]
    assert not found.disjoint
    assert Groups.of({"a": [0], "b": torch.tensor([False, True])}, 2).disjoint


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
        ({"a": [0, 1, 1]}, "mask of 0 and 1. Write mask == 1"),
        ({"a": torch.zeros(3, dtype=torch.uint8)}, "mask of 0 and 1"),
        ({"a": []}, "one group or more"),
        ({}, "one group or more"),
    ],
)
def test_what_names_no_groups_is_refused(groups: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Groups.of(groups, 3)


def test_two_positions_of_two_samples_are_no_mask() -> None:
    assert named({"a": [0, 1], "b": [1]}, 2) == {"a": [0, 1], "b": [1]}


def test_labels_of_an_index_are_positions_only_where_it_counts_the_rows() -> None:
    frame = pd.DataFrame({"age": [20, 70, 30, 80]})
    assert Groups.of({"old": frame.index[frame.age > 60]}, 4, rows=frame).members[0].tolist() == [1, 3]
    shuffled = frame.iloc[[1, 0, 3, 2]]
    with pytest.raises(DataError, match="labels of an index"):
        Groups.of({"old": shuffled.index[shuffled.age > 60]}, 4, rows=shuffled)
    for rows in (None, shuffled.to_numpy()):  # nothing shows whether the labels count them
        with pytest.raises(DataError, match="labels of an index"):
            Groups.of({"old": shuffled.index[shuffled.age > 60]}, 4, rows=rows)
        assert len(Groups.of(shuffled.index, 4, rows=rows).names) == 4
    mask = Groups.of({"old": shuffled.age > 60}, 4, rows=shuffled)
    assert mask.members[0].tolist() == [0, 2]


# Groups by the values of columns

FRAME = pd.DataFrame(
    {
        "job": ["cook", "clerk"] * 60,
        "age": range(120),
        "member": [True] * 100 + [False] * 20,
        "lab": [None] * 40 + [1.5] * 80,
        "town": [f"t{at}" for at in range(120)],
    }
)


def test_subgroups_are_those_of_single_values_and_quantiles() -> None:
    found = subgroups(FRAME)
    assert {name: len(ids) for name, ids in found.items()} == {
        "job = clerk": 60,
        "job = cook": 60,
        "age 0 to 29": 30,
        "age 30 to 59": 30,
        "age 60 to 89": 30,
        "age 90 to 119": 30,
        "member = True": 100,
        "lab missing": 40,
        "lab = 1.5": 80,
    }
    assert found["job = cook"].tolist() == list(range(0, 120, 2))
    assert "member = False" in subgroups(FRAME, min_size=20)


def test_deeper_subgroups_are_all_pairs_of_other_rows() -> None:
    found = subgroups(FRAME, ["job", "member", "lab"], depth=2, min_size=10)
    pairs = {name for name in found if ", " in name}
    # Missing values of `lab` are members alone: no new rows.
    assert pairs == {
        *(f"job = {job}, member = {member}" for job in ("cook", "clerk") for member in (True, False)),
        *(f"job = {job}, lab {lab}" for job in ("cook", "clerk") for lab in ("missing", "= 1.5")),
        "member = True, lab = 1.5",
    }
    assert len({ids.tobytes() for ids in found.values()}) == len(found)


def test_the_worst_of_many_subgroups_is_found_and_its_level_pays_for_the_search() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{at}": rng.integers(0, 3, 600) for at in range(6)})
    y, draws = rng.integers(0, 2, 600), rng.random(600)
    hidden = (frame.c1 == 2) & (frame.c4 == 0)
    right = draws < np.where(hidden, 0.2, 0.95)
    frame["score"] = np.where(right, y, 1 - y).astype(float)

    def scored(rows: pd.DataFrame) -> Any:
        return np.stack([0.5 - rows.score, rows.score - 0.5], 1)

    groups = subgroups(frame, [f"c{at}" for at in range(6)], depth=2)
    assert len(groups) > 100
    assert measure_accuracy(scored, (frame, y), at_least=0.8).verdict == "passed"
    result = measure_worst_group_accuracy(scored, (frame, y), groups, at_least=0.6, scope="population", exact=True)
    assert result.details["worst_group"] == "c1 = 2, c4 = 0"
    assert result.verdict == "failed"
    # Where all groups are alike, the worst of so many looks bad by chance; for the population that refutes nothing.
    frame["score"] = np.where(draws < 0.9, y, 1 - y).astype(float)
    fair = measure_worst_group_accuracy(scored, (frame, y), groups, at_least=0.9, scope="population", exact=True)
    assert fair.estimate < 0.85
    assert fair.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"columns": ["pay"]}, "columns among job, age, member, lab, town"),
        ({"columns": ["town"], "min_size": 40}, "groups of 40 rows or more"),
        ({"depth": 0}, "depth"),
    ],
)
def test_subgroups_that_cannot_be_made_are_refused(arguments: Any, words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        subgroups(FRAME, **arguments)


def test_more_subgroups_than_can_be_judged_at_once_are_refused() -> None:
    words = np.array([f"w{at}" for at in range(80)])
    frame = pd.DataFrame({"a": np.repeat(words, 80), "b": np.tile(words, 80)})
    with pytest.raises(DataError, match="at most 5,000 groups"):
        subgroups(frame, depth=2, min_size=1)


@pytest.mark.parametrize("mapped", [False, True])
def test_groups_in_another_order_than_rows_are_refused(mapped: bool) -> None:
    rows = pd.DataFrame({"age": np.arange(60.0)})
    labels = pd.Series([0, 1] * 30)
    old = rows.age >= 30

    def groups(column: pd.Series) -> Any:
        return {"old": column, "young": ~column} if mapped else column.astype(int)

    def model(frame: pd.DataFrame) -> Any:
        right = (frame.age.to_numpy() % 2).astype(int)
        return np.eye(2)[np.where(frame.age < 10, 1 - right, right)]

    measured = measure_worst_group_accuracy(scores_model(model), (rows, labels), groups(old), exact=True)
    assert measured.estimate == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="groups in the order of the rows"):
        measure_worst_group_accuracy(scores_model(model), (rows, labels), groups(old[::-1]), exact=True)
