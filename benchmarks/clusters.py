"""How often claims about a population err whose samples were drawn in clusters, and what they show.

Clusters of beta-binomial outcomes with a share of .8 and an intraclass correlation (ICC) from 0 to .9, of 1 to 50
units, equal or not, 10 to 200 of them. A false pass claims a hair more than the truth, a false red a hair less. Beside
the rule of robustest (`cluster_interval`): the exact bound that takes units for draws, and the asymptotic interval of a
clustered standard error. Then A/A comparisons: two runs of one system on the same units, each of which draws the shares
of the clusters anew, as a system does that reads a text once for all questions on it; the fall is 0. At the end: how
often claims that are true by some points pass.

    python benchmarks/clusters.py                # 2,000 runs a row: a few minutes on one core
    python benchmarks/clusters.py --runs 200
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, norm

from robustest.decisions.clusters import refuted, refutes

Random = np.random.Generator
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALPHA, SHARE = 0.01, 0.8
CORRELATIONS = (0.0, 0.1, 0.3, 0.6, 0.9)
NUMBERS = (10, 25, 50, 200)


def equal(size: int) -> Callable[[Random, int, int], Ints]:
    return lambda _, clusters, runs: np.full((clusters, runs), size)


def unequal(random: Random, clusters: int, runs: int) -> Ints:
    """Most clusters are small: sizes 1 to 50 with chances in proportion to 1 / size."""
    sizes = np.arange(1, 51)
    return random.choice(sizes, (clusters, runs), p=1 / sizes / (1 / sizes).sum())


SIZES: dict[str, Callable[[Random, int, int], Ints]] = {
    "1": equal(1),
    "5": equal(5),
    "20": equal(20),
    "50": equal(50),
    "1..50": unequal,
}


def shares(random: Random, shape: tuple[int, int], mean: float, icc: float) -> Floats:
    if not icc:
        return np.full(shape, mean)
    total = 1 / icc - 1
    return random.beta(mean * total, (1 - mean) * total, shape)


def by_cluster(sums: Floats, sizes: Ints, null: float, low: float, high: float) -> tuple[Floats, Floats]:
    """Return for each run (r,) whether the mean is shown to be larger than the null, and smaller."""
    most = sizes.max(axis=0)
    span = high - low
    found = []
    for distance, end in (((sums - low * sizes) / span, null - low), ((high * sizes - sums) / span, high - null)):
        # The same bound for every run, so that runs are bet on at once: that of each run's own largest cluster.
        found.append(refuted(distance / most, sizes / most, np.full(sums.shape[1], end / span), ALPHA))
    return found[0], found[1]


def as_items(held: Floats, n: Ints, null: float) -> tuple[Floats, Floats]:
    return beta.ppf(ALPHA, held, n - held + 1) > null, beta.ppf(1 - ALPHA, held + 1, n - held) < null


def asymptotic(sums: Floats, sizes: Ints, null: float) -> tuple[Floats, Floats]:
    n = sizes.sum(axis=0)
    mean = sums.sum(axis=0) / n
    error = np.sqrt(((sums - mean * sizes) ** 2).sum(axis=0)) / n
    reach = norm.isf(ALPHA) * error
    return mean - reach > null, mean + reach < null


def check_against_the_rule(random: Random) -> None:
    """Compare bets on many runs at once with the function that rules call."""
    sizes = unequal(random, 40, 20)
    sums = random.binomial(sizes, shares(random, sizes.shape, SHARE, 0.3)).astype(float)
    larger, smaller = by_cluster(sums, sizes, 0.75, 0.0, 1.0)
    for run in range(20):
        ids = np.repeat(np.arange(40), sizes[:, run])
        held = np.concatenate([np.arange(m) < s for m, s in zip(sizes[:, run], sums[:, run], strict=True)])
        how = {"low": 0.0, "high": 1.0, "alpha": ALPHA}
        assert refutes(held, ids, 0.75, above=True, **how) == larger[run]
        assert refutes(held, ids, 0.75, above=False, **how) == smaller[run]


def main(runs: int) -> None:
    check_against_the_rule(np.random.default_rng(0))
    bar = ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / runs)
    print(f"{runs:,} runs a row, alpha {ALPHA}; three standard errors: {bar:.4f}. Rates are false pass / false red.\n")
    print("| clusters | units | ICC | by cluster | as items | asymptotic | A/A by cluster | A/A as items |")
    print("|---|---|---|---|---|---|---|---|")
    worst: dict[str, float] = {}
    for number in NUMBERS:
        for name, of_size in SIZES.items():
            for icc in CORRELATIONS:
                random = np.random.default_rng([number, len(name), int(100 * icc)])
                sizes = of_size(random, number, runs)
                share = shares(random, sizes.shape, SHARE, icc)
                held = random.binomial(sizes, share)
                n = sizes.sum(axis=0)
                again = shares(random, sizes.shape, SHARE, icc)
                lost = random.binomial(sizes, share * (1 - again))
                rest = np.maximum(1 - share * (1 - again), 1e-12)
                gained = random.binomial(sizes - lost, np.minimum((1 - share) * again / rest, 1.0))
                found = {
                    "by cluster": by_cluster(held.astype(float), sizes, SHARE, 0.0, 1.0),
                    "as items": as_items(held.sum(axis=0), n, SHARE),
                    "asymptotic": asymptotic(held.astype(float), sizes, SHARE),
                    # Of a fall a pass is a smaller one.
                    "A/A by cluster": by_cluster((lost - gained).astype(float), sizes, 0.0, -1.0, 1.0)[::-1],
                    "A/A as items": tuple(
                        binom.sf(more.sum(axis=0) - 1, (lost + gained).sum(axis=0), 0.5) <= ALPHA
                        for more in (gained, lost)
                    ),
                }
                rates = {key: [float(np.mean(side)) for side in both] for key, both in found.items()}
                for key, both in rates.items():
                    worst[key] = max(worst.get(key, 0.0), *both)
                cells = " | ".join(f"{both[0]:.4f} / {both[1]:.4f}" for both in rates.values())
                print(f"| {number} | {name} | {icc:g} | {cells} |", flush=True)
    print(f"\nLargest rate: {', '.join(f'{key} {rate:.4f}' for key, rate in worst.items())}.")
    power(runs)
    if max(worst["by cluster"], worst["A/A by cluster"]) > bar:
        raise SystemExit("A rate by cluster is above alpha.")


def power(runs: int) -> None:
    print("\n| clusters of 20 | ICC | true | claimed | by cluster | asymptotic (no finite-sample bound) |")
    print("|---|---|---|---|---|---|")
    rows = [
        (25, 0.1, 0.9, 0.7), (50, 0.1, 0.9, 0.8), (50, 0.3, 0.9, 0.7), (100, 0.1, 0.85, 0.8), (100, 0.3, 0.9, 0.8),
        (200, 0.3, 0.85, 0.8), (50, 0.0, 0.95, 0.9), (100, 0.0, 0.95, 0.9), (200, 0.1, 0.97, 0.95),
    ]  # fmt: skip
    for number, icc, true, claimed in rows:
        random = np.random.default_rng([number, int(100 * icc), int(100 * true)])
        sizes = np.full((number, runs), 20)
        held = random.binomial(sizes, shares(random, sizes.shape, true, icc)).astype(float)
        own, others = by_cluster(held, sizes, claimed, 0.0, 1.0)[0], asymptotic(held, sizes, claimed)[0]
        print(f"| {number} | {icc:g} | {true:g} | {claimed:g} | {own.mean():.2f} | {others.mean():.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[sys.argv.index("--runs") + 1]) if "--runs" in sys.argv else 2000)
