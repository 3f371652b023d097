"""Baselines: compare outcomes, sample by sample, with those of a stored run or of another model."""

# A paired comparison detects a loss of one point where two separate accuracies are too uncertain. It
#
# - fails if more is lost than tolerated on this set and a paired test shows that this is not chance (error alpha);
# - is inconclusive if more is lost than tolerated, but on too few samples for any test to fail;
# - passes otherwise; for a population only if the upper bound of the drop, at alpha, is tolerated.
#
# One outcome per sample: the exact McNemar test (Psychometrika 1947). Several: the sign-flip test of their sums
# (Fisher, The Design of Experiments, 1935, section 21). Scores: bets on the mean of the differences (see `bets`).

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import binom, norm

from robustest.decisions.bets import MANY, betting_interval, p_above_zero
from robustest.decisions.drop import drop_bounds, mcnemar
from robustest.decisions.groups import places_among
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Interval, Rule, Terms, generator
from robustest.results import Verdict

# Sum of changes up to which the sign-flip distribution is computed exactly; beyond, its normal approximation is used.
_LARGEST_EXACT = 1 << 18
# Scores are sums of fractions, so that a difference this small is rounding.
_MOVED = 1e-9
# Largest denominator of scores for which all swaps are counted: 12 covers means of 1 to 4 runs on both sides.
_MOST_PARTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWorse(Rule, ABC):
    """A claim that outcomes are no worse than before, beside a claim on their share, which may fail earlier.

    The comparison needs every sample. Of several groups or parts, none may be worse.

    Attributes:
        other: the claim on the share or mean.
        has_threshold: True if that claim has a threshold.
        before: (n, ...) the baseline's outcomes or scores in the data's order; None while the baseline is being made.
            Fewer than n rows if another model was evaluated in part: nothing passes then.
        tolerance: the largest drop allowed, in 0..1.
    """

    other: Rule
    has_threshold: bool
    before: NDArray[Any] | None
    tolerance: float
    terms: Terms

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        # An early pass of the number leaves the pairs open; an early failure needs no comparison.
        early = self.other.settle(columns, n)
        return early if early is not None and early.verdict is Verdict.FAILED else None

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        decision = self.other.decide(columns, n, early)
        if early is not None and decision.verdict is Verdict.FAILED:
            return decision
        if self.before is None:
            rule = "baseline updated: there is nothing to compare with"
            passed = replace(decision, verdict=Verdict.PASSED, rule=rule, reasons=("baseline",))
            return decision if self.has_threshold else passed
        missing = ""
        if len(columns["held"]) < n:
            missing = f"{decision.rule}; the baseline needs every sample"
        elif len(self.before) < n:
            missing = f"{decision.rule}; the other model was not asked about every sample"
        elif self.tolerance >= self.share_before:
            held = f"{self.share_before:.3f} held before, of which tolerance={self.tolerance:g} may be lost"
            missing = f"no loss could exceed the tolerance: {held}"
        if not missing:
            return self._paired(decision, columns)
        if self.has_threshold and decision.verdict is Verdict.FAILED:
            return decision
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=missing, proven=False)

    def doomed(self, broken: int, n: int) -> bool:
        return self.other.doomed(broken, n)

    def among(self, kept: NDArray[np.int64]) -> NoWorse:
        before = None if self.before is None else self.before[kept[kept < len(self.before)]]
        return replace(self, other=self.other.among(kept), before=before)

    @property
    def share_before(self) -> float:
        """The baseline's mean over the samples.

        Raises:
            ValueError: there is no baseline.
        """
        return float(self._rows_before().mean())

    @abstractmethod
    def of_model(self, columns: Columns) -> NDArray[Any]:
        """Return a model's outcomes or scores, (n, ...), in the form of `before`."""

    @abstractmethod
    def compare(self, columns: Columns) -> OutcomeChange | ScoreChange:
        """Pair every sample with its outcome or score in the baseline."""

    @abstractmethod
    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        """Return the decision once every sample has its pair."""

    def _rows_before(self) -> NDArray[Any]:
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        return self.before

    def _no_worse(self, decision: Decision, found: str, high: float) -> Decision:
        """Return the decision of a comparison without a loss beyond the tolerance; `found` describes it.

        Args:
            high: the largest upper end of the drops' intervals.
        """
        if self.has_threshold:
            at_alpha = decision.at_alpha or decision.verdict is Verdict.PASSED
            decision = replace(decision, rule=f"{decision.rule}; no worse: {found}", at_alpha=at_alpha)
        else:
            decision = replace(
                decision, verdict=Verdict.PASSED, rule=f"no worse: {found}", at_alpha=True, reasons=("baseline",)
            )
        # A population may have lost more than these few samples show: its whole interval must be tolerated.
        if self.terms.scope == "set" or decision.verdict is not Verdict.PASSED or high <= self.tolerance:
            return decision
        rule = (
            f"not shown for the population: a drop of up to {high:.4f} is possible, tolerance={self.tolerance:g} is "
            f'claimed: give more samples or tolerance, or claim it for this set (scope="set"); {decision.rule}'
        )
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("baseline",))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeChange:
    """The change of a baseline's outcomes in one group or part; `name` is "" for all samples.

    Attributes:
        lost, gained: outcomes that held only before, and only now, of n.
        p_lost, p_gained: one-sided p-values of "no more losses than gains", and of the reverse.
        interval: of the drop, two-sided at 1 - 2 alpha.
        held: samples that held before, which bounds the losses; None if unknown.
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
        return (self.lost - self.gained) / self.n > self.tolerance and self.p_lost <= self.alpha

    @property
    def too_few(self) -> bool:
        """True if more is lost than tolerated, and no test could show it, even if all that held were lost."""
        most = self.n if self.held is None else self.held
        return (self.lost - self.gained) / self.n > self.tolerance and mcnemar(most, 0) > self.alpha

    @property
    def better(self) -> bool:
        return (self.gained - self.lost) / self.n > self.tolerance and self.p_gained <= self.alpha

    def details(self) -> dict[str, Any]:
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
    """A claim that outcomes of a baseline's samples are no worse now, beside another claim.

    Attributes:
        before: (n,) bool in the data's order, or (n, c) of c columns; see `NoWorse`.
        groups: names and sample positions.
        columns: columns of outcomes; with several, samples are compared by the number that hold.
        parts: names and columns of parts, none of which may be worse.
        together: True if all columns together must be no worse either; otherwise results show the first part.
        level: error of each comparison's failure; None means the terms' alpha (one comparison).
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
        if too_few and (not self.has_threshold or decision.verdict is not Verdict.FAILED):
            rule = f"too few samples to tell a loss from chance: {'; '.join(map(str, too_few))}"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("baseline",))
        found = f"{self.compare(columns)}"
        if self.groups or self.parts:
            kind = "groups" if self.groups else "parts"
            found = f"{found}, no worse in any of {len(self.groups or self.parts)} {kind}"
        # A proof of the number is no proof that nothing was lost, unless the proofs themselves are compared. Without
        # `proven`, the search's health checks count and can keep the comparison from passing.
        proofs = self.columns == ("proven",)
        decision = replace(decision, proven=proofs and (decision.proven or not self.has_threshold))
        return self._no_worse(decision, found, max(one.interval[1] for one in by_group))

    @property
    def share_before(self) -> float:
        """The baseline's mean; of the first part if the columns are not compared together."""
        which = [self.columns.index(column) for column in (self.columns if self.together else self.parts[0][1])]
        return float(self._rows_before().reshape(-1, len(self.columns))[:, which].mean())

    def among(self, kept: NDArray[np.int64]) -> BaselineRule:
        groups = tuple((name, places_among(kept, ids)) for name, ids in self.groups)
        return replace(cast("BaselineRule", NoWorse.among(self, kept)), groups=groups)

    def of_model(self, columns: Columns) -> NDArray[np.bool_]:
        return np.stack([columns[name].astype(bool) for name in self.columns], 1)

    def compare(self, columns: Columns) -> OutcomeChange:
        if not self.together:
            return self.compare_groups(columns)[0]
        return self._compare("", *self._pairs(columns))

    def compare_groups(self, columns: Columns) -> list[OutcomeChange]:
        """Return one comparison per group, or one of all samples and one per part."""
        before, now = self._pairs(columns)
        if self.groups:
            # Rows are in the order of evaluation: the inverse permutation finds a sample by its position in the data.
            place = np.argsort(columns["id"])
            return [self._compare(name, before[place[ids]], now[place[ids]]) for name, ids in self.groups]
        found = [self._compare("", before, now)] if self.together else []
        for name, parts in self.parts:
            which = [self.columns.index(column) for column in parts]
            found.append(self._compare(name, before[:, which], now[:, which]))
        return found

    def _pairs(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
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
            n=max(n, 1),  # a group of copies of other groups' samples is empty once they are left out
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
    """The change of a baseline's scores; `of` names their mean.

    Attributes:
        fall: mean score before minus the mean now.
        lost, gained: samples whose score is lower now, and higher.
        p_lost, p_gained: one-sided p-values, by bets, of "the population's mean did not fall", and "did not rise".
        chance: the share of random swaps of before and now that lose at least as much.
        most: the p-value by bets if every score had fallen to 0.
        interval: of the population's drop, two-sided at 1 - 2 alpha.
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
        return self.fall > self.tolerance + _MOVED

    @property
    def worse(self) -> bool:
        return self.beyond and self.p_lost <= self.alpha

    @property
    def too_few(self) -> bool:
        # Not even the loss of all scores would be shown by bets.
        return self.beyond and self.most > self.alpha

    @property
    def unexplained(self) -> bool:
        """True if the mean fell beyond tolerance and chance, though bets do not show a fall of the population's."""
        return self.beyond and not self.worse and self.chance <= self.alpha

    @property
    def better(self) -> bool:
        return -self.fall > self.tolerance + _MOVED and self.p_gained <= self.alpha

    def details(self) -> dict[str, Any]:
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
    """A claim that the mean score of a baseline's samples is no lower now, beside another claim.

    It also passes a drop beyond the tolerance that random swaps often reach. A drop that swaps do not explain and bets
    do not show is inconclusive.

    Attributes:
        before: (n,) float64 scores in 0..1, in the data's order; see `NoWorse`.
        seed: of the order of the bets, and of the swaps.
        swapped: (n,) falls to swap, in the order of `before`: each as likely as its opposite if nothing changed. None
            for before minus now, whose spread must be the same on both sides.
    """

    seed: int
    column: str = "score"
    of: str = "mean score"
    swapped: NDArray[np.float64] | None = None

    def of_model(self, columns: Columns) -> NDArray[np.float64]:
        return np.asarray(columns[self.column], dtype=np.float64)

    def compare(self, columns: Columns) -> ScoreChange:
        rows = self._rows_before()
        # Bets need an order that does not depend on the scores; it is the same for any order of the columns.
        order = generator(self.seed).permutation(len(rows))
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
            chance=chance_of_swaps(
                fall if self.swapped is None else self.swapped, alpha=self.terms.alpha, seed=self.seed
            ),
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
        # Bets must allow for rare large gains that this set happens to lack, so that they are weak against a small
        # loss of every score. Swaps show such a loss, but of this set only.
        if (found.too_few or found.unexplained) and not (self.has_threshold and decision.verdict is Verdict.FAILED):
            why = "too few samples to tell a loss from chance" if found.too_few else "lost, and not by chance alone"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=f"{why}: {found}", reasons=("baseline",))
        return self._no_worse(decision, str(found), found.interval[1])


