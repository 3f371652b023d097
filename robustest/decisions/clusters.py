"""Clusters: bounds on the mean of units that were drawn together, as frames of one video or questions on one text."""

# Units of one cluster may depend on each other in any way, so that a sample of k clusters is k draws. Cluster g holds
# m_g units, whose values in low..high sum to S_g. The mean over the units of the population is
#
#     theta = E[S] / E[m],    so that    E[S - t m] <= 0  for every t >= theta.
#
# Let M be the size of the largest cluster. To refute "theta <= t", start with a capital of 1 and bet on one cluster
# after the other, in a random order, with a stake 0 < lambda <= 1:
#
#     1 + lambda (S_g - t m_g) / (M (t - low))
#
# As m_g <= M, no factor is negative, and none exceeds 1 in expectation: the capital reaches 1 / alpha with probability
# at most alpha (Ville, 1939; Waudby-Smith and Ramdas, JRSS B 2024), for any number of clusters, any sizes, also such as
# depend on the values, and any dependence inside of a cluster.
#
# - Where reading may stop at any cluster, several stakes share the capital. It falls as t rises, so that bisection
#   finds the end of an interval.
# - Where all k clusters are read before the verdict, the stake aims at the target 1 / alpha by the last of them, as in
#   `bets`: with a capital w, z = Phi^-1(alpha w) and s the spread of (S_g - t m_g) / M so far,
#   lambda / (t - low) = phi(z) / (Phi(z) s sqrt(k - g)), which is about as powerful as a z test.
#
# Stated assumptions: clusters are independent draws, and no cluster of the population is larger than M, the largest
# that is known.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.distributions import ndtri_exp
from robustest.decisions.rule import Columns, Decision, Interval, Terms, decide_early, decide_whole, generator
from robustest.results import Verdict

CLUSTER = "cluster"
"""The column of each unit's cluster, a whole number: clusters were drawn in the order of these numbers."""

