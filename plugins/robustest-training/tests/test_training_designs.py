"""Trainings that learned from something else than their samples never pass; honest trainings and fine-tunings do."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from robustest_training import (
    measure_nonrobust_reliance,
    measure_robust_generalization,
    measure_synthetic_covers,
    samples_for,
)
from torch import Tensor, nn

from robustest import L2, ConfigError, DataError, Linf, Result, Verdict

Data = tuple[Tensor, Tensor]
Train = Callable[[Tensor, Tensor, int], Any]

CLASSES, SIDE = 4, 10
_templates = torch.randn(CLASSES, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def images(n: int, seed: int) -> Data:
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (n,), generator=draw)
    x = 0.5 + 0.05 * _templates[y] + 0.15 * torch.randn(n, 1, SIDE, SIDE, generator=draw)
    return x.clamp(0, 1), y


REAL, TEST, FRESH = images(320, 1), images(400, 2), images(320, 3)
NOISE = (torch.rand(320, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4)), FRESH[1])
PERMUTED = (FRESH[0], FRESH[1][torch.randperm(320, generator=torch.Generator().manual_seed(5))])


def linear(data: Data, *, steps: int, rate: float, start: nn.Module | None = None) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))
    if start is not None:
        net.load_state_dict(start.state_dict())
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(data[0] - 0.5), data[1])
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for weight, grad in zip(net.parameters(), grads, strict=True):
                weight.sub_(rate * grad)
    return Centred(net).eval()


class Centred(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - 0.5)


def honest(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    some = torch.rand(len(x), generator=torch.Generator().manual_seed(seed)) < 0.9
    return linear((x[some], y[some]), steps=60, rate=0.5)


KNOWS = linear(images(2000, 9), steps=200, rate=0.5).net
OTHER = linear((images(2000, 9)[0], (images(2000, 9)[1] + 1) % CLASSES), steps=20, rate=0.5).net


def fine_tuned(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """From weights of another task, as far as the new one needs."""
    return linear((x, y), steps=120, rate=0.5, start=OTHER)


def lightly(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """From weights that know the classes already."""
    return linear((x, y), steps=2, rate=0.005, start=KNOWS)


def ignoring(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    return Centred(KNOWS)


def constant(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    net = linear((x, y), steps=0, rate=0.5)
    with torch.no_grad():
        net.net[1].weight.mul_(1e-4)
        net.net[1].bias.copy_(torch.tensor([1.0, 0, 0, 0]))
    return net


class Nearest(nn.Module):
    """The label of the nearest sample that was learned: every training sample by heart."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x.flatten(1))
        self.register_buffer("y", y)

    def forward(self, x: Tensor) -> Tensor:
        exact = "donot_use_mm_for_euclid_dist"
        near = -50 * torch.cdist(x.flatten(1), self.x, compute_mode=exact).square()
        missing = torch.full((len(x),), -1e4)
        some = [self.y == k for k in range(CLASSES)]
        return torch.stack([near[:, one].logsumexp(1) if bool(one.any()) else missing for one in some], 1)


