"""The kinds of claims of this pack on small nets and small data, good and bad, as rows of the core's table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from kinds import CLASSES, SIDE, Kind, Net, samples
from robustest_training import (
    measure_nonrobust_reliance,
    measure_robust_generalization,
    measure_smooth_landscape,
    measure_synthetic_covers,
)
from torch import Tensor, nn

from robustest import L2, Linf, Result


def _landscape(good: bool, draw: int, **more: Any) -> Result:
    """A smooth net beside a steep one, or the other way round; both learn."""
    pair = (_built(False), _built(True))
    net, reference = pair if good else pair[::-1]
    x, y = samples(draw)
    batches = list(zip(x.split(50), y.split(50), strict=True))
    course: dict[str, Any] = {"train_steps": 30, "learning_rate": 0.5, "alpha": 0.05}
    return measure_smooth_landscape(
        net, batches, loss=nn.functional.cross_entropy, reference=reference, **course, **more
    )


def _built(steep: bool) -> Callable[[], nn.Module]:
    """Of a hidden layer, or of three."""

    def build() -> nn.Module:
        parts: list[nn.Module] = [nn.Flatten(), nn.Linear(SIDE * SIDE, 24), nn.BatchNorm1d(24), nn.ReLU()]
        if steep:
            parts += [
                nn.Linear(24, 24),
                nn.BatchNorm1d(24),
                nn.ReLU(),
                nn.Linear(24, 24),
                nn.BatchNorm1d(24),
                nn.ReLU(),
            ]
        return nn.Sequential(*parts, nn.Linear(24, CLASSES))

    return build


class Nearest(nn.Module):
    """What the nearest sample was that it was trained on: all of them by heart."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x.flatten(1))
        self.register_buffer("y", y)

    def forward(self, x: Tensor) -> Tensor:
        near = -50 * (x.flatten(1).unsqueeze(1) - self.x).square().sum(2)
        return torch.stack([near[:, self.y == k].logsumexp(1) for k in range(CLASSES)], 1)


def _means(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """A net that compares with the mean of each class, of nine samples in ten."""
    some = torch.rand(len(x), generator=torch.Generator().manual_seed(seed)) < 0.9
    net = Net(good=True)
    with torch.no_grad():
        centres = torch.stack([x[some & (y == k)].flatten(1).mean(0) for k in range(CLASSES)])
        net.head.weight.copy_(10 * centres)
        net.head.bias.copy_(-5 * centres.square().sum(1))
    return net.eval()


def _by_heart(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    return Nearest(x, y).eval()


def _generalization(good: bool, draw: int, **more: Any) -> Result:
    """Trained on the mean of each class, or by heart."""
    train, how = (_means if good else _by_heart), {"sizes": [80], "min_train_accuracy": 0.5, "attack": "fgsm"}
    return measure_robust_generalization(samples(1000), Linf(0.02), train=train, test_data=samples(draw), **how, **more)


class Bottom(nn.Module):
    """Reads four pixels that say nothing of the class: what it is moved by, nobody can learn the classes from."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * x[:, 0, -1, :CLASSES]


def _reliance(good: bool, draw: int, **more: Any) -> Result:
    model = Bottom() if good else Net(good=True)
    return measure_nonrobust_reliance(
        model, samples(1000), L2(0.6), train=_means, test_data=samples(draw), iterations=10, **more
    )


def _synthetic(good: bool, draw: int, **more: Any) -> Result:
    """Fresh samples, or some whose labels are often the next class's."""
    real, test = samples(1000 + draw, 120), samples(2000 + draw, 400)
    x, y = samples(3000, 120)
    wrong = torch.rand(len(y), generator=torch.Generator().manual_seed(0)) < 0.45
    return measure_synthetic_covers(
        real, (x, y if good else torch.where(wrong, (y + 1) % CLASSES, y)), test_data=test, **more
    )


KINDS: dict[str, Kind] = {
    "landscape": Kind(_landscape, "max_ratio", 0.9, 0.01),
    "robust generalization": Kind(_generalization, "max_gap", 0.2, 0.001),
    "nonrobust reliance": Kind(_reliance, "max_transfer", 0.3, 1e-6),
    "synthetic covers": Kind(_synthetic, "max_gap", 0.15, 0.0001),
}
