"""On CartPole, after 30,000 steps of training, a gradient estimate without a baseline is the noisier one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training import gradients, trained

ESTIMATES, EPISODES = 8, 32


def noise(gradient: Any) -> float:
    """The total variance of independent estimates around their mean. K0, a ratio, moves both ways."""
    rows = np.stack([gradient(EPISODES, seed) for seed in range(ESTIMATES)])
    return float(rows.var(0, ddof=1).sum())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mean_as_a_baseline_takes_a_third_of_the_noise_or_more(seed: int) -> None:
    policy = trained(seed)
    plain, mean = (noise(gradients(policy, baseline=baseline)) for baseline in (False, True))
    print(f"seed {seed}: {plain:.4g} without, {mean:.4g} with the mean, {plain / mean:.2f} times")  # noqa: T201
    assert plain >= 1.5 * mean
