"""Baselines: decide if samples are no worse than in a stored run, or by another model, sample by sample.

Beside a claim on the number itself. Samples that did not change say nothing, so that a loss of one point shows where
two accuracies far apart would drown it. A comparison

- fails if more is lost than tolerated on this set and a paired test shows that this is not chance (error alpha):
  one outcome a sample: the exact one-sided McNemar test (Psychometrika 1947);
  several outcomes a sample: the sign-flip test of their sums (Fisher, The Design of Experiments, 1935, section 21);
  scores: bets on the mean of the differences (see `bets`);
- is inconclusive if more is lost than tolerated, of so few that chance would explain the loss of all;
- passes otherwise; about a population only if the upper bound of the drop, at alpha, is tolerated.

It waits for every sample. Groups, and named parts of the columns, are compared one by one, and all must be no worse:
a loss of one group is not balanced by a gain of another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import binom, norm

from robustest.decisions.bets import MANY, betting_interval, p_above_zero
from robustest.decisions.drop import drop_bounds, mcnemar
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Interval, Rule, Terms
from robustest.results import Verdict

_LARGEST_EXACT = 1 << 18
"""Sum of changes up to which the sign-flip distribution is computed; beyond, the normal one is used."""
_MOVED = 1e-9
"""Scores are sums of fractions: a difference this small is rounding."""


class BaselineChange(Protocol):
    """How the samples of a baseline changed."""

    @property
    def lost(self) -> int:
        """Return the number of samples or outcomes that are worse than before."""

    @property
    def gained(self) -> int:
        """Return the number of samples or outcomes that are better than before."""

    @property
    def better(self) -> bool:
        """Return True if more is gained than the tolerance, and than chance explains: the gate can be tightened."""

    def details(self) -> dict[str, Any]:
        """Return details of a result: "drop", "drop_interval", "lost", "gained", "p", "test", and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWorse(ABC):
    """A claim on pairs of before and now, beside a claim on the number that may fail earlier.

    Attributes:
        other: the claim on the number itself.
        asked: True if that claim has a threshold; else it only measures.
        before: (n, ...) the baseline's outcomes or scores, in the data's order; None while the baseline is being made.
            Fewer than n rows if the baseline is another model that was evaluated in part: nothing passes then.
        tolerance: the drop from the baseline that is allowed, in 0..1.
        terms: scope and errors.
    """

    other: Rule
    asked: bool
    before: NDArray[Any] | None
    tolerance: float
    terms: Terms

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """See `Rule.settle`; only a failure of the other claim leaves nothing to compare."""
        early = self.other.settle(columns, n)
        return early if early is not None and early.verdict is Verdict.FAILED else None

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        """See `Rule.decide`."""
        decision = self.other.decide(columns, n, early)
        if early is not None and decision.verdict is Verdict.FAILED:
            return decision
        if self.before is None:
            rule = "baseline updated: there is nothing to compare with"
            passed = replace(decision, verdict=Verdict.PASSED, rule=rule, reasons=("baseline",))
            return decision if self.asked else passed
        missing = ""
        if len(columns["held"]) < n:
            missing = f"{decision.rule}; the baseline needs every sample"
        elif len(self.before) < n:
            missing = f"{decision.rule}; the other model was not asked about every sample"
        elif self.tolerance >= self.share_before:
            held = f"{self.share_before:.3f} held before, of which tolerance={self.tolerance:g} may be lost"
            missing = f"nothing could be called worse: {held}"
        if not missing:
            return self._paired(decision, columns)
        if self.asked and decision.verdict is Verdict.FAILED:
            return decision
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=missing, proven=False)

    def doomed(self, broken: int, n: int) -> bool:
        """See `Rule.doomed`."""
        return self.other.doomed(broken, n)

    @property
    def share_before(self) -> float:
        """Return the baseline's mean over the samples: a share that held, or a mean score.

        Raises:
            ValueError: there is no baseline.
        """
        return float(self._rows_before().mean())

    @abstractmethod
    def of_model(self, columns: Columns) -> NDArray[Any]:
        """Return a model's outcomes or scores (n, ...) in the data's order, in the form of `before`."""

    @abstractmethod
    def compare(self, columns: Columns) -> BaselineChange:
        """Pair every sample with its outcome or score in the baseline."""

    @abstractmethod
    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        """Return the decision if every sample can be paired."""

    def _rows_before(self) -> NDArray[Any]:
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        return self.before

    def _no_worse(self, decision: Decision, found: str, high: float) -> Decision:
        """Return the decision of a comparison that found no loss; about a population it may be inconclusive.

        For these samples it is enough that no more was lost than is tolerated. A population may have lost more than few
        samples show: for it the whole interval of the drop must be tolerated.

        Args:
            decision: of the claim on the number.
            found: the comparison, in words.
            high: the upper end of the drop's interval, of the group that has the largest.
        """
        if self.asked:
            at_alpha = decision.at_alpha or decision.verdict is Verdict.PASSED
            decision = replace(decision, rule=f"{decision.rule}; no worse: {found}", at_alpha=at_alpha)
        else:
            decision = replace(
                decision, verdict=Verdict.PASSED, rule=f"no worse: {found}", at_alpha=True, reasons=("baseline",)
            )
        if self.terms.scope == "set" or decision.verdict is not Verdict.PASSED or high <= self.tolerance:
            return decision
        rule = (
            f"not shown of the population: a fall of up to {high:.4f} is left open, tolerance={self.tolerance:g} is "
            f'claimed: give more samples or tolerance, or claim it of this set (scope="set"); {decision.rule}'
        )
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("baseline",))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeChange:
    """How the outcomes of a baseline's samples changed.

    Attributes:
        name: of the group of samples that this is about; "" for all.
        lost, gained: outcomes that held only before, and only now: of samples, or of samples in several cells.
        n: number of outcomes.
        p_lost, p_gained: one-sided p-values of "no more losses than gains but for chance", and of the reverse.
        tolerance: the drop that is allowed, in 0..1.
        alpha: error of a failure.
        interval: of the drop, two-sided at 1 - 2 alpha.
        held: samples that held before, the most that can be lost; None if unknown.
        test: the test of the p-values, in words.
    """

    name: str = ""
    lost: int
    gained: int
    n: int
    p_lost: float
    p_gained: float
    tolerance: float
    alpha: float
    interval: Interval
    held: int | None = None
    test: str = "McNemar"

    @property
    def worse(self) -> bool:
        """Return True if more is lost than tolerated, and than chance explains."""
        return (self.lost - self.gained) / self.n > self.tolerance and self.p_lost <= self.alpha

    @property
    def too_few(self) -> bool:
        """Return True if more is lost than tolerated, and chance would explain even the loss of all that held."""
        most = self.n if self.held is None else self.held
        return (self.lost - self.gained) / self.n > self.tolerance and mcnemar(most, 0) > self.alpha

    @property
    def better(self) -> bool:
        """See `BaselineChange.better`."""
        return (self.gained - self.lost) / self.n > self.tolerance and self.p_gained <= self.alpha

    def details(self) -> dict[str, Any]:
        """See `BaselineChange.details`; the drop is of the share that held."""
        return {
            "lost": self.lost,
            "gained": self.gained,
            "p": self.p_lost,
            "test": self.test,
            "drop": (self.lost - self.gained) / self.n,
            "drop_interval": list(self.interval),
        }

    def __str__(self) -> str:
        where = f"in {self.name!r} " if self.name else ""
        counts = f"{self.lost} lost, {self.gained} gained of {self.n}, {self.test} p = {self.p_lost:.2g}"
        return f"against the baseline {where}{counts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRule(NoWorse):
    """The claim that outcomes of a baseline's samples are no worse now, beside another claim.

    Attributes:
        before: (n,) bool, the baseline's outcomes in the data's order, or (n, c) of c columns; as in `NoWorse`.
        groups: names and positions of the samples in each.
        columns: the columns of outcomes; with several, samples are compared by the number that hold.
        parts: names and columns of parts that must be no worse each.
        together: True if all columns must be no worse together as well; else results show the first part.
        level: the error of each comparison's failure; None means the terms' alpha (one comparison).
    """

    groups: tuple[tuple[str, NDArray[np.int64]], ...] = ()
    columns: tuple[str, ...] = ("held",)
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    together: bool = True
    level: float | None = None

    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        by_group = self.compare_groups(columns)
        worse = [found for found in by_group if found.worse]
        if worse:
            rule = f"worse: {'; '.join(map(str, worse))}"
            return replace(decision, verdict=Verdict.FAILED, rule=rule, at_alpha=True, reasons=("baseline",))
        too_few = [found for found in by_group if found.too_few]
        if too_few and (not self.asked or decision.verdict is not Verdict.FAILED):
            rule = f"too few samples to tell a loss from chance: {'; '.join(map(str, too_few))}"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("baseline",))
        found = f"{self.compare(columns)}"
        if self.groups or self.parts:
            kind = "groups" if self.groups else "parts"
            found = f"{found}, no worse in any of {len(self.groups or self.parts)} {kind}"
        # A proven number says nothing about losses, unless proofs are compared. Without `proven`, a health check of the
        # search keeps the comparison from passing.
        proofs = self.columns == ("proven",)
        decision = replace(decision, proven=proofs and (decision.proven or not self.asked))
        return self._no_worse(decision, found, max(one.interval[1] for one in by_group))

    @property
    def share_before(self) -> float:
        """See `NoWorse.share_before`; of the first part alone if the columns are not compared together."""
        which = [self.columns.index(column) for column in (self.columns if self.together else self.parts[0][1])]
        return float(self._rows_before().reshape(-1, len(self.columns))[:, which].mean())

    def of_model(self, columns: Columns) -> NDArray[np.bool_]:
        """See `NoWorse.of_model`."""
        return np.stack([columns[name].astype(bool) for name in self.columns], 1)

    def compare(self, columns: Columns) -> OutcomeChange:
        """Pair every sample with its outcome in the baseline."""
        if not self.together:
            return self.compare_groups(columns)[0]
        return self._compare("", *self._pairs(columns))

    def compare_groups(self, columns: Columns) -> list[OutcomeChange]:
        """Return the comparisons that are judged: one a group, or one of all samples, and of each part."""
        before, now = self._pairs(columns)
        if self.groups:
            place = np.argsort(columns["id"])
            return [self._compare(name, before[place[ids]], now[place[ids]]) for name, ids in self.groups]
        found = [self._compare("", before, now)] if self.together else []
        for name, parts in self.parts:
            which = [self.columns.index(column) for column in parts]
            found.append(self._compare(name, before[:, which], now[:, which]))
        return found

    def _pairs(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return (t, c) outcomes before, and now."""
        before = self._rows_before().reshape(-1, len(self.columns))
        return before[columns["id"]], self.of_model(columns)

    def _compare(self, name: str, before: NDArray[np.bool_], now: NDArray[np.bool_]) -> OutcomeChange:
        lost, gained, n = int((before & ~now).sum()), int((now & ~before).sum()), now.size
        drop, several = before.sum(1).astype(np.int64) - now.sum(1), now.shape[1] > 1
        if several:  # outcomes of one sample depend on each other: bets on their mean, a sample at a time
            interval = betting_interval(drop / now.shape[1], MANY, self.terms.alpha)
        else:
            interval = drop_bounds(lost, gained, n, self.terms.alpha)
        return OutcomeChange(
            name=name,
            lost=lost,
            gained=gained,
            n=n,
            p_lost=sign_flip(drop) if several else mcnemar(lost, gained),
            p_gained=sign_flip(-drop) if several else mcnemar(gained, lost),
            tolerance=self.tolerance,
            alpha=self.terms.alpha if self.level is None else self.level,
            interval=interval,
            held=int(before.any(1).sum()),
            test="sign-flip" if several else "McNemar",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange:
    """How the scores of a baseline's samples changed.

    Attributes:
        fall: mean score before less the mean now.
        lost, gained: samples whose score is lower now, and higher.
        n: number of samples.
        p_lost, p_gained: one-sided p-values, by bets, of "the population's mean did not fall", and "did not rise".
        chance: the share of random swaps of before and now, sample by sample, that lose as much.
        most: the p-value by bets if every score had fallen to 0.
        tolerance: the drop that is allowed, in 0..1.
        alpha: error of a failure.
        interval: of the drop in the population, two-sided at 1 - 2 alpha.
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
    interval: Interval
    of: str = "mean score"

    @property
    def beyond(self) -> bool:
        """Return True if the mean of this set fell by more than is tolerated."""
        return self.fall > self.tolerance + _MOVED

    @property
    def worse(self) -> bool:
        """Return True if it did, and bets show that the population's mean fell as well."""
        return self.beyond and self.p_lost <= self.alpha

    @property
    def too_few(self) -> bool:
        """Return True if it did, and not even the loss of all scores would have shown it."""
        return self.beyond and self.most > self.alpha

    @property
    def unexplained(self) -> bool:
        """Return True if it did, not by chance, though bets do not show a loss of the population."""
        return self.beyond and not self.worse and self.chance <= self.alpha

    @property
    def better(self) -> bool:
        """See `BaselineChange.better`."""
        return -self.fall > self.tolerance + _MOVED and self.p_gained <= self.alpha

    def details(self) -> dict[str, Any]:
        """See `BaselineChange.details`; the drop is of the mean score."""
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
    """The claim that the mean score of a baseline's samples is no lower now, beside another claim.

    It also passes a drop beyond the tolerance if random swaps often lose as much. A drop that neither bets nor swaps
    explain, as of many scores by a little each, is inconclusive: bets must allow for rare large gains that the set
    happened not to have, so that they show less than there is.

    Attributes:
        before: (n,) float64, the baseline's scores in the data's order, each in 0..1; as in `NoWorse`.
        seed: of the order in which bets are made, and of the swaps.
        column: the column of scores.
        of: the name of their mean.
    """

    seed: int
    column: str = "score"
    of: str = "mean score"

    def of_model(self, columns: Columns) -> NDArray[np.float64]:
        """See `NoWorse.of_model`."""
        return np.asarray(columns[self.column], dtype=np.float64)

    def compare(self, columns: Columns) -> ScoreChange:
        """Pair every sample with its score in the baseline."""
        rows = self._rows_before()
        # Bets need an order that does not depend on the scores; it is the same for any order of the columns.
        order = np.random.default_rng(self.seed).permutation(len(rows))
        now = np.asarray(columns[self.column], dtype=np.float64)[np.argsort(columns["id"])][order]
        before = np.asarray(rows, dtype=np.float64)[order]
        fall = np.where(np.abs(before - now) < _MOVED, 0.0, before - now)
        return ScoreChange(
            fall=float(fall.mean()),
            lost=int((fall > 0).sum()),
            gained=int((fall < 0).sum()),
            n=len(fall),
            p_lost=p_above_zero(fall),
            p_gained=p_above_zero(-fall),
            chance=sign_flip_by_draws(fall, alpha=self.terms.alpha, seed=self.seed),
            most=p_above_zero(before),
            tolerance=self.tolerance,
            alpha=self.terms.alpha,
            interval=betting_interval(fall, MANY, self.terms.alpha),
            of=self.of,
        )

    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        found = self.compare(columns)
        if found.worse:
            return replace(
                decision, verdict=Verdict.FAILED, rule=f"worse: {found}", at_alpha=True, reasons=("baseline",)
            )
        if (found.too_few or found.unexplained) and not (self.asked and decision.verdict is Verdict.FAILED):
            why = "too few samples to tell a loss from chance" if found.too_few else "lost, and not by chance alone"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=f"{why}: {found}", reasons=("baseline",))
        return self._no_worse(decision, str(found), found.interval[1])


