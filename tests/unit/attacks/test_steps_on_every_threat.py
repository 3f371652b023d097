"""FGSM and PGD beyond L-inf and L2: on linear models what they reach has a closed form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L1, Unbounded, find_adversarial
from robustest.attacks import FGSM, PGD
from robustest.threats import by_pixel

Build = Callable[[Tensor, Tensor], nn.Module]
BOUNDS = [(0.0, 1.0), (0.0, 255.0)]


def setting(bounds: tuple[float, float], shape: tuple[int, ...] = (2, 5, 5)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights and biases of two classes, samples at all distances from the boundary, and labels."""
    generator = torch.Generator().manual_seed(2)
    low, high = bounds
    weight = 0.2 * torch.randn(2, torch.Size(shape).numel(), generator=generator) / (high - low)
    push = torch.linspace(-0.3, 0.3, 80).view(-1, *[1] * len(shape)) * (weight[0] - weight[1]).sign().view(shape)
    x = low + (high - low) * (torch.rand(80, *shape, generator=generator) + push).clamp(0, 1)
    bias = -weight.sum(1) * (low + high) / 2
    return weight, bias, x, (x.flatten(1) @ weight.T + bias).argmax(1)


def slopes(weight: Tensor, bias: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Margins (N,) and the gradients (N, *S) of minus the margins, in float64."""
    slope = (weight[1 - y] - weight[y]).double().view(x.shape)
    return (bias[y] - bias[1 - y]).double() - (slope * x.double()).flatten(1).sum(1), slope


def l1_gain(slope: Tensor, x: Tensor, eps: float, bounds: tuple[float, float]) -> Tensor:
    """(N,) the largest gain: the steepest elements go to their bounds until eps is spent."""
    slope, x = slope.flatten(1), x.double().flatten(1)
    room = torch.where(slope > 0, bounds[1] - x, x - bounds[0])
    steepness, order = slope.abs().sort(dim=1, descending=True)
    room = room.gather(1, order)
    return (steepness * torch.minimum(room, (eps - (room.cumsum(1) - room)).clamp(min=0))).sum(1)


def l0_gain(slope: Tensor, x: Tensor, pixels: int, bounds: tuple[float, float]) -> Tensor:
    """(N,) the largest gain: the best pixels at their better bounds."""
    gain = torch.where(slope > 0, slope * (bounds[1] - x), slope * (bounds[0] - x))
    return by_pixel(gain).sum(1).sort(dim=1, descending=True).values[:, :pixels].sum(1)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("share", [1.0, 2.0, 4.0])
def test_one_step_in_l1_is_the_best_there_is(linear: Build, bounds: tuple[float, float], share: float) -> None:
    weight, bias, x, y = setting(bounds)
    eps = share * (bounds[1] - bounds[0])
    margin, slope = slopes(weight, bias, x, y)
    gain = l1_gain(slope, x, eps, bounds)
    found = find_adversarial(linear(weight, bias), x, y, L1(eps), attack=FGSM(), bounds=bounds)
    sure = (gain - margin).abs() > 1e-3 * margin
    assert int(sure.sum()) > 70
    assert torch.from_numpy(found.broken)[sure].tolist() == (gain > margin)[sure].tolist()
    assert int((gain > margin).sum()) > 4


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_one_step_in_l0_is_the_best_there_is(linear: Build, bounds: tuple[float, float], pixels: int) -> None:
    weight, bias, x, y = setting(bounds)
    margin, slope = slopes(weight, bias, x, y)
    gain = l0_gain(slope, x, pixels, bounds)
    found = find_adversarial(linear(weight, bias), x, y, L0(pixels), attack=FGSM(), bounds=bounds)
    sure = (gain - margin).abs() > 1e-3 * margin
    assert torch.from_numpy(found.broken)[sure].tolist() == (gain > margin)[sure].tolist()
    assert int((gain > margin).sum()) > 4


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("random_start", [True, False])
def test_many_steps_in_l1_come_near_the_best(linear: Build, bounds: tuple[float, float], random_start: bool) -> None:
    weight, bias, x, y = setting(bounds)
    eps = 2.0 * (bounds[1] - bounds[0])
    margin, slope = slopes(weight, bias, x, y)
    found = find_adversarial(
        linear(weight, bias), x, y, L1(eps), attack=PGD(steps=60, random_start=random_start), bounds=bounds
    )
    broken = torch.from_numpy(found.broken)
    gain = l1_gain(slope, x, eps, bounds)
    assert bool(broken[gain > 1.02 * margin].all())
    assert not bool(broken[gain < margin].any())
    assert 10 < int(broken.sum()) < 80


@pytest.mark.parametrize("bounds", BOUNDS)
def test_many_steps_in_l0_come_near_the_best(linear: Build, bounds: tuple[float, float]) -> None:
    weight, bias, x, y = setting(bounds)
    margin, slope = slopes(weight, bias, x, y)
    gain = l0_gain(slope, x, 3, bounds)
    found = find_adversarial(linear(weight, bias), x, y, L0(3), attack=PGD(steps=40), bounds=bounds)
    broken = torch.from_numpy(found.broken)
    assert bool(broken[gain > 1.1 * margin].all())
    assert not bool(broken[gain < margin].any())
    assert 10 < int(broken.sum()) < 80


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=5)], ids=lambda a: a.name)
def test_without_a_limit_a_linear_model_always_breaks(
    linear: Build, bounds: tuple[float, float], attack: FGSM | PGD
) -> None:
    weight, bias, x, y = setting(bounds)
    found = find_adversarial(linear(weight, bias), x, y, Unbounded(), attack=attack, bounds=bounds)
    assert found.broken.all()
