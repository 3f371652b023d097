"""sigma-zero: on linear models it needs exactly as many pixels as the greedy choice, which is optimal there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L1, ConfigError, Linf, Patch, find_adversarial, rng
from robustest.attacks import Evaluation, Problem, SigmaZero, supports
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import SearchOutcome, search
from robustest.models import as_classifier
from robustest.threats import by_pixel

Build = Callable[[Tensor, Tensor], nn.Module]
SHAPES = [(1, 6, 6), (3, 6, 6), (40,), (1, 12, 12)]


def problem_of(shape: tuple[int, ...], push: float, bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[Tensor, ...]:
    """Weights and biases of two classes, samples, labels; a larger push needs more pixels."""
    generator = torch.Generator().manual_seed(int(10 * push) + len(shape))
    size = torch.Size(shape).numel()
    weight = 0.1 * torch.randn(2, size, generator=generator)
    y = torch.randint(0, 2, (30,), generator=generator)
    towards = (weight[y] - weight[1 - y]).sign().view(30, *shape)
    unit = (torch.rand(30, *shape, generator=generator) + push * towards).clamp(0, 1)
    low, high = bounds
    weight = weight / (high - low)
    bias = -weight.sum(1) * (low + high) / 2
    x = (low + (high - low) * unit).clamp(low, high)
    return weight, bias, x, (x.flatten(1) @ weight.T + bias).argmax(1)


def fewest(weight: Tensor, bias: Tensor, x: Tensor, y: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """(N,) int64: pixels taken in the order of what they gain at their best bound until the margin is gone."""
    weight, bias, x = weight.double(), bias.double(), x.double()
    slope = (weight[1 - y] - weight[y]).view(x.shape)
    margin = -(slope * x).flatten(1).sum(1) + bias[y] - bias[1 - y]
    gain = torch.where(slope > 0, slope * (bounds[1] - x), slope * (bounds[0] - x))
    sums = by_pixel(gain).sum(1).sort(1, descending=True).values.cumsum(1)
    return (sums <= margin.unsqueeze(1)).sum(1) + 1


def smallest(model: nn.Module, attack: SigmaZero, x: Tensor, y: Tensor, bounds: tuple[float, float]) -> SearchOutcome:
    """What the attack finds when nothing limits it."""
    classifier = as_classifier(model.requires_grad_(False), bounds=bounds)
    evaluator = Evaluator(classifier, torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    evaluator.logits(x[:1])
    keys = rng.keys(0, torch.arange(len(x)))
    return search(evaluator, attack, L0(10**6), x, y, key=keys, bounds=bounds, smallest=True)


@pytest.mark.thinned
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("push", [0.1, 0.3])
def test_it_finds_the_fewest_pixels(linear: Build, shape: tuple[int, ...], push: float) -> None:
    weight, bias, x, y = problem_of(shape, push)
    found = smallest(linear(weight, bias), SigmaZero(), x, y, (0.0, 1.0))
    assert found.broken.tolist() == [True] * 30
    assert found.size.tolist() == fewest(weight, bias, x, y).tolist()


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 255.0)])
def test_the_bounds_may_be_anywhere(linear: Build, bounds: tuple[float, float]) -> None:
    weight, bias, x, y = problem_of((1, 6, 6), 0.3, bounds)
    found = smallest(linear(weight, bias), SigmaZero(), x, y, bounds)
    assert found.size.tolist() == fewest(weight, bias, x, y, bounds).tolist()


@pytest.mark.parametrize("pixels", [1, 4, 5, 8])
def test_it_breaks_what_so_many_pixels_can_and_nothing_else(linear: Build, pixels: int) -> None:
    weight, bias, x, y = problem_of((3, 6, 6), 0.3)
    found = find_adversarial(linear(weight, bias), x, y, L0(pixels), attack=SigmaZero())
    assert found.broken.tolist() == (fewest(weight, bias, x, y) <= pixels).tolist()


def test_the_second_part_helps(linear: Build) -> None:
    weight, bias, x, y = problem_of((1, 12, 12), 0.3)
    model = linear(weight, bias)
    counts = fewest(weight, bias, x, y)
    walked = smallest(model, SigmaZero(improving=0), x, y, (0.0, 1.0))
    assert bool(walked.broken.all())
    assert bool((walked.size >= counts).all())
    assert float(walked.size.sum()) > float(counts.sum())


def test_the_smooth_count_has_the_slope_it_claims() -> None:
    attack = SigmaZero(sigma=0.3)
    delta = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_(
        True
    )
    squared = delta.square().sum(1)
    (slope,) = torch.autograd.grad((squared / (squared + 0.3)).flatten(1).mean(1).sum(), delta)
    assert torch.allclose(attack._count_slope(delta.detach()), slope, rtol=1e-9)


@pytest.mark.parametrize("fooled", [False, True])
def test_a_step_of_the_first_part_is_the_papers(fooled: bool) -> None:
    """Algorithm 1 with Adam for one sample with one channel, element by element, in bounds that are twice as wide."""
    attack = SigmaZero(steps=10, improving=0, sigma=0.02)
    bounds, at = (-1.0, 1.0), 3
    generator = torch.Generator().manual_seed(0)
    x, z = (2 * torch.rand(1, 1, 3, 4, generator=generator) - 1 for _ in range(2))
    z = torch.where(torch.rand(x.shape, generator=generator) < 0.5, z, x)
    gradient = torch.randn(x.shape, generator=generator)
    problem = Problem(L0(2), L0(2).region(x, bounds), torch.zeros(1, dtype=torch.int64), 2, bounds)
    state = attack.init(problem, rng.keys(0, torch.arange(1)))
    state = {**state, "step": torch.tensor([at]), "threshold": torch.tensor([0.2])}
    logits = torch.tensor([[0.0, 1.0 if fooled else -1.0]])
    told = attack.tell(problem, state, Evaluation(z, logits, gradient))

    length = 0.1 + 0.9 * (1 + math.cos(math.pi * at / 10)) / 2
    threshold = 0.2 + (0.01 if fooled else -0.01) * length
    old = [(b - a) / 2 for a, b in zip(x.flatten().tolist(), z.flatten().tolist(), strict=True)]
    slope = [2 * d * 0.02 / (d * d + 0.02) ** 2 / 12 for d in old]
    descent = [
        (0 if fooled else 2 * climb) - less for climb, less in zip(gradient.flatten().tolist(), slope, strict=True)
    ]
    steepest = max(map(abs, descent))
    wanted = []
    for a, d, step in zip(x.flatten().tolist(), old, descent, strict=True):
        unit = step / steepest
        mean, spread = 0.1 * unit / (1 - 0.9 ** (at + 1)), 0.001 * unit**2 / (1 - 0.999 ** (at + 1))  # Adam's
        moved = min(max(a + 2 * (d + length * mean / (math.sqrt(spread) + 1e-8)), -1.0), 1.0)
        wanted.append(moved if abs(moved - a) / 2 >= threshold else a)
    assert told["threshold"].item() == pytest.approx(threshold)
    assert told["z"].flatten().tolist() == pytest.approx(wanted, abs=1e-6)
    assert 0 < sum(a == b for a, b in zip(x.flatten().tolist(), told["z"].flatten().tolist(), strict=True)) < 12


def test_it_counts_pixels_alone() -> None:
    attack = SigmaZero()
    assert supports(attack, L0(3))
    assert not any(supports(attack, threat) for threat in (Linf(0.1), L1(1.0), Patch(2, 2)))


def test_the_start_is_the_sample() -> None:
    x = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    problem = Problem(L0(1), L0(1).region(x, (0.0, 1.0)), torch.zeros(2, dtype=torch.int64), 2, (0.0, 1.0))
    attack = SigmaZero()
    assert torch.equal(attack.ask(problem, attack.init(problem, rng.keys(0, torch.arange(2)))), x)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": 1.0}, {"improving": -1}, {"improving": 301}, {"improving": True}, {"step_size": 0},
     {"sigma": 0.0}, {"sigma": float("inf")}, {"threshold": 1.1}, {"threshold": float("nan")}, {"threshold_step": -1}],
    ids=str,
)  # fmt: skip
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"Expected {next(iter(wrong))}"):
        SigmaZero(**wrong)
