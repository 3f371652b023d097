"""Drops between two sets: decide if a share is lower on one set of samples than on another by at most a threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.distributions import betainc, betaincinv, binom
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    Terms,
    ThresholdRule,
    decide_early,
    decide_whole,
)
from robustest.decisions.share import anytime_share_interval, clopper_pearson, settle_share
from robustest.decisions.thresholds import fraction_at_most

# Drops between two sets: decide if a share is lower on one set of samples than on another by at most a threshold.

# For these two sets: exact. For the two populations: an exact interval of p1 - p2, alpha on each side.
#
# 1. Newcombe's lower end (Statistics in Medicine 1998, method 10, with exact bounds of each share) orders outcomes
#    (k1, k2): S(k1, k2) = p1 - p2 - hypot(p1 - low1, high2 - p2).
# 2. "p1 - p2 <= d" is rejected if P(S >= observed S) < alpha, summed exactly over binomial counts (Buehler, JASA 1957).
# 3. That probability depends on both shares. Its supremum is taken over p1 = p2 + d with p2 in an interval of p2; the
#    probability that p2 lies outside is added (Berger and Boos, JASA 1994).
# 4. The end of the interval is found by bisection over d.


Counts = int | NDArray[np.int64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Shares of alpha for a second share outside its interval, and for counts that are not summed over.
_OUTSIDE, _TAIL = 0.02, 0.001

# Cells of the second share's interval; parts of a cell that is not rejected; rounds of splitting: the smallest cells
# are 128 to the interval.
_CELLS, _SPLIT, _ROUNDS = 8, 4, 3

# The excess of an end, as a share of its distance from the observed difference.
_PRECISION = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSetDropRule(ThresholdRule):
    """A claim that the share of a stream of outcomes is lower by at most a threshold than on a first set.

    Attributes:
        first, n_first: samples that held, of all evaluated samples of the first set.
        whole: True if the first set was evaluated as a whole.
    """

    first: int
    n_first: int
    whole: bool

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        # Claims about populations need every sample; a first set known in part is an estimate itself. With the first
        # share known, the second is a share with its own sequential test.
        if self.threshold is None or self.terms.scope != "set" or not self.whole:
            return None
        # The fewest samples of the second set that must hold.
        before = Fraction(self.first, self.n_first)
        least = ceil((before - Fraction(repr(self.threshold))) * n)
        least -= fraction_at_most(before - Fraction(least - 1, n), self.threshold)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        return settle_share(columns["held"].astype(bool), n, least, **alphas)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        held, read = int(columns["held"].sum()), len(columns["held"])
        if read < n and self.terms.scope == "set" and self.whole:
            low, high = anytime_share_interval(columns["held"].astype(bool), n, self.terms.alpha, early)
            interval = self.first / self.n_first - high, self.first / self.n_first - low
        else:
            interval = share_difference_interval(self.first, self.n_first, held, read, self.terms.alpha)
        if read == n and self.whole:
            drop = two_set_drop(self.first, self.n_first, held, n)
            return decide_two_set_drop(drop, self.threshold, interval=interval, terms=self.terms)
        decision = decide_early(self.threshold, interval, read, n, early, at_least=False, terms=self.terms)
        return decision if self.whole else replace(decision, rule=f"{decision.rule}; the first set in part too")

    def doomed(self, broken: int, n: int) -> bool:
        if self.threshold is None or self.terms.scope != "set" or not self.whole:
            return False
        return not fraction_at_most(Fraction(self.first, self.n_first) - Fraction(n - broken, n), self.threshold)


def two_set_drop(first: Counts, n_first: Counts, second: Counts, n_second: Counts) -> Fraction:
    """Return the first share minus the second, exact; counts may be arrays of parts."""
    a, b = (Fraction(int(np.sum(held)), int(np.sum(n))) for held, n in ((first, n_first), (second, n_second)))
    return a - b


def decide_two_set_drop(drop: Fraction, most: float | None, *, interval: Interval, terms: Terms) -> Decision:
    """Return the decision on a drop between two sets, all samples of both evaluated.

    Args:
        drop: the first share minus the second.
        most: the largest drop claimed, in 0..1, or None.
        interval: of the populations' drop, at `terms.alpha`.
    """
    return decide_whole(
        float(drop),
        interval,
        most,
        at_least=False,
        scope=terms.scope,
        alpha=terms.alpha,
        holds=lambda claimed: fraction_at_most(drop, claimed),
        exact_on="these sets",
    )


@lru_cache(maxsize=1024)
def share_difference_interval(first: int, n_first: int, second: int, n_second: int, alpha: float) -> Interval:
    """Return an interval of the first share minus the second, in -1..1; each end errs with probability alpha at most.

    Args:
        first, n_first: samples that count towards the first share, of all its samples.
        second, n_second: the same of other samples.
        alpha: in (0, 0.5).
    """
    return (
        _DifferenceTest.of(first, n_first, second, n_second, alpha).end(),
        -_DifferenceTest.of(second, n_second, first, n_first, alpha).end(),
    )


def exceeds(first: int, n_first: int, second: int, n_second: int, difference: float, *, alpha: float) -> bool:
    """Return True if the first share is more than `difference`, in -1..1, larger than the second, at level alpha."""
    return _DifferenceTest.of(first, n_first, second, n_second, alpha).rejects(difference)


class _DifferenceTest:
    """The test of "the first share exceeds the second by at most d"."""

    def __init__(self, first: int, n_first: int, second: int, n_second: int, alpha: float) -> None:
        self._n_first, self._n_second, self._alpha = n_first, n_second, alpha
        self._observed = first / n_first - second / n_second
        self._ends = clopper_pearson(second, n_second, _OUTSIDE * alpha / 2)
        own, other = _Bounds.of(np.array(first), n_first, alpha), _Bounds.of(np.array(second), n_second, alpha)
        # As an interval S is short, and for sets of unequal size it errs nearly twice as often as alpha; here it only
        # orders outcomes.
        self._score = float(own.minus(other))

    @classmethod
    def of(cls, first: int, n_first: int, second: int, n_second: int, alpha: float) -> _DifferenceTest:
        # The interval in step 3 is shorter for the larger set's share, so that the smaller set comes first.
        if n_first > n_second:  # the difference of the complements is the same
            return cls(n_second - second, n_second, n_first - first, n_first, alpha)
        return cls(first, n_first, second, n_second, alpha)

    def end(self) -> float:
        """Return the largest difference that is rejected, or one a little smaller; -1 if none is."""
        out, kept = max(-1.0, self._score), self._observed  # the score is nearly the end: start there
        while out > -1 and not self.rejects(out):
            out, kept = max(-1.0, self._observed - 1.1 * (self._observed - out)), out
        if out == -1.0:
            return out
        step = (self._observed - out) / 50
        while out + step < kept and self.rejects(out + step):
            out, step = out + step, 2 * step
        kept = min(kept, out + step)
        while kept - out > _PRECISION * (self._observed - out):
            middle = (out + kept) / 2
            out, kept = (middle, kept) if self.rejects(middle) else (out, middle)
        return out

    def rejects(self, difference: float) -> bool:
        """Return True if the shares are further apart than this difference makes probable."""
        low, width = self._ends[0], (self._ends[1] - self._ends[0]) / _CELLS
        cells: Floats = low + width * np.arange(_CELLS, dtype=np.float64)
        for _ in range(_ROUNDS):
            cells = cells[cells + width + difference >= 0]  # cells in which a first share exists
            if len(cells):
                # The supremum is bounded, not searched for: outcomes far apart become likelier the larger p1 and the
                # smaller p2, so that over a cell of p2 none is worse than its largest p1 with its smallest p2. Cells
                # that do not reject are split.
                further = self._further(np.clip(cells + width + difference, 0, 1), cells)
                cells = cells[further > (1 - _OUTSIDE - _TAIL) * self._alpha]
            if not len(cells):
                return True
            width /= _SPLIT
            cells = (cells[:, None] + width * np.arange(_SPLIT)).ravel()
        return False

    def _further(self, p_first: Floats, p_second: Floats) -> Floats:
        """Return by pair of shares the probability of outcomes at least as far apart as observed."""
        counts, among = self._likely(self._n_first, p_first), self._likely(self._n_second, p_second)
        # For each first count the largest second count with a score of the observed one or more. The score falls with
        # the second count, so that bisection finds it.
        low, high = np.full(len(counts), among[0] - 1), np.full(len(counts), among[-1])
        own, theirs = _Bounds.of(counts, self._n_first, self._alpha), _Bounds.of(among, self._n_second, self._alpha)
        while (low < high).any():
            middle = (low + high + 1) // 2
            far = own.minus(theirs.at(middle - among[0])) >= self._score - 1e-12
            low, high = np.where(far, middle, low), np.where(far, high, middle - 1)
        chance = binom.pmf(counts, self._n_first, p_first[:, None])
        # P(second count <= low) by the incomplete beta function: `binom.cdf` checks its arguments at three times the
        # cost.
        n, inside = self._n_second, np.clip(low, 0, self._n_second - 1)
        beta = betainc(n - inside, inside + 1, 1 - p_second[:, None])
        at_most: Floats = np.where(low < 0, 0.0, np.where(low >= n, 1.0, beta))
        further: Floats = (chance * at_most).sum(1)
        return further

    def _likely(self, n: int, shares: Floats) -> Ints:
        """Return all counts, rising, except those too improbable for each of these shares (they get `_TAIL`)."""
        tail = _TAIL * self._alpha / 4
        least, most = binom.ppf(tail, n, shares.min()), binom.isf(tail, n, shares.max())
        return np.arange(max(0, int(least)), min(n, int(most)) + 1)


class _Bounds:
    def __init__(self, share: Floats, down: Floats, up: Floats) -> None:
        self.share, self.down, self.up = share, down, up

    @classmethod
    def of(cls, counts: NDArray[Any], n: int, alpha: float) -> _Bounds:
        share = counts / n
        inside = np.clip(counts, 1, n)
        low = np.where(counts > 0, betaincinv(inside, n - inside + 1, alpha), 0.0)
        inside = np.clip(counts, 0, n - 1)
        high = np.where(counts < n, 1 - betaincinv(n - inside, inside + 1, alpha), 1.0)
        return cls(share, share - low, high - share)

    def at(self, rows: Ints) -> _Bounds:
        rows = np.maximum(rows, 0)
        return _Bounds(self.share[rows], self.down[rows], self.up[rows])

    def minus(self, other: _Bounds) -> Floats:
        """Return S, Newcombe's lower end of these shares minus others."""
        lower: Floats = self.share - other.share - np.hypot(self.down, other.up)
        return lower


