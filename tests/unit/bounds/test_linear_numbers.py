"""Bounds of small networks to the last digits, beside the text's algorithm in slow float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from robustest import L1, L2, Linf
from robustest.bounds import linear
from robustest.bounds.graph import read_network
from robustest.bounds.linear import Ball, Bounding, ball_of, cut, margin_rows
from robustest.bounds.operations import Relu, Sigmoidal, Slopes, dots
from robustest.engine.proving import _ascended
from robustest.threats import L0, Threat

Floats = NDArray[np.float64]
BOUNDS = (0.0, 1.0)
ROUNDING = 2.0**-17
TOLERANCE = 5e-5


def network(sizes: tuple[int, ...], bend: Callable[[], nn.Module], seed: int) -> tuple[nn.Sequential, list[Any]]:
    draw, layers, numbers = torch.Generator().manual_seed(seed), list[nn.Module](), []
    for place, (a, b) in enumerate(pairwise(sizes)):
        layer = nn.Linear(a, b)
        layer.weight.data = torch.randn(b, a, generator=draw) * 1.5 / a**0.5
        layer.bias.data = torch.randn(b, generator=draw) * 0.3
        numbers.append((layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()))
        layers += [layer, bend()] if place < len(sizes) - 2 else [layer]
    return nn.Sequential(*layers).eval().requires_grad_(False), numbers


def slow_least(a: Floats, x: Floats, low: Floats, high: Floats, threat: Any) -> float:
    """The least a . input over the box and, separately, over the ball; the larger of the two."""
    in_box = float(np.where(a > 0, a * low, a * high).sum())
    if isinstance(threat, Linf):
        return in_box
    dual = np.abs(a).max() if isinstance(threat, L1) else np.sqrt((a**2).sum())
    return max(in_box, float(a @ x - threat.radius * dual))


def relu_lines(low: float, high: float, slope: float) -> tuple[float, float, float, float]:
    """The line below and the line above: slope and height each."""
    if low >= 0:
        return 1.0, 0.0, 1.0, 0.0
    if high <= 0:
        return slope, 0.0, slope, 0.0
    chord = (high - slope * low) / (high - low)
    return (1.0 if high >= -low else slope), 0.0, chord, (slope - chord) * low


def slow_bounds(
    numbers: list[Any], x: Floats, threat: Any, slope: float
) -> tuple[list[tuple[Floats, Floats]], Callable[[Floats], float]]:
    """Steps 1 to 3 of the module's text, one row at a time: intervals of each layer, and the bound of a . logits."""
    low = np.clip(x - threat.radius, *BOUNDS)
    high = np.clip(x + threat.radius, *BOUNDS)
    lines: list[list[tuple[float, float, float, float]]] = []

    def backward(depth: int, a: Floats) -> float:
        total = 0.0
        for place in range(depth, -1, -1):
            weight, bias = numbers[place]
            total += float(a @ bias)
            a = a @ weight
            if place:
                inner = np.zeros_like(a)
                for i, (below, start, above, top) in enumerate(lines[place - 1]):
                    inner[i] = a[i] * (below if a[i] > 0 else above)
                    total += a[i] * (start if a[i] > 0 else top)
                a = inner
        return total + slow_least(a, x, low, high, threat)

    intervals: list[tuple[Floats, Floats]] = []
    ends = low, high
    for depth, (weight, bias) in enumerate(numbers[:-1]):
        middle, radius = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
        lows, highs = weight @ middle + bias - np.abs(weight) @ radius, weight @ middle + bias + np.abs(weight) @ radius
        if depth or not isinstance(threat, Linf):
            for i in range(len(lows)):
                if lows[i] < 0 < highs[i]:
                    row = np.eye(len(lows))[i]
                    lows[i], highs[i] = max(lows[i], backward(depth, row)), min(highs[i], -backward(depth, -row))
        intervals.append((lows, highs))
        lines.append([relu_lines(a, b, slope) for a, b in zip(lows, highs, strict=True)])
        ends = np.where(lows > 0, lows, slope * lows), np.where(highs > 0, highs, slope * highs)
    return intervals, lambda a: backward(len(numbers) - 1, a)


