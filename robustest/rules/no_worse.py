"""The claim that samples are no worse than in a baseline, beside a claim on the number itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.rule import Columns, Rule, Terms
from robustest.statistics.fixed import Decision
from robustest.statistics.sequential import Settled


class Change(Protocol):
    """What became of the samples of a baseline."""

    @property
    def lost(self) -> int:
        """How many are worse than they were."""

    @property
    def gained(self) -> int:
        """How many are better than they were."""

    @property
    def better(self) -> bool:
        """Whether more is gained than the tolerance, and more than chance explains: the gate can be tightened."""

    def details(self) -> dict[str, Any]:
        """As a result tells it: "drop", "drop_interval", "lost", "gained", "p", "test", and what the drop is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWorse(ABC):
    """A claim on pairs of then and now, which waits for every sample, beside a claim that may fail before.

    Attributes:
        other: the claim on the number itself.
        asked: whether that has a threshold; else it only says where the number lies.
        before: (n, ...) what the baseline has of each sample, in the data's order; None while it is being made. Fewer
            than n rows where the baseline is another model that was not asked about every sample: nothing passes then.
        tolerance: the fall from the baseline that is allowed, in 0..1.
        terms: what the verdict may rest on.
    """

    other: Rule
    asked: bool
    before: NDArray[Any] | None
    tolerance: float
    terms: Terms

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Rule.settled`: only where the other claim has failed is there nothing left to see."""
        settled = self.other.settled(columns, n)
        return settled if settled is not None and settled.verdict is Verdict.FAILED else None

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Rule.decide`."""
        decision = self.other.decide(columns, n, settled)
        if settled is not None and decision.verdict is Verdict.FAILED:
            return decision
        if self.before is None:
            rule = "baseline updated: there is nothing to compare with"
            return (
                decision if self.asked else replace(decision, verdict=Verdict.PASSED, rule=rule, reasons=("baseline",))
            )
        if len(columns["held"]) < n:
            return self._open(decision, f"{decision.rule}; the baseline needs every sample")
        if len(self.before) < n:
            return self._open(decision, f"{decision.rule}; the other model was not asked about every sample")
        if self.tolerance >= self.share_before:
            held = f"{self.share_before:.3f} held before, of which tolerance={self.tolerance:g} may be lost"
            return self._open(decision, f"nothing could be called worse: {held}")
        return self._paired(decision, columns)

    def _open(self, decision: Decision, rule: str) -> Decision:
        """Return a decision without a comparison: inconclusive, unless the claim on the number has failed."""
        failed = self.asked and decision.verdict is Verdict.FAILED
        return decision if failed else replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, proven=False)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`."""
        return self.other.doomed(broken, n)

    @property
    def share_before(self) -> float:
        """Return the mean of what the baseline has of the samples: a share that held, or a mean score.

        Raises:
            ValueError: there is no baseline.
        """
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        return float(self.before.mean())

    @abstractmethod
    def of_model(self, columns: Columns) -> NDArray[Any]:
        """Return what is compared of a model's samples: its columns (n,) in the data's order, as `before` has them."""

    @abstractmethod
    def compare(self, columns: Columns) -> Change:
        """Pair every sample with what the baseline has of it."""

    def _shown(self, decision: Decision, high: float) -> Decision:
        """Return a decision that passed, made inconclusive where it is about a population that may have lost more.

        Of the samples that were compared it is enough that no more was lost than is tolerated. A population may have
        lost what few samples show: for it the whole interval of the fall must be tolerated.

        Args:
            decision: on these samples.
            high: the upper end of the fall's interval, of the group that has the largest.
        """
        if self.terms.scope == "set" or decision.verdict is not Verdict.PASSED or high <= self.tolerance:
            return decision
        rule = (
            f"not shown of the population: a fall of up to {high:.4f} is left open, tolerance={self.tolerance:g} is "
            f'claimed: give more samples or tolerance, or claim it of this set (scope="set"); {decision.rule}'
        )
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("baseline",))

    @abstractmethod
    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        """The verdict where every sample can be set against the baseline."""
