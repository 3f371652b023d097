"""Mean average precision: match boxes as COCO's evaluation does, and decide if the mean is large enough."""

# For each class c and threshold t of intersection over union, answers on an image choose targets of their class in
# falling order of score: the free target with the largest overlap of at least t. Over all images, in falling order of
# score, with TP and FP the matched and unmatched answers so far and G the targets,
#
#     recall = TP / G,  precision = TP / (TP + FP),
#     AP(c, t) = mean over r in 0, .01 .. 1 of the largest precision at a recall >= r
#
# and mAP is the mean over t = .50, .55 .. .95 and over the classes that have targets (Lin et al., ECCV 2014; the
# definition of COCO's evaluation). A target is left out, and an answer on it as well, if it marks a crowd or if its
# area is outside of the size that is asked for.
#
# It is no mean over images. So:
#
# - About the set the value is exact. Answers of one score have no order: COCO takes that of the file. A claim passes
#   only if it holds in the worst order, in which precision is read only where the score changes.
# - About the population, images in random order are cut into disjoint blocks of `BLOCK` images (or clusters). The mAP
#   of blocks are independent draws in 0..1 of one distribution, so that bets bound their mean in finite samples (see
#   `bets`). What is bounded is therefore the mean mAP of sets of `BLOCK` images, which the rule says: interpolation and
#   classes that a small set lacks move it from that of a large one.
# - The interval beside the value of a set is from ten groups of its images. It decides nothing: of 200 sets each of
#   100, 200 and 1000 simulated images, at alpha = .05 a side, 7.5 to 8.5 % of the intervals lay above the value of the
#   population and 1.5 to 3.5 % below it.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.bets import fall_interval
from robustest.decisions.clusters import CLUSTER, Sizes
from robustest.decisions.distributions import student as t
from robustest.decisions.groups import places_among
from robustest.decisions.mean import ScoreRule
from robustest.decisions.multiplicity import group_level
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

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Order = Literal["given", "worst", "best"]
"""The order of answers of equal score: that of the images, or that of the smallest or largest average precision."""

# Of a value itself, and of the one that a pass rests on.
ORDERS: tuple[Order, Order] = ("given", "worst")

ANSWERS, TARGETS = "answers", "targets"
"""Columns (n, R, 6) of boxes, each left, top, right, bottom, class, and score or area.

The class of a row that holds no box is -1, that of a region without a class in which answers do not count is -2. The
area of a target is a share of its box's, negative for a crowd.
"""
OVERLAPS = np.linspace(0.5, 0.95, 10)
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
NOTHING_TO_FIND = "no image has a target: there is nothing to find"
BLOCK = 50
"""Images, or clusters, of a set whose mAP a claim about the population bounds the mean of."""

_RECALLS = np.linspace(0.0, 1.0, 101)
# Answers of an image and class that count.
_MOST = 100
ROUNDING = 1e-12
# Digits of an area in pixels: shares of a box's area are rounded numbers.
_DIGITS = 6
# Groups of the interval beside a set's value, and the fewest images or clusters in each.
_GROUPS, _EACH = 10, 10


