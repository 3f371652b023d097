"""Robust accuracy of masks, labels and numbers: the closed form, hand-written attacks, the same bit everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, DataError, Linf, MultiLabel, Regression, Segmentation, Spatial, Verdict
from robustest.attacks import APGD, EOT, PGD
from robustest.measure import (
    measure_corruption_robustness,
    measure_robust_accuracy,
    measure_robust_score,
    measure_shift_accuracy,
    measure_transfer_accuracy,
    measure_worst_group_accuracy,
)
from robustest.tasks import Task

sys.path.insert(0, str(Path(__file__).parents[3]))
import shapes

EPS, DIMS = 0.05, 12
MASKS = Segmentation(shapes.CLASSES, floor=0.9)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return shapes.trained()


def linear(outputs: int) -> nn.Linear:
    model = nn.Linear(DIMS, outputs).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(outputs)
    model.weight.copy_(torch.randn(outputs, DIMS, generator=generator))
    model.bias.copy_(-model.weight.sum(1) / 2)
    return model


def reach(model: nn.Linear, x: Tensor, sign: int) -> Tensor:
    """(N, K) how far each output rises (sign 1) or falls (-1) at most, inside the ball and the bounds."""
    x, weight = x.double().unsqueeze(1), sign * model.weight.double()
    low, high = (x - EPS).clamp(min=0) - x, (x + EPS).clamp(max=1) - x
    return (torch.where(weight > 0, high, low) * weight).sum(2)


@pytest.mark.parametrize("outputs", [1, 3])
def test_numbers_that_leave_their_tolerance_are_those_of_the_closed_form(outputs: int) -> None:
    generator, model = torch.Generator().manual_seed(0), linear(outputs)
    x = torch.rand(1000, DIMS, generator=generator)
    y = model(x) + 0.4 * torch.randn(1000, outputs, generator=generator)
    error = model(x).double() - y.double()
    worst = torch.maximum(error + reach(model, x, 1), -error + reach(model, x, -1)).amax(1)
    result = measure_robust_accuracy(model, (x, y), Linf(EPS), task=Regression(1.0), attack="fast", exact=True)
    assert 0.1 < (worst <= 1).double().mean() < 0.9
    assert torch.equal(torch.tensor(result.outcomes), worst <= 1)


def test_rows_of_labels_that_break_are_those_of_the_closed_form() -> None:
    generator, model = torch.Generator().manual_seed(1), linear(5)
    x = torch.rand(1000, DIMS, generator=generator)
    y = (model(x) > 0).long() ^ (torch.rand(1000, 5, generator=generator) < 0.01).long()
    side = 2 * y.double() - 1
    least = model(x).double() * side - torch.where(side > 0, reach(model, x, -1), reach(model, x, 1))
    result = measure_robust_accuracy(model, (x, y), Linf(EPS), task=MultiLabel(), attack="fast", exact=True)
    held = (least > 0).all(1)
    assert 0.05 < held.double().mean() < 0.9
    assert torch.equal(torch.tensor(result.outcomes), held)


@pytest.mark.parametrize("eps", [2 / 255, 4 / 255])
def test_fast_breaks_as_many_masks_as_a_long_attack_at_a_third_of_its_passes(network: nn.Module, eps: float) -> None:
    data = shapes.drawn(24, seed=5)
    fast = measure_robust_accuracy(network, data, Linf(eps), task=MASKS, attack="fast", exact=True)
    long = measure_robust_accuracy(network, data, Linf(eps), task=MASKS, attack=APGD(loss="ce_right"), exact=True)
    assert fast.estimate is not None
    assert long.estimate is not None
    assert fast.estimate <= long.estimate < fast.details["clean_accuracy"]
    spent, other = (one.cost.forward + one.cost.backward for one in (fast, long))
    assert spent <= other / 2 if eps > 3 / 255 else spent <= other / 3
    assert "fast ran without fab" in " ".join(fast.words.notes)
    assert fast.counterexamples[0].answer.startswith("pixel accuracy")


def climbed(network: nn.Module, x: Tensor, y: Tensor, *, eps: float, kind: str, steps: int = 100) -> float:
    """The mean of the least pixel accuracies that a hand-written attack of so many steps sees."""
    z = (x + eps * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 1)).clamp(0, 1)
    least = torch.ones(len(x), dtype=torch.float64)
    for step in range(steps):
        z = z.detach().requires_grad_(True)
        logits = network(z)
        right = logits.argmax(1) == y
        least = torch.minimum(least, right.double().mean((1, 2)))
        loss = nn.functional.cross_entropy(logits, y, reduction="none")
        lost = step / (2 * steps)
        weight = {"ce": 1.0, "right": right, "segpgd": torch.where(right, 1 - lost, lost)}[kind]
        (slope,) = torch.autograd.grad((weight * loss).sum(), z)
        stride = eps * (0.1 if step < steps // 2 else 0.02)
        z = torch.clamp(z.detach() + stride * slope.sign(), x - eps, x + eps).clamp(0, 1)
    return float(least.mean())


@pytest.mark.slow
def test_standard_finds_scores_as_low_as_attacks_written_for_masks(network: nn.Module) -> None:
    x, y = shapes.drawn(8, seed=6)
    eps = 4 / 255
    hand = min(climbed(network, x, y, eps=eps, kind=kind) for kind in ("ce", "right", "segpgd"))
    task = Segmentation(shapes.CLASSES)
    result = measure_robust_score(network, (x, y), Linf(eps), task=task, attack="standard", exact=True)
    assert result.estimate is not None
    assert result.estimate <= hand + 0.005 < result.details["clean_score"]


def test_scores_do_not_depend_on_batches_workers_or_other_samples(network: nn.Module) -> None:
    x, y = shapes.drawn(12, seed=7)
    task = Segmentation(shapes.CLASSES, floor=0.9)
    at = {"task": task, "attack": "fast", "exact": True}
    whole = measure_robust_accuracy(network, (x, y), Linf(4 / 255), **at)  # type: ignore[arg-type]
    small = measure_robust_accuracy(network, (x, y), Linf(4 / 255), batch_size=5, **at)  # type: ignore[arg-type]
    assert whole.outcomes == small.outcomes
    assert {True, False} <= set(whole.outcomes)
    scores = [
        measure_robust_score(network, (x, y), Linf(4 / 255), task=task, attack="fast", exact=True, batch_size=size)
        for size in (3, 128)
    ]
    assert scores[0].outcomes == scores[1].outcomes
    assert scores[0].details["mean_score"] == pytest.approx(scores[1].details["mean_score"], abs=2 / shapes.SIDE**2)


def test_an_image_below_its_floor_from_the_start_counts_as_broken_without_an_attack(network: nn.Module) -> None:
    x, y = shapes.drawn(6, seed=8)
    y = (y + 1) % shapes.CLASSES
    result = measure_robust_accuracy(network, (x, y), Linf(0.01), task=MASKS, attack="fast", exact=True)
    assert result.outcomes == (False,) * 6
    assert result.details["broken_by_attack"] == 0
    assert result.counterexamples == ()


def test_masks_in_other_claims(network: nn.Module) -> None:
    data, task = shapes.drawn(16, seed=9), Segmentation(shapes.CLASSES, ignore=255, floor=0.85)
    noise = measure_shift_accuracy(network, data, "contrast", severity=5, task=task, exact=True)
    turned = measure_shift_accuracy(network, data, "translation", severity=1, task=task, exact=True)
    clean = noise.details["clean_accuracy"]
    assert noise.estimate is not None
    assert noise.estimate < clean
    assert turned.estimate is not None
    assert turned.estimate >= clean - 0.15  # the network is translation equivariant, and the mask follows
    groups = measure_worst_group_accuracy(network, data, [0, 1] * 8, at_least=0.01, task=task, exact=True)
    assert groups.estimate is not None
    assert groups.estimate <= clean
    moved = measure_transfer_accuracy(network, data, shapes.drawn(8, seed=10), max_drop=0.99, task=task, exact=True)
    assert moved.details["source_accuracy"] == clean
    cells = measure_corruption_robustness(network, data, corruptions=["fog"], severities=[1], task=task, exact=True)
    assert cells.details["clean_accuracy"] == clean


def test_a_threat_that_moves_things_is_refused_for_masks(network: nn.Module) -> None:
    data = shapes.drawn(2, seed=0)
    with pytest.raises(ConfigError, match="a search cannot move the targets"):
        measure_robust_accuracy(network, data, Spatial(), task=MASKS)
    with pytest.raises(ConfigError, match="a search cannot move the targets"):
        measure_robust_score(network, data, Spatial(), task=MASKS)


def test_what_a_task_cannot_do_is_refused(network: nn.Module) -> None:
    data = shapes.drawn(2, seed=0)
    with pytest.raises(ConfigError, match="Expected a floor"):
        measure_robust_accuracy(network, data, Linf(0.1), task=Segmentation(shapes.CLASSES))
    with pytest.raises(ConfigError, match="segmentation under Linf"):
        measure_robust_accuracy(network, data, Linf(0.1), task=MASKS, attack="fab-t")
    with pytest.raises(ConfigError, match="one class a sample"):
        measure_robust_accuracy(network, data, Linf(0.1), task=MASKS, attack=EOT(PGD(steps=1), draws=2))
    with pytest.raises(ConfigError, match=r"task=Segmentation\(classes"):
        measure_robust_accuracy(network, data, Linf(0.1), task="segmentation")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="integers"):
        measure_robust_accuracy(network, (data[0], data[1].float()), Linf(0.1), task=MASKS)


class Flat(nn.Module):
    """Masks whose gradients are nothing, by a rounding of the image to four levels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network((3 * x).round() / 3)
        return logits


