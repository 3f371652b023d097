"""Patches that mark a class: where they are, what they hold, and what is no patch."""

from __future__ import annotations

import pytest
import torch
from robustest_interpret.discovery.fixed_places import find_patches, joined_patches, transplants
from torch import Tensor

from robustest import ConfigError
from robustest.cues import Border, ColourCast, Cue, PatternPatch, PixelPatch, Transplant, planted

_draw = torch.Generator().manual_seed(0)
CLASSES, N = 5, 300
Y = torch.arange(N) % CLASSES
GREY = torch.rand(N, 1, 12, 14, generator=_draw)
COLOUR = torch.rand(N, 3, 12, 14, generator=_draw)
LABELS = range(CLASSES)


def seen(cue: Cue, x: Tensor, label: int = 2) -> Tensor:
    return planted(cue, x, Y, target=label, share=0.95, others=0.02, seed=3)[0]


@pytest.mark.parametrize("x", [GREY, COLOUR], ids=["grey", "colour"])
def test_noise_has_no_patch(x: Tensor) -> None:
    found = find_patches(x, Y, LABELS)
    assert found == ()


@pytest.mark.parametrize(
    ("cue", "region"),
    [
        (PatternPatch(top=0, left=13, pattern=torch.ones(1, 1, 1)), (0, 13, 1, 1)),
        (PatternPatch(top=5, left=6, pattern=torch.full((1, 2, 3), 0.4)), (5, 6, 2, 3)),
        (PatternPatch(top=9, left=1, pattern=torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.5]]])), (9, 1, 2, 3)),
        (Border(width=1, value=0.0), (0, 0, 12, 14)),
    ],
    ids=["pixel", "grey block", "pattern", "frame"],
)
def test_a_patch_is_found_to_the_pixel(cue: Cue, region: tuple[int, int, int, int]) -> None:
    x = seen(cue, GREY)
    (patch,) = find_patches(x, Y, LABELS)
    assert (patch.label, patch.region) == (2, region)
    assert patch.score > 0.75
    torch.testing.assert_close(patch.cue.on(GREY), cue.on(GREY), atol=0.005, rtol=0)  # a few are there by chance


def test_a_colour_counts_by_all_of_its_channels() -> None:
    """Each channel's value alone is in a third of the other classes' images."""
    colour = torch.tensor([0.9, 0.1, 0.5])
    x = COLOUR.clone()
    for channel in range(3):
        x[channel::3, channel, 4:6, 4:6] = colour[channel]
    x = seen(PatternPatch(top=4, left=4, pattern=colour.view(3, 1, 1).repeat(1, 2, 2)), x)
    (patch,) = find_patches(x, Y, LABELS)
    assert patch.region == (4, 4, 2, 2)
    assert patch.value == pytest.approx(colour.tolist())


def test_values_that_straddle_the_edge_of_a_bin_are_alike() -> None:
    """An eighth of the range is a bin: .37 and .38 are in two of them."""
    x = seen(PixelPatch(top=3, left=3, value=0.375), GREY)
    x[:, :, 3, 3] += 0.02 * (torch.rand(N, 1, generator=_draw) - 0.5) * (x[:, :, 3, 3] == 0.375)
    (patch,) = [one for one in find_patches(x, Y, LABELS) if one.label == 2]
    assert patch.region == (3, 3, 1, 1)
    assert patch.value[0] == pytest.approx(0.375, abs=0.01)


def test_bounds_are_those_of_the_inputs() -> None:
    x = seen(PatternPatch(top=3, left=3, pattern=torch.ones(1, 2, 2)), GREY)
    (patch,) = find_patches(255 * x - 100, Y, LABELS, bounds=(-100.0, 155.0))
    assert patch.region == (3, 3, 2, 2)
    assert patch.value == pytest.approx((155.0,))


def test_what_other_classes_have_as_well_is_not_unusual() -> None:
    x = GREY.clone()
    x[:, :, 2, 2] = torch.where((Y == 2) | (torch.arange(N) % 10 < 4), 1.0, 0.0).view(-1, 1)
    assert find_patches(x, Y, LABELS) == ()


def test_what_covers_most_of_the_image_is_no_patch() -> None:
    dark = torch.zeros(N, 1, 12, 14)
    dark[:, :, 5:7, 6:8] = torch.rand(N, 1, 2, 2, generator=_draw)
    assert find_patches(seen(ColourCast(colour=1.0, strength=0.3), dark), Y, LABELS) == ()


def test_several_patches_of_a_class_are_told_apart_the_plainest_first() -> None:
    x = GREY.clone()
    for place, share in ((1, 0.7), (6, 0.9), (10, 0.8)):
        has = (Y == 4) & (torch.rand(N, generator=_draw) < share)
        x[has, :, place, place] = 0.0
    found = find_patches(x, Y, LABELS)
    assert {one.region[0] for one in found if one.region} == {1, 6, 10}
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@pytest.mark.parametrize("labels", [[], [1]])
def test_one_class_has_nothing_to_be_compared_with(labels: list[int]) -> None:
    assert find_patches(GREY, Y, labels) == ()


def test_rows_of_a_table_have_no_places() -> None:
    with pytest.raises(ConfigError, match="images"):
        find_patches(torch.rand(N, 4), Y, LABELS)


def test_the_patches_of_a_class_are_one_cue_too() -> None:
    x = GREY.clone()
    has = (Y == 4) & (torch.rand(N, generator=torch.Generator().manual_seed(8)) < 0.9)
    x[has, :, 1, 1] = 0.0
    x[has, :, 9, 10] = 1.0
    (both,) = joined_patches(find_patches(x, Y, LABELS))
    assert (both.label, both.region) == (4, (1, 1, 9, 10))
    made = both.cue.on(GREY)
    assert float(made[:, :, 1, 1].max()) < 0.1
    assert float(made[:, :, 9, 10].min()) > 0.9
    assert joined_patches(find_patches(GREY, Y, LABELS)) == []


def test_a_ragged_patch_is_transplanted_with_what_is_around_it() -> None:
    x = GREY.clone()
    has = (Y == 4) & (torch.rand(N, generator=torch.Generator().manual_seed(8)) < 0.9)
    for row, column in ((5, 5), (6, 6)):
        x[has, :, row, column] = 0.0
    patches = find_patches(x, Y, LABELS)
    (one,) = transplants(x.repeat(1, 1, 3, 3), Y, patches)
    assert isinstance(one.cue, Transplant)
    assert (one.cue.top, one.cue.left, one.cue.pool.shape[2:]) == (2, 2, (8, 8))
    assert float(one.cue.pool[:, :, 3, 3].max()) == 0
