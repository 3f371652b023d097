"""Certified shares: some samples are proven, some broken by an attack, some open.

The share that nothing can break is at least the share proven and at most the share not broken. So a claim "at least"
passes by proofs (or, if proofs are not required, by the attack's survivors), and fails by broken samples. Each column
is a `ShareRule`; the interval joins the proofs' lower bound with the attack's upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Rule, Terms
from robustest.decisions.share import ShareRule
from robustest.results import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedRule(Rule):
    """A claim on the share of samples that nothing can break.

    Attributes:
        proofs_alone: True if only proofs may pass it, False if the attack's survivors may too.
        drawn: True if a proof may be wrong by chance, so that every verdict rests on alpha.
    """

    threshold: float | None
    terms: Terms
    proofs_alone: bool
    drawn: bool = False

    @property
    def held(self) -> ShareRule:
        """The claim on samples that the attack did not break."""
        return ShareRule(threshold=self.threshold, at_least=True, terms=self.terms)

    @property
    def proven(self) -> ShareRule:
        """The claim on proven samples."""
        return ShareRule(threshold=self.threshold, at_least=True, terms=self.terms, column="proven")

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        by_proof, by_attack = self.proven.settle(columns, n), self.held.settle(columns, n)
        if by_proof is not None and by_proof.verdict is Verdict.PASSED:
            return by_proof
        # Survivors bound the share from above only: their pass counts just where the claim accepts it.
        if by_attack is not None and (by_attack.verdict is Verdict.FAILED or not self.proofs_alone):
            return by_attack
        return None

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        def by(rule: ShareRule, only: Verdict | None) -> Decision:
            # A column may decide one verdict only: an early verdict of the other kind is dropped.
            settled = rule.settle(columns, n)
            return rule.decide(columns, n, settled if settled is None or only in (None, settled.verdict) else None)

        by_proof = by(self.proven, Verdict.PASSED)
        by_attack = by(self.held, Verdict.FAILED if self.proofs_alone else None)
        interval = (by_proof.interval[0], by_attack.interval[1])
        if self.terms.scope == "set" and by_proof.estimate is not None and by_attack.estimate is not None:
            interval = (by_proof.estimate, by_attack.estimate)  # every sample was evaluated: nothing is left to chance
        proven, read = int(columns["proven"].sum()), len(columns["held"])
        estimate = by_proof.estimate if self.proofs_alone else by_attack.estimate
        if by_proof.verdict is Verdict.PASSED:
            rule = f"proven: {proven} of {read} samples cannot be broken; {by_proof.rule}"
            decision = replace(by_proof, rule=rule, interval=interval, estimate=estimate, proven=True)
        else:
            decision = replace(by_attack, interval=interval, estimate=estimate)
            if self.proofs_alone and self.threshold is not None and decision.verdict is not Verdict.FAILED:
                # The survivors would pass the claim, but only proofs may: the samples between are open.
                broken = int((~columns["held"].astype(bool)).sum())
                rule = f"open: {proven} of {read} samples are proven, {broken} are wrong or broken"
                decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
        return replace(decision, at_alpha=True) if self.drawn else decision

    def doomed(self, broken: int, n: int) -> bool:
        return self.held.doomed(broken, n)

    def for_part(self, terms: Terms) -> CertifiedRule:
        return replace(self, terms=terms)
