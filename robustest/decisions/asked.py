"""Items asked one after the other: decide if their rate is at least a threshold, as soon as that is known."""

# A claim about the population may end in two ways, which share alpha:
#
# 1. after any item, by bets at a quarter of alpha (see `mean.DrawsRule`). Their error holds wherever reading stops, so
#    also where a budget ended it, and where a later run goes on from there;
# 2. after the last item, by the exact bound of a share, or bets, at the other three quarters; also where no early
#    verdict was wanted, or asking for one first and for all items then would spend alpha twice.
#
# A claim about the set of items has the rules of any other set, which may be looked at after each item.

from __future__ import annotations

from dataclasses import dataclass, replace

from robustest.decisions.mean import DrawsRule, ScoreRule
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Rule, Terms
from robustest.decisions.share import ShareRule

EARLY = 0.25
"""Part of alpha that verdicts before the last item may spend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRule(Rule):
    """A claim that the mean of the column "score", in 0..1, is at least a threshold.

    Attributes:
        single: True if every score is 0 or 1, as the column "held" has it.
    """

    threshold: float | None
    terms: Terms
    single: bool

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        return (self._last if self.terms.scope == "set" else self._bets).settle(columns, n)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        if self.terms.scope == "set" or (early is None and len(columns["score"]) == n):
            return self._last.decide(columns, n, early)
        # A part of the items has no exact bound: how many were read may depend on the answers.
        decision, read = self._bets.decide(columns, n, early), len(columns["score"])
        if early is None:
            rule = f"alpha = {self._bets.terms.alpha:g} a side, {read} of {n} items asked"
            decision = replace(decision, rule=rule if self.threshold is not None else f"no threshold given; {rule}")
        return replace(decision, estimate=decision.estimate if read == n else None)

    def doomed(self, broken: int, n: int) -> bool:
        return self._last.doomed(broken, n)

    def for_part(self, terms: Terms) -> AskedRule:
        return replace(self, terms=terms)

    @property
    def _bets(self) -> DrawsRule:
        return DrawsRule(threshold=self.threshold, at_least=True, terms=self._part_of_alpha(EARLY), column="score")

    @property
    def _last(self) -> Rule:
        shared = self.threshold is not None and self.terms.scope != "set"
        terms = self._part_of_alpha(1 - EARLY) if shared else self.terms
        if self.single:
            return ShareRule(threshold=self.threshold, at_least=True, terms=terms)
        return ScoreRule(threshold=self.threshold, terms=terms)

    def _part_of_alpha(self, part: float) -> Terms:
        return replace(self.terms, alpha=part * self.terms.alpha, fail_alpha=part * self.terms.fail_alpha)
