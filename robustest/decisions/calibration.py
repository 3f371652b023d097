"""Calibration: decide if the population's calibration error over B bins of confidence is at most a threshold."""

# The residual of sample i is r_i = confidence - 1[right], its bin b(i). The error is
#
#     ECE = sum_b |mean over i of r_i 1[b(i) = b]| = max over signs s in {-1, 1}^B of mean_i s_{b(i)} r_i
#
# The population's signs are unknown. Against "ECE >= c" bet (see `bets`) on small s_{b(i)} r_i with the signs that are
# worst for the bet, bin by bin; against "ECE <= c" with the sign of each bin's earlier residuals.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Interval, Rule, Terms, decide_early, decide_whole

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Stakes, as shares of the largest that cannot lose more than the capital.
_STAKES = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
# Precision of the ends of an interval.
_NEAR = 1e-4
_RESAMPLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationErrorRule(Rule):
    """A claim that the population's calibration error over bins is at most a threshold, for either scope.

    Attributes:
        bins: number of bins of equal width.
        seed: of the bootstrap that debiases the estimate.
    """

    threshold: float | None
    terms: Terms
    bins: int
    seed: int

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        # There is no early verdict: the error of few samples is mostly bias.
        sure, alpha = columns["confidence"], self.terms.alpha
        residual = sure - columns["held"].astype(float)
        place = bin_of(sure, self.bins)
        low, high = error_interval(residual, place, self.bins, alpha)
        # Errors that cancel inside a bin may show with bins of half the width: a pass must hold with both.
        _, finer = error_interval(residual, bin_of(sure, 2 * self.bins), 2 * self.bins, alpha)
        interval = low, max(high, finer)
        if len(sure) < n:
            terms = replace(self.terms, scope="population")
            return decide_early(self.threshold, interval, len(sure), n, None, at_least=False, terms=terms)
        # A bootstrap interval is no bound: the error has a corner where a bin is calibrated, and a sample may miss
        # rare wrong answers. The bootstrap only debiases the estimate.
        estimate = min(max(debiased_error(residual, place, self.bins, self.seed), interval[0]), interval[1])
        # A finite set's error is mostly chance: the claim is about the population for either scope.
        return decide_whole(
            estimate, interval, self.threshold, at_least=False, scope="population", alpha=alpha, holds=lambda _: False
        )


def bin_of(confidence: Floats, bins: int) -> Ints:
    """Return (n,) bin numbers of confidences, of equal parts of 0..1; an edge belongs to the bin above."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def binned_error(residual: Floats, place: Ints, bins: int) -> float:
    """Return the samples' calibration error, which is biased upwards."""
    return float(np.abs(np.bincount(place, residual, minlength=bins)).sum() / len(residual))


def debiased_error(residual: Floats, place: Ints, bins: int, seed: int) -> float:
    """Return the calibration error minus its bootstrapped bias, at least 0."""
    random, n = np.random.default_rng(seed % 2**64), len(residual)
    measured = binned_error(residual, place, bins)
    drawn = [random.integers(0, n, n) for _ in range(_RESAMPLES)]
    # measured - (mean of the resamples - measured): the resamples exceed the sample as the sample exceeds the
    # population.
    return max(0.0, 2 * measured - float(np.mean([binned_error(residual[ids], place[ids], bins) for ids in drawn])))


def error_interval(residual: Floats, place: Ints, bins: int, alpha: float) -> Interval:
    """Return bounds on the population's calibration error that bets do not rule out, alpha on each side.

    Args:
        residual: (n,) confidence minus 1 if the answer is right, in -1..1, in an order that does not depend on them.
        place: (n,) bins.
    """
    limit = -np.log(alpha)
    high = _first_beyond(lambda c: capital_below(residual, place, bins, c) >= limit)
    low = _first_beyond(lambda c: capital_above(residual, place, c) < limit)
    low = low if capital_above(residual, place, 0.0) >= limit else 0.0
    return min(low, high), max(low, high)


def capital_below(residual: Floats, place: Ints, bins: int, claimed: float) -> float:
    """Return the log capital of a bet that the error is less than claimed."""
    # Under the null the bet with the true signs reaches 1 / alpha with probability at most alpha, so the worst bet
    # does too.
    logs = []
    for stake in _STAKES / (1 - min(claimed, 0.999)):
        # Log capital that each bin's samples contribute with either sign; the smaller one is the worst sign's.
        over = np.bincount(place, np.log1p(np.maximum(stake * (claimed - residual), -1 + 1e-12)), minlength=bins)
        under = np.bincount(place, np.log1p(np.maximum(stake * (claimed + residual), -1 + 1e-12)), minlength=bins)
        logs.append(np.minimum(over, under).sum())
    return float(np.logaddexp.reduce(logs) - np.log(len(_STAKES)))


def capital_above(residual: Floats, place: Ints, claimed: float) -> float:
    """Return the log capital of a bet that the error is more than claimed."""
    # With signs that do not depend on it, the mean of the next signed residual is at most the error.
    surprise = _signed(residual, place) - claimed
    logs = [np.log1p(np.maximum(stake * surprise, -1 + 1e-12)).sum() for stake in _STAKES / (1 + claimed)]
    return float(np.logaddexp.reduce(logs) - np.log(len(_STAKES)))


def _signed(residual: Floats, place: Ints) -> Floats:
    """Return (n,) residuals times the sign of the sum of the earlier residuals in their bin."""
    # One cumulative sum over all bins, sorted by bin; the sum at a bin's first row is subtracted within it.
    order = np.argsort(place, kind="stable")
    sums, firsts = np.cumsum(residual[order]), np.flatnonzero(np.diff(place[order], prepend=-1))
    offset = np.concatenate([[0.0], sums])[firsts]
    before = sums - residual[order] - np.repeat(offset, np.diff(np.append(firsts, len(order))))
    signed = np.empty_like(residual)
    signed[order] = np.sign(np.round(before, 12)) * residual[order]  # a sum that is 0 but for rounding has no sign
    return signed


def _first_beyond(beyond: Callable[[float], bool]) -> float:
    # Bisection in 0..1: every number larger than one beyond is beyond.
    low, high = 0.0, 1.0
    while high - low > _NEAR:
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return high
