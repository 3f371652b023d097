"""Verdicts on the difference of two shares measured on different samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.rule import Columns, Terms, partial
from robustest.statistics.differences.two_shares import difference_interval
from robustest.statistics.fixed import Decision, beyond
from robustest.statistics.sequential import Settled, settle
from robustest.statistics.streams import running_interval
from robustest.statistics.thresholds import keeps

Counts = int | NDArray[np.int64]


def share_fall(first: Counts, n_first: Counts, second: Counts, n_second: Counts) -> Fraction:
    """The first share minus the second, exact; counts may be given in parts, as arrays."""
    a, b = (Fraction(int(np.sum(held)), int(np.sum(n))) for held, n in ((first, n_first), (second, n_second)))
    return a - b


def decide_fall(
    fall: Fraction,
    most: float | None,
    *,
    interval: tuple[float, float],
    terms: Terms,
) -> Decision:
    """A verdict on how much less a share is on one set of samples than on another, all of them looked at.

    Args:
        fall: the first share minus the second.
        most: the fall claimed at most, in 0..1; None where nothing is claimed.
        interval: of the fall, for the populations that the sets were drawn from, at `terms.alpha`.
        terms: what the verdict may rest on; "set" is exact on these two sets.
    """
    if most is None:
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    elif terms.scope == "set":
        verdict = Verdict.PASSED if keeps(fall, most) else Verdict.FAILED
        rule = "certain: exact on these sets"
    else:
        verdict = beyond(interval, most, at_least=False)
        rule = f"population, alpha = {terms.alpha:g} a side"
    at_alpha = most is not None and terms.scope != "set"
    return Decision(verdict=verdict, rule=rule, estimate=float(fall), interval=interval, at_alpha=at_alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class FallRule:
    """A claim, on a stream of outcomes, that a share is at most so much less than it was on other samples.

    Attributes:
        threshold: the fall claimed at most, in 0..1; None where nothing is claimed.
        first, n_first: how many of how many held among the other samples.
        whole: whether those were all the samples of their set.
        terms: what the verdict may rest on.
    """

    threshold: float | None
    first: int
    n_first: int
    whole: bool
    terms: Terms

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`; claims about populations wait, as do claims on a first set that is not all known."""
        if self.threshold is None or self.terms.scope != "set" or not self.whole:
            return None
        before = Fraction(self.first, self.n_first)
        least = ceil((before - Fraction(repr(self.threshold))) * n)
        least -= keeps(before - Fraction(least - 1, n), self.threshold)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        return settle(columns["held"].astype(bool), n, least, **alphas)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`."""
        held, read = int(columns["held"].sum()), len(columns["held"])
        if read < n and self.terms.scope == "set" and self.whole:
            low, high = running_interval(columns["held"].astype(bool), n, self.terms.alpha, settled)
            both = self.first / self.n_first - high, self.first / self.n_first - low
        else:
            both = difference_interval(self.first, self.n_first, held, read, self.terms.alpha)
        if read == n and self.whole:
            fall = share_fall(self.first, self.n_first, held, n)
            return decide_fall(fall, self.threshold, interval=both, terms=self.terms)
        decision = partial(self.threshold, both, read, n, settled, at_least=False, terms=self.terms)
        return decision if self.whole else replace(decision, rule=f"{decision.rule}; the first set in part too")

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`."""
        if self.threshold is None or self.terms.scope != "set" or not self.whole:
            return False
        return not keeps(Fraction(self.first, self.n_first) - Fraction(n - broken, n), self.threshold)
