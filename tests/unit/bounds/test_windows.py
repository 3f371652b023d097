"""Bounds by windows: those of whole rows, and never above what any input of the ball does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import L1, L2, Linf
from robustest.bounds import linear
from robustest.bounds.graph import Network, read_network
from robustest.bounds.linear import Bounding, ball_of

SIDE = 12


def drawn_net(seed: int, kernel: int, stride: int, pruned: float, bend: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Two convolutions of normal weights, of which a share is zero, and a linear layer behind them."""
    draw = torch.Generator().manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(2, 3, kernel, stride, 1), bend(), nn.Conv2d(3, 4, kernel, 1), bend(), nn.Flatten())
    net = nn.Sequential(body, nn.Linear(body(torch.zeros(1, 2, SIDE, SIDE)).shape[1], 3))
    for parameter in net.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 1
        weights = torch.randn(parameter.shape, generator=draw) / fan**0.5
        parameter.data = weights * (torch.rand(parameter.shape, generator=draw) >= pruned)
    return net.eval().requires_grad_(False)


def bounded(net: nn.Module, threat: Any, x: Tensor) -> tuple[Network, Bounding]:
    network, ball = read_network(net), ball_of(threat, x, (0.0, 1.0))
    assert ball is not None
    bounding = Bounding(network, ball)
    with torch.no_grad():
        assert bounding.run()
    return network, bounding


@pytest.mark.parametrize("threat", [Linf(0.03), L2(0.1), L1(0.3)], ids=str)
@given(
    seed=st.integers(0, 10**6),
    kernel=st.integers(2, 3),
    stride=st.integers(1, 2),
    pruned=st.sampled_from([0.0, 0.5, 0.95]),
    bend=st.sampled_from([nn.ReLU, nn.LeakyReLU, nn.Tanh]),
)
@settings(max_examples=12, deadline=None)
def test_windows_bound_what_whole_rows_bound_and_no_input_leaves_them(
    threat: Any, *, seed: int, kernel: int, stride: int, pruned: float, bend: type[nn.Module]
) -> None:
    net = drawn_net(seed, kernel, stride, pruned, bend)
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(3, 2, SIDE, SIDE, generator=draw)
    network, by_windows = bounded(net, threat, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "windows_of", lambda *_: None)
        _, by_rows = bounded(net, threat, x)
    low, high = by_windows.intervals[1]
    for mine, plain in ((low, by_rows.intervals[1][0]), (-high, -by_rows.intervals[1][1])):
        wide = by_rows.network.nonlinear[1].undecided(*by_rows.intervals[1])
        assert torch.allclose(mine[wide], plain[wide], atol=1e-4)
        assert (mine >= plain - 1e-4).all()
    region = threat.region(x, (0.0, 1.0))
    for turn in range(40):
        z = threat.start(region, torch.arange(3) + 100 * turn + seed)
        if turn % 2:
            z = threat.project(x + 100 * (z - x), region)
        first = network.nonlinear[0].value(network.segments[0](threat.render(z, region)))
        before = network.segments[1](first)
        assert (low <= before).all()
        assert (before <= high).all()


