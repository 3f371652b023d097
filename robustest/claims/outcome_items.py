"""Items of recorded outcomes, or of a function that is asked: their values, clusters, copies, pairs and results."""

# The road that every claim on outcomes takes, whatever the value of an item is (its mean score, the agreement of its
# runs, its chance to succeed in k of them):
#
# 1. Each item gets one value in 0..1, whatever the number of its runs.
# 2. About the population, items of one cluster, and items of one known input, are one draw.
# 3. Two sets of outcomes are paired by the names of their items.
# 4. A function is asked in a seeded order until the claim is settled (`robustest.run.asking`).

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robustest.checks import require
from robustest.data import likely_names
from robustest.data.outcomes import TEXTS, Outcomes, digest_of
from robustest.decisions import Decision, EarlyVerdict, Rule, ShareRule
from robustest.decisions.baseline import BaselineRule, NoWorse, ScoreBaselineRule, usable_tolerance
from robustest.decisions.clusters import CLUSTER, counted_once, drawn
from robustest.decisions.mean import EARLY, ItemsRule, WholeScoreRule
from robustest.decisions.rule import Terms, generator
from robustest.errors import ConfigError, DataError, expected
from robustest.kinds import Kind
from robustest.results import NOT_PAIRED, Counterexample, Result, Verdict
from robustest.run.asking import Calls, Inquiry, Judge, Question, Replies, Score, System, ask, questions
from robustest.run.evidence import Evidence, OtherModel, Tally
from robustest.run.finish import result_of
from robustest.run.measurement import require_clusters
from robustest.run.options import MODEL_KEYS, Options, options_on
from robustest.run.purse import items_left
from robustest.settings import Settings
from robustest.words import end_of

# Largest length in characters of a text that a report quotes.
_LONGEST = 1000

Reference = Outcomes | str | PathLike[str] | Sequence[Any] | Mapping[str, Any] | System
"""Recorded outcomes, a file of them or several, their rows, or a function that is asked about items."""
Missing = Literal["fail", "drop"]


def same_system(found: Outcomes, reference: Outcomes, *, asked: bool) -> str:
    """Return why two sets of outcomes are those of one system; "" if they are not, or may be those of two.

    Two files may well be equal: of a system that answers alike each time, and has not changed.
    """
    remedy = "Give the outcomes of the system that this one is to replace"
    if found is reference:
        return f"no_worse_than= has the outcomes themselves, so that nothing can be lost. {remedy}"
    arrays = all(
        np.array_equal(getattr(found, name), getattr(reference, name), equal_nan=name == "score")
        for name in ("item", "run", "score")
    )
    answers = [list(one.texts.get("answer", ())) for one in (found, reference)]
    if not arrays or answers[0] != answers[1] or not (asked or found.source == reference.source):
        return ""
    if asked and not any(answers[0]):
        return ""
    return f"no_worse_than= gave equal answers to every item. {remedy}"


