"""What is read of a network's graph: older batch norms, branches, refusals; and what shows that it is affine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest.bounds import graph
from robustest.bounds.graph import exported, read_network
from robustest.bounds.operations import NoBound, _leaky


class Call(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Normalised(nn.Module):
    """Two batch norms in a forward that computes with shapes, as one tensor or as a tuple of one."""

    def __init__(self, *, tuple_of_one: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.tuple_of_one = tuple_of_one
        for place, (name, values) in enumerate(self.state_dict().items()):
            if values.is_floating_point():
                values.copy_(drawn(*values.shape, seed=place))
                if name.endswith("running_var"):
                    values.abs_().add_(0.5)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Any:
        h = F.relu(self.first(F.pad(x, (0, max(4 - x.shape[-1], 0)))))
        found = self.last(F.relu(self.second(h)))
        return (found,) if self.tuple_of_one else found


@pytest.mark.parametrize(("decomposed", "tuple_of_one"), [(False, True), (True, False), (True, True)])
def test_batch_norms_are_read_as_older_and_newer_torch_write_them(
    decomposed: bool, tuple_of_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch 2.5 writes an operation of three outputs, of which the first is read."""
    plain = torch.export.export

    def older(*args: Any, **given: Any) -> Any:
        return plain(*args, **given).run_decompositions({})

    if decomposed:
        monkeypatch.setattr(torch.export, "export", older)
    net, x = Normalised(tuple_of_one=tuple_of_one), drawn(6, 4)
    root, read = exported(net, x, ValueError("why"))
    names = [str(node.target) for node in read.nodes]
    assert names.count("aten.batch_norm.default") == 2
    assert not any("_native_batch_norm" in name or "getitem" in name or "_guards" in name for name in names)
    network = graph._Reader(root, read).read()
    out = net(x)
    assert torch.allclose(network(x), out[0] if tuple_of_one else out, atol=1e-6)
    for rows in (1, 2):
        assert torch.allclose(network(x[:rows]), network(x)[:rows], atol=1e-6)
    assert network.is_affine_between(x)
    (spread,) = [one.spread([x], [torch.ones_like(x)]) for one in network.segments[:1]]
    module = net.first
    scale = (module.weight / (module.running_var + module.eps).sqrt()).abs()  # type: ignore[union-attr, operator]
    assert torch.allclose(spread, scale.expand_as(spread), atol=1e-5)


