"""Ids of clusters: their forms, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from robustest import ConfigError, DataError
from robustest.data import Waveforms, as_samples
from robustest.data.clusters import Clustered
from robustest.data.ids import numbered
from robustest.errors import UnknownNameError
from robustest.factory import Factory

X, Y = torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 0, 1])
FRAME = pandas.DataFrame({"size": [1.0, 2.0, 3.0, 4.0], "patient": ["a", "b", "a", "c"]}, index=[7, 3, 5, 1])
ITEMS = [{"image": X[at], "label": int(Y[at]), "video": at // 3} for at in range(4)]


class Items:
    """A data set of mappings without columns."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, at: int) -> dict[str, Any]:
        return ITEMS[at]


class Columns(Items):
    """One with columns, which reads no item for them."""

    column_names = ("image", "label", "video")

    def __init__(self) -> None:
        self.column_names = ["image", "label", "video"]  # type: ignore[assignment]

    def __getitem__(self, at: int | str) -> Any:
        assert isinstance(at, str)
        return [one[at] for one in ITEMS]


def built() -> Items:
    return Items()


@pytest.mark.parametrize(
    ("data", "cluster", "numbers"),
    [
        ((X, Y), [5, 5, 9, 5], [0, 0, 1, 0]),
        ((X, Y), torch.tensor([5, 5, 9, 5]), [0, 0, 1, 0]),
        ((X, Y), np.array(["b", "a", "b", "c"]), [0, 1, 0, 2]),
        ((X, Y), np.array([[1, 2], [1, 2], [1, 3], [2, 2]]), [0, 0, 1, 2]),
        ((X, Y), [("v", 1), ("v", 2), ("v", 1), "v"], [0, 1, 0, 2]),
        ((X, Y), pandas.Series([1.0, 1.0, 2.0, 1.0]), [0, 0, 1, 0]),
        ((X, Y), lambda sample: int(sample[1]), [0, 1, 0, 1]),
        ((["a b", "a c", "b", "b"], Y), lambda sample: sample[0][0], [0, 0, 1, 1]),
        (Waveforms((X[:, 0, 0], Y), 8000), [1, 2, 1, 2], [0, 1, 0, 1]),
        ((FRAME, Y), "patient", [0, 1, 0, 2]),
        ((FRAME[["size"]], Y), FRAME["patient"], [0, 1, 0, 2]),
        ((FRAME, Y), lambda row: row["size"] > 2, [0, 0, 1, 1]),
        (Items(), "video", [0, 0, 0, 1]),
        (Subset(Items(), [3, 0]), "video", [0, 1]),
        (DataLoader(Items()), "video", [0, 0, 0, 1]),
        (as_samples(Items()), "video", [0, 0, 0, 1]),
        (Factory(f"{__name__}:built"), "video", [0, 0, 0, 1]),
        (Columns(), "video", [0, 0, 0, 1]),
        (Items(), lambda item: item["video"] * 2, [0, 0, 0, 1]),
        (ITEMS[:2], lambda item: item["video"], [0, 0]),
        ([(X[0], 0), (X[1], 1)], lambda item: item[1], [0, 1]),
    ],
)
def test_clusters_are_ids_a_column_or_a_function(data: Any, cluster: Any, numbers: list[int]) -> None:
    found = Clustered.of(data, cluster).numbers(len(numbers))
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.int64, numbers)


def test_without_clusters_nothing_is_read() -> None:
    found = Clustered.of((FRAME, Y), None)
    assert found.data[0] is FRAME
    assert found.numbers(4) is None


def test_the_model_gets_no_ids() -> None:
    assert list(Clustered.of((FRAME, Y), "patient").data[0].columns) == ["size"]
    apart = Clustered.of((FRAME, Y), ["a", "b", "a", "c"])
    assert list(apart.data[0].columns) == ["size", "patient"], "given apart, the column stays an input"


def test_frames_of_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.from_pandas(FRAME)
    found = Clustered.of((frame, Y), "patient")
    assert list(found.data[0].columns) == ["size"]
    assert found.numbers(4).tolist() == [0, 1, 0, 2]  # type: ignore[union-attr]
    assert numbered(polars.Series([1, 1, 2, 1]), 4).tolist() == [0, 0, 1, 0]
    with pytest.raises(DataError, match="the id of a cluster for sample 3"):
        numbered(polars.Series([1, 2, 3, None]), 4)


@pytest.mark.parametrize(
    ("data", "cluster", "error", "words"),
    [
        ((FRAME, Y), "patent", UnknownNameError, "Unknown column 'patent'. Did you mean 'patient'?"),
        (Items(), "vide", UnknownNameError, "Did you mean 'video'?"),
        (Columns(), "vide", UnknownNameError, "Did you mean 'video'?"),
        ((X, Y), "video", ConfigError, "of a frame, or of items that are mappings"),
        ([(X[0], 0)], "video", ConfigError, "of a frame, or of items that are mappings"),
        ((X, Y), 7, ConfigError, "an id for each sample, the name of a column, or a function"),
        ((X, Y), {"a": [0]}, ConfigError, "an id for each sample, the name of a column, or a function"),
        ((FRAME, Y), FRAME["patient"].iloc[::-1], DataError, "cluster= in the order of the rows"),
    ],
)
def test_other_clusters_are_refused(data: Any, cluster: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as raised:
        Clustered.of(data, cluster)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([1, 2, 3], "Expected the cluster of each of 4 samples but got 3 ids. Give one id for each"),
        ([1, None, 3, 4], "the id of a cluster for sample 1 but got None"),
        ([1, 2, float("nan"), 4], "the id of a cluster for sample 2 but got nan"),
        (pandas.Series([1, None, 2, 3]), "the id of a cluster for sample 1"),
        (pandas.Series(pandas.to_datetime(["2024-01-01", None, None, None])), "the id of a cluster for sample 1"),
        (["a", "b", "", "d"], "the id of a cluster for sample 2"),
        ([1, 2, {"a": 1}, 4], "a number, a text or a tuple as the cluster of sample 2"),
    ],
)
def test_ids_must_be_known(ids: Any, words: str) -> None:
    with pytest.raises(DataError) as raised:
        numbered(ids, 4)
    assert words in str(raised.value)


def test_a_function_that_raises_says_so_itself() -> None:
    def of(sample: object) -> object:
        raise KeyError("video")

    with pytest.raises(KeyError, match="video"):
        Clustered.of((X, Y), of)


def test_a_list_of_two_items_is_no_pair_of_columns() -> None:
    data: list[tuple[Any, int]] = [(X[0], 0), (X[1], 1)]
    seen: list[Any] = []
    function: Callable[[Any], int] = lambda item: seen.append(item) or 0  # type: ignore[func-returns-value]  # noqa: E731
    Clustered.of(data, function)
    assert [label for _, label in seen] == [0, 1]
