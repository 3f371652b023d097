"""Pairs of predictions: the same samples with a cue on and with it off, counted by class.

Claims that cues move few predictions and little recall.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.drop import decide_drop, drop_bounds, mcnemar
from robustest.decisions.multiplicity import holm
from robustest.decisions.rate import RateRule
from robustest.decisions.rule import Decision, EarlyVerdict, Terms, judge_interval
from robustest.decisions.share import ShareRule, clopper_pearson, decide_share
from robustest.errors import ConfigError
from robustest.results import Verdict

CLASSES = "classes"
"""The column that has the model's number of classes in every row."""


def on_column(cue: int) -> str:
    """The column of predictions with a cue on."""
    return f"on {cue}"


def off_column(cue: int) -> str:
    """The column of predictions with a cue off."""
    return f"off {cue}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CuePairs:
    """Counts over the paired predictions of one cue.

    Attributes:
        flips, of: predictions the cue changes, among how many samples.
        hits: (K,) by class: right with the cue on.
        lost, gained, members: (K,) by class: right only with the cue on, only with it off, samples.
        drawn, driven: (K,) predictions the cue moves into a class, and out of it.
        before: (K,) predictions of a class with the cue off.
        target: the class suspected, or None.
        accuracy: accuracies with the cue on and off.
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
    def count(cls, columns: Mapping[str, NDArray[Any]], cue: int, target: int | None) -> CuePairs:
        """The counts of one cue."""
        with_cue, without, label = (
            columns[name].astype(np.int64) for name in (on_column(cue), off_column(cue), "label")
        )
        classes = int(columns[CLASSES][0])

        def by_class(of: NDArray[np.int64], where: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(of[where], minlength=classes).astype(np.int64)

        moved = with_cue != without
        flips = moved if target is None else moved & (with_cue == target) & (label != target)
        return cls(
            flips=int(flips.sum()),
            of=len(label) if target is None else int((label != target).sum()),
            hits=by_class(label, with_cue == label),
            lost=by_class(label, (with_cue == label) & moved),
            gained=by_class(label, (without == label) & moved),
            members=by_class(label, np.ones(len(label), dtype=bool)),
            drawn=by_class(with_cue, moved),
            driven=by_class(without, moved),
            before=by_class(without, np.ones(len(label), dtype=bool)),
            target=target,
            accuracy=(float((with_cue == label).mean()), float((without == label).mean())),
        )

    @property
    def classes(self) -> list[int]:
        """The classes a claim is about: the target, or all that the data have."""
        return [k for k, n in enumerate(self.members) if n] if self.target is None else [self.target]

    @property
    def most_drawn(self) -> int:
        """The class that the cue draws most predictions to, those it drives away taken off."""
        return max(self.classes, key=lambda k: int(self.drawn[k] - self.driven[k]))

    @property
    def flip_rate(self) -> float:
        """Share of samples that flip; 0 where none counts."""
        return self.flips / max(1, self.of)

    def shares_moved(self, k: int) -> tuple[float, float]:
        """Share of other predictions that the cue moves into a class, and of the class's that it moves out of it."""
        before = int(self.before[k])
        others = int(self.before.sum()) - before
        return int(self.drawn[k]) / max(1, others), int(self.driven[k]) / max(1, before)

    def recall_drop(self, k: int) -> float:
        """Recall of a class with the cue on minus that with it off; 0 where it has no samples."""
        return int(self.lost[k] - self.gained[k]) / max(1, int(self.members[k]))

    def recall_on(self, k: int) -> float:
        """Return the recall of a class with the cue on; 0 where it has no samples."""
        return int(self.hits[k]) / max(1, int(self.members[k]))


