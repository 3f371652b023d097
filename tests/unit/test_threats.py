"""Norm balls: exact projections, starts inside, and the steepest unit step."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from robustest import L2, ConfigError, Linf, rng
from robustest.threats import Rows, Threat

BALLS = [Linf, L2]
BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (-2.1179, 2.64), (0.0, 255.0), (-100.0, 100.0)]
SHAPES = [(1,), (7,), (200,), (1, 4, 4), (3, 5, 2), (4, 3), (2, 2, 2, 2)]


class Case(NamedTuple):
    """Samples at the middle and the edges of their bounds, and wild proposals."""

    x: Tensor
    z: Tensor
    eps: float
    bounds: tuple[float, float]
    key: Tensor


@st.composite
def cases(draw: Any) -> Case:
    shape, bounds = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(BOUNDS))
    eps = 10 ** draw(st.floats(-8, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    low, high = bounds
    unit = torch.rand(5, *shape, generator=generator)
    edges = torch.rand(5, *shape, generator=generator) < 0.2
    x = (low + (high - low) * torch.where(edges, unit.round(), unit)).clamp(*bounds)
    z = x + torch.randn(5, *shape, generator=generator) * 10 ** draw(st.floats(-8, 6))
    key = rng.keys(draw(st.integers(0, 100)), torch.arange(5))
    return Case(x, z, eps, bounds, key)


def size(threat: Threat, z: Tensor, x: Tensor) -> Tensor:
    """(N,) float64, by definition of the norm; independent of the threat's own."""
    delta = (z.double() - x.double()).flatten(1)
    return delta.abs().amax(1) if isinstance(threat, Linf) else delta.pow(2).sum(1).sqrt()


def limit(threat: Threat) -> float:
    """L-inf must hold exactly, L2 to one part in a million."""
    return threat.radius * (1 if isinstance(threat, Linf) else 1 + 1e-6)


def check_inside(threat: Threat, z: Tensor, region: Rows, bounds: tuple[float, float]) -> None:
    assert z.dtype == torch.float32
    assert float(size(threat, z, region["x"]).max()) <= limit(threat)
    low, high = torch.tensor(bounds)
    assert bool(((z >= low) & (z <= high)).all())


@pytest.mark.parametrize("ball", BALLS)
@given(cases())
def test_projections_are_inside_ball_and_bounds(ball: type, case: Case) -> None:
    threat = ball(case.eps)
    region = threat.region(case.x, case.bounds)
    check_inside(threat, threat.project(case.z, region), region, case.bounds)


@pytest.mark.parametrize("ball", BALLS)
@given(cases())
def test_random_starts_are_inside_ball_and_bounds(ball: type, case: Case) -> None:
    threat = ball(case.eps)
    region = threat.region(case.x, case.bounds)
    check_inside(threat, threat.start(region, case.key), region, case.bounds)


@pytest.mark.parametrize("ball", BALLS)
@given(cases())
def test_projecting_again_changes_nothing(ball: type, case: Case) -> None:
    threat = ball(case.eps)
    region = threat.region(case.x, case.bounds)
    once = threat.project(case.z, region)
    twice = threat.project(once, region)
    spacing = max(map(abs, case.bounds)) * 2.0**-23  # of float32 numbers at the far end of the bounds
    assert float((once - twice).abs().max()) <= (0 if ball is Linf else spacing)


@pytest.mark.parametrize("ball", BALLS)
@given(cases())
def test_a_row_is_projected_alike_in_any_company(ball: type, case: Case) -> None:
    threat = ball(case.eps)
    whole = threat.project(case.z, threat.region(case.x, case.bounds))
    alone = threat.project(case.z[2:3], threat.region(case.x[2:3], case.bounds))
    assert torch.allclose(whole[2:3], alone, rtol=1e-6, atol=0)


@given(cases())
def test_linf_projection_is_the_nearest_point(case: Case) -> None:
    """In float64 the nearest point is the clipped one; float32 may be one step further in."""
    threat = Linf(case.eps)
    got = threat.project(case.z, threat.region(case.x, case.bounds)).double()
    x, z = case.x.double(), case.z.double()
    low, high = (float(torch.tensor(edge)) for edge in case.bounds)
    nearest = z.clamp(x - case.eps, x + case.eps).clamp(low, high)
    step = torch.nextafter(nearest.float(), torch.tensor(math.inf)).double() - nearest.float().double()
    assert bool(((got - nearest).abs() <= 2 * step).all())


