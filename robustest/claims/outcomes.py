"""The rate of outcomes: a share of items, or a mean score, over all items, in each group, and over runs."""

# The unit is the item, whatever the number of its runs:
#
# 1. Each item gets the mean score of its runs, scaled to 0..1. A run without a score counts as 0, as a crash would
#    otherwise raise the rate; `missing="drop"` leaves such items out and says how many.
# 2. If every item is one run of 0 or 1, the rate is a share with exact binomial bounds (Clopper and Pearson, 1934).
#    Otherwise it is a mean of bounded values, bounded by bets (Waudby-Smith and Ramdas, JRSS B 2024).
# 3. Two sets of outcomes are paired by the names of their items. The fall must be at most the tolerance: of shares by
#    the exact interval of paired shares, of means by bets on the differences (see `robustest.decisions.baseline`). Both
#    systems answer differently each time, so that a comparison is about the population unless the set is named.
#
# Recorded outcomes are all there are, so that no verdict of them is early. A function is asked about items in a seeded
# order until the verdict is known (`robustest.run.asking`, `robustest.decisions.mean`); a call that failed for good
# counts as 0.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest.checks import require
from robustest.data import likely_names
from robustest.data.outcomes import TEXTS, Outcomes, digest_of
from robustest.decisions import Decision, EarlyVerdict, Rule, ShareRule, checked_threshold
from robustest.decisions.baseline import BaselineRule, NoWorse, ScoreBaselineRule, usable_tolerance
from robustest.decisions.clusters import CLUSTER, counted_once, drawn
from robustest.decisions.mean import ItemsRule, ScoreRule
from robustest.decisions.rule import Terms, generator
from robustest.errors import ConfigError, DataError, expected
from robustest.kinds import Kind, Quantity
from robustest.results import NOT_PAIRED, Counterexample, Pairing, Result, Verdict
from robustest.run.asking import Calls, Question, Replies, Score, System, ask, questions
from robustest.run.evidence import Evidence, OtherModel, Tally
from robustest.run.finish import result_of
from robustest.run.measurement import assertion, measurement, require_clusters
from robustest.run.options import MODEL_KEYS, Options, options_on
from robustest.settings import Settings

# Largest length in characters of a text that a report quotes.
_LONGEST = 1000

Reference = Outcomes | str | PathLike[str] | Sequence[Any] | Mapping[str, Any] | System
"""Recorded outcomes, a file of them or several, their rows, or a function that is asked about items."""
Missing = Literal["fail", "drop"]

RATE = Kind(
    name="rate",
    varies="nothing",
    quantities=(Quantity.at_least("at_least", "rate", "rate", trivial=0, counts=("right", "items")),),
    further_claims=("no_worse_than",),
    brief=True,
)
"""The share of items that are right, or the mean of their scores."""

WORST_GROUP_RATE = Kind(
    name="worst_group_rate",
    varies="nothing",
    quantities=(Quantity.at_least("at_least", "worst group's rate", "rate in the worst group", trivial=0),),
    brief=True,
)
"""The lowest rate among groups of items."""

CONSISTENT_RUNS = Kind(
    name="consistent_runs",
    varies="nothing",
    quantities=(Quantity.at_most("max_flip_rate", "flip rate", "flip rate between runs of an item", trivial=1),),
    brief=True,
)
"""The share of pairs of runs of one item whose scores differ."""


