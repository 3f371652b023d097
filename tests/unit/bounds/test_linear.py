"""Backward linear bounds: exact for linear models, and never above what any input of the ball does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import L1, L2, Linf
from robustest.bounds.graph import read_network
from robustest.bounds.linear import Bounding, ball_of
from robustest.bounds.operations import NoBound
from robustest.engine.proving import prove
from robustest.threats import L0, Threat

BOUNDS = (0.0, 1.0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomised(net: nn.Module, seed: int, scale: float = 1.0) -> nn.Module:
    """A module with normal weights, and statistics that are none of a fresh one."""
    draw = seeded(seed)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            fan = max(1, tensor[0].numel()) if tensor.ndim > 1 else 1
            tensor.copy_(torch.randn(tensor.shape, generator=draw) * scale / fan**0.5)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return net.eval().requires_grad_(False)


class Forward(nn.Module):
    """Layers put together by a function of them and the input."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.layers)


def residual(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
    h = F.relu(a(x - 0.5) / 2)
    return c((h + F.relu(b(h), inplace=True)).flatten(1))  # type: ignore[no-any-return]


def joined(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
    h = a(x).relu()
    pooled = F.max_pool2d(torch.cat([h, -h], dim=1), 2)
    return b(pooled.view(pooled.size(0), -1))  # type: ignore[no-any-return]


SHAPE = (2, 6, 6)
NETS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(72, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4)
    ),
    "leaky": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 12), nn.LeakyReLU(0.2), nn.Linear(12, 4)),
    "tanh": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(72, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4)
    ),
    "sigmoid": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 12), nn.Sigmoid(), nn.Linear(12, 4)),
    "conv": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 2),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 4),
    ),
    "residual": lambda: Forward(
        residual, a=nn.Conv2d(2, 3, 3, padding=1), b=nn.Conv2d(3, 3, 3, padding=1), c=nn.Linear(108, 4)
    ),
    "joined": lambda: Forward(joined, a=nn.Conv2d(2, 2, 3, padding=1), b=nn.Linear(36, 4)),
}  # fmt: skip


def drawn(threat: Threat, x: Tensor, count: int, seed: int) -> Tensor:
    """Inputs (count, B, *S) of the ball: half of them drawn inside, half of them on its corners or edges."""
    region = threat.region(x, BOUNDS)
    keys = torch.arange(len(x))
    out = []
    for draw in range(count):
        z = threat.start(region, keys + 1000 * draw + seed)
        if draw % 2:
            z = threat.project(x + 100 * (z - x), region)
        out.append(threat.render(z, region))
    return torch.stack(out)


@pytest.mark.thinned
@pytest.mark.parametrize("threat", [Linf(0.03), L2(0.15), L1(0.5)], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_no_input_of_the_ball_goes_below_a_bound(name: str, threat: Threat) -> None:
    net = randomised(NETS[name](), seed=1, scale=2.0)
    x = torch.rand(6, *SHAPE, generator=seeded(2))
    y = net(x).argmax(1)
    network, ball = read_network(net), ball_of(threat, x, BOUNDS)
    assert ball is not None
    assert torch.equal(network(x), net(x))
    proof = prove(network, ball, y, 4)
    logits = net(drawn(threat, x, 200, 3).flatten(0, 1)).view(200, 6, 4)
    margin = logits.gather(2, y.expand(200, -1)[..., None]).squeeze(2)
    margin = margin - logits.scatter(2, y.expand(200, -1)[..., None], -torch.inf).amax(2)
    assert (proof.margin <= margin.amin(0)).all()
    assert torch.isfinite(proof.margin).all()
    assert torch.equal(proof.proven, proof.margin > 0)
    smaller = prove(network, ball_of(type(threat)(threat.radius / 50), x, BOUNDS), y, 4)  # type: ignore[call-arg, arg-type]
    assert (smaller.margin > proof.margin).all(), "a smaller ball has larger bounds"
    assert smaller.proven.any(), "bounds that never prove anything would do as well"


@pytest.mark.parametrize("threat", [Linf, L2, L1])
@given(seed=st.integers(0, 10**6), eps=st.floats(0.001, 0.2))
@settings(max_examples=25, deadline=None)
def test_linear_models_are_proven_exactly_where_the_closed_form_says(threat: Any, seed: int, eps: float) -> None:
    net = randomised(nn.Linear(9, 3), seed)
    x = 0.3 + 0.4 * torch.rand(16, 9, generator=seeded(seed + 1))  # the ball stays inside the bounds
    y = net(x).argmax(1)
    ball = ball_of(threat(eps), x, BOUNDS)
    assert ball is not None
    proof = prove(read_network(net), ball, y, 3)
    weight = net.weight.double()  # type: ignore[operator, union-attr]
    logits = net(x).double()
    difference = weight[y][:, None] - weight  # (N, K, S)
    dual = {Linf: difference.abs().sum(2), L2: difference.norm(dim=2), L1: difference.abs().amax(2)}[threat]
    least = logits.gather(1, y[:, None]) - logits - eps * dual
    least = least.scatter(1, y[:, None], torch.inf).amin(1)
    # What rounding is allowed for is in proportion to what is added up, in the map and again at the ball.
    size = (weight.abs() @ (x.abs() + eps).double().T).T + net.bias.abs()  # type: ignore[operator, union-attr]
    allowed = 2.0**-15 * 2 * size.amax(1)
    clear = least.abs() > allowed
    assert clear.double().mean() > 0.9
    assert torch.equal(proof.proven[clear], (least > 0)[clear])
    assert ((proof.margin.double() <= least) & (proof.margin.double() >= least - allowed)).all()


GRID = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 1000)] * 2, indexing="ij"), -1).view(-1, 2)


