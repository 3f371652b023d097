"""Means over clusters by bets: how often they err where clusters are lost seldom, and what few clusters can show."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from robustest.decisions.two_set_drop import cluster_mean_interval, fewest_clusters

Random = np.random.Generator
SIZE = 20


def lost_seldom(random: Random, clusters: int, lost: float) -> np.ndarray:
    """Shares that hold: about .97 of the samples of each cluster, or none where it is lost."""
    held = random.binomial(SIZE, 0.97, clusters) / SIZE
    return np.where(random.random(clusters) < lost, 0.0, held)


@pytest.mark.parametrize(
    ("clusters", "lost"),
    [
        (4, 0.05),
        (30, 0.02),
        (60, 0.05),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((10, 0.05), (30, 0.05), (60, 0.02))),
    ],
)
def test_a_fall_in_rare_clusters_is_seldom_missed(clusters: int, lost: float) -> None:
    """The upper end lies below the truth at most as often as alpha; that of Student's t by cluster far oftener."""
    random, alpha, runs, truth = np.random.default_rng([clusters, round(1000 * lost)]), 0.05, 400, 0.97 * lost
    missed, naive = 0, 0
    for _ in range(runs):
        first, second = lost_seldom(random, clusters, 0.0), lost_seldom(random, clusters, lost)
        missed += cluster_mean_interval(first, alpha, minus=second)[1] < truth
        error = sqrt((first.var(ddof=1) + second.var(ddof=1)) / clusters)
        naive += first.mean() - second.mean() + student.ppf(1 - alpha, clusters - 1) * error < truth
    bar = alpha * runs + 3 * sqrt(alpha * (1 - alpha) * runs)
    assert missed <= bar, missed
    assert naive > bar, "and the population is one that misleads"


@pytest.mark.parametrize("clusters", [1, 4, 10, 30, 200])
def test_the_ends_of_a_mean_err_seldom(clusters: int) -> None:
    random, alpha, runs = np.random.default_rng(clusters), 0.05, 400
    ends = np.array([cluster_mean_interval(lost_seldom(random, clusters, 0.1), alpha) for _ in range(runs)])
    bar = alpha * runs + 3 * sqrt(alpha * (1 - alpha) * runs)
    assert (ends[:, 0] > 0.9 * 0.97).sum() <= bar
    assert (ends[:, 1] < 0.9 * 0.97).sum() <= bar


@pytest.mark.parametrize("clusters", [4, 10, 30, 60])
def test_whatever_share_of_clusters_is_lost_an_end_errs_at_most_with_alpha(clusters: int) -> None:
    """Clusters that hold altogether or not at all: the chance of each count is binomial, so that nothing is drawn."""
    alpha, lost = 0.05, np.linspace(0.002, 0.998, 499)[:, None]
    falls, means = [], []
    for gone in range(clusters + 1):
        second = np.where(np.arange(clusters) < gone, 0.0, 1.0)
        falls.append(cluster_mean_interval(np.ones(clusters), alpha, minus=second)[1])
        means.append(1 - cluster_mean_interval(second, alpha)[0])
    chances = binom.pmf(np.arange(clusters + 1), clusters, lost)
    for ends in (falls, means):
        errs = (chances * (np.array(ends) < lost)).sum(1).max()
        assert 0.1 * alpha < errs <= alpha, "and it is not far too careful"


def test_one_mean_is_the_mirror_image_of_the_other() -> None:
    values = np.random.default_rng(0).random(12)
    low, high = cluster_mean_interval(values, 0.05)
    assert cluster_mean_interval(1 - values, 0.05) == pytest.approx((1 - high, 1 - low))
    first, second = values[:5], values[5:]
    low, high = cluster_mean_interval(first, 0.05, minus=second)
    assert cluster_mean_interval(second, 0.05, minus=first) == (-high, -low)


def test_the_order_of_clusters_says_nothing() -> None:
    random = np.random.default_rng(1)
    first, second = random.random(9), random.random(7)
    ends = cluster_mean_interval(first, 0.05, minus=second)
    assert cluster_mean_interval(np.sort(first), 0.05, minus=np.sort(second)[::-1]) == ends
    assert cluster_mean_interval(np.sort(first), 0.05) == cluster_mean_interval(first, 0.05)


def test_what_is_measured_lies_inside_and_more_clusters_narrow_it() -> None:
    widths = []
    for clusters in (4, 16, 64, 256):
        random = np.random.default_rng(clusters)
        first, second = random.beta(18, 2, clusters), random.beta(14, 6, clusters)
        low, high = cluster_mean_interval(first, 0.01, minus=second)
        assert low <= first.mean() - second.mean() <= high
        assert cluster_mean_interval(first, 0.01)[0] <= first.mean() <= cluster_mean_interval(first, 0.01)[1]
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.15
    assert widths[0] > 1


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("clusters", [1, 2, 4, 10, 30])
def test_no_bound_shows_what_as_many_clusters_cannot(clusters: int, alpha: float) -> None:
    """All hold: a population that loses more than 1 - alpha ** (1 / n) of its clusters shows the same oftener."""
    all_hold = np.ones(clusters)
    least = alpha ** (1 / clusters)
    assert 0.25 * least < cluster_mean_interval(all_hold, alpha)[0] <= least
    assert cluster_mean_interval(all_hold, alpha, minus=all_hold)[1] >= 1 - least


@pytest.mark.parametrize("distance", [0.1, 0.3, 0.5])
def test_so_many_clusters_show_it_and_fewer_by_a_fifth_do_not(distance: float) -> None:
    needed = fewest_clusters(distance, 0.01)
    enough, fewer = np.ones(needed), np.ones(int(0.8 * needed))
    assert cluster_mean_interval(enough, 0.01, minus=enough)[1] <= distance + 2 / 1024
    assert cluster_mean_interval(fewer, 0.01, minus=fewer)[1] > distance


def test_a_cluster_that_is_wholly_lost_does_not_ruin_the_bet() -> None:
    low, _ = cluster_mean_interval(np.array([0.0, *np.ones(59)]), 0.01)
    assert 0.8 < low < 59 / 60