@measurement(RATE)
def measure_rate(
    outcomes: Reference,
    items: object = None,
    *,
    score: Score | None = None,
    runs: int | None = None,
    calls: Calls | None = None,
    at_least: float | None = None,
    no_worse_than: Reference | None = None,
    tolerance: float = 0.0,
    missing: Missing = "fail",
    **options: Unpack[Options],
) -> Result:
    """Measure the rate of outcomes: the share of items that are right, or their mean score.

    Args:
        outcomes: what was recorded, or its file; or a function from an item to an answer, which is asked.
        items: the items to ask about, for a function: see `robustest.run.asking.questions`.
        score: function from an answer and its item to a score in 0..1, or to True or False.
        runs: number of times that a function is asked about each item; None for once.
        calls: settings of the calls: their number at once, retries, budgets.
        at_least: the rate claimed, in 0..1 of the range of the scores. It is about the population that the items were
            drawn from, unless `scope="set"` is given.
        no_worse_than: outcomes of another system, or their file, paired by the names of the items; or another function,
            which is asked about the same items. It passes if the fall of the population's rate is shown to be at most
            the tolerance, and fails if it is shown to be larger; with `scope="set"` the fall on these items decides.
        tolerance: the fall of the rate that is allowed, in 0..1; above 0, unless `scope="set"` is given.
        missing: "fail" counts a run without a score, and an item that only the other outcomes have, as 0; "drop" leaves
            it out. Either way the result says how many there are.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. Outcomes are whether an item's mean score is .5 or more, in the order of the items' names.

    Raises:
        ConfigError: an argument is out of range or unknown, no number of items can show the tolerance, or `score` or a
            cost raised.
        DataError: a file cannot be read, the outcomes have different ranges, no item has a score, or a score is out of
            range.
        ModelError: a function that is asked never answered, or failed many times in a row.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    require(0 <= tolerance < 1, "a tolerance in 0..1, below 1", tolerance)
    if (
        isinstance(outcomes, (str, PathLike))
        and isinstance(no_worse_than, (str, PathLike))
        and Path(outcomes).resolve() == Path(no_worse_than).resolve()
    ):
        raise ConfigError(expected("two files to compare", no_worse_than, "No file is worse than itself."))
    settings, _, terms = _terms(options, missing)
    cluster = options.get("cluster")
    live = _Live.of(outcomes, items, score=score, runs=runs, calls=calls, missing=missing, cluster=cluster)
    clusters = None if live is None else live.drawn(terms, settings.seed)
    if no_worse_than is not None and terms.scope != "set" and not tolerance:
        # Before a function is asked, so that nothing is spent.
        items_known = live.items if live is not None else as_outcomes(outcomes).items.name
        raise _no_tolerance(len(items_known), terms.alpha)
    if live is None:
        found, replies, early = as_outcomes(outcomes, cluster), None, None
    else:
        how: dict[str, Any] = {"early": not settings.exact, "passes": no_worse_than is None}
        part = _Part(range(len(live.items)), at_least, terms, **how, inputs=live.inputs(terms), clusters=clusters)
        replies = live.ask(_Parts([part], _mean), settings, RATE, clusters)
        found, early = replies.outcomes, part.settled
    scored, dropped = _scored(found, missing, replies)
    scored = scored.in_clusters(terms, settings.seed, clusters)
    columns, decision = scored.decided(at_least, terms, settings.seed, early)
    details: dict[str, Any] = {"items": scored.n, "runs": int(found.items.runs.sum()), "source": found.source}
    if scored.single:
        details["right"] = int(columns["held"].sum())
    caveats, same = _unscored(dropped, missing, replies), ""
    if no_worse_than is not None and not (early is not None and early.verdict is Verdict.FAILED):
        if live is not None and callable(no_worse_than):
            every = _Part(range(len(live.items)), None, terms)
            theirs = replace(live, system=no_worse_than).ask(_Parts([every], _mean), settings, RATE, clusters)
            reference = theirs.outcomes
            caveats += [f"of the other function {what}" for what in _caveats_of(theirs)]
        else:
            theirs, reference = None, as_outcomes(no_worse_than)
        same = _same_system(found, reference, asked=theirs is not None)
        every_pair = pairs = _Pairs.of(found, reference, missing, scored)
        rule = _comparison(pairs, tolerance, terms, settings.seed)
        compared = rule.decide(pairs.columns, len(pairs.now), None)
        if terms.scope != "set" and (once := pairs.once()) is not pairs:
            passed, pairs = compared.verdict is Verdict.PASSED, once
            rule = _comparison(pairs, tolerance, terms, settings.seed)
            compared = rule.decide(pairs.columns, len(pairs.now), None)
            if passed and compared.verdict is Verdict.INCONCLUSIVE:
                compared = _of_one_input(compared, len(every_pair.now), len(pairs.now))
        unread = [one for one in (replies, theirs) if one is not None and len(one.places) < len(one.names)]
        if unread:
            why = (
                unread[0].stopped or f"max_samples: {len(unread[0].places)} of {len(unread[0].names)} items were asked"
            )
            compared = replace(compared, verdict=Verdict.INCONCLUSIVE, rule=f"{why}; the comparison needs every item")
        if compared.verdict is Verdict.PASSED and len(pairs.changed) and missing == "fail":
            # A candidate whose failing items got another input loses nothing among the pairs. It passes only if it
            # would with the loss of all changed items.
            worst = pairs.with_lost(pairs.changed)
            if_lost = _comparison(worst, tolerance, terms, settings.seed)
            if if_lost.decide(worst.columns, len(worst.now), None).verdict is not Verdict.PASSED:
                hidden = f"{_count(len(pairs.changed))} of another input could hide a loss"
                why = f'{hidden}: give such items new names, or missing="drop"'
                compared = replace(compared, verdict=Verdict.INCONCLUSIVE, rule=f"{why}; {compared.rule}")
        # Both the rate and the comparison must pass, and one failure suffices.
        order = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)
        worst_of_both = min((decision, compared), key=lambda one: order.index(one.verdict))
        if at_least is None:
            decision = replace(compared, estimate=decision.estimate, interval=decision.interval)
        elif decision.verdict is compared.verdict:
            at_alpha = decision.at_alpha or compared.at_alpha
            decision = replace(decision, rule=f"{decision.rule}; {compared.rule}", at_alpha=at_alpha)
        else:
            decision = replace(worst_of_both, estimate=decision.estimate, interval=decision.interval)
        details["baseline"] = {
            "model": f"recorded in {pairs.reference}" if theirs is None else pairs.reference,
            **rule.compare(pairs.columns).details(),
            "accuracy": float(rule.share_before),
            "pairs": len(every_pair.now),
            "missing": pairs.lost,
            "new": pairs.new,
            "changed": len(pairs.changed),
            "tolerance": tolerance,
        }
        caveats += pairs.caveats(missing)
    return _result(
        scored,
        decision,
        settings,
        columns,
        kind=RATE,
        threshold=at_least,
        scope=terms.scope,
        details=details,
        caveats=caveats,
        same=same,
    )


def _same_system(found: Outcomes, reference: Outcomes, *, asked: bool) -> str:
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


@assertion(measure_rate)
def assert_rate() -> None:
    """Claim that the share of right items, or mean score, is at least `at_least`, or not below a baseline."""


@measurement(WORST_GROUP_RATE)
def measure_worst_group_rate(
    outcomes: Reference,
    items: object = None,
    *,
    score: Score | None = None,
    runs: int | None = None,
    calls: Calls | None = None,
    at_least: float | None = None,
    missing: Missing = "fail",
    **options: Unpack[Options],
) -> Result:
    """Measure the lowest rate among the groups of outcomes.

    The worst group is picked after looking, so each group is judged at alpha divided by their number (Bonferroni). A
    function is not asked about a group any more once that group has passed.

    Args:
        outcomes: what was recorded, with a group for each item, or its file; or a function that is asked. Items in no
            group are left out, and counted; recorded ones pass only if a group would that had all of them below
            `at_least`.
        items, score, runs, calls: for a function, as for `measure_rate`.
        at_least: the rate claimed in every group, in 0..1 of the range of the scores.
        missing: as for `measure_rate`; "drop" leaves out items in no group without a doubt.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or `score` or a cost raised.
        DataError: a file cannot be read, no item has a group, or a score is out of range.
        ModelError: a function that is asked never answered, or failed many times in a row.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    settings, _, terms = _terms(options, missing)
    cluster = options.get("cluster")
    live = _Live.of(outcomes, items, score=score, runs=runs, calls=calls, missing=missing, cluster=cluster)
    found: Outcomes | None = None
    if live is None:
        found = as_outcomes(outcomes, cluster)
        of_items = found.items.group
        alone = int((of_items == "").sum())
    else:
        every = np.array(["" if one.row["group"] is None else str(one.row["group"]) for one in live.items])
        live = replace(live, items=[one for one, group in zip(live.items, every.tolist(), strict=True) if group])
        of_items, alone = every[every != ""], int((every == "").sum())
    groups = sorted(set(of_items.tolist()) - {""})
    if not groups:
        where = "the items" if found is None else found.source
        raise DataError(f"Expected a group for each item in {where} but got none. Name its column: group=.")
    shared = replace(terms, alpha=terms.alpha / len(groups), fail_alpha=terms.fail_alpha / len(groups))
    how: dict[str, Any] = {"early": not settings.exact, "inputs": () if live is None else live.inputs(terms)}
    clusters = None if live is None else live.drawn(terms, settings.seed)
    how["clusters"] = clusters
    parts = [_Part(np.flatnonzero(of_items == name).tolist(), at_least, shared, **how) for name in groups]
    replies = None
    if live is not None:
        replies = live.ask(_Parts(parts, _mean), settings, WORST_GROUP_RATE, clusters)
        found = replies.outcomes
    assert found is not None  # noqa: S101 - one of the two was read
    scored, dropped = _scored(found, missing, replies)
    scored = scored.in_clusters(terms, settings.seed, clusters)
    unknown = None
    if alone and replies is None and missing == "fail" and at_least is not None:
        unknown = (scored.group == "") & (scored.mean < at_least)
    rows = []
    for name, part in zip(groups, parts, strict=True):
        one = scored.part(scored.group == name, None if replies is None else part.places)
        if not one.n:  # not asked: another group had failed, or a budget was spent
            nothing = "no item of the group was asked"
            decided = Decision(verdict=Verdict.INCONCLUSIVE, rule=nothing, estimate=None, interval=(0.0, 1.0))
            rows.append((name, 0, 1.0, decided))
            continue
        _, decided = one.decided(at_least, shared, settings.seed, part.settled)
        if unknown is not None and decided.verdict is Verdict.PASSED:
            # A candidate whose failing items lost the name of their group fails in no group.
            more = scored.part((scored.group == name) | unknown)
            if more.decided(at_least, shared, settings.seed, None)[1].verdict is not Verdict.PASSED:
                why = f'{_count(alone)} in no group could hide a lower rate: give them a group, or missing="drop"'
                decided = replace(decided, verdict=Verdict.INCONCLUSIVE, rule=why)
        rows.append((name, one.n, float(one.mean.mean()), decided))
    worst = min(rows, key=lambda row: (row[2], row[3].interval[0]))  # of a group that was not asked the mean is 1
    failed, undecided = ([r for r in rows if r[3].verdict is v] for v in (Verdict.FAILED, Verdict.INCONCLUSIVE))
    verdict = Verdict.FAILED if failed else Verdict.INCONCLUSIVE if undecided else Verdict.PASSED
    decision = replace(
        worst[3],
        verdict=verdict,
        rule=f"{(failed or undecided or [worst])[0][3].rule}, for each of {len(groups)} groups",
        estimate=worst[2] if scored.n == scored.total else None,
        interval=(min(row[3].interval[0] for row in rows), min(row[3].interval[1] for row in rows)),
    )
    caveats = [f"worst group {worst[0]!r}"]
    caveats += _unscored(dropped, missing, replies)
    caveats += [f"{_count(alone)} in no group"] if alone else []
    details = {
        "groups": [
            {"group": name, "n": n, "estimate": mean if n else None, "interval": list(decided.interval)}
            for name, n, mean, decided in rows
        ],
        "items": scored.n,
        "source": found.source,
    }
    return _result(
        scored,
        decision,
        settings,
        scored.columns(settings.seed),
        kind=WORST_GROUP_RATE,
        threshold=at_least,
        scope=terms.scope,
        details=details,
        caveats=caveats,
    )


