"""Networks that look affine between their nonlinearities and are not: no sample may be proven and broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest import Linf, Verdict, measure_certified_accuracy
from robustest.bounds import NoBound, ball_of, prove, read_network

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
    assert "no bound: what the graph computes between its nonlinearities is not affine" in found.notes
