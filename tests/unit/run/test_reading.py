"""Samples are read one chunk ahead of the measurement, and nothing else changes by that."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from robustest import DataError, Linf, Result, Verdict, clock
from robustest.data import as_samples
from robustest.data.samples import _pieces
from robustest.engine.chunks import partition
from robustest.identity.dependencies import Dependencies, watched
from robustest.measure import measure_robust_accuracy
from robustest.run.reading import Reader

N = 200
X = torch.rand(N, 6, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
Y = ((X - 0.5) @ WEIGHT).argmax(1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT)

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) @ self.weight


class Items(Dataset[Any]):
    """The samples one by one, with the place and the thread of each read."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.threads: list[str] = []

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.reads.append(index)
        self.threads.append(threading.current_thread().name)
        return X[index], int(Y[index])

    @property
    def ahead(self) -> int:
        """The number of samples that a thread read ahead."""
        return sum(name.startswith("robustest-reader") for name in self.threads)


def claim(data: Any, **options: Any) -> Result:
    return measure_robust_accuracy(Net(), data, Linf(0.05), **{"attack": "fgsm", "exact": True, **options})


def always() -> bool:
    return True


def never() -> bool:
    return False


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("robustest-reader")]


def test_all_but_the_first_chunk_are_read_ahead_and_each_sample_once() -> None:
    items = Items()
    found = claim(items)
    assert found.outcomes == claim((X, Y)).outcomes
    assert items.ahead == N - 64
    # The first sixteen are read twice, to compare both reads.
    assert sorted(items.reads[16:]) == list(range(N))
    assert threads() == []


def test_an_early_verdict_leaves_no_thread_and_reads_at_most_a_chunk_in_vain() -> None:
    items = Items()
    found = claim(items, at_least=0.99, exact=False)
    assert found.verdict is Verdict.FAILED
    assert found.numbers.n < N
    assert len(items.reads) - 16 <= found.numbers.n + 64
    assert threads() == []


class OfOneThread(Items):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("this connection belongs to another thread")
        return super().__getitem__(index)


def test_a_data_set_that_is_bound_to_its_thread_is_read_there() -> None:
    items = OfOneThread()
    assert claim(items).outcomes == claim((X, Y)).outcomes
    assert items.ahead == 0


class Drawing(Items):
    """Draws from a global generator, and returns the same sample all the same."""

    draw = staticmethod(random.random)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        type(self).draw()
        return super().__getitem__(index)


@pytest.mark.parametrize(
    "draw", [random.random, np.random.rand, lambda: torch.rand(1)], ids=["python", "numpy", "torch"]
)
def test_a_data_set_that_draws_is_not_read_beside_a_model_that_may_draw(
    monkeypatch: pytest.MonkeyPatch, draw: Any
) -> None:
    monkeypatch.setattr(Drawing, "draw", staticmethod(draw))
    items = Drawing()
    claim(items)
    assert items.ahead == 0


def test_nor_is_any_beside_a_model_that_is_said_to_draw() -> None:
    items = Items()
    claim(items, suppress=("random_forward",))
    assert items.ahead == 0


class Random(Items):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x, y = super().__getitem__(index)
        return (x + 0.01 * torch.rand(6)).clamp(0, 1), y


def test_random_samples_are_refused_as_before() -> None:
    with pytest.raises(DataError, match="the same samples when they are read twice"):
        claim(Random())


class Broken(Items):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x, y = super().__getitem__(index)
        return (x * float("nan") if index == self.bad else x), y

    bad = -1


def test_an_error_is_raised_in_its_chunk_s_turn() -> None:
    items = Broken()
    claim(items)
    items.bad = items.reads[-1]  # in the last chunk
    with pytest.raises(DataError, match=f"sample {items.bad} has NaN"):
        claim(items)
    assert claim(items, at_least=0.99, exact=False).verdict is Verdict.FAILED  # decided before
    assert threads() == []


def test_the_clock_ends_a_claim_within_a_sample_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes with each sample that is read, and at no other time."""
    items = Items()
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: len(items.reads)))
    found = claim(items, time_budget=20.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert len(items.reads) == 21
    assert threads() == []


def test_random_states_are_as_before() -> None:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    claim(Items())
    assert torch.equal(states[0], torch.get_rng_state())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


def test_what_the_thread_reads_is_no_dependency_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("1")
    begun, on = threading.Event(), threading.Event()

    def read(ids: Tensor, _: object) -> str:
        if int(ids[0]):
            begun.set()
            on.wait(60)
        return path.read_text()

    reader, seen = Reader(read, [torch.tensor([0]), torch.tensor([1])], ahead=always), Dependencies()
    reader.take(0)
    begun.wait(60)
    with watched(seen):
        on.set()
        assert reader.take(1) == "1"
    reader.close()
    assert not any(str(path) in stamp for stamp in seen.stamps)


def test_a_place_that_is_left_out_ends_the_stream() -> None:
    """Its next samples would be those of another chunk."""

    def read(ids: Tensor, taken: Any) -> Any:
        return ids if taken is None else taken[0]

    chunks = [torch.tensor([place]) for place in range(4)]
    reader = Reader(read, chunks, ahead=always, stream=lambda of: ((ids, ids) for ids in of))
    reader.start_stream()
    assert [int(reader.take(place)) for place in (0, 2, 3)] == [0, 2, 3]
    reader.close()


# Workers of a DataLoader


class Elsewhere(Items):
    """Notes the process of each read in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        (self.folder / str(os.getpid())).touch()
        return super().__getitem__(index)


