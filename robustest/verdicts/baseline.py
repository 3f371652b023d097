"""Verdicts against a baseline: the same samples, judged before and now."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.verdicts.claims import Claim, Columns, Terms
from robustest.verdicts.fixed import Decision
from robustest.verdicts.paired import drop_bounds, mcnemar
from robustest.verdicts.sequential import Settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of the samples of a baseline.

    Attributes:
        lost, gained: samples that held only before, and only now.
        n: number of samples.
        p_lost, p_gained: exact one-sided McNemar p-values, that there are no more losses than gains but for chance,
            and no more gains than losses.
        tolerance: the fall that is no matter, in 0..1.
        alpha: error allowed for a failure.
        interval: of the fall, two-sided at 1 - 2 alpha.
    """

    lost: int
    gained: int
    n: int
    p_lost: float
    p_gained: float
    tolerance: float
    alpha: float
    interval: tuple[float, float]

    @property
    def worse(self) -> bool:
        """Whether more is lost than the tolerance allows, and more than chance explains."""
        return (self.lost - self.gained) / self.n > self.tolerance and self.p_lost <= self.alpha

    @property
    def better(self) -> bool:
        """Whether more is gained than the tolerance, and more than chance explains: the gate can be tightened."""
        return (self.gained - self.lost) / self.n > self.tolerance and self.p_gained <= self.alpha

    def __str__(self) -> str:
        return f"against the baseline {self.lost} lost, {self.gained} gained of {self.n}, McNemar p = {self.p_lost:.2g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineClaim:
    """The claim that the samples of a baseline hold now no worse than they did then, beside another claim.

    What was lost is set against what was gained, sample by sample (McNemar, Psychometrika 1947; exact and one-sided):
    samples that did not change say nothing, so that a point lost shows where two accuracies far apart would drown it.
    It waits for every sample.

    Attributes:
        other: the claim on the accuracy itself.
        asked: whether that has a threshold; else it only says where the accuracy lies.
        before: (n,) bool, the baseline's outcomes in the data's order; None while the baseline is being made.
        tolerance: the fall that is no matter, in 0..1.
        terms: what the verdict may rest on.
    """

    other: Claim
    asked: bool
    before: NDArray[np.bool_] | None
    tolerance: float
    terms: Terms

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`: only where the other claim has failed is there nothing left to see."""
        settled = self.other.settled(columns, n)
        return settled if settled is not None and settled.verdict is Verdict.FAILED else None

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`."""
        decision = self.other.decide(columns, n, settled)
        if settled is not None and decision.verdict is Verdict.FAILED:
            return decision
        if self.before is None:
            rule = "baseline updated: there is nothing to compare with"
            return decision if self.asked else replace(decision, verdict=Verdict.PASSED, rule=rule)
        if len(columns["held"]) < n:
            rule = f"{decision.rule}; the baseline needs every sample"
            failed = self.asked and decision.verdict is Verdict.FAILED
            return decision if failed else replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
        found = self.compare(columns)
        if found.worse:
            return replace(decision, verdict=Verdict.FAILED, rule=f"worse: {found}")
        if not self.asked:
            return replace(decision, verdict=Verdict.PASSED, rule=f"no worse: {found}")
        return replace(decision, rule=f"{decision.rule}; no worse: {found}")

    def compare(self, columns: Columns) -> Comparison:
        """Pair every sample with its outcome in the baseline."""
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        before, now = self.before[columns["id"]], columns["held"].astype(bool)
        lost, gained, n = int((before & ~now).sum()), int((now & ~before).sum()), len(now)
        return Comparison(
            lost=lost,
            gained=gained,
            n=n,
            p_lost=mcnemar(lost, gained),
            p_gained=mcnemar(gained, lost),
            tolerance=self.tolerance,
            alpha=self.terms.fail_alpha,
            interval=drop_bounds(lost, gained, n, self.terms.alpha),
        )

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`."""
        return self.other.doomed(broken, n)
