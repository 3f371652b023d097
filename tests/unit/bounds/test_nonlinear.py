"""Lines of nonlinearities: on their side over a whole interval, and as near as their kind allows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from robustest.bounds.operations import MaxPool, NoBound, Relu, Sigmoidal, Slopes, dots, nonlinear_of

BENDS: dict[str, Any] = {
    "relu": Relu(),
    "leaky": Relu(0.2),
    "steep": Relu(1.0),
    "sigmoid": Sigmoidal(torch.sigmoid),
    "tanh": Sigmoidal(torch.tanh),
}
every_bend = pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)


def ends_of(lines: Slopes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Slopes below and above, and heights at zero below and above."""
    return (
        lines.mean - lines.half,
        lines.mean + lines.half,
        lines.height_mean - lines.height_half,
        lines.height_mean + lines.height_half,
    )


def gaps(bend: Any, low: float, high: float, points: int = 101) -> tuple[Tensor, Tensor]:
    """How far a function lies above its lower line, and below its upper one, over an interval."""
    ends = torch.tensor([[low]], dtype=torch.float64), torch.tensor([[high]], dtype=torch.float64)
    below, above, start_below, start_above = ends_of(bend.lines(*ends))
    x = torch.linspace(low, high, points, dtype=torch.float64)
    value = bend.value(x)
    return value - (below * x + start_below).flatten(), (above * x + start_above).flatten() - value


@every_bend
@given(middle=st.floats(-6, 6), width=st.sampled_from([0.0, 1e-6, 9e-5, 1.1e-4, 0.01, 0.5, 3.0, 9.0]))
@settings(max_examples=60)
def test_a_function_lies_between_its_lines(bend: Any, middle: float, width: float) -> None:
    under, over = gaps(bend, middle - width / 2, middle + width / 2)
    assert float(under.min()) >= -1e-6
    assert float(over.min()) >= -1e-6


