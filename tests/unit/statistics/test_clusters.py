"""Falls between sets of clusters: other clusters would have made other falls."""

from __future__ import annotations

import numpy as np
import pytest

from robustest.statistics.differences.two_shares import difference_interval, exceeds
from robustest.statistics.resampling.clusters import Clusters, cluster_drop_interval, cluster_variance


def drawn(random: np.random.Generator, m: int, size: int, mean: float, alike: float) -> Clusters:
    """m clusters of so many samples, their true shares beta-distributed; large `alike`: all the same."""
    shares = random.beta(mean * alike, (1 - mean) * alike, m)
    return Clusters(random.binomial(size, shares), np.full(m, size))


def test_the_variance_is_that_of_a_mean_of_clusters() -> None:
    """Of clusters of one size it is known: the shares' sample variance over their number."""
    clusters = drawn(np.random.default_rng(0), 12, 50, 0.7, 5)
    known = float((clusters.held / clusters.n).var(ddof=1) / 12)
    assert cluster_variance(clusters, 20_000, np.random.default_rng(1)) == pytest.approx(known, rel=0.05)


def test_it_covers_the_fall_of_the_kinds_that_clusters_are_drawn_from() -> None:
    """Twenty clusters a side; intervals that take samples for independent miss far more often."""
    random, alpha, runs = np.random.default_rng(2), 0.05, 300
    missed = {"clusters": 0, "samples": 0}
    for run in range(runs):
        a, b = drawn(random, 20, 40, 0.9, 6), drawn(random, 20, 40, 0.6, 6)
        low, high = cluster_drop_interval(a, b, alpha, resamples=200, seed=run)
        missed["clusters"] += not low <= 0.3 <= high
        one, other = (int(a.held.sum()), 800), (int(b.held.sum()), 800)
        missed["samples"] += exceeds(*one, *other, 0.3, alpha=alpha) or exceeds(*other, *one, -0.3, alpha=alpha)
    assert missed["clusters"] <= 0.13 * runs, "10 % promised, both sides together"
    assert missed["samples"] > 0.3 * runs


def test_clusters_that_agree_leave_the_samples_own_error() -> None:
    a, b = Clusters(np.full(5, 20), np.full(5, 20)), Clusters(np.full(5, 10), np.full(5, 20))
    assert cluster_drop_interval(a, b, 0.01, resamples=100, seed=0) == difference_interval(100, 100, 50, 100, 0.01)


def test_clusters_that_nearly_agree_are_no_better_known_than_their_samples() -> None:
    a, b = Clusters(np.array([19, 20, 20, 20, 20]), np.full(5, 20)), Clusters(np.full(5, 10), np.full(5, 20))
    low, high = cluster_drop_interval(a, b, 0.01, resamples=100, seed=0)
    loose = difference_interval(99, 100, 50, 100, 0.01)
    assert low <= loose[0]
    assert loose[1] <= high


def test_a_single_cluster_says_nothing_of_others() -> None:
    one, many = Clusters(np.array([90]), np.array([100])), Clusters(np.full(5, 10), np.full(5, 20))
    assert cluster_drop_interval(one, many, 0.01, resamples=100, seed=0) == (-1.0, 1.0)
    assert cluster_drop_interval(many, one, 0.01, resamples=100, seed=0) == (-1.0, 1.0)


def test_the_seed_repeats_it_and_any_whole_number_is_one() -> None:
    random = np.random.default_rng(3)
    a, b = drawn(random, 8, 30, 0.9, 4), drawn(random, 8, 30, 0.5, 4)
    first, again, other = (cluster_drop_interval(a, b, 0.05, resamples=100, seed=seed) for seed in (-7, -7, 8))
    assert first == again != other
