"""Judge a claim within parts of the samples as well, where a mean over all of them may hide one.

Samples of a task differ in how much there is to get right: an image shows one object or four, a mask has two classes or
ten. Tsipras et al. (ICML 2020, section 4) find accuracies far lower where an image shows several objects; as most show
one, the mean hardly moves. So:

1. Group the samples looked at by what the task counts in their targets (its strata).
2. Ask the claim's own rule about each stratum alone, as a claim about a population, at a level that all strata share
   (Sidak, JASA 1967: strata are disjoint). A stratum is beyond the threshold where that rule fails it: the bound at
   alpha is on the wrong side, so that a stratum of few samples says nothing by chance.
3. A pass of the whole is inconclusive where a stratum is beyond, unless the mean over all is what was asked for.
4. An early pass waits until each stratum that is not rare has enough samples to be found beyond at all. Strata rarer
   than that are judged where every sample is looked at.

Only passes are held back, so that an early look, at which fixed-sample bounds err a little more often, makes nothing
green.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.mean import SCORE, ScoreRule
from robustest.decisions.multiplicity import group_level
from robustest.decisions.rule import Columns, Decision, DivisibleRule, EarlyVerdict, Rule, Stratum, Terms
from robustest.decisions.share import ShareRule
from robustest.results import Verdict

STRATUM = "stratum"
"""The column of what a task counts in each sample's target."""


_EACH = 8
"""Different counts that are strata of their own, at most; more are grouped into quarters of the samples."""


_ENOUGH = 20
"""Samples of a stratum that an early pass waits for: where none of 20 is right, a share of .3 is ruled out at .001."""


_RARE = 0.05
"""A stratum that makes a smaller share of the samples looked at does not hold an early pass up."""


_FIRST = 100
"""Samples that an early pass looks at, at least. Of a stratum of a tenth, fewer than a twentieth are then seen with a
chance of .04 at most, of a fifth practically never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrataRule:
    """A claim on all samples that is judged in each stratum as well.

    Attributes:
        whole: the claim on all samples.
        nouns: what is counted, of one and of several: ("object", "objects").
        gates: whether a stratum that is beyond the threshold keeps the claim from passing; else it is only reported.
        alpha: the error of all strata together.
        column: where the counts are.
    """

    whole: Rule
    nouns: tuple[str, str]
    gates: bool
    alpha: float
    column: str = STRATUM

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Rule.settled`; a pass waits for samples of every stratum that is not rare."""
        settled = self.whole.settle(columns, n)
        if settled is None or settled.verdict is not Verdict.PASSED or not self.gates:
            return settled
        return settled if self._enough(columns, n) else None

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Rule.decide`; the decision lists the strata."""
        decision = self.whole.decide(columns, n, settled)
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
        if decision.verdict is Verdict.INCONCLUSIVE and settled is None and self._waits(columns, n):
            rule = (
                f"{decision.rule}, too few to judge the claim by the number of {self.nouns[1]}: raise max_samples or "
                'the time budget, or claim the mean over all samples alone with by="overall"'
            )
            return replace(decision, rule=rule)
        return decision

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`."""
        return self.whole.doomed(broken, n)

    def strata(self, columns: Columns) -> tuple[Stratum, ...]:
        """Return the strata of the samples looked at, each judged alone; none where all samples are in one."""
        parts = _parts(columns[self.column], self.nouns)
        if len(parts) < 2:
            return ()
        level = group_level(self.alpha, len(parts), disjoint=True)
        alone = _alone(self.whole, columns, Terms(scope="population", alpha=level, fail_alpha=level))
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
        """Return True if every stratum that is not rare was seen often enough to be found beyond the threshold."""
        seen = len(columns["held"])
        if seen == n or self.column not in columns:
            return True
        sizes = [int(members.sum()) for _, members in _parts(columns[self.column], self.nouns)]
        return seen >= _FIRST and all(size >= _ENOUGH or size < _RARE * seen for size in sizes)

    def _waits(self, columns: Columns, n: int) -> bool:
        """Return True if the claim on all samples has passed, and only strata keep it open."""
        if len(columns["held"]) == n or self._enough(columns, n):
            return False
        settled = self.whole.settle(columns, n)
        return settled is not None and settled.verdict is Verdict.PASSED


def _parts(
    counted: NDArray[np.int64] | NDArray[np.float64], nouns: tuple[str, str]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return names and members (n,) bool of strata, rising: one a value, or quarters of the samples of many values.

    Args:
        counted: (n,) whole numbers of what `nouns` name, or, where they are floats, values of it.
        nouns: of one and of several.
    """
    values = np.unique(counted)
    whole = counted.dtype.kind in "iu"
    if len(values) <= _EACH:
        names = [_named(value, value, nouns, whole=whole) for value in values.tolist()]
        return [(name, counted == value) for name, value in zip(names, values, strict=True)]
    # Quartiles by rank; equal values stay together, and so a quarter may be empty.
    edges = np.unique(np.quantile(counted, [0.25, 0.5, 0.75], method="lower"))
    quarter = np.searchsorted(edges, counted, side="left")
    parts = []
    for at in np.unique(quarter):
        members = quarter == at
        low, high = counted[members].min().item(), counted[members].max().item()
        parts.append((_named(low, high, nouns, whole=whole), members))
    return parts


def _named(low: float, high: float, nouns: tuple[str, str], *, whole: bool) -> str:
    span = f"{low:g}" if low == high else f"{low:.4g} to {high:.4g}"
    if whole:
        return f"{span} {nouns[0] if low == high == 1 else nouns[1]}"
    return f"{nouns[0]} {span}"


def _alone(rule: Rule, columns: Columns, terms: Terms) -> Rule:
    """Return the rule that judges one stratum: the claim's own on other terms, where it can be asked about a part.

    A rule that knows samples by their position, or compares with samples of another set, has no `for_part`. The share
    that holds stands for it, or the mean score.
    """
    if isinstance(rule, DivisibleRule):
        return rule.for_part(terms)
    if SCORE in columns:
        return ScoreRule(threshold=None, terms=terms)
    return ShareRule(threshold=None, at_least=True, terms=terms)
