"""Verdicts on pairs: the same samples, judged twice.

Verdicts on a mean of paired changes as early as they are certain enough, drawn without replacement.

Each sample's change is -1 (gained), 0 or 1 (lost). Whoever claims that the changes of all N sum to D or more can
be bet against: before each draw, the mean of what is left is then known to be at least (D - sum so far) / (left),
and a stake on smaller changes keeps its value at best. If the capital ever reaches 1 / alpha, the claim is wrong but
for a chance of alpha (Waudby-Smith and Ramdas, JRSS B 2024, section 5: betting without replacement; Ville, 1939).
Several stakes are played side by side, and their mean counts.

Claims as rules on a stream of outcomes: when it is settled, and what to say of it then.

A claim on a fall counts only where the fall starts above chance, by more than it may be.

A model that says one class of every sample loses nothing under any change, and neither does one that guesses. So the
smaller of two falls may be that of the worse model, and a bound on the fall alone is kept by a model that knows
nothing. The share that was right before, a, has to be beyond what saying one class reaches on the same samples, c, by
more than chance explains, and by more than the fall d that is allowed: a - c > d, or a model that stopped looking under
the change would have kept the claim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from robustest.decisions.bets import bets_won, betting_interval, capital
from robustest.decisions.rule import (
    Columns,
    Decision,
    DivisibleRule,
    EarlyVerdict,
    Rule,
    Terms,
    anytime_interval,
    decide_early,
    first_verdict,
    judge_interval,
)
from robustest.decisions.share import ShareRule, clopper_pearson
from robustest.decisions.thresholds import count_at_most
from robustest.results import Verdict


def mcnemar(lost: int, gained: int) -> float:
    """Exact one-sided McNemar p-value that losses do not outnumber gains by more than chance.

    Args:
        lost: pairs right first and wrong then.
        gained: pairs wrong first and right then.
    """
    return float(binom.sf(lost - 1, lost + gained, 0.5))


def decide_drop(
    lost: int,
    gained: int,
    n: int,
    max_drop: float | None,
    *,
    scope: str,
    alpha: float,
    fail_alpha: float | None = None,
) -> Decision:
    """A verdict on a fall in accuracy over n pairs.

    The interval joins exact one-sided bounds on the shares lost and gained, at alpha / 2 each, so that it
    covers whatever the dependence between them.

    Args:
        lost: pairs right first and wrong then.
        gained: pairs wrong first and right then.
        n: number of pairs.
        max_drop: the fall claimed at most, in 0..1; None where nothing is claimed.
        scope: "set" or "population", as for `decide_share`.
        alpha: error allowed on each side.
        fail_alpha: error allowed for a population claim's failure, where it is one of several that may fail.
    """
    interval = drop_bounds(lost, gained, n, alpha)
    if max_drop is None:
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    elif scope == "set":
        verdict = Verdict.PASSED if lost - gained <= count_at_most(max_drop, n) else Verdict.FAILED
        rule = "certain: exact on this set"
    else:
        wider = interval if fail_alpha is None else drop_bounds(lost, gained, n, fail_alpha)
        verdict = judge_interval(interval, max_drop, at_least=False, wider=wider)
        rule = f"population, alpha = {alpha:g} a side"
    at_alpha = max_drop is not None and scope != "set"
    return Decision(verdict=verdict, rule=rule, estimate=(lost - gained) / n, interval=interval, at_alpha=at_alpha)


def drop_bounds(lost: int, gained: int, n: int, alpha: float) -> tuple[float, float]:
    """Exact bounds on the share lost minus the share gained, alpha on each side."""
    lost_low, lost_high = clopper_pearson(lost, n, alpha / 2)
    gained_low, gained_high = clopper_pearson(gained, n, alpha / 2)
    return lost_low - gained_high, lost_high - gained_low


def settle_drop(
    change: NDArray[np.int64], n: int, most: int, *, pass_alpha: float, fail_alpha: float
) -> EarlyVerdict | None:
    """The first point at which changes in seeded random order settle "they sum to `most` or less over all n".

    Args:
        change: (t,) of -1, 0 and 1, in the order drawn, t <= n.
        n: size of the set.
        most: largest sum claimed, -n..n.
        pass_alpha, fail_alpha: chance allowed for a pass, and for a failure, that is wrong.

    Returns:
        None where t changes do not settle it.
    """
    if most >= n:
        return EarlyVerdict(Verdict.PASSED, 0, certain=True, alpha=pass_alpha)
    total, left = np.cumsum(change), n - np.arange(1, len(change) + 1)
    sure_pass, sure_fail = total + left <= most, total - left > most
    lower, higher = capital(change, n, most + 1, above=False), capital(change, n, most, above=True)
    passes, fails = bets_won(lower, higher, pass_alpha=pass_alpha, fail_alpha=fail_alpha)
    passes, fails = sure_pass | passes, sure_fail | fails
    return first_verdict(passes, fails, pass_alpha=pass_alpha, fail_alpha=fail_alpha, sure=(sure_pass, sure_fail))


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRule:
    """A claim on the fall of a share between two looks at the same samples.

    Attributes:
        threshold: the fall claimed at most, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
        before, after: the columns of outcomes of the two looks.
    """

    threshold: float | None
    terms: Terms
    before: str = "clean"
    after: str = "held"

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`; claims about a population wait for every sample."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        return settle_drop(self._change(columns), n, count_at_most(self.threshold, n), **alphas)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`."""
        change = self._change(columns)
        lost, gained, read = int((change == 1).sum()), int((change == -1).sum()), len(change)
        full = decide_drop(lost, gained, read, self.threshold, **self.terms.of())
        if read == n:
            return full
        both = full.interval
        if self.terms.scope == "set":
            both = anytime_interval(lambda t: betting_interval(change[:t], n, self.terms.alpha), read, settled)
        return decide_early(self.threshold, both, read, n, settled, at_least=False, terms=self.terms)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; how many samples were right before is not known."""
        return False

    def for_part(self, terms: Terms) -> DropRule:
        """Return the same claim about a part of the samples."""
        return replace(self, terms=terms)

    def _change(self, columns: Columns) -> NDArray[np.int64]:
        return columns[self.before].astype(np.int64) - columns[self.after].astype(np.int64)


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

    other: DivisibleRule
    threshold: float | None
    terms: Terms
    before: str = "clean"

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Rule.settled`: a pass waits until the start, too, is settled to be high enough."""
        settled = self.other.settle(columns, n)
        if settled is None or settled.verdict is not Verdict.PASSED or self.threshold is None:
            return settled
        # The seen share alone would be looked at again and again until chance has it high enough: the start is a claim
        # of its own, sequential as the other one.
        least = min(1.0, share_of_largest_class(columns) + self.threshold)
        start = ShareRule(threshold=least, at_least=True, terms=self.terms, column=self.before).settle(columns, n)
        if start is None or start.verdict is not Verdict.PASSED:
            return None
        later = max(settled, start, key=lambda one: one.after)
        return replace(settled, after=later.after, certain=settled.certain and start.certain)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
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

    def for_part(self, terms: Terms) -> Rule:
        """Return the claim on the fall alone: all samples together are asked where it starts."""
        return self.other.for_part(terms)