FEWEST = 3
"""Fewest clusters of a pass. Two that are right throughout pass a threshold of .1 by the bets, and show nothing."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Means of clusters spread little around theta, so that the largest stake, which bounds the share of clusters in which
# everything is lost, is the best one most often: it has half of the capital. Small stakes serve clusters of one unit,
# or whose units are all alike.
_STAKES = np.array([0.03, 0.06, 0.12, 0.25, 0.5, 0.75, 1.0])
_CAPITAL = np.array([0.05, 0.05, 0.05, 0.1, 0.125, 0.125, 0.5])
# Bisections for an end of an interval: to 2^-40 of the range.
_HALVINGS = 40
# The square of the spread before any cluster was read, as if one had been.
_SPREAD = 0.1
_LOG_ROOT_2_PI = float(np.log(2 * np.pi)) / 2
# Clusters are read in at most so many blocks of one stake.
_BLOCKS = 200
# Means that are tried at once, and rounds: each narrows the interval's end to one of their gaps.
_TRIED, _ROUNDS = 24, 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """The number of clusters, and of units in the smallest and the largest of them."""

    clusters: int
    least: int
    most: int

    @classmethod
    def of(cls, clusters: NDArray[np.integer]) -> Sizes:
        """Return the sizes of the clusters of units (n,), n >= 1."""
        counts = np.unique(clusters, return_counts=True)[1]
        return cls(len(counts), int(counts.min()), int(counts.max()))

    def __str__(self) -> str:
        of = f"{self.least}" if self.least == self.most else f"{self.least}..{self.most}"
        return (
            f"{self.clusters} {'cluster' if self.clusters == 1 else 'clusters'} of {of} "
            f"{'unit' if self.most == 1 else 'units'}"
        )


def drawn(ids: NDArray[Any], seed: int) -> Ints:
    """Return whole numbers (n,) of units' clusters, in the order in which the seed draws clusters.

    Args:
        ids: (n,) of one type, equal for units of one cluster; which ids they are changes nothing.
    """
    _, first, place = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = generator(seed).permutation(len(first))
    return rank[place]


def clusters_of(columns: Columns, terms: Terms) -> Ints | None:
    """Return the clusters of a claim about the population; None if none are given, or the claim is about a set."""
    if terms.scope == "set" or CLUSTER not in columns or not len(columns[CLUSTER]):
        return None
    return np.asarray(columns[CLUSTER], dtype=np.int64)


def capital_by_cluster(
    values: NDArray[Any],
    clusters: Ints,
    null: float,
    *,
    low: float,
    high: float,
    above: bool,
    largest: int | None = None,
) -> Floats:
    """Return (k,) log capitals after each cluster, of bets against a mean of `null` over all units.

    Args:
        values: (n,) in low..high.
        clusters: (n,) whole numbers; bets are placed in their order.
        null: the mean under the null hypothesis, inside of low..high; means on its other side are refuted too.
        above: True to bet on a larger mean, False on a smaller one.
        largest: most units of any cluster; None for the most of these.
    """
    gain, loss, _ = _shares(values, clusters, low, high, above=above, largest=largest)
    return _capital(gain, loss, (null - low if above else high - null) / (high - low))


def refutes(
    values: NDArray[Any], clusters: Ints, null: float, *, low: float, high: float, alpha: float, above: bool
) -> bool:
    """Return True if clusters that were all read refute that the mean over all units is `null`, or on its other side.

    Args:
        values, clusters, low, high: as for `cluster_interval`.
        null: inside of low..high.
        alpha: the largest probability of an error.
        above: True if the mean is said to be larger, False if smaller.
    """
    gain, loss, _ = _shares(values, clusters, low, high, above=above, largest=None)
    return bool(refuted(gain, loss, np.array([(null - low if above else high - null) / (high - low)]), alpha)[0])


def cluster_interval(
    values: NDArray[Any],
    clusters: Ints,
    low: float,
    high: float,
    alpha: float,
    *,
    beside: float | None = None,
    anytime: bool = False,
    largest: int | None = None,
) -> Interval:
    """Return bounds on the mean over all units of the population, alpha on each side, for any number of clusters.

    Args:
        values: (n,) in low..high, n >= 1.
        clusters: (n,) whole numbers; bets are placed in their order.
        alpha: the largest probability that the mean lies beyond one given end.
        beside: a mean that the interval excludes exactly if its own bet has won; None for none.
        anytime: True if the number of clusters may depend on the values.
        largest: most units of any cluster; None for the most of these.
    """

    def least(*, above: bool) -> float:
        gain, loss, mean = _shares(values, clusters, low, high, above=above, largest=largest)
        apart = None if beside is None else (beside - low if above else high - beside) / (high - low)
        if anytime:
            return _least_at_any_time(gain, loss, mean, alpha)
        return _least(gain, loss, mean, alpha, apart)

    return low + (high - low) * least(above=True), high - (high - low) * least(above=False)


def decide_by_cluster(
    values: NDArray[Any],
    clusters: Ints,
    n: int,
    threshold: float | None,
    *,
    at_least: bool,
    terms: Terms,
    low: float = 0.0,
    high: float = 1.0,
    fail_alpha: float | None = None,
    largest: int | None = None,
) -> Decision:
    """Return the decision on the population's mean of units in clusters.

    Args:
        values: (t,) of the evaluated units, in low..high.
        clusters: (t,) see `cluster_interval`.
        n: units in all.
        at_least: True if the mean must be at least the threshold, False if at most.
        fail_alpha: error of a failure, if the claim is one of several that may fail.
        largest: most units of any cluster; None for the most of these.
    """
    # How many clusters a part of the units holds depends on their sizes, and these may depend on the values.
    how: dict[str, Any] = {"beside": threshold, "anytime": len(values) < n, "largest": largest}

    def bounds(alpha: float) -> Interval:
        return cluster_interval(values, clusters, low, high, alpha, **how)

    if len(values) < n:
        decision = decide_early(threshold, bounds(terms.alpha), len(values), n, None, at_least=at_least, terms=terms)
    else:
        decision = decide_whole(
            float(np.mean(values)),
            bounds(terms.alpha),
            threshold,
            at_least=at_least,
            scope="population",
            alpha=terms.alpha,
            holds=lambda _: False,  # of claims about a set
            wider=None if fail_alpha is None else bounds(fail_alpha),
        )
    return count_clusters(decision, clusters)


def count_clusters(decision: Decision, clusters: Ints, where: str = "") -> Decision:
    """Return a decision that was made by cluster, with their number; too few of them pass nothing.

    Args:
        where: the units that are in these clusters, in words, if they are not all.
    """
    sizes = Sizes.of(clusters)
    words = f"{sizes} {where}".rstrip()
    if decision.verdict is Verdict.PASSED and sizes.clusters < FEWEST:
        why = f"{words}: a claim about the population needs {FEWEST} clusters or more"
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, clusters=words, reasons=("clusters",))
    return replace(decision, rule=f"{decision.rule}, by {words}", clusters=words)


def one_by_one(columns: Columns, clusters: Ints, decide: Callable[[Columns], Decision]) -> Decision | None:
    """Return the decision of a rule for single units, if every cluster is one; else None.

    Args:
        decide: maps columns without clusters to a decision.
    """
    # Units of clusters of their own are independent draws, for which some rules have narrower bounds.
    if len(np.unique(clusters)) < len(clusters):
        return None
    return count_clusters(decide({name: one for name, one in columns.items() if name != CLUSTER}), clusters)


def counted_once(decision: Decision, once: Decision, words: str) -> Decision:
    """Return the decision of units that are independent draws, with the value of all units.

    Args:
        decision: of all units.
        once: of those that are draws of their own.
        words: the copies counted, in words.
    """
    # The value is that of the outcomes shown; where it cannot be the population's, none is.
    low, high = once.interval
    value = decision.estimate if decision.estimate is not None and low <= decision.estimate <= high else None
    return replace(once, rule=f"{once.rule}, {words}", estimate=value)


def whole_clusters(clusters: Ints, most: int) -> NDArray[np.bool_]:
    """Return (n,) bool: True for the units of the clusters drawn first that have at most `most` units together.

    Args:
        clusters: (n,) numbers of the units' clusters, in the order in which clusters are drawn.
    """
    numbers, place, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    drawn = int((np.cumsum(counts) <= most).sum())
    # The first cluster alone may have more units: it is evaluated in part, and shows nothing by itself.
    return np.asarray(place < max(1, min(drawn, len(numbers))))


def _shares(
    values: NDArray[Any], clusters: Ints, low: float, high: float, *, above: bool, largest: int | None
) -> tuple[Floats, Floats, float]:
    """Return by cluster (k,) the sum of distances from the range's end, and the size, as shares of M; their ratio."""
    span = high - low
    distance = (np.asarray(values, dtype=np.float64) - low) / span if above else (high - np.asarray(values)) / span
    _, place, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    most = max(int(counts.max()), largest or 0)
    sums = np.bincount(place, weights=np.clip(distance, 0.0, 1.0))
    return sums / most, counts / most, float(sums.sum() / counts.sum())


