"""Geometry against Pillow, and against points whose place is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustest import rng
from robustest.shifts import corrupt
from robustest.shifts.filters import gaussian
from robustest.shifts.geometric import _from_quadrilateral

SEVERITIES = [1, 2, 3, 4, 5]
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def smooth(n: int, height: int = 64, width: int = 64) -> Tensor:
    return gaussian(torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(n)), 3.0)


def pillow(x: Tensor, matrix: tuple[float, ...]) -> Tensor:
    """An image mapped by Pillow, given the six numbers from result to source, pixels' centres at whole and a half."""
    parts = [
        Image.fromarray(c.numpy()).transform(c.shape[::-1], Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        for c in x
    ]
    return torch.from_numpy(np.stack([np.asarray(part) for part in parts]))


def about_the_centre(linear: tuple[float, ...], width: int, height: int) -> tuple[float, ...]:
    """From result to source: the linear map (a b; d e) about the middle of the image."""
    a, b, d, e = linear
    return (a, b, (width - a * width - b * height) / 2, d, e, (height - d * width - e * height) / 2)


def sides(name: str, severity: int, ways: list[tuple[float, ...]], size: tuple[int, int] = (64, 48)) -> list[int]:
    """Which of some affine maps each of 40 images underwent; away from the border, which Pillow treats otherwise."""
    x = smooth(1, *size).expand(40, -1, -1, -1)
    y = corrupt(x, name, severity)
    wanted = [pillow(x[0], about_the_centre(way, size[1], size[0])) for way in ways]
    outside = [pillow(torch.ones(1, *size), about_the_centre(way, size[1], size[0]))[0] < 1 for way in ways]
    taken = []
    for image in y:
        apart = [(image - want).abs().amax(0) for want in wanted]
        inside = [float(a[2:-2, 2:-2][~near(o)[2:-2, 2:-2]].max()) for a, o in zip(apart, outside, strict=True)]
        assert min(inside) < 2e-3
        taken.append(inside.index(min(inside)))
    return taken


def near(mask: Tensor) -> Tensor:
    return torch.nn.functional.max_pool2d(mask.float()[None], 5, 1, 2)[0] > 0


@every_severity
def test_rotation_is_by_the_stated_angle_left_or_right(severity: int) -> None:
    angle = math.radians((5, 10, 15, 20, 30)[severity - 1])
    c, s = math.cos(angle), math.sin(angle)
    assert set(sides("rotation", severity, [(c, s, -s, c), (c, -s, s, c)])) == {0, 1}


@every_severity
def test_scale_enlarges_or_shrinks(severity: int) -> None:
    factor = (1.1, 1.2, 1.35, 1.5, 1.8)[severity - 1]
    assert set(sides("scale", severity, [(factor, 0, 0, factor), (1 / factor, 0, 0, 1 / factor)])) == {0, 1}


@every_severity
def test_shear_slants_rows_or_columns_to_either_side(severity: int) -> None:
    slope = math.tan(math.radians((5, 10, 15, 22, 30)[severity - 1]))
    ways = [(1.0, slope, 0.0, 1.0), (1.0, -slope, 0.0, 1.0), (1.0, 0.0, slope, 1.0), (1.0, 0.0, -slope, 1.0)]
    assert set(sides("shear", severity, ways)) == {0, 1, 2, 3}


@every_severity
def test_translation_goes_the_stated_way_in_any_direction(severity: int) -> None:
    share = (0.04, 0.08, 0.12, 0.18, 0.25)[severity - 1]
    x = torch.zeros(60, 1, 61, 81)
    x[..., 30, 40] = 1.0
    y = corrupt(x, "translation", severity)
    rows, columns = torch.arange(61.0).view(-1, 1), torch.arange(81.0)
    down, right = ((y[:, 0] * axis).sum((1, 2)) - start for axis, start in ((rows, 30), (columns, 40)))
    assert torch.allclose(torch.hypot(down, right), torch.tensor(share * 81), atol=1e-3)
    quarter = (down > 0).long() * 2 + (right > 0).long()
    assert len(quarter.unique()) == 4


@pytest.mark.parametrize("name", ["rotation", "translation", "scale", "shear", "perspective"])
def test_what_comes_from_outside_is_black(name: str) -> None:
    y = corrupt(torch.ones(20, 1, 40, 40), name, 5)
    assert float(y.amin()) == 0
    assert float(y[..., 20, 20].min()) == pytest.approx(1, abs=1e-5)
    if name != "scale":
        assert float(y.amin((1, 2, 3)).max()) == 0


@every_severity
def test_perspective_moves_the_corners_inwards(severity: int) -> None:
    """White corners are found where the draws say, read off the image of a white picture."""
    most = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    y = corrupt(torch.ones(5, 1, 80, 60), "perspective", severity)
    inwards = rng.uniform(rng.fold(rng.keys(0, torch.arange(5)), "perspective"), (4, 2), 0.0, most) / 2
    for image, moved in zip(y, inwards, strict=True):
        corners = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]) + moved * torch.tensor(
            [[1.0, 1], [-1, 1], [-1, -1], [1, -1]]
        )
        left, top = (corners * torch.tensor([60.0, 80])).unbind(1)
        # The shoelace formula for the area that stays white.
        area = 0.5 * float((left * top.roll(-1) - left.roll(-1) * top).sum().abs())
        assert float(image.sum()) == pytest.approx(area, rel=0.01)
        for k, (column, row) in enumerate(zip(left.tolist(), top.tolist(), strict=True)):
            toward = [(1, 1), (-1, 1), (-1, -1), (1, -1)][k]
            assert float(image[0, round(row - 0.5 + 3 * toward[1]), round(column - 0.5 + 3 * toward[0])]) > 0.9


def test_the_projective_map_takes_corners_to_corners() -> None:
    corner = torch.tensor([[[0.1, 0.05], [0.9, 0.2], [0.8, 0.95], [0.0, 0.7]]])
    rows = torch.tensor([[float(part) for part in row] for row in _from_quadrilateral(corner)])
    mapped = torch.cat([corner[0], torch.ones(4, 1)], 1) @ rows.T
    assert torch.allclose(mapped[:, :2] / mapped[:, 2:], torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]), atol=1e-5)


@every_severity
def test_crops_are_windows_of_the_stated_share(severity: int) -> None:
    share = (0.95, 0.9, 0.8, 0.7, 0.55)[severity - 1]
    down = torch.linspace(0, 1, 50).view(-1, 1).expand(50, 70)
    right = torch.linspace(0, 1, 70).expand(50, 70)
    y = corrupt(torch.stack([down, right]).expand(30, -1, -1, -1), "crop", severity)
    for k, n in ((0, 50), (1, 70)):
        line = y[:, k].mean(2 - k)[:, 5:-5]  # a ramp again, and as much flatter as the window is smaller
        slope = (line[:, 1:] - line[:, :-1]).mean(1) * (n - 1)
        assert torch.allclose(slope, torch.tensor(share), atol=2e-3)
    starts = y[:, :, 0, 0]
    assert float(starts.min()) >= 0
    assert float(starts.max()) <= 1 - share + 0.01
    assert float(starts.std(0).min()) > 0.15 * (1 - share)
