"""The corpus: what was found comes back, the smallest first, and never more than it may hold."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustest.errors import ConfigError, DataError
from robustest.store.corpus import Corpus, Kept, Listed, Pruned, from_levels, levels, news, on_levels, smallest
from robustest.store.entries import pack
from robustest.store.files import StoreWarning

BOUNDS = st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.1, 2.7)])


def kept(
    ids: list[int], sizes: list[float], *, shape: tuple[int, ...] = (1, 2, 2), y: list[int] | None = None, seed: int = 0
) -> Kept:
    """Inputs on no levels, other ones for every seed."""
    x = torch.rand(len(ids), *shape, generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor(y if y is not None else [0] * len(ids), dtype=torch.int64)
    return Kept(torch.tensor(ids, dtype=torch.int64), x, labels, torch.tensor(sizes, dtype=torch.float64))


def rows(held: Kept | None) -> list[tuple[int, int, float]]:
    if held is None:
        return []
    return list(zip(held.ids.tolist(), held.y.tolist(), held.sizes.tolist(), strict=True))


@given(st.lists(st.integers(0, 255), min_size=1, max_size=9), BOUNDS)
def test_levels_come_back(values: list[int], bounds: tuple[float, float]) -> None:
    k = torch.tensor(values, dtype=torch.uint8)
    x = from_levels(k, bounds)
    assert x.dtype == torch.float32
    assert torch.equal(levels(x, bounds), k)
    assert torch.equal(from_levels(levels(x, bounds), bounds), x)
    assert bool(on_levels(x.reshape(1, -1), bounds).all())


def test_levels_of_the_unit_interval_are_k_over_255() -> None:
    k = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(from_levels(k, (0.0, 1.0)), k.float() / 255)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 4), st.integers(0, 2)), min_size=1),
    st.integers(0, 5),
)
def test_of_each_sample_the_two_smallest_are_left(entries: list[tuple[int, int, int, int]], cut: int) -> None:
    def made(part: list[tuple[int, int, int, int]]) -> Kept:
        columns = [torch.tensor([row[i] for row in part], dtype=torch.int64) for i in range(4)]
        return Kept(columns[0], columns[3].float().reshape(-1, 1), columns[1], columns[2].double())

    found, which = smallest([made(entries[:cut]), made(entries[cut:])])
    by_sample: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for sample, label, size, content in entries:
        by_sample.setdefault((sample, label), []).append((size, content))
    for (sample, label), candidates in by_sample.items():
        smallest_of_each: dict[int, int] = {}
        for size, content in candidates:
            smallest_of_each[content] = min(size, smallest_of_each.get(content, size))
        expected = sorted(smallest_of_each.values())[:2]
        mine = (found.ids == sample) & (found.y == label)
        assert found.sizes[mine].tolist() == expected
        assert len(found.x[mine].unique()) == len(expected)  # never the same input twice
    assert found.ids.tolist() == sorted(found.ids.tolist())
    assert [entries[row][0] for row in which] == found.ids.tolist()


def test_only_what_is_new_or_smaller_is_news() -> None:
    known = kept([1, 1, 2, 3], [0.5, 0.7, 0.5, 0.5], y=[0, 0, 0, 1])
    fresh = news(kept([0, 1, 1, 2, 2, 3], [9, 0.5, 0.4, 0.6, 0.1, 0.9]), known)
    assert fresh == [0, 2, 4, 5]  # a sample of another label is another sample
    assert news(kept([0, 0], [2, 1]), None) == [0, 1]


def test_what_is_added_comes_back(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus", 1)
    assert corpus.load("a") is None
    found = kept([5, 2, 9], [0.3, 0.1, 0.2], y=[1, 0, 2])
    assert corpus.add("a", found)
    back = Corpus(tmp_path / "corpus", 1).load("a")
    assert rows(back) == [(2, 0, 0.1), (5, 1, 0.3), (9, 2, 0.2)]
    assert back is not None
    assert torch.equal(back.x, found.x[[1, 0, 2]])
    assert (back.ids.dtype, back.x.dtype, back.y.dtype, back.sizes.dtype) == (
        torch.int64,
        torch.float32,
        torch.int64,
        torch.float64,
    )
    assert corpus.load("b") is None


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


def test_only_news_makes_a_file(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 1)
    assert corpus.add("a", kept([1, 2], [0.5, 0.5]))
    before = files(tmp_path)
    assert corpus.add("a", kept([1, 2], [0.5, 0.6], seed=1))
    assert files(tmp_path) == before
    assert corpus.add("a", kept([1, 2, 3], [0.4, 0.6, 0.9], seed=2))
    assert len(files(tmp_path)) == 2
    assert rows(corpus.load("a")) == [(1, 0, 0.4), (1, 0, 0.5), (2, 0, 0.5), (3, 0, 0.9)]
    assert corpus.add("a", kept([1], [0.1], seed=3))
    assert rows(corpus.load("a"))[:2] == [(1, 0, 0.1), (1, 0, 0.4)]
    assert before[0].exists()  # files are never changed
    assert corpus.add("a", kept([], []))
    assert len(files(tmp_path)) == 3


def test_the_same_inputs_are_the_same_file(tmp_path: Path) -> None:
    for place, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        assert Corpus(tmp_path / place, 1).add("test", kept([4, 5, 6], [3, 2, 1]).rows(order))
    one, other = (files(tmp_path / place) for place in "ab")
    assert [path.name for path in one] == [path.name for path in other]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_branches_merge_by_copying(tmp_path: Path) -> None:
    Corpus(tmp_path / "a", 1).add("test", kept([1, 2], [0.5, 0.5]))
    Corpus(tmp_path / "b", 1).add("test", kept([2, 3], [0.25, 0.5], seed=1))
    shutil.copytree(tmp_path / "b", tmp_path / "a", dirs_exist_ok=True)
    assert rows(Corpus(tmp_path / "a", 1).load("test")) == [(1, 0, 0.5), (2, 0, 0.25), (2, 0, 0.5), (3, 0, 0.5)]


def on_grid(count: int, *, bounds: tuple[float, float] = (0.0, 1.0), shape: tuple[int, ...] = (3, 16, 16)) -> Kept:
    k = torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    ids = torch.arange(count)
    return Kept(ids, from_levels(k, bounds), torch.zeros_like(ids), torch.ones(count, dtype=torch.float64))


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (-2.1, 2.7)])
def test_inputs_on_levels_take_one_byte_an_element(tmp_path: Path, bounds: tuple[float, float]) -> None:
    found = on_grid(20, bounds=bounds)
    assert Corpus(tmp_path, 1).add("a", found, bounds=bounds)
    assert files(tmp_path)[0].stat().st_size < 20 * 3 * 16 * 16 + 3000
    back = Corpus(tmp_path, 1).load("a")
    assert back is not None
    assert torch.equal(back.x, found.x)


def test_bounds_are_zero_and_one_unless_they_are_given(tmp_path: Path) -> None:
    found = on_grid(20)
    assert Corpus(tmp_path, 1).add("a", found)
    assert files(tmp_path)[0].stat().st_size < 20 * 3 * 16 * 16 + 3000, "these lie on the levels of 0..1"
    assert bool(on_levels(found.x, (0.0, 1.0)).all())
    assert not bool(on_levels(found.x, (-1.0, 1.0)).any())


def test_inputs_between_levels_stay_floats(tmp_path: Path) -> None:
    found = on_grid(20)
    found.x[::2] += 1e-4
    assert Corpus(tmp_path, 1).add("a", found)
    back = Corpus(tmp_path, 1).load("a")
    assert back is not None
    assert torch.equal(back.x, found.x)
    assert files(tmp_path)[0].stat().st_size > 10 * 5 * 3 * 16 * 16


def test_names_that_look_alike_are_apart(tmp_path: Path) -> None:
    names = ["tests/a.py::test[x]", "tests/a.py::test[x-]", "tests/a.py::TEST[x]", "", "ü", "../..", "x" * 999]
    corpus = Corpus(tmp_path / "corpus", 1)
    for place, name in enumerate(names):
        assert corpus.add(name, kept([place], [1.0]))
    assert corpus.names() == sorted(names)
    assert [rows(corpus.load(name)) for name in names] == [[(place, 0, 1.0)] for place in range(len(names))]
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    assert all(len(path.name) < 60 for path in (tmp_path / "corpus").iterdir())


def test_inputs_of_other_data_are_left_out(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 1)
    corpus.add("a", kept([1, 2], [1, 1]))
    corpus.add("a", kept([1], [0.5], shape=(3,)))
    assert rows(corpus.load("a")) == [(1, 0, 1.0), (2, 0, 1.0)]
    assert rows(corpus.load("a", shape=(3,))) == [(1, 0, 0.5)]
    assert corpus.load("a", shape=(9,)) is None


def test_a_listing_counts(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 1)
    corpus.add("b", kept([1, 2], [1, 1]))
    corpus.add("b", kept([2], [0.5], seed=1))
    corpus.add("a", kept([7], [1]))
    sizes = {path.parent.name[0]: 0 for path in files(tmp_path)}
    for path in files(tmp_path):
        sizes[path.parent.name[0]] += path.stat().st_size
    assert corpus.listing() == [
        Listed(name="a", files=1, samples=1, inputs=1, size=sizes["a"]),
        Listed(name="b", files=2, samples=2, inputs=3, size=sizes["b"]),
    ]


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


def aged(folder: Path) -> None:
    """Make every file older than those to come."""
    for path in files(folder):
        os.utime(path, (path.stat().st_mtime - 100,) * 2)


def test_beyond_the_limit_the_oldest_files_go(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 0.04)  # of files of some 13,000 bytes each
    for place in range(3):
        aged(tmp_path)
        assert corpus.add(f"test {place}", kept([place] * 1, [1.0], shape=(3000,), seed=place))
    assert corpus.notices == ()
    aged(tmp_path)
    with pytest.warns(StoreWarning, match=r"stay under 0\.04 MB; dropped 1 files, the oldest"):
        assert corpus.add("test 3", kept([3], [1.0], shape=(3000,), seed=3))
    assert corpus.names() == ["test 1", "test 2", "test 3"]
    assert total(tmp_path) <= 40_000


def test_of_what_is_too_large_in_itself_the_largest_sizes_go(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 0.04)
    with pytest.warns(StoreWarning, match="left out the 7 inputs of largest size of 'a'"):
        assert corpus.add("a", kept(list(range(10)), [float(9 - i) for i in range(10)], shape=(3000,)))
    assert rows(corpus.load("a")) == [(7, 0, 2.0), (8, 0, 1.0), (9, 0, 0.0)]
    assert total(tmp_path) <= 40_000


def test_a_limit_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 0)
    with pytest.warns(StoreWarning, match="left out the 1 inputs"):
        assert not corpus.add("a", kept([1], [1.0]))
    assert files(tmp_path) == []


def test_pruning(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 10)
    corpus.add("a", kept([1], [1.0], shape=(3000,)))
    for seed, size in enumerate((0.9, 0.8), 1):
        aged(tmp_path)
        corpus.add("a", kept([1], [size], shape=(3000,), seed=seed))
    aged(tmp_path)
    corpus.add("b", kept([1, 2, 3], [3.0, 2.0, 1.0], shape=(3000,)))
    before = total(tmp_path)
    assert corpus.prune(10) == Pruned(files=0, freed=0, left=before)
    assert corpus.prune(before / 1e6) == Pruned(files=0, freed=0, left=before)
    # The first file of "a" holds nothing that would be given, and goes although others could.
    pruned = corpus.prune((before - 1) / 1e6)
    assert (pruned.files, pruned.left) == (1, total(tmp_path))
    assert pruned.freed == before - pruned.left
    assert rows(corpus.load("a")) == [(1, 0, 0.8), (1, 0, 0.9)]
    # Then the oldest go, and of the last what fits stays.
    assert corpus.prune(0.03).files == 3
    assert corpus.load("a") is None
    assert rows(corpus.load("b")) == [(2, 0, 2.0), (3, 0, 1.0)]
    assert total(tmp_path) <= 30_000
    assert corpus.prune(0).left == 0
    assert corpus.names() == []


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no file of robustest's"),
    "cut": (lambda data: data[:-5], "."),
    "a bit": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "differ from their checksum"),
    "another name": (lambda _: pack("corpus", "other", {}, {}), "under the name"),
    "another kind": (lambda _: pack("chunk", "a", {}, {}), "another kind"),
    "no inputs": (lambda _: pack("corpus", "a", {"ids": torch.zeros(1)}, {"bounds": [0, 1]}), "x8"),
    "no bounds": (lambda _: pack("corpus", "a", {}, {}), "bounds"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("by", ["load", "listing"])
def test_damaged_files_are_named_and_set_aside(tmp_path: Path, damage: str, by: str) -> None:
    corpus, (change, why) = Corpus(tmp_path, 1), DAMAGE[damage]
    corpus.add("a", kept([1], [1.0]))
    corpus.add("a", kept([2], [1.0], seed=1))
    path = files(tmp_path)[0]
    other = rows(corpus.load("a"))
    path.write_bytes(change(path.read_bytes()))
    with pytest.warns(StoreWarning) as told:
        _ = corpus.load("a") if by == "load" else corpus.listing()
    assert len(told) == 1
    assert str(path) in str(told[0].message)
    assert why in str(told[0].message)
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    left = rows(corpus.load("a"))
    assert len(left) == 1
    assert left[0] in other
    assert corpus.names() == ["a"]


def test_a_folder_that_cannot_be_written_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(tmp_path, 1)
    corpus.add("a", kept([1], [1.0]))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(StoreWarning, match="No space left on device. Free some space"):
        assert [corpus.add(name, kept([2], [1.0])) for name in "ab"] == [False, False]
    assert len(corpus.notices) == 1
    assert rows(corpus.load("a")) == [(1, 0, 1.0)]


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf"), "1", None, True])
def test_limits_are_numbers(tmp_path: Path, limit: Any) -> None:
    with pytest.raises(ConfigError, match="megabytes"):
        Corpus(tmp_path, limit)


@pytest.mark.parametrize(
    "change",
    [
        {"ids": torch.zeros(2)},
        {"ids": [1, 2]},
        {"x": torch.zeros(2, 3, dtype=torch.float64)},
        {"x": torch.zeros(3, 3)},
        {"x": torch.zeros(2)},
        {"y": torch.zeros(1, dtype=torch.int64)},
        {"y": torch.zeros(2, 2, dtype=torch.int64)},
        {"y": torch.zeros((), dtype=torch.int64)},
        {"ids": torch.zeros((), dtype=torch.int64)},
        {"sizes": torch.zeros(2)},
    ],
)
def test_inputs_are_checked(change: dict[str, Any]) -> None:
    right: dict[str, Tensor] = {
        "ids": torch.zeros(2, dtype=torch.int64),
        "x": torch.zeros(2, 3),
        "y": torch.zeros(2, dtype=torch.int64),
        "sizes": torch.zeros(2, dtype=torch.float64),
    }
    Kept(**right)
    with pytest.raises(DataError, match=next(iter(change))):
        Kept(**{**right, **change})


def test_rows_are_on_levels_each_by_itself() -> None:
    x = torch.tensor([[0.0, 1.0, 3 / 255], [0.5, 1.0, 0.0], [1 / 255, 2 / 255, 3 / 255]])
    assert on_levels(x, (0.0, 1.0)).tolist() == [True, False, True]
    assert on_levels(x.view(3, 1, 3), (0.0, 1.0)).tolist() == [True, False, True]


def test_of_a_sample_and_label_two_are_kept() -> None:
    found = smallest([kept([1, 1, 1, 2], [3.0, 1.0, 2.0, 9.0]), kept([1, 1], [0.5, 0.25], y=[1, 1], seed=1)])[0]
    assert rows(found) == [(1, 1, 0.25), (1, 1, 0.5), (1, 0, 1.0), (1, 0, 2.0), (2, 0, 9.0)]


@pytest.mark.parametrize(("fits", "left"), [(0, 4), (-1, 2)])
def test_a_corpus_of_just_the_limit_stays(tmp_path: Path, fits: int, left: int) -> None:
    corpus = Corpus(tmp_path, 10)
    for place in range(2):
        aged(tmp_path)
        corpus.add(f"test {place}", kept([1, 2], [1.0, 2.0], shape=(3000,), seed=place))
    one = total(tmp_path) // 2
    found = corpus.prune((2 * one + fits) / 1e6)
    assert (found.files, found.freed > 0) == ((0, False) if fits == 0 else (1, True))
    assert sum(row.inputs for row in corpus.listing()) == left


def test_a_size_as_large_as_the_known_one_is_no_news() -> None:
    stock = kept([1, 1, 2], [2.0, 1.0, 3.0])
    assert news(kept([1, 1, 1, 2, 3], [1.0, 0.5, 2.0, 3.0, 9.0]), stock) == [1, 4]
    assert news(kept([1], [1.0], y=[1]), stock) == [0], "of another label"
    assert news(kept([1, 2], [7.0, 8.0]), None) == [0, 1]


def test_what_lies_beyond_the_bounds_gets_the_level_of_the_bound() -> None:
    x = torch.tensor([-9.0, -1.01, -1.0, 1.0, 1.01, 9.0])
    assert levels(x, (-1.0, 1.0)).tolist() == [0, 0, 0, 255, 255, 255]
    assert levels(torch.tensor([-0.004, 1.004]), (0.0, 1.0)).tolist() == [0, 255], "a level below and above"


@pytest.mark.parametrize(
    ("name", "slug"),
    [("x" * 39, "x" * 39), ("x" * 40, "x" * 40), ("x" * 41, "x" * 40), ("--A b/c--", "a-b-c"), ("", "")],
)
def test_a_folder_is_named_by_forty_plain_characters_and_a_digest(name: str, slug: str, tmp_path: Path) -> None:
    assert Corpus(tmp_path, 1).add(name, kept([1], [1.0]))
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    assert [path.name for path in tmp_path.iterdir()] == [f"{slug}-{digest}"]


@pytest.mark.parametrize(("by", "gone"), [(-1, 2), (0, 1), (1, 1)])
def test_no_more_files_go_than_have_to(by: int, gone: int, tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 10)
    for place in range(3):
        aged(tmp_path)
        corpus.add(f"test {place}", kept([1], [1.0], shape=(300,), seed=place))
    sizes = {path.stat().st_size for path in files(tmp_path)}
    assert len(sizes) == 1
    found = corpus._prune(2 * sizes.pop() + by, spared=None)
    assert (found.files, corpus.names()) == (gone, [f"test {place}" for place in range(gone, 3)])


def test_a_file_that_is_gone_by_now_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(tmp_path, 1)
    for place in range(3):
        corpus.add("a", kept([place], [1.0], seed=place))
    first, read = files(tmp_path)[0], corpus._folder.read
    monkeypatch.setattr(corpus._folder, "read", lambda path: None if path == first else read(path))
    assert len(rows(corpus.load("a"))) == 2
    assert corpus.notices == ()
