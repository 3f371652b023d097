"""Noise against the distributions it is drawn from.

Draws are deterministic, so a test either always passes or never does; tolerances are those that ideal noise would
break once in more than a million choices of its seed (five standard errors, or p < 1e-6).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from robustest.shifts import corrupt

SEVERITIES = [1, 2, 3, 4, 5]
# Hendrycks and Dietterich, ICLR 2019: make_cifar_c.py and make_imagenet_c.py.
NOISE = {32: (0.04, 0.06, 0.08, 0.09, 0.10), 80: (0.08, 0.12, 0.18, 0.26, 0.38)}
SPECKLE = {32: (0.06, 0.1, 0.12, 0.16, 0.2), 80: (0.15, 0.2, 0.35, 0.45, 0.6)}
IMPULSE = {32: (0.01, 0.02, 0.03, 0.05, 0.07), 80: (0.03, 0.06, 0.09, 0.17, 0.27)}
PHOTONS = {32: (500, 250, 100, 75, 50), 80: (60, 25, 12, 5, 3)}

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
sizes = pytest.mark.parametrize("size", [32, 80])


def plain(value: float, size: int, n: int = 40) -> Tensor:
    return torch.full((n, 3, size, size), value)


def assert_normal(change: Tensor, sigma: float, clipped_at: float) -> None:
    """Normal of mean 0 and this deviation, but for what is beyond clipped_at either way."""
    n, change = change.numel(), change.double()
    for bound in (sigma / 2, sigma, 1.6 * sigma, clipped_at * 0.99):
        if bound < clipped_at:
            share = math.erf(bound / sigma / math.sqrt(2))
            seen = float((change.abs() < bound).double().mean())
            assert abs(seen - share) < 5 * math.sqrt(share * (1 - share) / n) + 1 / n
    if clipped_at == 0.5:  # on both sides alike
        assert abs(float(change.mean())) < 5 * sigma / math.sqrt(n)


@sizes
@every_severity
def test_gaussian_noise_is_normal_with_the_published_deviation(size: int, severity: int) -> None:
    change = corrupt(plain(0.5, size), "gaussian_noise", severity) - 0.5
    assert_normal(change, NOISE[size][severity - 1], clipped_at=0.5)


@sizes
@every_severity
@pytest.mark.parametrize("value", [0.2, 0.5])
def test_speckle_noise_is_in_proportion_to_the_value(size: int, severity: int, value: float) -> None:
    change = corrupt(plain(value, size), "speckle_noise", severity) - value
    assert_normal(change, value * SPECKLE[size][severity - 1], clipped_at=value)


@sizes
@every_severity
def test_impulse_noise_turns_a_share_of_elements_black_or_white(size: int, severity: int) -> None:
    amount = IMPULSE[size][severity - 1]
    y = corrupt(plain(0.3, size), "impulse_noise", severity)
    black, white, same = (float((y == value).double().mean()) for value in (0.0, 1.0, torch.tensor(0.3)))
    error = 5 * math.sqrt(amount / 2 / y.numel())
    assert abs(black - amount / 2) < error
    assert abs(white - amount / 2) < error
    assert black + white + same == pytest.approx(1)
    struck = (y != 0.3).double()
    together = float((struck[:, 0] * struck[:, 1]).mean())  # channels are struck independently
    assert abs(together - amount**2) < 5 * math.sqrt(amount**2 / (y.numel() / 3)) + 1e-3 * amount


@sizes
@every_severity
@pytest.mark.parametrize("value", [0.004, 0.02, 0.1, 0.35, 0.8])
def test_shot_noise_counts_photons(size: int, severity: int, value: float) -> None:
    """Chi-square against the Poisson distribution; counts over the scale are all white."""
    photons = PHOTONS[size][severity - 1]
    n = 200_000
    counts = (
        corrupt(torch.full((2, 1, n // 2, 1), value), "shot_noise", severity, parameters=parameters(size)) * photons
    )
    assert float((counts - counts.round()).abs().max()) < 1e-3
    mean = float(torch.tensor(value) * photons)
    chances = stats.poisson.pmf(np.arange(photons), mean)
    chances = np.append(chances, 1 - chances.sum())
    seen = np.bincount(counts.round().long().flatten().numpy(), minlength=photons + 1)
    # Bins of at least 20 expected counts, the rest together.
    large = chances * n >= 20
    expected = np.append(chances[large], chances[~large].sum()) * n
    got = np.append(seen[large], seen[~large].sum())
    kept = expected > 1e-3
    # The expansion for large means is out by up to 1e-4 in a bin's share: with 200,000 draws that stays unseen.
    assert stats.chisquare(got[kept], expected[kept] * got[kept].sum() / expected[kept].sum()).pvalue > 1e-6
    assert got[~kept].sum() <= 2


def parameters(size: int) -> str:
    return "32" if size == 32 else "224"


def test_black_stays_black_under_shot_noise_and_speckle() -> None:
    for name in ("shot_noise", "speckle_noise"):
        assert float(corrupt(torch.zeros(2, 3, 64, 64), name, 5).max()) == 0


def test_noise_differs_by_sample_seed_and_element() -> None:
    x = torch.full((2, 1, 8, 8), 0.5)
    first, other = corrupt(x, "gaussian_noise", 1), corrupt(x, "gaussian_noise", 1, seed=1)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, other)
    assert len(first[0].unique()) > 60


def test_kinds_of_noise_share_no_draws() -> None:
    x = torch.full((20, 3, 32, 32), 0.5)
    a = corrupt(x, "gaussian_noise", 1) - x
    b = corrupt(x, "speckle_noise", 1) - x
    correlation = float((a * b).mean() / (a.std() * b.std()))
    assert abs(correlation) < 5 / math.sqrt(x.numel())
