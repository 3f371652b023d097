"""The threat without a limit: everything inside the bounds, and sizes as shares of their width."""

from __future__ import annotations

import pytest
import torch

from robustest import rng
from robustest.threats import Unbounded

BOUNDS = [(0.0, 1.0), (-1.0, 3.0), (0.0, 255.0)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_a_size_is_the_largest_change_as_a_share_of_the_width(bounds: tuple[float, float]) -> None:
    low, high = bounds
    x = torch.full((3, 2, 2), low)
    threat, region = Unbounded(), Unbounded().region(x, bounds)
    z = x.clone()
    z[1, 0, 1] = low + 0.25 * (high - low)
    z[1, 1, 0] = low + 0.125 * (high - low)
    z[2, 1, 1] = high
    assert threat.size(z, region).tolist() == [0.0, 0.25, 1.0]
    assert threat.radius == 1.0
    turned = Unbounded().region(z, bounds)
    assert threat.size(x, turned).tolist() == [0.0, 0.25, 1.0], "down as well as up"


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_it_starts_anywhere_inside_the_bounds_wherever_the_sample_is(bounds: tuple[float, float]) -> None:
    low, high = bounds
    x = torch.full((50, 4), high)
    region = Unbounded().region(x, bounds)
    start = (Unbounded().start(region, rng.keys(0, torch.arange(50))) - low) / (high - low)
    assert 0 <= float(start.min()) < 0.05
    assert 0.95 < float(start.max()) <= 1
    assert abs(float(start.mean()) - 0.5) < 0.1
    assert len(start.flatten().unique()) > 150


def test_it_is_a_value() -> None:
    assert Unbounded() == Unbounded()
    assert str(Unbounded()) == "Unbounded()"