def draw_p_values(pairs: Sequence[CuePairs], chances: Sequence[float] = ()) -> list[dict[int, float]]:
    """By cue and class, the p-value that a cue draws no more predictions to the class than it drives away.

    Exact McNemar tests, corrected by Holm's method over all cues and classes.

    Args:
        pairs: the counts of each cue.
        chances: for each cue how likely what proposed it is by chance alone: its p-value is no less. None given: 0.
            They are not corrected with the tests, for they are about the search, whose classes they account for.
    """
    places = [(cue, k) for cue, counts in enumerate(pairs) for k in counts.classes]
    raw = [mcnemar(int(pairs[cue].drawn[k]), int(pairs[cue].driven[k])) for cue, k in places]
    table: list[dict[int, float]] = [{} for _ in pairs]
    for (cue, k), p in zip(places, holm(raw), strict=True):
        table[cue][k] = max(p, chances[cue]) if chances else p
    return table


Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CueRule:
    """A claim on the flip rates of cues, on the recall that relies on them, or on both.

    It fails where it fails for one of the cues, and passes where it holds for all of them.

    Attributes:
        targets: for each cue the class it is suspected to stand for, or None.
        max_flip_rate: the flip rate claimed at most, or None.
        max_recall_drop: the recall drop claimed at most, or None.
        terms: what the verdict may rest on.
    """

    targets: tuple[int | None, ...]
    max_flip_rate: float | None
    max_recall_drop: float | None
    terms: Terms

    @property
    def by_recall(self) -> bool:
        """Whether recall alone is claimed."""
        return self.max_flip_rate is None and self.max_recall_drop is not None

    @property
    def _level(self) -> float:
        """The error of an interval's lower end: the cue that moves most is picked after looking, so that all share it.

        The upper end needs no less than alpha: the largest of several is too low only if the truly worst cue's own is.
        """
        return self.terms.alpha / len(self.targets)

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`: where one part is refuted, or all of them hold."""
        if self.terms.scope != "set":
            return None
        found = [part.settle(columns, n) for part, columns in self._parts(columns)]
        failed = [s for s in found if s is not None and s.verdict is Verdict.FAILED]
        if failed:
            return min(failed, key=lambda s: s.after)
        passed = [s for s in found if s is not None]
        # A class that was not seen yet would have to hold as well.
        more_to_come = self.max_recall_drop is not None and None in self.targets
        if not found or len(passed) < len(found) or more_to_come:
            return None
        return max(passed, key=lambda s: s.after)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`.

        Raises:
            ConfigError: there are no samples to judge on (none outside, or none of, the target class).
        """
        if len(columns["label"]) < n:
            return self._partly(columns, n, settled)
        found = [self.of_cue(pairs) for pairs in self.pairs(columns)]
        lead, verdict = found[self.lead(columns)], worst_of([one.verdict for one in found])
        # The cue that moves most may pass where another has too few samples: the reason is the other's.
        why = lead if lead.verdict is verdict else next(one for one in found if one.verdict is verdict)
        return replace(lead, verdict=verdict, rule=why.rule, reasons=why.reasons)

    def of_cue(self, pairs: CuePairs) -> Decision:
        """The verdict on one cue whose every sample was looked at.

        Raises:
            ConfigError: as for `decide`.
        """
        flip, drops, worst = self.judged(pairs)
        verdicts = [flip.verdict] * (self.max_flip_rate is not None)
        verdicts += [drop.verdict for drop in drops.values()] * (self.max_recall_drop is not None)
        decision = replace(drops[worst] if self.by_recall else flip, verdict=worst_of(verdicts))
        # A class that is rare in the population may have no sample at all, and lose all of its recall unseen.
        unseen = np.flatnonzero(pairs.members == 0)
        by_class = self.max_recall_drop is not None and pairs.target is None
        if self.terms.scope == "set" or not by_class or not len(unseen):
            return decision
        interval = (decision.interval[0], 1.0) if self.by_recall else decision.interval
        if decision.verdict is not Verdict.PASSED:
            return replace(decision, interval=interval)
        rule = (
            f"{len(unseen)} of {len(pairs.members)} classes have no samples, the first is {unseen[0]}: nothing is "
            'known of their recall. Give samples of each class, name target=, or claim it of this set (scope="set")'
        )
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, interval=interval)

    def pairs(self, columns: Columns) -> list[CuePairs]:
        """The counts of each cue."""
        return [CuePairs.count(columns, cue, target) for cue, target in enumerate(self.targets)]

    def worst(self, columns: Columns, cue: int, moved: NDArray[np.bool_]) -> float:
        """The value of a cue, were every prediction that it can change, of the samples (t,) that it moved, a flip.

        Infinite where both flips and recall are claimed and recall could still break the claim.
        """
        label, target = columns["label"], self.targets[cue]
        others = np.ones(len(label), dtype=bool) if target is None else label != target
        flips = float((moved & others).sum() / max(1, others.sum()))
        classes = np.unique(label if target is None else label[~others])
        drop = max((float(moved[label == k].mean()) for k in classes), default=0.0)
        if self.by_recall:
            return drop
        return flips if self.max_recall_drop is None or drop <= self.max_recall_drop else np.inf

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; nothing is known of a cue before it is switched."""
        return False

    def lead(self, columns: Columns, among: Sequence[int] = ()) -> int:
        """The cue that speaks most against the claim, of some or of all, on the samples looked at."""
        pairs = self.pairs(columns)
        limits = {"flip": self.max_flip_rate or 0.0, "drop": self.max_recall_drop or 0.0}

        def excess(counts: CuePairs) -> tuple[float, float]:
            flip = counts.flip_rate - limits["flip"]
            drop = max(counts.recall_drop(k) for k in counts.classes) - limits["drop"]
            if self.by_recall:
                return drop, flip
            return (flip if self.max_recall_drop is None else max(flip, drop)), flip

        return max(among or range(len(pairs)), key=lambda cue: excess(pairs[cue]))

    def judged(self, pairs: CuePairs) -> tuple[Decision, dict[int, Decision], int]:
        """The verdicts on one cue's flip rate and on each class's recall drop, and the class where it is largest.

        Raises:
            ConfigError: as for `decide`.
        """
        classes = pairs.classes
        if pairs.of == 0 or not all(pairs.members[k] for k in classes):
            raise ConfigError(f"Expected samples of class {pairs.target} and of others but the data lack one of them.")
        level = self._level
        terms = {**self.terms.of(), "fail_alpha": level}
        flip = decide_share(pairs.flips, pairs.of, self.max_flip_rate, at_least=False, **terms)
        flip = _from(clopper_pearson(pairs.flips, pairs.of, level)[0], flip)
        # The class with the largest drop is picked after looking, too.
        each = {**terms, "alpha": terms["alpha"] / len(classes), "fail_alpha": level / len(classes)}
        drops = {}
        for k in classes:
            counts = int(pairs.lost[k]), int(pairs.gained[k]), int(pairs.members[k])
            drop = decide_drop(*counts, self.max_recall_drop, **each)
            drops[k] = _from(drop_bounds(*counts, level / len(classes))[0], drop)
        return flip, drops, max(classes, key=pairs.recall_drop)

    def _parts(self, columns: Columns) -> Iterator[tuple[ShareRule | RateRule, Columns]]:
        """All that must hold, each with its columns: each cue's flip rate, and its recall drop in each class seen."""
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

    def _partly(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """The verdict where not every sample was looked at."""
        lead = self.lead(columns)
        every, read = self.pairs(columns), len(columns["label"])
        if settled is not None:
            part, values = self._flips(columns, lead, self.terms)
            if self.by_recall:
                part, values = self._recall(
                    columns, lead, max(every[lead].classes, key=every[lead].recall_drop), self.terms
                )
            return part.decide(values, n, settled)
        rule, verdict, interval = f"budget: {read} of {n} samples looked at", Verdict.INCONCLUSIVE, (0.0, 1.0)
        if all(one.of for one in every) and not self.by_recall:
            # The cue that moves most is not always the one of which most is open: others may have fewer samples.
            ends = [[clopper_pearson(p.flips, p.of, level) for p in every] for level in (self._level, self.terms.alpha)]
            interval = max(low for low, _ in ends[0]), max(high for _, high in ends[1])
        if self.max_flip_rate is None and self.max_recall_drop is None:
            rule = f"no threshold given; {rule}"
        elif self.max_recall_drop is None and self.max_flip_rate is not None and self.terms.scope != "set":
            verdict = judge_interval(interval, self.max_flip_rate, at_least=False)
            rule = f"population, alpha = {self.terms.alpha:g} a side; {rule}"
        at_alpha = verdict is not Verdict.INCONCLUSIVE
        return Decision(verdict=verdict, rule=rule, estimate=None, interval=interval, at_alpha=at_alpha)


def _from(low: float, decision: Decision) -> Decision:
    return replace(decision, interval=(low, decision.interval[1]))


def worst_of(verdicts: list[Verdict]) -> Verdict:
    """The verdict on claims of which all must hold: failed before inconclusive before passed."""
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASSED if verdicts else Verdict.INCONCLUSIVE
