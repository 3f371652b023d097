"""Slopes chosen for a margin: never below what was found, never above what any input of the ball does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import L1, L2, Linf
from robustest.bounds.graph import read_network
from robustest.bounds.linear import Ball, Bounding, ball_of
from robustest.engine import proving
from robustest.engine.proving import prove

GRID = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 317)] * 2, indexing="ij"), -1).view(-1, 2)


def tiny(seed: int, bend: type[nn.Module] = nn.ReLU) -> nn.Module:
    draw = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 6), bend(), nn.Linear(6, 6), bend(), nn.Linear(6, 3))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw) * (2 if parameter.ndim > 1 else 1)
    return net.eval().requires_grad_(False)


def inside(ball: Ball, one: int, threat: Any) -> Tensor:
    """Some 10^5 inputs of a ball, its corners and edges among them."""
    points = ball.x[one] + threat.radius * GRID
    moved = points - ball.x[one]
    if ball.eps is not None:
        moved = moved[moved.norm(ball.norm, dim=1) <= ball.eps * (1 - 1e-6)]
    return torch.minimum(torch.maximum(ball.x[one] + moved, ball.low[one]), ball.high[one])


@pytest.mark.parametrize("threat", [Linf, L2, L1])
@given(seed=st.integers(0, 10**6), bend=st.sampled_from([nn.ReLU, nn.LeakyReLU]), eps=st.floats(0.01, 0.5))
@settings(max_examples=15, deadline=None)
def test_no_point_of_a_grid_goes_below_what_better_slopes_say(
    threat: Any, seed: int, bend: type[nn.Module], eps: float
) -> None:
    net = tiny(seed, bend)
    x = torch.rand(3, 2, generator=torch.Generator().manual_seed(seed))
    y = net(x).argmax(1)
    network, ball = read_network(net), ball_of(threat(eps), x, (0.0, 1.0))
    assert ball is not None
    with torch.no_grad():
        bounding = Bounding(network, ball)
        assert bounding.run()
        margins = bounding.margins(y, 3)
        found = proving.tightened(bounding, y, 3, margins, torch.ones(3, dtype=torch.bool))
    assert (found >= margins).all()
    proof = prove(network, ball, y, 3)
    for one in range(3):
        logits = net(inside(ball, one, threat(eps)))
        others = [k for k in range(3) if k != y[one]]
        least = (logits[:, y[one], None] - logits[:, others]).amin(0)
        assert (found[one] <= least).all()
        assert not proof.proven[one] or (least > 0).all()


def test_they_prove_what_the_least_area_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def proven() -> int:
        count = 0
        for seed in range(30):
            net = tiny(seed)
            x = torch.rand(8, 2, generator=torch.Generator().manual_seed(seed))
            ball = ball_of(Linf(0.1), x, (0.0, 1.0))
            assert ball is not None
            count += int(prove(read_network(net), ball, net(x).argmax(1), 3).proven.sum())
        return count

    better = proven()
    monkeypatch.setattr(proving, "tightened", lambda *given: given[3])
    assert better > proven() > 0


def test_what_is_far_from_proven_is_not_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Tensor] = []

    def noted(*given: Any) -> Tensor:
        tried.append(given[4])
        return given[3]  # type: ignore[no-any-return]

    monkeypatch.setattr(proving, "tightened", noted)
    net = tiny(1)
    x = torch.rand(16, 2, generator=torch.Generator().manual_seed(1))
    network, y = read_network(net), net(x).argmax(1)
    ends = net(x).sort(descending=True).values
    for eps in (0.01, 0.03, 0.1, 0.2, 0.9):
        ball = ball_of(Linf(eps), x, (0.0, 1.0))
        assert ball is not None
        margin = prove(network, ball, y, 3).margin
        near = (margin <= 0) & (margin > -0.5 * (ends[:, 0] - ends[:, 1]))
        assert torch.equal(tried[-1], near)
    assert torch.cat(tried).any()
    assert not tried[-1].all()


def test_slopes_do_not_depend_on_what_is_worked_on_beside_them() -> None:
    net = tiny(5)
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(5))
    network, y = read_network(net), net(x).argmax(1)
    ball = ball_of(Linf(0.1), x, (0.0, 1.0))
    assert ball is not None
    together = prove(network, ball, y, 3).margin
    for one in range(0, 40, 7):
        rows = torch.tensor([one])
        assert torch.allclose(prove(network, ball.pick(rows), y[rows], 3).margin, together[rows], atol=1e-4)


def test_only_margins_that_are_not_proven_are_worked_on() -> None:
    """Of samples that are tried; a bound above zero stays as it was found, however small."""
    net = tiny(1)
    x = torch.rand(16, 2, generator=torch.Generator().manual_seed(1))
    network, y = read_network(net), net(x).argmax(1)
    ball = ball_of(Linf(0.1), x, (0.0, 1.0))
    assert ball is not None
    every = torch.ones(16, dtype=torch.bool)
    with torch.no_grad():
        bounding = Bounding(network, ball)
        assert bounding.run()
        margins = bounding.margins(y, 3)
        best = proving.tightened(bounding, y, 3, margins.clamp(max=0.0) - 1e-3, every)
        for given in (1e-6, 0.5, 0.999):
            stated = torch.where(best > 1.0, given, margins)
            assert bool((best > 1.0).any())
            found = proving.tightened(bounding, y, 3, stated, every)
            assert torch.equal(found[best > 1.0], stated[best > 1.0])
        # Zero itself is not proven.
        stated = torch.where(best > 1.0, 0.0, margins)
        assert bool((proving.tightened(bounding, y, 3, stated, every)[best > 1.0] > 0).all())
        nobody = proving.tightened(bounding, y, 3, stated, ~every)
    assert torch.equal(nobody, stated)
