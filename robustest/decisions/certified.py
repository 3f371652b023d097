"""Verdicts on samples of which some are proven, some are broken, and some are open."""

from __future__ import annotations

from dataclasses import dataclass, replace

from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Terms
from robustest.decisions.share import ShareRule
from robustest.results import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedRule:
    """A claim on the share of samples that nothing can break: at least those proven, at most those not broken.

    Attributes:
        threshold: the share claimed at least, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
        proofs_alone: whether only proofs may pass it; else what the attack left may do so too.
        drawn: whether what is proven of a sample may be wrong by chance, so that every verdict rests on alpha.
    """

    threshold: float | None
    terms: Terms
    proofs_alone: bool
    drawn: bool = False

    @property
    def held(self) -> ShareRule:
        """On the samples that the attack left."""
        return ShareRule(threshold=self.threshold, at_least=True, terms=self.terms)

    @property
    def proven(self) -> ShareRule:
        """On the samples that are proven."""
        return ShareRule(threshold=self.threshold, at_least=True, terms=self.terms, column="proven")

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Rule.settled`: a pass by either column, or by proofs alone; a failure by what is broken."""
        by_proof, by_attack = self.proven.settle(columns, n), self.held.settle(columns, n)
        if by_proof is not None and by_proof.verdict is Verdict.PASSED:
            return by_proof
        if by_attack is not None and (by_attack.verdict is Verdict.FAILED or not self.proofs_alone):
            return by_attack
        return None

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Rule.decide`; the interval is from what is proven to what is not broken."""
        decision = self._decide(columns, n)
        return replace(decision, at_alpha=True) if self.drawn else decision

    def _decide(self, columns: Columns, n: int) -> Decision:
        by_proof = self._by(self.proven, columns, n, Verdict.PASSED)
        by_attack = self._by(self.held, columns, n, Verdict.FAILED if self.proofs_alone else None)
        interval = (by_proof.interval[0], by_attack.interval[1])
        if self.terms.scope == "set" and by_proof.estimate is not None and by_attack.estimate is not None:
            interval = (by_proof.estimate, by_attack.estimate)  # every sample was looked at: nothing is left to chance
        proven, broken, read = (
            int(columns["proven"].sum()),
            int((~columns["held"].astype(bool)).sum()),
            len(columns["held"]),
        )
        estimate = by_proof.estimate if self.proofs_alone else by_attack.estimate
        if by_proof.verdict is Verdict.PASSED:
            rule = f"proven: {proven} of {read} samples cannot be broken; {by_proof.rule}"
            return replace(by_proof, rule=rule, interval=interval, estimate=estimate, proven=True)
        decision = replace(by_attack, interval=interval, estimate=estimate)
        if self.proofs_alone and self.threshold is not None and decision.verdict is not Verdict.FAILED:
            rule = f"open: {proven} of {read} samples are proven, {broken} are wrong or broken"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
        return decision

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`."""
        return self.held.doomed(broken, n)

    def for_part(self, terms: Terms) -> CertifiedRule:
        """Return the same claim about a part of the samples."""
        return replace(self, terms=terms)

    @staticmethod
    def _by(rule: ShareRule, columns: Columns, n: int, only: Verdict | None) -> Decision:
        """What one column says; where it may settle one verdict alone, it is not asked to stop at another."""
        settled = rule.settle(columns, n)
        return rule.decide(columns, n, settled if settled is None or only in (None, settled.verdict) else None)
