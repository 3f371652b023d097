"""How far the cheapest of several classes is from the others, and how often chance alone brings one as far."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robustest import rng

SPREAD_FLOOR = math.log(2.0)
"""The least standard deviation of log costs that is believed: an anomaly of 2 is at least 4 times as cheap."""

_TO_DEVIATION = 1.4826
"""A normal variable's standard deviation over its median absolute deviation."""

_NUMBERS, _LEAST_DRAWS = 200_000, 2_000
"""Normal numbers drawn to tell what chance does, and sets of classes at least."""


def anomalies(costs: Sequence[float]) -> list[float]:
    """How far each log cost is below their median, in robust standard deviations, `SPREAD_FLOOR` at least.

    A robust standard deviation is 1.4826 times the median absolute deviation.
    """
    logs = torch.tensor(costs, dtype=torch.float64).log()
    below: list[float] = _below(logs).tolist()
    return below


def chance_of(anomaly: float, costs: Sequence[float], seed: int) -> float:
    """How often the oddest of as many classes is as anomalous, where no class is odd.

    Log costs are drawn from one normal distribution of the spread that these have, `SPREAD_FLOOR` at least. A spread
    measured on few classes is often far too small: of six alike one has an anomaly of 2 in 9 of 100 sets.

    Args:
        anomaly: of one class.
        costs: of all classes.
        seed: of the draws.
    """
    logs = torch.tensor(costs, dtype=torch.float64).log()
    sets = max(_LEAST_DRAWS, _NUMBERS // len(costs))
    drawn = rng.normal(rng.fold(rng.keys(seed, torch.arange(sets)), "costs of classes"), (len(costs),)).double()
    farthest = _below(float(_spread(logs)) * drawn).amax(1)
    return (1 + int((farthest >= anomaly).sum())) / (1 + sets)


def _below(logs: Tensor) -> Tensor:
    return (logs.quantile(0.5, dim=-1, keepdim=True) - logs) / _spread(logs)


def _spread(logs: Tensor) -> Tensor:
    middle = logs.quantile(0.5, dim=-1, keepdim=True)
    found = _TO_DEVIATION * (logs - middle).abs().quantile(0.5, dim=-1, keepdim=True)
    return found.clamp(min=SPREAD_FLOOR)
