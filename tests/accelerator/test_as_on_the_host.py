"""Every table of the contract on a second device: attacks, threats, shifts, tasks, cues, bounds, checks, kinds.

By default one row in several; the others are slow. `tox -e accelerator` runs all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import test_attacks as attacks
import test_cue_family as cues
import test_every_threat as threats
import torch
from kinds import KINDS
from pairwise import covering
from second_device import Second
from torch import Tensor, nn
from torch.nn import functional

from robustest import Linf, devices, find_adversarial, rng
from robustest.attacks import PGD
from robustest.cues import for_samples, switched
from robustest.measure import measure_certified_accuracy, measure_robust_accuracy
from robustest.shifts import SHIFTS, corrupt, sampling
from robustest.tasks import Classification, MultiLabel, Segmentation


def rows(cases: Iterable[Any], quick: Callable[[Any], bool], name: Callable[[Any], str] = str) -> list[Any]:
    """The cases as parameters, those that are not quick marked as slow."""
    return [pytest.param(case, id=name(case), marks=() if quick(case) else pytest.mark.slow) for case in cases]


# Attacks

QUICK_ATTACKS = ("pgd", "fab", "square", "hop-skip-jump")
CASES = [attacks.CASES[at] for at in covering(attacks.CASES)]
FIRST = {name: next(case for case in CASES if case[0] == name) for name in attacks.EVERY}


@pytest.mark.parametrize(
    "case",
    rows(
        CASES,
        lambda case: case[0] in QUICK_ATTACKS and FIRST[case[0]] == case,
        lambda case: f"{case[0]}-{case[1]}-{case[2]}",
    ),
)
def test_attacks(second: Second, case: Any) -> None:
    name, threat, kind = case
    model, x, y = attacks.setting(kind)
    options: dict[str, Any] = {"attack": attacks.shortened(attacks.EVERY[name]()), "seed": 3}
    here = find_adversarial(model, x, y, threat, suppress=("random_forward",), device="cpu", **options)
    there = find_adversarial(second.put(model), x, y, threat, suppress=("random_forward",), **options)
    assert (here.broken == there.broken).all()
    assert torch.allclose(here.x, there.x, atol=0 if second.exact else 1e-4)


# Threats


@pytest.mark.parametrize("setting", threats.EVERY, ids=lambda s: f"{s.threat}-{s.shape}")
def test_threats(second: Second, setting: threats.Setting) -> None:
    threat, bounds = setting.threat, (0.0, 1.0)
    x = threats.samples(setting.shape, bounds)
    wild = threats.wild(threat, x, bounds, 0.0)

    def made(x: Tensor, z: Tensor, key: Tensor) -> dict[str, Tensor]:
        region = threat.region(x, bounds)
        inside = threat.project(z, region)
        return {
            **region,
            "origin": threat.origin(region),
            "inside": inside,
            "rendered": threat.render(inside, region),
            "size": threat.size(inside, region),
            "stride": threat.stride(region),
            "ascent": threat.ascent(z),
            "start": threat.start(region, key),
        }

    here, there = made(x, wild, threats.KEYS), made(second.put(x), second.put(wild), second.put(threats.KEYS))
    for name, value in here.items():
        second.same(value, there[name])


# Shifts

QUICK_SHIFTS = ("gaussian_noise", "motion_blur", "fog", "elastic_transform", "jpeg_compression", "glass_blur")


def enlarged(x: Tensor) -> Tensor:
    """As the shift `resolution` of severity 5 does: wrong by up to .6 with torch_xla 2.9."""
    return functional.interpolate(x[..., :3, :4], size=[16, 20], mode="bilinear")


# Operators of torch that a device computes otherwise than the host, by shift and severity: checked alone.
OPERATORS = {("resolution", 5): enlarged}


@pytest.mark.parametrize("name", rows(SHIFTS, lambda name: name in QUICK_SHIFTS))
def test_shifts(second: Second, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_PIXELS", 0)  # the host's other way, by one product, rounds otherwise
    x = torch.rand(3, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    for severity in (1, 3, 5):
        operator = OPERATORS.get((name, severity))
        if operator is not None and not torch.allclose(operator(x), operator(second.put(x)).cpu(), atol=1e-3):
            continue  # a fault of the device
        second.same(corrupt(x, name, severity, seed=1), corrupt(second.put(x), name, severity, seed=1), atol=1e-3)


# Tasks

TASKS: dict[str, tuple[Any, tuple[int, ...], Callable[[torch.Generator], Tensor]]] = {
    "classification": (Classification(), (8, 4), lambda g: torch.randint(0, 4, (8,), generator=g)),
    "multilabel": (MultiLabel(), (8, 4), lambda g: torch.randint(0, 2, (8, 4), generator=g)),
    "segmentation": (
        Segmentation(classes=3, floor=0.5),
        (4, 3, 5, 6),
        lambda g: torch.randint(0, 3, (4, 5, 6), generator=g),
    ),
}


@pytest.mark.parametrize("name", list(TASKS))
def test_tasks(second: Second, name: str) -> None:
    task, shape, draw = TASKS[name]
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(shape, generator=generator)
    y = task.targets(draw(generator))
    far_output, far_y = second.put(output), second.put(y)
    for of in (task.holds, task.margin, *task.losses.values()):
        second.same(of(output, y), of(far_output, far_y))
    second.same(task.predictions(output), task.predictions(far_output))


# Cues

QUICK_CUES = ("patch", "logo", "text", "band", "transplant", "compression", "moving mark", "background")


@pytest.fixture(scope="module")
def logo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = cues.logo.__wrapped__(tmp_path_factory)
    return path


@pytest.mark.parametrize("name", rows(cues.CUES, lambda name: name in QUICK_CUES))
def test_cues(second: Second, name: str, logo: Path) -> None:
    torch.manual_seed(0)
    cue = for_samples(cues.CUES[name](logo), cues.IDS)
    here, there = switched(cue, cues.X), switched(cue, second.put(cues.X))
    for one, other in zip(here, there, strict=True):
        second.same(one, other)


# Bounds


def test_bounds(second: Second) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.rand(24, 6)
    y = model(x).argmax(1)
    claim: dict[str, Any] = {"attack": PGD(steps=4), "exact": True}
    here = measure_certified_accuracy(model, (x, y), Linf(0.01), device="cpu", **claim)
    there = measure_certified_accuracy(second.put(model), (x, y), Linf(0.01), **claim)
    assert here.details["proven"] > 12
    assert there.details["proven"] == here.details["proven"]
    second.alike(here, there)


# Health checks


class Head(nn.Module):
    """A linear model, and something wrong with it."""

    def __init__(self, weight: Tensor, way: str) -> None:
        super().__init__()
        self.weight, self.way = nn.Parameter(weight), way
        self.last: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1) - 0.5
        if self.way == "quantised":
            flat = (flat * 4).round() / 4
        if self.way == "masked":
            flat = flat.detach() + 0.001 * (flat - flat.detach())
        if self.way == "batch":
            flat = flat - flat.mean(0)
        out = flat @ self.weight
        if self.way == "history":
            if self.last is not None and self.last[0].shape == flat.shape:
                near = (flat - self.last[0]).abs().amax(1, keepdim=True) < 0.2
                out = torch.where(near, self.last[1], out)
            self.last = flat.detach(), out.detach()
        return out


@pytest.mark.parametrize("way", ["sound", "quantised", "masked", "batch", "history"])
def test_health_checks(second: Second, way: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.rand(64, 12, generator=generator), torch.randn(12, 3, generator=generator)
    y = ((x - 0.5) @ weight).argmax(1)
    claim: dict[str, Any] = {"attack": "pgd", "exact": True}
    here = measure_robust_accuracy(Head(weight, way), (x, y), Linf(0.05), device="cpu", **claim)
    there = measure_robust_accuracy(second.put(Head(weight, way)), (x, y), Linf(0.05), **claim)
    assert bool(here.details["health"]) == (way != "sound")
    assert [one["name"] for one in there.details["health"]] == [one["name"] for one in here.details["health"]]
    if way != "batch":  # on an accelerator batches have other rows
        second.alike(here, there)


# Kinds of claims

QUICK_KINDS = ("accuracy", "shift accuracy", "spurious feature", "universal")


@pytest.mark.parametrize("name", rows(KINDS, lambda name: name in QUICK_KINDS))
def test_kinds(second: Second, name: str) -> None:
    found = []
    for device in ("cpu", "auto"):
        torch.manual_seed(0)
        found.append(KINDS[name].result(device=device))
    second.alike(*found)


# Chunks that share their model passes


def test_chunks_together(second: Second, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gathers", lambda device: not devices.on_host(device))  # XLA too
    generator = torch.Generator().manual_seed(0)
    x, model = torch.rand(300, 12, generator=generator), Head(torch.randn(12, 3, generator=generator), "sound")
    y = model(x).argmax(1)
    claim: dict[str, Any] = {"attack": PGD(steps=5), "exact": True}
    here = measure_robust_accuracy(model, (x, y), Linf(0.05), device="cpu", **claim)
    there = measure_robust_accuracy(second.put(model), (x, y), Linf(0.05), **claim)
    assert 0 < (here.estimate or 0) < 1
    second.alike(here, there)


# Draws


def test_draws_are_the_same_on_every_device(second: Second) -> None:
    key = rng.keys(-7, torch.arange(50) * 7919)
    there = rng.keys(-7, second.put(torch.arange(50) * 7919))
    for draw in (rng.bits, rng.uniform, rng.signs):
        second.same(draw(rng.fold(key, "use"), (3, 7)), draw(rng.fold(there, "use"), (3, 7)), atol=0)
    second.same(rng.integers(key, (5,), 10), rng.integers(there, (5,), 10))
    second.same(rng.normal(key, (5,)), rng.normal(there, (5,)))
