"""Confidence: decide on calibration, on accuracy with abstention, and on samples of no class that are accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.distributions import beta, binom
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    Terms,
    ThresholdRule,
    decide_early,
    decide_whole,
    generator,
)
from robustest.decisions.thresholds import count_at_least, count_at_most
from robustest.results import Verdict

# Calibration: decide if the population's calibration error over B bins of confidence is at most a threshold.

# The residual of sample i is r_i = confidence - 1[right], its bin b(i). The error is
#
#     ECE = sum_b |mean over i of r_i 1[b(i) = b]| = max over signs s in {-1, 1}^B of mean_i s_{b(i)} r_i
#
# The population's signs are unknown. Against "ECE >= c" bet (see `bets`) on small s_{b(i)} r_i with the signs that are
# worst for the bet, bin by bin; against "ECE <= c" with the sign of each bin's earlier residuals.


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Stakes, as shares of the largest that cannot lose more than the capital.
_STAKES = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
# Precision of the ends of an interval.
_NEAR = 1e-4
_RESAMPLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationErrorRule(ThresholdRule):
    """A claim that the population's calibration error over bins is at most a threshold, for either scope.

    Attributes:
        bins: number of bins of equal width.
        seed: of the bootstrap that debiases the estimate.
    """

    of_population: ClassVar[bool] = True

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
    random, n = generator(seed), len(residual)
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


# Selections by a score: accuracy on the samples that a model is surest of, and the share of other data it accepts.

# The score's quantile is itself estimated. The number k of samples beyond a population's quantile is binomial; given k,
# these samples are draws from the population beyond the quantile. So the union of Clopper-Pearson intervals over all
# likely k covers, exactly for any n: alpha / 2 goes to k being unlikely, alpha / 2 to the interval.


Bools = NDArray[np.bool_]

# The share of the inside data that is accepted.
TPR = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveRule(ThresholdRule):
    """A claim on the accuracy of the share of samples that a model is surest of, decided on all samples.

    Attributes:
        coverage: the share that is answered, in (0, 1].
    """

    coverage: float

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        """Decide; a claim about the set must hold for every selection among samples that tie at the edge."""
        # There is no early verdict: the selection depends on the scores of all samples.
        score, held = columns["msp"], columns["held"].astype(bool)
        interval = share_among_first(held[np.argsort(-score, kind="stable")], self.coverage, self.terms.alpha)
        if len(held) < n:
            terms = replace(self.terms, scope="population")
            return decide_early(self.threshold, interval, len(held), n, None, at_least=True, terms=terms)
        k = count_at_least(self.coverage, n)
        edge = np.sort(score)[::-1][k - 1]
        sure, tied = held[score > edge], held[score == edge]
        room, tied_right, first = k - len(sure), int(tied.sum()), int(sure.sum())
        # Of the tied samples `room` are selected: the fewest right ones if the wrong ones go first.
        fewest, most = first + max(0, room - (len(tied) - tied_right)), first + min(tied_right, room)
        expected_right = first + room * tied_right / len(tied)  # mean over all choices among the tied
        decision = decide_whole(
            expected_right / k,
            interval,
            self.threshold,
            at_least=True,
            scope=self.terms.scope,
            alpha=self.terms.alpha,
            holds=lambda claimed: fewest >= count_at_least(claimed, k),
        )
        if self.threshold is None or self.terms.scope != "set":
            return decision
        if fewest < count_at_least(self.threshold, k) <= most:
            rule = f"samples tie at the edge: {fewest} to {most} of {k} right"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
        return decision


def decide_accepted(inside: Floats, outside: Floats, threshold: float | None, terms: Terms) -> tuple[Decision, float]:
    """Return the decision on the share of outside samples accepted where 95 % of the inside ones are.

    Args:
        inside, outside: scores of all samples.

    Returns:
        The decision, and the score on these samples at or above which a sample is accepted.
    """
    edge = float(np.sort(inside)[::-1][count_at_least(TPR, len(inside)) - 1])
    accepted, m = int((outside >= edge).sum()), len(outside)
    decision = decide_whole(
        accepted / m,
        share_accepted(inside, outside, TPR, terms.alpha),
        threshold,
        at_least=False,
        scope=terms.scope,
        alpha=terms.alpha,
        holds=lambda claimed: accepted <= count_at_most(claimed, m),
        exact_on="these sets",
    )
    return decision, edge


def likely(n: int, share: float, alpha: float) -> tuple[int, int]:
    """Return the fewest and the most of n samples beyond a quantile, except with probability alpha / 2."""
    return int(binom.ppf(alpha / 4, n, share)), int(binom.isf(alpha / 4, n, share))


def share_among_first(right: Bools, share: float, alpha: float) -> Interval:
    """Return an interval of the share that is right among the first `share` of a population, alpha on each side.

    Args:
        right: (n,) outcomes in the order of scores, highest first; ties in random order.
        share: in (0, 1].
    """
    fewest, most = likely(len(right), share, alpha)
    if fewest < 1:  # perhaps none is selected
        return 0.0, 1.0
    # The interval is the union over all likely numbers of selected samples.
    k = np.arange(fewest, most + 1)
    held = np.cumsum(right)[k - 1]
    with np.errstate(invalid="ignore"):
        low = np.where(held > 0, beta.ppf(alpha / 2, held, k - held + 1), 0.0)
        high = np.where(held < k, beta.isf(alpha / 2, held + 1, k - held), 1.0)
    return float(low.min()), float(high.max())


def share_accepted(inside: Floats, outside: Floats, tpr: float, alpha: float) -> Interval:
    """Return an interval of the share of outside scores at or above a quantile of inside ones, alpha on each side.

    Args:
        inside: (n,) scores of samples that should be accepted.
        outside: (m,) scores of samples that should not.
        tpr: the share of the inside population at or above the quantile, in (0, 1).
    """
    ordered = np.sort(inside)
    fewest, most = likely(len(inside), 1 - tpr, alpha)
    # The population's quantile lies between these two order statistics, except with probability alpha / 2.
    accepted = int((outside >= ordered[fewest - 1]).sum()) if fewest > 0 else len(outside)
    sure = int((outside >= ordered[most]).sum()) if most < len(inside) else 0
    m = len(outside)
    high = 1.0 if accepted == m else float(beta.isf(alpha / 2, accepted + 1, m - accepted))
    low = 0.0 if sure == 0 else float(beta.ppf(alpha / 2, sure, m - sure + 1))
    return low, high