def test_a_graph_that_is_not_read_says_why_and_leaves_the_log_as_it_was() -> None:
    log = logging.getLogger("torch")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        with pytest.raises(NoBound, match=r"cannot be read \(first line\)$") as refused:
            exported(Normalised(), None, ValueError("first line\nsecond line"))
        assert isinstance(refused.value.__cause__, ValueError)
        branching = Call(lambda x: x if x.sum() > 0 else -x)
        with pytest.raises(NoBound, match=r"cannot be read \(why\)$"):
            exported(branching, drawn(6, 4), ValueError("why"))
        assert log.level == logging.WARNING
        exported(Normalised(), drawn(1, 4), ValueError("why"))  # any number of rows, from an example of one
        assert log.level == logging.WARNING
    finally:
        log.setLevel(before)
    with pytest.raises(NoBound, match=rf"\({'x' * 120}\)$"):
        exported(Normalised(), None, ValueError("x" * 200))


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Two(), "several inputs"),
        (Call(lambda x: (x, x)), "something else than one tensor"),
        (Call(lambda _: torch.ones(2, 3)), "something else than one tensor"),
        (Call(lambda x: x.T), r"unsupported attribute \.T"),
        (Call(lambda x: torch.full((2,), 2.0) / x), "div of two values"),
        (Call(lambda x: F.linear(torch.ones(3, 4), x)), "linear of two values"),
        (Call(lambda x: torch.matmul(x, x.transpose(1, 2))), "matmul of two values"),
        (Call(lambda x: x * x), "mul of two values"),
        (Call(lambda x: F.leaky_relu(x, -0.1)), "leaky_relu of slope -0.1"),
        (Call(lambda x: F.leaky_relu(x, 1.5)), "leaky_relu of slope 1.5"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_has_no_bound_is_refused(module: nn.Module, says: str) -> None:
    with pytest.raises(NoBound, match=says):
        read_network(module)


def test_a_constant_may_stand_first_where_a_product_commutes() -> None:
    weight = drawn(5, 3)
    for function in (lambda x: torch.mul(torch.full((3,), 2.0), x), lambda x: torch.matmul(weight, x)):
        x = drawn(2, 3, 3)
        network = read_network(Call(function))
        assert torch.allclose(network(x), function(x))


def test_slopes_between_zero_and_one_have_lines() -> None:
    assert [_leaky({"negative_slope": slope}).slope for slope in (0, 0.25, 1)] == [0, 0.25, 1]
    assert _leaky({}).slope == 0.01
    network = read_network(Call(lambda x: F.leaky_relu(F.max_pool2d(x, 2, 1, padding=1), 0.3)))
    pool, bend = network.nonlinear
    assert (pool.kernel, pool.stride, pool.padding, bend.slope) == ((2, 2), (1, 1), (1, 1), 0.3)  # type: ignore[attr-defined]


def test_segments_end_at_nonlinearities_and_take_several() -> None:
    """y = relu(x), z = relu(x + y), out = y + z + x: three segments, of one, two and three arguments."""

    def function(x: Tensor) -> Tensor:
        y = F.relu(x - 0.25)
        z = F.relu(x + 2 * y - 0.5)
        return y + z - x + x.shape[1]

    network, x = read_network(Call(function)), drawn(3, 4)
    assert [one.places for one in network.segments] == [(0,), (0, 1), (0, 1, 2)]
    assert torch.allclose(network(x), function(x))
    ones = [torch.ones(3, 4)] * 3
    values = [x, F.relu(x), F.relu(x)]
    assert [
        float(one.spread(values[: len(one.places)], ones[: len(one.places)]).max()) for one in network.segments
    ] == [1, 3, 3]
    sizes = [float(one.magnitude(values[: len(one.places)], ones[: len(one.places)]).max()) for one in network.segments]
    assert sizes == pytest.approx([1.25, 3.5, 7.0])


def test_a_spread_below_zero_shows_a_wrong_operation() -> None:
    network, x = read_network(Call(lambda x: x + 1)), torch.zeros(2, 3)
    assert network.segments[0].spread([x], [torch.zeros(2, 3)]).tolist() == [[0.0] * 3] * 2
    for below in (-1e-6, -1.0):
        radius = torch.zeros(2, 3)
        radius[1, 2] = below
        with pytest.raises(NoBound, match="the spread of add is not known"):
            network.segments[0].spread([x], [radius])


class Bent(nn.Module):
    """Stands in for a segment: affine but for a bend at zero of this size, or a part of the rows beside."""

    def __init__(self, bend: float, beside: float) -> None:
        super().__init__()
        self.bend, self.beside, self.places = bend, beside, (0,)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + 1 + self.bend * x.abs() + self.beside * (len(x) > 1)


@pytest.mark.parametrize(
    ("bend", "beside", "affine"),
    [(0.0, 0.0, True), (0.1, 0.0, False), (2e-3, 0.0, False), (1e-5, 0.0, True), (0.0, 0.1, False), (0.0, 1e-5, True)],
)
def test_an_affine_map_takes_a_middle_to_the_middle_and_a_row_alone_to_itself(
    bend: float, beside: float, affine: bool
) -> None:
    x = torch.tensor([[-1.0, 2.0], [3.0, -1.0], [0.5, 0.5]])
    segment: Any = Bent(bend, beside)
    network = graph.Network(segments=(segment,), nonlinear=())
    assert network.is_affine_between(x) is affine
    behind = graph.Network(segments=(read_network(Call(lambda x: x - 0.1)).segments[0], segment), nonlinear=())
    assert behind.is_affine_between(x) is affine


def test_later_segments_see_what_nonlinearities_give() -> None:
    """A bend at zero does not show behind a rectifier, whose outputs are not below zero."""
    read = read_network(Call(lambda x: F.relu(x) * 2))
    x = torch.tensor([[-1.0, 2.0], [3.0, -1.0], [0.5, 0.5]])
    segment: Any = Bent(0.1, 0.0)
    segment.places = (1,)
    network = graph.Network(segments=(read.segments[0], segment), nonlinear=read.nonlinear)
    assert network.is_affine_between(x)
    assert torch.allclose(network(x), 2.1 * F.relu(x) + 1)


def test_maps_of_one_feature_and_maps_to_zero_are_looked_at_alike() -> None:
    x = torch.tensor([[-1.0], [3.0], [0.5]])
    for bend, affine in ((0.1, False), (0.0, True)):
        segment: Any = Bent(bend, 0.0)
        assert graph.Network(segments=(segment,), nonlinear=()).is_affine_between(x) is affine
    nothing = read_network(Call(lambda x: x * 0))
    assert nothing.is_affine_between(x)
    assert read_network(Call(lambda x: F.relu(x * 0) * 2)).is_affine_between(x)
