"""Scores against a baseline: the same samples, scored before and now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.no_worse import NoWorse
from robustest.rules.rule import Columns
from robustest.statistics.betting import MANY, above_zero, drop_interval
from robustest.statistics.differences.sign_flips import flipped_share
from robustest.statistics.fixed import Decision

_MOVED = 1e-9
"""A score that changed by less did not change: scores are sums of fractions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange:
    """What became of the scores of a baseline's samples.

    Attributes:
        fall: mean score before less the mean now.
        lost, gained: samples whose score is lower now, and higher.
        n: number of samples.
        p_lost, p_gained: one-sided p-values by bets that the mean of the population, of which the pairs are draws, did
            not fall, and did not rise. Scores are bounded, and nothing else is asked of them (see `betting`).
        chance: of swapping then and now sample by sample, the share that loses as much (see `flipped_share`).
        most: the p-value by bets if every score had fallen to 0.
        tolerance: the fall that is allowed, in 0..1.
        alpha: error allowed for a failure.
        interval: of the fall in the population, two-sided at 1 - 2 alpha.
        of: the name of the mean.
    """

    fall: float
    lost: int
    gained: int
    n: int
    p_lost: float
    p_gained: float
    chance: float
    most: float
    tolerance: float
    alpha: float
    interval: tuple[float, float]
    of: str = "mean score"

    @property
    def beyond(self) -> bool:
        """Whether the mean fell by more than is tolerated, on this very set."""
        return self.fall > self.tolerance + _MOVED

    @property
    def worse(self) -> bool:
        """Whether it did, and bets show that the population's mean fell as well."""
        return self.beyond and self.p_lost <= self.alpha

    @property
    def untold(self) -> bool:
        """Whether it did, and so few or low scores could not have shown it: the loss of all would not."""
        return self.beyond and self.most > self.alpha

    @property
    def unexplained(self) -> bool:
        """Whether it did, and that is not chance, though bets do not show what the population lost."""
        return self.beyond and not self.worse and self.chance <= self.alpha

    @property
    def better(self) -> bool:
        """As `Change.better`."""
        return -self.fall > self.tolerance + _MOVED and self.p_gained <= self.alpha

    def details(self) -> dict[str, Any]:
        """As `Change.details`; the drop is of the mean score."""
        return {
            "lost": self.lost,
            "gained": self.gained,
            "p": self.p_lost,
            "test": "betting",
            "swapped": self.chance,
            "drop": self.fall,
            "drop_interval": list(self.interval),
            "of": self.of,
        }

    def __str__(self) -> str:
        return (
            f"against the baseline the {self.of} fell by {self.fall:.4f}, {self.lost} lower, {self.gained} higher of "
            f"{self.n}, betting p = {self.p_lost:.2g}, as much by swaps {self.chance:.2g}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBaselineRule(NoWorse):
    """The claim that the mean score of a baseline's samples is now no lower than it was, beside another claim.

    It fails where the mean fell by more than the tolerance on this set, and bets on the pairs show that it is not for
    chance. It passes where the fall is tolerated, or where swapping then and now of each sample often loses as much. A
    fall that is neither, as of many scores by a little each, is inconclusive: bets must allow for rare large gains
    that the set happened not to have, so that they show less than there is. So is one of too few samples. About a
    population it passes only where the interval of the fall is tolerated.

    Attributes:
        before: (n,) float64, the baseline's scores in the data's order, each in 0..1. For what else there is see
            `NoWorse`.
        seed: of the order in which bets are made, and of the swaps.
        column: where scores are.
        of: the name of their mean.
    """

    seed: int
    column: str = "score"
    of: str = "mean score"

    def of_model(self, columns: Columns) -> NDArray[np.float64]:
        """As `NoWorse.of_model`."""
        return np.asarray(columns[self.column], dtype=np.float64)

    def compare(self, columns: Columns) -> ScoreChange:
        """Pair every sample with its score in the baseline."""
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        # Bets are made in an order that says nothing of the samples, and the same for any order of the columns.
        order = np.random.default_rng(self.seed).permutation(len(self.before))
        now = np.asarray(columns[self.column], dtype=np.float64)[np.argsort(columns["id"])][order]
        before = np.asarray(self.before, dtype=np.float64)[order]
        fall = np.where(np.abs(before - now) < _MOVED, 0.0, before - now)
        return ScoreChange(
            fall=float(fall.mean()),
            lost=int((fall > 0).sum()),
            gained=int((fall < 0).sum()),
            n=len(fall),
            p_lost=above_zero(fall),
            p_gained=above_zero(-fall),
            chance=flipped_share(fall, alpha=self.terms.alpha, seed=self.seed),
            most=above_zero(before),
            tolerance=self.tolerance,
            alpha=self.terms.alpha,
            interval=drop_interval(fall, MANY, self.terms.alpha),
            of=self.of,
        )

    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        found = self.compare(columns)
        if found.worse:
            return replace(
                decision, verdict=Verdict.FAILED, rule=f"worse: {found}", at_alpha=True, reasons=("baseline",)
            )
        untold, unexplained = found.untold, found.unexplained
        if (untold or unexplained) and not (self.asked and decision.verdict is Verdict.FAILED):
            why = "too few samples to tell a loss from chance" if untold else "lost, and not by chance alone"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=f"{why}: {found}", reasons=("baseline",))
        high = found.interval[1]
        if not self.asked:
            shown = replace(
                decision, verdict=Verdict.PASSED, rule=f"no worse: {found}", at_alpha=True, reasons=("baseline",)
            )
            return self._shown(shown, high)
        passed = decision.verdict is Verdict.PASSED
        rule = f"{decision.rule}; no worse: {found}"
        return self._shown(replace(decision, rule=rule, at_alpha=decision.at_alpha or passed), high)