@pytest.mark.parametrize("bend", [BENDS["sigmoid"], BENDS["tanh"]], ids=["sigmoid", "tanh"])
@pytest.mark.parametrize(("low", "high"), [(-3.0, -0.5), (-0.4, 0.0), (-0.8, -0.7)])
def test_where_a_curve_bends_one_way_a_tangent_and_the_chord_hold_it(bend: Any, low: float, high: float) -> None:
    """Below zero it bends upwards: the chord is above, a tangent in the middle below; beyond zero the other way."""
    under, over = gaps(bend, low, high)
    assert float(over[0]) == pytest.approx(0, abs=1e-6)
    assert float(over[-1]) == pytest.approx(0, abs=1e-6)
    assert int(under.argmin()) == 50
    assert float(under[50]) == pytest.approx(0, abs=1e-6)
    under, over = gaps(bend, -high, -low)
    assert float(under[0]) == pytest.approx(0, abs=1e-6)
    assert float(under[-1]) == pytest.approx(0, abs=1e-6)
    assert int(over.argmin()) == 50
    assert float(over[50]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bend", [BENDS["sigmoid"], BENDS["tanh"]], ids=["sigmoid", "tanh"])
@pytest.mark.parametrize(("low", "high"), [(-2.0, 1.0), (-0.1, 4.0), (-3.0, 0.01)])
def test_around_zero_two_lines_of_the_least_slope_go_through_the_ends(bend: Any, low: float, high: float) -> None:
    ends = torch.tensor([[low]], dtype=torch.float64), torch.tensor([[high]], dtype=torch.float64)
    below, above, _, _ = ends_of(bend.lines(*ends))
    slopes = [torch.func.grad(bend.function)(end.squeeze()) for end in ends]
    assert float(below) == pytest.approx(float(min(slopes)))
    assert float(above) == pytest.approx(float(min(slopes)))
    under, over = gaps(bend, low, high)
    assert float(under[0]) == pytest.approx(0, abs=1e-6)
    assert float(over[-1]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bend", [BENDS["sigmoid"], BENDS["tanh"]], ids=["sigmoid", "tanh"])
@pytest.mark.parametrize("middle", [-2.0, 0.0, 2.0])
def test_lines_of_a_narrow_interval_lie_close_together(bend: Any, middle: float) -> None:
    for width in (0.0, 5e-5, 2e-4, 1e-3):
        for gap in gaps(bend, middle - width / 2, middle + width / 2):
            assert float(gap.max()) <= 0.3 * width**2 + 1e-7


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_an_undecided_relu_has_its_chord_above_and_the_smaller_area_below(slope: float) -> None:
    bend = Relu(slope)
    for low, high, below in ((-1.0, 2.0, 1.0), (-1.0, 1.0, 1.0), (-2.0, 1.0, slope)):
        under, over = gaps(bend, low, high)
        assert float(over[0]) == pytest.approx(0, abs=1e-6)
        assert float(over[-1]) == pytest.approx(0, abs=1e-6)
        lines = bend.lines(torch.tensor([[low]]), torch.tensor([[high]]))
        assert float(ends_of(lines)[0]) == pytest.approx(below)
        assert float(under.min()) == pytest.approx(0, abs=1e-6)
    for low, high in ((-2.0, 0.0), (0.0, 2.0), (-2.0, -1.0), (1.0, 2.0), (0.0, 0.0)):
        for gap in gaps(bend, low, high):
            assert float(gap.abs().max()) <= 1e-6, "decided: it is its own line"


def test_any_slope_between_the_two_holds_below_a_relu() -> None:
    low, high = torch.tensor([[-1.0, -1.0, -2.0]]), torch.tensor([[2.0, 1.0, -1.0]])
    lines = Relu(0.1).sloped(low, high, torch.tensor([[0.5, 0.1, 0.7]]))
    assert torch.allclose(ends_of(lines)[0], torch.tensor([[0.5, 0.1, 0.1]]))


def test_an_interval_is_undecided_where_a_smaller_one_would_help() -> None:
    low, high = torch.tensor([-1.0, 0.0, -1.0, 1.0]), torch.tensor([1.0, 1.0, 0.0, 2.0])
    assert Relu().undecided(low, high).tolist() == [True, False, False, False]
    width = torch.tensor([0.0, 9e-4, 1.1e-3])
    assert Sigmoidal(torch.tanh).undecided(torch.zeros(3), width).tolist() == [False, False, True]
    assert MaxPool(kernel=(2, 2), stride=(2, 2)).undecided(torch.zeros(3), width).tolist() == [False, True, True]


@every_bend
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_coefficients_pass_to_a_bound_that_no_input_goes_below(bend: Any, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    low = torch.randn(3, 2, 4, generator=draw)
    high = low + torch.rand(3, 2, 4, generator=draw) * (torch.rand(3, 2, 4, generator=draw) > 0.2)
    a, sample = torch.randn(5, 2, 4, generator=draw), torch.tensor([0, 1, 2, 2, 0])
    lines = bend.lines(low, high)
    inner, added, size = lines.through(a, sample)
    for _ in range(8):
        x = low + (high - low) * torch.rand(low.shape, generator=draw)
        reached = dots(a, bend.value(x)[sample])
        bound = dots(inner, x[sample]) + added
        assert bool((bound <= reached + 1e-5).all())
    middle = (low + high) / 2
    reach = torch.maximum(-low, high)
    below, above, start_below, start_above = ends_of(lines)
    most = torch.maximum(start_below.abs(), start_above.abs()) + torch.maximum(below.abs(), above.abs()) * reach
    assert torch.allclose(size, dots(a.abs(), most[sample]), atol=1e-5)
    point = bend.lines(middle, middle)
    inner, added, _ = point.through(a, sample)
    exact = dots(a, bend.value(middle)[sample])
    assert torch.allclose(dots(inner, middle[sample]) + added, exact, atol=1e-5), "a point has one value"
    one, alone, _ = lines.through(a, torch.tensor([1]))
    each, added, _ = lines.through(a, torch.ones(5, dtype=torch.int64))
    assert torch.allclose(one, each)
    assert torch.allclose(alone, added, atol=1e-5)


POOLS = [
    MaxPool(kernel=(2, 2), stride=(2, 2)),
    MaxPool(kernel=(3, 2), stride=(2, 1), padding=(1, 0)),
    MaxPool(kernel=(2, 3), stride=(1, 2), padding=(0, 1)),
    MaxPool(kernel=(2, 2), stride=(1, 1), dilation=(2, 3)),
    MaxPool(kernel=(1, 3), stride=(3, 1), padding=(0, 1), dilation=(1, 2)),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
@given(seed=st.integers(0, 10**6), width=st.sampled_from([0.0, 0.02, 1.0]))
@settings(max_examples=15)
def test_the_largest_of_a_window_is_bounded_by_its_own_elements(pool: MaxPool, seed: int, width: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    low = torch.randn(3, 2, 7, 8, generator=draw) - 3  # below zero, so that padding would be the largest
    high = low + width * torch.rand(low.shape, generator=draw)
    lines = pool.lines(low, high)
    shape = pool.value(low).shape
    assert torch.equal(low.flatten(1).gather(1, lines.index).view(shape), pool.value(low)), "the largest lower end"
    assert torch.equal(lines.highest, pool.value(high))
    assert torch.equal(lines.magnitude, torch.maximum(-pool.value(low), pool.value(high)))
    a, sample = torch.randn(4, *shape[1:], generator=draw), torch.tensor([0, 1, 2, 1])
    inner, added, size = lines.through(a, sample)
    assert torch.allclose(size, dots(a.abs(), lines.magnitude[sample]))
    for _ in range(6):
        x = low + (high - low) * torch.rand(low.shape, generator=draw)
        out = pool.value(x)
        assert bool((dots(inner, x[sample]) + added <= dots(a, out[sample]) + 1e-4).all())
        chosen = x.flatten(1).gather(1, lines.index).view(shape)
        assert torch.equal(out[lines.alone], chosen[lines.alone]), "no other can be larger"
    assert bool(lines.alone.any())
    if not width:
        assert torch.allclose(dots(inner, low[sample]) + added, dots(a, pool.value(low)[sample]), atol=1e-4)
        assert bool(lines.alone.all())


def node_of(call: Any) -> tuple[fx.Node, nn.Module]:
    """The node of a call, of a module or a function, in a graph."""

    class Called(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return call(x)  # type: ignore[no-any-return]

    root = nn.Sequential(call) if isinstance(call, nn.Module) else Called()
    graph = fx.Tracer().trace(root)
    return next(node for node in graph.nodes if node.op in ("call_module", "call_function", "call_method")), root


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (nn.MaxPool2d(2), MaxPool(kernel=(2, 2), stride=(2, 2))),
        (nn.MaxPool2d((2, 3)), MaxPool(kernel=(2, 3), stride=(2, 3))),
        (nn.MaxPool2d(3, 2, 1), MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1))),
        (
            nn.MaxPool2d(3, (1, 2), (0, 1), (2, 1)),
            MaxPool(kernel=(3, 3), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),
        ),
        (lambda x: F.max_pool2d(x, 2), MaxPool(kernel=(2, 2), stride=(2, 2))),
        (lambda x: F.max_pool2d(x, [3], 1), MaxPool(kernel=(3, 3), stride=(1, 1))),
        (lambda x: F.max_pool2d(x, 3, padding=1), MaxPool(kernel=(3, 3), stride=(3, 3), padding=(1, 1))),
        (
            lambda x: F.max_pool2d(x, kernel_size=3, stride=2, dilation=2),
            MaxPool(kernel=(3, 3), stride=(2, 2), dilation=(2, 2)),
        ),
        (nn.LeakyReLU(), Relu(0.01)),
        (nn.LeakyReLU(0.3), Relu(0.3)),
        (nn.LeakyReLU(0.0), Relu(0.0)),
        (nn.LeakyReLU(1.0), Relu(1.0)),
        (F.leaky_relu, Relu(0.01)),
        (lambda x: F.leaky_relu(x, 0.4), Relu(0.4)),
        (lambda x: F.leaky_relu(x, negative_slope=0.5), Relu(0.5)),
        (torch.relu, Relu()),
        (nn.ReLU(), Relu()),
        (torch.tanh, Sigmoidal(torch.tanh)),
        (nn.Sigmoid(), Sigmoidal(torch.sigmoid)),
    ],
)
def test_settings_are_read_from_modules_and_functions(call: Any, expected: Any) -> None:
    found = nonlinear_of(*node_of(call))
    assert found == expected
    if isinstance(found, MaxPool):
        x = torch.rand(2, 3, 9, 9)
        assert torch.equal(found.value(x), call(x))


@pytest.mark.parametrize(
    "call",
    [
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        nn.LeakyReLU(-0.01),
        nn.LeakyReLU(1.01),
        lambda x: F.leaky_relu(x, 1.5),
        lambda x: F.max_pool2d(x, 2, ceil_mode=True),
    ],
)
def test_settings_without_lines_are_refused(call: Any) -> None:
    with pytest.raises(NoBound, match="unsupported operator"):
        nonlinear_of(*node_of(call))
