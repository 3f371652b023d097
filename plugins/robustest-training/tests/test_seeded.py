"""Shares over seeds and samples: how often intervals miss, and that what agrees by chance is not taken for certain."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from robustest_training.trainings import seeded_gap, seeded_gap_interval, seeded_share, seeded_share_interval

ALPHA, WORLDS = 0.05, 500
MOST = ALPHA * WORLDS + 2 * sqrt(WORLDS * ALPHA * (1 - ALPHA))


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.1), (6, 0.05)])
def test_the_truth_is_seldom_outside(seeds: int, spread: float) -> None:
    """Trainings and samples differ: a gap of .1, from .7 to .6."""
    random = np.random.default_rng(seeds + int(1000 * spread))
    ids = np.tile(np.arange(80), (seeds, 1))
    missed = np.zeros(4)
    for _ in range(WORLDS):
        lean = random.normal(0, spread, (seeds, 1))
        test = random.random((seeds, 100)) < 0.6 + random.uniform(-0.3, 0.3, 100) + lean
        train = random.random((seeds, 80)) < 0.7 + random.uniform(-0.2, 0.2, 80) + lean / 2
        low, high = seeded_gap_interval(train, ids, test, ALPHA)
        least, most = seeded_share_interval(test, ALPHA)
        missed += [low > 0.1, high < 0.1, least > 0.6, most < 0.6]
    assert missed.max() <= MOST, missed


def test_a_test_of_one_models_samples_is_too_sure() -> None:
    """So that the simulation above can fail: samples alone, as if there were one training."""
    random, missed = np.random.default_rng(0), 0
    for _ in range(WORLDS):
        lean = random.normal(0, 0.1, (3, 1))
        test = random.random((3, 100)) < 0.6 + lean
        found = seeded_share(test)
        missed += found.value - 1.66 * found.by_sample > 0.6
    assert missed > 2 * MOST


def test_one_seed_says_nothing_of_others() -> None:
    held = np.random.default_rng(0).random((1, 50)) < 0.5
    assert seeded_share_interval(held, ALPHA) == (0.0, 1.0)
    assert seeded_gap_interval(held, np.arange(50)[None], held, ALPHA) == (-1.0, 1.0)


def test_models_that_agree_are_as_sure_as_one_models_samples_at_most() -> None:
    right = np.ones((3, 40), bool)
    low, high = seeded_share_interval(right, ALPHA)
    assert low == pytest.approx(ALPHA ** (1 / 40))
    assert high == 1.0
    low, high = seeded_gap_interval(right, np.tile(np.arange(40), (3, 1)), right, ALPHA)
    assert low < -0.05 < 0.05 < high


def test_a_gap_is_the_difference_of_means() -> None:
    random = np.random.default_rng(1)
    train, test = random.random((3, 20)) < 0.8, random.random((3, 30)) < 0.5
    ids = np.stack([random.permutation(60)[:20] for _ in range(3)])
    found = seeded_gap(train, ids, test)
    assert found.value == pytest.approx(train.mean() - test.mean())
    each = train.mean(1) - test.mean(1)
    assert found.by_seed == pytest.approx(each.std(ddof=1) / sqrt(3))
    assert found.samples == len(np.unique(ids)) + 30


def test_samples_of_each_side_weigh_as_many_as_there_are() -> None:
    """Where no two models share a training sample the two sides' variances add, each over its own number of samples."""
    random = np.random.default_rng(2)
    train, test = random.random((3, 20)) < 0.8, random.random((3, 50)) < 0.5
    found = seeded_gap(train, np.arange(60).reshape(3, 20), test)
    variance = train.var() / 60 + test.mean(0).var() / 50
    assert found.by_sample == pytest.approx(sqrt(variance * 110 / 109))
    assert found.error == pytest.approx(sqrt(found.by_seed**2 + found.by_sample**2))
    share = seeded_share(test)
    assert share.by_sample == pytest.approx(sqrt(test.mean(0).var() / 50 * 50 / 49))
    assert (share.seeds, share.samples) == (3, 50)
    two = 2.919986, 1.676551  # Student's t at .95 with 2 and with 49 degrees of freedom
    reach = sqrt((two[0] * share.by_seed) ** 2 + (two[1] * share.by_sample) ** 2)
    assert share.reach(0.05) == pytest.approx(reach, rel=1e-5)
    assert seeded_share(test[:, :1]).reach(0.05) == np.inf
    assert seeded_share(test[:1]).reach(0.05) == np.inf
    assert seeded_share(test[:2, :2]).reach(0.05) < np.inf