def sign_flip(change: NDArray[np.int64]) -> float:
    """Return the one-sided p-value of "whole-numbered changes, one a sample, sum to more than 0 by chance".

    Under the null hypothesis each sample's change is as likely as its opposite. Outcomes within a sample may depend on
    each other in any way. With changes of -1, 0 and 1 it is the exact McNemar test. A change counts by its size, so
    that a few samples that changed much do not drown in many.

    Args:
        change: (n,) outcomes that each sample lost, less those it gained.
    """
    sizes, counts = np.unique(np.abs(change[change != 0]), return_counts=True)
    lost, total = int(change[change > 0].sum()), int((sizes * counts).sum())
    if total > _LARGEST_EXACT:
        spread = float(np.sqrt((sizes.astype(float) ** 2 * counts).sum()))
        return float(norm.sf((2 * lost - total - 1) / spread))
    # The distribution of the sum of losses: a convolution of one scaled binomial for each size of change.
    sums = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        chances = np.zeros(size * count + 1)
        chances[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        sums = fftconvolve(sums, chances) if len(sums) > 1 else chances
    return float(min(1.0, max(0.0, sums[lost:].sum())))


def sign_flip_by_draws(change: NDArray[np.float64], *, alpha: float, seed: int) -> float:
    """Return the share of random sign flips of changes, one a sample, whose sum is at least the observed one.

    `sign_flip` for changes of any size, by 100 / alpha draws, 10,000 to 100,000. It is the plain share, which is 0 if
    no draw reached the sum; to reject with it add one to both counts.

    Args:
        change: (n,) loss of each sample, less its gain.
        alpha: the level at which the share will be judged.
        seed: of the draws.
    """
    size = np.abs(change[change != 0])
    if not len(size):
        return 1.0
    generator, draws = np.random.default_rng(seed), int(min(100_000, max(10_000, np.ceil(100 / alpha))))
    reached, at_once = 0, max(1, min(draws, (1 << 22) // len(size)))
    bar = (float(change.sum()) + float(size.sum())) / 2  # of the losses alone: flips leave the sum of sizes unchanged
    for start in range(0, draws, at_once):
        signs = generator.integers(0, 2, (min(at_once, draws - start), len(size)), dtype=np.int8)
        reached += int((signs @ size >= bar - 1e-9 * float(size.sum())).sum())
    return reached / draws
