"""Answers to changed items: they stay, their scores move as expected, and none of the changes has too low a rate."""

# The tests of CheckList (Ribeiro et al., ACL 2020) as claims about a population of items, on a function that is asked:
#
# 1. Every change is applied to every item before anything is asked. A change that leaves an item as it is says nothing
#    of it: the pair is left out, and the item is named.
# 2. Items are read in the seeded order, each as it is and then after each change that is still open.
# 3. Of each change a pair of an item and the changed item has one value in 0..1: the answer stayed, the score moved as
#    expected, the score, or the fall as (1 - fall) / 2. A pair that no answer could have made fail has none. One change
#    has one pair of an item, so that pairs are as independent as items are; changes of one item are never pooled.
# 4. The claim holds if it holds for every change. It passes if each change does at alpha: a false claim is false of one
#    change, which passes with probability alpha at most (an intersection-union test; Berger, Technometrics 1982). It
#    fails if one of k changes fails at alpha / k.
#
# A pass says nothing if answers that ignore the items would have passed: equal answers to all of them; answers that
# stay no more than those of different items agree; a rate before the change that cannot fall as far as is allowed.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest.checks import checked_real, require
from robustest.claims.outcome_items import (
    AskedItems,
    ItemsClaim,
    ItemScores,
    MeasuredItems,
    PartDecision,
    claim_terms,
    count_items,
    decide_worst,
    mean_scores,
)
from robustest.data.changes import Changes, named_changes
from robustest.data.outcomes import TEXTS, Outcomes, digest_of
from robustest.decisions import Decision, Terms, checked_threshold
from robustest.decisions.mean import EARLY
from robustest.decisions.paired import paired_interval
from robustest.decisions.rule import decide_whole
from robustest.errors import ConfigError, DataError, RobustestError, expected
from robustest.kinds import Kind, Quantity
from robustest.results import Result, Verdict
from robustest.run.asking import Calls, Question, Replies, Score, System, ask, questions, reading_order
from robustest.run.grounds import Changed
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.settings import Settings
from robustest.words import number

Same = Callable[[Any, Any, Any, Any], object]
"""Function from the answers to an item and the changed item, the item, and the changed item, to True, False, 0..1."""
Expectation = Literal["not_lower", "not_higher", "higher", "lower"]

INVARIANT = Kind(
    name="invariant",
    varies="inputs",
    quantities=(
        Quantity.at_least("at_least", "invariance", "share of answers that stay under each change", trivial=0),
    ),
    parameters=("changes",),
    brief=True,
)
"""The lowest share, among changes, of items whose answer stays."""

DIRECTIONAL = Kind(
    name="directional",
    varies="inputs",
    quantities=(Quantity.at_least("at_least", "share as expected", "share of scores {} under each change", trivial=0),),
    parameters=("changes", "margin"),
    brief=True,
)
"""The lowest share, among changes, of items whose score moves as expected."""

WORST_CHANGE_RATE = Kind(
    name="worst_change_rate",
    varies="inputs",
    quantities=(
        Quantity.at_least("at_least", "worst change's rate", "rate under every change", trivial=0),
        Quantity.at_most("max_fall", "worst change's fall", "fall of the rate by any change", trivial=1),
    ),
    parameters=("changes",),
    brief=True,
)
"""The lowest rate of changed items, or the largest fall of the rate, among changes."""

_EXPECTED = {
    "not_lower": "that do not become lower",
    "not_higher": "that do not become higher",
    "higher": "that become higher",
    "lower": "that become lower",
}
# Items that a line names.
_NAMED = 3
_ROUNDED = 1e-9
# Rounds in which answers are compared with those to other items.
_ROUNDS = 5


