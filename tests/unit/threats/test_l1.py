"""The L1 ball inside bounds: the nearest point, the fullest start, the steepest step."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from robustest import L1, ConfigError, rng
from robustest.threats import filled
from robustest.threats import threat as threats

Bounds = tuple[float, float]


class Case(NamedTuple):
    x: Tensor
    z: Tensor
    eps: float
    bounds: Bounds


@st.composite
def cases(draw: Any, sizes: tuple[int, ...] = (1, 2, 3, 8, 50)) -> Case:
    size = draw(st.sampled_from(sizes))
    bounds = draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    low, high = bounds
    unit = torch.rand(5, size, generator=generator)
    x = low + (high - low) * torch.where(torch.rand(5, size, generator=generator) < 0.3, unit.round(), unit)
    step = torch.randn(5, size, generator=generator)
    if draw(st.booleans()):  # ties
        step = step.sign()
    z = x + step * (high - low) * 10 ** draw(st.floats(-3, 3))
    eps = size * (high - low) * 10 ** draw(st.floats(-4, 0.5))
    return Case(x.clamp(*bounds), z, eps, bounds)


def farthest(gradient: Tensor, x: Tensor, eps: float, bounds: Bounds) -> Tensor:
    """(N,) float64: how much a linear function can gain over ball and bounds. Fill the steepest elements first."""
    steepness = gradient.abs()
    room = torch.where(gradient > 0, bounds[1] - x, x - bounds[0])
    order = steepness.argsort(dim=1, descending=True)
    room = room.gather(1, order)
    before = room.cumsum(1) - room
    spent = torch.minimum(room, (eps - before).clamp(min=0))
    return (steepness.gather(1, order) * spent).sum(1)


@given(cases())
def test_the_projection_is_the_nearest_point(case: Case) -> None:
    """Of a convex set it is the one point q where no p of the set has <z - q, p - q> > 0; the best p is known."""
    threat = L1(case.eps)
    q = threat.project(case.z, threat.region(case.x, case.bounds)).double()
    x, out = case.x.double(), case.z.double() - q
    gain = farthest(out, x, case.eps, case.bounds) - (out * (q - x)).sum(1)
    spacing = max(map(abs, case.bounds)) * 2.0**-23  # of what q can be stored as
    steepest = out.abs().amax(1)
    allowed = 2 * spacing * (x.shape[1] * steepest + case.eps) + 1e-9 * case.eps * steepest
    assert bool((gain <= allowed).all())


@given(cases(sizes=(1, 2, 3)))
def test_no_point_of_a_lattice_is_nearer(case: Case) -> None:
    threat = L1(case.eps)
    q = threat.project(case.z, threat.region(case.x, case.bounds))
    axis = torch.linspace(*case.bounds, 15, dtype=torch.float64)
    lattice = torch.cartesian_prod(*[axis] * q.shape[1]).view(-1, q.shape[1])
    for x, z, near in zip(case.x.double(), case.z.double(), q.double(), strict=True):
        allowed = lattice[(lattice - x).abs().sum(1) <= case.eps]
        if len(allowed):
            nearest = float((allowed - z).norm(dim=1).min())
            assert float((near - z).norm()) <= nearest * (1 + 1e-6) + max(map(abs, case.bounds)) * 1e-6


def test_where_the_bounds_are_far_it_shrinks_every_element_alike() -> None:
    """With x = 0 and z = (3, -2, 0.5), eps 2.5: a threshold of 1.25 leaves (1.75, -0.75, 0)."""
    threat = L1(2.5)
    x = torch.zeros(1, 3)
    got = threat.project(torch.tensor([[3.0, -2.0, 0.5]]), threat.region(x, (-10.0, 10.0)))
    assert torch.allclose(got, torch.tensor([[1.75, -0.75, 0.0]]), atol=1e-6)


def test_what_the_bounds_cut_off_is_spent_elsewhere() -> None:
    """The first element stops at the bound after 0.25: ball first and bounds afterwards would reach 0.25 only."""
    threat = L1(1.0)
    x = torch.tensor([[0.75, 0.2]])
    got = threat.project(torch.tensor([[5.0, 1.2]]), threat.region(x, (0.0, 1.0)))
    assert torch.allclose(got, torch.tensor([[1.0, 0.95]]), atol=1e-6)


def test_rows_are_sorted_in_blocks_that_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    threat = L1(1.0)
    x = torch.rand(7, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    z = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    region = threat.region(x, (0.0, 1.0))
    whole = threat.project(z, region)
    monkeypatch.setattr(threats, "_BLOCK", 100)
    assert torch.equal(threat.project(z, region), whole)


@given(cases())
def test_size_is_the_sum_of_stored_differences(case: Case) -> None:
    threat = L1(case.eps)
    got = threat.size(case.z, threat.region(case.x, case.bounds))
    assert torch.allclose(got, (case.z.double() - case.x.double()).abs().sum(1), rtol=1e-12)


def test_starts_fill_the_ball_evenly() -> None:
    """The volume inside a point's own radius is uniform, and so is every element's sign."""
    x = torch.zeros(4000, 3)
    z = L1(2.0).start(L1(2.0).region(x, (-10.0, 10.0)), rng.keys(0, torch.arange(4000))).double()
    volume = (z.abs().sum(1) / 2) ** 3
    assert stats.kstest(volume.numpy(), "uniform").pvalue > 1e-6
    share = z[:, 0].abs() / z.abs().sum(1)  # of one element of three: Beta(1, 2)
    assert stats.kstest(share.numpy(), stats.beta(1, 2).cdf).pvalue > 1e-6
    assert stats.binomtest(int((z[:, 1] > 0).sum()), 4000).pvalue > 1e-6


@pytest.mark.parametrize("exponent", [-35, -3, 0, 15, 30])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5, 2)])
def test_ascent_gains_the_dual_norm(shape: tuple[int, ...], exponent: int) -> None:
    g = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0)) * 10.0**exponent
    v = L1(1.0).ascent(g)
    gain = (g.double() * v.double()).flatten(1).sum(1)
    assert torch.equal(gain, g.double().abs().flatten(1).amax(1))
    assert torch.equal(v.abs().flatten(1).sum(1), torch.ones(5))


def test_of_equal_elements_the_first_is_taken() -> None:
    assert L1(1.0).ascent(torch.tensor([[1.0, -2.0, 2.0]])).tolist() == [[0.0, -1.0, 0.0]]


@pytest.mark.parametrize("eps", [-0.1, float("nan"), "0.1", None, True], ids=repr)
def test_a_radius_is_a_number_from_zero_up(eps: object) -> None:
    with pytest.raises(ConfigError, match="Expected eps"):
        L1(eps)  # type: ignore[arg-type]


def test_it_is_shown_with_its_radius() -> None:
    assert str(L1(12)) == "L1(eps=12)"


def test_a_step_fills_the_steepest_first() -> None:
    """The second element goes to its bound, 0.2 away, the third would take 0.5 and gets what is left of 0.45."""
    x = torch.tensor([[0.5, 0.8, 0.5, 0.5]])
    step = filled(torch.tensor([[0.1, 3.0, -2.0, 0.0]]), x, L1(1.0).region(x, (0.0, 1.0)), torch.tensor([0.45]))
    assert torch.allclose(step, torch.tensor([[0.0, 0.2, -0.25, 0.0]]))


@given(cases(), st.floats(0, 2))
def test_no_step_of_this_length_gains_more(case: Case, share: float) -> None:
    x = case.x.double()
    gradient = (case.z - case.x).double()
    region = L1(case.eps).region(x, case.bounds)
    step = filled(gradient, x, region, torch.full((5,), share * case.eps, dtype=torch.float64))
    assert bool((step.abs().sum(1) <= share * case.eps * (1 + 1e-12)).all())
    assert bool(((x + step >= case.bounds[0] - 1e-9) & (x + step <= case.bounds[1] + 1e-9)).all())
    best = farthest(gradient, x, share * case.eps, case.bounds)
    assert torch.allclose((gradient * step).sum(1), best, rtol=1e-9)


def test_a_step_goes_nowhere_without_a_gradient() -> None:
    x = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    step = filled(torch.zeros_like(x), x, L1(1.0).region(x, (0.0, 1.0)), torch.ones(3))
    assert torch.equal(step, torch.zeros_like(x))
