"""Counts of the experiments with gradients beside slow code, sample by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf, Snr, rng
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import (
    _unit,
    count_unreached,
    probe_gradient,
    probe_inputs,
    probe_precision,
    two_balls,
    windowed,
)
from robustest.engine.search import on_scale, shares
from robustest.health import unlikely
from robustest.models import as_classifier

CPU = torch.device("cpu")


class Scaled(torch.autograd.Function):
    """The number itself, whose gradient is too large by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, by: float) -> Tensor:
        ctx.by = by
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.by, None


class Net(nn.Module):
    """A small net; a part of its logits has a gradient that is off by a factor."""

    def __init__(self, factor: float, seed: int = 0, features: int = 6) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.a = nn.Parameter(torch.randn(8, features, generator=draw))
        self.b = nn.Parameter(torch.randn(3, 8, generator=draw))
        self.c = nn.Parameter(torch.randn(3, features, generator=draw) * 0.4)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        wrong: Any = Scaled.apply(x, self.factor)  # type: ignore[no-untyped-call]
        out: Tensor = torch.tanh(x @ self.a.T) @ self.b.T + wrong @ self.c.T * 3
        return out


def setting(model: nn.Module, x: Tensor, bounds: tuple[float, float]) -> tuple[Evaluator, Chunk]:
    evaluator = Evaluator(as_classifier(model), CPU, batch_size=None, suppress=(), notes=[])
    with torch.no_grad():
        y = model(x).argmax(1)
    ids = torch.arange(len(x))
    return evaluator, Chunk(ids, x, y, rng.keys(4, ids), bounds)


def slow_misleads(model: nn.Module, x: Tensor, bounds: tuple[float, float], few: int) -> tuple[int, int]:
    """Failed and tried predictions, by the text of the module."""
    low, high = bounds
    n = len(x)
    with torch.no_grad():
        pairs = model(x).topk(2, 1).indices

    def lead(point: Tensor, row: int) -> Tensor:
        out: Tensor = model(point[None])[0]
        return out[pairs[row, 0]] - out[pairs[row, 1]]

    def slope(point: Tensor, row: int) -> Tensor:
        leaf = point.clone().requires_grad_(True)
        return torch.autograd.grad(lead(leaf, row), leaf)[0]

    width = min(high - low, float(x.max() - x.min()) or high - low)
    ways = [[0.03 * width * -slope(x[row], row).sign() for row in range(n)]]
    others = [x.roll(shift, 0) for shift in range(1, n)][:few] or [low + high - x]
    ways += [[0.1 * (other[row] - x[row]) for row in range(n)] for other in others]
    wrong = tried = 0
    for aims in ways:
        changes, predictions, floors = [], [], []
        for row in range(n):
            step = (x[row] + aims[row]).clamp(low, high) - x[row]
            nodes, weights = np.polynomial.legendre.leggauss(2)
            along = [float((slope(x[row] + (u + 1) / 2 * step, row).double() * step.double()).sum()) for u in nodes]
            predictions.append(sum(w / 2 * s for w, s in zip(weights, along, strict=True)))
            with torch.no_grad():
                changes.append(float(lead(x[row] + step, row).double() - lead(x[row], row).double()))
                floors.append(1e-5 * float(model(x[row][None]).abs().max()))
        larger = [max(abs(p), abs(c)) for p, c in zip(predictions, changes, strict=True)]
        usual = float(torch.tensor(larger, dtype=torch.float64).median())
        for p, c, most, floor in zip(predictions, changes, larger, floors, strict=True):
            if most > floor:
                tried += 1
                wrong += abs(c - p) > 0.5 * most + 0.1 * usual
    return wrong, tried


@pytest.mark.parametrize("factor", [1.0, 2.2, 1.7, 0.4, -1.0])
@pytest.mark.parametrize(
    ("n", "rows", "few", "bounds"),
    [
        (1, 8, 4, (0.0, 1.0)),
        (3, 8, 4, (-1.0, 3.0)),
        (6, 8, 3, (0.0, 1.0)),
        (8, 8, 2, (0.0, 50.0)),
        (5, 4, 1, (0.0, 1.0)),
    ],
)
def test_changes_that_gradients_do_not_predict_are_counted(
    factor: float, n: int, rows: int, few: int, bounds: tuple[float, float]
) -> None:
    model = Net(factor, seed=n)
    x = torch.rand(n, 6, generator=torch.Generator().manual_seed(n))
    evaluator, chunk = setting(model, x, bounds)
    evaluator.probe_rows = rows
    misleads = probe_gradient(evaluator, chunk)
    expected = slow_misleads(model, x[:rows], bounds, few)
    assert evaluator.health.counts("gradient_misleads") == expected
    assert misleads == unlikely(*expected)
    assert evaluator.health.counts("zero_gradient") == (0, 0)
    probe_gradient(evaluator, chunk, searched=False)
    assert evaluator.health.counts("zero_gradient") == (0, min(n, rows))


def test_a_model_without_a_slope_takes_random_ways() -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            flat = (x * 1000).round() / 1000
            score = (flat.detach() + 0 * x).sum(1) * self.one
            return torch.stack([score, 0 * score], 1)

    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0))
    evaluator, chunk = setting(Steps(), x, (0.0, 1.0))
    assert probe_gradient(evaluator, chunk, searched=False)
    assert evaluator.health.counts("zero_gradient") == (8, 8)
    failed, tried = evaluator.health.counts("gradient_misleads")
    assert failed >= 16
    assert tried > 16  # each of two ways to others, and most random ones, move the sum


