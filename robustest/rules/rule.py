"""Claims as rules on a stream of outcomes: when it is settled, and what to say of it then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.statistics.betting import drop_interval, settle_drop
from robustest.statistics.differences.paired import decide_drop
from robustest.statistics.fixed import Decision, beyond, clopper_pearson, decide_share
from robustest.statistics.sequential import Settled, settle
from robustest.statistics.streams import running, running_interval
from robustest.statistics.thresholds import most, need

Columns = Mapping[str, NDArray[Any]]
"""Per-sample arrays, rows in the seeded random order in which the samples were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a verdict may rest on.

    Attributes:
        scope: "set" (this very set of samples) or "population" (what it was drawn from).
        alpha: error allowed for a pass, and on each end of an interval.
        fail_alpha: error allowed for a failure before every sample was looked at; less than alpha, as many claims of
            a run share it (see `multiplicity`). What is not that sure is looked at further.
    """

    scope: str
    alpha: float
    fail_alpha: float

    def of(self) -> Any:
        """Keyword arguments of the rules for samples that were all looked at."""
        return {"scope": self.scope, "alpha": self.alpha}


class Rule(Protocol):
    """A rule on a stream of outcomes."""

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """Where the outcomes so far settle it, of n samples in all; None where they do not, or must not yet."""

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """The verdict on the samples looked at, of n in all."""

    def doomed(self, broken: int, n: int) -> bool:
        """Whether so many samples that do not hold, of n, refute it whatever the others do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRule:
    """A claim on the share of samples that hold, or on the share that do not.

    Attributes:
        threshold: the share claimed, in 0..1; None where nothing is claimed.
        at_least: whether the share that holds must be at least the threshold; else the share that does not hold
            must be at most the threshold.
        terms: what the verdict may rest on.
        column: where the outcomes are.
    """

    threshold: float | None
    at_least: bool
    terms: Terms
    column: str = "held"

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`; claims about a population wait for every sample."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        return settle(columns[self.column].astype(bool), n, self._need(n), **alphas)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`."""
        held = columns[self.column].astype(bool)
        read = len(held)
        if read == n:
            events = int(held.sum() if self.at_least else (~held).sum())
            return decide_share(events, n, self.threshold, at_least=self.at_least, **self.terms.of())
        both = self._turned(self._interval(held, n, settled))
        return partial(self.threshold, both, read, n, settled, at_least=self.at_least, terms=self.terms)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; a claim about a population is about no certain samples."""
        return self.threshold is not None and self.terms.scope == "set" and broken > n - self._need(n)

    def _need(self, n: int) -> int:
        threshold = self.threshold or 0.0
        return need(threshold, n) if self.at_least else n - most(threshold, n)

    def _turned(self, interval: tuple[float, float]) -> tuple[float, float]:
        """The interval of what is claimed, from that of the share that holds."""
        low, high = interval
        return interval if self.at_least else (1 - high, 1 - low)

    def _interval(self, held: NDArray[np.bool_], n: int, settled: Settled | None) -> tuple[float, float]:
        if self.terms.scope != "set":
            return clopper_pearson(int(held.sum()), len(held), self.terms.alpha)
        return running_interval(held, n, self.terms.alpha, settled)


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

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`; claims about a population wait for every sample."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        return settle_drop(self._change(columns), n, most(self.threshold, n), **alphas)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`."""
        change = self._change(columns)
        lost, gained, read = int((change == 1).sum()), int((change == -1).sum()), len(change)
        full = decide_drop(lost, gained, read, self.threshold, **self.terms.of())
        if read == n:
            return full
        both = full.interval
        if self.terms.scope == "set":
            both = running(lambda t: drop_interval(change[:t], n, self.terms.alpha), read, settled)
        return partial(self.threshold, both, read, n, settled, at_least=False, terms=self.terms)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; how many samples were right before is not known."""
        return False

    def _change(self, columns: Columns) -> NDArray[np.int64]:
        return columns[self.before].astype(np.int64) - columns[self.after].astype(np.int64)


def partial(
    threshold: float | None,
    interval: tuple[float, float],
    read: int,
    n: int,
    settled: Settled | None,
    *,
    at_least: bool,
    terms: Terms,
) -> Decision:
    """The verdict where only `read` of n samples were looked at: no estimate, an interval."""
    if settled is not None:
        kind = "certain" if settled.certain else f"alpha = {settled.alpha:.2g}"
        return Decision(
            verdict=settled.verdict,
            rule=f"{kind} after {settled.after} of {n}",
            estimate=None,
            interval=interval,
            at_alpha=not settled.certain,
        )
    rule = f"budget: {read} of {n} samples looked at"
    verdict = Verdict.INCONCLUSIVE
    if threshold is None:
        rule = f"no threshold given; {rule}"
    elif terms.scope != "set":
        verdict = beyond(interval, threshold, at_least=at_least)
        rule = f"population, alpha = {terms.alpha:g} a side; {rule}"
    return Decision(verdict=verdict, rule=rule, estimate=None, interval=interval, at_alpha=terms.scope != "set")