@dataclass(frozen=True, slots=True)
class Matches:
    """Answers and targets of images after matching; S sizes as in `SIZES`, T thresholds as in `OVERLAPS`.

    Rows of answers are in falling order of score; of equal scores the earlier image's comes first.

    Attributes:
        image, kind, score: (D,) of each answer.
        right, wrong: (D, S, T) bool: matched a target that counts; matched none, and counts. Neither if left out.
        target_image, target_kind: (G,) of each target.
        counts: (G, S) bool: the target counts.
    """

    image: Ints
    kind: Ints
    score: Floats
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    target_image: Ints
    target_kind: Ints
    counts: NDArray[np.bool_]

    @classmethod
    def of(cls, answers: NDArray[Any], targets: NDArray[Any]) -> Matches:
        """Match answers (n, R, 6) to targets (n, M, 6), image by image and class by class."""
        sizes = len(SIZES)
        found: list[tuple[int, int, Floats, NDArray[np.bool_], NDArray[np.bool_]]] = []
        wanted: list[tuple[int, int, NDArray[np.bool_]]] = []
        for image, (listed, there) in enumerate(zip(answers, targets, strict=True)):
            given, own = listed[listed[:, 4] >= 0], there[there[:, 4] >= 0]
            anywhere = there[there[:, 4] < -1]
            for kind in np.unique(np.concatenate([given[:, 4], own[:, 4]])):
                rows = given[given[:, 4] == kind].astype(np.float64)
                rows = rows[np.argsort(-rows[:, 5], kind="stable")[:_MOST]]
                here = np.concatenate([own[own[:, 4] == kind], anywhere]).astype(np.float64)
                right, wrong, counts = _matched(rows, here)
                found.append((image, int(kind), rows[:, 5], right, wrong))
                wanted.append((image, int(kind), counts))
        lengths, numbers = [len(one[2]) for one in found], [len(one[2]) for one in wanted]
        none = np.zeros((0, sizes, len(OVERLAPS)), dtype=bool)
        score = np.concatenate([np.zeros(0), *(one[2] for one in found)])
        order = np.argsort(-score, kind="stable")
        return cls(
            image=np.repeat(np.array([one[0] for one in found], dtype=np.int64), lengths)[order],
            kind=np.repeat(np.array([one[1] for one in found], dtype=np.int64), lengths)[order],
            score=score[order],
            right=np.concatenate([none, *(one[3] for one in found)])[order],
            wrong=np.concatenate([none, *(one[4] for one in found)])[order],
            target_image=np.repeat(np.array([one[0] for one in wanted], dtype=np.int64), numbers),
            target_kind=np.repeat(np.array([one[1] for one in wanted], dtype=np.int64), numbers),
            counts=np.concatenate([np.zeros((0, sizes), dtype=bool), *(one[2] for one in wanted)]),
        )

    def only(self, images: NDArray[np.bool_]) -> Matches:
        """Return the matches on the images that a mask (n,) keeps."""
        at, there = images[self.image], images[self.target_image]
        return Matches(
            self.image[at],
            self.kind[at],
            self.score[at],
            self.right[at],
            self.wrong[at],
            self.target_image[there],
            self.target_kind[there],
            self.counts[there],
        )

    def by_class(self) -> dict[int, Floats]:
        """Return (S, T) the average precision of each class that has targets; NaN for a size that has none."""
        return {int(kind): self._of_class(int(kind)) for kind in self._kinds}

    def mean(self, *, order: Order = "given") -> float:
        """Return the mean average precision over all sizes; NaN if no target counts."""
        each = [self._of_class(int(kind), sizes=1, order=order).mean() for kind in self._kinds]
        return float(np.mean(each)) if each else float("nan")

    def without_answers(self, images: NDArray[np.bool_]) -> Matches:
        """Return the matches of a detector that is silent on the images that a mask (n,) marks."""
        at = ~images[self.image]
        left = {name: getattr(self, name)[at] for name in ("image", "kind", "score", "right", "wrong")}
        return replace(self, **left)

    @property
    def _kinds(self) -> Ints:
        return np.unique(self.target_kind[self.counts[:, 0]])

    def _of_class(self, kind: int, *, sizes: int = len(SIZES), order: Order = "given") -> Floats:
        at = self.kind == kind
        targets = self.counts[self.target_kind == kind, :sizes].sum(0)
        hit, missed, score = self.right[at, :sizes], self.wrong[at, :sizes], self.score[at]
        # True where the score changes after an answer, the last included.
        ends = np.append(score[1:] != score[:-1], True)[: len(score)]
        if order == "best":  # right answers come first among equals, at each size and threshold
            place = 2 * np.append(0, np.cumsum(ends)[:-1])[: len(score), None, None] + ~hit
            first = place.argsort(0, kind="stable")
            hit, missed = (np.take_along_axis(rows, first, 0) for rows in (hit, missed))
        right, wrong = (np.cumsum(rows, 0, dtype=np.float64) for rows in (hit, missed))
        if order == "worst":
            # In the worst order false answers come first among equals: then precision rises until the last of them, so
            # that it suffices to read it where the score changes.
            right, wrong = right[ends], wrong[ends]
        found = np.full((sizes, len(OVERLAPS)), np.nan)
        for size in range(sizes):
            if not targets[size]:
                continue
            for at_overlap in range(len(OVERLAPS)):
                hits, misses = right[:, size, at_overlap], wrong[:, size, at_overlap]
                precision = hits / (hits + misses + np.spacing(1))
                # The largest precision at this recall or a larger one.
                best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
                found[size, at_overlap] = best[np.searchsorted(hits / targets[size], _RECALLS, side="left")].mean()
        return found


