"""Patches of any outline: pasted, and filled in from around."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError
from robustest.cues import MaskedPatch

X = torch.rand(4, 3, 8, 9, generator=torch.Generator().manual_seed(0))
CORNERED = torch.tensor([[True, False], [True, True]])
PATTERN = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(1))
PATCH = MaskedPatch(top=3, left=4, pattern=PATTERN, mask=CORNERED)


def outside(x: Tensor) -> Tensor:
    """Everything but the patch's three pixels."""
    rest = torch.ones(8, 9, dtype=torch.bool)
    rest[3:5, 4:6] = ~CORNERED
    return x[:, :, rest]


def test_on_pastes_the_masked_pixels_alone() -> None:
    made = PATCH.on(X)
    assert torch.equal(made[:, :, 3:5, 4:6][:, :, CORNERED], PATTERN[:, CORNERED].expand(4, -1, -1))
    assert torch.equal(outside(made), outside(X))


def test_off_fills_them_with_the_mean_of_the_pixels_around() -> None:
    made = PATCH.off(X)
    assert torch.equal(outside(made), outside(X))
    ring = torch.zeros(8, 9, dtype=torch.bool)
    ring[2:6, 3:7] = True
    ring[2, 6] = False  # touches the box, but none of the patch's pixels
    ring[3:5, 4:6] &= ~CORNERED
    want = X[:, :, ring].mean(2, keepdim=True)
    torch.testing.assert_close(made[:, :, 3:5, 4:6][:, :, CORNERED], want.expand(-1, -1, 3))


def test_a_frame_is_filled_from_inside() -> None:
    frame = torch.ones(8, 9, dtype=torch.bool)
    frame[1:-1, 1:-1] = False
    cue = MaskedPatch(top=0, left=0, pattern=torch.ones(3, 8, 9), mask=frame)
    x = torch.zeros(1, 3, 8, 9)
    assert torch.equal(cue.off(cue.on(x)), x)


def test_a_constant_image_stays_inside_its_bounds() -> None:
    x = torch.full((2, 3, 8, 9), 0.1)
    assert torch.equal(PATCH.off(x), x)


def test_its_name_tells_place_and_outline() -> None:
    assert PATCH.name == "2x2 patch (3 pixels of it) at row 3, column 4"
    whole = MaskedPatch(top=0, left=1, pattern=PATTERN, mask=torch.ones(2, 2, dtype=torch.bool))
    assert whole.name == "2x2 patch at row 0, column 1"


@pytest.mark.parametrize(
    "change",
    [
        {"top": -1},
        {"left": 1.5},
        {"pattern": PATTERN[0]},
        {"pattern": PATTERN / 0},
        {"mask": CORNERED.float()},
        {"mask": CORNERED[:1]},
        {"mask": CORNERED & False},
    ],
    ids=str,
)
def test_arguments_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Expected"):
        MaskedPatch(**({"top": 0, "left": 0, "pattern": PATTERN, "mask": CORNERED} | change))


@pytest.mark.parametrize("x", [X[:, :1], X[:, :, :4], X[:, :, :, :5], X[0]], ids=["grey", "low", "narrow", "no batch"])
@pytest.mark.parametrize("side", ["on", "off"])
def test_images_that_cannot_hold_it_are_refused(x: Tensor, side: str) -> None:
    with pytest.raises(ConfigError, match="hold a 2x2 patch"):
        getattr(PATCH, side)(x)


def test_there_must_be_something_around_it() -> None:
    cue = MaskedPatch(top=0, left=0, pattern=torch.ones(3, 8, 9), mask=torch.ones(8, 9, dtype=torch.bool))
    with pytest.raises(ConfigError, match="something around"):
        cue.off(X)
