"""Numbers of patches and poses beside slow code: ranges, draws, places, and pixels read by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import ConfigError, Patch, Spatial, rng
from robustest.threats import Threat

BOUNDS = (-1.0, 2.0)
KEY = rng.keys(3, torch.arange(4))


def images(*shape: int) -> Tensor:
    return 3 * torch.rand(*shape, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize(
    ("patch", "rows", "columns"),
    [
        (Patch(2, 3), (0, 3), (0, 4)),
        (Patch(2, 3, top=1), (1, 1), (0, 4)),
        (Patch(2, 3, left=4), (0, 3), (4, 4)),
        (Patch(2, 3, top=3, left=0), (3, 3), (0, 0)),
        (Patch(5, 7), (0, 0), (0, 0)),
        (Patch(0, 0), (0, 5), (0, 7)),
    ],
    ids=str,
)
def test_a_patch_has_a_range_of_contents_and_of_places(
    patch: Patch, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    x = images(4, 2, 5, 7)
    region = patch.region(x, BOUNDS)
    elements = 2 * patch.height * patch.width
    assert region["low"].tolist() == [[-1.0] * elements + [rows[0], columns[0]]] * 4
    assert region["high"].tolist() == [[2.0] * elements + [rows[1], columns[1]]] * 4
    assert region["span"].tolist() == patch.stride(region).tolist() == [3.0] * 4
    assert patch.radius == 1.0
    # It begins in the middle of its range, as what is there, and ties go to the even place.
    middle = [round(sum(ends) / 2) for ends in (rows, columns)]
    origin = patch.origin(region)
    assert origin[:, -2:].tolist() == [middle] * 4
    assert torch.equal(patch.render(origin, region), x)
    assert patch.size(origin, region).tolist() == [0.0] * 4
    # Contents are drawn between the bounds, and places as whole numbers, both ends included.
    share = rng.uniform(rng.fold(KEY, "content"), (elements,))
    room = torch.tensor([[b - a + 1 for a, b in (rows, columns)]] * 4)
    corner = rng.integers(rng.fold(KEY, "place"), (2,), room) + torch.tensor([rows[0], columns[0]])
    started = patch.start(region, KEY)
    assert torch.allclose(started[:, :-2], -1 + 3 * share)
    assert started[:, -2:].tolist() == corner.tolist()


def test_a_patch_is_laid_on_channel_by_channel_at_the_nearest_place() -> None:
    x = images(3, 2, 4, 5)
    patch = Patch(2, 3)
    region = patch.region(x, BOUNDS)
    content = torch.arange(12.0) / 10
    z = torch.cat([content.expand(3, -1), torch.tensor([[0.4, 1.6], [1.5, 0.0], [2.0, 0.51]])], 1)
    expected = x.clone()
    for row, (top, left) in enumerate(((0, 2), (2, 0), (2, 1))):
        for channel in range(2):
            for i in range(2):
                for j in range(3):
                    expected[row, channel, top + i, left + j] = content[channel * 6 + i * 3 + j]
    assert torch.equal(patch.render(z, region), expected)
    assert patch.size(z, region).tolist() == [1.0] * 3
    one = z.clone()
    one[:, :-2] = patch.placed(z[:, -2:].round(), region)[:, :-2]
    assert patch.size(one, region).tolist() == [0.0] * 3
    one[1, 3] += 1e-3
    assert patch.size(one, region).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(("patch", "fits"), [
    (Patch(4, 5), True), (Patch(5, 5), False), (Patch(4, 6), False), (Patch(2, 3, top=2, left=2), True),
    (Patch(2, 3, top=3), False), (Patch(2, 3, left=3), False), (Patch(0, 0, top=4, left=5), True),
])  # fmt: skip
def test_a_patch_may_touch_the_edge(patch: Patch, fits: bool) -> None:
    if fits:
        patch.region(images(1, 1, 4, 5), BOUNDS)
    else:
        with pytest.raises(ConfigError, match="to fit into the images"):
            patch.region(images(1, 1, 4, 5), BOUNDS)


# Poses


def read_by_hand(x: NDArray[np.float64], pose: list[float], black: float, white: float) -> NDArray[np.float64]:
    """The text's formula for each pixel, and the four pixels around the place that it names."""
    height, width = x.shape
    angle, right, down, zoom = pose
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    found = np.empty_like(x)
    for i in range(height):
        for j in range(width):
            # In pixels from the centre, so that images that are not square keep their angles.
            u, v = j + 0.5 - width / 2 - right * width, i + 0.5 - height / 2 - down * height
            column = (cosine * u - sine * v) / (1 + zoom) + width / 2 - 0.5
            row = (sine * u + cosine * v) / (1 + zoom) + height / 2 - 0.5
            total = 0.0
            for a in (math.floor(row), math.floor(row) + 1):
                for b in (math.floor(column), math.floor(column) + 1):
                    value = x[a, b] if 0 <= a < height and 0 <= b < width else black
                    total += (value - black) * (1 - abs(row - a)) * (1 - abs(column - b))
            found[i, j] = min(max(total + black, black), white)
    return found