def sign_flip(change: NDArray[np.int64]) -> float:
    """Return the one-sided p-value of "whole-numbered changes of samples sum to more than 0 by chance".

    Under the null hypothesis each sample's change is as likely as its opposite. For changes of -1, 0 and 1 this is the
    exact McNemar test.

    Args:
        change: (n,) outcomes that each sample lost, minus those it gained.
    """
    sizes, counts = np.unique(np.abs(change[change != 0]), return_counts=True)
    lost, total = int(change[change > 0].sum()), int((sizes * counts).sum())
    # The lost sum is (total + sum of signed sizes) / 2, and the signed sum has variance sum of squares; - 1 is the
    # continuity correction.
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


def chance_of_swaps(change: NDArray[np.float64], *, alpha: float, seed: int) -> float:
    """Return the share of swaps of before and now, of all or of random ones, that lose as much as `change` does.

    Args:
        change: (n,) loss of each sample, minus its gain, in -1..1.
        alpha, seed: see `sign_flip_by_draws`.
    """
    # Means of a few runs are whole multiples of one fraction. Their sum has a known distribution, which takes no draws.
    for parts in range(1, _MOST_PARTS + 1):
        whole = np.rint(parts * change)
        if np.abs(parts * change - whole).max(initial=0.0) <= _MOVED:
            return sign_flip(whole.astype(np.int64))
    return sign_flip_by_draws(change, alpha=alpha, seed=seed)


def sign_flip_by_draws(change: NDArray[np.float64], *, alpha: float, seed: int) -> float:
    """Return the share of random sign flips of samples' changes whose sum is at least the observed one.

    The share is 0 if no draw reached the sum; to reject by it, add one to both counts first.

    Args:
        change: (n,) loss of each sample, minus its gain.
        alpha: the level that the share will be compared with: 100 / alpha draws, 10,000 to 100,000.
    """
    size = np.abs(change[change != 0])
    if not len(size):
        return 1.0
    random, draws = generator(seed), int(min(100_000, max(10_000, np.ceil(100 / alpha))))
    # At most 4 Mi signs at once: draws are made in blocks.
    reached, at_once = 0, max(1, min(draws, (1 << 22) // len(size)))
    bar = (float(change.sum()) + float(size.sum())) / 2  # of the losses alone: flips leave the sum of sizes unchanged
    for start in range(0, draws, at_once):
        signs = random.integers(0, 2, (min(at_once, draws - start), len(size)), dtype=np.int8)
        reached += int((signs @ size >= bar - 1e-9 * float(size.sum())).sum())
    return reached / draws
