"""Populations of known truth for claims on what is trained."""

from __future__ import annotations

from typing import Any

import torch
from image_populations import Random
from robustest_training import measure_synthetic_covers
from torch import Tensor

from robustest import Result

_CENTRES = torch.randn(3, 4, generator=torch.Generator().manual_seed(7))


def three_classes(random: Random, n: int) -> tuple[Tensor, Tensor]:
    """Three Gaussians in four dimensions, a class each."""
    y = torch.from_numpy(random.integers(3, size=n))
    return _CENTRES[y] + torch.from_numpy(random.standard_normal((n, 4))).float(), y


def synthetic_covers(random: Random, **claim: Any) -> Result:
    """Fresh real samples given as synthetic ones: they teach as much as real samples do."""
    synthetic, train, test = (three_classes(random, n) for n in (60, 60, 200))
    seed = int(random.integers(2**32))
    return measure_synthetic_covers(train, synthetic, test_data=test, seed=seed, splits=4, **claim)
