"""A claim on a fall counts only where the fall starts above chance, by more than it may be.

A model that says one class of every sample loses nothing under any change, and neither does one that guesses. So the
smaller of two falls may be that of the worse model, and a bound on the fall alone is kept by a model that knows
nothing. The share that was right before, a, has to be beyond what saying one class reaches on the same samples, c, by
more than chance explains, and by more than the fall d that is allowed: a - c > d, or a model that stopped looking under
the change would have kept the claim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robustest.results import Verdict
from robustest.rules.rule import Columns, Rule, ShareRule, Terms
from robustest.statistics.fixed import Decision, clopper_pearson
from robustest.statistics.sequential import Settled

_ROUNDING = 1e-12

LABEL = "label"
"""The column of labels, of tasks whose samples have one class each."""


def share_of_largest_class(columns: Columns) -> float:
    """Return the accuracy of saying one class of every sample seen; 0 where samples have no class."""
    label = columns.get(LABEL)
    return 0.0 if label is None or not len(label) else float(np.unique(label, return_counts=True)[1].max() / len(label))


def doubt_of_start(right: int, of: int, chance: float, threshold: float, *, alpha: float) -> str:
    """Return the reason why a fall from this start proves nothing; empty where there is none.

    Args:
        right, of: samples that were right before, and all of them.
        chance: the share that saying one class of every sample is right on; 0 where it is not known.
        threshold: the fall claimed at most, in 0..1.
        alpha: error allowed for calling the start better than chance.
    """
    share = right / of
    if share <= threshold:
        return f"nothing could have failed it: only {share:.3f} held before, and a fall of {threshold:g} is allowed"
    if clopper_pearson(right, of, alpha)[0] <= chance:
        return (
            f"a model at chance cannot fall: {right} of {of} were right before, and saying one class of every sample "
            f"is right on {chance:.3f}. Give samples of all classes, or claim the accuracy after the change"
        )
    if share - chance <= threshold + _ROUNDING:  # .4 - .25 is more than .15 by the last digit
        return (
            f"a model that stopped looking would keep it: {share:.3f} were right before, {chance:.3f} are where one "
            f"class is said of every sample, and a fall of {threshold:g} is allowed. Allow less"
        )
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AboveChanceRule:
    """A claim on a fall that passes only where `doubt_of_start` has nothing to say.

    Attributes:
        other: the claim on the fall.
        threshold: the fall claimed at most, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
        before: the column of outcomes that the fall starts from.
    """

    other: Rule
    threshold: float | None
    terms: Terms
    before: str = "clean"

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Rule.settled`: a pass waits until the start, too, is settled to be high enough."""
        settled = self.other.settled(columns, n)
        if settled is None or settled.verdict is not Verdict.PASSED or self.threshold is None:
            return settled
        # The seen share alone would be looked at again and again until chance has it high enough: the start is a claim
        # of its own, sequential as the other one.
        least = min(1.0, share_of_largest_class(columns) + self.threshold)
        start = ShareRule(threshold=least, at_least=True, terms=self.terms, column=self.before).settled(columns, n)
        if start is None or start.verdict is not Verdict.PASSED:
            return None
        later = max(settled, start, key=lambda one: one.after)
        return replace(settled, after=later.after, certain=settled.certain and start.certain)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Rule.decide`."""
        decision = self.other.decide(columns, n, settled)
        before = columns[self.before]
        early = settled is not None and len(before) < n  # then the start was settled as well
        if self.threshold is None or early or decision.verdict is not Verdict.PASSED:
            return decision
        chance = share_of_largest_class(columns)
        doubt = doubt_of_start(int(before.sum()), len(before), chance, self.threshold, alpha=self.terms.alpha)
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt, reasons=("no_fall",)) if doubt else decision

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`."""
        return self.other.doomed(broken, n)