@pytest.mark.parametrize("eps", [1e-3, 0.1, 5.0, 1000.0])
def test_l2_projection_is_the_nearest_point_of_the_sphere(eps: float) -> None:
    """Where the bounds are far away: along the ray from the sample to the proposal, at distance eps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(50, 3, 4, 4, generator=generator)
    direction = torch.randn(x.shape, generator=generator)
    bounds = (-1e4, 1e4) if eps > 100 else (-10.0, 10.0)
    z = x + 3 * eps * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    got = L2(eps).project(z, L2(eps).region(x, bounds))
    nearest = x.double() + (z.double() - x.double()) / 3
    storage = math.sqrt(48) * bounds[1] * 2.0**-23  # what float32 cannot tell apart within the bounds
    assert float(size(L2(eps), got, nearest).max()) <= 1e-5 * eps + storage


@pytest.mark.parametrize("ball", BALLS)
def test_what_is_inside_stays(ball: type) -> None:
    x = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    threat = ball(0.5)
    region = threat.region(x, (0.0, 1.0))
    z = (x + 0.01).clamp(0, 1)
    assert torch.allclose(threat.project(z, region), z, rtol=0, atol=2.0**-23)


@pytest.mark.parametrize("ball", BALLS)
@given(cases())
def test_eps_zero_leaves_the_sample(ball: type, case: Case) -> None:
    threat = ball(0)
    region = threat.region(case.x, case.bounds)
    assert torch.equal(threat.project(case.z, region), case.x)
    assert torch.equal(threat.start(region, case.key), case.x)


@pytest.mark.parametrize("ball", BALLS)
@given(cases())
def test_size_is_the_norm_of_the_stored_difference(ball: type, case: Case) -> None:
    threat = ball(case.eps)
    region = threat.region(case.x, case.bounds)
    got = threat.size(case.z, region)
    assert got.dtype == torch.float64
    assert torch.allclose(got, size(threat, case.z, case.x), rtol=1e-12)
    assert torch.equal(threat.size(threat.origin(region), region), torch.zeros(5, dtype=torch.float64))


@pytest.mark.parametrize("ball", BALLS)
def test_starts_come_from_the_samples_own_keys(ball: type) -> None:
    x = torch.full((6, 2, 3), 0.5)
    threat = ball(0.3)
    key = rng.keys(0, torch.arange(6))
    whole = threat.start(threat.region(x, (0.0, 1.0)), key)
    alone = threat.start(threat.region(x[4:5], (0.0, 1.0)), key[4:5])
    assert torch.allclose(whole[4:5], alone, rtol=1e-6)
    assert len({tuple(row) for row in whole.flatten(1).tolist()}) == 6


def test_linf_starts_fill_the_box_evenly() -> None:
    x = torch.zeros(2000, 3)
    z = Linf(0.5).start(Linf(0.5).region(x, (-1.0, 1.0)), rng.keys(0, torch.arange(2000)))
    assert stats.kstest((z.flatten().double() + 0.5).numpy(), "uniform").pvalue > 1e-6


def test_l2_starts_fill_the_ball_evenly() -> None:
    """The volume inside a point's own radius is uniform, and no direction is favoured."""
    x = torch.zeros(4000, 3)
    z = L2(2.0).start(L2(2.0).region(x, (-10.0, 10.0)), rng.keys(0, torch.arange(4000))).double()
    volume = (z.norm(dim=1) / 2) ** 3
    assert stats.kstest(volume.numpy(), "uniform").pvalue > 1e-6
    cosine = z[:, 0] / z.norm(dim=1)  # uniform in -1..1 on a sphere of three dimensions
    assert stats.kstest((cosine / 2 + 0.5).numpy(), "uniform").pvalue > 1e-6


@pytest.mark.parametrize("exponent", [-35, -25, -15, -3, 0, 3, 15, 25, 30])
@pytest.mark.parametrize(("ball", "dual"), [(Linf, 1), (L2, 2)], ids=["linf", "l2"])
def test_ascent_gains_the_dual_norm(ball: type, dual: int, exponent: int) -> None:
    """Over the unit ball <g, v> is at most the dual norm of g, and the step reaches it, however small g is."""
    for shape in SHAPES:
        g = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0)) * 10.0**exponent
        v = ball(1.0).ascent(g)
        gain = (g.double() * v.double()).flatten(1).sum(1)
        assert torch.allclose(gain, g.double().flatten(1).norm(p=dual, dim=1), rtol=1e-5, atol=0)
        assert float(size(ball(1.0), v, torch.zeros_like(v)).max()) <= 1 + 1e-6


@pytest.mark.parametrize("ball", BALLS)
def test_no_gradient_is_no_step(ball: type) -> None:
    assert torch.equal(ball(1.0).ascent(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("eps", [-0.1, -1e-12, float("nan"), float("-inf"), "0.1", None, True, [0.1], 1j], ids=repr)
def test_a_radius_is_a_number_from_zero_up(ball: type, eps: object) -> None:
    with pytest.raises(ConfigError, match="Expected eps") as caught:
        ball(eps)
    assert repr(eps) in str(caught.value)


@pytest.mark.parametrize("ball", BALLS)
def test_threats_are_values(ball: type) -> None:
    assert ball(1) == ball(1.0)
    assert hash(ball(1)) == hash(ball(1.0))
    assert type(ball(1).radius) is float
    assert isinstance(ball(1), Threat)
    assert str(ball(8 / 255)) == f"{ball.__name__}(eps=8/255)"