def test_windows_are_found_behind_convolutions_and_kept_and_not_behind_dense_layers() -> None:
    network, _ = bounded(drawn_net(0, 2, 2, 0.0), Linf(0.03), torch.rand(2, 2, SIDE, SIDE))
    found = network.windows[1]
    assert found is not None
    assert found.outputs.shape == (36, 4), "the four channels of a place see the same"
    assert network.windows.get(2) is None
    dense = nn.Sequential(nn.Flatten(), nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    network, _ = bounded(dense, Linf(0.5), torch.rand(2, 2, 2, 2))
    assert network.windows[1] is None


def test_a_pruned_output_that_sees_nothing_is_its_bias() -> None:
    net: Any = drawn_net(3, 3, 1, 0.0)
    net[0][2].weight.data[1] = 0.0
    _, bounding = bounded(net, Linf(0.03), torch.rand(2, 2, SIDE, SIDE))
    for end in bounding.intervals[1]:
        assert torch.allclose(end[:, 1], net[0][2].bias[1].expand_as(end[:, 1]), atol=1e-4)


class Branches(nn.Module):
    """A rectifier and a maximum of the same inputs, one behind the other in the graph, and convolutions behind both."""

    def __init__(self, *, rectified_first: bool) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.one, self.two = nn.Conv2d(2, 3, 3, 2), nn.Conv2d(2, 3, 3, 2)
        self.three, self.four, self.last = nn.Conv2d(3, 2, 2), nn.Conv2d(3, 2, 2), nn.Linear(32, 3)
        self.rectified_first = rectified_first
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw) / 3

    def forward(self, x: Tensor) -> Tensor:
        if self.rectified_first:
            first, second = nn.functional.relu(self.one(x)), nn.functional.max_pool2d(self.two(x), 1)
        else:
            first, second = nn.functional.max_pool2d(self.one(x), 1), nn.functional.relu(self.two(x))
        behind = nn.functional.relu(self.three(second)).flatten(1) + nn.functional.relu(self.four(first)).flatten(1)
        return self.last(behind)  # type: ignore[no-any-return]


@pytest.mark.parametrize("rectified_first", [True, False])
def test_windows_are_of_the_nonlinearity_before(rectified_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only lines of elementwise functions have windows: those before the map, whatever lies beside."""
    net, x = Branches(rectified_first=rectified_first).eval().requires_grad_(False), torch.rand(2, 2, SIDE, SIDE)
    network, by_windows = bounded(net, Linf(0.03), x)
    assert [one.places for one in network.segments[:3]] == [(0,), (0,), (2,)]
    assert (network.windows[2] is None) is rectified_first
    monkeypatch.setattr(linear, "windows_of", lambda *_: None)
    _, by_rows = bounded(net, Linf(0.03), x)
    wide = by_rows.network.nonlinear[2].undecided(*by_rows.intervals[2])
    for mine, plain in zip(by_windows.intervals[2], by_rows.intervals[2], strict=True):
        assert torch.allclose(mine[wide], plain[wide], atol=1e-4)


def test_magnitudes_of_windows_hold_every_term_that_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The allowance for rounding is a share of them; terms of the lines and of the inputs count, though they cancel."""
    plain, found = linear.Windows.ends, list[tuple[Tensor, Tensor]]()

    def noted(self: Any, lines: Any, ball: Any, sample: int, sizes: Any) -> Any:
        ends = plain(self, lines, ball, sample, sizes)
        mean, half, height, first = (
            one[sample].flatten()[self.between] for one in (lines.mean, lines.half, lines.magnitude, sizes[0])
        )
        box = torch.maximum(ball.low[sample].abs(), ball.high[sample].abs()).flatten()[self.inputs]
        a, size = self.coefficients, self.coefficients.abs()
        added = torch.einsum("gck,gk->gc", size, height + (mean.abs() + half) * first)
        reached = [
            torch.einsum("gcj,gj->gc", torch.einsum("gck,gkj->gcj", inner, self.block[..., :-1]).abs(), box)
            for inner in (a * mean[:, None] - size * half[:, None], a * mean[:, None] + size * half[:, None])
        ]
        room = added.new_zeros(len(ends[0]) + 1)
        room[self.outputs.flatten()] = (added + torch.maximum(*reached)).flatten()
        found.append((ends[2], room[:-1] + sizes[1][sample].flatten()))
        return ends

    monkeypatch.setattr(linear.Windows, "ends", noted)
    x = torch.rand(3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    bounded(drawn_net(0, 3, 1, 0.0), Linf(0.1), x)
    assert found
    for magnitude, expected in found:
        assert torch.allclose(magnitude, expected, rtol=1e-4)
