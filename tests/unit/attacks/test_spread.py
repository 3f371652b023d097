"""Threats of a user's own: the default attacks find what an enumeration of their proposals finds."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Verdict, find_adversarial
from robustest.attacks.spread import SpreadDraws
from robustest.measure import measure_robust_accuracy
from robustest.threats import Bounds, Rows, clip

SHIFTS, GAINS = 48, torch.linspace(0.6, 1.4, 9)


class ShiftedLouder:
    """A cyclic shift of a series by a whole number of steps, and one of nine gains: a rounded proposal (N, 2)."""

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        low = x.new_zeros(len(x), 2)
        high = x.new_tensor([SHIFTS - 1.0, len(GAINS) - 1.0]).expand(len(x), 2)
        return {"x": x, "low": low, "high": high.clone()}

    def origin(self, region: Rows) -> Tensor:
        return region["x"].new_tensor([0.0, len(GAINS) // 2]).repeat(len(region["x"]), 1)

    def start(self, region: Rows, key: Tensor) -> Tensor:
        from robustest import rng

        return region["low"] + rng.uniform(key, (2,)) * (region["high"] - region["low"])

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return clip(z, region)

    def ascent(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def stride(self, region: Rows) -> Tensor:
        return region["x"].new_full((len(region["x"]),), float(SHIFTS))

    def render(self, z: Tensor, region: Rows) -> Tensor:
        x, whole = region["x"], z.round().long()
        at = (torch.arange(x.shape[-1]) - whole[:, :1]) % x.shape[-1]
        gain = GAINS[whole[:, 1]].view(-1, 1, 1)
        # A gradient of zero, as rounding has: the search has to do without.
        return ((x.gather(2, at.unsqueeze(1)) - 0.5) * gain + 0.5).clamp(0, 1) + 0 * z.sum(1).view(-1, 1, 1)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return (z.round() != self.origin(region)).any(1).double()

    @property
    def radius(self) -> float:
        return 1.0

    def __str__(self) -> str:
        return "ShiftedLouder()"


@cache
def series() -> tuple[nn.Module, Tensor, Tensor]:
    """A network on (200, 1, 48) noisy pulses of two widths, which shifts of a few exact sizes break."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(1200) % 2
    at = torch.randint(0, SHIFTS, (1200, 1), generator=draw)
    away = ((torch.arange(SHIFTS) - at + 24) % SHIFTS - 24).abs()
    x = 0.35 + 0.3 * (away < 2 + 4 * y.unsqueeze(1)).float() + 0.07 * torch.randn(1200, SHIFTS, generator=draw)
    x = x.clamp(0, 1).unsqueeze(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(SHIFTS, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(300):
        rows = torch.randint(200, 1200, (128,), generator=draw)
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(net(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    return net.eval(), x[:200], y[:200]


@cache
def enumerated() -> float:
    """The share that holds under every shift and gain."""
    model, x, y = series()
    threat = ShiftedLouder()
    region = threat.region(x, (0.0, 1.0))
    held = torch.ones(len(x), dtype=torch.bool)
    with torch.no_grad():
        for shift in range(SHIFTS):
            for gain in range(len(GAINS)):
                z = torch.tensor([float(shift), float(gain)]).repeat(len(x), 1)
                held &= model(threat.render(z, region)).argmax(1) == y
    return float(held.double().mean())


@pytest.mark.parametrize("attack", ["fast", "standard"])
def test_the_default_attacks_find_all_that_an_enumeration_finds(attack: str) -> None:
    model, x, y = series()
    truth = enumerated()
    for seed in range(2):
        found = measure_robust_accuracy(
            model, (x, y), ShiftedLouder(), attack=attack, at_least=truth + 0.015, exact=True, seed=seed, cache=False
        )
        assert found.verdict is not Verdict.PASSED, (found.estimate, truth)
        assert found.estimate is not None
        assert found.estimate <= truth + 0.01


def test_every_whole_point_is_asked_where_these_are_few() -> None:
    """All of 48 x 9 points, with a share of the queries that just holds them."""
    model, x, y = series()
    attack = SpreadDraws(queries=SHIFTS * len(GAINS), at_once=48, share=1.0)
    broken = find_adversarial(model, x, y, ShiftedLouder(), attack=attack).broken
    with torch.no_grad():
        wrong = model(x).argmax(1) != y
    assert float(1 - (torch.from_numpy(broken) | wrong).double().mean()) == pytest.approx(enumerated())