def _matched(answers: Floats, targets: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (D, S, T) right and wrong answers, and (G, S) targets that count, of one image and class.

    Args:
        answers: (D, 6), the most confident first.
        targets: (G, 6); of negative class or area for regions that need not be found.
    """
    low, high = np.array(list(SIZES.values())).T
    crowd = (targets[:, 4] < 0) | (targets[:, 5] < 0)
    boxes = [np.prod(rows[:, 2:4] - rows[:, :2], axis=1) for rows in (answers, targets)]
    area = np.round(boxes[1] * np.abs(targets[:, 5]), _DIGITS)
    counts = ~crowd[:, None] & (area[:, None] >= low) & (area[:, None] <= high)
    shape = (len(answers), len(low), len(OVERLAPS))
    hit, left_out = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    if len(targets):
        sides = np.minimum(answers[:, None, 2:4], targets[None, :, 2:4]) - np.maximum(
            answers[:, None, :2], targets[None, :, :2]
        )
        both = np.where((sides > 0).all(2), sides.prod(2), 0.0)
        union = np.where(crowd, boxes[0][:, None], boxes[0][:, None] + boxes[1] - both)
        overlap = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
        free = np.ones((len(low), len(OVERLAPS), len(targets)), dtype=bool)
        lanes = np.ix_(np.arange(len(low)), np.arange(len(OVERLAPS)))
        for row in np.flatnonzero(overlap.max(1) >= OVERLAPS[0]):
            meets = free & (overlap[row] >= OVERLAPS[:, None])
            # A target that counts goes before one that does not; of equal overlaps the last one is taken.
            rank = np.where(meets, overlap[row] + 2.0 * counts.T[:, None, :], -1.0)
            best = rank.shape[2] - 1 - rank[:, :, ::-1].argmax(2)
            hit[row] = rank.max(2) > 0
            left_out[row] = hit[row] & ~counts.T[lanes[0], best]
            free[lanes[0], lanes[1], best] &= ~hit[row] | crowd[best]
    outside = (boxes[0][:, None] < low) | (boxes[0][:, None] > high)
    return hit & ~left_out, ~hit & ~outside[:, :, None], counts


def average_precision(answers: NDArray[Any], targets: NDArray[Any]) -> dict[str, Any]:
    """Return COCO's figures: "map", "map50", "map75", by size and by class; None where there is no target.

    Args:
        answers, targets: (n, R, 6) and (n, M, 6); see `ANSWERS`. Images are in the order that breaks ties.
    """
    return figures(Matches.of(answers, targets))


def figures(matches: Matches) -> dict[str, Any]:
    """Return the figures of `average_precision`."""
    each = matches.by_class()
    whole = np.stack(list(each.values())) if each else np.full((0, len(SIZES), len(OVERLAPS)), np.nan)

    def mean(values: Floats) -> float | None:
        known = values[~np.isnan(values)]
        return float(known.mean()) if known.size else None

    return {
        "map": matches.mean() if each else None,  # the sum in the order of a claim's own value
        "map50": mean(whole[:, 0, 0]),
        "map75": mean(whole[:, 0, 5]),
        **{f"map_{name}": mean(whole[:, at]) for at, name in enumerate(SIZES) if at},
        "map_by_class": {str(kind): mean(values[0]) for kind, values in each.items()},
    }


def in_order(columns: Columns) -> Matches:
    """Return the matches of columns, images in the order of the data."""
    rows = by_id(columns)
    return Matches.of(columns[ANSWERS][rows], columns[TARGETS][rows])


def by_id(columns: Columns) -> Ints:
    """Return (n,) the rows of columns in the order of the data."""
    return np.argsort(columns["id"]) if "id" in columns else np.arange(len(columns[ANSWERS]))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanAveragePrecision(ThresholdRule):
    """A claim that the mean average precision is at least a threshold: of the set, or of sets of `BLOCK` images."""

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        read = len(columns[ANSWERS])
        if self.terms.scope == "set" and read < n:
            return decide_early(self.threshold, (0.0, 1.0), read, n, early, at_least=True, terms=self.terms)
        # Rows are in the random order of evaluation, in which blocks are draws.
        units = units_of(columns.get(CLUSTER), read)
        if self.terms.scope == "set":
            return self._of_set(in_order(columns), units[by_id(columns)])
        matches = Matches.of(columns[ANSWERS], columns[TARGETS])
        decision = self._of_population(
            matches, units, complete=read == n, by="images" if CLUSTER not in columns else "clusters"
        )
        return replace(decision, clusters=str(Sizes.of(units))) if CLUSTER in columns else decision

    def for_part(self, terms: Terms) -> ScoreRule:
        """Return a rule that measures a part's mean score, without a claim."""
        return ScoreRule(threshold=None, terms=terms)

    def _of_set(self, matches: Matches, units: Ints) -> Decision:
        value, least = matches.mean(), matches.mean(order="worst")
        if np.isnan(value):
            rule = NOTHING_TO_FIND
            return Decision(verdict=Verdict.INCONCLUSIVE, rule=rule, estimate=0.0, interval=(0.0, 1.0))
        interval, verdict = group_interval(matches, units, self.terms.alpha), Verdict.INCONCLUSIVE
        rule = "no threshold given"
        if self.threshold is not None:
            rule, verdict = "certain: exact on this set", Verdict.PASSED
            if value < self.threshold - ROUNDING:
                verdict = Verdict.FAILED
            elif least < self.threshold - ROUNDING:
                verdict = Verdict.INCONCLUSIVE
                rule = (
                    f"answers of equal score have no order: {number(value, self.threshold)} in that of the data, "
                    f"{number(least, self.threshold)} in the worst one. Give scores that are not rounded"
                )
        return Decision(
            verdict=verdict, rule=f"{rule}; the interval is from groups of images", estimate=value, interval=interval
        )

    def _of_population(self, matches: Matches, units: Ints, *, complete: bool, by: str) -> Decision:
        masks = blocks(units)
        values = block_values(matches, masks)
        interval = (0.0, 1.0)
        if len(values):
            beside = 0.0 if self.threshold is None else 1 - 2 * self.threshold
            # The lower end is that of the worst order of equal scores, the upper end that of the data's.
            least = block_values(matches, masks, order="worst")
            low = fall_interval(1 - 2 * least, self.terms.alpha, beside)[1]
            high = fall_interval(1 - 2 * values, self.terms.alpha, beside)[0]
            interval = (1 - low) / 2, (1 - high) / 2
        estimate = float(values.mean()) if len(values) and complete else None
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None:
            verdict = judge_interval(interval, self.threshold, at_least=True)
            rule = (
                f"population: mean over sets of {BLOCK} {by}, alpha = {self.terms.alpha:g} a side, by bets on "
                f"{len(values)} of them"
            )
        return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPrecision:
    """A group of images and their mean average precision.

    Attributes:
        value: of the group's images; None if none of them has a target.
        least: the same in the worst order of equal scores.
        n: images evaluated.
        interval: of the mean over sets of `BLOCK`, at the level of all groups together.
        low: its lower end at alpha, which decides a pass.
    """

    name: str
    value: float | None
    least: float
    n: int
    interval: Interval
    low: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstGroupPrecision(ThresholdRule):
    """A claim that the mean average precision of each group is at least a threshold.

    The bounds are those of `robustest.decisions.groups`, on each group's sets of `BLOCK` images or clusters.

    Attributes:
        members: (n_g,) positions of each group's images in the data.
        disjoint: True if no image is in two groups.
    """

    names: tuple[str, ...]
    members: tuple[Ints, ...]
    disjoint: bool

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        read, terms = len(columns[ANSWERS]), self.terms
        if terms.scope == "set" and read < n:
            return decide_early(self.threshold, (0.0, 1.0), read, n, early, at_least=True, terms=terms)
        groups = self.groups(columns)
        known = [group for group in groups if group.value is not None]
        interval = min(group.low for group in groups), min(group.interval[1] for group in groups)
        estimate = min((cast("float", group.value) for group in known), default=None) if read == n else None
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None and terms.scope == "set":
            verdict, rule = Verdict.PASSED, f"certain: exact on this set, in each of {len(groups)} groups"
            if estimate is not None and estimate < self.threshold - ROUNDING:
                verdict = Verdict.FAILED
            elif len(known) < len(groups):
                verdict = Verdict.INCONCLUSIVE
                rule = f"no image of {next(one.name for one in groups if one.value is None)!r} has a target"
            elif (least := min(known, key=lambda group: group.least)).least < self.threshold - ROUNDING:
                verdict = Verdict.INCONCLUSIVE
                rule = (
                    f"answers of equal score have no order: {number(least.least, self.threshold)} in {least.name!r} "
                    "in the worst one. Give scores that are not rounded"
                )
        elif self.threshold is not None:
            verdict = judge_interval(interval, self.threshold, at_least=True)
            by = "images" if CLUSTER not in columns else "clusters"
            rule = (
                f"population: mean over sets of {BLOCK} {by}, these {len(groups)} groups at once, alpha = "
                f"{terms.alpha:g} a side, by bets"
            )
        at_alpha = terms.scope != "set" and self.threshold is not None
        return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=at_alpha)

    def for_part(self, terms: Terms) -> ScoreRule:
        """Return a rule that measures a part's mean score, without a claim."""
        return ScoreRule(threshold=None, terms=terms)

    def among(self, kept: Ints) -> WorstGroupPrecision:
        return replace(self, members=tuple(places_among(kept, ids) for ids in self.members))

    def groups(self, columns: Columns) -> list[GroupPrecision]:
        """Return the groups, the lowest value first and those without a target last."""
        rows = by_id(columns)
        ids = columns["id"][rows] if "id" in columns else rows
        matches, units = in_order(columns), units_of(columns.get(CLUSTER), len(rows))[rows]
        # Groups that share a cluster depend on each other.
        disjoint, alpha = self.disjoint and CLUSTER not in columns, self.terms.alpha
        level, found = group_level(alpha, len(self.names), disjoint=disjoint), []
        for name, own in zip(self.names, self.members, strict=True):
            mask = np.isin(ids, own)
            place = np.full(len(rows), -1)
            place[mask] = np.unique(units[mask], return_inverse=True)[1]
            masks = blocks(place)
            given, worst = (block_values(matches, masks, order=order) for order in ORDERS)
            ends = (0.0, 1.0, 0.0)
            if len(given):
                beside = 0.0 if self.threshold is None else 1 - 2 * self.threshold
                lows = [(1 - fall_interval(1 - 2 * worst, at, beside)[1]) / 2 for at in (level, alpha)]
                ends = lows[0], (1 - fall_interval(1 - 2 * given, level, beside)[0]) / 2, lows[1]
            alone = matches.only(mask)
            value, least = (alone.mean(order=order) for order in ORDERS)
            found.append(
                GroupPrecision(
                    name=name,
                    value=None if np.isnan(value) else value,
                    least=least,
                    n=int(mask.sum()),
                    interval=ends[:2],
                    low=ends[2],
                )
            )
        return sorted(found, key=lambda group: (group.value is None, group.value or 0.0, group.n))


