"""Every affine operation moves by its matrix of absolute values, and a maximum by its windows: beside slow code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest.bounds.graph import read_network
from robustest.bounds.operations import MaxPool, NoBound, _pair, _pool

SHAPE = (2, 4, 4)


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def normalised(kind: type[nn.Module], count: int) -> nn.Module:
    module: Any = kind(count)
    module.weight.data = weights(count)
    module.bias.data = weights(count, seed=1)
    module.running_mean.copy_(weights(count, seed=2))
    module.running_var.copy_(weights(count, seed=3).abs() + 0.5)
    made: nn.Module = module.eval()
    return made


def drawn(module: nn.Module) -> nn.Module:
    for place, parameter in enumerate(module.parameters()):
        parameter.data = weights(*parameter.shape, seed=place)
    return module


class Call(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "conv2d": lambda: drawn(nn.Conv2d(2, 3, 3, stride=2, padding=1)),
    "conv1d": lambda: nn.Sequential(nn.Flatten(2), drawn(nn.Conv1d(2, 3, 3))),
    "transposed": lambda: drawn(nn.ConvTranspose2d(2, 3, 2, stride=2)),
    "linear": lambda: nn.Sequential(nn.Flatten(), drawn(nn.Linear(32, 5))),
    "batch norm": lambda: normalised(nn.BatchNorm2d, 2),
    "batch norm 1d": lambda: nn.Sequential(nn.Flatten(2), normalised(nn.BatchNorm1d, 2)),
    "pools": lambda: nn.Sequential(nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)),
    "pads": lambda: nn.Sequential(nn.ZeroPad2d(1), nn.ReflectionPad2d(1), nn.ConstantPad2d(1, -0.75)),
    "shuffle": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2), nn.Dropout().eval(), nn.Identity()),
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x + x.flip(2) - 3.0,
    "difference": lambda x: 0.5 - x - x.roll(1, 3),
    "in place": lambda x: (x * 1).add_(2.0).sub_(0.25).mul_(-3.0).div_(4.0),
    "operators": lambda x: -(x * -2.0) / -0.5 + 1,
    "constant first": lambda x: torch.add(torch.full((2, 4, 4), -0.5), x),
    "by a tensor": lambda x: x * weights(2, 4, 4, seed=5) + weights(2, 1, 1, seed=6),
    "matmul": lambda x: torch.matmul(x, weights(4, 3)),
    "function": lambda x: F.linear(x.flatten(1), weights(3, 32), weights(3, seed=1)),
    "function of a convolution": lambda x: F.conv2d(x, weights(3, 2, 2, 2), bias=weights(3, seed=4)),
    "parts": lambda x: torch.cat([x.chunk(2, dim=1)[1], torch.split(x, 3, dim=1)[0][:, :1] * -2], 1),
    "views": lambda x: x.permute(0, 2, 3, 1).reshape(x.size(0), -1)[:, 1:9].unsqueeze(1).transpose(1, 2).squeeze(2),
    "means": lambda x: x.mean((2, 3)) - x.sum(1).mean((1, 2)).unsqueeze(1),
    "stack": lambda x: torch.stack([x, -x, x.flip(1)], 1).narrow(1, 1, 2),
}
NETS: dict[str, Callable[[], nn.Module]] = {
    **MODULES,
    **{name: partial(Call, function) for name, function in FUNCTIONS.items()},
}


@pytest.mark.parametrize("name", NETS)
def test_an_affine_map_moves_by_its_matrix_without_signs(name: str) -> None:
    net = NETS[name]().requires_grad_(False)
    x = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1)) - 0.3
    radius = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(2))
    (segment,) = read_network(net, x).segments
    assert torch.equal(segment(x), net(x))
    jacobian: Any = torch.func.jacrev(net)(x[:1])
    matrix = jacobian.reshape(net(x)[0].numel(), -1)
    assert torch.allclose(matrix @ x[1].flatten() + net(0 * x[:1]).flatten(), net(x)[1].flatten(), atol=1e-4)
    spread = segment.spread([x], [radius])
    expected = radius.flatten(1) @ matrix.abs().T
    # Where elements meet twice the text's rule may say more, and never less.
    assert bool((spread.flatten(1) >= expected - 1e-5).all())
    if name not in {"means", "sum", "difference", "pads", "pools"}:
        assert torch.allclose(spread.flatten(1), expected, atol=1e-5)
    reach = x.abs() + radius
    magnitude = segment.magnitude([x], [reach])
    constant = net(0 * x[:1]).flatten().abs()
    assert bool((magnitude.flatten(1) >= reach.flatten(1) @ matrix.abs().T + constant - 1e-4).all())
    if name in {"conv2d", "linear", "function", "matmul", "transposed", "batch norm", "by a tensor"}:
        assert torch.allclose(magnitude.flatten(1), reach.flatten(1) @ matrix.abs().T + constant, atol=1e-4)


@pytest.mark.parametrize(
    "pool",
    [
        MaxPool(kernel=(2, 2), stride=(2, 2)),
        MaxPool(kernel=(3, 2), stride=(1, 2), padding=(1, 0)),
        MaxPool(kernel=(2, 2), stride=(1, 1), dilation=(2, 3)),
        MaxPool(kernel=(3, 3), stride=(2, 1), padding=(1, 1), dilation=(1, 2)),
    ],
    ids=str,
)
def test_a_maximum_is_bounded_window_by_window(pool: MaxPool) -> None:
    low = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    width = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(1)) * 0.3
    high = low + width
    lines, value = pool.lines(low, high), pool.value(low)
    outputs = value[0].numel()
    alone, highest, magnitude = (
        one.reshape(2, 3, *value.shape[2:]) for one in (lines.alone, lines.highest, lines.magnitude)
    )
    index = lines.index.view(2, 3, *value.shape[2:])
    for row, channel, i, j in product(range(2), range(3), range(value.shape[2]), range(value.shape[3])):
        places = [
            (r, c)
            for u, v in product(range(pool.kernel[0]), range(pool.kernel[1]))
            if 0 <= (r := i * pool.stride[0] - pool.padding[0] + u * pool.dilation[0]) < 5
            and 0 <= (c := j * pool.stride[1] - pool.padding[1] + v * pool.dilation[1]) < 6
        ]
        best = max(places, key=lambda place: float(low[row, channel, place[0], place[1]]))
        lowest = float(low[row, channel, best[0], best[1]])
        others = [float(high[row, channel, r, c]) for r, c in places if (r, c) != best]
        top = max(float(high[row, channel, r, c]) for r, c in places)
        assert int(index[row, channel, i, j]) == channel * 30 + best[0] * 6 + best[1]
        assert bool(alone[row, channel, i, j]) == (lowest >= max(others, default=-1.0))
        assert float(highest[row, channel, i, j]) == top
        assert float(magnitude[row, channel, i, j]) == max(-lowest, top)
    a = torch.randn(4, 3, *value.shape[2:], generator=torch.Generator().manual_seed(3))
    sample = torch.tensor([0, 1, 1, 0])
    inner, added, size = lines.through(a, sample)
    for row, s in enumerate(sample.tolist()):
        wanted, constant, adds = torch.zeros(90), 0.0, 0.0
        for place in range(outputs):
            coefficient = float(a[row].flatten()[place])
            adds += abs(coefficient) * float(magnitude[s].flatten()[place])
            if coefficient > 0 or bool(alone[s].flatten()[place]):
                wanted[int(index[s].flatten()[place])] += coefficient
            else:
                constant += coefficient * float(highest[s].flatten()[place])
        assert torch.allclose(inner[row].flatten(), wanted, atol=1e-5)
        assert (float(added[row]), float(size[row])) == pytest.approx((constant, adds), abs=1e-4)
    assert pool.undecided(low, low).any().item() is False
    assert pool.undecided(low, high).all().item() is True


def test_settings_of_a_maximum_have_these_defaults() -> None:
    assert _pool({"kernel_size": 3}) == MaxPool(kernel=(3, 3), stride=(3, 3), padding=(0, 0), dilation=(1, 1))
    given = {"kernel_size": [2, 3], "stride": [], "padding": (1, 0), "dilation": 2}
    assert _pool(given) == MaxPool(kernel=(2, 3), stride=(2, 3), padding=(1, 0), dilation=(2, 2))
    assert _pool({"kernel_size": 2, "stride": 1}).stride == (1, 1)
    assert [_pair(value) for value in (None, [], 2, (3, 4), [5])] == [None, None, (2, 2), (3, 4), (5, 5)]
    for wrong in ({"ceil_mode": True}, {"return_indices": True}):
        with pytest.raises(NoBound, match="ceil_mode or return_indices"):
            _pool({"kernel_size": 2, **wrong})


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: torch.add(x, x, alpha=2), "alpha"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "rounding_mode"),
        (lambda x: x.to(torch.float64).mul(2), "to"),
        (lambda x: x.mean((2, 3), dtype=torch.float64), "dtype"),
        (lambda x: F.batch_norm(x, None, None, training=True), "batch"),
        (lambda x: F.batch_norm(x, torch.zeros(2), torch.ones(2), training=True), "batch"),
        (lambda x: x * x, "mul"),
        (lambda x: x.exp(), "exp"),
    ],
)
def test_operations_that_are_not_what_their_name_says_have_no_bound(function: Any, says: str) -> None:
    with pytest.raises(NoBound, match=says):
        read_network(Call(function), torch.rand(2, *SHAPE))


def test_modules_that_compute_something_else_have_no_bound() -> None:
    hooked, trained, bare = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False).eval()
    hooked.register_forward_hook(lambda *_: None)
    for module in (hooked, trained, bare):
        with pytest.raises(NoBound):
            read_network(nn.Sequential(module), torch.rand(2, *SHAPE))
