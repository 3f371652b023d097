"""Shares over models of several seeds, each judged on the same samples: intervals for other seeds and other samples.

The mean over seeds and the mean over samples each have a standard error; answers of several models about one sample are
one cluster. The interval adds the squares of both reaches by Student's t (Zou and Donner, "Construction of confidence
limits about effect measures", Statistics in Medicine 2008). One model's samples alone would ignore the variance of
trainings.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from robustest.packs import clopper_pearson

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Seeded:
    """A share, or a difference of shares, over models of several seeds."""

    value: float  # the mean over seeds
    by_seed: float  # standard error for other seeds, on these samples; infinite for one seed
    by_sample: float  # standard error for other samples, of models of these seeds
    seeds: int  # seeds, samples: numbers of each
    samples: int

    @property
    def error(self) -> float:
        return hypot(self.by_seed, self.by_sample)

    def reach(self, alpha: float) -> float:
        """Return the half width of the interval, approximately alpha on each side."""
        if min(self.seeds, self.samples) < 2:
            return np.inf
        seed, sample = (float(student.ppf(1 - alpha, n - 1)) for n in (self.seeds, self.samples))
        return hypot(seed * self.by_seed, sample * self.by_sample)


def seeded_share(held: Bools) -> Seeded:
    """Return the share that holds, from held (S, m) bool of models of S seeds on m samples."""
    return _seeded(held.mean(1), held.mean(0) / held.shape[1])


def seeded_share_interval(held: Bools, alpha: float) -> Interval:
    """Return the approximate interval of the share for other seeds and samples; 0..1 for one seed."""
    found = seeded_share(held)
    reach, (least, most) = found.reach(alpha), _ends(held, alpha)
    # Never inside the exact interval of one model's samples: models that agree by chance show no variance.
    return max(0.0, min(found.value - reach, least)), min(1.0, max(found.value + reach, most))


def seeded_gap(train: Bools, train_ids: Ints, test: Bools) -> Seeded:
    """Return the share that holds among training samples (S, n) minus that among test samples (S, m).

    Args:
        train_ids: (S, n) positions of the training samples; seeds may share some.
    """
    _, sample = np.unique(train_ids, return_inverse=True)
    # One cluster per training sample, over all seeds that share it.
    own = np.bincount(sample.ravel(), weights=(train - train.mean()).ravel()) / train.size  # a sample's part, all seeds
    others = (test.mean(0) - test.mean()) / test.shape[1]
    return _seeded(train.mean(1) - test.mean(1), np.concatenate([own, -others]))


def seeded_gap_interval(train: Bools, train_ids: Ints, test: Bools, alpha: float) -> Interval:
    """Return the approximate interval of the gap for other seeds and samples; (-1, 1) for one seed."""
    found = seeded_gap(train, train_ids, test)
    reach = found.reach(alpha)
    (train_low, train_high), (test_low, test_high) = _ends(train, alpha), _ends(test, alpha)
    first, second = float(train.mean()), float(test.mean())
    # Never inside Newcombe's interval for one model's samples (Statistics in Medicine 1998, method 10, of exact
    # bounds).
    least = found.value - hypot(first - train_low, test_high - second)
    most = found.value + hypot(train_high - first, second - test_low)
    return max(-1.0, min(found.value - reach, least)), min(1.0, max(found.value + reach, most))


def _seeded(by_seed: NDArray[np.float64], parts: NDArray[np.float64]) -> Seeded:
    """Return an estimate from its values by seed (S,), and each sample's part of the mean over seeds (m,)."""
    seeds, samples = len(by_seed), len(parts)
    value = float(by_seed.mean())
    apart = parts - parts.mean()
    return Seeded(
        value=value,
        by_seed=float(by_seed.std(ddof=1)) / sqrt(seeds) if seeds > 1 else np.inf,
        by_sample=sqrt(float((apart**2).sum()) * samples / (samples - 1)) if samples > 1 else np.inf,
        seeds=seeds,
        samples=samples,
    )


def _ends(held: Bools, alpha: float) -> Interval:
    # The mean over seeds need not be a whole number of samples: round each end outwards.
    share, n = float(held.mean()), held.shape[1]
    low = clopper_pearson(int(np.floor(share * n)), n, alpha)[0]
    return low, clopper_pearson(int(np.ceil(share * n)), n, alpha)[1]
