"""Cues: decide if switching a cue on and off flips few predictions, and moves recall by little."""

# Each sample is predicted with the cue on and with it off. Per cue:
#
# - flip rate: the share of samples whose prediction changes; for a cue suspected to stand for class k, of the samples
#   of other classes the share whose prediction changes to k;
# - recall drop of class k: recall with the cue on minus recall with it off.
#
# All cues and classes must hold (an intersection-union test: each upper bound may take alpha). The one that moves most
# is selected by the outcomes, so that lower bounds and early failures share alpha (Bonferroni).

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.drop import decide_drop, mcnemar
from robustest.decisions.multiplicity import holm
from robustest.decisions.paired import paired_interval
from robustest.decisions.rate import RateRule
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Rule, Terms, judge_interval
from robustest.decisions.share import ShareRule, clopper_pearson, decide_share
from robustest.errors import ConfigError
from robustest.results import Verdict

# A column with the model's number of classes in every row.
CLASSES = "classes"


def on_column(cue: int) -> str:
    """Return the column of predictions with a cue on."""
    return f"on {cue}"


def off_column(cue: int) -> str:
    """Return the column of predictions with a cue off."""
    return f"off {cue}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CuePairs:
    """Counts over the paired predictions of one cue, with K classes.

    Attributes:
        flips, of: predictions that the cue changes, and samples that count for the flip rate.
        hits: (K,) samples right with the cue on.
        lost, gained: (K,) samples right only with the cue on, and only with it off.
        members: (K,) samples.
        drawn, driven: (K,) predictions that the cue moves into a class, and out of it.
        before: (K,) predictions with the cue off.
        target: the class that the cue is suspected to stand for, or None.
        accuracy: with the cue on, and off.
    """

    flips: int
    of: int
    hits: NDArray[np.int64]
    lost: NDArray[np.int64]
    gained: NDArray[np.int64]
    members: NDArray[np.int64]
    drawn: NDArray[np.int64]
    driven: NDArray[np.int64]
    before: NDArray[np.int64]
    target: int | None
    accuracy: tuple[float, float]

    @classmethod
    def count(cls, columns: Columns, cue: int, target: int | None) -> CuePairs:
        on, off, label = (columns[name] for name in (on_column(cue), off_column(cue), "label"))
        return cls.counted(label, on, off, classes=int(columns[CLASSES][0]), target=target)

    @classmethod
    def counted(
        cls, label: NDArray[Any], on: NDArray[Any], off: NDArray[Any], *, classes: int, target: int | None
    ) -> CuePairs:
        """Count over labels, and predictions with the cue on and off, (n,) each, of a model with so many classes."""
        with_cue, without, label = (each.astype(np.int64) for each in (on, off, label))

        def by_class(of: NDArray[np.int64], where: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(of[where], minlength=classes).astype(np.int64)

        moved, every = with_cue != without, np.ones(len(label), dtype=bool)
        flips = moved if target is None else moved & (with_cue == target) & (label != target)
        return cls(
            flips=int(flips.sum()),
            of=len(label) if target is None else int((label != target).sum()),
            hits=by_class(label, with_cue == label),
            lost=by_class(label, (with_cue == label) & moved),
            gained=by_class(label, (without == label) & moved),
            members=by_class(label, every),
            drawn=by_class(with_cue, moved),
            driven=by_class(without, moved),
            before=by_class(without, every),
            target=target,
            accuracy=(float((with_cue == label).mean()), float((without == label).mean())),
        )

    @staticmethod
    def p_values(pairs: Sequence[CuePairs], chances: Sequence[float] = ()) -> list[dict[int, float]]:
        """Return by cue and class the p-value of "the cue draws no more predictions to it"; see `draw_p_values`."""
        return draw_p_values(pairs, chances)

    @property
    def classes(self) -> list[int]:
        """The classes of a claim: the target, or all classes with samples."""
        return [k for k, n in enumerate(self.members) if n] if self.target is None else [self.target]

    @property
    def most_drawn(self) -> int:
        """The class with most predictions drawn minus those driven away."""
        return max(self.classes, key=lambda k: int(self.drawn[k] - self.driven[k]))

    @property
    def flip_rate(self) -> float:
        return self.flips / max(1, self.of)

    def shares_moved(self, k: int) -> tuple[float, float]:
        """Return the share of other predictions moved into class k, and of k's predictions moved out."""
        before = int(self.before[k])
        others = int(self.before.sum()) - before
        return int(self.drawn[k]) / max(1, others), int(self.driven[k]) / max(1, before)

    def recall_drop(self, k: int) -> float:
        return int(self.lost[k] - self.gained[k]) / max(1, int(self.members[k]))

    def recall_on(self, k: int) -> float:
        return int(self.hits[k]) / max(1, int(self.members[k]))


def draw_p_values(pairs: Sequence[CuePairs], chances: Sequence[float] = ()) -> list[dict[int, float]]:
    """Return by cue and class the p-value of "the cue draws no more predictions to the class than it drives away".

    Args:
        pairs: counts by cue.
        chances: by cue, the p-value of the search that proposed it, a lower limit of its p-values; empty for 0.
    """
    places = [(cue, k) for cue, counts in enumerate(pairs) for k in counts.classes]
    raw = [mcnemar(int(pairs[cue].drawn[k]), int(pairs[cue].driven[k])) for cue, k in places]
    table: list[dict[int, float]] = [{} for _ in pairs]
    # Exact McNemar tests with Holm's correction over cues and classes.
    for (cue, k), p in zip(places, holm(raw), strict=True):
        # The search already accounts for the classes that it tried: its p-value is not corrected again.
        table[cue][k] = max(p, chances[cue]) if chances else p
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class CueRule(Rule):
    """A claim on the flip rates of cues, on the recall that relies on them, or on both; every cue must hold.

    Attributes:
        targets: for each cue the class that it is suspected to stand for, or None.
    """

    targets: tuple[int | None, ...]
    max_flip_rate: float | None
    max_recall_drop: float | None
    terms: Terms

    @property
    def by_recall(self) -> bool:
        return self.max_flip_rate is None and self.max_recall_drop is not None

    @property
    def _level(self) -> float:
        # The error of each cue's lower bound; upper bounds may take alpha (see the module's text).
        return self.terms.alpha / len(self.targets)

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """Return the first failure of a part, or the last pass."""
        if self.terms.scope != "set":
            return None
        # A class without samples so far would have to hold as well: such a claim can only fail early, and not by a part
        # that has no event yet.
        more_to_come = self.max_recall_drop is not None and None in self.targets
        found = [
            part.settle(values, n)
            for part, values in self._parts(columns)
            if not more_to_come or (values["event"] > 0 if "event" in values else ~values["held"]).any()
        ]
        failed = [one for one in found if one is not None and one.verdict is Verdict.FAILED]
        if failed:
            return min(failed, key=lambda one: one.after)
        passed = [one for one in found if one is not None]
        if not found or len(passed) < len(found) or more_to_come:
            return None
        return max(passed, key=lambda one: one.after)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        """Decide by the cue that moves most.

        Raises:
            ConfigError: the target class has no samples, or all.
        """
        if len(columns["label"]) < n:
            return self._decide_early(columns, n, early)
        found = [self.of_cue(pairs) for pairs in self.pairs(columns)]
        lead, verdict = found[self.lead(columns)], worst_of([one.verdict for one in found])
        # The cue that moves most may pass while another has too few samples: the reason is the other's.
        why = lead if lead.verdict is verdict else next(one for one in found if one.verdict is verdict)
        return replace(lead, verdict=verdict, rule=why.rule, reasons=why.reasons)

    def of_cue(self, pairs: CuePairs) -> Decision:
        """Return the decision on one cue whose every sample was evaluated."""
        flip, drops, worst = self.judge(pairs)
        verdicts = [flip.verdict] * (self.max_flip_rate is not None)
        verdicts += [drop.verdict for drop in drops.values()] * (self.max_recall_drop is not None)
        decision = replace(drops[worst] if self.by_recall else flip, verdict=worst_of(verdicts))
        # A class that is rare in the population may have no sample at all, and lose all of its recall unnoticed.
        empty = np.flatnonzero(pairs.members == 0)
        by_class = self.max_recall_drop is not None and pairs.target is None
        if self.terms.scope == "set" or not by_class or not len(empty):
            return decision
        interval = (decision.interval[0], 1.0) if self.by_recall else decision.interval
        if decision.verdict is not Verdict.PASSED:
            return replace(decision, interval=interval)
        rule = (
            f"{len(empty)} of {len(pairs.members)} classes have no samples, the first is {empty[0]}: nothing is "
            'known of their recall. Give samples of each class, name target=, or claim it of this set (scope="set")'
        )
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, interval=interval)

    def pairs(self, columns: Columns) -> list[CuePairs]:
        return [CuePairs.count(columns, cue, target) for cue, target in enumerate(self.targets)]

    def worst(self, columns: Columns, cue: int, moved: NDArray[np.bool_]) -> float:
        """Return a cue's value if every prediction in `moved`, (t,) bool, that can be a flip were one.

        Infinite if flips and recall are claimed and recall could still break the claim.
        """
        label, target = columns["label"], self.targets[cue]
        others = np.ones(len(label), dtype=bool) if target is None else label != target
        flips = float((moved & others).sum() / max(1, others.sum()))
        classes = np.unique(label if target is None else label[~others])
        drop = max((float(moved[label == k].mean()) for k in classes), default=0.0)
        if self.by_recall:
            return drop
        return flips if self.max_recall_drop is None or drop <= self.max_recall_drop else np.inf

    def lead(self, columns: Columns, among: Sequence[int] = ()) -> int:
        """Return the cue furthest beyond the claim on the evaluated samples, among some cues or all."""
        pairs = self.pairs(columns)

        def excess(counts: CuePairs) -> tuple[float, float]:
            flip = counts.flip_rate - (self.max_flip_rate or 0.0)
            drop = max(counts.recall_drop(k) for k in counts.classes) - (self.max_recall_drop or 0.0)
            if self.by_recall:
                return drop, flip
            return (flip if self.max_recall_drop is None else max(flip, drop)), flip

        return max(among or range(len(pairs)), key=lambda cue: excess(pairs[cue]))

    def judge(self, pairs: CuePairs) -> tuple[Decision, dict[int, Decision], int]:
        """Return decisions on one cue's flip rate and each class's recall drop, and the class that drops most.

        Raises:
            ConfigError: the target class has no samples, or all.
        """
        classes, scope, alpha = pairs.classes, self.terms.scope, self.terms.alpha
        if pairs.of == 0 or not all(pairs.members[k] for k in classes):
            raise ConfigError(f"Expected samples of class {pairs.target} and of others but the data lack one of them.")
        flip = decide_share(
            pairs.flips,
            pairs.of,
            self.max_flip_rate,
            at_least=False,
            scope=scope,
            alpha=alpha,
            fail_alpha=self._level,
        )
        # The cue is selected by the outcomes: its lower bound takes a share of alpha, its upper bound all of it.
        flip = replace(flip, interval=(clopper_pearson(pairs.flips, pairs.of, self._level)[0], flip.interval[1]))
        # The class with the largest drop is picked after looking, too.
        level, drops = self._level / len(classes), {}
        for k in classes:
            counts = int(pairs.lost[k]), int(pairs.gained[k]), int(pairs.members[k])
            drop = decide_drop(*counts, self.max_recall_drop, scope=scope, alpha=alpha / len(classes), fail_alpha=level)
            drops[k] = replace(drop, interval=(paired_interval(*counts, level)[0], drop.interval[1]))
        return flip, drops, max(classes, key=pairs.recall_drop)

    def _parts(self, columns: Columns) -> Iterator[tuple[ShareRule | RateRule, Columns]]:
        # Failures share their error over all classes, also those without samples so far: the number of tests must not
        # depend on the outcomes.
        classes = int(columns[CLASSES][0])
        count = len(self.targets) * (self.max_flip_rate is not None)
        count += (self.max_recall_drop is not None) * sum(classes if t is None else 1 for t in self.targets)
        terms = Terms(scope="set", alpha=self.terms.alpha, fail_alpha=self.terms.fail_alpha / max(1, count))
        for cue, target in enumerate(self.targets):
            if self.max_flip_rate is not None:
                yield self._flips(columns, cue, terms)
            if self.max_recall_drop is not None:
                for k in np.unique(columns["label"]).tolist() if target is None else [target]:
                    yield self._recall(columns, cue, k, terms)

    def _flips(self, columns: Columns, cue: int, terms: Terms) -> tuple[ShareRule | RateRule, Columns]:
        moved, target = columns[on_column(cue)] != columns[off_column(cue)], self.targets[cue]
        if target is None:
            return ShareRule(threshold=self.max_flip_rate, at_least=False, terms=terms), {"held": ~moved}
        others = columns["label"] != target
        event = (moved & others & (columns[on_column(cue)] == target)).astype(np.int64)
        return RateRule(threshold=self.max_flip_rate, terms=terms, signed=False), {"event": event, "counts": others}

    def _recall(self, columns: Columns, cue: int, k: int, terms: Terms) -> tuple[RateRule, Columns]:
        members = columns["label"] == k
        event = ((columns[on_column(cue)] == k).astype(np.int64) - (columns[off_column(cue)] == k)) * members
        return RateRule(threshold=self.max_recall_drop, terms=terms), {"event": event, "counts": members}

    def _decide_early(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        lead, every, read = self.lead(columns), self.pairs(columns), len(columns["label"])
        if early is not None:
            if self.by_recall:
                most = max(every[lead].classes, key=every[lead].recall_drop)
                part, values = self._recall(columns, lead, most, self.terms)
                return part.decide(values, n, early)
            flips, values = self._flips(columns, lead, self.terms)
            return flips.decide(values, n, early)
        rule, verdict, interval = f"budget: {read} of {n} samples looked at", Verdict.INCONCLUSIVE, (0.0, 1.0)
        if all(one.of for one in every) and not self.by_recall:
            # The cue that moves most need not have the largest upper bound: another may have fewer samples.
            ends = [[clopper_pearson(p.flips, p.of, level) for p in every] for level in (self._level, self.terms.alpha)]
            interval = max(low for low, _ in ends[0]), max(high for _, high in ends[1])
        if self.max_flip_rate is None and self.max_recall_drop is None:
            rule = f"no threshold given; {rule}"
        elif self.max_recall_drop is None and self.max_flip_rate is not None and self.terms.scope != "set":
            verdict = judge_interval(interval, self.max_flip_rate, at_least=False)
            rule = f"population, alpha = {self.terms.alpha:g} a side; {rule}"
        at_alpha = verdict is not Verdict.INCONCLUSIVE
        return Decision(verdict=verdict, rule=rule, estimate=None, interval=interval, at_alpha=at_alpha)


def worst_of(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict of claims that must all hold."""
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASSED if verdicts else Verdict.INCONCLUSIVE
