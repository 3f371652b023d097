"""Shares of models that were trained several times, each judged on the same samples: for other seeds and other samples.

Trainings differ from one another, and so do samples. Each has a standard error: of the mean over seeds, and of the mean
over samples, where what several models answer about one sample is one cluster. An interval of both squares
and adds its reach for seeds, by Student's t with one degree of freedom less than there are, and that for samples (Zou
and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 2008). A test that takes
one model's samples for all that varies is too sure by as much as trainings differ.
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
    """A share, or a difference of shares, over models of several seeds.

    Attributes:
        value: the mean over seeds.
        by_seed: its standard error for other seeds, on these samples; infinite for one seed, which tells of no other.
        by_sample: its standard error for other samples, of models of these seeds.
        seeds, samples: how many there are.
    """

    value: float
    by_seed: float
    by_sample: float
    seeds: int
    samples: int

    @property
    def error(self) -> float:
        """The standard error for other seeds and samples."""
        return hypot(self.by_seed, self.by_sample)

    def reach(self, alpha: float) -> float:
        """How far from the value the truth may lie, on either side with a chance of about alpha."""
        if min(self.seeds, self.samples) < 2:
            return np.inf
        seed, sample = (float(student.ppf(1 - alpha, n - 1)) for n in (self.seeds, self.samples))
        return hypot(seed * self.by_seed, sample * self.by_sample)


def seeded_share(held: Bools) -> Seeded:
    """The share that holds of models of S seeds on m samples.

    Args:
        held: (S, m) whether each model is right about each sample.
    """
    return _seeded(held.mean(1), held.mean(0) / held.shape[1])


def seeded_share_interval(held: Bools, alpha: float) -> Interval:
    """An interval of the share for other seeds and samples, alpha on each side, about; all of 0..1 for one seed.

    Never inside the exact one for one model's samples: models that happen to agree show no variance.
    """
    found = seeded_share(held)
    reach, (least, most) = found.reach(alpha), _ends(held, alpha)
    return max(0.0, min(found.value - reach, least)), min(1.0, max(found.value + reach, most))


def seeded_gap(train: Bools, train_ids: Ints, test: Bools) -> Seeded:
    """The share that holds among the samples that models were trained on less that among others.

    Args:
        train: (S, n) whether the model of each seed is right about each of its own training samples.
        train_ids: (S, n) which samples these are: seeds may share some.
        test: (S, m) whether it is right about each test sample; the same for all seeds.
    """
    _, sample = np.unique(train_ids, return_inverse=True)
    own = np.bincount(sample.ravel(), weights=(train - train.mean()).ravel()) / train.size  # a sample's part, all seeds
    others = (test.mean(0) - test.mean()) / test.shape[1]
    return _seeded(train.mean(1) - test.mean(1), np.concatenate([own, -others]))


def seeded_gap_interval(train: Bools, train_ids: Ints, test: Bools, alpha: float) -> Interval:
    """An interval of the gap for other seeds and samples, alpha on each side, about; (-1, 1) for one seed.

    Never inside Newcombe's interval for one model's samples (Statistics in Medicine 1998, method 10, of exact bounds).
    """
    found = seeded_gap(train, train_ids, test)
    reach = found.reach(alpha)
    (train_low, train_high), (test_low, test_high) = _ends(train, alpha), _ends(test, alpha)
    first, second = float(train.mean()), float(test.mean())
    least = found.value - hypot(first - train_low, test_high - second)
    most = found.value + hypot(train_high - first, second - test_low)
    return max(-1.0, min(found.value - reach, least)), min(1.0, max(found.value + reach, most))


def _seeded(by_seed: NDArray[np.float64], parts: NDArray[np.float64]) -> Seeded:
    """An estimate from its value in each seed (S,), and what each sample adds to the mean over seeds (m,)."""
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
    """The exact interval of a share on one model's samples, never inside which the truth is claimed to be."""
    share, n = float(held.mean()), held.shape[1]
    low = clopper_pearson(int(np.floor(share * n)), n, alpha)[0]
    return low, clopper_pearson(int(np.ceil(share * n)), n, alpha)[1]
