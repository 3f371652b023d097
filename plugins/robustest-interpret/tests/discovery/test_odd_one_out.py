"""The cheapest of several classes, and what chance brings."""

from __future__ import annotations

import math

import pytest
import torch
from robustest_interpret.discovery.triggers import SPREAD_FLOOR, anomalies, anomaly_chance


def test_anomalies_are_distances_below_the_median() -> None:
    costs = [64.0, 64.0, 64.0, 64.0, 4.0]
    assert anomalies(costs) == pytest.approx([0, 0, 0, 0, math.log(16) / math.log(2)])
    wide = [math.exp(v) for v in (0.0, 2.0, 4.0, 6.0, 8.0)]
    assert anomalies(wide) == pytest.approx(
        [4 / (1.4826 * 2), 2 / (1.4826 * 2), 0, -2 / (1.4826 * 2), -4 / (1.4826 * 2)]
    )


def test_costs_may_be_in_any_unit() -> None:
    costs = [5.0, 8.0, 30.0, 1.0, 12.0]
    assert anomalies([7 * cost for cost in costs]) == pytest.approx(anomalies(costs))
    assert anomaly_chance(2.0, [7 * cost for cost in costs], 0) == pytest.approx(
        anomaly_chance(2.0, costs, 0), abs=1e-4
    )


def test_more_classes_bring_larger_anomalies() -> None:
    chances = [anomaly_chance(2.5, [10.0] * classes, 0) for classes in (4, 6, 10, 100)]
    assert chances == sorted(chances)
    assert chances[0] < 0.03
    assert chances[-1] > 0.3


def test_a_larger_anomaly_is_less_likely() -> None:
    chances = [anomaly_chance(anomaly, [10.0] * 6, 0) for anomaly in (1.0, 2.0, 3.0, 4.0, 100.0)]
    assert chances == sorted(chances, reverse=True)
    assert chances[1] > 0.05
    assert 0 < chances[-1] < 1e-4


@pytest.mark.parametrize("classes", [6, pytest.param(10, marks=pytest.mark.slow)])
def test_of_classes_alike_the_oddest_is_seldom_sure(classes: int) -> None:
    draw = torch.Generator().manual_seed(classes)
    sure = 0
    for seed in range(150):
        costs = (SPREAD_FLOOR * torch.randn(classes, generator=draw)).exp().tolist()
        sure += anomaly_chance(max(anomalies(costs)), costs, seed) <= 0.05
    assert sure <= 0.05 * 150 + 2 * (150 * 0.05 * 0.95) ** 0.5
