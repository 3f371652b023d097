"""8-bit pictures among floats: coded if and only if each value comes back to the bit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustest.data import levels

EVERY = torch.arange(256).repeat(5).float().div(255)  # (1280,), each level five times


def code(rows: Tensor) -> tuple[list[bool], Tensor]:
    codes = torch.zeros(rows.shape, dtype=torch.uint8)
    return levels.coded(rows, codes).tolist(), codes


def test_every_level_has_its_code() -> None:
    which, codes = code(torch.stack([EVERY, EVERY.flip(0)]))
    assert which == [True, True]
    assert codes[0, :256].tolist() == list(range(256))
    assert torch.equal(levels.decoded(codes[0]).view(torch.int32), EVERY.view(torch.int32))


@pytest.mark.parametrize("width", [1280, 1279, 1024])
@pytest.mark.parametrize("place", [0, 31, 700, -1])
@pytest.mark.parametrize(
    "value",
    [-0.0, math.nan, math.inf, -math.inf, 0.5, -1 / 255, 256 / 255, 511 / 255, 1e30, -1e30, 1e-30, 2**24 / 255],
)
def test_a_row_with_any_other_value_has_none(value: float, place: int, width: int) -> None:
    rows = EVERY[:width].repeat(3, 1)
    rows[1, place] = value
    assert code(rows)[0] == [True, False, True]


@given(st.integers(0, 255), st.booleans())
def test_the_next_float_to_a_level_is_none(level: int, up: bool) -> None:
    row = EVERY.clone()[None]
    row[0, 5] = torch.nextafter(torch.tensor(level / 255), torch.tensor(math.inf if up else -math.inf))
    assert code(row)[0] == [False]


def test_rows_lie_anywhere_in_memory() -> None:
    memory = torch.cat([torch.zeros(1), EVERY, EVERY])
    rows = memory[1:].view(2, -1)
    assert rows.storage_offset() == 1
    assert code(rows)[0] == [True, True]


def test_a_glance_saves_the_look() -> None:
    noise = torch.rand(2, 1280, generator=torch.Generator().manual_seed(0))
    late = EVERY.clone()
    late[-1] = 0.5
    rows = torch.stack([EVERY, noise[0], late])
    assert levels.likely(rows).tolist() == [True, False, True]
    assert levels.likely(EVERY[: levels.LEAST - 1][None]).tolist() == [False]
    assert levels.likely(torch.zeros(0, 1280)).tolist() == []
