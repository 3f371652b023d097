"""Samples are decoded once a claim, once for all claims where that is safe, and never stale."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from robustest import DataError, Linf, Result
from robustest.data import as_samples, decoded
from robustest.measure import measure_accuracy, measure_robust_accuracy

N = 100
CHECKED = 16  # samples that each claim reads twice
X = torch.rand(N, 6, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
Y = ((X - 0.5) @ WEIGHT).argmax(1)
scale = 1.0


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT)

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) @ self.weight


reads: list[int] = []


class InMemory(Dataset[Any]):
    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        log(index)
        return X[index], int(Y[index])


def log(index: int) -> None:
    reads.append(index)


log.robustest_fingerprint = lambda: "a count"  # type: ignore[attr-defined]  # no state of the data sets


class Files(Dataset[Any]):
    """One file a sample, and a change of each."""

    def __init__(self, folder: Path, change: Callable[[Tensor], Tensor] | None = None) -> None:
        self.folder, self.change, self.factor = folder, change, torch.ones(6)

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        log(index)
        x = torch.from_numpy(np.load(self.folder / f"{index}.npy"))
        return (x if self.change is None else self.change(x)) * self.factor, int(Y[index])


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process."""
    monkeypatch.setattr(decoded, "_kept", {})
    monkeypatch.setattr(decoded, "_safe", True)
    monkeypatch.setattr(decoded, "_SLOW", 0.0)
    reads.clear()
    yield
    reads.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(N):
        np.save(tmp_path / f"{index}.npy", X[index].numpy())
    return tmp_path


def claim(data: Any, **options: Any) -> Result:
    return measure_accuracy(Net(), data, exact=True, **options)


def decodes(run: Callable[[], object]) -> int:
    before = len(reads)
    run()
    return len(reads) - before


@pytest.mark.parametrize("data", [InMemory, lambda: DataLoader(InMemory())], ids=["a data set", "a loader"])
def test_each_sample_is_decoded_once_in_a_claim_and_the_first_once_more(data: Any) -> None:
    assert decodes(lambda: claim(data())) == N + CHECKED


def test_an_audit_decodes_nothing_more() -> None:
    claimed: dict[str, Any] = {"attack": "fast", "exact": True, "at_least": 0.5}
    found: list[Result] = []
    data = InMemory()
    assert decodes(lambda: found.append(measure_robust_accuracy(Net(), data, Linf(0.001), **claimed))) == N + CHECKED
    assert found[0].details["audit"]["audited"] >= 5


def test_another_model_is_measured_on_the_same_samples() -> None:
    """Its claim checks the samples once more."""
    both: dict[str, Any] = {"attack": "fgsm", "exact": True, "no_worse_than": Net()}
    assert decodes(lambda: measure_robust_accuracy(Net(), InMemory(), Linf(0.05), **both)) == N + 2 * CHECKED


def test_samples_in_memory_do_not_outlast_a_claim() -> None:
    data = InMemory()
    assert [decodes(lambda: claim(data)) for _ in range(2)] == [N + CHECKED] * 2


def test_samples_outside_of_a_claim_are_read_each_time() -> None:
    samples = as_samples(InMemory())
    assert decodes(lambda: [samples.take(torch.arange(5)) for _ in range(3)]) == 15


@pytest.mark.parametrize("again", [True, False], ids=["the same object", "an equal one"])
def test_samples_from_files_are_decoded_once_for_all_claims(folder: Path, again: bool) -> None:
    data = Files(folder)
    first = claim(data)
    more = [claim(data if again else Files(folder)) for _ in range(2)]
    assert [one.outcomes for one in more] == [first.outcomes] * 2
    assert {one.evidence.data for one in more} == {first.evidence.data}
    # Besides the check of the first samples, one of each of the batches that are recalled.
    assert len(reads) <= N + CHECKED + 2 * (CHECKED + 3)
    assert decodes(lambda: claim(data, cache=False)) == N + CHECKED


class Logged(Files):
    """Counts the reads of all processes in a file."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with open(self.folder / "log", "ab") as log:
            log.write(b".")
        return super().__getitem__(index)


def test_nor_are_they_decoded_again_by_the_workers_of_a_loader(folder: Path) -> None:
    counts, log = [], folder / "log"
    loader = DataLoader(Logged(folder), num_workers=1)
    for number in range(3):
        if number == 2:
            rewrite(folder, loader.dataset)  # type: ignore[arg-type]
        log.write_bytes(b"")
        found = claim(loader)
        counts.append(len(log.read_bytes()))
        assert found.evidence.data == claim(Files(folder), cache=False).evidence.data
    assert counts[0] == N + 2 * CHECKED
    assert counts[1] <= CHECKED + 3
    assert counts[2] >= N


def begun(worker: int) -> None:
    """Do nothing to a worker."""


def test_what_is_done_to_a_worker_is_no_part_of_a_key(folder: Path) -> None:
    loader = DataLoader(Files(folder), num_workers=1, worker_init_fn=begun)
    claim(loader)
    assert sum(len(one.samples) for one in decoded._kept.values()) <= CHECKED


def test_samples_that_are_decoded_quickly_do_not_outlast_a_claim(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a key computed, which would take longer."""
    monkeypatch.setattr(decoded, "_SLOW", 1.0)
    data = Files(folder)
    assert [decodes(lambda: claim(data)) for _ in range(2)] == [N + CHECKED] * 2