# Means over clusters, and differences of two such means, by bets that hold for any number of clusters.

# Samples of one cluster (a subclass, an annotator) depend on each other, and the claim is about clusters to come. The
# share of a cluster's samples that hold is one draw x in 0..1; the mean of the clusters to come is mu.
#
# 1. Against mu <= m bet with a stake s in 0..1: the capital is the product over clusters of 1 + s (x - m) / m, at most
#    1 in expectation under the null. It reaches 1 / alpha with probability at most alpha (Markov).
# 2. A difference mu_1 - mu_2 >= d is ruled out if, for every mu_1, the capital against "mu_1 or more" times the capital
#    against "mu_2 <= mu_1 - d" is 1 / alpha or more.


# A bootstrap and Student's t fail here: if one cluster in twenty is lost, ten clusters often show no loss, hence next
# to no variance, and a false claim passes in a fifth of the runs. The price of the bets is that n clusters that all
# hold show no more than mu >= alpha ** (1 / n).
_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0])
# The mean over several stakes counts. The full stake has a third of the capital: it shows most if no cluster is lost,
# and with few clusters no other stake shows anything. One cluster lost altogether ruins it, and the others play on.
_WEIGHTS = np.array([2 / 3 / 8] * 8 + [1 / 3])

# Cells of 0..1 in which means are tested; an end of an interval lies at most two of them too far out.
_MEANS = 1024


