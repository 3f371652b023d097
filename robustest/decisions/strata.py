"""Strata: decide if a claim on a mean over all samples holds in each part of them, too."""

# Samples of a task differ in difficulty: an image shows one object or four. Tsipras et al. (ICML 2020, section 4) find
# accuracies far lower where an image shows several objects; as most show one, the mean hardly moves. So:
#
# 1. Group the evaluated samples by a count that the task takes of their targets (strata).
# 2. Apply the claim's own rule to each stratum alone, as a claim about a population, at a level that all strata share
#    (Sidak, JASA 1967: strata are disjoint). A stratum is beyond the threshold if that rule fails it.
# 3. A pass of the whole is inconclusive if a stratum is beyond, unless the user claimed the mean over all alone.
# 4. An early pass waits until each stratum that is not rare has enough samples to be found beyond at all.

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.mean import SCORE, ScoreRule
from robustest.decisions.multiplicity import group_level
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Rule, Stratum, Terms
from robustest.decisions.share import ShareRule
from robustest.results import Verdict

STRATUM = "stratum"
"""The column of each target's count of things, such as objects or classes."""

# More different counts than this are grouped into quarters of the samples.
_EACH = 8
# Samples of a stratum that an early pass waits for: if none of 20 is right, a share of .3 is ruled out at .001.
_ENOUGH = 20
# A stratum with a smaller share of the evaluated samples does not hold an early pass up: it is decided at the end.
_RARE = 0.05
# Fewest samples of an early pass. A stratum of a tenth makes less than a twentieth of them with probability .04 at
# most, one of a fifth practically never.
_FIRST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StrataRule(Rule):
    """A claim on all samples that must hold in each stratum as well.

    Attributes:
        whole: the claim on all samples.
        nouns: names of the counted thing, singular and plural: ("object", "objects").
        gates: True if a stratum beyond the threshold keeps the claim from passing; False if it is only reported.
        alpha: the error of all strata together.
        column: the column of counts.
    """

    whole: Rule
    nouns: tuple[str, str]
    gates: bool
    alpha: float
    column: str = STRATUM

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        early = self.whole.settle(columns, n)
        # Only passes are held back. So an early look, at which fixed-sample bounds err a little more often, turns
        # nothing green.
        if early is None or early.verdict is not Verdict.PASSED or not self.gates:
            return early
        return early if self._enough(columns, n) else None

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        decision = self.whole.decide(columns, n, early)
        if self.column not in columns:
            return decision
        strata = self.strata(columns)
        decision = replace(decision, strata=strata)
        if not self.gates:
            return decision
        beyond = [stratum for stratum in strata if stratum.beyond]
        if decision.verdict is Verdict.PASSED and beyond:
            rule = (
                f"passes over all samples, but surely not by the number of {self.nouns[1]} (alpha = {self.alpha:g}): "
                f'{"; ".join(map(str, beyond))}. Claim the mean over all samples alone with by="overall"'
            )
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, at_alpha=True)
        if decision.verdict is Verdict.INCONCLUSIVE and early is None and not self._enough(columns, n):
            whole = self.whole.settle(columns, n)
            if whole is not None and whole.verdict is Verdict.PASSED:  # only strata keep it open
                rule = (
                    f"{decision.rule}, too few to judge the claim by the number of {self.nouns[1]}: raise max_samples "
                    'or the time budget, or claim the mean over all samples alone with by="overall"'
                )
                return replace(decision, rule=rule)
        return decision

    def doomed(self, broken: int, n: int) -> bool:
        return self.whole.doomed(broken, n)

    def among(self, kept: NDArray[np.int64]) -> StrataRule:
        return replace(self, whole=self.whole.among(kept))

    def strata(self, columns: Columns) -> tuple[Stratum, ...]:
        """Return the evaluated samples' strata; none if all samples are in one."""
        parts = _parts(columns[self.column], self.nouns)
        if len(parts) < 2:
            return ()
        level = group_level(self.alpha, len(parts), disjoint=True)
        terms = Terms(scope="population", alpha=level, fail_alpha=level)
        # A rule that identifies samples by their position, or compares with samples of another set, cannot decide on
        # a part. The mean score, or the share that holds, is measured instead, without a claim.
        alone = self.whole.for_part(terms)
        if alone is None and SCORE in columns:
            alone = ScoreRule(threshold=None, terms=terms)
        elif alone is None:
            alone = ShareRule(threshold=None, at_least=True, terms=terms)
        found = []
        for name, members in parts:
            rows = {key: column[members] for key, column in columns.items()}
            n = int(members.sum())
            decision = alone.decide(rows, n, None)
            value = float(np.mean(decision.interval)) if decision.estimate is None else decision.estimate + 0.0  # no -0
            beyond = decision.verdict is Verdict.FAILED
            found.append(Stratum(name=name, n=n, value=value, interval=decision.interval, beyond=beyond))
        return tuple(found)

    def _enough(self, columns: Columns, n: int) -> bool:
        """Return True if every stratum that is not rare has enough samples to be found beyond the threshold."""
        read = len(columns["held"])
        if read == n or self.column not in columns:
            return True
        sizes = [int(members.sum()) for _, members in _parts(columns[self.column], self.nouns)]
        return read >= _FIRST and all(size >= _ENOUGH or size < _RARE * read for size in sizes)


def _parts(
    counted: NDArray[np.int64] | NDArray[np.float64], nouns: tuple[str, str]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return names and members (n,) bool of strata, rising: one per value, or quarters of the samples.

    Args:
        counted: (n,) whole numbers of the things that `nouns` name, or float values.
    """
    whole = counted.dtype.kind in "iu"

    def name(low: float, high: float) -> str:
        span = f"{low:g}" if low == high else f"{low:.4g} to {high:.4g}"
        if whole:
            return f"{span} {nouns[0] if low == high == 1 else nouns[1]}"
        return f"{nouns[0]} {span}"

    values = np.unique(counted)
    if len(values) <= _EACH:
        return [(name(value.item(), value.item()), counted == value) for value in values]
    # Quartiles by rank; equal values stay together, and so a quarter may be empty.
    edges = np.unique(np.quantile(counted, [0.25, 0.5, 0.75], method="lower"))
    quarter = np.searchsorted(edges, counted, side="left")
    parts = []
    for at in np.unique(quarter):
        members = quarter == at
        parts.append((name(counted[members].min().item(), counted[members].max().item()), members))
    return parts
