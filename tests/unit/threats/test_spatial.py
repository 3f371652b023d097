"""Poses: turns, moves and zooms with a closed form, and the gradient on them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustest import ConfigError, Spatial, Unbounded, rng

ALL = Spatial(rotation=180, translation=1, scale=0.9)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def shown(x: Tensor, *pose: float, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    return ALL.render(torch.tensor([pose] * len(x)), ALL.region(x, bounds))


@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_quarter_turns_are_counter_clockwise(quarters: int) -> None:
    x = images(2, 3, 6, 6)
    got = shown(x, 90.0 * quarters, 0.0, 0.0, 0.0)
    assert torch.allclose(got, torch.rot90(x, quarters, (2, 3)), atol=1e-5)


def test_half_a_turn_of_any_shape() -> None:
    x = images(2, 1, 5, 8)
    assert torch.allclose(shown(x, 180.0, 0.0, 0.0, 0.0), x.flip(2, 3), atol=1e-5)


def test_angles_keep_their_size_in_images_that_are_not_square() -> None:
    """After a quarter the square in the middle is turned and nothing comes in from the sides, wide or high."""
    for shape, middle in (((9, 15), (slice(None), slice(3, 12))), ((15, 9), (slice(3, 12), slice(None)))):
        x = images(2, 1, *shape)
        wanted = torch.zeros_like(x)
        wanted[:, :, *middle] = torch.rot90(x[:, :, *middle], 1, (2, 3))
        assert torch.allclose(shown(x, 90.0, 0.0, 0.0, 0.0), wanted, atol=1e-5)


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 3), (-1, 2), (-3, -1)])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
def test_whole_pixels_move_and_the_lowest_value_comes_in(right: int, down: int, bounds: tuple[float, float]) -> None:
    x = images(2, 2, 5, 8)
    got = shown(x, 0.0, right / 8, down / 5, 0.0, bounds=bounds)
    wanted = torch.full_like(x, bounds[0])
    wanted[:, :, max(down, 0) : 5 + min(down, 0), max(right, 0) : 8 + min(right, 0)] = x[
        :, :, max(-down, 0) : 5 - max(down, 0), max(-right, 0) : 8 - max(right, 0)
    ]
    assert torch.allclose(got, wanted, atol=1e-5)


def test_zooming_in_spreads_the_centre() -> None:
    """A ramp along the columns has half its slope after a zoom by 2, and keeps its middle."""
    x = (torch.arange(9.0) / 16 + 0.25).expand(1, 1, 4, 9)
    threat = Spatial(0, 0, 0.5)
    got = threat.render(torch.tensor([[0.0, 0.0, 0.0, 0.5]]), threat.region(x, (0.0, 1.0)))
    wanted = (torch.arange(9.0) - 4) / 1.5 / 16 + 0.5
    assert torch.allclose(got[0, 0, 1:3], wanted.expand(2, -1), atol=1e-5)


def test_zooming_out_lets_the_lowest_value_in() -> None:
    x = torch.ones(1, 1, 10, 10)
    got = shown(x, 0.0, 0.0, 0.0, -0.5)
    assert torch.allclose(got[0, 0, 3:7, 3:7], torch.ones(4, 4))
    assert float(got[0, 0, :2].abs().max()) == 0


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.1179, 2.64), (0.0, 255.0)])
def test_no_pose_is_the_sample_to_the_bit_and_poses_stay_inside(bounds: tuple[float, float]) -> None:
    low, high = torch.tensor(bounds)
    x = (low + (high - low) * images(200, 3, 5, 7)).clamp(low, high)
    region = ALL.region(x, bounds)
    assert torch.equal(ALL.render(torch.zeros(200, 4), region), x)
    got = ALL.render(ALL.start(region, rng.keys(0, torch.arange(200))), region)
    assert bool(((got >= low) & (got <= high)).all())
    assert not torch.equal(got, x)


@given(st.integers(0, 10_000), st.booleans())
def test_the_gradient_is_the_slope(seed: int, still: bool) -> None:
    """Of a ramp, which interpolation leaves exact: central differences tell the slope, at the sample itself too."""
    axis = torch.arange(20.0, dtype=torch.float64)
    ramp = (0.3 + 0.01 * axis.unsqueeze(1) + 0.005 * axis).expand(1, 1, 20, 20)
    region = ALL.region(ramp, (0.0, 1.0))
    generator = torch.Generator().manual_seed(seed)
    weight = torch.zeros(20, 20, dtype=torch.float64)
    weight[6:-6, 6:-6] = torch.randn(8, 8, generator=generator)  # away from what comes in at the edges
    pose = torch.zeros(1, 4, dtype=torch.float64)
    if not still:
        pose += torch.tensor([5.0, 0.05, 0.05, 0.1]) * torch.randn(4, generator=generator).clamp(-1, 1)

    def value(z: Tensor) -> Tensor:
        return (ALL.render(z, region) * weight).sum()

    at = pose.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(at), at)
    for i, step in enumerate((1e-3, 1e-5, 1e-5, 1e-5)):
        offset = torch.zeros(1, 4, dtype=torch.float64)
        offset[0, i] = step
        slope = (value(pose + offset) - value(pose - offset)) / (2 * step)
        assert float(gradient[0, i]) == pytest.approx(float(slope), rel=1e-4, abs=1e-6)
    assert float(gradient.abs().min()) > 0


def test_size_is_the_largest_share_of_a_limit() -> None:
    threat = Spatial(rotation=30, translation=0.1, scale=0)
    z = torch.tensor([[15.0, 0.0, 0.0, 0.0], [3.0, 0.02, -0.1, 0.0], [45.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1e-9]])
    got = threat.size(z, threat.region(images(4, 1, 4, 4), (0.0, 1.0)))
    assert got[:3].tolist() == pytest.approx([0.5, 1.0, 1.5])
    assert math.isinf(got[3])


def test_a_step_is_a_share_of_every_limit() -> None:
    threat = Spatial(rotation=30, translation=0.1, scale=0.2)
    step = threat.ascent(torch.tensor([[2.0, -0.3, 0.0, 1e-20]]))
    assert torch.allclose(step, torch.tensor([[30.0, -0.1, 0.0, 0.2]]))
    assert threat.stride(threat.region(images(1, 1, 4, 4), (0.0, 1.0))).tolist() == [1.0]


def test_poses_are_drawn_evenly() -> None:
    threat = Spatial(rotation=20, translation=0.3, scale=0.4)
    x = torch.zeros(2000, 1, 1, 1)
    z = threat.start(threat.region(x, (0.0, 1.0)), rng.keys(0, torch.arange(2000)))
    for column, limit in zip(z.unbind(1), threat.limits, strict=True):
        assert float(column.abs().max()) <= limit
        assert abs(float(column.mean())) < limit / 10
        assert float(column.std()) == pytest.approx(limit / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize("shape", [(7,), (5, 7)])
def test_only_images_have_a_pose(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"Expected images of shape \(N, C, H, W\)"):
        Spatial().region(torch.zeros(2, *shape), (0.0, 1.0))


@pytest.mark.parametrize(
    ("name", "value"),
    [("rotation", -1), ("rotation", 181), ("translation", 1.1), ("scale", 1.0), ("scale", True), ("rotation", "30"),
     ("translation", float("nan")), ("scale", None)],
)  # fmt: skip
def test_limits_are_numbers_in_range(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"Expected {name} to be a number in 0"):
        Spatial(**{name: value})  # type: ignore[arg-type]


def test_it_is_shown_with_its_limits() -> None:
    assert str(Spatial()) == "Spatial(rotation=30, translation=0.1, scale=0.1)"


def test_without_a_limit_sizes_are_shares_of_the_bounds() -> None:
    x = torch.tensor([[0.0, 255.0], [51.0, 0.0]])
    threat = Unbounded()
    region = threat.region(x, (0.0, 255.0))
    assert threat.size(torch.tensor([[255.0, 255.0], [0.0, 0.0]]), region).tolist() == [1.0, pytest.approx(0.2)]
    assert threat.stride(region).tolist() == [255.0, 255.0]
    assert str(threat) == "Unbounded()"
