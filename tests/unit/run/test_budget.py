"""A time budget ends a claim within the pass under way, whatever the claim does and wherever it is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from robustest import Linf, clock
from robustest.context import Context, running
from robustest.measure import (
    measure_calibrated,
    measure_certified_accuracy,
    measure_min_perturbation,
    measure_robust_accuracy,
    measure_robust_to,
    measure_shift_accuracy,
)
from robustest.results import Result, Verdict
from robustest.settings import Settings
from robustest.strategies import shifts

PASS = 0.02
"""Seconds that a pass of the model takes."""
BUDGET = 0.3


class Clock:
    """Stands for the module `time`: its seconds pass where something sleeps, and nowhere else, on any machine."""

    def __init__(self) -> None:
        self.now = self.longest = 0.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.longest = max(self.longest, seconds)


CLOCK = Clock()


class Slow(nn.Module):
    """Right on all samples, and slow."""

    def __init__(self, seconds: float = PASS) -> None:
        super().__init__()
        self.seconds = seconds
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU())
        self.head = nn.Linear(8, 2)
        with torch.no_grad():
            self.body[1].weight.fill_(1.0)
            self.body[1].bias.fill_(0.0)
            self.head.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 8))
            self.head.bias.copy_(torch.tensor([64.0, -64.0]))

    def forward(self, x: Tensor) -> Tensor:
        CLOCK.sleep(self.seconds)
        logits: Tensor = self.head(self.body(x))
        return logits


def data(n: int = 200, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    return (0.3 + 0.4 * y.float()).view(-1, 1, 1, 1) + 0.05 * torch.rand(n, 1, 4, 4, generator=generator), y


class SlowData(Dataset[Any]):
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        CLOCK.sleep(0.01)
        x, y = data(2)
        return x[position % 2], int(y[position % 2])


CLAIMS: dict[str, Callable[..., Result]] = {
    "attack": lambda **o: measure_robust_accuracy(Slow(), data(), Linf(0.1), at_least=0.9, attack="thorough", **o),
    "one slow chunk": lambda **o: measure_robust_accuracy(Slow(), data(64), Linf(0.1), at_least=0.1, **o),
    "population": lambda **o: measure_robust_accuracy(Slow(), data(), Linf(0.1), at_least=0.1, scope="population", **o),
    "smallest perturbation": lambda **o: measure_min_perturbation(Slow(), data(), "linf", at_least=0.1, **o),
    "proof": lambda **o: measure_certified_accuracy(Slow(), data(), Linf(0.1), at_least=0.1, **o),
    "shift": lambda **o: measure_shift_accuracy(Slow(0.5), data(), "gaussian_noise", severity=5, at_least=0.1, **o),
    "strategy": lambda **o: measure_robust_to(Slow(), data(), shifts(), at_least=0.1, max_examples=5000, **o),
    "calibration": lambda **o: measure_calibrated(Slow(0.5), data(), max_ece=0.5, **o),
    "reading": lambda **o: measure_robust_accuracy(Slow(0.0), SlowData(), Linf(0.1), at_least=0.1, attack="fgsm", **o),
}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "time", CLOCK)


def ends_in_time(claim: Callable[[], Result]) -> None:
    CLOCK.longest, started = 0.0, CLOCK.now
    result = claim()
    took = CLOCK.now - started
    assert BUDGET < took <= BUDGET + CLOCK.longest + 1e-9, "the pass under way, and no other"
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the clock" in result.rule or result.rule.startswith("budget")


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_ends_with_its_time_and_is_open(name: str) -> None:
    ends_in_time(lambda: CLAIMS[name](time_budget=BUDGET))


def test_the_budget_of_a_test_holds_for_its_claims() -> None:
    with running(Context(settings=Settings(time_budget=BUDGET))):
        ends_in_time(CLAIMS["attack"])


def test_a_certain_verdict_before_the_time_is_up_stays(toy: Any) -> None:
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.01), at_least=0.1, attack="fgsm", time_budget=60)
    unhurried = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.01), at_least=0.1, attack="fgsm")
    assert (result.verdict, result.rule) == (unhurried.verdict, unhurried.rule)