def _capital(gain: Floats, loss: Floats, null: float) -> Floats:
    # (S - t m) / (M (t - low)), with sums of distances from `low` as shares of the range
    with np.errstate(over="ignore"):
        returns = np.minimum(gain / null, 1e300) - loss
    logs = np.cumsum(np.log1p(np.maximum(np.outer(_STAKES, returns), -1 + 1e-12)), axis=1)
    mixed: Floats = np.logaddexp.reduce(logs + np.log(_CAPITAL)[:, None], axis=0)
    return mixed


def _least_at_any_time(gain: Floats, loss: Floats, mean: float, alpha: float) -> float:
    """Return the end of the range of small means that the shared capital refutes; arguments as of `_shares`."""
    limit, ruled_out, open_end = -np.log(alpha), 0.0, mean
    if not mean or _capital(gain, loss, np.nextafter(0.0, 1.0)).max() < limit:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (ruled_out + open_end) / 2
        if _capital(gain, loss, middle).max() >= limit:
            ruled_out = middle
        else:
            open_end = middle
    return ruled_out


def _least(gain: Floats, loss: Floats, mean: float, alpha: float, beside: float | None) -> float:
    """Return the end of the range of small means that bets with the number of clusters in view refute."""
    if not mean:
        return 0.0
    # Half a standard error to all there is, in growing steps; then between the last mean that stays and the next.
    step = max(float(np.std(gain - mean * loss)) / float(loss.mean()) / np.sqrt(len(gain)), 1e-6) / 2
    tried = mean - np.append(0.0, np.geomspace(min(step, mean / 2), mean * (1 - 1e-9), _TRIED - 1))
    low = 0.0
    for _ in range(_ROUNDS):
        # The bets depend on the mean that they refute, so that one beyond a refuted mean may stay: none is left out.
        open_ = np.flatnonzero(~refuted(gain, loss, tried, alpha))
        last = int(open_[-1]) if len(open_) else 0
        low = float(tried[last + 1]) if last + 1 < len(tried) else low
        tried = np.linspace(tried[last], low, _TRIED + 2)[:-1]
    if beside is None or not 0 < beside < mean:
        return low
    won = bool(refuted(gain, loss, np.array([beside]), alpha)[0])
    return max(low, beside) if won else min(low, float(np.nextafter(beside, 0.0)))


def refuted(gain: Floats, loss: Floats, null: Floats, alpha: float) -> NDArray[np.bool_]:
    """Return (j,) bool: True where bets on a larger mean refute each null (j,) in 0..1, exclusive.

    Args:
        gain: (k,) sums of units' distances from the low end, as shares of M times the range; or (k, j), for each null.
        loss: sizes of clusters as shares of M, in the same shape.
    """
    gain, loss = gain.reshape(len(gain), -1), loss.reshape(len(loss), -1)
    n, target, most = len(gain), -np.log(alpha), 1 / null
    log, reached = np.zeros(len(null)), np.zeros(len(null), dtype=bool)
    nothing = np.zeros((1, gain.shape[1]))
    squares, products, sizes = (
        np.concatenate([nothing, np.cumsum(one, axis=0)]) for one in (gain**2, gain * loss, loss**2)
    )
    starts = np.arange(0, n, max(1, -(-n // _BLOCKS)))
    for start, end in zip(starts, np.append(starts[1:], n), strict=True):
        spread = np.sqrt((_SPREAD + squares[start] - 2 * null * products[start] + null**2 * sizes[start]) / (1 + start))
        chance = np.clip(log - target, -700.0, -1e-12)
        z = ndtri_exp(chance)
        hazard = np.exp(-z * z / 2 - _LOG_ROOT_2_PI - chance)
        stake = np.minimum(most, hazard / (spread * np.sqrt(n - start)))
        returns = stake * (gain[start:end] - null * loss[start:end])
        path = log + np.cumsum(np.log1p(np.maximum(returns, -1 + 1e-12)), axis=0)
        reached |= path.max(axis=0) >= target
        log = path[-1]
        if reached.all():
            break
    return reached
