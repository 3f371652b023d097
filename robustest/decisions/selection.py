"""Shares among the samples beyond a quantile of a score that is itself estimated: exact for any number of samples.

How many samples of n lie beyond a population's quantile is binomial. Given that number, those samples are draws from
the population beyond the quantile. So an interval for each number that is likely, all of them joined, covers.

Claims on confidence: calibration error, accuracy of the surest, and what is accepted of other data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Terms, decide_early, judge_interval
from robustest.decisions.thresholds import count_at_least, count_at_most
from robustest.results import Verdict

Bools = NDArray[np.bool_]


Floats = NDArray[np.float64]


def likely(n: int, share: float, alpha: float) -> tuple[int, int]:
    """The least and the largest number of n samples beyond a quantile, but for a chance of alpha / 2 in all."""
    return int(binom.ppf(alpha / 4, n, share)), int(binom.isf(alpha / 4, n, share))


def share_among_first(right: Bools, share: float, alpha: float) -> tuple[float, float]:
    """An interval for the share that is right among the `share` of a population that comes first, alpha on each side.

    Args:
        right: (n,) outcomes of samples in the order of their scores, first the highest; ties in an order of chance.
        share: of the population, in (0, 1].
        alpha: error allowed on each side.
    """
    fewest, most = likely(len(right), share, alpha)
    k = np.arange(max(1, fewest), most + 1)
    held = np.concatenate([[0], np.cumsum(right)])[k]
    with np.errstate(invalid="ignore"):
        low = np.where(held > 0, beta.ppf(alpha / 2, held, k - held + 1), 0.0)
        high = np.where(held < k, beta.isf(alpha / 2, held + 1, k - held), 1.0)
    if not len(k) or fewest < 1:
        return 0.0, 1.0
    return float(low.min()), float(high.max())


def share_accepted(inside: Floats, outside: Floats, tpr: float, alpha: float) -> tuple[float, float]:
    """An interval for the share of outside scores at or above the quantile that a share of the inside ones reach.

    Args:
        inside: (n,) scores of samples that should be accepted.
        outside: (m,) scores of samples that should not.
        tpr: the share of the inside population at or above the threshold, in (0, 1).
        alpha: error allowed on each side.
    """
    ordered = np.sort(inside)
    fewest, most = likely(len(inside), 1 - tpr, alpha)
    accepted = int((outside >= ordered[fewest - 1]).sum()) if fewest > 0 else len(outside)
    sure = int((outside >= ordered[most]).sum()) if most < len(inside) else 0
    m = len(outside)
    high = 1.0 if accepted == m else float(beta.isf(alpha / 2, accepted + 1, m - accepted))
    low = 0.0 if sure == 0 else float(beta.ppf(alpha / 2, sure, m - sure + 1))
    return low, high


TPR = 0.95
"""The share of the inside data that is accepted."""


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

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`."""
        return None

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`; where samples tie at the edge, a claim about the set must hold whichever are answered."""
        score, held = columns["msp"], columns["held"].astype(bool)
        right = held[np.argsort(-score, kind="stable")]
        both = share_among_first(right, self.coverage, self.terms.alpha)
        if len(held) < n:
            terms = Terms(scope="population", alpha=self.terms.alpha, fail_alpha=self.terms.fail_alpha)
            return decide_early(self.threshold, both, len(held), n, None, at_least=True, terms=terms)
        k = count_at_least(self.coverage, n)
        fewest, largest, expected_right = self._right_of_first(score, held, k)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None and self.terms.scope == "set":
            wanted = count_at_least(self.threshold, k)
            verdict, rule = Verdict.INCONCLUSIVE, f"samples tie at the edge: {fewest} to {largest} of {k} right"
            if fewest >= wanted or largest < wanted:
                verdict = Verdict.PASSED if fewest >= wanted else Verdict.FAILED
                rule = "certain: exact on this set"
        elif self.threshold is not None:
            verdict = judge_interval(both, self.threshold, at_least=True)
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
    edge = float(np.sort(inside)[::-1][count_at_least(TPR, len(inside)) - 1])
    accepted, m = int((outside >= edge).sum()), len(outside)
    both = share_accepted(inside, outside, TPR, terms.alpha)
    verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    if threshold is not None and terms.scope == "set":
        verdict = Verdict.PASSED if accepted <= count_at_most(threshold, m) else Verdict.FAILED
        rule = "certain: exact on these sets"
    elif threshold is not None:
        verdict, rule = judge_interval(both, threshold, at_least=False), f"population, alpha = {terms.alpha:g} a side"
    at_alpha = threshold is not None and terms.scope != "set"
    return Decision(verdict=verdict, rule=rule, estimate=accepted / m, interval=both, at_alpha=at_alpha), edge