def test_the_workers_of_a_loader_read(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    items = Elsewhere(tmp_path)
    loader = DataLoader(items, batch_size=10, num_workers=2)
    assert claim(loader).outcomes == claim((X, Y)).outcomes
    assert len(list(tmp_path.iterdir())) == 3  # and this process, for the check
    assert len(items.reads) == 32
    assert torch.equal(before, torch.get_rng_state())


class OpenedAtTheFirstRead(Elsewhere):
    """Notes each process that finds a file opened by another one."""

    opened = 0

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.opened not in (0, os.getpid()):
            (self.folder / "shared").touch()
        self.opened = os.getpid()
        return super().__getitem__(index)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="spawned processes share no file")
def test_each_process_opens_what_is_opened_at_the_first_read(tmp_path: Path) -> None:
    """A file that processes share has one position: each would move that of the others."""
    loader = DataLoader(OpenedAtTheFirstRead(tmp_path), num_workers=2, multiprocessing_context="fork")
    claim(loader)
    assert len(list(tmp_path.iterdir())) == 3
    assert not (tmp_path / "shared").exists()


def test_a_worker_does_not_wait_for_the_slowest() -> None:
    """While nothing but the first chunk was taken, each has two further pieces."""
    read = multiprocessing.get_context("fork").Value("i", 0)

    class Tallied(Items):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            with read.get_lock():
                read.value += 1
            return super().__getitem__(index)

    chunks = list(partition(torch.arange(N)))
    assert [len(chunk) for chunk in chunks] == [64, 64, 64, 8]
    loader = DataLoader(Tallied(), num_workers=2, multiprocessing_context="fork")
    stream = as_samples(loader).stream
    assert stream is not None
    found = stream(chunks)
    next(found)
    end = time.monotonic() + 60
    while read.value < 3 * 64 and time.monotonic() < end:
        time.sleep(0.01)
    assert read.value == 3 * 64


@pytest.mark.parametrize(("n", "workers", "pieces"), [(64, 4, 4), (512, 4, 8), (512, 2, 8), (512, 3, 9), (8, 16, 8)])
def test_pieces_are_small_and_as_many_for_each_worker(n: int, workers: int, pieces: int) -> None:
    of = torch.arange(n).tensor_split(_pieces(n, workers))
    assert len(of) == pieces
    assert max(map(len, of)) <= 64


def shifted(items: list[Any]) -> tuple[Tensor, Tensor]:
    """A collate function of the user's, which sees a whole chunk at once."""
    return torch.stack([x for x, _ in items]) / 2 + len(items) / 1000, torch.tensor([y for _, y in items])


def test_a_collate_function_gets_the_same_batches_in_a_worker(tmp_path: Path) -> None:
    items = Elsewhere(tmp_path)
    here, there = (claim(DataLoader(items, num_workers=workers, collate_fn=shifted)) for workers in (0, 1))
    assert there.outcomes == here.outcomes
    assert there.evidence.data == here.evidence.data
    assert len(list(tmp_path.iterdir())) == 2


class OfProcess(Elsewhere):
    """Other samples in every process."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x, y = super().__getitem__(index)
        return (x if os.getpid() == self.pid else 1 - x), y

    pid = os.getpid()


def test_workers_that_read_other_samples_are_not_used(tmp_path: Path) -> None:
    items = OfProcess(tmp_path)
    assert claim(DataLoader(items, num_workers=2)).outcomes == claim((X, Y)).outcomes
    assert len(items.reads) == 16 + N


# Several items at once


class Batched(Items):
    def __getitems__(self, ids: list[int]) -> list[tuple[Tensor, int]]:
        self.reads += ids
        return [(X[index], int(Y[index])) for index in ids]


def test_items_are_read_at_once_where_the_data_set_can() -> None:
    items = Batched()
    x, y = as_samples(items).take(torch.tensor([5, 3]))
    assert (items.reads, items.threads) == ([5, 3], [])
    assert torch.equal(x, X[[5, 3]])
    assert torch.equal(y, Y[[5, 3]])


class Inverted(Batched):
    """Its items are changed, and the `__getitems__` that it inherits knows nothing of it."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return 1 - X[index], int(Y[index])


def test_items_of_a_subclass_are_its_own() -> None:
    assert torch.equal(as_samples(Inverted()).take(torch.tensor([8]))[0], 1 - X[[8]])
    assert torch.equal(as_samples(Subset(Items(), [7, 8])).take(torch.tensor([1]))[0], X[[8]])


# The reader alone


