"""Drops on the same samples: decide if a share fell by at most a threshold between two evaluations of them."""

# Each sample changes by -1 (gained: wrong before, right after), 0, or 1 (lost). The drop is the mean change.
#
# - Every sample evaluated: exact for the set, exact bounds for the population.
# - Before that, for the set: bets on the sum of changes (see `bets`), at alpha at any stopping point.
#
# A drop proves something only if it starts above chance: a model that answers one class, or guesses, loses nothing. So
# a pass needs a share a right before, beyond the share c that one constant answer reaches on the same samples
# (Clopper-Pearson at alpha), and a - c > d for an allowed drop of d.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.bets import bets_won, betting_interval, capital
from robustest.decisions.clusters import cluster_interval, clusters_of, decide_by_cluster, one_by_one
from robustest.decisions.distributions import binomial_tail
from robustest.decisions.paired import paired_interval
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Rule,
    Terms,
    ThresholdRule,
    anytime_interval,
    decide_early,
    decide_whole,
    first_verdict,
)
from robustest.decisions.share import ShareRule, clopper_pearson
from robustest.decisions.thresholds import count_at_most
from robustest.results import Verdict
from robustest.words import number

_ROUNDING = 1e-12

# The column of labels, of tasks with one class per sample, and of the number of classes that an answer names.
LABEL, NAMED = "label", "named"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRule(ThresholdRule):
    """A claim on the drop of a share between two evaluations, the columns `before` and `after`."""

    before: str = "clean"
    after: str = "held"

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if self.threshold is None or self.terms.scope != "set":
            return None
        most = count_at_most(self.threshold, n)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        return settle_drop(self._change(columns), n, most, **alphas)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        change, scope, alpha = self._change(columns), self.terms.scope, self.terms.alpha
        lost, gained, read = int((change == 1).sum()), int((change == -1).sum()), len(change)
        if (clusters := clusters_of(columns, self.terms)) is not None:
            alone = one_by_one(columns, clusters, lambda alone: self.decide(alone, n, early))
            how: dict[str, Any] = {"at_least": False, "terms": self.terms, "low": -1.0, "high": 1.0}
            return alone or decide_by_cluster(change, clusters, n, self.threshold, **how)
        if read == n:
            return decide_drop(lost, gained, n, self.threshold, scope=scope, alpha=alpha)
        if scope == "set":
            interval = anytime_interval(lambda t: betting_interval(change[:t], n, alpha), read, early)
        else:
            interval = paired_interval(lost, gained, read, alpha)
        return decide_early(self.threshold, interval, read, n, early, at_least=False, terms=self.terms)

    def for_part(self, terms: Terms) -> DropRule:
        return replace(self, terms=terms)

    def _change(self, columns: Columns) -> NDArray[np.int64]:
        return columns[self.before].astype(np.int64) - columns[self.after].astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedChange:
    """The change between two outcomes of the same samples.

    Attributes:
        n: samples.
        lost, gained: samples that held before and not after, and the other way round.
        interval: exact bounds of the share after minus the share before, alpha on each side.
        p: McNemar's exact one-sided p-value that losses outnumber gains.
    """

    n: int
    lost: int
    gained: int
    interval: tuple[float, float]
    p: float


def paired_change(before: NDArray[np.bool_], after: NDArray[np.bool_], *, alpha: float) -> PairedChange:
    """Return the change from outcomes (n,) bool before to those of the same samples after; alpha bounds each end."""
    n, lost, gained = len(before), int((before & ~after).sum()), int((~before & after).sum())
    low, high = paired_interval(lost, gained, n, alpha)
    return PairedChange(n=n, lost=lost, gained=gained, interval=(0.0 - high, 0.0 - low), p=mcnemar(lost, gained))


def mcnemar(lost: int, gained: int) -> float:
    """Return the exact one-sided McNemar p-value of "losses do not outnumber gains by more than chance" (Psychometrika
    1947).

    Args:
        lost: pairs right before and wrong after.
        gained: pairs wrong before and right after.
    """
    return binomial_tail(lost - 1, lost + gained, 0.5)


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
    """Return the decision on a drop over n fully evaluated pairs; arguments as for `paired_interval` and
    `decide_share`.
    """
    return decide_whole(
        (lost - gained) / n,
        paired_interval(lost, gained, n, alpha),
        max_drop,
        at_least=False,
        scope=scope,
        alpha=alpha,
        holds=lambda claimed: lost - gained <= count_at_most(claimed, n),
        wider=None if fail_alpha is None else paired_interval(lost, gained, n, fail_alpha),
    )


