"""Paired changes of several outcomes a sample: Fisher's randomisation test of their mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import binom, norm

_EXACT = 1 << 18
"""Sums up to which the distribution is worked out; beyond, so many samples changed that it is normal."""


def sign_flip(change: NDArray[np.int64]) -> float:
    """One-sided p-value that whole-numbered changes, one a sample, sum to more than 0 by chance.

    Under the null hypothesis each sample's change is as likely as its opposite (Fisher, The Design of Experiments,
    1935, section 21). The outcomes within a sample may depend on each other in any way. With changes of -1, 0 and 1 it
    is the exact McNemar test. A sample's change counts by its size, so that a few that changed much do not drown in
    many.

    Args:
        change: (n,) what each sample lost, less what it gained.
    """
    sizes, counts = np.unique(np.abs(change[change != 0]), return_counts=True)
    lost, total = int(change[change > 0].sum()), int((sizes * counts).sum())
    if total > _EXACT:
        spread = float(np.sqrt((sizes.astype(float) ** 2 * counts).sum()))
        return float(norm.sf((2 * lost - total - 1) / spread))
    sums = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        chances = np.zeros(size * count + 1)
        chances[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        sums = fftconvolve(sums, chances) if len(sums) > 1 else chances
    return float(min(1.0, max(0.0, sums[lost:].sum())))


def flipped_share(change: NDArray[np.float64], *, alpha: float, seed: int) -> float:
    """The share of random sign flips of changes, one a sample, whose sum is as large as theirs.

    As `sign_flip`, for changes of any size, by draws: 100 / alpha of them, 10,000 to 100,000. It is the plain share,
    which is 0 where no draw reached the sum; to reject with it add one to both counts.

    Args:
        change: (n,) what each sample lost, less what it gained.
        alpha: the level at which the share will be judged.
        seed: of the draws.
    """
    size = np.abs(change[change != 0])
    if not len(size):
        return 1.0
    generator, draws = np.random.default_rng(seed), int(min(100_000, max(10_000, np.ceil(100 / alpha))))
    reached, at_once = 0, max(1, min(draws, (1 << 22) // len(size)))
    bar = (float(change.sum()) + float(size.sum())) / 2  # of what is lost, as flips leave the sum of sizes alone
    for start in range(0, draws, at_once):
        signs = generator.integers(0, 2, (min(at_once, draws - start), len(size)), dtype=np.int8)
        reached += int((signs @ size >= bar - 1e-9 * float(size.sum())).sum())
    return reached / draws
