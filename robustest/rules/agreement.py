"""Claims on the share of samples that somebody else agrees on, among those that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.averages.means import MeanRule
from robustest.rules.rates import running_rate
from robustest.rules.rule import Terms, partial
from robustest.statistics.fixed import Decision, clopper_pearson, decide_share
from robustest.statistics.sequential import Settled

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRule:
    """A claim that of the samples marked "counts" (bool) at least a share is marked "agreed" (bool) as well.

    Attributes:
        threshold: the share claimed, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
        least: samples that must count before anything is settled.
    """

    threshold: float | None
    terms: Terms
    least: int = 1

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`: a claim on the mean of threshold x counts - agreed, which is at most 0."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        counts, agreed = _counted_and_agreed(columns)
        if counts.sum() < self.least:
            return None
        value = self.threshold * counts - agreed  # in -1..1
        return MeanRule(threshold=0.0, terms=self.terms).settled({"value": value}, n)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`; inconclusive where no sample counts."""
        counts, agreed = _counted_and_agreed(columns)
        of, read = int(counts.sum()), len(counts)
        if not of:
            rule = f"none of {read} samples counts"
            return Decision(verdict=Verdict.INCONCLUSIVE, rule=rule, estimate=None, interval=(0.0, 1.0))
        if read == n:
            return decide_share(int(agreed.sum()), of, self.threshold, at_least=True, **self.terms.of())
        exact = clopper_pearson(int(agreed.sum()), of, self.terms.alpha)
        if self.terms.scope == "set":
            columns = {"event": counts - agreed, "counts": counts}
            low, high = running_rate(columns, n, self.terms.alpha, settled, signed=False)
            exact = 1 - high, 1 - low
        return partial(self.threshold, exact, read, n, settled, at_least=True, terms=self.terms)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; how many samples count is not known before."""
        return False


def _counted_and_agreed(columns: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = columns["counts"].astype(bool)
    return counts.astype(float), (counts & columns["agreed"].astype(bool)).astype(float)
