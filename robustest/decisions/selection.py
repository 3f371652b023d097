"""Selections by a score: accuracy on the samples that a model is surest of, and the share of other data it accepts."""

# The score's quantile is itself estimated. The number k of samples beyond a population's quantile is binomial; given k,
# these samples are draws from the population beyond the quantile. So the union of Clopper-Pearson intervals over all
# likely k covers, exactly for any n: alpha / 2 goes to k being unlikely, alpha / 2 to the interval.

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Interval, Rule, Terms, decide_early, decide_whole
from robustest.decisions.thresholds import count_at_least, count_at_most
from robustest.results import Verdict

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# The share of the inside data that is accepted.
TPR = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveRule(Rule):
    """A claim on the accuracy of the share of samples that a model is surest of, decided on all samples.

    Attributes:
        coverage: the share that is answered, in (0, 1].
    """

    threshold: float | None
    coverage: float
    terms: Terms

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
    # The interval is the union over all likely numbers of selected samples.
    k = np.arange(max(1, fewest), most + 1)
    held = np.concatenate([[0], np.cumsum(right)])[k]
    with np.errstate(invalid="ignore"):
        low = np.where(held > 0, beta.ppf(alpha / 2, held, k - held + 1), 0.0)
        high = np.where(held < k, beta.isf(alpha / 2, held + 1, k - held), 1.0)
    if not len(k) or fewest < 1:
        return 0.0, 1.0
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
