"""The one look at samples: digests, range, and what is collected for a device; and how often it reads their bytes."""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
import torch
from second_device import FAR, far_device
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Subset, TensorDataset

from robustest import DataError, ModelError, devices
from robustest.data import as_samples, levels
from robustest.engine import chunks, inspection
from robustest.engine.chunks import Chunk
from robustest.engine.inspection import Inspection, marks_of, rows_of_block
from robustest.measure import measure_accuracy

N, SHAPE = 9, (3, 128, 128)
CPU = torch.device("cpu")


def pictures(n: int = N, seed: int = 0) -> Tensor:
    """(n, *SHAPE) of 8-bit pictures; a block holds two of them."""
    made = torch.randint(0, 256, (n, *SHAPE), generator=torch.Generator().manual_seed(seed))
    return made.float().div(255)


def noise(n: int = N) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))


def looked(x: Tensor, *, device: torch.device | None = None, part: int = 4) -> Inspection:
    y, look = torch.arange(len(x)), Inspection(torch.arange(len(x)), (0.0, 1.0), marked=True, device=device)
    for start in range(0, len(x), part):
        look.look(x[start : start + part], y[start : start + part])
    return look


def test_blocks_hold_several_rows_here() -> None:
    assert rows_of_block(pictures(1)[0]) == 2


# Digests


def test_a_digest_is_that_of_type_shape_and_bytes() -> None:
    x, y = noise(2), torch.tensor([3, 4])
    header = f"<f4 {SHAPE} <i8 ".encode()
    for mark, image, label in zip(marks_of(x, y), x, y, strict=True):
        whole = header + image.numpy().tobytes()
        assert mark == sha256(whole + label.numpy().tobytes()).digest() + sha256(whole).digest()[:16]
    image = pictures(1)
    whole = b"8-bit " + header + image.mul(255).round().byte().numpy().tobytes()
    assert marks_of(image, y[:1]) == [sha256(whole + y[:1].numpy().tobytes()).digest() + sha256(whole).digest()[:16]]


def test_a_digest_does_not_depend_on_the_other_samples_of_its_block() -> None:
    x, y = torch.cat([pictures(3), noise(2), pictures(3, seed=5)]), torch.arange(8)
    alone = [marks_of(x[at : at + 1], y[at : at + 1])[0] for at in range(8)]
    assert marks_of(x, y) == alone
    assert looked(x).marks == alone
    assert len(set(alone)) == 8


@pytest.mark.parametrize("make", [pictures, noise])
@pytest.mark.parametrize("place", [0, 777, -1])
def test_the_smallest_change_is_another_digest(make: Any, place: int) -> None:
    x, y = make(1), torch.tensor([0])
    marks = marks_of(x, y)
    for change in (lambda v: torch.nextafter(v, torch.tensor(2.0)), lambda v: 1 - v):
        other = x.clone()
        other.view(-1)[place] = change(other.view(-1)[place])
        assert marks_of(other, y)[0][32:] != marks[0][32:]
    zero, minus = torch.zeros(1, *SHAPE), torch.zeros(1, *SHAPE)
    minus.view(-1)[place] = -0.0
    assert marks_of(zero, y) != marks_of(minus, y)


def test_a_target_a_shape_and_a_rate_belong_to_the_digest() -> None:
    x, y = pictures(1), torch.tensor([0])
    kept = marks_of(x, y)[0]
    other = marks_of(x, y + 1)[0]
    assert (other[32:], other[:32] == kept[:32]) == (kept[32:], False)
    assert marks_of(x.flatten(2), y)[0][32:] != kept[32:]
    assert marks_of(x, y, about="8000 Hz ")[0][32:] != kept[32:]


# Range


@pytest.mark.parametrize("rest", [pictures, noise])
@pytest.mark.parametrize("row", range(0, N, 4))
@pytest.mark.parametrize(
    ("value", "words"),
    [(math.nan, "finite"), (math.inf, "finite"), (-math.inf, "finite"), (1.001, "spans"), (-1e-6, "spans")],
)
def test_no_value_passes_unseen(rest: Any, value: float, words: str, row: int) -> None:
    for place in (0, 999, -1):
        x = rest()
        x[row].view(-1)[place] = value
        with pytest.raises(DataError, match=f"sample {row} .*{words}" if words == "spans" else f"sample {row} has NaN"):
            looked(x)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_infinite_bounds_have_no_infinite_sample(value: float) -> None:
    x = noise()
    x[3].view(-1)[7] = value
    look = Inspection(torch.arange(N), (-math.inf, math.inf), marked=True)
    with pytest.raises(DataError, match="sample 3 has NaN or infinite"):
        look.look(x, torch.zeros(N, dtype=torch.int64))


def test_levels_are_looked_at_inside_narrow_bounds() -> None:
    look = Inspection(torch.arange(1), (0.0, 0.5), marked=True)
    with pytest.raises(DataError, match="inside the bounds"):
        look.look(pictures(1), torch.tensor([0]))