def rewrite(folder: Path, data: Files) -> None:
    for index in range(60, 70):
        path = folder / f"{index}.npy"
        status = path.stat()
        np.save(path, 1 - X[index].numpy())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same size and date


def write_state(folder: Path, data: Files) -> None:
    data.factor[0] = 0.5  # in place


def write_attribute(folder: Path, data: Files) -> None:
    data.change = lambda x: x / 2


def write_global(folder: Path, data: Files) -> None:
    global scale  # noqa: PLW0603
    scale = 0.5


def write_variable(folder: Path, data: Files) -> None:
    os.environ["SCALE"] = "0.5"


def scaled(x: Tensor) -> Tensor:
    return x * scale


def by_variable(x: Tensor) -> Tensor:
    return x * float(os.environ.get("SCALE", "1"))


def by_name(x: Tensor) -> Tensor:
    return torch.clone(x)


def patched(folder: Path, data: Files) -> None:
    vars(torch)["clone"] = lambda x: x * 0.5


@pytest.mark.parametrize(
    ("change", "act"),
    [
        (None, rewrite),
        (None, write_state),
        (None, write_attribute),
        (scaled, write_global),
        (by_variable, write_variable),
        (by_name, patched),
    ],
    ids=["files", "an array in place", "an attribute", "a global", "a variable", "a function"],
)
def test_a_sample_is_never_stale(folder: Path, monkeypatch: pytest.MonkeyPatch, change: Any, act: Any) -> None:
    monkeypatch.setenv("SCALE", "1")
    monkeypatch.setattr("torch.clone", torch.clone)
    monkeypatch.setitem(globals(), "scale", 1.0)
    data = Files(folder, change)
    before = claim(data)
    act(folder, data)
    after = claim(data)
    monkeypatch.setattr(decoded, "_kept", {})
    fresh = claim(data)
    assert (after.evidence.data, after.outcomes) == (fresh.evidence.data, fresh.outcomes)
    assert after.evidence.data != before.evidence.data


@pytest.mark.parametrize(
    "draw", [random.random, np.random.rand, lambda: torch.rand(1)], ids=["python", "numpy", "torch"]
)
def test_a_data_set_that_draws_is_read_in_each_claim(folder: Path, draw: Callable[[], object]) -> None:
    def drawn(x: Tensor) -> Tensor:
        draw()
        return x

    data = Files(folder, drawn)
    assert [decodes(lambda: claim(data)) for _ in range(2)] == [N + CHECKED] * 2


def test_a_data_set_that_changes_by_being_read_is_read_in_each_claim(folder: Path) -> None:
    data = Files(folder)
    data.change = lambda x, seen=[]: seen.append(1) or x
    assert [decodes(lambda: claim(data)) for _ in range(2)] == [N + CHECKED] * 2


class Hidden(Files):
    """Reads from a descriptor, which no stamp and no state shows."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x, y = super().__getitem__(index)
        return x * float(os.pread(self.descriptor, 1, index)), y

    descriptor = -1


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_hidden_change_is_noticed(folder: Path, everywhere: bool) -> None:
    path = folder / "factors"
    path.write_text("1" * N)
    data = Hidden(folder)
    with path.open("rb") as file:
        data.descriptor = file.fileno()
        claim(data)
        if everywhere:
            path.write_text("0" * N)
            assert claim(data).evidence.data != claim(Files(folder)).evidence.data
        else:
            first = set(reads[:CHECKED])
            path.write_text("".join("1" if index in first else "0" for index in range(N)))
            with pytest.raises(DataError, match="what it was when an earlier claim read it"):
                claim(data)
        assert decodes(lambda: claim(data)) == N + CHECKED  # nothing is recalled any more


def test_little_memory_keeps_few_samples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, size = Files(folder), 6 * 4 + 8
    expected = claim(data, cache=False)
    monkeypatch.setattr(decoded, "_MOST", 40 * size)
    reads.clear()
    assert [claim(data).outcomes for _ in range(2)] == [expected.outcomes] * 2
    kept = sum(len(one.samples) for one in decoded._kept.values())
    assert kept <= 40
    assert len(reads) >= 2 * (N + CHECKED) - kept


@pytest.mark.parametrize(("workers", "room"), [("", 25), ("2", 12), ("auto", 25)])
def test_workers_of_pytest_share_the_memory(monkeypatch: pytest.MonkeyPatch, workers: str, room: int) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", workers)
    monkeypatch.setattr(decoded, "_free_memory", lambda: 100 * (6 * 4 + 8))
    samples = as_samples(InMemory())
    with decoded.claim():
        for _ in range(2):
            samples.take(torch.arange(N))
    assert len(reads) == 2 * N - room


def test_who_writes_on_a_sample_changes_no_later_one() -> None:
    samples = as_samples(InMemory())
    with decoded.claim():
        x, y = samples.take(torch.arange(5))
        x.zero_()
        y.zero_()
        again = samples.take(torch.arange(5))
    assert torch.equal(again[0], X[:5])
    assert torch.equal(again[1], Y[:5])


def test_a_memory_of_outcomes_knows_the_files_of_recalled_samples(folder: Path) -> None:
    from robustest.identity.dependencies import Dependencies, watched

    samples = as_samples(Files(folder))
    with decoded.claim():
        samples.take(torch.arange(5))
        before = len(reads)
        with watched(by := Dependencies()):
            samples.take(torch.arange(5))
        assert len(reads) == before
    assert sum(label.endswith(".npy") for label in by.stamps) == 5