@given(
    seed=st.integers(0, 10**6),
    bend=st.sampled_from([nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU]),
    eps=st.floats(0.01, 0.5),
)
@settings(max_examples=8, deadline=None)
def test_no_proven_sample_of_a_tiny_network_falls_to_a_grid_of_a_million_points(
    seed: int, bend: type[nn.Module], eps: float
) -> None:
    net = randomised(nn.Sequential(nn.Linear(2, 6), bend(), nn.Linear(6, 6), bend(), nn.Linear(6, 2)), seed, 2.0)
    x = torch.rand(2, 2, generator=seeded(seed))
    y = net(x).argmax(1)
    ball = ball_of(Linf(eps), x, BOUNDS)
    assert ball is not None
    proof = prove(read_network(net), ball, y, 2)
    for one in proof.proven.nonzero().squeeze(1).tolist():
        points = torch.minimum(torch.maximum(x[one] + eps * GRID, ball.low[one]), ball.high[one])
        assert (net(points).argmax(1) == y[one]).all()


def test_intervals_of_every_layer_hold_what_inputs_of_the_ball_reach() -> None:
    for name, make in NETS.items():
        net = randomised(make(), seed=5)
        x = torch.rand(3, *SHAPE, generator=seeded(6))
        network, ball = read_network(net), ball_of(Linf(0.05), x, BOUNDS)
        assert ball is not None
        bounding = Bounding(network, ball)
        with torch.no_grad():
            assert bounding.run()
        inputs = drawn(Linf(0.05), x, 50, 7)
        for draw in inputs:
            values = [draw]
            for place, (segment, bend) in enumerate(zip(network.segments, network.nonlinear, strict=False)):
                before = segment(*(values[p] for p in segment.places))
                low, high = bounding.intervals[place]
                assert (low <= before).all(), name
                assert (before <= high).all(), name
                values.append(bend.value(before))


def test_what_is_bounded_together_moves_nothing_but_the_last_bits() -> None:
    net = randomised(NETS["conv"](), seed=8)
    x = torch.rand(7, *SHAPE, generator=seeded(9))
    y = net(x).argmax(1)
    network, ball = read_network(net), ball_of(Linf(0.02), x, BOUNDS)
    assert ball is not None
    together = prove(network, ball, y, 4).margin
    for one in range(7):
        row = torch.tensor([one])
        assert torch.allclose(prove(network, ball.pick(row), y[row], 4).margin, together[row], atol=1e-4)


def test_a_network_too_large_for_its_ball_is_given_up_before_its_rows_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robustest.bounds.linear._WORK", 8)
    net = randomised(NETS["dense"](), seed=1, scale=3.0)
    x = torch.rand(4, *SHAPE, generator=seeded(2))
    ball = ball_of(Linf(0.5), x, BOUNDS)
    assert ball is not None
    proof = prove(read_network(net), ball, net(x).argmax(1), 4)
    assert not proof.proven.any()
    assert (proof.margin == -torch.inf).all()


def products(x: Tensor, a: nn.Module) -> Tensor:
    return a(x.flatten(1)) * a(x.flatten(1))  # type: ignore[no-any-return]


def branching(x: Tensor, a: nn.Module) -> Tensor:
    return a(x.flatten(1)) if x.mean() > 0.5 else a(-x.flatten(1))  # type: ignore[no-any-return]


def turned(x: Tensor, a: nn.Module) -> Tensor:
    return a(x.flatten(1).T.T)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda x, a: F.gelu(a(x.flatten(1))), "unsupported operator gelu"),
        (lambda x, a: torch.softmax(a(x.flatten(1)), 1), "unsupported operator softmax"),
        (products, "unsupported operator mul of two values"),
        (lambda x, a: 1 / a(x.flatten(1)), "unsupported operator div"),
        (branching, "its graph cannot be read"),
        (turned, r"unsupported attribute \.T"),
        (lambda x, a: torch.add(a(x.flatten(1)), a(x.flatten(1)), alpha=2), "unsupported operator add"),
        (lambda x, a: F.leaky_relu(a(x.flatten(1)), -0.5), r"leaky_relu of slope -0\.5"),
    ],
    ids=lambda value: value.split()[-1] if isinstance(value, str) else "",
)
def test_what_has_no_bound_is_named(forward: Any, says: str) -> None:
    with pytest.raises(NoBound, match=says):
        read_network(Forward(forward, a=nn.Linear(72, 4)).eval())


def test_a_subclass_of_a_known_layer_is_not_taken_for_it() -> None:
    class Doubled(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            return x.abs().sqrt()

    with pytest.raises(NoBound, match=r"unsupported operator (Doubled|abs)"):
        read_network(nn.Sequential(nn.Flatten(), Doubled(), nn.Linear(72, 4)))


def test_a_threat_without_a_closed_form_has_no_ball() -> None:
    assert ball_of(L0(3), torch.rand(2, 4), BOUNDS) is None
