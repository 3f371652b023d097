"""The claim that samples are no worse than in a baseline, beside a claim on the number itself.

Paired changes of several outcomes a sample: Fisher's randomisation test of their mean.

Verdicts against a baseline: the same samples, judged before and now.

Scores against a baseline: the same samples, scored before and now.
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
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Rule, Terms
from robustest.results import Verdict


class BaselineChange(Protocol):
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

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Rule.settled`: only where the other claim has failed is there nothing left to see."""
        settled = self.other.settle(columns, n)
        return settled if settled is not None and settled.verdict is Verdict.FAILED else None

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
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
    def compare(self, columns: Columns) -> BaselineChange:
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


_EXACT = 1 << 18
"""Sums up to which the distribution is worked out; beyond, so many samples changed that it is normal."""


def sign_flip(change: NDArray[np.int64]) -> float:
    """One-sided p-value that whole-numbered changes, one a sample, sum to more than 0 by chance.

    Under the null hypothesis each sample's change is as likely as its opposite (Fisher, The Design of Experiments,
    1935, section 21). The outcomes within a sample may depend on each other in any way. With changes of -1, 0 and 1 it
    is the exact McNemar test. A sample's change counts by its size, so that a few that changed much do not drown in
    many.

    Args:
        change: (n,) what each sample lost, less what it gained.
    """
    sizes, counts = np.unique(np.abs(change[change != 0]), return_counts=True)
    lost, total = int(change[change > 0].sum()), int((sizes * counts).sum())
    if total > _EXACT:
        spread = float(np.sqrt((sizes.astype(float) ** 2 * counts).sum()))
        return float(norm.sf((2 * lost - total - 1) / spread))
    sums = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        chances = np.zeros(size * count + 1)
        chances[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        sums = fftconvolve(sums, chances) if len(sums) > 1 else chances
    return float(min(1.0, max(0.0, sums[lost:].sum())))


def sign_flip_by_draws(change: NDArray[np.float64], *, alpha: float, seed: int) -> float:
    """The share of random sign flips of changes, one a sample, whose sum is as large as theirs.

    As `sign_flip`, for changes of any size, by draws: 100 / alpha of them, 10,000 to 100,000. It is the plain share,
    which is 0 where no draw reached the sum; to reject with it add one to both counts.

    Args:
        change: (n,) what each sample lost, less what it gained.
        alpha: the level at which the share will be judged.
        seed: of the draws.
    """
    size = np.abs(change[change != 0])
    if not len(size):
        return 1.0
    generator, draws = np.random.default_rng(seed), int(min(100_000, max(10_000, np.ceil(100 / alpha))))
    reached, at_once = 0, max(1, min(draws, (1 << 22) // len(size)))
    bar = (float(change.sum()) + float(size.sum())) / 2  # of what is lost, as flips leave the sum of sizes alone
    for start in range(0, draws, at_once):
        signs = generator.integers(0, 2, (min(at_once, draws - start), len(size)), dtype=np.int8)
        reached += int((signs @ size >= bar - 1e-9 * float(size.sum())).sum())
    return reached / draws


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeChange:
    """What became of the samples of a baseline.

    Attributes:
        name: of the group of samples that this is about; "" for all.
        lost, gained: outcomes that held only before, and only now: of samples, or of samples in several cells.
        n: number of outcomes.
        p_lost, p_gained: one-sided p-values of an exact paired test, that there are no more losses than gains but for
            chance, and no more gains than losses: McNemar's, and over several cells a sign-flip test of samples.
        tolerance: the fall from the baseline that is allowed, in 0..1.
        alpha: error allowed for a failure, which is all that may be wrong by chance: a loss that is not shown passes.
        interval: of the fall, two-sided at 1 - 2 alpha.
        held: samples that held before: no more can be lost; None where that is not known.
        test: what the p-values are of, in words.
    """

    name: str = ""
    lost: int
    gained: int
    n: int
    p_lost: float
    p_gained: float
    tolerance: float
    alpha: float
    interval: tuple[float, float]
    held: int | None = None
    test: str = "McNemar"

    @property
    def worse(self) -> bool:
        """Whether more is lost than the tolerance allows, and more than chance explains."""
        return (self.lost - self.gained) / self.n > self.tolerance and self.p_lost <= self.alpha

    @property
    def untold(self) -> bool:
        """Whether more is lost than the tolerance allows, where so few held that nothing could be called worse.

        Even if every one of them had been lost, chance would explain it at alpha.
        """
        most = self.n if self.held is None else self.held
        return (self.lost - self.gained) / self.n > self.tolerance and mcnemar(most, 0) > self.alpha

    @property
    def better(self) -> bool:
        """Whether more is gained than the tolerance, and more than chance explains: the gate can be tightened."""
        return (self.gained - self.lost) / self.n > self.tolerance and self.p_gained <= self.alpha

    def details(self) -> dict[str, Any]:
        """As `Change.details`; the drop is of the share that held."""
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
    """The claim that the samples of a baseline hold now no worse than they did then, beside another claim.

    What was lost is set against what was gained, sample by sample (McNemar, Psychometrika 1947; exact and one-sided):
    samples that did not change say nothing, so that a point lost shows where two accuracies far apart would drown it.
    It waits for every sample. Where more is lost than is tolerated of so few that chance would explain the loss of all,
    it is inconclusive. Where there are groups, each is compared by itself, and all must be no worse: what one
    lost is not made up for by what another gained. About a population it passes only where the interval of the fall is
    tolerated.

    Attributes:
        before: (n,) bool, the baseline's outcomes in the data's order, or (n, c) of c columns; None while the baseline
            is being made. For what else there is see `NoWorse`.
        groups: names and positions of the samples in each.
        columns: where outcomes are; with several, samples are compared by how many of them hold.
        parts: names and columns of parts that must be no worse each.
        together: whether all columns must be no worse together as well; else the first part is what results show.
        level: the error that each comparison may take for a failure; None means the terms' (one comparison).
    """

    groups: tuple[tuple[str, NDArray[np.int64]], ...] = ()
    columns: tuple[str, ...] = ("held",)
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    together: bool = True
    level: float | None = None

    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        """The verdict where every sample can be set against its outcome in the baseline."""
        by_group = self.compare_groups(columns)
        worse = [found for found in by_group if found.worse]
        if worse:
            rule = f"worse: {'; '.join(map(str, worse))}"
            return replace(decision, verdict=Verdict.FAILED, rule=rule, at_alpha=True, reasons=("baseline",))
        untold = [found for found in by_group if found.untold]
        if untold and (not self.asked or decision.verdict is not Verdict.FAILED):
            rule = f"too few samples to tell a loss from chance: {'; '.join(map(str, untold))}"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("baseline",))
        found = f"{self.compare(columns)}"
        if self.groups or self.parts:
            found = (
                f"{found}, no worse in any of {len(self.groups or self.parts)} {'groups' if self.groups else 'parts'}"
            )
        high = max(one.interval[1] for one in by_group)
        # A number that is proven says nothing of what was lost, unless proofs are what is compared: a health check that
        # speaks of the search keeps the comparison from passing.
        proofs = self.columns == ("proven",)
        decision = replace(decision, proven=proofs and (decision.proven or not self.asked))
        if not self.asked:
            shown = replace(
                decision, verdict=Verdict.PASSED, rule=f"no worse: {found}", at_alpha=True, reasons=("baseline",)
            )
            return self._shown(shown, high)
        passed = decision.verdict is Verdict.PASSED
        rule = f"{decision.rule}; no worse: {found}"
        return self._shown(replace(decision, rule=rule, at_alpha=decision.at_alpha or passed), high)

    @property
    def share_before(self) -> float:
        """As `NoWorse.share_before`; of the first part alone, where the columns are not compared together."""
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        which = [self.columns.index(column) for column in (self.columns if self.together else self.parts[0][1])]
        return float(self.before.reshape(-1, len(self.columns))[:, which].mean())

    def of_model(self, columns: Columns) -> NDArray[np.bool_]:
        """As `NoWorse.of_model`."""
        return np.stack([columns[name].astype(bool) for name in self.columns], 1)

    def compare(self, columns: Columns) -> OutcomeChange:
        """Pair every sample with its outcome in the baseline."""
        if not self.together:
            return self.compare_groups(columns)[0]
        before, now = self._pairs(columns)
        return self._compared("", before, now)

    def compare_groups(self, columns: Columns) -> list[OutcomeChange]:
        """The comparisons that are judged: one a group, or one of all samples, and of each part of the columns."""
        before, now = self._pairs(columns)
        if self.groups:
            place = np.argsort(columns["id"])
            return [self._compared(name, before[place[ids]], now[place[ids]]) for name, ids in self.groups]
        found = [self._compared("", before, now)] if self.together else []
        for name, parts in self.parts:
            which = [self.columns.index(column) for column in parts]
            found.append(self._compared(name, before[:, which], now[:, which]))
        return found

    def _pairs(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(t, c) outcomes before and now."""
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        now = np.stack([columns[name].astype(bool) for name in self.columns], 1)
        return self.before.reshape(-1, len(self.columns))[columns["id"]], now

    def _compared(self, name: str, before: NDArray[np.bool_], now: NDArray[np.bool_]) -> OutcomeChange:
        lost, gained, n = int((before & ~now).sum()), int((now & ~before).sum()), now.size
        fall, several = before.sum(1).astype(np.int64) - now.sum(1), now.shape[1] > 1
        wide = betting_interval(fall / now.shape[1], MANY, self.terms.alpha) if several else None
        return OutcomeChange(
            name=name,
            lost=lost,
            gained=gained,
            n=n,
            p_lost=sign_flip(fall) if several else mcnemar(lost, gained),
            p_gained=sign_flip(-fall) if several else mcnemar(gained, lost),
            tolerance=self.tolerance,
            alpha=self.terms.alpha if self.level is None else self.level,
            interval=drop_bounds(lost, gained, n, self.terms.alpha) if wide is None else wide,
            held=int(before.any(1).sum()),
            test="sign-flip" if several else "McNemar",
        )


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