THREATS: list[Threat] = [Linf(0.05), Linf(0.3), L2(0.1), L2(0.6), L1(0.2), L1(1.5)]


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("sizes", [(3, 4, 3), (4, 6, 5, 3), (3, 5, 4, 4, 2)])
def test_bounds_and_intervals_are_those_of_the_text(threat: Threat, slope: float, sizes: tuple[int, ...]) -> None:
    net, numbers = network(sizes, lambda: nn.LeakyReLU(slope) if slope else nn.ReLU(), seed=sum(sizes))
    x = torch.rand(3, sizes[0], generator=torch.Generator().manual_seed(1))
    ball = ball_of(threat, x, BOUNDS)
    assert ball is not None
    bounding = Bounding(read_network(net, x), ball)
    assert bounding.run()
    classes = sizes[-1]
    y = net(x).argmax(1)
    margins = bounding.margins(y, classes)
    for row in range(3):
        intervals, bound = slow_bounds(numbers, x[row].double().numpy(), threat, slope)
        for (low, high), (lows, highs) in zip(bounding.intervals, intervals, strict=True):
            # A little wider, by the allowance for rounding.
            assert (low[row].double().numpy() <= lows).all()
            assert (high[row].double().numpy() >= highs).all()
            assert low[row].tolist() == pytest.approx(lows.tolist(), abs=TOLERANCE * 20)
            assert high[row].tolist() == pytest.approx(highs.tolist(), abs=TOLERANCE * 20)
        others = [k for k in range(classes) if k != int(y[row])]
        for place, other in enumerate(others):
            a = np.eye(classes)[int(y[row])] - np.eye(classes)[other]
            exact = bound(a)
            assert exact - 2e-3 < float(margins[row, place]) <= exact
    again = bounding.pick(torch.tensor([2, 0, 2]))
    a, _ = margin_rows(y[[2, 0, 2]], classes)
    found = again.lower(len(sizes) - 2, a, torch.arange(3).repeat_interleave(classes - 1)).view(3, -1)
    assert torch.allclose(found, margins[[2, 0, 2]], atol=1e-6)


def test_the_allowance_for_rounding_is_of_all_that_was_added_up() -> None:
    """One linear layer: 2^-17 of |a| (|W| reach + |b|), twice: for the input and for the map."""
    weight, bias = torch.tensor([[3.0, -1.0], [0.5, 2.0]]), torch.tensor([0.25, -4.0])
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = weight, bias
    for eps, x in product((0.0, 0.125), (torch.tensor([[0.5, 0.25]]), torch.tensor([[-0.5, -0.25]]))):
        ball = ball_of(Linf(eps), x, (-1.0, 1.0))
        assert ball is not None
        bounding = Bounding(read_network(layer.eval().requires_grad_(False), x), ball)
        assert bounding.run()
        margin = float(bounding.margins(torch.tensor([0]), 2)[0, 0])
        a = weight[0] - weight[1]
        exact = float((a * x[0]).sum() + bias[0] - bias[1] - eps * a.abs().sum())
        reach = x[0].abs() + eps
        map_adds = float((weight.abs() @ reach + bias.abs()).sum())
        input_adds = float((a.abs() * reach).sum())
        assert margin == pytest.approx(exact - ROUNDING * (map_adds + input_adds), abs=2e-6)


def test_a_ball_has_the_least_value_of_its_corners() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, generator=draw)
    a = torch.randn(4, 3, generator=draw)
    sample = torch.tensor([0, 1, 1, 0])
    ball = ball_of(Linf(0.3), x, BOUNDS)
    assert ball is not None
    found, magnitude = ball.least(a, sample)
    for row, s in enumerate(sample.tolist()):
        corners = [
            torch.tensor([[ball.low, ball.high][c][s, i] for i, c in enumerate(choice)])
            for choice in product((0, 1), repeat=3)
        ]
        assert float(found[row]) == pytest.approx(min(float(a[row] @ corner) for corner in corners), abs=1e-6)
        middle, reach = (ball.low[s] + ball.high[s]) / 2, (ball.high[s] - ball.low[s]) / 2
        assert float(magnitude[row]) == pytest.approx(float(a[row].abs() @ (middle.abs() + reach)), abs=1e-6)
    for threat, norm in ((L2(0.4), 2), (L1(0.4), torch.inf)):
        ball = ball_of(threat, x, BOUNDS)
        assert ball is not None
        assert (ball.eps, ball.norm) == (0.4, 2 if norm == 2 else 1)
        assert torch.equal(ball.low, (x - 0.4).clamp(0, 1))
        assert torch.equal(ball.high, (x + 0.4).clamp(0, 1))
        found, larger = ball.least(a, sample)
        in_box, base = Ball(x=x, low=ball.low, high=ball.high).least(a, sample)
        dual = 0.4 * torch.linalg.vector_norm(a, norm, dim=1)
        direct = (a * x[sample]).sum(1) - dual
        assert torch.allclose(found, torch.maximum(in_box, direct))
        assert torch.allclose(larger, base + (a.abs() * x[sample].abs()).sum(1) + dual)
        assert bool((direct > in_box).any())
    part = ball.pick(torch.tensor([1]))
    assert (part.x.tolist(), part.eps, part.norm) == (x[1:].tolist(), 0.4, 1)
    assert ball_of(L0(1), x, BOUNDS) is None


