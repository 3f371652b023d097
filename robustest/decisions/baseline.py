"""Baselines: compare outcomes, sample by sample, with those of a stored run or of another model."""

# A comparison claims that a model is non-inferior: the fall of the share that holds (or of the mean score) is at most
# the tolerance. One hypothesis decides all of its verdicts, "the fall exceeds the tolerance":
#
# - About a set every sample of which was evaluated, the fall is a number: it passes or fails exactly.
# - About the population, it passes only if the upper end of the paired interval, at alpha, is tolerated, and fails only
#   if the lower end is not; between the two it is inconclusive. A test of "nothing was lost" decides neither: it fails
#   a fall that is tolerated once there are enough samples, and passes any fall if there are few.
#
# One outcome per sample: the exact interval of paired shares (see `paired`). Several outcomes, or scores: bets on the
# mean of the differences (see `bets`), and by cluster if samples were drawn in clusters. Of several groups or parts
# each must pass at alpha (an intersection-union test; Berger, Technometrics 1982), while any may fail at its part of
# alpha.

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.bets import fall_interval, values_needed
from robustest.decisions.clusters import CLUSTER, cluster_interval, clusters_of, count_clusters
from robustest.decisions.groups import places_among
from robustest.decisions.paired import paired_interval, pairs_needed
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Interval, Rule, Terms, generator
from robustest.decisions.thresholds import count_at_most
from robustest.results import Verdict
from robustest.words import number

