"""Falls of mean average precision: between samples and shifted ones, or between two models on the same images."""

# With A answers before and B answers now, of the same images, the fall is mAP(A) - mAP(B). As mAP is no mean over
# images, images cannot be paired; sets of them can:
#
# - About the set the fall is exact. Answers of equal score have no order: a claim passes only if it holds where those
#   before are in their best order and those now in their worst one (see `average_precision`).
# - About the population, the falls of disjoint sets of `BLOCK` images are independent draws in -1..1, whose mean is
#   bounded by bets. A set of images is in both values, so that what makes it hard cancels.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.average_precision import (
    ANSWERS,
    BLOCK,
    NOTHING_TO_FIND,
    ROUNDING,
    TARGETS,
    Ints,
    Matches,
    block_values,
    blocks,
    by_id,
    units_of,
)
from robustest.decisions.baseline import Fall, NoWorse
from robustest.decisions.bets import fall_interval
from robustest.decisions.clusters import CLUSTER, Sizes
from robustest.decisions.mean import ScoreRule
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    Terms,
    ThresholdRule,
    decide_early,
    judge_interval,
)
from robustest.results import Verdict
from robustest.words import number

CLEAN_ANSWERS, CLEAN_TARGETS = f"clean {ANSWERS}", f"clean {TARGETS}"
"""Columns of answers to the images as they are, and of their targets."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Matches of two sets of answers, images in the order of the data, and the units (n,) of the images."""

    before: Matches
    now: Matches
    units: Ints

    @property
    def fall(self) -> float:
        """The fall; 0 if no target counts."""
        return float(np.nan_to_num(self.before.mean() - self.now.mean()))

    @property
    def most(self) -> float:
        """The largest fall in any order of answers of equal score."""
        return float(np.nan_to_num(self.before.mean(order="best") - self.now.mean(order="worst")))

    def by_class(self) -> dict[int, float]:
        """Return the fall of each class's average precision, of classes with targets before and now."""
        was, now = self.before.by_class(), self.now.by_class()
        return {kind: float(was[kind][0].mean() - now[kind][0].mean()) for kind in was if kind in now}

    def worst_class(self, least: float) -> str:
        """Return the class that fell most, in words; "" if it fell by `least` or less."""
        falls = self.by_class()
        kind = max(falls, key=lambda one: falls[one], default=-1)
        return "" if not falls or falls[kind] <= least else f"class {kind} fell by {number(falls[kind], least)}"

    def bounds(self, alpha: float, beside: float) -> tuple[Interval, int]:
        """Return the interval of the mean fall over sets of `BLOCK` units, by bets, and the number of sets."""
        masks = blocks(self.units)
        if not masks:
            return (-1.0, 1.0), 0
        fall = block_values(self.before, masks) - block_values(self.now, masks)
        most = block_values(self.before, masks, order="best") - block_values(self.now, masks, order="worst")
        low, high = fall_interval(fall, alpha, beside)[0], fall_interval(most, alpha, beside)[1]
        return (low, high), len(masks)

    def least_before(self, alpha: float) -> float:
        """Return the lower bound of the mean value before, over sets of `BLOCK` units; 0 without a set."""
        values = block_values(self.before, blocks(self.units), order="worst")
        return (1 - fall_interval(1 - 2 * values, alpha, 0.0)[1]) / 2 if len(values) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionDropRule(ThresholdRule):
    """A claim that mean average precision falls by at most a threshold from images as they are to changed ones.

    The columns are `CLEAN_ANSWERS` and `CLEAN_TARGETS`, and `ANSWERS` and `TARGETS`.
    """

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        read = len(columns[ANSWERS])
        if read < n:
            return decide_early(self.threshold, (-1.0, 1.0), read, n, early, at_least=False, terms=self.terms)
        pair = pair_of(columns)
        if np.isnan(pair.before.mean()):
            return Decision(verdict=Verdict.INCONCLUSIVE, rule=NOTHING_TO_FIND, estimate=0.0, interval=(-1.0, 1.0))
        of_set = self.terms.scope == "set"
        interval, sets = pair.bounds(self.terms.alpha, 0.0 if self.threshold is None else self.threshold)
        about = f"mean over sets of {BLOCK} {'images' if CLUSTER not in columns else 'clusters'}"
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        reasons: tuple[str, ...] = ()
        if self.threshold is not None:
            if of_set:
                verdict = exact_verdict(pair.fall, pair.most, self.threshold)
                rule = f"certain: exact on this set; the interval is of the {about}"
                if verdict is Verdict.INCONCLUSIVE:
                    rule = no_order(pair.fall, pair.most, self.threshold)
            else:
                verdict = judge_interval(interval, self.threshold, at_least=False)
                rule = f"population: {about}, alpha = {self.terms.alpha:g} a side, by bets on {sets} of them"
            start = pair.before.mean(order="worst") if of_set else pair.least_before(self.terms.alpha)
            if verdict is Verdict.PASSED and start <= self.threshold + ROUNDING:
                verdict, reasons = Verdict.INCONCLUSIVE, ("no_fall",)
                from_start = number(start, self.threshold)
                what = "was" if of_set else "is known to have been at least"
                rule = (
                    f"nothing could have failed it: average precision {what} {from_start} before, and a fall of "
                    f"{self.threshold:g} is allowed"
                )
            elif worst := pair.worst_class(self.threshold):
                rule = f"{rule}; {worst}"
        return Decision(
            verdict=verdict,
            rule=rule,
            estimate=pair.fall,
            interval=interval,
            at_alpha=not of_set and self.threshold is not None,
            reasons=reasons,
            clusters=str(Sizes.of(pair.units)) if not of_set and CLUSTER in columns else "",
        )

    def for_part(self, terms: Terms) -> ScoreRule:
        """Return a rule that measures a part's mean score, without a claim."""
        return ScoreRule(threshold=None, terms=terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionFall(Fall):
    """A fall of mean average precision; `n`, `lost` and `gained` count classes.

    Attributes:
        most: the largest fall in any order of answers of equal score.
        worst: the class that fell most, in words, or "".
    """

    most: float
    worst: str

    @property
    def verdict(self) -> Verdict:
        if self.scope == "set":
            return exact_verdict(self.fall, self.most, self.tolerance)
        return super(PrecisionFall, self).verdict

    def open_words(self, alpha: float | None = None) -> str:
        if self.scope == "set":
            return no_order(self.fall, self.most, self.tolerance)
        return f"more sets of {BLOCK} could decide it"

    def __str__(self) -> str:
        return super(PrecisionFall, self).__str__() + (f"; {self.worst}" if self.worst else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionBaselineRule(NoWorse):
    """A claim that mean average precision is no lower than another model's on the same images, beside another claim.

    Attributes:
        before: (n, 2 R, 6) the other model's answers and then their targets, R of each, in the data's order.
    """

    @property
    def share_before(self) -> float:
        """The other model's mean average precision; 0 if no target counts."""
        return float(np.nan_to_num(_matched_halves(self._rows_before()).mean()))

    def of_model(self, columns: Columns) -> NDArray[np.float64]:
        return np.concatenate([columns[ANSWERS], columns[TARGETS]], axis=1)

    def falls(self, columns: Columns) -> list[Fall]:
        rows = by_id(columns)
        now = {name: columns[name][rows] for name in (ANSWERS, TARGETS)}
        pair = Pair(_matched_halves(self._rows_before()), Matches.of(now[ANSWERS], now[TARGETS]), _units(columns, rows))
        interval, _ = pair.bounds(self.terms.alpha, self.tolerance)
        falls = np.array(list(pair.by_class().values()))
        return [
            PrecisionFall(
                fall=pair.fall,
                lost=int((falls > ROUNDING).sum()),
                gained=int((falls < -ROUNDING).sum()),
                n=len(falls),
                tolerance=self.tolerance,
                kept=pair.most <= self.tolerance + ROUNDING,
                scope=self.terms.scope,
                interval=interval,
                low=interval[0],
                of="mean average precision",
                noun="classes",
                most=pair.most,
                worst=pair.worst_class(self.tolerance),
            )
        ]


def pair_of(columns: Columns) -> Pair:
    """Return the pair of columns of answers to images as they are and to changed ones."""
    rows = by_id(columns)
    clean, now = ((columns[a][rows], columns[t][rows]) for a, t in ((CLEAN_ANSWERS, CLEAN_TARGETS), (ANSWERS, TARGETS)))
    return Pair(Matches.of(*clean), Matches.of(*now), _units(columns, rows))


def exact_verdict(fall: float, most: float, allowed: float) -> Verdict:
    """Return the verdict about a set, of a fall and the largest one in any order of equal scores."""
    if fall > allowed + ROUNDING:
        return Verdict.FAILED
    return Verdict.PASSED if most <= allowed + ROUNDING else Verdict.INCONCLUSIVE


def no_order(fall: float, most: float, allowed: float) -> str:
    """Return why a fall that depends on the order of equal scores decides nothing."""
    return (
        f"answers of equal score have no order: the fall is {number(fall, allowed)} in that of the data, "
        f"and up to {number(most, allowed)} in others. Give scores that are not rounded"
    )


def _units(columns: Columns, rows: Ints) -> Ints:
    # Units are numbered in the random order of evaluation, in which blocks are draws.
    return units_of(columns.get(CLUSTER), len(rows))[rows]


def _matched_halves(rows: NDArray[Any]) -> Matches:
    answers, targets = np.split(rows, 2, axis=1)
    return Matches.of(answers, targets)
