"""Cues that can be switched on and off."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robustest import ConfigError
from robustest.cues import Cue, PixelPatch

X = torch.rand(3, 2, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("place", [(0, 0, 1, 1), (2, 3, 2, 4), (0, 0, 6, 8), (5, 7, 1, 1), (0, 4, 6, 1)], ids=str)
@pytest.mark.parametrize(("value", "off_value"), [(1.0, 0.0), (0.25, 0.5)])
def test_a_patch_covers_its_rectangle_and_nothing_else(
    place: tuple[int, int, int, int], value: float, off_value: float
) -> None:
    top, left, height, width = place
    before = X.clone()
    cue = PixelPatch(top=top, left=left, height=height, width=width, value=value, off_value=off_value)
    for got, want in ((cue.on(X), value), (cue.off(X), off_value)):
        covered = torch.zeros(6, 8, dtype=torch.bool)
        for row in range(top, top + height):
            for column in range(left, left + width):
                covered[row, column] = True
        assert bool((got[:, :, covered] == want).all())
        assert torch.equal(got[:, :, ~covered], X[:, :, ~covered])
    assert torch.equal(X, before)


def test_off_undoes_on() -> None:
    cue = PixelPatch(top=1, left=1, height=2, width=2)
    assert torch.equal(cue.off(cue.on(X)), cue.off(X))


def test_a_patch_is_a_cue_and_names_its_place() -> None:
    cue = PixelPatch(top=1, left=2, height=3, width=4)
    assert isinstance(cue, Cue)
    assert cue.name == "3x4 patch at row 1, column 2"


@pytest.mark.parametrize("name", ["top", "left", "height", "width"])
@pytest.mark.parametrize("value", [-1, 0.5, "1", None, True])
def test_places_and_sizes_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} to be a whole number"):
        PixelPatch(**{"top": 0, "left": 0, name: value})


@pytest.mark.parametrize("name", ["height", "width"])
def test_a_patch_has_a_size(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} to be a whole number >= 1"):
        PixelPatch(**{"top": 0, "left": 0, name: 0})


@pytest.mark.parametrize("name", ["value", "off_value"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, True])
def test_values_are_finite_numbers(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} to be a finite number"):
        PixelPatch(**{"top": 0, "left": 0, name: value})


@pytest.mark.parametrize(
    "place", [{"top": 6, "left": 0}, {"top": 0, "left": 8}, {"top": 5, "left": 0, "height": 2}], ids=str
)
def test_a_patch_outside_the_image_is_refused(place: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"\(3, 2, 6, 8\).*Move or shrink the patch"):
        PixelPatch(**place).on(X)


def test_a_patch_needs_images() -> None:
    with pytest.raises(ConfigError, match=r"images \(N, C, H, W\)"):
        PixelPatch(top=0, left=0).on(torch.rand(3, 5))