def units_of(clusters: Ints | None, n: int) -> Ints:
    """Return (n,) the place of each image, or of its cluster, in the order in which they were drawn, from 0 on."""
    return np.arange(n) if clusters is None else np.asarray(np.unique(clusters, return_inverse=True)[1], dtype=np.int64)


def blocks(units: Ints) -> list[NDArray[np.bool_]]:
    """Return masks (n,) of disjoint blocks of `BLOCK` units (n,): images or clusters, as `units_of` numbers them."""
    whole = (int(units.max()) + 1 if len(units) else 0) // BLOCK
    return [units // BLOCK == at for at in range(whole)]


def block_values(matches: Matches, masks: list[NDArray[np.bool_]], *, order: Order = "given") -> Floats:
    """Return (b,) the mAP of each block; 0 for one without a target."""
    return np.array([np.nan_to_num(matches.only(mask).mean(order=order)) for mask in masks])


def group_interval(matches: Matches, units: Ints, alpha: float) -> Interval:
    """Return Student's interval of the population's mAP, from disjoint groups of units, about alpha.

    With fewer than 100 units (n,), which are images or clusters as `units_of` numbers them, it is 0..1.
    """
    if not len(units) or int(units.max()) + 1 < _GROUPS * _EACH:
        return 0.0, 1.0
    groups = [units % _GROUPS == at for at in range(_GROUPS)]
    # The jackknife (Quenouille, 1956) removes most of the bias of small sets, whose precision is interpolated upwards;
    # its own spread is too small for a statistic of ranks, so that the spread is that of the groups' values.
    whole = matches.mean()
    without = np.nan_to_num([matches.only(~group).mean() for group in groups])
    centre = _GROUPS * whole - (_GROUPS - 1) * float(without.mean())
    spread = block_values(matches, groups).std(ddof=1)
    half = float(t.ppf(1 - alpha, _GROUPS - 1) * spread / np.sqrt(_GROUPS))
    return max(0.0, min(whole, centre - half)), min(1.0, max(whole, centre + half))
