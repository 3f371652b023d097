"""Claims on confidence: calibration error, accuracy of the surest, and what is accepted of other data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.rule import Columns, Terms, partial
from robustest.statistics.calibration import bin_of, debiased_error, error_interval
from robustest.statistics.fixed import Decision, beyond
from robustest.statistics.selection import share_accepted, share_among_first
from robustest.statistics.sequential import Settled
from robustest.statistics.thresholds import most, need

TPR = 0.95
"""The share of the inside data that is accepted."""


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

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`."""
        return None

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`."""
        sure = columns["confidence"]
        residual = sure - columns["held"].astype(float)
        place = bin_of(sure, self.bins)
        low, high = error_interval(residual, place, self.bins, self.terms.alpha)
        _, finer = error_interval(residual, bin_of(sure, 2 * self.bins), 2 * self.bins, self.terms.alpha)
        both = low, max(high, finer)
        if len(sure) < n:
            terms = Terms(scope="population", alpha=self.terms.alpha, fail_alpha=self.terms.fail_alpha)
            return partial(self.threshold, both, len(sure), n, None, at_least=False, terms=terms)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None:
            verdict = beyond(both, self.threshold, at_least=False)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveRule:
    """A claim on the accuracy of the share of samples that a model is surest of. It waits for every sample.

    Attributes:
        threshold: the accuracy claimed at least, in 0..1; None where nothing is claimed.
        coverage: the share that is answered, in (0, 1].
        terms: what the verdict may rest on.
    """

    threshold: float | None
    coverage: float
    terms: Terms

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`."""
        return None

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`; where samples tie at the edge, a claim about the set must hold whichever are answered."""
        score, held = columns["msp"], columns["held"].astype(bool)
        right = held[np.argsort(-score, kind="stable")]
        both = share_among_first(right, self.coverage, self.terms.alpha)
        if len(held) < n:
            terms = Terms(scope="population", alpha=self.terms.alpha, fail_alpha=self.terms.fail_alpha)
            return partial(self.threshold, both, len(held), n, None, at_least=True, terms=terms)
        k = need(self.coverage, n)
        fewest, largest, expected_right = self._right_of_first(score, held, k)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None and self.terms.scope == "set":
            wanted = need(self.threshold, k)
            verdict, rule = Verdict.INCONCLUSIVE, f"samples tie at the edge: {fewest} to {largest} of {k} right"
            if fewest >= wanted or largest < wanted:
                verdict = Verdict.PASSED if fewest >= wanted else Verdict.FAILED
                rule = "certain: exact on this set"
        elif self.threshold is not None:
            verdict = beyond(both, self.threshold, at_least=True)
            rule = f"population, alpha = {self.terms.alpha:g} a side"
        at_alpha = self.threshold is not None and self.terms.scope != "set"
        return Decision(verdict=verdict, rule=rule, estimate=expected_right / k, interval=both, at_alpha=at_alpha)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; how sure the model is of a sample is not known before."""
        return False

    @staticmethod
    def _right_of_first(score: NDArray[np.float64], held: NDArray[np.bool_], k: int) -> tuple[int, int, float]:
        """The fewest, the most and the mean number right among the first k, over all orders of samples that tie."""
        edge = np.sort(score)[::-1][k - 1]
        sure, tied = held[score > edge], held[score == edge]
        room, right = k - len(sure), int(tied.sum())
        first = int(sure.sum())
        return first + max(0, room - (len(tied) - right)), first + min(right, room), first + room * right / len(tied)


def decide_accepted(
    inside: NDArray[np.float64], outside: NDArray[np.float64], threshold: float | None, terms: Terms
) -> tuple[Decision, float]:
    """A verdict on the share of outside samples accepted at a threshold that accepts 95 % of the inside ones.

    Args:
        inside, outside: scores, of all samples of both.
        threshold: the share claimed at most; None where nothing is claimed.
        terms: what the verdict may rest on.

    Returns:
        The decision, and the threshold on these samples: scores at or above it are accepted.
    """
    edge = float(np.sort(inside)[::-1][need(TPR, len(inside)) - 1])
    accepted, m = int((outside >= edge).sum()), len(outside)
    both = share_accepted(inside, outside, TPR, terms.alpha)
    verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    if threshold is not None and terms.scope == "set":
        verdict = Verdict.PASSED if accepted <= most(threshold, m) else Verdict.FAILED
        rule = "certain: exact on these sets"
    elif threshold is not None:
        verdict, rule = beyond(both, threshold, at_least=False), f"population, alpha = {terms.alpha:g} a side"
    at_alpha = threshold is not None and terms.scope != "set"
    return Decision(verdict=verdict, rule=rule, estimate=accepted / m, interval=both, at_alpha=at_alpha), edge
