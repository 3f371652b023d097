"""Balls with a radius a row, and the way onto a hyperplane, against a general solver."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

from robustest import L0, L1, L2, Linf
from robustest.attacks.fab import to_hyperplane
from robustest.attacks.fmn import dual_length, within
from robustest.attacks.protocol import cosine
from robustest.threats import Threat, by_pixel

NORMS = [Linf(1.0), L2(1.0), L1(1.0)]
ORDER = {Linf: math.inf, L2: 2, L1: 1}


def sizes(threat: Threat, delta: Tensor) -> Tensor:
    return torch.linalg.vector_norm(delta.flatten(1).double(), ord=ORDER[type(threat)], dim=1)  # type: ignore[index]


def solved(threat: Threat, normal: Tensor, gain: float, low: Tensor, high: Tensor) -> float:
    """The size of the shortest step between `low` and `high` (D,) with normal . step = gain, by a general solver."""
    w, lo, hi = (v.double().numpy() for v in (normal, low, high))
    n = len(w)
    if isinstance(threat, L2):
        start = np.clip(w * gain / (w @ w), lo, hi)
        plane = {"type": "eq", "fun": lambda d: d @ w - gain, "jac": lambda _: w}
        found = minimize(
            lambda d: d @ d, start, jac=lambda d: 2 * d, bounds=list(zip(lo, hi, strict=True)), constraints=plane,
            method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        assert found.success
        return math.sqrt(found.fun)
    identity = np.eye(n)
    if isinstance(threat, Linf):  # variables d and t >= |d_i|
        cost = np.r_[np.zeros(n), 1.0]
        above = np.r_[np.c_[identity, -np.ones(n)], np.c_[-identity, -np.ones(n)]]
        plane_row = np.r_[w, 0.0][None]
        limits = [*zip(lo, hi, strict=True), (0, None)]
    else:  # variables d and t_i >= |d_i|
        cost = np.r_[np.zeros(n), np.ones(n)]
        above = np.r_[np.c_[identity, -identity], np.c_[-identity, -identity]]
        plane_row = np.r_[w, np.zeros(n)][None]
        limits = [*zip(lo, hi, strict=True), *[(0, None)] * n]
    found = linprog(cost, A_ub=above, b_ub=np.zeros(2 * n), A_eq=plane_row, b_eq=[gain], bounds=limits)
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize("threat", NORMS, ids=str)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_the_step_onto_a_hyperplane_is_the_shortest_inside_the_box(threat: Threat, sign: float, share: float) -> None:
    generator = torch.Generator().manual_seed(1)
    at = torch.rand(8, 3, 4, generator=generator)
    normal = torch.randn(8, 3, 4, generator=generator) * 10.0 ** torch.randint(-3, 4, (8, 1, 1), generator=generator)
    normal[0, 0] = 0.0
    room = torch.where(sign * normal > 0, 1 - at, at) * normal.abs()
    gain = sign * share * room.flatten(1).sum(1)  # a share of all that the box allows
    step = to_hyperplane(threat, at, normal, gain, (0.0, 1.0))
    assert step.shape == at.shape
    assert bool(((at + step >= -1e-6) & (at + step <= 1 + 1e-6)).all())
    torch.testing.assert_close((normal * step).flatten(1).sum(1), gain, rtol=1e-4, atol=0)
    for row in range(len(at)):
        low, high = -at[row].flatten(), 1 - at[row].flatten()
        scale = float(normal[row].abs().max())
        best = solved(threat, normal[row].flatten() / scale, float(gain[row]) / scale, low, high)
        assert float(sizes(threat, step)[row]) == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_where_the_box_ends_before_the_hyperplane_the_step_ends_in_its_corner(threat: Threat) -> None:
    at = torch.tensor([[0.2, 0.7, 0.5]])
    normal = torch.tensor([[1.0, -2.0, 0.0]])
    step = to_hyperplane(threat, at, normal, torch.tensor([100.0]), (0.0, 1.0))
    torch.testing.assert_close(at + step, torch.tensor([[1.0, 0.0, 0.5]]))


@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_without_a_slope_there_is_no_step(threat: Threat) -> None:
    at = torch.rand(2, 5, generator=torch.Generator().manual_seed(0))
    step = to_hyperplane(threat, at, torch.zeros(2, 5), torch.tensor([1.0, 0.0]), (0.0, 1.0))
    assert torch.equal(step, torch.zeros(2, 5))


@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_a_row_s_step_does_not_depend_on_its_neighbours(threat: Threat) -> None:
    generator = torch.Generator().manual_seed(2)
    at, normal = torch.rand(6, 50, generator=generator), torch.randn(6, 50, generator=generator)
    gain = torch.tensor([0.01, 100.0, 3.0, -2.0, 0.5, 12.0])
    together = to_hyperplane(threat, at, normal, gain, (0.0, 1.0))
    alone = [to_hyperplane(threat, at[i : i + 1], normal[i : i + 1], gain[i : i + 1], (0.0, 1.0)) for i in range(6)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_balls_hold_each_row_at_its_own_radius(threat: Threat) -> None:
    delta = torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(3))
    radius = torch.tensor([0.0, 0.3, 1.0, torch.inf])
    inside = within(threat, delta, radius, {})
    assert bool((sizes(threat, inside) <= radius.double() * (1 + 1e-6)).all())
    assert torch.equal(inside[0], torch.zeros(2, 5))
    assert torch.equal(inside[3], delta[3])
    # The nearest point p of a convex set has no point q of it ahead: (delta - p) . (q - p) <= 0.
    others = torch.randn(200, 10, generator=torch.Generator().manual_seed(4))
    for row in (1, 2):
        p = inside[row].flatten()
        q = others / sizes(threat, others).float().unsqueeze(1) * radius[row]
        assert float(((delta[row].flatten() - p) * (q - p)).sum(1).max()) <= 1e-5


def test_in_l0_the_pixels_that_moved_most_stay() -> None:
    x = torch.full((2, 2, 1, 3), 0.5)
    delta = torch.tensor([0.1, -0.3, 0.2]).view(1, 1, 1, 3).expand(2, 2, 1, 3)
    kept = within(L0(1), delta, torch.tensor([1.0, 2.0]), L0(1).region(x, (0.0, 1.0)))
    moved = by_pixel(kept != 0).any(1)
    assert moved.tolist() == [[False, True, False], [False, True, True]]


def test_the_dual_norm_is_what_a_unit_step_of_steepest_ascent_gains() -> None:
    gradient = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(5))
    for threat in NORMS:
        gained = (gradient * threat.ascent(gradient)).flatten(1).sum(1)
        torch.testing.assert_close(dual_length(threat, gradient), gained)


def test_half_a_cosine_begins_at_one_end_and_stops_at_the_other() -> None:
    values = cosine(3.0, 1.0, torch.tensor([0, 5, 10]), 10)
    torch.testing.assert_close(values, torch.tensor([3.0, 2.0, 1.0]))