def cluster_mean_interval(values: Floats, alpha: float, *, minus: Floats | None = None) -> Interval:
    """Return an interval of the mean of the clusters to come; each end errs with probability alpha at most.

    Args:
        values: (n,) one per cluster, in 0..1, n >= 1; clusters are independent draws.
        minus: (m,) values of other clusters, in 0..1: the interval is of the first mean minus theirs. None for no
            difference.
    """
    if minus is not None:
        # One mu_1 is the true one, and the product of two capitals from different clusters is at most 1 in expectation:
        # no error is spent twice.
        return -_largest_difference(minus, values, alpha), _largest_difference(values, minus, alpha)
    limit = -np.log(alpha)
    low, high = 0.0, 1.0
    if (above := capital_above(values) >= limit).any():
        # Capitals fall with the mean that is bet against: all means up to the last one refuted are ruled out.
        low = float(np.flatnonzero(above)[-1]) / _MEANS
    if (below := capital_above(1 - values) >= limit).any():
        high = 1 - float(np.flatnonzero(below)[-1]) / _MEANS
    return low, high


def fewest_clusters(distance: float, alpha: float) -> int:
    """Return the fewest clusters that show a mean of at least 1 - distance, in (0, 1), if all of their samples
    hold.
    """
    # With all x = 1 the full stake's capital is weight * m ** -n; / 2 is the half that differences do not stake.
    return ceil(log(alpha * float(_WEIGHTS[-1]) / 2) / log(1 - distance))


