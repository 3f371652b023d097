"""Networks that look affine between their nonlinearities and are not: no sample may be proven and broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest import Linf, Verdict
from robustest.bounds.graph import read_network
from robustest.bounds.linear import ball_of
from robustest.bounds.operations import NoBound
from robustest.engine.proving import prove
from robustest.measure import measure_certified_accuracy

N, EPS = 150, 0.1


class Between(nn.Module):
    """A linear layer, something of it, and another linear layer."""

    def __init__(self, something: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 3)
        self.something = something

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.something(self.first(x)))  # type: ignore[no-any-return]


def squared_matrix(h: Tensor) -> Tensor:
    matrix = h.view(-1, 4, 4)
    return torch.matmul(matrix, matrix).flatten(1)


@torch.fx.wrap
def roll(h: Tensor) -> Tensor:
    """Of the name of an operation that moves elements alone."""
    return torch.sin(9 * h)


def with_hook(hook: Callable[..., Tensor], *after: nn.Module) -> nn.Module:
    layer = nn.Linear(4, 16)
    layer.register_forward_hook(hook)
    return nn.Sequential(layer, *after, nn.Linear(16, 3))


def with_input_hook() -> nn.Module:
    layer = nn.Linear(4, 16)
    layer.register_forward_pre_hook(lambda _, inputs: (torch.sin(9 * inputs[0]),))
    return nn.Sequential(layer, nn.Linear(16, 3))


def with_another_forward() -> nn.Module:
    layer: Any = nn.Linear(4, 16)
    layer.forward = lambda x: torch.sin(9 * x).repeat(1, 4)
    return nn.Sequential(layer, nn.Linear(16, 3))


NETS: dict[str, Callable[[], nn.Module]] = {
    "a square": lambda: Between(lambda h: h * h),
    "a square by a method": lambda: Between(lambda h: h.mul(h)),
    "a matrix times itself": lambda: Between(lambda h: torch.matmul(h.view(-1, 4, 4), h.view(-1, 4, 4)).flatten(1)),
    "the same matrix twice": lambda: Between(squared_matrix),
    "a quotient": lambda: Between(lambda h: h / (h + 3)),
    "divided by itself": lambda: Between(lambda h: (h + 3) / (h + 3)),
    "rounded down": lambda: Between(lambda h: torch.div(h, 0.5, rounding_mode="floor")),
    "rounded to zero": lambda: Between(lambda h: torch.div(h, 0.5, rounding_mode="trunc")),
    "times a negative whole number": lambda: Between(lambda h: torch.relu(h * -2)),
    "over a negative whole number": lambda: Between(lambda h: torch.relu(h / -2)),
    "times a negative number": lambda: Between(lambda h: torch.relu(-2.0 * h)),
    "a negative number of a tensor": lambda: Between(lambda h: torch.relu(h * torch.full((16,), -2.0))),
    "taken from a number": lambda: Between(lambda h: torch.relu(1 - h)),
    "batch statistics": lambda: Between(lambda h: F.batch_norm(h, None, None, training=True)),
    "a norm without statistics": lambda: nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16, track_running_stats=False), nn.Linear(16, 3)
    ),
    "other bits": lambda: Between(lambda h: h.view(torch.int32).float() / 2**30),
    "a hook that rounds": lambda: with_hook(lambda _, __, output: output.round()),
    "a hook that turns round": lambda: with_hook(lambda _, __, output: -2 * output, nn.ReLU()),
    "a hook on the input": with_input_hook,
    "another forward": with_another_forward,
}
TURNED = [
    "times a negative whole number",
    "over a negative whole number",
    "times a negative number",
    "a negative number of a tensor",
    "taken from a number",
]
"""Those that are affine, and turn an interval round."""


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name]().eval().requires_grad_(False)


@pytest.mark.parametrize("name", [name for name in NETS if name not in TURNED])
def test_what_is_not_affine_has_no_bound(name: str) -> None:
    with pytest.raises(NoBound, match=r"no bound: unsupported operator \w+ "):
        read_network(made(name))


@pytest.mark.parametrize("name", TURNED)
def test_nothing_is_proven_that_a_draw_from_the_ball_breaks(name: str) -> None:
    net, x = made(name), torch.rand(N, 4)
    y = net(x).argmax(1)
    ball = ball_of(Linf(EPS), x, (0.0, 1.0))
    assert ball is not None
    proven = prove(read_network(net), ball, y, 3).proven
    broken = torch.zeros(N, dtype=torch.bool)
    for _ in range(300):
        broken |= net((x + EPS * (2 * torch.rand_like(x) - 1)).clamp(0, 1)).argmax(1) != y
    assert proven.any()
    assert broken.any()
    assert not (proven & broken).any()


def test_the_word_of_a_name_is_not_taken() -> None:
    net = Between(lambda h: roll(h) + 0).eval().requires_grad_(False)
    x = torch.rand(N, 4)
    network = read_network(net)
    assert torch.equal(network(x), net(x))
    assert not network.is_affine_between(x[:8])
    assert read_network(made("times a negative number")).is_affine_between(x[:8])
    found = measure_certified_accuracy(net, (x, net(x).argmax(1)), Linf(0.001), at_least=0.1)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no bound: what the graph computes between its nonlinearities is not affine" in found.words.notes


def cancelling(seed: int, size: float, bend: bool, width: int = 24) -> nn.Module:
    """Two large layers whose product is small: what they add up in float32 is rounded in proportion to their size."""
    draw = torch.Generator().manual_seed(seed)
    first, last = nn.Linear(4, 2 * width), nn.Linear(2 * width, 3, bias=False)
    large, small = torch.randn(width, 4, generator=draw) * size, torch.randn(width, 4, generator=draw)
    weights = torch.randn(3, width, generator=draw) / width**0.5
    with torch.no_grad():
        first.weight.copy_(torch.cat([large, large + small]))
        first.bias.zero_()
        last.weight.copy_(torch.cat([-weights, weights], 1))
        if bend:
            first.weight.abs_()  # of inputs in 0..1, no ReLU bends
    layers = [first, nn.ReLU(), last] if bend else [first, last]
    return nn.Sequential(*layers).eval().requires_grad_(False)


@pytest.mark.thinned
@pytest.mark.parametrize("bend", [False, True])
@pytest.mark.parametrize(("size", "some"), [(2.0**16, False), (2.0**4, True)])
def test_what_is_noise_of_large_weights_that_cancel_proves_nothing(size: float, some: bool, bend: bool) -> None:
    proofs = 0
    for seed in range(40):
        net: Any = cancelling(seed, size, bend)
        x = 0.3 + 0.4 * torch.rand(32, 4, generator=torch.Generator().manual_seed(seed))
        weight = net[-1].weight.double() @ net[0].weight.double()
        y = (x.double() @ weight.T).argmax(1)
        ball = ball_of(Linf(0.05), x, (0.0, 1.0))
        assert ball is not None
        found = prove(read_network(net), ball, y, 3)
        difference = weight[y][:, None] - weight
        least = (difference * x.double()[:, None]).sum(2) - 0.05 * difference.abs().sum(2)
        least = least.scatter(1, y[:, None], torch.inf).amin(1)
        assert (found.margin <= least).all(), "a bound above what exact arithmetic gives"
        proofs += int(found.proven.sum())
    assert (proofs > 0) is some


def test_an_interval_is_not_lost_beside_a_large_bias() -> None:
    """Inputs that move by 1e-4, weights and a bias of 10^6 that cancel: the outputs move by 100 or more, either way."""
    first, last = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1e6, 1e6], [0.0, 1e-3]]))
        first.bias.copy_(torch.tensor([-1e6, 0.0]))
        last.weight.copy_(torch.tensor([[-1.0, 0.0], [0.0, 1.0]]))
        last.bias.copy_(torch.tensor([120.0, 0.0]))
    net = nn.Sequential(first, nn.ReLU(), last).eval().requires_grad_(False)
    x = torch.full((1, 2), 0.5)
    ball = ball_of(Linf(1e-4), x, (0.0, 1.0))
    assert ball is not None
    assert not prove(read_network(net), ball, torch.tensor([0]), 2).proven.any()


def test_what_overflows_inside_a_ball_proves_nothing() -> None:
    """A finite answer at the sample itself, and intervals that are no numbers."""
    net: Any = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        for layer in net[::2]:
            layer.bias.zero_()
            layer.weight.zero_()
        net[0].weight.copy_(torch.tensor([[3e38], [-3e38]]))
        net[2].weight.copy_(torch.tensor([[1e38, -1e38], [0.0, 0.0]]))
        net[4].weight.copy_(torch.tensor([[-1.0, 0.0], [0.0, 0.0]]))
        net[4].bias.copy_(torch.tensor([1.0, 0.0]))
    net.eval().requires_grad_(False)
    x = torch.zeros(1, 1)
    assert int(net(x).argmax(1)) == 0
    ball = ball_of(Linf(0.5), x, (-1.0, 1.0))
    assert ball is not None
    assert not prove(read_network(net), ball, torch.tensor([0]), 2).proven.any()
