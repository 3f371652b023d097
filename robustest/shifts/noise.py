"""Noise: Gaussian, shot, impulse and speckle, each element on its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from robustest import rng
from robustest.shifts import tables
from robustest.shifts.tables import family

_FEW = 10.0
"""Mean from which a Poisson count is drawn by expansion; below, by adding up its probabilities."""

_TERMS = 30
"""Probabilities added up at most: a count of mean 10 exceeds 30 less often than once in ten million draws."""


@family(tables.GAUSSIAN_NOISE)
def gaussian_noise(x: Tensor, deviation: float, key: Tensor) -> Tensor:
    """Independent normal noise on every element."""
    return rng.normal(rng.fold(key, "gaussian_noise"), x.shape[1:]).mul_(deviation).add_(x)


@family(tables.SPECKLE_NOISE)
def speckle_noise(x: Tensor, deviation: float, key: Tensor) -> Tensor:
    """Independent normal noise on every element, in proportion to its value."""
    return rng.normal(rng.fold(key, "speckle_noise"), x.shape[1:]).mul_(deviation).add_(1.0).mul_(x)


@family(tables.IMPULSE_NOISE)
def impulse_noise(x: Tensor, amount: float, key: Tensor) -> Tensor:
    """Every element, with the probability `amount`, becomes 0 or 1, each as likely."""
    centred = rng.uniform(rng.fold(key, "impulse_noise"), x.shape[1:], -0.5, 0.5)
    # What hardshrink leaves is beyond 0.36 either way: three times that takes any value out of [0, 1].
    return F.hardshrink(centred, 0.5 - amount / 2).mul_(3.0).add_(x)


@family(tables.SHOT_NOISE)
def shot_noise(x: Tensor, photons: int, key: Tensor) -> Tensor:
    """Every element becomes a Poisson count of mean `photons` times its value, on the same scale."""
    u = rng.uniform(rng.fold(key, "shot_noise"), x.shape[1:])
    return _poisson(u, x * photons, photons).div_(photons)


def _poisson(u: Tensor, mean: Tensor, most: int) -> Tensor:
    """Poisson counts from uniform numbers: exact where counts over `most` are all the same to the caller and most
    is at most 30, and where the mean is under 10; elsewhere by the Cornish-Fisher expansion.
    """
    # Sums of float32 probabilities may end a little under 1. No draw may fall into that gap.
    u = u.clamp_(max=1 - 1e-6)
    terms = min(most, _TERMS)
    chance = mean.neg().exp_()
    total, over, count = chance.clone(), torch.empty_like(u), torch.zeros_like(u)
    for k in range(1, terms + 1):
        count.add_(torch.ge(u, total, out=over))
        if k < terms:
            total.add_(chance.mul_(mean).mul_(1 / k))
    if most <= _TERMS:
        return count
    large = torch.ge(mean, _FEW, out=over)
    return count.lerp_(_large_poisson(u, mean), large)


def _large_poisson(u: Tensor, mean: Tensor) -> Tensor:
    """Quantiles of the Poisson distribution to the third order in 1/sqrt(mean) (Cornish and Fisher, 1938), with the
    corrections for the count being whole: half a step, and Sheppard's twelfth of its variance.
    """
    z = u.add(2.0**-25).mul_(2.0).sub_(1.0).erfinv_().mul_(math.sqrt(2))
    square = z * z
    root = mean.clamp(min=1.0).sqrt_()
    third = square.add(2.0).mul_(z).div_(root).mul_(-1 / 72)
    return root.mul_(z).add_(mean).add_(square, alpha=1 / 6).add_(third).add_(1 / 3).floor_()