def test_rows_of_margins_are_a_label_less_each_other_class() -> None:
    a, sample = margin_rows(torch.tensor([1, 0, 2]), 3)
    assert sample.tolist() == [0, 0, 1, 1, 2, 2]
    assert a.tolist() == [[-1, 1, 0], [0, 1, -1], [1, -1, 0], [1, 0, -1], [-1, 0, 1], [0, -1, 1]]
    assert [part.tolist() for part in cut(torch.arange(5), 2)] == [[0, 1], [2, 3], [4]]
    assert list(cut(torch.arange(0), 2)) == []
    v = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert dots(v, v).tolist() == [5.0, 25.0]
    assert dots(v, v[:1]).tolist() == [5.0, 11.0]


@pytest.mark.parametrize("limit", [4, 5, 6])
def test_a_sample_is_given_up_where_it_needs_more_bounds_than_allowed(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the second layer's elements are undecided in one sample, three in the other: two bounds each."""
    first, second, last = nn.Linear(1, 3), nn.Linear(3, 3), nn.Linear(3, 2)
    first.weight.data, first.bias.data = torch.ones(3, 1), torch.ones(3)
    second.weight.data, second.bias.data = torch.eye(3), torch.tensor([-1.5, -1.5, -1.72])
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last).eval().requires_grad_(False)
    x = torch.tensor([[0.5], [0.6]])
    ball = ball_of(Linf(0.15), x, BOUNDS)
    assert ball is not None
    monkeypatch.setattr(linear, "_WORK", 3 * limit)  # of layers of three
    bounding = Bounding(read_network(net, x), ball)
    assert bounding.run() == (limit >= 4)
    assert bounding.given_up.tolist() == [False, limit < 6]
    monkeypatch.setattr(linear, "_WORK", 3 * 4 - 1)
    assert not Bounding(read_network(net, x), ball).run()


def test_lines_pass_coefficients_by_the_worse_line() -> None:
    below, above = torch.tensor([[0.5, 0.0, 1.0]]), torch.tensor([[1.0, 0.25, 1.0]])
    start, top, reach = (
        torch.tensor([[-1.0, 0.0, 0.0]]),
        torch.tensor([[0.5, 2.0, 0.0]]),
        torch.tensor([[2.0, 4.0, 3.0]]),
    )
    lines = Slopes.of(below, above, start, top, reach)
    a = torch.tensor([[2.0, -1.0, 3.0], [-2.0, 1.0, 0.0]])
    inner, added, size = lines.through(a, torch.tensor([0, 0]))
    assert inner.tolist() == [[1.0, -0.25, 3.0], [-2.0, 0.0, 0.0]]
    assert added.tolist() == [-2.0 - 2.0, -1.0]
    assert lines.magnitude.tolist() == [[1.0 + 2.0, 2.0 + 1.0, 3.0]]
    assert size.tolist() == [6.0 + 3.0 + 9.0, 6.0 + 3.0]


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_lines_of_a_relu_are_the_chord_and_the_smaller_area(slope: float) -> None:
    ends = [(-1.0, 2.0), (-2.0, 1.0), (-1.0, 1.0), (0.0, 2.0), (-2.0, 0.0), (0.5, 0.5), (-0.5, -0.5), (0.0, 0.0)]
    low, high = (torch.tensor([[pair[i] for pair in ends]]) for i in (0, 1))
    lines = Relu(slope).lines(low, high)
    for place, pair in enumerate(ends):
        below, start, above, top = relu_lines(*pair, slope)
        assert float(lines.mean[0, place] - lines.half[0, place]) == pytest.approx(below)
        assert float(lines.mean[0, place] + lines.half[0, place]) == pytest.approx(above)
        assert float(lines.height_mean[0, place] - lines.height_half[0, place]) == pytest.approx(start)
        assert float(lines.height_mean[0, place] + lines.height_half[0, place]) == pytest.approx(top, abs=1e-7)
        steepest = max(abs(below), abs(above))
        assert float(lines.magnitude[0, place]) == pytest.approx(abs(top) + steepest * max(-pair[0], pair[1]), abs=1e-6)
    assert Relu(slope).undecided(low, high).tolist() == [[True, True, True, False, False, False, False, False]]