# What a device gets


@pytest.mark.parametrize("part", [1, 2, 4, N])
@pytest.mark.parametrize("first_floats", range(0, N + 1, 3))
def test_what_is_collected_are_the_samples(first_floats: int, part: int) -> None:
    x = torch.cat([pictures(first_floats), noise(N - first_floats)])
    if first_floats == 3:
        x[5] = pictures(1)[0]  # a picture behind floats
    found = looked(x, device=CPU, part=part).collected()
    assert found.dtype == (torch.uint8 if first_floats == N else torch.float32)
    there = levels.decoded(found) if found.dtype is torch.uint8 else found
    assert torch.equal(there.view(torch.int32), x.view(torch.int32))


@pytest.mark.parametrize("shape", [(5,), (1024,), (7, 3), (3, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8, torch.bool])
def test_a_checksum_of_rows_is_that_of_all_their_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    rows = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0)).mul(200).to(dtype)
    before = devices.row_sums(rows)
    assert (before.shape, before.dtype) == ((4,), torch.int64)
    for place in (0, -1):
        other = rows.clone()
        other[2].view(-1)[place] = 0 if rows[2].view(-1)[place] else 1
        changed = devices.row_sums(other) != before
        assert changed.tolist() == [False, False, True, False]


# Counts: passes over the bytes, copies, digests


class Passes(TorchDispatchMode):
    """Counts the bytes that operations read, and those that copies write, in units of the samples' own."""

    views = frozenset(
        {"view", "select", "slice", "detach", "alias", "t", "as_strided", "split", "expand", "unsqueeze", "lift_fresh"}
    )

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.read, self.clones = size, 0, 0
        self.by_name = Counter[str]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        large = [one.numel() * one.element_size() for one in args if isinstance(one, Tensor)]
        if name == "copy_":
            large = large[1:]
        if name == "index_select":  # reads as much as it writes
            large = [kwargs["out"].numel() * kwargs["out"].element_size()]
        if name not in self.views:
            self.read += sum(large)
            self.by_name[name] += sum(large)
        if name in ("clone", "cat", "index"):
            self.clones += sum(large)
        return function(*args, **kwargs or {})


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of bytes that were digested, one for each update with more than a header."""
    sizes: list[int] = []

    class Counted:
        def __init__(self, start: bytes | Any) -> None:
            self.inner = sha256(start) if isinstance(start, bytes) else start

        def copy(self) -> Counted:
            return Counted(self.inner.copy())

        def update(self, content: Any) -> None:
            sizes.append(memoryview(content).nbytes)
            self.inner.update(content)

        def digest(self) -> bytes:
            return self.inner.digest()

    monkeypatch.setattr(inspection, "sha256", Counted)
    return sizes


@pytest.mark.parametrize(
    ("make", "most", "digested"),
    # Gathered, and: least and largest value; or coded: 255 x + 1/2, int, byte and back, divided. NumPy compares.
    [(noise, 2.1, 4), (pictures, 5.4, 1)],
)
def test_bytes_are_read_few_times(make: Any, most: float, digested: int, hashed: list[int]) -> None:
    x, y = make(64), torch.zeros(64, dtype=torch.int64)
    samples, size = as_samples((x, y)), x.numel() * 4
    with Passes(size) as counted:
        chunk = chunks.read(samples, torch.arange(64).flip(0), bounds=(0.0, 1.0), seed=0, marked=True)
    assert counted.read / size < most, {name: read / size for name, read in counted.by_name.items()}
    assert counted.clones / size < 0.01
    # One digest a sample, of its bytes, and its target's 8 bytes.
    assert sorted(hashed) == [8] * 64 + [x[0].numel() * digested] * 64
    assert chunk.marks == marks_of(x.flip(0), y)


@pytest.mark.parametrize(
    ("make", "most"),
    # As above, but for the gathering: least and largest value, copied for the device, summed; or coded, and summed as
    # bytes.
    [(noise, 3.1), (pictures, 4.6)],
)
def test_large_samples_in_memory_are_looked_at_where_they_lie(make: Any, most: float, hashed: list[int]) -> None:
    x = make(48).view(8, -1)  # of rows that fill a block each
    x, y = x.view(8, 3, -1, 2), torch.arange(8)
    assert rows_of_block(x[0]) == 1
    samples, size, order = as_samples((x, y)), x.numel() * 4, torch.arange(8).flip(0)
    with far_device(), Passes(size) as counted:
        chunk = chunks.read(samples, order, bounds=(0.0, 1.0), seed=0, marked=True, device=FAR)
    assert counted.by_name["index_select"] == 0
    assert counted.read / size < most, {name: read / size for name, read in counted.by_name.items()}
    assert len([one for one in hashed if one > 8]) == 8
    assert torch.equal(chunk.floats(), x.flip(0))
    assert chunk.y.tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert chunk.marks == marks_of(x.flip(0), y.flip(0))
    x.zero_()
    assert chunk.floats().flatten(1).any(1).all(), "what was read stays though the data change"


@pytest.mark.parametrize(
    "other",
    [
        lambda x, y: (x.double(), y),  # converted as it is copied
        lambda x, y: Subset(TensorDataset(x, y), range(len(x))),
    ],
    ids=["double", "items"],
)
def test_other_samples_are_looked_at_in_copies(other: Any) -> None:
    x, y = pictures(48).view(8, 3, -1, 2), torch.arange(8)
    samples = as_samples(other(x, y))
    assert samples.memory is None
    with far_device():
        chunk = chunks.read(samples, torch.arange(8), bounds=(0.0, 1.0), seed=0, device=FAR)
    assert torch.equal(chunk.floats(), x)


def test_labels_that_take_the_place_of_others_are_those_that_are_read() -> None:
    x, y = pictures(48).view(8, 3, -1, 2), torch.arange(8)
    inner = as_samples((x, y))
    samples = replace(inner, take=lambda ids: (inner.take(ids)[0], 10 + ids))
    with far_device():
        chunk = chunks.read(samples, torch.arange(8), bounds=(0.0, 1.0), seed=0, device=FAR)
    assert chunk.y.tolist() == list(range(10, 18))


def test_a_claim_digests_each_sample_once_in_the_thread_that_reads(
    hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    real = Inspection.look

    def look(own: Inspection, x: Tensor, y: Tensor) -> None:
        threads.append(threading.current_thread().name)
        real(own, x, y)

    monkeypatch.setattr(Inspection, "look", look)
    x, y = pictures(256), torch.zeros(256, dtype=torch.int64)
    measure_accuracy(lambda x: x[:, 0, 0, :2], (x, y), exact=True, device="cpu")
    assert len([size for size in hashed if size > 8]) == 256
    assert [name.startswith("robustest-reader") for name in threads] == [False, True, True, True]
    threads.clear()
    measure_accuracy(lambda x: x[:, :2], (x.flatten(1)[:, :10], y), exact=True, device="cpu")  # no work for a thread
    assert not any(name.startswith("robustest-reader") for name in threads)


def test_no_sample_is_cloned_but_for_the_first_pass() -> None:
    model, y = nn.Sequential(nn.Flatten(), nn.Linear(3 * 128 * 128, 2)).eval(), torch.zeros(256, dtype=torch.int64)
    clones = []
    for n in (64, 256):
        x = pictures(n)
        with Passes(1) as counted:
            measure_accuracy(model, (x, y[:n]), exact=True, device="cpu")
        clones.append(counted.clones)
    # Answers and exhibits are small; chunks beyond the first are not copied.
    assert clones[1] - clones[0] < 10 * x[0].numel() * 4


# A model that writes on its input


class Writing(nn.Module):
    """Writes on its input in its `at`-th pass and all later ones."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.passes = at, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        out = x.flatten(1)[:, :2].clone()
        if self.passes >= self.at:
            x.mul_(0)
        return out