class Reads(nn.Module):
    """A weighted sum, whose last two elements pass a share of their gradient."""

    def __init__(self, weight: Tensor, passed: float) -> None:
        super().__init__()
        self.weight, self.passed = nn.Parameter(weight), passed

    def forward(self, x: Tensor) -> Tensor:
        last = self.passed * x[:, 4:] + (1 - self.passed) * x[:, 4:].detach()
        score = (torch.cat([x[:, :4], last], 1) * self.weight).sum(1)
        return torch.stack([score + 3, 0 * score], 1)


@pytest.mark.parametrize(("share", "passed", "missed"), [(0.005, 0.0, 0), (0.5, 0.0, 4), (0.5, 1.0, 0)])
def test_elements_that_no_search_moved_are_weighed_against_the_others(share: float, passed: float, missed: int) -> None:
    """Of six elements two were never reached, which the model reads with a share of the largest weight."""
    x = torch.full((4, 6), 0.5)
    evaluator, chunk = setting(Reads(torch.tensor([1.0, -0.6, 0.3, -0.2, share, -share]), passed), x, (0.0, 1.0))
    count_unreached(evaluator, chunk, Linf(0.1), torch.tensor([True] * 4 + [False] * 2).expand(4, 6))
    # A gradient at the sample itself shows that nothing is hidden.
    assert evaluator.health.counts("unreached_input") == (missed, 4)
    assert len(evaluator.notes) == bool(missed)
    if missed:
        assert "33% of the input had no gradient" in evaluator.notes[0]


def test_a_window_keeps_half_of_each_side() -> None:
    key = rng.keys(0, torch.arange(60))
    kept = windowed(torch.ones(60, 7), key)
    assert kept.sum(1).tolist() == [4.0] * 60
    for row in kept:
        places = row.nonzero().squeeze(1)
        assert int(places[-1] - places[0]) == 3  # in one piece
    assert sorted({int(row.nonzero()[0, 0]) for row in kept}) == [0, 1, 2, 3]
    kept = windowed(torch.ones(60, 3, 4, 5), key)
    assert kept.flatten(1).sum(1).tolist() == [3.0 * 2 * 3] * 60
    assert bool((kept.sum((2, 3)) == 6).all())  # every channel
    lonely = torch.zeros(60, 7)
    lonely[:, 0] = 1.0
    assert torch.equal(windowed(lonely, key), lonely)


def test_scores_that_are_shares_are_put_on_a_log_scale() -> None:
    given = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    assert on_scale(given).tolist() == [pytest.approx([np.log(0.25), np.log(0.75)]), pytest.approx([0, np.log(1e-30)])]
    for scores in (torch.tensor([[0.25, 0.7489]]), torch.tensor([[1.1, -0.1]]), torch.tensor([[2.0, -1.0]])):
        assert on_scale(scores) is scores
        assert not shares(scores)
    assert shares(torch.tensor([[0.25, 0.7491]]))
    assert _unit(torch.tensor([[0.1, 0.2]])) == 1e-5
    assert _unit(torch.tensor([[0.1, 0.2]]).half().float()) == 2 * torch.finfo(torch.float16).eps
    assert _unit(torch.tensor([[0.1, 0.2]]).bfloat16().float()) == 2 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize(("turned", "agree"), [(0, True), (1, True), (2, False), (8, False)])
def test_gradients_in_bfloat16_may_point_elsewhere_on_an_eighth(turned: int, agree: bool) -> None:
    class Turned(nn.Module):
        """In bfloat16 the slope of the first few samples has the other sign."""

        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            sign = torch.where(x[:, 0] < turned / 8 - 0.01, -1.0, 1.0) if torch.is_autocast_enabled("cpu") else 1.0
            score = x.sum(1) * self.one * sign
            return torch.stack([score, -score], 1)

    x = torch.stack([torch.arange(8) / 8, torch.full((8,), 0.5)], 1)
    evaluator, chunk = setting(Turned(), x, (0.0, 1.0))
    assert probe_precision(evaluator, chunk) == agree


def test_silence_and_steps_are_counted_in_the_inputs() -> None:
    net = nn.Linear(6, 3)
    x = torch.rand(10, 6, generator=torch.Generator().manual_seed(0))
    x[2] = 0
    evaluator, chunk = setting(net, x, (-1.0, 1.0))
    logits = evaluator.logits(x)
    probe_inputs(evaluator, chunk, logits, [], Snr(20))
    assert evaluator.health.counts("no_room") == (1, 10)
    assert evaluator.health.counts("quantised_input") == (0, 0)
    probe_inputs(evaluator, chunk, logits, [], Linf(0.1))
    assert evaluator.health.counts("no_room") == (1, 10)


@pytest.mark.parametrize(("first", "second"), [(Linf(0.3), Linf(0.1)), (L2(0.5), L2(0.2))])
def test_two_balls_are_each_their_own(first: Any, second: Any) -> None:
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    both = two_balls(first, second)
    region = both.region(torch.cat([x, x]), (0.0, 1.0))
    assert both.radius == 1.0
    assert region["place"].tolist() == [0, 0, 0, 1, 1, 1]
    z = torch.cat([x, x]) + 0.05
    for place, ball in enumerate((first, second)):
        rows = slice(3 * place, 3 * place + 3)
        own = ball.region(x, (0.0, 1.0))
        assert torch.equal(both.project(z, region)[rows], ball.project(x + 0.05, own))
        assert torch.equal(both.stride(region)[rows], ball.stride(own))
        assert both.size(z, region)[rows].tolist() == pytest.approx((ball.size(x + 0.05, own) / ball.eps).tolist())