@pytest.mark.parametrize(("bend", "function", "derivative"), [
    (torch.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    (torch.sigmoid, lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
])  # fmt: skip
def test_lines_of_a_curve_are_tangents_chords_and_least_slopes(bend: Any, function: Any, derivative: Any) -> None:
    ends = [(-2.0, -1.0), (1.0, 3.0), (-1.0, 2.0), (-2.0, 0.0), (0.0, 1.5), (-0.5, 0.5), (0.3, 0.3 + 5e-5)]
    low, high = (torch.tensor([[pair[i] for pair in ends]]) for i in (0, 1))
    lines = Sigmoidal(bend).lines(low, high)
    for place, (a, b) in enumerate(ends):
        m, least = (a + b) / 2, min(derivative(a), derivative(b))
        chord, tangent = (function(b) - function(a)) / (b - a), derivative(m)
        if b - a <= 1e-4 or a < 0 < b:
            below, above = least, least
            start, top = function(a) - below * a, function(b) - above * b
        elif b <= 0:
            below, above = tangent, chord
            start, top = function(m) - tangent * m, function(b) - chord * b
        else:
            below, above = chord, tangent
            start, top = function(a) - chord * a, function(m) - tangent * m
        assert float(lines.mean[0, place] - lines.half[0, place]) == pytest.approx(below, abs=2e-6)
        assert float(lines.mean[0, place] + lines.half[0, place]) == pytest.approx(above, abs=2e-6)
        assert float(lines.height_mean[0, place] - lines.height_half[0, place]) == pytest.approx(start, abs=2e-6)
        assert float(lines.height_mean[0, place] + lines.height_half[0, place]) == pytest.approx(top, abs=2e-6)
    width = torch.tensor([[1e-3, 1.1e-3]])
    assert Sigmoidal(bend).undecided(torch.zeros(1, 2), width).tolist() == [[False, True]]


@pytest.mark.parametrize(("seed", "sizes", "reached"), [
    (16, (2, 4, 2), 0.4446), (26, (2, 4, 2), 0.1800), (28, (2, 4, 2), 1.2590), (3, (3, 5, 3, 2), 1.6760),
    (15, (3, 5, 3, 2), -0.8493), (26, (3, 5, 3, 2), -0.5276),
])  # fmt: skip
def test_twelve_steps_come_as_far_as_the_best_slopes_of_a_grid(
    seed: int, sizes: tuple[int, ...], reached: float
) -> None:
    net, _ = network(sizes, nn.ReLU, seed)
    x = torch.tensor([[0.4, 0.6, 0.5][: sizes[0]]])
    ball = ball_of(Linf(0.25), x, BOUNDS)
    assert ball is not None
    bounding = Bounding(read_network(net, x), ball)
    assert bounding.run()
    y, relus = net(x).argmax(1), {place: Relu() for place in range(len(sizes) - 2)}
    plain, (a, _) = float(bounding.margins(y, 2)), margin_rows(y, 2)
    found = float(_ascended(bounding.pick(torch.tensor([0])), relus, a))
    assert found > plain + 0.05
    assert found == pytest.approx(reached, abs=2e-4)
    if len(relus) == 1:  # the bound is concave in the slopes of one layer, and linear between
        grid = []
        for choice in product((0.0, 0.5, 1.0), repeat=4):
            part = bounding.pick(torch.tensor([0]))
            part.lines[0] = Relu().sloped(*bounding.intervals[0], torch.tensor([choice]))
            grid.append(float(part.lower(1, a, torch.tensor([0]))))
        assert found == pytest.approx(max(grid), abs=2e-2)