@dataclass(slots=True)
class ItemsClaim:
    """Items with one claim, in the order in which they are read, until it is settled.

    Attributes:
        places: of its items, among all sorted by name.
        early: False to read every item.
        passes: False if an early pass decides nothing, as every item is compared too.
        inputs: digest of each item's input, by place, if those of one input count once; else empty.
        clusters: numbers of all items' clusters, by place, in the order in which they are read, if clusters are draws;
            a verdict is then known at the end of a cluster only.
    """

    places: Sequence[int]
    threshold: float | None
    terms: Terms
    early: bool = True
    passes: bool = True
    inputs: Sequence[str] = ()
    clusters: NDArray[np.int64] | None = None
    settled: EarlyVerdict | None = None
    single: bool = True
    _values: list[float] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)  # of the clusters of the values
    _met: set[str] = field(default_factory=set)
    _left: Counter[int] = field(init=False)  # items of each cluster that were not read
    _largest: int | None = field(init=False)

    def __post_init__(self) -> None:
        self._left = Counter() if self.clusters is None else Counter(self.clusters[[*self.places]].tolist())
        self._largest = max(self._left.values(), default=None)

    @property
    def left(self) -> float:
        """About how many items more decide the claim."""
        if self.settled is not None:
            return 0.0
        threshold = self.threshold if self.early and self.passes else None
        return items_left(self._values, len(self.places), threshold, EARLY * self.terms.alpha)

    def add(self, place: int, value: float, *, single: bool) -> None:
        self.single = self.single and single
        if not self.inputs or self.inputs[place] not in self._met:
            self._met |= {self.inputs[place]} if self.inputs else set()
            self._values.append(value)
            self._numbers += [] if self.clusters is None else [int(self.clusters[place])]
        elif self.clusters is None:
            return
        n, of = len(self._values), len({self.inputs[one] for one in self.places} if self.inputs else self.places)
        # A rule finds the first item at which its claim was decided: for many items it need not be asked after each.
        between = n > 200 and n % (n // 100) and n < of
        if self.clusters is not None:
            self._left[int(self.clusters[place])] -= 1
            between = self._left[int(self.clusters[place])] > 0
        if not self.early or self.threshold is None or between:
            return
        rule, columns = self._rule_and_columns()
        found = rule.settle(columns, of)
        if found is not None and n < of and (self.passes or found.verdict is Verdict.FAILED):
            self.settled = found

    def skip(self, place: int) -> None:
        """Leave out an item that was read, and that says nothing of the claim."""
        if self.clusters is not None:
            self._left[int(self.clusters[place])] -= 1

    def decided(self) -> Decision:
        """Return the decision of the items that were read, in their order, at the point where they settled it."""
        rule, columns = self._rule_and_columns()
        return rule.decide(columns, len(self.places), self.settled)

    def _rule_and_columns(self) -> tuple[ItemsRule, dict[str, NDArray[Any]]]:
        score = np.array(self._values)
        rule = ItemsRule(threshold=self.threshold, terms=self.terms, single=self.single, largest=self._largest)
        clusters = {CLUSTER: np.array(self._numbers)} if self._numbers else {}
        return rule, {"score": score, "held": score >= 0.5, **clusters}


class ItemsClaims:
    """The judge of one or several claims on disjoint items, all of which must hold."""

    def __init__(
        self,
        parts: Sequence[ItemsClaim],
        value: Callable[[Sequence[float | bool | None]], float],
        *,
        yes_or_no: bool = False,
    ) -> None:
        """Set the claims.

        Args:
            value: maps the scores of an item's runs, None for a failure, to its value in 0..1.
            yes_or_no: True if values are 0 or 1, whatever the scores.
        """
        self._parts, self._value, self._yes_or_no = parts, value, yes_or_no
        self._part_of = {place: part for part in parts for place in part.places}

    def wants(self, place: int) -> bool:
        part = self._part_of.get(place)
        return part is not None and part.settled is None

    def add(self, place: int, scores: Sequence[float | bool | None]) -> bool:
        part = self._part_of[place]
        single = self._yes_or_no or (len(scores) == 1 and (scores[0] is None or isinstance(scores[0], bool)))
        part.add(place, self._value(scores), single=single)
        return self.failed or all(one.settled is not None for one in self._parts)

    @property
    def failed(self) -> bool:
        """True if one of the claims has failed."""
        return any(one.settled is not None and one.settled.verdict is Verdict.FAILED for one in self._parts)

    def left(self) -> float:
        return math.fsum(part.left for part in self._parts)

    def read_all(self) -> None:
        for part in self._parts:
            part.early, part.settled = False, None


class ComparedItems:
    """The judge of a claim on the rate, if there is one, and of one that it fell by at most a tolerance."""

    # An item's fall f, in -1..1, is the value (1 - f) / 2, so that a small mean fall is a large mean value.

    def __init__(
        self,
        rate: ItemsClaims | None,
        fall: ItemsClaim,
        before: Callable[[int], Sequence[float | bool | None]],
        value: Callable[[Sequence[float | bool | None]], float],
        *,
        changed: Callable[[], bool] = lambda: False,
        planned: int | None = None,
    ) -> None:
        """Set the claims.

        Args:
            rate: None if nothing is claimed of the rate alone.
            before: maps the place of an item to the other system's scores, None for a failure.
            value: maps the scores of an item's runs to its value in 0..1.
            changed: returns True if the other system has changed as it was asked.
            planned: number of items that are read at most, if the other system is asked: not before the rate is known
                or all were read, as nothing is compared if the rate is too low. None for recorded outcomes.
        """
        self._rate, self.fall, self._before, self._value, self._changed = rate, fall, before, value, changed
        self._planned, self._read = planned, 0
        self._rate_known = rate is None
        self._uncompared: list[tuple[int, float]] = []  # places and values

    def wants(self, place: int) -> bool:
        return True

    def add(self, place: int, scores: Sequence[float | bool | None]) -> bool:
        self._read += 1
        if self._rate is not None and not self._rate_known:
            self._rate_known = self._rate.add(place, scores)
        if self._rate is not None and self._rate.failed:
            return True
        self._uncompared.append((place, self._value(scores)))
        if self._rate_known or self._planned is None or self._read == self._planned:
            self._compare()
        settled = self.fall.settled
        known = settled is not None and (self._rate_known or settled.verdict is Verdict.FAILED)
        if known and self._changed():
            self.read_all()
            return False
        return known

    def _compare(self) -> None:
        """Compare the items that were not, until that is settled."""
        while self._uncompared and self.fall.settled is None:
            place, now = self._uncompared.pop(0)
            # An item that the other system gave no score of is not compared, as it would be easy to match.
            before = [one for one in self._before(place) if one is not None]
            if before:
                self.fall.add(place, (1 - (self._value(before) - now)) / 2, single=False)

    def read_all(self) -> None:
        self._rate_known = self._rate is None
        self.fall.early, self.fall.settled = False, None
        if self._rate is not None:
            self._rate.read_all()

    def left(self) -> float:
        return max(self.fall.left, 0.0 if self._rate is None else self._rate.left())


@dataclass(frozen=True, slots=True)
class AskedItems:
    """A function and the items that it is asked about."""

    system: System
    items: list[Question]
    score: Score
    runs: int
    calls: Calls

    @classmethod
    def of(
        cls,
        outcomes: object,
        items: object,
        *,
        score: Score | None,
        runs: int | None,
        calls: Calls | None,
        missing: str = "fail",
        least: int = 1,
        cluster: object = None,
    ) -> AskedItems | None:
        """Return the function that a call asks; None if it gives recorded outcomes.

        Args:
            least: fewest runs of an item, and their number if none is given.
            cluster: see `robustest.run.asking.questions`.

        Raises:
            ConfigError: an argument is missing, of a wrong type, or has no meaning for recorded outcomes.
            DataError: the items cannot be asked.
        """
        if isinstance(outcomes, (Outcomes, str, PathLike)) or not callable(outcomes):
            if any(one is not None for one in (items, score, runs, calls)):
                raise ConfigError(
                    expected(
                        "a function to ask about items", outcomes, "Recorded outcomes have their items and scores."
                    )
                )
            return None
        if items is None or not callable(score):
            raise ConfigError(
                expected(
                    "items, and score= as a function of an answer and its item", (items, score), "A function is asked."
                )
            )
        runs = least if runs is None else runs
        require(type(runs) is int and runs >= least, f"runs to be a whole number >= {least}", runs)
        if calls is not None and not isinstance(calls, Calls):
            raise ConfigError(expected("calls to be Calls", calls))
        require(missing == "fail", 'missing="fail" for a function that is asked', missing, "A failure counts as 0.")
        return cls(outcomes, questions(items, cluster), score, runs, calls or Calls())

    def inputs(self, terms: Terms) -> list[str]:
        """Return the digests of the items' inputs for a claim about the population in which some are equal."""
        found = [str(one.row["digest"]) for one in self.items]
        return [] if terms.scope == "set" or len(set(found)) == len(found) else found

    def drawn(self, terms: Terms, seed: int) -> NDArray[np.int64] | None:
        """Return the numbers of the items' clusters in the order in which they are asked; None without clusters."""
        ids = np.array([one.row.get("cluster", "") for one in self.items])
        return None if terms.scope == "set" or not ids[0] else drawn(ids, seed)

    def inquiry(self, settings: Settings, clusters: NDArray[np.int64] | None) -> Inquiry:
        """Return the items to read, in the order in which `ask` reads them."""
        return Inquiry(
            self.system,
            self.items,
            score=self.score,
            runs=self.runs,
            calls=self.calls,
            settings=settings,
            clusters=clusters,
        )

    def ask(
        self, judge: Judge, settings: Settings, statement: str, clusters: NDArray[np.int64] | None = None
    ) -> Replies:
        """Return the replies to the items, read until the judge knows the verdict."""
        return ask(
            self.system,
            self.items,
            score=self.score,
            runs=self.runs,
            calls=self.calls,
            settings=settings,
            judge=judge,
            statement=statement,
            clusters=clusters,
        )

    def ask_beside(
        self,
        other: Reference,
        judge: Callable[..., ComparedItems],
        settings: Settings,
        statement: str,
        clusters: NDArray[np.int64] | None,
    ) -> tuple[Replies, Outcomes | Replies | None]:
        """Return the replies to the items, and the other system's outcomes of the same items; None if it was not asked.

        Args:
            other: recorded outcomes; or a function, which is asked about the same items.
            judge: maps `before`, `changed` and `planned` to the judge (see `ComparedItems`).
        """
        if not isinstance(other, (Outcomes, str, PathLike)) and callable(other):
            inquiry = replace(self, system=other).inquiry(settings, clusters)
            with closing(iter(inquiry)) as theirs:
                # Both read the same items in the same order.
                made = judge(before=lambda _: next(theirs)[1], changed=inquiry.has_changed, planned=inquiry.planned)
                replies = self.ask(made, settings, statement, clusters)
            return replies, inquiry.replies(replies.stopped) if inquiry.read else None
        reference = as_outcomes(other)
        theirs_of, paired = self._recorded(reference)
        made = judge(before=lambda place: theirs_of[place])
        # Items that only the other outcomes have count as lost, and items of another input could hide a loss.
        made.fall.early = made.fall.early and paired
        replies = self.ask(made, settings, statement, clusters)
        if made.fall.settled is not None:
            reference = reference.rows(np.flatnonzero(np.isin(reference.item, replies.outcomes.item)))
        return replies, reference

    def _recorded(self, reference: Outcomes) -> tuple[list[list[float]], bool]:
        """Return the recorded mean score of each item, as a list of one or none, and True if all outcomes are paired.

        Args:
            reference: outcomes, in which items have the same names.
        """
        known = reference.items
        place_of = {name: place for place, name in enumerate(known.name.tolist()) if known.runs[place]}
        found: list[list[float]] = []
        paired = set(place_of) <= {one.name for one in self.items}
        for one in self.items:
            place = place_of.get(one.name)
            found.append([] if place is None else [float(known.mean[place])])
            if place is not None:
                paired = paired and str(known.digest[place]) in ("", str(one.row["digest"]))
        return found, paired


def unscored_words(items: int, missing: Missing, replies: Replies | None) -> list[str]:
    """Return the caveat on recorded items that have a run without a score."""
    if not items or replies is not None:
        return []
    return [f"{count_items(items)} without a score {'left out' if missing == 'drop' else 'counted as 0'}"]


def caveats_of(replies: Replies) -> list[str]:
    """Return the caveats on runs that failed, and of a function that changed."""
    words = ["the function's state changed as it was asked"] if replies.changed else []
    if not replies.failed:
        return words
    return [f"{replies.failed} {'run' if replies.failed == 1 else 'runs'} failed and counted as 0", *words]


def as_outcomes(given: Reference, cluster: object = None) -> Outcomes:
    """Return outcomes as they are, or those in a file, in several, or in rows.

    Args:
        cluster: the name of a column of the file, or as for `Outcomes.clustered`.

    Raises:
        ConfigError: they are neither.
        DataError: the file cannot be read.
    """
    if isinstance(given, Outcomes):
        return given.clustered(cluster)
    if isinstance(given, (str, PathLike, list, tuple, Mapping)) or hasattr(given, "columns"):
        column = isinstance(cluster, str) and cluster != "group"
        return Outcomes.read(given, cluster=cluster) if column else Outcomes.read(given).clustered(cluster)
    if callable(given):
        raise ConfigError("Expected outcomes but got a function: it is asked only where the first system is one, too.")
    raise ConfigError(expected("outcomes or the path of a file of outcomes", given, "Make them: Outcomes.of(rows)."))


@dataclass(frozen=True, slots=True)
class ItemScores:
    """Items that count, sorted by name: m names, mean scores in 0..1, groups, and a row of each in the outcomes.

    Attributes:
        single: True if every item is one run of 0 or 1.
        replies: the outcomes of a function, in the order in which they were read; None for recorded ones.
        of: number of items of which these were read; None if these are all.
        clusters: (m,) numbers of their clusters, in the order in which they are drawn; None for independent items.
        drawn: those of all items, sorted by name, that a function is asked about; else None.
        sizes: number of items, read or not, by the number of their cluster, if a function is asked.
    """

    name: NDArray[np.str_]
    mean: NDArray[np.float64]
    group: NDArray[np.str_]
    first: NDArray[np.int64]
    source: Outcomes
    single: bool
    replies: Replies | None = None
    of: int | None = None
    clusters: NDArray[np.int64] | None = None
    drawn: NDArray[np.int64] | None = None
    sizes: Mapping[int, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return len(self.name)

    @property
    def total(self) -> int:
        if self.of is not None:
            return self.of
        return self.n if self.replies is None else len(self.replies.names)

    def part(self, which: NDArray[np.bool_], places: Sequence[int] | None = None) -> ItemScores:
        """Return some of the items; `places` are those of all items, read or not, of which they are asked."""
        of = None if places is None or self.drawn is None else self.drawn[[*places]].tolist()
        return replace(
            self,
            name=self.name[which],
            mean=self.mean[which],
            group=self.group[which],
            first=self.first[which],
            of=None if places is None else len(places),
            clusters=None if self.clusters is None else self.clusters[which],
            sizes=self.sizes if of is None else Counter(of),
        )

    def in_clusters(self, terms: Terms, seed: int, every: NDArray[np.int64] | None) -> ItemScores:
        """Return the items with the clusters that a claim about the population counts, if there are any.

        Args:
            every: numbers of the clusters of all items that a function is asked about; None for recorded outcomes.
        """
        ids = self.source.cluster[self.first]
        if terms.scope == "set" or not ids[0]:
            return self
        if self.replies is None or every is None:
            return replace(self, clusters=drawn(ids, seed))
        mine = np.searchsorted(np.array(self.replies.names), self.name)
        return replace(self, clusters=every[mine], drawn=every, sizes=Counter(every.tolist()))

    def columns(self, seed: int) -> dict[str, NDArray[Any]]:
        order, places = self._order(seed)
        columns = {"held": (self.mean >= 0.5)[order], "score": self.mean[order], "id": places}
        return columns if self.clusters is None else {**columns, CLUSTER: self.clusters[order]}

    def _order(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the items in the order in which they count, and the position of each among all."""
        if self.replies is None:
            # Bets depend on the order of the values: a seeded one of the sorted names is the same for any order of
            # rows.
            order = places = generator(seed).permutation(self.n)
        else:
            rank = np.empty(len(self.replies.names), dtype=np.int64)
            rank[self.replies.places] = np.arange(len(self.replies.places))
            mine = np.searchsorted(np.array(self.replies.names), self.name)
            order = np.argsort(rank[mine])
            places = mine[order]
        return order, places

    def lowest(self, most: int) -> tuple[Counterexample, ...]:
        """Return the items of the lowest values below 1, `most` of them, with their names, scores and texts."""
        found, texts = [], self.source.texts
        names = self.name if self.replies is None else np.array(self.replies.names)
        for place in np.argsort(self.mean, kind="stable")[:most].tolist():
            if self.mean[place] < 1:
                row = int(self.first[place])
                index = place if self.replies is None else int(np.searchsorted(names, self.name[place]))
                parts = [f"item {str(self.name[place])!r}, score {self.mean[place]:.3g}"]
                parts += [
                    f"{name} {_excerpt(texts[name][row])}" for name in TEXTS if texts.get(name) and texts[name][row]
                ]
                found.append(Counterexample(index=index, label=-1, clean=-1, predicted=-1, answer="; ".join(parts)))
        return tuple(found)

    def decided(self, at_least: float | None, terms: Terms, seed: int, early: EarlyVerdict | None) -> Decision:
        """Return the decision, with the reason why reading stopped before the verdict.

        About the population items of one known input are one draw, and so are those of one cluster.
        """
        decision = self._decided(self._whole(self.columns(seed)), self.total, at_least, terms, early)
        once = None if terms.scope == "set" else self._once(at_least, terms, seed)
        if once is not None:
            found = counted_once(decision, once[0], "items of one input counted once")
            unshown = decision.verdict is Verdict.PASSED and found.verdict is Verdict.INCONCLUSIVE
            decision = of_one_input(found, self.n, once[1]) if unshown else found
        if self.replies is None or not self.replies.stopped or decision.verdict is not Verdict.INCONCLUSIVE:
            return decision
        return replace(decision, rule=f"{self.replies.stopped}; {decision.rule}", reasons=("budget",))

    def _decided(
        self,
        columns: dict[str, NDArray[Any]],
        total: int,
        at_least: float | None,
        terms: Terms,
        early: EarlyVerdict | None,
    ) -> Decision:
        if not len(columns["held"]):
            nothing = "no cluster was asked about as a whole"
            return Decision(verdict=Verdict.INCONCLUSIVE, rule=nothing, estimate=None, interval=(0.0, 1.0))
        return number_rule(self, at_least, terms).decide(columns, total, early)

    def _whole(self, columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return columns without the cluster that was asked about in part, if there is one."""
        if self.replies is None or self.clusters is None:
            return columns
        read = Counter(self.clusters.tolist())
        parts = [number for number, count in read.items() if count < self.sizes[number]]
        whole = ~np.isin(columns[CLUSTER], parts)
        return {name: column[whole] for name, column in columns.items()}

    def _once(self, at_least: float | None, terms: Terms, seed: int) -> tuple[Decision, int] | None:
        """Return the decision on items of which each has an input of its own, and their number; None if all have."""
        digests = self.source.digest[self.first]
        first, (mean,) = _by_input(digests, self.mean)
        if len(first) == self.n:
            return None
        if self.replies is not None:  # a verdict before the last item needs their order: the first of each input counts
            columns = self.columns(seed)
            order = self._order(seed)[0]
            kept = np.sort(_by_input(digests[order])[0])
            columns = self._whole({name: column[kept] for name, column in columns.items()})
            n, rule = self.total - (self.n - len(kept)), number_rule(self, at_least, terms)
            early = rule.settle(columns, n) if len(columns["held"]) else None
            return self._decided(columns, n, at_least, terms, early), len(kept)
        single = self.single and bool(np.isin(mean, (0.0, 1.0)).all())
        once = replace(
            self,
            name=self.name[first],
            mean=mean,
            group=self.group[first],
            first=self.first[first],
            single=single,
            clusters=None if self.clusters is None else self.clusters[first],
        )
        columns = once.columns(seed)
        return once._decided(columns, once.total, at_least, terms, None), once.n


def mean_scores(found: Outcomes, missing: Missing, replies: Replies | None = None) -> tuple[ItemScores, int]:
    """Return the items that count, and the number of items with a run without a score.

    Raises:
        DataError: none is left.
    """
    items = found.items
    gone = items.planned > items.runs
    if missing == "drop":
        mean, keep = items.mean, items.runs > 0
    else:
        mean, keep = np.nan_to_num(items.mean) * items.runs / items.planned, np.ones(len(items.name), dtype=bool)
    if not keep.any():
        raise DataError(f"Expected at least one item with a score in {found.source} but got none.")
    single = found.binary and bool((items.planned == 1).all())
    scored = ItemScores(items.name[keep], mean[keep], items.group[keep], items.first[keep], found, single, replies)
    return scored, int(gone.sum())


def _by_input(
    digests: NDArray[np.str_], *values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Return the first place of each input, and the means of values over its items; an unknown input is one of its own.

    Args:
        digests: (n,) of inputs; empty if unknown.
        values: (n,) each.
    """
    own = np.array([one or f"item {place}" for place, one in enumerate(digests.tolist())])
    _, first, place = np.unique(own, return_index=True, return_inverse=True)
    order = np.argsort(first)
    counts = np.bincount(place)
    return first[order], [(np.bincount(place, weights=one) / counts)[order] for one in values]


def of_one_input(decision: Decision, n: int, once: int) -> Decision:
    """Return an inconclusive decision: n items pass the claim, and the `once` inputs that they have do not."""
    why = (
        f"{n - once} of {n} items have the input of another, and are no draws of their own: not shown by the other "
        f'{once}. Give the digest of the whole input (digest), or claim it of these items (scope="set")'
    )
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("copies",))


def number_rule(scored: ItemScores, at_least: float | None, terms: Terms) -> ItemsRule | ShareRule | WholeScoreRule:
    """Return the rule for the mean of items' values."""
    if scored.replies is not None:
        largest = max(scored.sizes.values(), default=None)
        return ItemsRule(threshold=at_least, terms=terms, single=scored.single, largest=largest)
    if scored.single:
        return ShareRule(threshold=at_least, at_least=True, terms=terms)
    return WholeScoreRule(threshold=at_least, terms=terms)


@dataclass(frozen=True, slots=True)
class PartDecision:
    """The decision on one of several parts, all of which must hold; `n` is 0 if none of its items was asked."""

    name: str
    n: int
    mean: float
    decision: Decision


def decide_worst(parts: Sequence[PartDecision], *, whole: bool, noun: str) -> tuple[Decision, PartDecision]:
    """Return the decision on the lowest mean of parts, and the part that has it.

    Args:
        whole: True if all items were read, so that the lowest mean is known.
        noun: the parts, in words.
    """
    worst = min(parts, key=lambda one: (one.mean, one.decision.interval[0]))  # of a part that was not asked it is 1
    failed, undecided = (
        [one for one in parts if one.decision.verdict is which] for which in (Verdict.FAILED, Verdict.INCONCLUSIVE)
    )
    verdict = Verdict.FAILED if failed else Verdict.INCONCLUSIVE if undecided else Verdict.PASSED
    decision = replace(
        worst.decision,
        verdict=verdict,
        rule=(failed or undecided or [worst])[0].decision.rule
        + (f", for each of {len(parts)} {noun}" if parts[1:] else ""),
        estimate=worst.mean if whole else None,
        interval=(min(one.decision.interval[0] for one in parts), min(one.decision.interval[1] for one in parts)),
    )
    return decision, worst


Valued = Callable[[Outcomes, Missing], tuple[ItemScores, int]]
"""Maps outcomes to the values of the items that count, and the number of items with a run without a score."""


@dataclass(frozen=True, slots=True)
class ItemPairs:
    """Items of two sets of outcomes that are paired, sorted by name, with the numbers of those that are not.

    Attributes:
        now, before: (p,) mean scores in 0..1.
        lost, new: items that only the other outcomes have, and that only these have.
        changed: mean scores before of the items whose input differs.
        fewer: items with fewer runs than in the other outcomes.
        unscored: items of the other outcomes that have a run without a score.
        single: whether all are one run of 0 or 1.
        reference: the source of the other outcomes.
        inputs: (p,) digests of the items' inputs; empty if unknown.
        clusters: (p,) numbers of the items' clusters, in the order in which they are drawn; None for independent items.
    """

    now: NDArray[np.float64]
    before: NDArray[np.float64]
    lost: int
    new: int
    changed: NDArray[np.float64]
    fewer: int
    unscored: int
    single: bool
    reference: str
    inputs: NDArray[np.str_]
    clusters: NDArray[np.int64] | None

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        columns = {"held": self.now >= 0.5, "score": self.now, "id": np.arange(len(self.now))}
        return columns if self.clusters is None else {**columns, CLUSTER: self.clusters}

    def with_lost(self, before: NDArray[np.float64]) -> ItemPairs:
        """Return these pairs and more, with these mean scores before and 0 now."""
        return replace(
            self,
            now=np.concatenate([self.now, np.zeros(len(before))]),
            before=np.concatenate([self.before, before]),
            inputs=np.concatenate([self.inputs, np.full(len(before), "")]),
            clusters=_with_one_more(self.clusters, len(before)),
        )

    def once(self) -> ItemPairs:
        """Return one pair for each known input, with the means of its items' scores."""
        first, (now, before) = _by_input(self.inputs, self.now, self.before)
        if len(first) == len(self.now):
            return self
        single = self.single and bool(np.isin([now, before], (0.0, 1.0)).all())
        clusters = None if self.clusters is None else self.clusters[first]
        return replace(self, now=now, before=before, single=single, inputs=self.inputs[first], clusters=clusters)

    @classmethod
    def of(
        cls,
        found: Outcomes,
        reference: Outcomes,
        missing: Missing,
        scored: ItemScores,
        value: Valued = mean_scores,
    ) -> ItemPairs:
        """Pair the items of two sets of outcomes by their names.

        Args:
            scored: the items that were found, with their clusters.
            value: gives the items' values; those of the other outcomes with `missing="drop"`.

        Raises:
            DataError: their scores have different ranges, or they share no item.
        """
        if (found.low, found.high) != (reference.low, reference.high):
            ranges = [(one.low, one.high) for one in (found, reference)]
            raise DataError(expected("outcomes of one range of scores", ranges))
        now, _ = value(found, missing)
        # Of the other outcomes a run without a score is no zero: that would make them easier to match.
        before, unscored = value(reference, "drop")
        _, here, there = np.intersect1d(now.name, before.name, assume_unique=True, return_indices=True)
        inputs = found.digest[now.first[here]], reference.digest[before.first[there]]
        same = (inputs[0] == inputs[1]) | (inputs[0] == "") | (inputs[1] == "")
        gone = np.setdiff1d(np.arange(before.n), there)
        if not same.any():
            raise DataError(
                f"Expected items that both {found.source} and {reference.source} have, of one input, but there are "
                f"none: {len(here)} share a name. Name the items alike in both."
            )
        values = [now.mean[here][same], before.mean[there][same]]
        of_both = np.where(inputs[0] == "", inputs[1], inputs[0])[same]
        if missing == "fail":  # a candidate that gives no answer is worse, not better
            values = [np.concatenate([values[0], np.zeros(len(gone))]), np.concatenate([values[1], before.mean[gone]])]
            of_both = np.concatenate([of_both, reference.digest[before.first[gone]]])
        at_now, at_before = (
            np.searchsorted(of.items.name, one.name) for of, one in ((found, now), (reference, before))
        )
        planned = found.items.planned[at_now[here][same]], reference.items.planned[at_before[there][same]]
        clusters = None
        if scored.clusters is not None:
            clusters = scored.clusters[np.searchsorted(scored.name, now.name[here][same])]
            # Of items that are missing the cluster is unknown: they are one.
            clusters = _with_one_more(clusters, len(gone)) if missing == "fail" else clusters
        return cls(
            now=values[0],
            before=values[1],
            lost=len(gone),
            new=now.n - len(here),
            changed=before.mean[there][~same],
            fewer=int((planned[0] < planned[1]).sum()),
            unscored=unscored,
            single=now.single and before.single,
            reference=reference.source,
            inputs=of_both,
            clusters=clusters,
        )

    def caveats(self, missing: Missing) -> list[str]:
        """Return the caveats on items that are not compared."""
        words = (
            (self.lost, f"missing, {'left out' if missing == 'drop' else 'counted as 0'}"),
            (self.new, "new, not compared"),
            (len(self.changed), "of another input, not compared"),
            (self.fewer, "with fewer runs than in the other outcomes"),
            (self.unscored, "with a run that the other outcomes have no score of"),
        )
        return [f"{count_items(count)} {what}" for count, what in words if count]


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison with other outcomes.

    Attributes:
        decision: of the comparison alone.
        details: of the result, under "baseline".
        caveats: sentences for its line.
        same: as `same_system` returns it.
    """

    decision: Decision
    details: dict[str, Any]
    caveats: list[str]
    same: str

    def beside(self, decision: Decision, at_least: float | None) -> Decision:
        """Return the decision of a claim on the number and of this comparison: both must pass, one failure suffices."""
        compared, order = self.decision, (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)
        if at_least is None:
            return replace(compared, estimate=decision.estimate, interval=decision.interval)
        if decision.verdict is compared.verdict:
            at_alpha = decision.at_alpha or compared.at_alpha
            return replace(decision, rule=f"{decision.rule}; {compared.rule}", at_alpha=at_alpha)
        worst = min((decision, compared), key=lambda one: order.index(one.verdict))
        return replace(worst, estimate=decision.estimate, interval=decision.interval)


def compare(
    found: Outcomes,
    scored: ItemScores,
    other: Outcomes | Replies,
    *,
    tolerance: float,
    missing: Missing,
    terms: Terms,
    seed: int,
    value: Valued = mean_scores,
    of: str = "rate",
    early: ItemsClaim | None = None,
    shared: bool = False,
) -> Compared:
    """Return the comparison of outcomes with others, paired by the names of the items.

    Args:
        scored: the items that were found, with their clusters.
        other: recorded outcomes, or what another function answered.
        tolerance: the fall of the mean that is allowed.
        value: see `ItemPairs.of`.
        of: name of the mean of the items' values.
        early: the claim on the falls of items, if those that were read settled it (see `ComparedItems`).
        shared: True if it could have been settled before the last item, by a part of alpha.

    Raises:
        DataError: they cannot be paired.
    """
    if shared:
        terms = replace(terms, alpha=(1 - EARLY) * terms.alpha, fail_alpha=(1 - EARLY) * terms.fail_alpha)
    theirs, reference = (None, other) if isinstance(other, Outcomes) else (other, other.outcomes)
    caveats = [] if theirs is None else [f"of the other function {what}" for what in caveats_of(theirs)]
    if early is not None:  # of a function that is asked first, the rate may have taken more items
        found = found.rows(np.flatnonzero(np.isin(found.item, reference.item)))
    every_pair = pairs = ItemPairs.of(found, reference, missing, scored, value)
    rule = comparison_rule(pairs, tolerance, terms, seed, of)
    compared = rule.decide(pairs.columns, len(pairs.now), None)
    if terms.scope != "set" and (once := pairs.once()) is not pairs:
        passed, pairs = compared.verdict is Verdict.PASSED, once
        rule = comparison_rule(pairs, tolerance, terms, seed, of)
        compared = rule.decide(pairs.columns, len(pairs.now), None)
        if passed and compared.verdict is Verdict.INCONCLUSIVE:
            compared = of_one_input(compared, len(every_pair.now), len(pairs.now))
    unread = [one for one in (scored.replies, theirs) if one is not None and len(one.places) < len(one.names)]
    if early is not None:
        decided, unread = _before_the_last(early, tolerance), []
        # Of a rate no larger than the tolerance no loss is too large: the rule says so, and bets do not.
        compared = decided if decided.verdict is Verdict.FAILED or tolerance < rule.share_before else compared
    if unread:
        why = unread[0].stopped or f"max_samples: {len(unread[0].places)} of {len(unread[0].names)} items were asked"
        compared = replace(compared, verdict=Verdict.INCONCLUSIVE, rule=f"{why}; the comparison needs every item")
    if compared.verdict is Verdict.PASSED and len(pairs.changed) and missing == "fail":
        # A candidate whose failing items got another input loses nothing among the pairs. It passes only if it would
        # with the loss of all changed items.
        worst = pairs.with_lost(pairs.changed)
        if_lost = comparison_rule(worst, tolerance, terms, seed, of)
        if if_lost.decide(worst.columns, len(worst.now), None).verdict is not Verdict.PASSED:
            hidden = f"{count_items(len(pairs.changed))} of another input could hide a loss"
            why = f'{hidden}: give such items new names, or missing="drop"'
            compared = replace(compared, verdict=Verdict.INCONCLUSIVE, rule=f"{why}; {compared.rule}")
    details = {
        # Reports write "the model" before it.
        "model": f"recorded in {pairs.reference}"
        if theirs is None
        else pairs.reference.removeprefix("the answers of "),
        **rule.compare(pairs.columns).details(),
        **({} if early is None else {"drop_interval": list(compared.interval)}),
        "accuracy": float(rule.share_before),
        "pairs": len(every_pair.now),
        "missing": pairs.lost,
        "new": pairs.new,
        "changed": len(pairs.changed),
        "tolerance": tolerance,
    }
    same = same_system(found, reference, asked=theirs is not None)
    return Compared(compared, details, [*caveats, *pairs.caveats(missing)], same)


def _before_the_last(fall: ItemsClaim, tolerance: float) -> Decision:
    """Return the decision of a comparison that was settled before the last item; its interval is of the fall."""
    decision = fall.decided()
    low, high = decision.interval
    interval = 1 - 2 * high, 1 - 2 * low
    words = "no worse" if decision.verdict is Verdict.PASSED else "worse"
    least, most = (end_of(interval[above], tolerance, above=above, digits=4) for above in (False, True))
    shown = f"fell by {least} to {most}, tolerance {tolerance:g}"
    rule = f"{words}: {shown} (population; {decision.rule})"
    return replace(decision, interval=interval, estimate=None, rule=rule, reasons=("baseline",))


def _with_one_more(clusters: NDArray[np.int64] | None, items: int) -> NDArray[np.int64] | None:
    """Return the clusters with so many items more, which are one cluster."""
    if clusters is None:
        return None
    return np.concatenate([clusters, np.full(items, int(clusters.max(initial=-1)) + 1)])


def comparison_rule(pairs: ItemPairs, tolerance: float, terms: Terms, seed: int, of: str) -> NoWorse:
    """Return the rule that compares pairs of items."""
    common: dict[str, Any] = {"has_threshold": False, "tolerance": tolerance, "terms": terms, "noun": "items"}
    if pairs.single:
        rate: Rule = ShareRule(threshold=None, at_least=True, terms=terms)
        return BaselineRule(other=rate, before=pairs.before.astype(bool), **common)
    rate = WholeScoreRule(threshold=None, terms=terms)
    return ScoreBaselineRule(other=rate, before=pairs.before, **common, seed=seed, of=of)


def no_tolerance(n: int, alpha: float) -> ConfigError:
    """Return the error of a comparison about the population that tolerates nothing, with what n items can show."""
    usable, more = usable_tolerance(n, alpha)
    mend = (
        f"No number of items can show that nothing at all was lost. Where 1 item in 20 changes, {n:,} items can show "
        f"tolerance={usable:g}, and about {more:,} items {usable / 2:g}. "
        'To compare these items alone, give scope="set".'
    )
    return ConfigError(expected("a tolerance above 0 of a comparison about the population", 0.0, mend))


def _excerpt(text: str) -> str:
    """Return a text in quotes; of a long one, such as a transcript, the beginning."""
    if len(text) <= _LONGEST:
        return repr(text)
    return f"{text[:_LONGEST]!r}... ({len(text):,} characters)"


def count_items(items: int) -> str:
    """Return a number of items in words."""
    return f"{items} {'item' if items == 1 else 'items'}"


def claim_terms(options: Options, missing: str = "fail") -> tuple[Settings, Terms]:
    """Return the settings and terms of a claim on outcomes, which is about the population unless its call says else."""
    require(missing in ("fail", "drop"), 'missing="fail" or missing="drop"', missing)
    settings = replace(options_on(options, MODEL_KEYS), scope=options.get("scope") or "population")
    return settings, Terms.of(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredItems:
    """A claim on items that was measured, of which a result is made.

    Attributes:
        threshold: the value claimed; None if nothing is.
        statement: the claim in words; empty for that of the quantity.
        same: as `same_system` returns it.
        shown: the items as a report shows them; None for `scored`.
        drawn: from the population: items, items of groups, whose names are then no likely clusters, or none, if the
            claim is about each of these items.
        answers: all answers that were read; empty for those of the items.
        data: digest of the items; empty for that of their names.
        about: further keys of `robustest.run.finish.About`.
    """

    kind: Kind
    scored: ItemScores
    decision: Decision
    threshold: float | None
    details: Mapping[str, Any]
    caveats: Sequence[str]
    statement: str = ""
    same: str = ""
    shown: ItemScores | None = None
    drawn: Literal["items", "grouped items", "none"] = "items"
    answers: Sequence[str] = ()
    data: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def result(self, settings: Settings) -> Result:
        """Return the result; unless it passed, it has the lowest items as counterexamples."""
        scored, replies = self.scored, self.scored.replies
        asked: dict[str, Any] = {}
        if replies is not None:
            asked = {"calls": replies.calls, "recalled": replies.recalled, "failed": replies.failed}
            asked |= {} if replies.spent is None else {"spent": replies.spent}
        about = {"quantity": self.kind.quantities[0], "pairing": NOT_PAIRED, **self._numbered_answers(), **self.about}
        result = result_of(
            self._evidence(settings.seed),
            self.decision,
            settings,
            kind=self.kind,
            statement=self.statement or about["quantity"].state(),
            threshold=self.threshold,
            setting=f"{scored.n} items of {scored.source.source}",
            method="recorded outcomes" if replies is None else "asked",
            details={**self.details, **asked},
            caveats=[*self.caveats, *self._further_caveats(settings.scope)],
            **about,
        )
        # Clusters may be a column of the outcomes, without the option.
        result = require_clusters(result, scored.clusters)
        claimed = self.threshold is not None or "baseline" in self.details
        if not claimed or self.decision.verdict is Verdict.PASSED:
            return result
        return result.but(counterexamples=(self.shown or scored).lowest(settings.examples))

    def _evidence(self, seed: int) -> Evidence:
        scored, columns, replies = self.scored, self.scored.columns(seed), self.scored.replies
        # By the items' names `robustest compare` knows that two runs may be paired.
        names = self.data or digest_of("\0".join(scored.name.tolist() if replies is None else replies.names))
        evidence = Evidence(decision=self.decision, columns=columns, ids=columns["id"], total=scored.total, data=names)
        if replies is not None:
            tally = Tally(forward=replies.calls, seconds=replies.seconds, notes=replies.notes)
            evidence = replace(evidence, cached=replies.cached, model=replies.model, tally=tally)
        if self.same:
            evidence = replace(evidence, beside=OtherModel(model="", outcomes=None, counts={}, same=self.same))
        return evidence

    def _further_caveats(self, scope: str) -> list[str]:
        """Return the caveats on calls, and on items that may be no draws of their own."""
        scored, caveats = self.scored, []
        draws = scope == "population" and self.drawn != "none"
        if scored.replies is not None:
            caveats += caveats_of(scored.replies)
        elif draws:
            # Where these decide, the claim is inconclusive (`counted_once`).
            inputs = [one for one in scored.source.digest[scored.first].tolist() if one]
            alike = len(inputs) - len(set(inputs))
            caveats += [f"{count_items(alike)} with the input of another"] if alike else []
        if draws and scored.clusters is None:
            of_groups = likely_names.by_groups(scored.group.tolist()) if self.drawn == "items" else ""
            caveats.append(of_groups or likely_names.by_names(scored.name.tolist(), units="items"))
        return [one for one in caveats if one]

    def _numbered_answers(self) -> dict[str, NDArray[Any]]:
        """Return the argument `answers` of a result: a number for each different answer; {} where none are known."""
        texts = self.scored.source.texts.get("answer")
        given = [*self.answers] or ([texts[row] for row in self.scored.first.tolist()] if texts else [])
        return {"answers": np.unique(given, return_inverse=True)[1]} if any(given) else {}