class Reads:
    """Reads chunks of positions; it notes the place, the thread and what was taken from a stream."""

    def __init__(self, fails: set[str] | None = None) -> None:
        self.fails = set() if fails is None else fails
        self.log: list[tuple[int, str, Any]] = []

    def __call__(self, ids: torch.Tensor, taken: Any) -> list[int]:
        thread = "ahead" if threading.current_thread().name.startswith("robustest-reader") else "here"
        self.log.append((int(ids[0]), thread, taken))
        if f"{int(ids[0])} {thread}" in self.fails or f"{int(ids[0])} {taken}" in self.fails:
            raise ZeroDivisionError
        return [int(one) for one in ids]


def parts(n: int) -> list[torch.Tensor]:
    return [torch.tensor([place]) for place in range(n)]


def places(reads: Reads) -> list[tuple[int, str]]:
    return [(place, thread) for place, thread, _ in reads.log]


@pytest.mark.parametrize(("n", "ahead", "begun"), [(4, True, 3), (4, False, 0), (2, True, 1), (1, True, 0)])
def test_each_chunk_but_the_first_is_read_ahead_once(n: int, ahead: bool, begun: int) -> None:
    reads = Reads()
    with closing(Reader(reads, parts(n), ahead=lambda: ahead)) as reader:
        assert [reader.take(place) for place in range(n)] == [[place] for place in range(n)]
        assert reader._next is None, "nothing comes after the last"
    assert sorted(place for place, _ in places(reads)) == list(range(n))
    assert sum(thread == "ahead" for _, thread in places(reads)) == begun
    assert places(reads)[0] == (0, "here")


def test_what_cannot_be_read_ahead_is_read_here_and_so_is_all_after_it() -> None:
    reads = Reads({"2 ahead"})
    with closing(Reader(reads, parts(5), ahead=always)) as reader:
        assert [reader.take(place) for place in range(5)] == [[place] for place in range(5)]
    assert [one for one in places(reads) if one[0] != 2] == [(0, "here"), (1, "ahead"), (3, "here"), (4, "here")]
    assert [thread for place, thread in places(reads) if place == 2] == ["ahead", "here"]
    broken = Reads({"2 ahead", "2 here"})
    with closing(Reader(broken, parts(5), ahead=always)) as reader:
        assert [reader.take(place) for place in range(2)] == [[0], [1]]
        with pytest.raises(ZeroDivisionError):
            reader.take(2)


def test_a_chunk_that_is_asked_for_out_of_turn_is_read_here() -> None:
    reads = Reads()
    with closing(Reader(reads, parts(5), ahead=always)) as reader:
        assert [reader.take(place) for place in (0, 3, 4)] == [[0], [3], [4]]
    assert [thread for place, thread in places(reads) if place == 3] == ["here"]
    assert [thread for place, thread in places(reads) if place == 4] == ["ahead"]


def test_chunks_of_a_stream_are_those_of_their_places() -> None:
    asked: list[Any] = []

    def stream(chunks: Sequence[torch.Tensor]) -> Iterator[Any]:
        asked.append(len(chunks))
        return iter(["s0", "s1", "s2", "s3"])

    reads = Reads()
    with closing(Reader(reads, parts(4), ahead=always, stream=stream)) as reader:
        reader.start_stream()
        assert [reader.take(place) for place in range(4)] == [[place] for place in range(4)]
    assert [taken for _, _, taken in reads.log] == ["s0", "s1", "s2", "s3"]
    assert asked == [4], "once"
    for ahead, n in ((never, 4), (always, 1)):
        plain = Reads()
        with closing(Reader(plain, parts(n), ahead=ahead, stream=stream)) as reader:
            reader.start_stream()
            assert [reader.take(place) for place in range(n)] == [[place] for place in range(n)]
        assert {taken for _, _, taken in plain.log} == {None}
    assert asked == [4, 4], "that one may not read ahead shows only when its first samples were read"


def test_a_stream_that_fails_is_given_up_and_its_samples_are_read() -> None:
    def unable(chunks: Sequence[torch.Tensor]) -> Iterator[Any]:
        raise OSError

    reads = Reads()
    with closing(Reader(reads, parts(3), ahead=always, stream=unable)) as reader:
        reader.start_stream()
        assert [reader.take(place) for place in range(3)] == [[0], [1], [2]]
    assert {taken for _, _, taken in reads.log} == {None}
    wrong = Reads({"0 s0"})
    with closing(Reader(wrong, parts(3), ahead=always, stream=lambda _: iter(["s0", "s1", "s2"]))) as reader:
        reader.start_stream()
        assert [reader.take(place) for place in range(3)] == [[0], [1], [2]]
    assert wrong.log[0] == (0, "here", "s0")
    assert wrong.log[1:] == [(0, "here", None), (1, "here", None), (2, "here", None)]


def test_a_closed_reader_has_no_thread_and_no_stream() -> None:
    reads = Reads()
    reader = Reader(reads, parts(9), ahead=always, stream=lambda _: iter("abcdefghi"))
    reader.start_stream()
    reader.take(0)
    reader.close()
    assert (reader._thread, reader._stream, reader._next) == (None, None, None)
    assert reader._stop.is_set()
    assert not [one for one in threading.enumerate() if one.name.startswith("robustest-reader")]
    assert len(reads.log) <= 2
