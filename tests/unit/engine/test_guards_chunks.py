"""Guards of reading samples: what is refused, and by which words, before any model is asked."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import DataError, DeviceError, devices, rng
from robustest.data import decoded
from robustest.data.strings import Strings
from robustest.engine.chunks import Chunk, check_data, check_same, load, partition, read

IDS = torch.tensor([7, 3, 9])


def given(x: Tensor, y: Tensor | None = None, coding: Any = None, sample_rate: int | None = None) -> Any:
    y = torch.arange(len(x)) if y is None else y
    return SimpleNamespace(take=lambda _: (x, y), coding=coding, sample_rate=sample_rate)


def reading(x: Tensor, y: Tensor | None = None, coding: Any = None, **options: Any) -> Chunk:
    return read(given(x, y, coding), IDS, **{"bounds": (0.0, 1.0), "seed": 5, **options})


HALVES = torch.full((3, 2), 0.5)


def test_a_chunk_has_the_samples_keys_of_its_ids() -> None:
    samples = given(HALVES, coding="coding", sample_rate=16_000)
    kept: list[Any] = [(0.0, 1.0), "coding", 16_000]
    chunk = read(samples, IDS, bounds=(0.0, 1.0), seed=5)
    assert torch.equal(chunk.x, HALVES)
    assert chunk.y.tolist() == [0, 1, 2]
    assert torch.equal(chunk.key, rng.keys(5, IDS))
    assert [chunk.bounds, chunk.coding, chunk.sample_rate] == kept
    part = chunk.rows(torch.tensor([2, 0]))
    assert (part.ids.tolist(), part.y.tolist()) == ([9, 7], [2, 0])
    assert torch.equal(part.key, rng.keys(5, IDS)[[2, 0]])
    assert [part.bounds, part.coding, part.sample_rate] == kept
    taken = read(samples, IDS, bounds=(0.0, 1.0), seed=5, taken=(HALVES / 2, torch.ones(3)))
    assert (float(taken.x.max()), taken.y.tolist()) == (0.25, [1, 1, 1])


@pytest.mark.parametrize(("rows", "labels"), [(2, 3), (3, 2), (2, 2), (4, 3), (3, 4)])
def test_as_many_samples_and_labels_have_to_come_as_were_asked_for(rows: int, labels: int) -> None:
    with pytest.raises(DataError, match=f"3 samples and labels but the data gave {rows} and {labels}"):
        reading(torch.full((rows, 2), 0.5), torch.arange(labels))


def test_a_sample_has_an_axis() -> None:
    assert reading(torch.full((3, 1), 0.5)).x.shape == (3, 1)
    with pytest.raises(DataError, match="one axis or more"):
        reading(torch.full((3,), 0.5))


@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("value", "words"),
    [(math.nan, "finite inputs"), (math.inf, "finite inputs"), (1.001, "inside the bounds"), (-0.001, "inside the b")],
)
def test_a_value_that_is_no_input_is_refused_wherever_it_is(value: float, words: str, row: int, place: int) -> None:
    x = HALVES.clone()
    x[row, place] = value
    with pytest.raises(DataError, match=f"{words}.*sample {IDS[row]} "):
        reading(x)
    x[row, place] = 1.0 if value > 1 else 0.0
    assert torch.equal(reading(x).x, x)


def test_whole_numbers_are_taken_where_a_claim_does_not_move_them() -> None:
    ids = torch.tensor([[3, -1], [0, 5], [2**24 - 1, 0]])
    chunk = reading(ids, whole=True)
    assert chunk.x.dtype == torch.float32
    assert chunk.x.tolist() == ids.tolist()
    assert chunk.bounds == (-(2.0**24), 2.0**24)
    assert reading(ids, whole=True, bounds=(-1.0, 2.0**24)).bounds == (-1.0, 2.0**24)
    assert reading(HALVES, whole=True).bounds == (0.0, 1.0)
    for sign in (1, -1):
        with pytest.raises(DataError, match="below 16,777,216 but got 16,777,216"):
            reading(ids.new_tensor([[0, 0], [0, 0], [0, sign * 2**24]]), whole=True)
    with pytest.raises(DataError, match="Divide 8-bit images by 255"):
        reading(ids)
    with pytest.raises(DataError, match="texts, bytes or whole numbers"):
        reading(ids, coding=object())


@pytest.mark.parametrize(("coding", "room", "width"), [(Strings("str"), 3, 5), (Strings("str"), 0, 2), (None, 3, 2)])
def test_texts_get_room_to_grow(coding: Any, room: int, width: int) -> None:
    x = torch.tensor([[97, 98], [97, -1], [98, 98]])
    chunk = reading(x, coding=coding, whole=True, room=room)
    assert chunk.x.shape == (3, width)
    assert chunk.x[:, :2].tolist() == x.tolist()
    assert bool((chunk.x[:, 2:] == -1).all())


@pytest.mark.parametrize("arrived", [True, False])
def test_samples_that_arrive_otherwise_are_an_error(arrived: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Tensor]] = []

    def compared(here: Any, there: Any, known: Tensor | None) -> bool:
        assert known is None  # the host's own
        seen.extend([list(here), list(there)])
        return arrived

    monkeypatch.setattr(devices, "upload", lambda one, _: one + 0)
    monkeypatch.setattr(devices, "arrived", compared)
    samples, device = given(HALVES), torch.device("cpu")
    if not arrived:
        with pytest.raises(DeviceError, match="Expected cpu to have the samples that were copied there"):
            load(samples, IDS, bounds=(0.0, 1.0), seed=5, device=device)
        return
    chunk = load(samples, IDS, bounds=(0.0, 1.0), seed=5, device=device)
    assert torch.equal(chunk.x, HALVES)
    assert chunk.y.tolist() == [0, 1, 2]
    assert torch.equal(chunk.key, rng.keys(5, IDS))
    assert [len(one) for one in seen] == [3, 3]


@pytest.mark.parametrize("recalled", [True, False])
def test_samples_that_were_recalled_from_an_earlier_claim_are_read_anew(
    recalled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    forgotten: list[bool] = []

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        reads.append(len(ids))
        return torch.full((len(ids), 1), 1.0 if len(reads) == 1 else 2.0), ids

    monkeypatch.setattr(decoded, "recalled", lambda: recalled)
    monkeypatch.setattr(decoded, "forget", lambda: forgotten.append(True))
    samples: Any = SimpleNamespace(take=take)
    if recalled:
        x, y = check_data(samples, torch.arange(20))
        assert (float(x.min()), y.tolist()) == (2.0, list(range(16)))
        assert (reads, forgotten) == ([16] * 3, [True])
    else:
        with pytest.raises(DataError, match="16 of 16 changed, the first of them 0"):
            check_data(samples, torch.arange(20))
        assert (reads, forgotten) == ([16] * 2, [])


def test_two_reads_are_the_same_to_the_bit() -> None:
    x, y = torch.tensor([[1.0, math.nan], [math.inf, 0.0]]), torch.tensor([0, 1])
    ids = torch.tensor([4, 6])
    check_same((x, y), (x.clone(), y.clone()), ids)
    for row in range(2):
        other = x.clone()
        other[row, 1] = 1e-30 if row else 0.0
        with pytest.raises(DataError, match=f"1 of 2 changed, the first of them {ids[row]}"):
            check_same((x, y), (other, y), ids)
        labels = y.clone()
        labels[row] = 7
        with pytest.raises(DataError, match=f"1 of 2 changed, the first of them {ids[row]}"):
            check_same((x, y), (x, labels), ids)
    with pytest.raises(DataError, match=r"shapes \(2,\) and \(1,\)"):
        check_same((x, y), (x, y[:1]), ids)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 768, 769, 900, 4000])
def test_an_order_is_cut_by_places_alone(n: int) -> None:
    order, start = torch.arange(n).flip(0), 0
    for part in partition(order):
        size = min(512, max(64, start // 384 * 64))
        assert torch.equal(part, order[start : start + size])
        start += len(part)
    assert start == n


def test_samples_are_counted_once_however_many_of_their_values_changed() -> None:
    x, y, ids = torch.rand(3, 2, 2), torch.zeros(3, 4), torch.tensor([4, 6, 8])
    with pytest.raises(DataError, match="2 of 3 changed, the first of them 6"):
        check_same((x, y), (x + torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1), y), ids)
    with pytest.raises(DataError, match="1 of 3 changed, the first of them 8"):
        check_same((x, y), (x, y + torch.tensor([0.0, 0.0, 1.0]).view(3, 1)), ids)


def test_of_samples_outside_the_bounds_the_first_is_shown() -> None:
    x = torch.tensor([[0.5, 0.25], [-0.5, 1.5], [-7.0, 9.0]])
    with pytest.raises(DataError, match=r"bounds \[0, 1\] but sample 3 spans \[-0.5, 1.5\]"):
        reading(x)


def test_texts_have_no_room_that_was_not_asked_for() -> None:
    x = torch.tensor([[97, 98], [97, -1], [98, 98]])
    samples, device = given(x, coding=Strings("str")), torch.device("cpu")
    assert read(samples, IDS, bounds=(0.0, 1.0), seed=5, whole=True).x.shape == (3, 2)
    assert load(samples, IDS, bounds=(0.0, 1.0), seed=5, whole=True, device=device).x.shape == (3, 2)
    assert load(samples, IDS, bounds=(0.0, 1.0), seed=5, whole=True, room=1, device=device).x.shape == (3, 3)
    with pytest.raises(DataError, match="texts, bytes or whole numbers"):
        load(samples, IDS, bounds=(0.0, 1.0), seed=5, device=device)