def capital_above(values: Floats) -> Floats:
    """Return (cells + 1,) log capitals of bets that the mean is larger than each of 0, 1 / cells, ..., 1."""
    # The product does not depend on the order of clusters, so that equal values are counted once.
    levels, counts = np.unique(values, return_counts=True)
    means = np.arange(1, _MEANS + 1) / _MEANS
    with np.errstate(divide="ignore"):
        surprise = (levels[:, None] - means) / means  # (levels, cells), at least -1
        logs = np.log1p(np.maximum(surprise[:, :, None] * _STAKES, -1.0))
    mixed = np.logaddexp.reduce(np.tensordot(counts, logs, 1) + np.log(_WEIGHTS), axis=1)
    # A mean of 0 leaves no room for a value above it: one such value, and the capital is without bound.
    return np.concatenate([[np.inf if levels[-1] > 0 else 0.0], mixed])


def _largest_difference(first: Floats, second: Floats, alpha: float) -> float:
    """Return the smallest multiple of 1 / cells above which all differences, first minus second, are ruled out."""
    limit = -np.log(alpha)
    # By the mean that the first has at least. Half of the capital is not staked: a first mean of 1 that no outcome
    # contradicts must not cost the bets on the second mean their winnings.
    against_first = np.logaddexp(0.0, capital_above(1 - first)[::-1]) - np.log(2)
    against_second = capital_above(second)  # by the mean that the second has at most
    cells = np.arange(_MEANS)

    def ruled_out(difference: int) -> bool:
        # In each cell of the first mean the capital against it is least at the lower end, and that against the second
        # mean at the upper end. A second mean below 0 cannot be; one above 1 is bet against as 1 is, at a loss.
        other = cells + 1 - difference
        theirs = np.where(other < 0, np.inf, against_second[np.clip(other, 0, _MEANS)])
        return bool((against_first[:-1] + theirs >= limit).all())

    low, high = -_MEANS, _MEANS
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if ruled_out(middle) else (middle + 1, high)
    return low / _MEANS