@assertion(measure_worst_group_rate)
def assert_worst_group_rate() -> None:
    """Claim that the rate is at least `at_least` in every group of items."""


@measurement(CONSISTENT_RUNS)
def measure_consistent_runs(
    outcomes: Reference,
    items: object = None,
    *,
    score: Score | None = None,
    runs: int | None = None,
    calls: Calls | None = None,
    max_flip_rate: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure how often two runs of one item get different scores.

    Each item gives one value, the share of its pairs of runs that differ; their mean is bounded by bets, so that items
    with many runs count no more than items with two. A run without a score, or a call that failed, differs from every
    other run.

    Args:
        outcomes: what was recorded, with several runs of items, or its file; or a function that is asked. Recorded
            items with one run are left out, and counted.
        items, score, calls: for a function, as for `measure_rate`.
        runs: number of times that a function is asked about each item, at least 2; None for twice.
        max_flip_rate: the rate claimed at most, in 0..1.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or `score` or a cost raised.
        DataError: a file cannot be read, no item has two runs, or a score is out of range.
        ModelError: a function that is asked never answered, or failed many times in a row.
    """
    max_flip_rate = checked_threshold("max_flip_rate", max_flip_rate, trivial=1, optional=True)
    settings, _, terms = _terms(options)
    held = None if max_flip_rate is None else 1 - max_flip_rate
    cluster = options.get("cluster")
    live = _Live.of(outcomes, items, score=score, runs=runs, calls=calls, least=2, cluster=cluster)
    replies, early, clusters = None, None, None
    if live is None:
        found = as_outcomes(outcomes, cluster)
    else:
        clusters = live.drawn(terms, settings.seed)
        how: dict[str, Any] = {"early": not settings.exact, "inputs": live.inputs(terms), "clusters": clusters}
        whole = _Part(range(len(live.items)), held, terms, **how)
        replies = live.ask(_Parts([whole], _agreement), settings, CONSISTENT_RUNS, clusters)
        found, early = replies.outcomes, whole.settled
    of_items = found.items
    several = of_items.planned >= 2
    if not several.any():
        raise DataError(f"Expected items with several runs in {found.source} but every item has one at most.")
    # A system that crashes in every other run is not consistent: pairs with a run without a score differ.
    pairs = np.maximum(of_items.planned * (of_items.planned - 1), 1)
    agree = np.nan_to_num(1 - of_items.flips) * of_items.runs * (of_items.runs - 1) / pairs
    part = _Scored(
        of_items.name[several],
        agree[several],
        of_items.group[several],
        of_items.first[several],
        found,
        single=False,
        replies=replies,
    )
    part = part.in_clusters(terms, settings.seed, clusters)
    columns, decision = part.decided(held, terms, settings.seed, early)
    if replies is not None and replies.changed and decision.verdict is Verdict.PASSED:
        # A cache of answers makes any system look consistent.
        why = "the function's state changes as it is asked: it may repeat earlier answers; ask it without a cache"
        decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why)
    if replies is None and decision.verdict is Verdict.PASSED and found.copied:
        why = "the runs have no names, and each row is there twice, as in a file written twice: name them, run="
        decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why)
    low, high = decision.interval
    decision = replace(
        decision,
        estimate=None if decision.estimate is None else 1 - decision.estimate,
        interval=(1 - high, 1 - low),
    )
    left = int((~several).sum())
    caveats = [f"{_count(left)} with one run left out"] if left else []
    gone = int((several & (of_items.planned > of_items.runs)).sum())
    caveats += [f"{_count(gone)} with a run without a score"] if gone and replies is None else []
    details = {
        "items": part.n,
        "runs": int(of_items.runs[several].sum()),
        "flipped_items": int((part.mean < 1).sum()),
        "source": found.source,
    }
    return _result(
        part,
        decision,
        settings,
        columns,
        kind=CONSISTENT_RUNS,
        threshold=max_flip_rate,
        scope=terms.scope,
        details=details,
        caveats=caveats,
    )


@assertion(measure_consistent_runs)
def assert_consistent_runs() -> None:
    """Claim that two runs of one item rarely get different scores."""


@dataclass(slots=True)
class _Part:
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
        score = np.array(self._values)
        rule = ItemsRule(threshold=self.threshold, terms=self.terms, single=self.single, largest=self._largest)
        columns = {"score": score, "held": score >= 0.5} | ({CLUSTER: np.array(self._numbers)} if self._numbers else {})
        found = rule.settle(columns, of)
        if found is not None and n < of and (self.passes or found.verdict is Verdict.FAILED):
            self.settled = found


class _Parts:
    """The judge of one or several claims on disjoint items, all of which must hold."""

    def __init__(self, parts: Sequence[_Part], value: Callable[[Sequence[float | bool | None]], float]) -> None:
        self._parts, self._value = parts, value
        self._part_of = {place: part for part in parts for place in part.places}

    def wants(self, place: int) -> bool:
        part = self._part_of.get(place)
        return part is not None and part.settled is None

    def add(self, place: int, scores: Sequence[float | bool | None]) -> bool:
        part = self._part_of[place]
        single = len(scores) == 1 and (scores[0] is None or isinstance(scores[0], bool))
        part.add(place, self._value(scores), single=single)
        settled = [one.settled for one in self._parts if one.settled is not None]
        return len(settled) == len(self._parts) or any(one.verdict is Verdict.FAILED for one in settled)

    def read_all(self) -> None:
        for part in self._parts:
            part.early, part.settled = False, None


def _mean(scores: Sequence[float | bool | None]) -> float:
    return sum(float(one or 0) for one in scores) / len(scores)


def _agreement(scores: Sequence[float | bool | None]) -> float:
    """Return the share of pairs of runs with one score; a failure agrees with nothing."""
    pairs = [
        first is not None and second is not None and float(first) == float(second)
        for at, first in enumerate(scores)
        for second in scores[:at]
    ]
    return sum(pairs) / len(pairs)


@dataclass(frozen=True, slots=True)
class _Live:
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
    ) -> _Live | None:
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

    def ask(self, judge: _Parts, settings: Settings, kind: Kind, clusters: NDArray[np.int64] | None = None) -> Replies:
        return ask(
            self.system,
            self.items,
            score=self.score,
            runs=self.runs,
            calls=self.calls,
            settings=settings,
            judge=judge,
            statement=kind.quantities[0].state(),
            clusters=clusters,
        )


def _unscored(items: int, missing: Missing, replies: Replies | None) -> list[str]:
    if not items or replies is not None:
        return []
    return [f"{_count(items)} without a score {'left out' if missing == 'drop' else 'counted as 0'}"]


def _caveats_of(replies: Replies) -> list[str]:
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
class _Scored:
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

    def part(self, which: NDArray[np.bool_], places: Sequence[int] | None = None) -> _Scored:
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

    def in_clusters(self, terms: Terms, seed: int, every: NDArray[np.int64] | None) -> _Scored:
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

    def decided(
        self, at_least: float | None, terms: Terms, seed: int, early: EarlyVerdict | None
    ) -> tuple[dict[str, NDArray[Any]], Decision]:
        """Return the columns, and the decision with the reason why reading stopped before the verdict.

        About the population items of one known input are one draw, and so are those of one cluster.
        """
        columns = self.columns(seed)
        decision = self._decided(self._whole(columns), self.total, at_least, terms, early)
        once = None if terms.scope == "set" else self._once(at_least, terms, seed)
        if once is not None:
            found = counted_once(decision, once[0], "items of one input counted once")
            unshown = decision.verdict is Verdict.PASSED and found.verdict is Verdict.INCONCLUSIVE
            decision = _of_one_input(found, self.n, once[1]) if unshown else found
        if self.replies is None or not self.replies.stopped or decision.verdict is not Verdict.INCONCLUSIVE:
            return columns, decision
        return columns, replace(decision, rule=f"{self.replies.stopped}; {decision.rule}", reasons=("budget",))

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
        return _number_rule(self, at_least, terms).decide(columns, total, early)

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
            n, rule = self.total - (self.n - len(kept)), _number_rule(self, at_least, terms)
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


def _scored(found: Outcomes, missing: Missing, replies: Replies | None = None) -> tuple[_Scored, int]:
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
    scored = _Scored(items.name[keep], mean[keep], items.group[keep], items.first[keep], found, single, replies)
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


def _of_one_input(decision: Decision, n: int, once: int) -> Decision:
    why = (
        f"{n - once} of {n} items have the input of another, and are no draws of their own: not shown by the other "
        f'{once}. Give the digest of the whole input (digest), or claim it of these items (scope="set")'
    )
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("copies",))


def _number_rule(scored: _Scored, at_least: float | None, terms: Terms) -> ItemsRule | ShareRule | ScoreRule:
    if scored.replies is not None:
        largest = max(scored.sizes.values(), default=None)
        return ItemsRule(threshold=at_least, terms=terms, single=scored.single, largest=largest)
    if scored.single:
        return ShareRule(threshold=at_least, at_least=True, terms=terms)
    return ScoreRule(threshold=at_least, terms=terms)


@dataclass(frozen=True, slots=True)
class _Pairs:
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

    def with_lost(self, before: NDArray[np.float64]) -> _Pairs:
        """Return these pairs and more, with these mean scores before and 0 now."""
        return replace(
            self,
            now=np.concatenate([self.now, np.zeros(len(before))]),
            before=np.concatenate([self.before, before]),
            inputs=np.concatenate([self.inputs, np.full(len(before), "")]),
            clusters=_with_one_more(self.clusters, len(before)),
        )

    def once(self) -> _Pairs:
        """Return one pair for each known input, with the means of its items' scores."""
        first, (now, before) = _by_input(self.inputs, self.now, self.before)
        if len(first) == len(self.now):
            return self
        single = self.single and bool(np.isin([now, before], (0.0, 1.0)).all())
        clusters = None if self.clusters is None else self.clusters[first]
        return replace(self, now=now, before=before, single=single, inputs=self.inputs[first], clusters=clusters)

    @classmethod
    def of(cls, found: Outcomes, reference: Outcomes, missing: Missing, scored: _Scored) -> _Pairs:
        """Pair the items of two sets of outcomes by their names.

        Args:
            scored: the items that were found, with their clusters.

        Raises:
            DataError: their scores have different ranges, or they share no item.
        """
        if (found.low, found.high) != (reference.low, reference.high):
            ranges = [(one.low, one.high) for one in (found, reference)]
            raise DataError(expected("outcomes of one range of scores", ranges))
        now, _ = _scored(found, missing)
        # Of the other outcomes a run without a score is no zero: that would make them easier to match.
        before, unscored = _scored(reference, "drop")
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
        """Return what a line must say of the items that are not compared."""
        words = (
            (self.lost, f"missing, {'left out' if missing == 'drop' else 'counted as 0'}"),
            (self.new, "new, not compared"),
            (len(self.changed), "of another input, not compared"),
            (self.fewer, "with fewer runs than in the other outcomes"),
            (self.unscored, "with a run that the other outcomes have no score of"),
        )
        return [f"{_count(count)} {what}" for count, what in words if count]


def _with_one_more(clusters: NDArray[np.int64] | None, items: int) -> NDArray[np.int64] | None:
    """Return the clusters with so many items more, which are one cluster."""
    if clusters is None:
        return None
    return np.concatenate([clusters, np.full(items, int(clusters.max(initial=-1)) + 1)])


def _comparison(pairs: _Pairs, tolerance: float, terms: Terms, seed: int) -> NoWorse:
    common: dict[str, Any] = {"has_threshold": False, "tolerance": tolerance, "terms": terms, "noun": "items"}
    if pairs.single:
        rate: Rule = ShareRule(threshold=None, at_least=True, terms=terms)
        return BaselineRule(other=rate, before=pairs.before.astype(bool), **common)
    rate = ScoreRule(threshold=None, terms=terms)
    return ScoreBaselineRule(other=rate, before=pairs.before, **common, seed=seed, of="rate")


def _no_tolerance(n: int, alpha: float) -> ConfigError:
    usable, more = usable_tolerance(n, alpha)
    mend = (
        f"No number of items can show that nothing at all was lost. Where 1 item in 20 changes, {n:,} items can show "
        f"tolerance={usable:g}, and about {more:,} items {usable / 2:g}. "
        'To compare these items alone, give scope="set".'
    )
    return ConfigError(expected("a tolerance above 0 of a comparison about the population", 0.0, mend))


def _answers(scored: _Scored, kind: Kind) -> dict[str, Any]:
    """Return the argument `answers` of a result: a number for each different answer; {} where none are known."""
    texts = scored.source.texts.get("answer")
    # A system that is never right, as one whose calls all fail, is consistent.
    lowest = np.nan_to_num(scored.source.score, nan=scored.source.low) == scored.source.low
    if kind is CONSISTENT_RUNS and bool(lowest.all()):
        return {"answers": np.zeros(scored.n)}
    given = [texts[row] for row in scored.first.tolist()] if texts else []
    return {"answers": np.unique(given, return_inverse=True)[1]} if any(given) else {}


def _excerpt(text: str) -> str:
    """Return a text in quotes; of a long one, such as a transcript, the beginning."""
    if len(text) <= _LONGEST:
        return repr(text)
    return f"{text[:_LONGEST]!r}... ({len(text):,} characters)"


def _count(items: int) -> str:
    return f"{items} {'item' if items == 1 else 'items'}"


def _terms(options: Options, missing: str = "fail") -> tuple[Settings, str | None, Terms]:
    require(missing in ("fail", "drop"), 'missing="fail" or missing="drop"', missing)
    settings = options_on(options, MODEL_KEYS)
    given = options.get("scope")
    return settings, given, Terms.of(replace(settings, scope=given or "population"))


def _result(
    scored: _Scored,
    decision: Decision,
    settings: Settings,
    columns: dict[str, NDArray[Any]],
    *,
    kind: Kind,
    threshold: float | None,
    scope: str,
    details: dict[str, Any],
    caveats: Sequence[str],
    same: str = "",
) -> Result:
    """Return the result of outcomes; `same` as `_same_system` returns it."""
    replies = scored.replies
    # By the items' names `robustest compare` knows that two runs may be paired.
    names = digest_of("\0".join(scored.name.tolist() if replies is None else replies.names))
    evidence = Evidence(decision=decision, columns=columns, ids=columns["id"], total=scored.total, data=names)
    method, of = "recorded outcomes", f"{scored.n} items of {scored.source.source}"
    if replies is not None:
        method = "asked"
        made = {"calls": replies.calls, "recalled": replies.recalled, "failed": replies.failed}
        details = {**details, **made, **({} if replies.spent is None else {"spent": replies.spent})}
        tally = Tally(forward=replies.calls, seconds=replies.seconds, notes=replies.notes)
        evidence = replace(evidence, cached=replies.cached, model=replies.model, tally=tally)
        caveats = [*caveats, *_caveats_of(replies)]
    elif scope == "population":
        # Where these decide, the claim is inconclusive (`counted_once`).
        inputs = [one for one in scored.source.digest[scored.first].tolist() if one]
        alike = len(inputs) - len(set(inputs))
        caveats = [*caveats, f"{_count(alike)} with the input of another"] if alike else caveats
    if scope == "population" and scored.clusters is None:
        of_groups = "" if kind is WORST_GROUP_RATE else likely_names.by_groups(scored.group.tolist())
        likely = of_groups or likely_names.by_names(scored.name.tolist(), units="items")
        caveats = [*caveats, likely] if likely else caveats
    if same:
        evidence = replace(evidence, beside=OtherModel(model="", outcomes=None, counts={}, same=same))
    result = result_of(
        evidence,
        decision,
        replace(settings, scope=scope),
        kind=kind,
        statement=kind.quantities[0].state(),
        threshold=threshold,
        setting=of,
        method=method,
        details=details,
        caveats=caveats,
        pairing=Pairing() if kind is RATE and scored.single else NOT_PAIRED,
        **_answers(scored, kind),
        scope=scope,
    )
    # Clusters may be a column of the outcomes, without the option.
    result = require_clusters(result, scored.clusters)
    if (threshold is None and "baseline" not in details) or decision.verdict is Verdict.PASSED:
        return result
    # A report shows an item's name, its score and its texts.
    shown, texts = [], scored.source.texts
    for place in np.argsort(scored.mean, kind="stable")[: settings.examples].tolist():
        if scored.mean[place] < 1:
            row, index = int(scored.first[place]), place
            if replies is not None:
                index = int(np.searchsorted(np.array(replies.names), scored.name[place]))
            parts = [f"item {str(scored.name[place])!r}, score {scored.mean[place]:.3g}"]
            parts += [f"{name} {_excerpt(texts[name][row])}" for name in TEXTS if texts.get(name) and texts[name][row]]
            shown.append(Counterexample(index=index, label=-1, clean=-1, predicted=-1, answer="; ".join(parts)))
    return result.but(counterexamples=tuple(shown))