POSES = [
    [17.0, 0.0, 0.0, 0.0], [-90.0, 0.0, 0.0, 0.0], [0.0, 0.3, 0.0, 0.0], [0.0, 0.0, -0.21, 0.0], [0.0, 0.0, 0.0, 0.4],
    [0.0, 0.0, 0.0, -0.4], [33.0, 0.11, -0.27, 0.15], [-140.0, -0.4, 0.2, -0.5],
]  # fmt: skip


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_a_pose_reads_the_pixels_that_its_formula_names(shape: tuple[int, int]) -> None:
    x = images(len(POSES), 2, *shape)
    threat = Spatial(rotation=180, translation=1, scale=0.9)
    found = threat.render(torch.tensor(POSES), threat.region(x, BOUNDS))
    for row, pose in enumerate(POSES):
        for channel in range(2):
            expected = read_by_hand(x[row, channel].double().numpy(), pose, *BOUNDS)
            assert np.allclose(found[row, channel].numpy(), expected, atol=2e-4)


def test_a_pose_stays_within_its_limits_as_they_are_stored() -> None:
    x = images(2, 1, 3, 3)
    for limits in ((30.0, 0.1, 0.1), (0.3, 0.7, 0.05), (0.0, 1.0, 0.9), (180.0, 0.0, 1 / 3)):
        threat = Spatial(*limits)
        assert threat.limits == (limits[0], limits[1], limits[1], limits[2])
        assert threat.radius == 1.0
        region = threat.region(x, BOUNDS)
        assert torch.equal(region["low"], -region["high"])
        for limit, high in zip(threat.limits, region["high"][0], strict=True):
            assert float(high) <= limit
            assert limit == 0 or float(torch.nextafter(high, high + 1)) > limit
        away = torch.full((2, 4), 999.0)
        assert torch.equal(threat.project(away, region), region["high"])
        assert torch.equal(threat.project(-away, region), region["low"])
        inside = region["high"] / 2
        assert torch.equal(threat.project(inside, region), inside)
        assert threat.origin(region).tolist() == [[0.0] * 4] * 2
        drawn = threat.start(region, KEY[:2])
        assert torch.allclose(drawn, region["high"] * (2 * rng.uniform(KEY[:2], (4,)) - 1), atol=1e-5)
        assert float(threat.size(drawn, region).max()) <= 1.0
        assert threat.stride(region).tolist() == [1.0, 1.0]
        assert (region["black"].flatten().tolist(), region["white"].flatten().tolist()) == ([-1.0] * 2, [2.0] * 2)


def test_limits_may_be_at_the_ends_of_their_ranges() -> None:
    assert Spatial(180, 1, 0.9).limits == (180.0, 1.0, 1.0, 0.9)
    assert Spatial(0, 0, 0).limits == (0.0,) * 4
    wrong: Any
    for wrong in ({"rotation": 180.1}, {"translation": 1.01}, {"scale": 0.91}, {"scale": -0.1}):
        with pytest.raises(ConfigError):
            Spatial(**wrong)
    threat: Threat = Spatial(10, 0, 0.1)
    region = threat.region(images(4, 1, 3, 3), BOUNDS)
    z = torch.tensor([[5.0, 0, 0, 0], [0, 0, 0, 0.1], [-10.0, 0, 0, -0.05], [0.0, 0.0, 0.0, 0.0]])
    assert threat.size(z, region).tolist() == pytest.approx([0.5, 1.0, 1.0, 0.0])
    z[3, 2] = -1e-9
    assert threat.size(z, region)[3] == torch.inf
