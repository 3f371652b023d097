"""Graphs that only `torch.export` reads: the model's to the last bit, or none."""

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

N, SHAPE = 24, (2, 7, 7)


def same(x: Tensor) -> Tensor:
    """Padded so that a convolution of stride 2 and kernel 3 keeps half of each side, as TensorFlow does."""
    rows, columns = (max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in x.shape[-2:])
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


class Padded(nn.Module):
    """A residual network whose forward computes with shapes, and something more."""

    def __init__(self, more: Callable[[Tensor], Tensor] = lambda h: h, *, inplace: bool = False) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3, 2), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4, 3)
        self.more, self.inplace = more, inplace
        draw = torch.Generator().manual_seed(0)
        for name, values in self.state_dict().items():
            if values.is_floating_point():
                values.copy_(torch.randn(values.shape, generator=draw) / 2)
                if name.endswith("running_var"):
                    values.abs_().add_(0.5)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.first(same((x - 0.5) * 2))), inplace=self.inplace)
        h = F.relu(self.more(self.second(h)) + h, inplace=self.inplace)
        return self.last(h.mean((2, 3)))  # type: ignore[no-any-return]


def inputs() -> Tensor:
    return torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_forward_that_computes_with_shapes_is_bounded(inplace: bool) -> None:
    net, x = Padded(inplace=inplace), inputs()
    with pytest.raises(NoBound, match="its graph cannot be read"):
        read_network(net)
    network = read_network(net, x)
    for rows in (1, 2, N):
        assert torch.equal(network(x[:rows]), net(x[:rows]))
    assert network.is_affine_between(x[:8])
    y = net(x).argmax(1)
    for eps in (0.001, 0.01, 0.1):
        ball = ball_of(Linf(eps), x, (0.0, 1.0))
        assert ball is not None
        proof = prove(network, ball, y, 3)
        draw = torch.Generator().manual_seed(2)
        for turn in range(200):
            moved = 2 * torch.rand(x.shape, generator=draw) - 1
            logits = net((x + eps * (moved if turn % 2 else moved.sign())).clamp(0, 1))
            margin = logits.gather(1, y[:, None])[:, 0] - logits.scatter(1, y[:, None], -torch.inf).amax(1)
            assert (proof.margin <= margin).all()
        assert bool(proof.proven.any()) or eps > 0.001


def test_a_claim_takes_it() -> None:
    net, x = Padded(), inputs()
    net.last.bias -= net(x).mean(0)  # no class is favoured
    result = measure_certified_accuracy(
        net, (x, net(x).argmax(1)), Linf(0.0001), at_least=0.6, attack="fgsm", exact=True
    )
    assert result.verdict is Verdict.PASSED
    assert result.details["proven"] > 0


def batch_norm(h: Tensor) -> Tensor:
    return F.batch_norm(h, None, None, training=True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (torch.sin, "unsupported operator sin"),
        (lambda h: h * h, "unsupported operator mul of two values"),
        (lambda h: h.div(0.5, rounding_mode="floor"), "unsupported operator div"),
        (lambda h: h + h.round(), "unsupported operator round"),
        (lambda h: torch.add(h, h, alpha=2), "unsupported operator add"),
        (
            batch_norm,
            "unsupported operator (batch_norm by statistics|_native_batch_norm_legit)",
        ),  # torch 2.5 names it so
        (lambda h: 1 / (h + 9), "unsupported operator"),
        (lambda h: h if h.mean() > 0 else -h, "its graph cannot be read"),
        (lambda h: h.to(torch.float64).float(), "unsupported operator"),
    ],
)
def test_what_has_no_bound_is_named_here_too(more: Callable[[Tensor], Tensor], says: str) -> None:
    with pytest.raises(NoBound, match=says):
        read_network(Padded(more), inputs())


def test_a_hook_is_part_of_what_is_read() -> None:
    net: Any = Padded()
    net.second.register_forward_hook(lambda _, __, output: output.round())
    with pytest.raises(NoBound, match="unsupported operator round"):
        read_network(net, inputs())


def test_what_a_forward_remembers_makes_another_graph_and_proves_nothing() -> None:
    class Counting(Padded):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x) * (1 if self.calls < 3 else -1)

    net, x = Counting(), inputs()
    y = Padded()(x).argmax(1)
    result = measure_certified_accuracy(net, (x, y), Linf(0.0005), at_least=0.3, attack="fgsm", cache=False)
    assert result.details["proven"] == 0