@pytest.mark.parametrize("task", [MASKS, Regression(0.5, still=True)], ids=str)
def test_masked_gradients_never_pass(network: nn.Module, task: Task) -> None:
    x, y = shapes.drawn(4, seed=3)
    model: nn.Module = Flat(network)
    if isinstance(task, Regression):
        model = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        y = model(x).detach()
    else:
        y = model(x).argmax(1)
    result = measure_robust_accuracy(model, (x, y), Linf(2 / 255), task=task, at_least=0.1, attack="fast")
    assert result.verdict is not Verdict.PASSED
    assert any(note.startswith("zero_gradient") for note in result.words.notes)


def test_mean_iou_of_unchanged_images_is_that_of_the_confusion_matrix(network: nn.Module) -> None:
    x, y = shapes.drawn(10, seed=11)
    y[:, :3] = 255
    task = Segmentation(shapes.CLASSES, ignore=255)
    how: dict[str, Any] = {"task": task, "metric": "miou", "at_least": 0.5, "attack": "fast", "exact": True}
    how["suppress"] = ("loss_does_not_rise",)  # so small a change moves no answer
    result = measure_robust_score(network, (x, y), Linf(4e-6), **how)
    there = y != 255
    pairs = y[there] * shapes.CLASSES + network(x).argmax(1)[there]
    table = pairs.bincount(minlength=shapes.CLASSES**2).view(shapes.CLASSES, -1).double()
    each = table.diag() / (table.sum(0) + table.sum(1) - table.diag())
    assert result.estimate == pytest.approx(float(each.mean()), abs=1e-12)
    assert "bootstrap" in result.rule
    # The commonest class, said everywhere: its share of the pixels, and nothing of the other classes.
    counted = y[there].bincount(minlength=shapes.CLASSES).double()
    constant = float(counted.max() / counted.sum() / (counted > 0).sum())
    assert result.details["constant_answer"] == pytest.approx(constant)
    below = measure_robust_score(network, (x, y), Linf(4e-6), **{**how, "at_least": constant - 0.01})
    assert below.rule == "health check: constant_answer"
    assert result.details["left_interval"][0] < result.estimate < result.details["left_interval"][1]
    with pytest.raises(ConfigError, match="counts intersections"):
        measure_robust_score(network, (x, y[:, 0, 4:5].float()), Linf(0.1), task=Regression(1.0), metric="miou")
