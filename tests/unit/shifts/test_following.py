"""Masks follow the image: what is moved as an image of each class says the same."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from robustest import Classification, ConfigError, MultiLabel, Regression, Segmentation, Shift, rng
from robustest.shifts import as_shift, follow_targets
from robustest.shifts.registry import MOVING

TASK = Segmentation(3, ignore=255)
KEY = rng.keys(0, torch.arange(6))


def blocks() -> Tensor:
    """Masks (6, 24, 20) with a block of each of two classes."""
    y = torch.zeros(6, 24, 20, dtype=torch.int64)
    y[:, 4:12, 3:10], y[:, 14:21, 8:18] = 1, 2
    return y


@pytest.mark.parametrize("name", sorted(MOVING))
def test_a_mask_goes_where_its_image_goes(name: str) -> None:
    y = blocks()
    shift = Shift(name, 3)
    image = torch.nn.functional.one_hot(y, 3).movedim(-1, 1).float()
    seen = shift.apply(image, KEY, (0.0, 1.0))
    moved = follow_targets(TASK, shift, image, y, KEY)
    inside = moved != 255
    assert not torch.equal(moved, y)
    assert float((seen.argmax(1) == moved)[inside].float().mean()) > 0.98  # but for edges, which the image blurs
    assert float(seen.sum(1)[~inside].mean() if (~inside).any() else 0.0) < 0.5


@pytest.mark.parametrize("name", ["gaussian_noise", "fog", "jpeg_compression"])
def test_a_mask_stays_where_nothing_moves(name: str) -> None:
    y = blocks()
    assert follow_targets(TASK, Shift(name, 3), torch.rand(6, 3, 24, 20), y, KEY) is y


def test_what_is_no_place_stays() -> None:
    x, turn = torch.rand(6, 3, 24, 20), Shift("rotation", 3)
    for task in (Classification(), MultiLabel(), Regression(1.0, still=True)):
        y = torch.zeros(6, 2)
        assert follow_targets(task, turn, x, y, KEY) is y


def test_what_cannot_follow_is_refused() -> None:
    x, turn = torch.rand(6, 3, 24, 20), Shift("rotation", 3)
    with pytest.raises(ConfigError, match="ignore is None"):
        follow_targets(Segmentation(3), turn, x, blocks(), KEY)
    with pytest.raises(ConfigError, match="still=True"):
        follow_targets(Regression(1.0), turn, x, torch.zeros(6, 1), KEY)


def test_a_function_has_to_say_whether_it_moves_things() -> None:
    def mirrored(x: Tensor) -> Tensor:
        return x.flip(-1)

    x, y = torch.rand(6, 3, 24, 20), blocks()
    with pytest.raises(ConfigError, match="attribute `moves`"):
        follow_targets(TASK, Shift("mirrored", 3, mirrored), x, y, KEY)
    mirrored.moves = True  # type: ignore[attr-defined]
    assert torch.equal(follow_targets(TASK, Shift("mirrored", 3, mirrored), x, y, KEY), y.flip(-1))
    assert torch.equal(follow_targets(TASK, as_shift(partial(mirrored), None), x, y, KEY), y.flip(-1))
    mirrored.moves = False  # type: ignore[attr-defined]
    assert follow_targets(TASK, Shift("mirrored", 3, mirrored), x, y, KEY) is y


@pytest.mark.parametrize("fill", [-80.0, -40.0, 0.0], ids=str)
@pytest.mark.parametrize("shape", [(3, 24, 20), (24, 20), (1, 2, 24, 20)], ids=len)
def test_a_function_moves_masks_in_its_own_units_whatever_it_fills_with(shape: tuple[int, ...], fill: float) -> None:
    received: list[torch.Size] = []

    def moved(x: Tensor) -> Tensor:
        received.append(x.shape)
        assert float(x.min()) >= -80
        assert float(x.max()) <= 0
        return torch.cat([torch.full_like(x[..., :5], fill), x[..., :-5]], -1)

    moved.moves = True  # type: ignore[attr-defined]
    y, expected = blocks(), torch.full((6, 24, 20), 255)
    expected[..., 5:] = y[..., :-5]
    x = torch.rand(6, *shape) * 80 - 80
    assert torch.equal(follow_targets(TASK, Shift("moved", 3, moved), x, y, KEY, bounds=(-80.0, 0.0)), expected)
    assert set(received) == {x.shape}