@measurement(INVARIANT)
def measure_invariant(
    system: System,
    items: object,
    changes: Changes,
    *,
    same: Same | None = None,
    at_least: float | None = None,
    calls: Calls | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure how often the answer to an item stays when the item is changed, under the worst of several changes.

    Args:
        system: function from an item to an answer, which is asked.
        items: see `robustest.run.asking.questions`.
        changes: functions from an item to the changed item, by name. A change returns None, or the item as it is, where
            it has no meaning; it returns the same each time, and may change "expected" too.
        same: function from the answers to an item and to the changed item, the item, and the changed item, to True,
            False or 0..1: whether the answer stayed. None for equal answers.
        at_least: the share claimed, in 0..1, for each change.
        calls: settings of the calls.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. Outcomes are those of pairs of an item and a change, in the order of their names. A pair without one
        of its two answers has not stayed.

    Raises:
        ConfigError: an argument is out of range or unknown, a change raised or is not repeatable, or `same` raised.
        DataError: the items cannot be asked, or `same` returned something else.
        ModelError: the function never answered, or failed many times in a row.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    require(same is None or callable(same), "same to be a function of two answers and two items", same)
    relation = _Stays(at_least, _equal if same is None else same)
    return _measured(system, items, changes, relation, calls=calls, options=options)


@assertion(measure_invariant)
def assert_invariant() -> None:
    """Claim that the answer stays under each change, for a share of items of `at_least`."""


@measurement(DIRECTIONAL)
def measure_directional(
    system: System,
    items: object,
    changes: Changes,
    *,
    score: Score,
    expect: Expectation,
    margin: float = 0.0,
    at_least: float | None = None,
    calls: Calls | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure how often the score of an answer moves as expected when the item is changed, under the worst change.

    Items of which nothing else could come are left out, and counted: a score of 0 cannot become lower.

    Args:
        system, items, changes, calls: as for `measure_invariant`.
        score: function from an answer and its item to a score in 0..1, or to True or False.
        expect: "not_lower" or "not_higher", by more than `margin`; "higher" or "lower", by `margin` or more, and not
            equal.
        margin: a difference of scores, in 0..1, below 1.
        at_least: the share claimed, in 0..1, for each change.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result, as that of `measure_invariant`.

    Raises:
        ConfigError, DataError, ModelError: as for `measure_invariant`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    checked_real("margin", margin, 0, 1, "[)")
    require(expect in _EXPECTED, f"expect to be one of {', '.join(_EXPECTED)}", expect)
    require(callable(score), "score= as a function of an answer and its item", score)
    relation = _Moves(at_least, score, expect, margin)
    return _measured(system, items, changes, relation, calls=calls, options=options)


@assertion(measure_directional)
def assert_directional() -> None:
    """Claim that the score moves as expected under each change, for a share of items of `at_least`."""


@measurement(WORST_CHANGE_RATE)
def measure_worst_change_rate(
    system: System,
    items: object,
    changes: Changes,
    *,
    score: Score,
    at_least: float | None = None,
    max_fall: float | None = None,
    calls: Calls | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the rate of changed items under the worst change, or how far a change lowers the rate.

    Changes may be templates of a prompt: each is a function from an item to what is asked.

    Args:
        system, items, changes, score, calls: as for `measure_directional`.
        at_least: the rate of changed items that is claimed for each change, in 0..1.
        max_fall: in its place, how much lower the rate of changed items may be than that of the same items as they
            are, for each change, in 0..1. Items without an answer as they are are left out, and counted.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result, as that of `measure_invariant`.

    Raises:
        ConfigError, DataError, ModelError: as for `measure_invariant`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    max_fall = checked_threshold("max_fall", max_fall, trivial=1, optional=True)
    require(at_least is None or max_fall is None, "one of at_least and max_fall", (at_least, max_fall))
    require(callable(score), "score= as a function of an answer and its item", score)
    relation = _Rates(at_least, score) if max_fall is None else _Falls(max_fall, score)
    return _measured(system, items, changes, relation, calls=calls, options=options)


@assertion(measure_worst_change_rate)
def assert_worst_change_rate() -> None:
    """Claim that the rate under every change is at least `at_least`, or falls by at most `max_fall`."""


# The value of a pair


@dataclass(frozen=True, slots=True)
class _ScoredAnswer:
    """An answer that came, with its score."""

    answer: Any
    score: float | bool


@dataclass(frozen=True, slots=True)
class _ChangedPair:
    """An item and the changed item, with the place of the item among all that is asked."""

    change: str
    item: Question
    changed: Question
    place: int


@dataclass(frozen=True, slots=True)
class _ReadPair:
    """A pair with the answers before and after the change; None for one that failed."""

    pair: _ChangedPair
    before: _ScoredAnswer | None
    after: _ScoredAnswer | None


@dataclass(frozen=True, slots=True)
class _Relation(ABC):
    """The relation of the two answers of a pair that is claimed, and its value.

    Attributes:
        threshold: the value claimed; None if nothing is.
        kind, place: of the claim, and of its quantity among those of the kind.
        both: True if the item is asked as it is, too.
        nothing: the reason why pairs have no value, in words.
    """

    threshold: float | None
    kind: ClassVar[Kind]
    place: ClassVar[int] = 0
    both: ClassVar[bool] = True
    nothing: ClassVar[str] = ""

    @abstractmethod
    def read(self, answer: Any, item: Any) -> object:
        """Return the score of an answer."""

    @abstractmethod
    def value(self, read: _ReadPair) -> float | bool | None:
        """Return a value in 0..1, or True or False; None if the pair says nothing."""

    def doubts(self, pairs: Mapping[str, Sequence[_ReadPair]]) -> dict[str, str]:
        """Return reasons why a pass would show nothing, by the name of a health check; `pairs` are by change."""
        return {}

    @property
    def quantity(self) -> Quantity:
        return self.kind.quantities[self.place]

    @property
    def statement(self) -> str:
        """The claim in words, without its threshold."""
        return self.quantity.state()

    @property
    def least(self) -> float | None:
        """The mean value of pairs that is claimed at least."""
        return self.threshold

    def decided(self, values: NDArray[np.float64], terms: Terms) -> Decision | None:
        """Return a decision that is sharper than bets, on the values of all pairs of scores of True or False."""
        return None

    def shown(self, part: PartDecision) -> PartDecision:
        """Return a decision on values with its numbers as the claim has them."""
        return part

    def loss(self, scored: ItemScores) -> ItemScores:
        """Return pairs whose values are below 1 if they count against the claim."""
        return scored


def _equal(before: Any, after: Any, item: Any, changed: Any) -> bool:
    return bool(before == after)


@dataclass(frozen=True, slots=True)
class _Stays(_Relation):
    """The answer to the changed item is the same."""

    same: Same
    kind = INVARIANT

    def read(self, answer: Any, item: Any) -> bool:
        return True

    def value(self, read: _ReadPair) -> float | bool:
        pair, before, after = read.pair, read.before, read.after
        if before is None or after is None:
            return False
        try:
            value: Any = self.same(*map(deepcopy, (before.answer, after.answer, pair.item.value, pair.changed.value)))
        except RobustestError:
            raise
        except Exception as error:
            raise ConfigError(
                f"Expected same to compare the answers to item {pair.item.name!r} under {pair.change!r} but it raised "
                f"{error!r}."
            ) from error
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, (int, float, np.integer, np.floating)) and 0 <= value <= 1:
            return float(value)
        raise DataError(expected(f"True, False or 0..1 of same for item {pair.item.name!r}", value))

    def doubts(self, pairs: Mapping[str, Sequence[_ReadPair]]) -> dict[str, str]:
        # Of a system that answers without regard to the item, answers stay as often as those to two items agree.
        if self.threshold is None:
            return {}
        for change, read in pairs.items():
            known = [one for one in read if one.before is not None and one.after is not None]
            others = [
                self.value(replace(one, before=known[(place + apart) % len(known)].before))
                for apart in range(1, min(_ROUNDS + 1, len(known)))
                for place, one in enumerate(known)
            ]
            if others and (agree := float(np.mean([float(one) for one in others]))) >= self.threshold:
                return {
                    "constant_answer": f"a model that ignores its input would pass: under {change!r} answers stay as "
                    f"those to other items in {number(agree)} of pairs, and at_least={self.threshold:g} is claimed. "
                    "Claim more, or give items whose answers differ"
                }
        return {}


@dataclass(frozen=True, slots=True)
class _Scores(_Relation):
    """A relation of the scores that a function gives the two answers."""

    score: Score

    def read(self, answer: Any, item: Any) -> object:
        return self.score(answer, item)


@dataclass(frozen=True, slots=True)
class _Moves(_Scores):
    """The score of the answer to the changed item moves as expected."""

    expect: str
    margin: float
    kind = DIRECTIONAL
    nothing = "whose score could not have moved otherwise"

    @property
    def statement(self) -> str:
        return self.quantity.state(f"{_EXPECTED[self.expect]}{f' by {self.margin:g}' if self.margin else ''}")

    def value(self, read: _ReadPair) -> bool | None:
        if read.before is None:
            return False
        # Downwards is upwards of 1 - score.
        down = self.expect in ("lower", "not_higher")
        start = 1 - float(read.before.score) if down else float(read.before.score)
        strict = self.expect in ("higher", "lower")
        # Scores are sums of fractions: rounding must decide nothing.
        if strict and (start + self.margin > 1 + _ROUNDED or start >= 1 - _ROUNDED):
            return None
        if not strict and start - self.margin <= _ROUNDED:
            return None
        if read.after is None:
            return False
        end = 1 - float(read.after.score) if down else float(read.after.score)
        if strict:
            return end - start >= max(self.margin, 2 * _ROUNDED) - _ROUNDED
        return start - end <= self.margin + _ROUNDED


@dataclass(frozen=True, slots=True)
class _Rates(_Scores):
    """The score of the answer to the changed item."""

    kind = WORST_CHANGE_RATE
    both = False

    def value(self, read: _ReadPair) -> float | bool:
        return False if read.after is None else read.after.score


@dataclass(frozen=True, slots=True)
class _Falls(_Scores):
    """The fall of the score by the change, in -1..1, as (1 - fall) / 2, so that a small fall is a large value."""

    kind = WORST_CHANGE_RATE
    place = 1
    nothing = "without an answer as they are"

    def value(self, read: _ReadPair) -> float | None:
        if read.before is None:  # a score of 0 in its place would be easy to keep
            return None
        return (1 - float(read.before.score) + (0.0 if read.after is None else float(read.after.score))) / 2

    def doubts(self, pairs: Mapping[str, Sequence[_ReadPair]]) -> dict[str, str]:
        for change, read in pairs.items():
            scores = [float(one.before.score) for one in read if one.before is not None]
            before = float(np.mean(scores or [1.0]))
            if self.threshold is not None and before <= self.threshold:
                return {
                    "constant_answer": f"no fall could exceed max_fall={self.threshold:g}: the rate of the items of "
                    f"{change!r} as they are is {number(before)}. Allow less, or give items that are answered"
                }
        return {}

    @property
    def least(self) -> float | None:
        return None if self.threshold is None else (1 - self.threshold) / 2

    def decided(self, values: NDArray[np.float64], terms: Terms) -> Decision:
        # The interval of paired shares is exact, and shorter than bets.
        return _paired(values, self.least, terms)

    def shown(self, part: PartDecision) -> PartDecision:
        low, high = part.decision.interval
        estimate = None if part.decision.estimate is None else 1 - 2 * part.decision.estimate
        decision = replace(part.decision, estimate=estimate, interval=(1 - 2 * high, 1 - 2 * low))
        return replace(part, mean=1 - 2 * part.mean, decision=decision)

    def loss(self, scored: ItemScores) -> ItemScores:
        return replace(scored, mean=np.minimum(2 * scored.mean, 1.0))


# The items that are asked


@dataclass(frozen=True, slots=True)
class _ChangedItems:
    """Items and changed items.

    Attributes:
        items: as they are.
        changed: the changed item of each, by the name of a change; None for an item that it leaves as it is.
        asked: sorted by name.
        pairs: by the place of the changed item among these.
        of_item: places of the pairs of each item that is asked as it is, by its place.
        order: places in the order in which they are read.
        clusters: numbers of the clusters of `asked`; None for independent items.
    """

    items: list[Question]
    changed: dict[str, list[Question | None]]
    asked: list[Question]
    pairs: dict[int, _ChangedPair]
    of_item: dict[int, list[int]]
    order: list[int]
    clusters: NDArray[np.int64] | None

    @classmethod
    def of(cls, live: AskedItems, changes: Changes, terms: Terms, settings: Settings, *, both: bool) -> _ChangedItems:
        """Apply the changes; with `both` items are asked as they are, too.

        Raises:
            ConfigError: a change raised, or returned two items for one.
            DataError: a changed item cannot be asked, or has the name of another item.
        """
        items = live.items
        changed = {
            name: [_changed(item, name, change) for item in items] for name, change in named_changes(changes).items()
        }
        moved = [
            [(name, one) for name, several in changed.items() if (one := several[at]) is not None]
            for at in range(len(items))
        ]
        asked = [one for own in moved for _, one in own]
        # An item that no change moves is not asked.
        asked += [item for item, own in zip(items, moved, strict=True) if own and both]
        asked.sort(key=lambda one: one.name)
        place = {one.name: at for at, one in enumerate(asked)}
        if len(place) < len(asked):
            twice = next(name for name, count in Counter(one.name for one in asked).items() if count > 1)
            raise DataError(f"Expected items of different names but {twice!r} is also the name of a changed item.")
        pairs: dict[int, _ChangedPair] = {}
        of_item: dict[int, list[int]] = {}
        order: list[int] = []
        drawn = live.drawn(terms, settings.seed)
        for at in reading_order(len(items), settings, drawn):
            item = items[at]
            own = {place[one.name]: _ChangedPair(name, item, one, place.get(item.name, -1)) for name, one in moved[at]}
            if own and both:
                of_item[place[item.name]] = [*own]
                order.append(place[item.name])
            order += own
            pairs |= own
        clusters = None
        if drawn is not None:  # a changed item is of its item's cluster
            clusters = np.empty(len(asked), dtype=np.int64)
            for item, changed_items, number in zip(items, moved, drawn.tolist(), strict=True):
                names = [item.name, *(one.name for _, one in changed_items)]
                clusters[[place[name] for name in names if name in place]] = number
        return cls(items, changed, asked, pairs, of_item, order, clusters)

    @property
    def moved(self) -> dict[str, NDArray[np.bool_]]:
        """(n,) bool of all items by the name of a change, False for items that it leaves as they are."""
        return {name: np.array([one is not None for one in several]) for name, several in self.changed.items()}

    def places(self, change: str) -> list[int]:
        """Return the places of the changed items of a change."""
        return sorted(place for place, pair in self.pairs.items() if pair.change == change)

    def caveats(self) -> list[str]:
        """Return the caveats on the items that a change leaves as they are."""
        caveats = []
        for name, several in self.changed.items():
            same = [item.name for item, one in zip(self.items, several, strict=True) if one is None]
            if same:
                more = f" and {len(same) - _NAMED} more" if len(same) > _NAMED else ""
                named = ", ".join(map(repr, same[:_NAMED]))
                caveats.append(f"left out, as {name!r} leaves them as they are: {named}{more}")
        return caveats


def _changed(item: Question, name: str, change: Callable[[Any], Any]) -> Question | None:
    """Return the changed item; None if the change leaves what is asked as it is."""
    found = []
    for _ in range(2):  # another draw each time would make every run another claim
        try:
            value = change(deepcopy(item.value))
        except Exception as error:
            raise ConfigError(f"Expected {name!r} to change item {item.name!r} but it raised {error!r}.") from error
        if value is None:
            return None
        try:
            found.append(questions([value])[0])
        except DataError as error:
            raise DataError(
                f"Expected {name!r} to return an item that can be asked, of {item.name!r}. {error}"
            ) from error
    if found[0].content != found[1].content or found[0].row != found[1].row:
        raise ConfigError(
            f"Expected {name!r} to change item {item.name!r} alike each time but it returned two items. Draw from a "
            "generator that the item seeds: random.Random(item)."
        )
    one = found[0]
    if one.content == item.content:
        return None
    # The input is all that is asked: pictures may share their prompt.
    row = {**one.row, "group": name, "digest": one.content[:16]}
    if "cluster" in item.row:
        row["cluster"] = item.row["cluster"]
    return replace(one, name=f"{item.name} | {name}", row=row)


# Asking


@dataclass(slots=True)
class _ChangesJudge:
    """The judge of a claim on each change, all of which must hold, as `robustest.run.asking.Judge` has it.

    Attributes:
        parts: the claim on each change.
        values: of the pairs that have one, by place.
        read: pairs that were read, by change.
        nothing: places of the pairs that have no value.
        yes_or_no: True if all scores are True or False.
        answers: to items and to changed items.
    """

    items: _ChangedItems
    relation: _Relation
    parts: dict[str, ItemsClaim]
    values: dict[int, float | bool] = field(default_factory=dict)
    read: dict[str, list[_ReadPair]] = field(default_factory=dict)
    nothing: set[int] = field(default_factory=set)
    yes_or_no: bool = True
    answers: list[str] = field(default_factory=list)
    _before: dict[int, _ScoredAnswer | None] = field(default_factory=dict)
    _answer: Any = None

    @classmethod
    def of(cls, items: _ChangedItems, relation: _Relation, terms: Terms, settings: Settings) -> _ChangesJudge:
        """Return the judge before anything is asked; a change fails early at its share of alpha."""
        shared = replace(terms, fail_alpha=terms.fail_alpha / len(items.changed))
        digests = [str(one.row["digest"]) for one in items.asked]
        # How many pairs say nothing is known only at the end, and so is the size of the set.
        soon = not settings.exact and terms.scope != "set"
        parts = {}
        for name in items.changed:
            places = items.places(name)
            alike = terms.scope != "set" and len({digests[one] for one in places}) < len(places)
            inputs = digests if alike else ()
            parts[name] = ItemsClaim(places, relation.least, shared, soon, inputs=inputs, clusters=items.clusters)
        return cls(items, relation, parts)

    @property
    def ranked(self) -> list[int]:
        """The places of the pairs that have a value, or were not read: the items of the claim, by their rank."""
        return [place for place in sorted(self.items.pairs) if place not in self.nothing]

    def score(self, answer: Any, item: Any) -> object:
        """Return the score of an answer, which is then added."""
        # An answer is scored by the thread that adds its score next (`Inquiry`).
        self._answer = answer
        return self.relation.read(answer, item)

    def wants(self, place: int) -> bool:
        pair = self.items.pairs.get(place)
        if pair is not None:
            return self.parts[pair.change].settled is None
        return any(self.wants(one) for one in self.items.of_item[place])

    def add(self, place: int, scores: Sequence[float | bool | None]) -> bool:
        score = scores[0]
        answer = None if score is None else _ScoredAnswer(self._answer, score)
        self.yes_or_no = self.yes_or_no and (score is None or isinstance(score, bool))
        self.answers += [] if answer is None else [str(answer.answer)]
        pair = self.items.pairs.get(place)
        if pair is None:
            self._before[place] = answer
            return False
        read, part = _ReadPair(pair, self._before.get(pair.place), answer), self.parts[pair.change]
        self.read.setdefault(pair.change, []).append(read)
        value = self.relation.value(read)
        if value is None:
            self.nothing.add(place)
            part.skip(place)
        else:
            self.values[place] = value
            part.add(place, float(value), single=isinstance(value, bool))
        settled = [one.settled for one in self.parts.values()]
        failed = any(one is not None and one.verdict is Verdict.FAILED for one in settled)
        return failed or all(one is not None for one in settled)

    def read_all(self) -> None:
        for part in self.parts.values():
            part.early, part.settled = False, None

    def left(self) -> float:
        each = 2 if self.relation.both else 1
        return each * sum(part.left for part in self.parts.values())

    def pairs_of(self, replies: Replies) -> Replies:
        """Return replies whose items are the pairs by their rank, with the texts of both answers."""
        read = replies.outcomes
        row_of = {item: row for row, item in enumerate(read.item.tolist())}
        texts = {name: read.texts.get(name, [""] * len(row_of)) for name in TEXTS}
        rows = []
        for place, value in self.values.items():
            pair = self.items.pairs[place]
            row = row_of[pair.changed.name]
            answer, before = texts["answer"][row], row_of.get(pair.item.name)
            if before is not None:
                answer = f"{answer}, and before the change {texts['answer'][before]}"
            more = {"prompt": texts["prompt"][row], "answer": answer, "expected": texts["expected"][row]}
            rows.append({"item": pair.changed.name, "score": value, **pair.changed.row, **more})
        rank = {place: at for at, place in enumerate(self.ranked)}
        return replace(
            replies,
            outcomes=Outcomes.of(rows, source=read.source) if rows else read.rows(np.arange(0)),
            places=np.array([rank[place] for place in self.values], dtype=np.int64),
            names=tuple(self.items.asked[place].name for place in rank),
        )


def _measured(
    system: System,
    items: object,
    changes: Changes,
    relation: _Relation,
    *,
    calls: Calls | None,
    options: Options,
) -> Result:
    """Return the result of a claim that a relation holds for every change."""
    settings, terms = claim_terms(options)
    if isinstance(system, Outcomes) or not callable(system):
        raise ConfigError(expected("a function to ask about items", system, "Changed items have to be asked about."))
    cluster = options.get("cluster")
    live = AskedItems.of(system, items, score=relation.read, runs=None, calls=calls, cluster=cluster)
    assert live is not None  # noqa: S101 - the system is a function
    plan = _ChangedItems.of(live, changes, terms, settings, both=relation.both)
    judge = _ChangesJudge.of(plan, relation, terms, settings)
    replies = judge.pairs_of(_ask(live, judge, settings))
    return _MeasuredPairs.of(judge, replies, terms, settings).result(settings)


def _ask(live: AskedItems, judge: _ChangesJudge, settings: Settings) -> Replies:
    """Return the replies to items and changed items; none if no change changes an item."""
    plan = judge.items
    if plan.order:
        return ask(
            live.system,
            plan.asked,
            score=judge.score,
            runs=1,
            calls=live.calls,
            settings=settings,
            judge=judge,
            statement=judge.relation.statement,
            order=plan.order,
        )
    name = getattr(live.system, "__qualname__", type(live.system).__name__)
    none = np.empty(0, dtype=str)
    return Replies(
        outcomes=Outcomes(
            item=none, score=np.empty(0), run=none, group=none, digest=none, source=f"the answers of {name}"
        ),
        places=np.empty(0, dtype=np.int64),
        names=(),
        calls=0,
        recalled=0,
        failed=0,
        spent=None,
        stopped="",
        changed=False,
        cached="",
        notes=(),
        model="",
        seconds=0.0,
    )


# Deciding


@dataclass(frozen=True, slots=True)
class _MeasuredPairs:
    """The pairs of all changes that have a value, or were not read, after asking.

    Attributes:
        scored: those that were read.
        ranks: of the pairs of each change, among all.
    """

    judge: _ChangesJudge
    scored: ItemScores
    ranks: dict[str, list[int]]
    terms: Terms

    @classmethod
    def of(cls, judge: _ChangesJudge, replies: Replies, terms: Terms, settings: Settings) -> _MeasuredPairs:
        plan, ranked, found = judge.items, judge.ranked, replies.outcomes
        clusters = None if plan.clusters is None else plan.clusters[ranked]
        scored = ItemScores(found.item, found.score, found.group, np.arange(0), found, single=False, replies=replies)
        if judge.values:
            scored = mean_scores(found, "fail", replies)[0].in_clusters(terms, settings.seed, clusters)
        ranks: dict[str, list[int]] = {name: [] for name in plan.changed}
        for rank, place in enumerate(ranked):
            ranks[plan.pairs[place].change].append(rank)
        return cls(judge, scored, ranks, terms)

    def result(self, settings: Settings) -> Result:
        """Return the result of the claim, of which the worst change decides."""
        judge, scored, relation = self.judge, self.scored, self.judge.relation
        rows = [self._decided(name, settings.seed) for name in self.ranks]
        every = sum(map(len, self.ranks.values()))
        decision, worst = decide_worst(rows, whole=scored.n == every, noun="changes")
        assert scored.replies is not None  # noqa: S101 - a function was asked
        if scored.replies.changed and relation.both and decision.verdict is Verdict.PASSED:
            why = (
                "the function's state changes as it is asked: it may repeat an earlier answer; ask it without a memory"
            )
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why)
        decision = relation.shown(replace(worst, decision=decision)).decision
        details = {
            "changes": [
                {
                    "change": one.name,
                    "n": one.n,
                    "estimate": one.mean if one.n else None,
                    "interval": [*one.decision.interval],
                }
                for one in map(relation.shown, rows)
            ],
            "items": worst.n,
            "source": scored.source.source,
        }
        caveats = [f"worst change {worst.name!r}", *judge.items.caveats()]
        if judge.nothing:
            caveats.append(f"{count_items(len(judge.nothing))} {relation.nothing} not counted")
        own = self._of(worst.name)
        return MeasuredItems(
            kind=relation.kind,
            scored=own,
            shown=relation.loss(own),
            decision=decision,
            threshold=relation.threshold,
            statement=relation.statement,
            details=details,
            caveats=caveats,
            drawn="grouped items",
            answers=judge.answers,
            data=digest_of("\0".join(one.name for one in judge.items.asked)),
            about={
                "quantity": relation.quantity,
                "changed": [Changed(by=f"the change {name!r}", moved=one) for name, one in judge.items.moved.items()],
                "further": {f"under {one.name!r}": one.n for one in rows if one.name != worst.name},
                "doubts": relation.doubts(judge.read) if decision.verdict is Verdict.PASSED else {},
            },
        ).result(settings)

    def _of(self, change: str) -> ItemScores:
        """Return the pairs of a change as the only items: pairs of all changes would look like more draws."""
        replies = self.scored.replies
        assert replies is not None  # noqa: S101 - a function was asked
        own = {rank: at for at, rank in enumerate(self.ranks[change])}
        replies = replace(
            replies,
            names=tuple(replies.names[rank] for rank in own),
            places=np.array([own[rank] for rank in replies.places.tolist() if rank in own], dtype=np.int64),
        )
        return replace(self.scored.part(self.scored.group == change, [*own]), replies=replies)

    def _decided(self, name: str, seed: int) -> PartDecision:
        """Return the decision on one change: a pass at alpha, a failure at alpha shared by all changes."""
        judge, terms, ranks = self.judge, self.terms, self.ranks[name]
        part, relation, count = judge.parts[name], judge.relation, len(judge.parts)
        one = self.scored.part(self.scored.group == name, ranks)
        if not one.n:
            nothing = f"{name!r} changes no item"
            if part.places:
                of_none = f"nothing was tested: of {name!r} there are only items {relation.nothing}"
                nothing = of_none if not ranks else "no item of the change was asked"
            decided = Decision(verdict=Verdict.INCONCLUSIVE, rule=nothing, estimate=None, interval=(0.0, 1.0))
            return PartDecision(name, 0, 1.0, decided)
        # All draws of their own, each with scores of True or False.
        plain = (
            judge.yes_or_no
            and terms.scope != "set"
            and one.clusters is None
            and one.n == len(ranks)
            and part.settled is None
            and len(set(one.source.digest[one.first].tolist())) == one.n
        )

        def at(terms: Terms) -> Decision:
            exact = relation.decided(one.mean, terms) if plain else None
            return exact or one.decided(relation.least, terms, seed, part.settled)

        passes = at(terms)
        fails = passes
        if count > 1:
            fails = at(replace(terms, alpha=terms.alpha / count, fail_alpha=terms.fail_alpha / count))
        decided = fails if fails.verdict is Verdict.FAILED else passes
        if decided.verdict is Verdict.FAILED and fails.verdict is not Verdict.FAILED:
            decided = replace(decided, verdict=Verdict.INCONCLUSIVE)
        decided = replace(decided, interval=(passes.interval[0], fails.interval[1]))
        return PartDecision(name, one.n, float(one.mean.mean()), decided)


def _paired(values: NDArray[np.float64], at_least: float | None, terms: Terms) -> Decision:
    """Return the decision on all falls of -1, 0 or 1, as (1 - fall) / 2, after the part of alpha for early verdicts."""
    alpha = terms.alpha if at_least is None else (1 - EARLY) * terms.alpha
    low, high = paired_interval(int((values < 0.25).sum()), int((values > 0.75).sum()), len(values), alpha)
    return decide_whole(
        float(values.mean()),
        ((1 - high) / 2, (1 - low) / 2),
        at_least,
        at_least=True,
        scope=terms.scope,
        alpha=alpha,
        holds=lambda claimed: float(values.mean()) >= claimed,
    )