def settle_drop(
    change: NDArray[np.int64], n: int, most: int, *, pass_alpha: float, fail_alpha: float
) -> EarlyVerdict | None:
    """Return the first point at which changes in random order decide "they sum to `most` or less", or None.

    Args:
        change: (t,) of -1, 0 and 1, in the order drawn, t <= n.
        n: size of the set.
        most: -n..n.
        pass_alpha, fail_alpha: errors of a wrong pass and a wrong failure.
    """
    if most >= n:
        return EarlyVerdict(Verdict.PASSED, 0, certain=True, alpha=pass_alpha)
    total, left = np.cumsum(change), n - np.arange(1, len(change) + 1)
    sure_pass, sure_fail = total + left <= most, total - left > most
    # Changes are whole: the nearest false sum is most + 1.
    lower, higher = capital(change, n, most + 1, above=False), capital(change, n, most, above=True)
    passes, fails = bets_won(lower, higher, pass_alpha=pass_alpha, fail_alpha=fail_alpha)
    passes, fails = sure_pass | passes, sure_fail | fails
    return first_verdict(passes, fails, pass_alpha=pass_alpha, fail_alpha=fail_alpha, sure=(sure_pass, sure_fail))


def share_of_largest_class(columns: Columns) -> float:
    """Return the accuracy of one constant answer on the evaluated samples: a class, the commonest target, or the
    commonest classes, as many as an answer names.
    """
    label = columns.get(LABEL, columns.get("target"))
    if label is None or not len(label):
        return 0.0
    named = int(columns[NAMED].max()) if NAMED in columns else 1
    return float(np.sort(np.unique(label, return_counts=True)[1])[-named:].sum() / len(label))


def doubt_of_start(
    right: int, of: int, chance: float, threshold: float, *, alpha: float, least: float | None = None
) -> str:
    """Return the reason why a drop from this start proves nothing, or "".

    Args:
        right, of: samples right before, and all samples.
        chance: the accuracy of one constant answer; 0 if unknown.
        threshold: the largest drop claimed.
        alpha: error of finding the start better than chance.
        least: lower bound of the population's share at alpha, if the samples are no independent draws.
    """
    share = right / of
    if share <= threshold:
        held = number(share, threshold)
        return f"nothing could have failed it: only {held} held before, and a fall of {threshold:g} is allowed"
    if (clopper_pearson(right, of, alpha)[0] if least is None else least) <= chance:
        return (
            f"a model at chance cannot fall: {right} of {of} were right before, and saying one class of every sample "
            f"is right on {number(chance)}. Give samples of all classes, or claim the accuracy after the change"
        )
    # Else a model that ignores its input after the change would keep the claim.
    if share - chance <= threshold + _ROUNDING:  # .4 - .25 is more than .15 by the last digit
        return (
            f"a model that stopped looking would keep it: {number(share)} were right before, {number(chance)} are "
            f"where one class is said of every sample, and a fall of {threshold:g} is allowed. Allow less"
        )
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AboveChanceRule(ThresholdRule):
    """A claim on a drop that passes only if `doubt_of_start` finds no reason against it."""

    other: Rule
    before: str = "clean"

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        early = self.other.settle(columns, n)
        if early is None or early.verdict is not Verdict.PASSED or self.threshold is None:
            return early
        # A pass waits until the start is high enough as well. The share right so far, compared after every chunk,
        # would reach that by chance at some point: it needs a sequential test too.
        least = min(1.0, share_of_largest_class(columns) + self.threshold)
        start = ShareRule(threshold=least, at_least=True, terms=self.terms, column=self.before).settle(columns, n)
        if start is None or start.verdict is not Verdict.PASSED:
            return None
        return replace(early, after=max(early.after, start.after), certain=early.certain and start.certain)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        decision = self.other.decide(columns, n, early)
        before = columns[self.before]
        # An early pass has already tested the start, in `settle`.
        start_settled = early is not None and len(before) < n
        if self.threshold is None or start_settled or decision.verdict is not Verdict.PASSED:
            return decision
        chance = share_of_largest_class(columns)
        clusters, alpha = clusters_of(columns, self.terms), self.terms.alpha
        least = None if clusters is None else cluster_interval(before, clusters, 0.0, 1.0, alpha, beside=chance)[0]
        doubt = doubt_of_start(int(before.sum()), len(before), chance, self.threshold, alpha=alpha, least=least)
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt, reasons=("no_fall",)) if doubt else decision

    def doomed(self, broken: int, n: int) -> bool:
        return self.other.doomed(broken, n)

    def for_part(self, terms: Terms) -> Rule | None:
        # The start is a claim about all samples together, not about a part.
        return self.other.for_part(terms)

    def among(self, kept: NDArray[np.int64]) -> AboveChanceRule:
        return replace(self, other=self.other.among(kept))