def test_a_model_that_writes_from_its_first_pass_gets_clones() -> None:
    x = pictures(128)
    before, y = x.clone(), x.flatten(1)[:, :2].argmax(1)
    found = measure_accuracy(Writing(1), (x, y), exact=True, device="cpu")
    assert found.estimate == 1
    assert torch.equal(x, before)


@pytest.mark.parametrize("at", [2, 5, 7])
def test_a_model_that_begins_to_write_later_is_an_error(at: int) -> None:
    x = pictures(128)
    with pytest.raises(ModelError, match="leaves its input as it is"):
        measure_accuracy(Writing(at), (x, x.flatten(1)[:, :2].argmax(1)), exact=True, device="cpu")


# Data that change


def test_tensors_that_change_between_two_reads_are_noticed() -> None:
    x, y = pictures(16), torch.zeros(16, dtype=torch.int64)
    samples = as_samples((x, y))

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        x[3] = x[3].roll(1)
        return samples.take(ids)

    with pytest.raises(DataError, match="1 of 16 changed, the first of them 3"):
        chunks.check_data(replace(samples, take=take), torch.arange(16))


def test_what_was_read_stays_though_the_data_change() -> None:
    x, y = pictures(16), torch.zeros(16, dtype=torch.int64)
    before, chunk = x.clone(), chunks.read(as_samples((x, y)), torch.arange(16), bounds=(0.0, 1.0), seed=0, marked=True)
    x.zero_()
    assert torch.equal(chunk.x, before)
    assert chunk.marks == marks_of(before, y)


def test_a_chunk_on_its_way_has_its_floats() -> None:
    codes = torch.tensor([[0, 51], [255, 1]], dtype=torch.uint8)
    way = Chunk(torch.arange(2), codes, torch.zeros(2), torch.zeros(2), (0.0, 1.0))
    assert torch.equal(way.floats(), codes / 255)
