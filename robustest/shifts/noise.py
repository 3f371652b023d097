"""Noise: Gaussian, shot, impulse and speckle, independent on every element.

Shot noise draws Poisson counts. Small means are inverted exactly: a uniform number u becomes the number of partial sums
of exp(-m) m^k / k! that it exceeds. Large means use the expansion of Cornish and Fisher (1938),
    m + sqrt(m) z + (z^2 - 1) / 6 - (z^3 - z) / (72 sqrt(m)) ...,    z the normal quantile of u.
Both take one uniform number, so that the draw depends on the element alone; a rejection sampler would not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from robustest import rng
from robustest.shifts import tables
from robustest.shifts.tables import family

# Mean from which a count is drawn by the expansion.
_LARGE_MEAN = 10.0

# Probabilities added up at most: a count of mean 10 exceeds 30 less often than once in ten million draws.
_TERMS = 30


@family(tables.GAUSSIAN_NOISE)
def gaussian_noise(x: Tensor, deviation: float, key: Tensor) -> Tensor:
    """Add independent normal noise to every element."""
    return rng.normal(rng.fold(key, "gaussian_noise"), x.shape[1:]).mul_(deviation).add_(x)


@family(tables.SPECKLE_NOISE)
def speckle_noise(x: Tensor, deviation: float, key: Tensor) -> Tensor:
    """Add independent normal noise to every element, in proportion to its value."""
    return rng.normal(rng.fold(key, "speckle_noise"), x.shape[1:]).mul_(deviation).add_(1.0).mul_(x)


@family(tables.IMPULSE_NOISE)
def impulse_noise(x: Tensor, amount: float, key: Tensor) -> Tensor:
    """Set every element, with the probability `amount`, to 0 or 1 with equal chances."""
    centred = rng.uniform(rng.fold(key, "impulse_noise"), x.shape[1:], -0.5, 0.5)
    # The values that hardshrink leaves are beyond 0.36 either way: three times that takes any value out of [0, 1].
    return F.hardshrink(centred, 0.5 - amount / 2).mul_(3.0).add_(x)


@family(tables.SHOT_NOISE)
def shot_noise(x: Tensor, photons: int, key: Tensor) -> Tensor:
    """Replace every element by a Poisson count of mean `photons` times its value, on the same scale."""
    u, mean = rng.uniform(rng.fold(key, "shot_noise"), x.shape[1:]), x * photons
    # Sums of float32 probabilities may end a little under 1. No draw may fall into that gap.
    u = u.clamp_(max=1 - 1e-6)
    # Counts over `photons` are white anyway, so that no more terms than that are needed.
    terms = min(photons, _TERMS)
    chance = mean.neg().exp_()
    total, over, count = chance.clone(), torch.empty_like(u), torch.zeros_like(u)
    for k in range(1, terms + 1):
        count.add_(torch.ge(u, total, out=over))
        if k < terms:
            total.add_(chance.mul_(mean).mul_(1 / k))
    if photons > _TERMS:
        large = torch.ge(mean, _LARGE_MEAN, out=over)
        count = count.lerp_(_large_poisson(u, mean), large)
    return count.div_(photons)


def _large_poisson(u: Tensor, mean: Tensor) -> Tensor:
    """Return Poisson quantiles to the third order in 1 / sqrt(mean)."""
    z = u.add(2.0**-25).mul_(2.0).sub_(1.0).erfinv_().mul_(math.sqrt(2))
    square = z * z
    root = mean.clamp(min=1.0).sqrt_()
    third = square.add(2.0).mul_(z).div_(root).mul_(-1 / 72)
    # The corrections for whole numbers are half a step, and Sheppard's twelfth of the variance of a step.
    return root.mul_(z).add_(mean).add_(square, alpha=1 / 6).add_(third).add_(1 / 3).floor_()
