"""Bounds on a binned calibration error that hold for any number of samples and any bins.

A sample's residual is its confidence less 1 where the answer is right. The calibration error over bins is the sum, over
bins, of the absolute mean residual in each, which is the largest mean, over all choices of a sign a bin, of the signed
residuals. The signs of the population are not known, so:

- whoever claims that the error is c or more is bet against with the signs that are worst for the bet, bin by bin. If
  the claim is true, the bet with the true signs reaches 1 / alpha with probability at most alpha (Ville, 1939), and the
  worst one no more often;
- whoever claims that it is c or less is bet against with the signs that each bin showed so far: the mean of what is
  drawn next, so signed, is no larger than the error.

(Bets as in `robustest.decisions.bets`.) No interval of a bootstrap holds here: the error has a corner where a bin
is calibrated, and where nearly all answers are right a sample may show none of the wrong ones. The bootstrap serves the
estimate, whose bias is upwards.

Claims on confidence: calibration error, accuracy of the surest, and what is accepted of other data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Terms, decide_early, judge_interval
from robustest.results import Verdict

Floats = NDArray[np.float64]


Ints = NDArray[np.int64]


_STAKES = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
"""Shares of the largest stake that cannot lose more than there is."""


_NEAR = 1e-4
"""How close the ends of an interval are found."""


_RESAMPLES = 200


def bin_of(confidence: Floats, bins: int) -> Ints:
    """(n,) which of so many equally wide bins each confidence in 0..1 is in; an edge belongs to the bin above."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def binned_error(residual: Floats, place: Ints, bins: int) -> float:
    """The calibration error of samples, as it is usually reported: biased upwards, the more so the fewer they are."""
    return float(np.abs(np.bincount(place, residual, minlength=bins)).sum() / len(residual))


def debiased_error(residual: Floats, place: Ints, bins: int, seed: int) -> float:
    """The same less the bias that a bootstrap of the samples shows, at least 0."""
    random, n = np.random.default_rng(seed % 2**64), len(residual)
    seen = binned_error(residual, place, bins)
    drawn = [random.integers(0, n, n) for _ in range(_RESAMPLES)]
    return max(0.0, 2 * seen - float(np.mean([binned_error(residual[ids], place[ids], bins) for ids in drawn])))


def error_interval(residual: Floats, place: Ints, bins: int, alpha: float) -> tuple[float, float]:
    """The calibration errors of the population that the bets do not rule out, alpha on each side.

    Args:
        residual: (n,) confidence less 1 where the answer is right, in -1..1, in an order that does not depend on them.
        place: (n,) the bin of each.
        bins: how many there are.
        alpha: error allowed on each side.
    """
    limit = -np.log(alpha)
    high = _edge(lambda c: capital_below(residual, place, bins, c) >= limit)
    low = _edge(lambda c: capital_above(residual, place, c) < limit)
    low = low if capital_above(residual, place, 0.0) >= limit else 0.0
    return min(low, high), max(low, high)


def capital_below(residual: Floats, place: Ints, bins: int, claimed: float) -> float:
    """Log of the capital of a bet that the error is less than claimed, with the worst signs."""
    logs = []
    for stake in _STAKES / (1 - min(claimed, 0.999)):
        over = np.bincount(place, np.log1p(np.maximum(stake * (claimed - residual), -1 + 1e-12)), minlength=bins)
        under = np.bincount(place, np.log1p(np.maximum(stake * (claimed + residual), -1 + 1e-12)), minlength=bins)
        logs.append(np.minimum(over, under).sum())
    return float(np.logaddexp.reduce(logs) - np.log(len(_STAKES)))


def capital_above(residual: Floats, place: Ints, claimed: float) -> float:
    """Log of the capital of a bet that the error is more than claimed, with the signs seen so far."""
    surprise = _signed(residual, place) - claimed
    logs = [np.log1p(np.maximum(stake * surprise, -1 + 1e-12)).sum() for stake in _STAKES / (1 + claimed)]
    return float(np.logaddexp.reduce(logs) - np.log(len(_STAKES)))


def _signed(residual: Floats, place: Ints) -> Floats:
    """(n,) residuals with the sign of the sum of those before in their bin."""
    order = np.argsort(place, kind="stable")
    sums, firsts = np.cumsum(residual[order]), np.flatnonzero(np.diff(place[order], prepend=-1))
    offset = np.concatenate([[0.0], sums])[firsts]
    before = sums - residual[order] - np.repeat(offset, np.diff(np.append(firsts, len(order))))
    signed = np.empty_like(residual)
    signed[order] = np.sign(np.round(before, 12)) * residual[order]
    return signed


def _edge(beyond: Callable[[float], bool]) -> float:
    """The smallest number in 0..1 that is beyond, where every larger one is."""
    low, high = 0.0, 1.0
    while high - low > _NEAR:
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationErrorRule:
    """A claim that the calibration error over bins, of the population, is at most a threshold.

    It waits for every sample, and is about the population whatever the scope: of a finite set the error is mostly
    chance. A pass must hold with twice as many bins too, where errors that cancel inside a bin may show.

    Attributes:
        threshold: the error claimed at most, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
        bins: of equal width.
        seed: of the bootstrap that takes the bias off the estimate.
    """

    threshold: float | None
    terms: Terms
    bins: int
    seed: int

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`."""
        return None

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`."""
        sure = columns["confidence"]
        residual = sure - columns["held"].astype(float)
        place = bin_of(sure, self.bins)
        low, high = error_interval(residual, place, self.bins, self.terms.alpha)
        _, finer = error_interval(residual, bin_of(sure, 2 * self.bins), 2 * self.bins, self.terms.alpha)
        both = low, max(high, finer)
        if len(sure) < n:
            terms = Terms(scope="population", alpha=self.terms.alpha, fail_alpha=self.terms.fail_alpha)
            return decide_early(self.threshold, both, len(sure), n, None, at_least=False, terms=terms)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None:
            verdict = judge_interval(both, self.threshold, at_least=False)
            rule = f"population, alpha = {self.terms.alpha:g} a side"
        estimate = debiased_error(residual, place, self.bins, self.seed)
        return Decision(
            verdict=verdict,
            rule=rule,
            estimate=min(max(estimate, both[0]), both[1]),
            interval=both,
            at_alpha=self.threshold is not None,
        )

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`."""
        return False