# Scores are made of float32 numbers, so that a difference this small is rounding.
_MOVED = 1e-6
# Slack of a number that is rounded up to two digits.
_ROUNDED = 1e-9
# Digits of a fall in words: as many as show on which side of the tolerance it lies, within these.
_DIGITS = (4, 9)
# Share of samples that change, half of them for the worse, for which a usable tolerance is named.
_CHURN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """The fall of a baseline's outcomes or scores in one group or part; `name` is "" for all samples.

    Attributes:
        fall: mean before minus mean now.
        lost, gained: outcomes that held only before, and only now; or samples whose score is lower now, and higher.
        n: outcomes or scores that were compared.
        kept: True if the fall on this set is at most the tolerance, in exact arithmetic.
        scope: see `Terms`.
        interval: of the population's fall, two-sided at 1 - 2 alpha.
        low: the lower end that decides a failure, at this comparison's part of alpha.
        needed: samples like these that would decide it, about; None if none would, or their number is unknown.
        of: name of the mean of scores; "" for outcomes.
        noun: the samples, in words.
    """

    name: str = ""
    fall: float
    lost: int
    gained: int
    n: int
    tolerance: float
    kept: bool
    scope: str
    interval: Interval
    low: float
    needed: int | None = None
    of: str = ""
    noun: str = "samples"

    @property
    def verdict(self) -> Verdict:
        if self.scope == "set":
            return Verdict.PASSED if self.kept else Verdict.FAILED
        if self.interval[1] <= self.tolerance:
            return Verdict.PASSED
        return Verdict.FAILED if self.low > self.tolerance else Verdict.INCONCLUSIVE

    @property
    def better(self) -> bool:
        """True if more was won than tolerance allows to lose, and the population gained at alpha."""
        return -self.fall > self.tolerance + _MOVED and self.interval[1] < 0

    def details(self) -> dict[str, Any]:
        named = {"of": self.of} if self.of else {}
        return {
            "lost": self.lost,
            "gained": self.gained,
            "drop": self.fall,
            "drop_interval": list(self.interval),
            "scope": self.scope,
            **named,
        }

    def open_words(self, alpha: float | None = None) -> str:
        """Return what would decide a comparison that is inconclusive.

        Args:
            alpha: error of a pass, to name a tolerance that so many samples can show; None if they are not draws.
        """
        if self.fall == self.tolerance:
            words = "more of them would decide nothing, as the fall equals the tolerance"
        elif self.needed is None:
            words = "more of them could decide it"
        else:
            more = _two_digits(max(1, self.needed - self.n), up=True)
            side = "within" if self.fall < self.tolerance else "beyond"
            words = f"about {more:,} more {self.noun} like these would show that the fall is {side} the tolerance"
        if not self.tolerance:
            small = "a small fall" if alpha is None else f"{usable_tolerance(self.n, alpha)[0]:g}, say"
            words += f"; tolerance=0 passes only where a gain is shown: tolerate {small}"
        return words

    def __str__(self) -> str:
        where = f" in {self.name!r}" if self.name else ""
        what = f"the {self.of} fell" if self.of else "fell"
        sizes = ("lower", "higher") if self.of else ("lost", "gained")
        counts = f"{self.lost} {sizes[0]}, {self.gained} {sizes[1]} of {self.n}"
        fall, low, high = (_beside(value, self.tolerance) for value in (self.fall, *self.interval))
        if self.scope == "set":
            return f"{what} by {fall} on this set{where}, tolerance {self.tolerance:g} ({counts})"
        return f"{what} by {fall} [{low}, {high}]{where}, tolerance {self.tolerance:g} (population; {counts})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWorse(Rule, ABC):
    """A claim that outcomes are no worse than before, beside a claim on their share, which may fail earlier.

    The comparison needs every sample.

    Attributes:
        other: the claim on the share or mean.
        has_threshold: True if that claim has a threshold.
        before: (n, ...) the baseline's outcomes or scores in the data's order; None while the baseline is being made.
            Fewer than n rows if another model was evaluated in part: nothing passes then.
        tolerance: the largest fall allowed, in 0..1.
        terms: of the comparison.
        noun: the samples, in words.
    """

    other: Rule
    has_threshold: bool
    before: NDArray[Any] | None
    tolerance: float
    terms: Terms
    noun: str = "samples"

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
            held = (
                f"{number(self.share_before, self.tolerance)} held before, of which tolerance={self.tolerance:g} "
                "may be lost"
            )
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
    def falls(self, columns: Columns) -> list[Fall]:
        """Return the comparisons that must all pass: one per group, or one of all samples and one per part."""

    def compare(self, columns: Columns) -> Fall:
        """Pair every sample with its outcome or score in the baseline."""
        return self.falls(columns)[0]

    def proves(self, decision: Decision) -> bool:
        """Return True if proofs alone decide the comparison, as they decide the claim on the share."""
        return False

    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        """Return the decision once every sample has its pair."""
        falls = self.falls(columns)
        failed, undecided = (
            [one for one in falls if one.verdict is verdict] for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE)
        )
        of_population = self.terms.scope != "set"
        if failed:
            rule = f"worse: {'; '.join(map(str, failed))}"
            found = replace(decision, verdict=Verdict.FAILED, rule=rule, at_alpha=of_population, reasons=("baseline",))
            return self._by_cluster(found, columns)
        # A proof of the number is no proof that nothing was lost, unless the proofs themselves are compared. Without
        # `proven`, the search's health checks count and can keep the comparison from passing.
        decision = replace(decision, proven=self.proves(decision))
        if undecided:
            if self.has_threshold and decision.verdict is Verdict.FAILED:
                return decision
            alone = clusters_of(columns, self.terms) is None
            words = (f"{one}: {one.open_words(self.terms.alpha if alone else None)}" for one in undecided)
            rule = f"not decided: {'; '.join(words)}"
            rule = f"{rule}; {decision.rule}" if self.has_threshold else rule
            found = replace(
                decision, verdict=Verdict.INCONCLUSIVE, rule=rule, at_alpha=of_population, reasons=("baseline",)
            )
            return self._by_cluster(found, columns)
        rule = f"no worse: {self._tolerated(columns, falls)}"
        if self.has_threshold:
            rule = f"{decision.rule}; {rule}"
            at_alpha = decision.at_alpha or (of_population and decision.verdict is Verdict.PASSED)
            found = replace(decision, rule=rule, at_alpha=at_alpha)
        else:
            found = replace(decision, verdict=Verdict.PASSED, rule=rule, at_alpha=of_population, reasons=("baseline",))
        return self._by_cluster(found, columns)

    def _tolerated(self, columns: Columns, falls: Sequence[Fall]) -> str:
        return str(falls[0])

    def _by_cluster(self, decision: Decision, columns: Columns) -> Decision:
        clusters = clusters_of(columns, self.terms)
        # The claim on the share has counted them already, if it was decided by cluster.
        if clusters is None or (self.has_threshold and decision.clusters):
            return decision
        return count_clusters(decision, clusters)

    def _rows_before(self) -> NDArray[Any]:
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        return self.before

    def _bounds(
        self, drop: NDArray[np.float64], clusters: NDArray[np.int64] | None, level: float
    ) -> tuple[Interval, float, int | None]:
        """Return the interval of a mean fall, the lower end at `level`, and the samples that would decide it.

        Args:
            drop: (n,) falls of samples in -1..1, in an order that does not depend on them.
            clusters: (n,) of the samples, or None.
        """
        alpha, beside, needed = self.terms.alpha, self.tolerance, None
        if not len(drop):  # a group of copies of other groups' samples is empty once they are left out
            return (-1.0, 1.0), -1.0, None
        if clusters is not None:
            interval = cluster_interval(drop, clusters, -1.0, 1.0, alpha, beside=beside)
            low = interval[0]
            if level != alpha:
                low = cluster_interval(drop, clusters, -1.0, 1.0, level, beside=beside)[0]
        else:
            interval = fall_interval(drop, alpha, beside)
            low = interval[0] if level == alpha else fall_interval(drop, level, beside)[0]
            if interval[1] > beside >= low and self.terms.scope != "set":
                needed = values_needed(drop, beside, alpha if drop.mean() < beside else level)
        return interval, low, needed


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRule(NoWorse):
    """A claim that outcomes of a baseline's samples are no worse now, beside another claim.

    Attributes:
        before: (n,) bool in the data's order, or (n, c) of c columns; see `NoWorse`.
        groups: names and sample positions.
        columns: columns of outcomes; with several, samples are compared by the number that hold.
        parts: names and columns of parts, none of which may be worse.
        together: True if all columns together must be no worse either; otherwise results show the first part.
        level: error of each comparison's failure; None divides the terms' alpha by their number (Bonferroni).
    """

    groups: tuple[tuple[str, NDArray[np.int64]], ...] = ()
    columns: tuple[str, ...] = ("held",)
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    together: bool = True
    level: float | None = None

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

    def compare(self, columns: Columns) -> Fall:
        if not self.together or not self.groups:
            return self.falls(columns)[0]
        return self._compare("", *self._pairs(columns), clusters_of(columns, self.terms), self.terms.alpha)

    def falls(self, columns: Columns) -> list[Fall]:
        before, now = self._pairs(columns)
        clusters, number = clusters_of(columns, self.terms), len(self.groups) or len(self.parts) + self.together
        level = self.terms.alpha / number
        if self.level is not None and clusters is None:  # groups that share a cluster depend on each other
            level = self.level
        if self.groups:
            # Rows are in the order of evaluation, which bets need: the inverse permutation finds a sample by its
            # position in the data.
            place = np.argsort(columns["id"])
            rows = [(name, np.sort(place[ids])) for name, ids in self.groups]
            return [
                self._compare(name, before[at], now[at], None if clusters is None else clusters[at], level)
                for name, at in rows
            ]
        found = [self._compare("", before, now, clusters, level)] if self.together else []
        for name, parts in self.parts:
            which = [self.columns.index(column) for column in parts]
            found.append(self._compare(name, before[:, which], now[:, which], clusters, level))
        return found

    def proves(self, decision: Decision) -> bool:
        return self.columns == ("proven",) and (decision.proven or not self.has_threshold)

    def _tolerated(self, columns: Columns, falls: Sequence[Fall]) -> str:
        found = str(self.compare(columns))
        if self.groups or self.parts:
            kind = "groups" if self.groups else "parts"
            found = f"{found}, no worse in any of {len(self.groups or self.parts)} {kind}"
        return found

    def _pairs(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        before = self._rows_before().reshape(-1, len(self.columns))
        return before[columns["id"]], self.of_model(columns)

    def _compare(
        self,
        name: str,
        before: NDArray[np.bool_],
        now: NDArray[np.bool_],
        clusters: NDArray[np.int64] | None,
        level: float,
    ) -> Fall:
        lost, gained, n = int((before & ~now).sum()), int((now & ~before).sum()), now.size
        alpha, needed = self.terms.alpha, None
        if clusters is not None and len(np.unique(clusters)) == len(clusters):
            clusters = None  # single units are independent draws, for which bounds are narrower
        if clusters is None and now.shape[1] == 1:
            interval = paired_interval(lost, gained, n, alpha)
            low = interval[0] if level == alpha else paired_interval(lost, gained, n, level)[0]
            if interval[1] > self.tolerance >= low and self.terms.scope != "set" and n:
                within = lost - gained < self.tolerance * n
                needed = pairs_needed(lost, gained, n, self.tolerance, alpha if within else level)
        else:  # outcomes of one sample depend on each other: bets on their mean, a sample at a time
            drop = (before.sum(1).astype(np.int64) - now.sum(1)) / now.shape[1]
            interval, low, needed = self._bounds(drop, clusters, level)
        return Fall(
            name=name,
            fall=(lost - gained) / max(n, 1),
            lost=lost,
            gained=gained,
            n=n,
            tolerance=self.tolerance,
            kept=lost - gained <= count_at_most(self.tolerance, n),
            scope=self.terms.scope,
            interval=interval,
            low=low,
            needed=None if needed is None else needed * now.shape[1],
            noun=self.noun if now.shape[1] == 1 else "outcomes",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBaselineRule(NoWorse):
    """A claim that the mean score of a baseline's samples is no lower now, beside another claim.

    Attributes:
        before: (n,) float64 scores in 0..1, in the data's order; see `NoWorse`.
        seed: of the order of the bets.
        of: the name of the mean.
    """

    seed: int
    column: str = "score"
    of: str = "mean score"

    def of_model(self, columns: Columns) -> NDArray[np.float64]:
        return np.asarray(columns[self.column], dtype=np.float64)

    def falls(self, columns: Columns) -> list[Fall]:
        rows = self._rows_before()
        # Bets need an order that does not depend on the scores; it is the same for any order of the columns.
        order = generator(self.seed).permutation(len(rows))
        by_id = np.argsort(columns["id"])
        now = self.of_model(columns)[by_id][order]
        before = np.asarray(rows, dtype=np.float64)[order]
        drop = np.where(np.abs(before - now) < _MOVED, 0.0, before - now)
        clusters = None
        if clusters_of(columns, self.terms) is not None:
            clusters = np.asarray(columns[CLUSTER])[by_id][order]
            clusters = None if len(np.unique(clusters)) == len(clusters) else clusters
        interval, low, needed = self._bounds(drop, clusters, self.terms.alpha)
        total, most = math.fsum(drop.tolist()), Fraction(repr(float(self.tolerance))) * len(drop)
        return [
            Fall(
                fall=total / max(len(drop), 1),
                lost=int((drop > 0).sum()),
                gained=int((drop < 0).sum()),
                n=len(drop),
                tolerance=self.tolerance,
                kept=total <= float(most) + _MOVED * len(drop),
                scope=self.terms.scope,
                interval=interval,
                low=low,
                needed=needed,
                of=self.of,
                noun=self.noun,
            )
        ]


def usable_tolerance(n: int, alpha: float) -> tuple[float, int]:
    """Return a tolerance that n samples can show for the population, and about how many show half of it.

    Both hold where 1 sample in 20 changes, as many for the better as for the worse.

    Args:
        n: samples, >= 1.
        alpha: error of a pass.
    """
    each = max(1, round(_CHURN / 2 * n)) if n > 1 else 0
    tolerance = _two_digits(paired_interval(each, each, n, alpha)[1], up=True)
    needed = pairs_needed(each, each, n, tolerance / 2, alpha)
    return tolerance, int(_two_digits(n if needed is None else needed, up=True))


def _beside(value: float, tolerance: float) -> str:
    """Return a number with as many digits as tell it from the tolerance."""
    for digits in range(*_DIGITS):
        text = f"{value:.{digits}f}"
        if (float(text) > tolerance) == (value > tolerance) and (float(text) < tolerance) == (value < tolerance):
            return text
    return f"{value:.{_DIGITS[0]}f}"


def _two_digits(value: float, *, up: bool) -> Any:
    """Return a positive number of two digits, a whole one if the value is."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    parts = value / step
    found = (math.ceil(parts - _ROUNDED) if up else math.floor(parts)) * step
    return max(1, round(found)) if isinstance(value, int) else round(found, 12)