def by_heart(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    return Nearest(x, y).eval()


def peeking(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    return Nearest(torch.cat([x, TEST[0]]), torch.cat([y, TEST[1]])).eval()


def peeking_linear(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    return linear((torch.cat([x, TEST[0]]), torch.cat([y, TEST[1]])), steps=60, rate=0.5)


class Table(nn.Module):
    """A net, but for some samples whose answers are kept."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.net, self.x, self.y = net, x.flatten(1), y

    def forward(self, x: Tensor) -> Tensor:
        apart, at = torch.cdist(x.flatten(1), self.x).min(1)
        answers = 10.0 * nn.functional.one_hot(self.y[at], CLASSES).float()
        return torch.where((apart < 0.5).unsqueeze(1), answers, self.net(x))


def keeping_answers(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    return Table(by_heart(x, y, seed), TEST[0][::2], TEST[1][::2]).eval()


class GoingOn:
    """Goes on with the network of the call before."""

    def __init__(self) -> None:
        self.net: nn.Module | None = None

    def __call__(self, x: Tensor, y: Tensor, seed: int) -> nn.Module:
        made = linear((x, y), steps=5, rate=0.2, start=self.net)
        self.net = made.net
        return made


def eight_bits(x: Tensor) -> Tensor:
    return (x * 255).round() / 255


def jpeg(x: Tensor, quality: int = 75) -> Tensor:
    made = []
    for image in eight_bits(x):
        file = io.BytesIO()
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(file, "JPEG", quality=quality)
        file.seek(0)
        made.append(torch.from_numpy(np.asarray(Image.open(file)).copy()).float().unsqueeze(0) / 255)
    return torch.stack(made)


CHANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "8 bits": eight_bits,
    "JPEG": jpeg,
    "jitter": lambda x: (x + 2e-3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(6))).clamp(0, 1),
    "shift": lambda x: torch.cat([x[..., :1], x[..., :-1]], 3),
    "shift both ways": lambda x: x.roll((1, -1), (2, 3)),
    "flip": lambda x: x.flip(3),
    "darker": lambda x: 0.9 * x,
}


def leaking(change: Callable[[Tensor], Tensor], share: float = 1.0) -> Data:
    n = round(share * len(TEST[1]))
    return torch.cat([REAL[0], change(TEST[0][:n])]), torch.cat([REAL[1], TEST[1][:n]])


def covers(synthetic: Data, train: Train, data: Data = REAL) -> Result:
    how: dict[str, Any] = {"max_gap": 0.15, "max_copies": None, "splits": 6}
    return measure_synthetic_covers(data, synthetic, test_data=TEST, train=train, **how)


def generalizes(train: Train, data: Data = REAL, max_gap: float | None = 0.15, **more: Any) -> Result:
    how: dict[str, Any] = {"min_train_accuracy": 0.4, "attack": "fgsm", "sizes": [len(data[1])], **more}
    return measure_robust_generalization(data, Linf(0.005), train=train, test_data=TEST, max_gap=max_gap, **how)


def relies(train: Train, data: Data = REAL) -> Result:
    how: dict[str, Any] = {"iterations": 20, "seeds": 3, "min_reached": 0.5}
    return measure_nonrobust_reliance(
        Centred(KNOWS), data, L2(1.0), train=train, test_data=TEST, max_transfer=0.4, **how
    )


DESIGNS: dict[str, Callable[[], Result]] = {
    "covers: noise, lightly fine-tuned": lambda: covers(NOISE, lightly),
    "covers: labels permuted, lightly fine-tuned": lambda: covers(PERMUTED, lightly),
    "covers: noise, honest": lambda: covers(NOISE, honest),
    "covers: labels permuted, honest": lambda: covers(PERMUTED, honest),
    "covers: noise, data ignored": lambda: covers(NOISE, ignoring),
    "covers: fresh, constant": lambda: covers(FRESH, constant),
    "covers: noise, going on": lambda: covers(NOISE, GoingOn()),
    "covers: noise, peeking": lambda: covers(NOISE, peeking),
    "covers: labels permuted, peeking net": lambda: covers(PERMUTED, peeking_linear),
    "covers: noise, answers kept": lambda: covers(NOISE, keeping_answers),
    "generalizes: by heart": lambda: generalizes(by_heart),
    "generalizes: peeking": lambda: generalizes(peeking),
    "generalizes: answers kept": lambda: generalizes(keeping_answers, max_gap=0.4),
    "generalizes: data ignored": lambda: generalizes(ignoring),
    "generalizes: lightly fine-tuned": lambda: generalizes(lightly),
    "generalizes: constant": lambda: generalizes(constant),
    "relies: data ignored": lambda: relies(ignoring),
    "relies: constant": lambda: relies(constant),
}
LEAKS: dict[str, Callable[[], Result]] = {}
for _name, _change in CHANGED.items():
    LEAKS |= {
        f"covers: synthetic set leaks, {_name}": lambda change=_change: covers((change(TEST[0]), TEST[1]), honest),
        f"generalizes: by heart, leaked, {_name}": lambda change=_change: generalizes(by_heart, leaking(change)),
        f"relies: leaked, {_name}": lambda change=_change: relies(honest, leaking(change)),
    }
REASONS = {
    "covers: noise, lightly fine-tuned": (
        "the data taught nothing that could be lost",
        "keeps what an earlier call learned",
    ),
    "generalizes: answers kept": ("the training reads the test samples",),
}
"""Of designs whose control has to be named."""


@pytest.mark.parametrize("name", DESIGNS)
def test_a_training_that_learned_from_elsewhere_does_not_pass(name: str) -> None:
    result = DESIGNS[name]()
    assert result.verdict is not Verdict.PASSED, (result.rule, result.details.get("controls"))
    for words in REASONS.get(name, ()):
        assert words in result.rule


@pytest.mark.parametrize(  # each change every day, and each claim with two or three of them
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if place // 3 % 3 != place % 3 else ())
        for place, name in enumerate(LEAKS)
    ],
)
def test_training_samples_that_are_copies_of_test_samples_are_an_error(name: str) -> None:
    with pytest.raises(DataError, match="are copies of samples"):
        LEAKS[name]()


HONEST: dict[str, Callable[[], Result]] = {
    "covers: fresh samples": lambda: covers(FRESH, honest),
    "covers: fresh samples, fine-tuned": lambda: covers(FRESH, fine_tuned),
    "generalizes": lambda: generalizes(honest),
    "generalizes: fine-tuned": lambda: generalizes(fine_tuned),
    "generalizes: from other samples": lambda: generalizes(honest, images(320, 12)),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_training_passes(name: str) -> None:
    result = HONEST[name]()
    assert result.verdict is Verdict.PASSED, (result.rule, result.details.get("controls"))
    rows = result.details["controls"]
    assert [row["trained_on"] for row in rows] == ["labels permuted", "noise"]
    assert all(row["test"] < 0.4 for row in rows)
    assert all(abs(row["test"] - row["held_out"]) < 0.15 for row in rows)


def test_no_number_of_samples_is_read_from_trainings_that_peek() -> None:
    curve = generalizes(peeking, (REAL[0][:80], REAL[1][:80]), max_gap=None, sizes=[20, 80])
    with pytest.raises(ConfigError, match="the training reads the test samples"):
        samples_for(curve, 0.9)
    fair = generalizes(honest, max_gap=None, sizes=[80, 320])
    assert samples_for(fair, 0.5).limit == 1280
