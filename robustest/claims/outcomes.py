"""The rate of outcomes: a share of items, or a mean score, over all items, in each group, and over runs."""

# The unit is the item, whatever the number of its runs (see `robustest.claims.outcome_items`):
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

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from robustest.checks import require
from robustest.claims.judging import judged_rate
from robustest.claims.outcome_items import (
    AskedItems,
    ComparedItems,
    ItemsClaim,
    ItemsClaims,
    ItemScores,
    MeasuredItems,
    Missing,
    PartDecision,
    Reference,
    as_outcomes,
    claim_terms,
    compare,
    count_items,
    decide_worst,
    mean_scores,
    no_tolerance,
    unscored_words,
)
from robustest.data.judge_labels import JudgeLabels
from robustest.data.outcomes import Outcomes
from robustest.decisions import Decision, EarlyVerdict, checked_threshold
from robustest.errors import ConfigError, DataError, expected
from robustest.kinds import Kind, Quantity
from robustest.results import Pairing, Result, Verdict
from robustest.run.asking import Calls, Replies, Score
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options

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
    judge: JudgeLabels | None = None,
    missing: Missing = "fail",
    **options: Unpack[Options],
) -> Result:
    """Measure the rate of outcomes: the share of items that are right, or their mean score.

    Args:
        outcomes: recorded outcomes, or its file; or a function from an item to an answer, which is asked.
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
        judge: people's labels of some items, where the recorded scores are those of a judge that may err. The claim is
            then about the rate that people would find in the population: see `robustest.data.JudgeLabels`.
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
    settings, terms = claim_terms(options, missing)
    if judge is not None:
        if not isinstance(judge, JudgeLabels):
            raise ConfigError(expected("judge to be JudgeLabels", judge, "Make them: JudgeLabels(labels, drawn=)."))
        if no_worse_than is not None or (callable(outcomes) and not isinstance(outcomes, Outcomes)):
            what = "recorded outcomes and at_least= alone with judge="
            remedy = "Record the answers, and label some; compare systems by the judge's scores or by labels, not both."
            raise ConfigError(expected(what, outcomes if no_worse_than is None else no_worse_than, remedy))
        how_judged: dict[str, Any] = {"at_least": at_least, "missing": missing, "terms": terms, "settings": settings}
        return judged_rate(outcomes, judge, **how_judged, cluster=options.get("cluster"), kind=RATE)
    cluster, statement = options.get("cluster"), RATE.quantities[0].state()
    live = AskedItems.of(outcomes, items, score=score, runs=runs, calls=calls, missing=missing, cluster=cluster)
    clusters = None if live is None else live.drawn(terms, settings.seed)
    other: Outcomes | Replies | None = None
    fall: ItemsClaim | None = None
    replies: Replies | None = None
    early: EarlyVerdict | None = None
    if no_worse_than is not None and terms.scope != "set" and not tolerance:
        # Before a function is asked, so that nothing is spent.
        items_known = live.items if live is not None else as_outcomes(outcomes).items.name
        raise no_tolerance(len(items_known), terms.alpha)
    if live is None:
        found = as_outcomes(outcomes, cluster)
    else:
        places, inputs = range(len(live.items)), live.inputs(terms)
        part = ItemsClaim(places, at_least, terms, early=not settings.exact, inputs=inputs, clusters=clusters)
        rate = ItemsClaims([part], _mean)
        if no_worse_than is None:
            replies = live.ask(rate, settings, statement, clusters)
        else:
            # A claim about these items alone is not settled before the last one, nor is one beside other items.
            soon = not settings.exact and terms.scope != "set"
            fall = ItemsClaim(places, (1 - tolerance) / 2, terms, early=soon, inputs=inputs, clusters=clusters)
            comparing = partial(ComparedItems, None if at_least is None else rate, fall, value=_mean)
            replies, other = live.ask_beside(no_worse_than, comparing, settings, statement, clusters)
        found, early = replies.outcomes, part.settled
    scored, dropped = mean_scores(found, missing, replies)
    scored = scored.in_clusters(terms, settings.seed, clusters)
    decision = scored.decided(at_least, terms, settings.seed, early)
    details: dict[str, Any] = {"items": scored.n, "runs": int(found.items.runs.sum()), "source": found.source}
    if scored.single:
        details["right"] = int((scored.mean >= 0.5).sum())
    caveats, same = unscored_words(dropped, missing, replies), ""
    compares = no_worse_than is not None and not (early is not None and early.verdict is Verdict.FAILED)
    if compares and replies is not None and other is None:
        if decision.verdict is not Verdict.FAILED or at_least is None:
            why = replies.stopped or f"max_samples: {len(replies.places)} of {len(replies.names)} items were asked"
            rule = f"{why}; the comparison needs every item, and the other function was not asked"
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
    elif compares and no_worse_than is not None:
        other = as_outcomes(no_worse_than) if other is None else other
        how: dict[str, Any] = {"tolerance": tolerance, "missing": missing, "terms": terms, "seed": settings.seed}
        settled = fall if fall is not None and fall.settled is not None else None
        compared = compare(found, scored, other, early=settled, shared=live is not None and terms.scope != "set", **how)
        decision, same = compared.beside(decision, at_least), compared.same
        details["baseline"] = compared.details
        caveats += compared.caveats
    return MeasuredItems(
        kind=RATE,
        scored=scored,
        decision=decision,
        threshold=at_least,
        details=details,
        caveats=caveats,
        same=same,
        about={"pairing": Pairing()} if scored.single else {},
    ).result(settings)


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
        outcomes: recorded outcomes, with a group for each item, or its file; or a function that is asked. Items in no
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
    settings, terms = claim_terms(options, missing)
    cluster = options.get("cluster")
    live = AskedItems.of(outcomes, items, score=score, runs=runs, calls=calls, missing=missing, cluster=cluster)
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
    parts = [ItemsClaim(np.flatnonzero(of_items == name).tolist(), at_least, shared, **how) for name in groups]
    replies = None
    if live is not None:
        replies = live.ask(ItemsClaims(parts, _mean), settings, WORST_GROUP_RATE.quantities[0].state(), clusters)
        found = replies.outcomes
    assert found is not None  # noqa: S101 - one of the two was read
    scored, dropped = mean_scores(found, missing, replies)
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
            rows.append(PartDecision(name, 0, 1.0, decided))
            continue
        decided = one.decided(at_least, shared, settings.seed, part.settled)
        if unknown is not None and decided.verdict is Verdict.PASSED:
            # A candidate whose failing items lost the name of their group fails in no group.
            more = scored.part((scored.group == name) | unknown)
            if more.decided(at_least, shared, settings.seed, None).verdict is not Verdict.PASSED:
                why = f'{count_items(alone)} in no group could hide a lower rate: give them a group, or missing="drop"'
                decided = replace(decided, verdict=Verdict.INCONCLUSIVE, rule=why)
        rows.append(PartDecision(name, one.n, float(one.mean.mean()), decided))
    decision, worst = decide_worst(rows, whole=scored.n == scored.total, noun="groups")
    caveats = [f"worst group {worst.name!r}"]
    caveats += unscored_words(dropped, missing, replies)
    caveats += [f"{count_items(alone)} in no group"] if alone else []
    details = {
        "groups": [
            {
                "group": one.name,
                "n": one.n,
                "estimate": one.mean if one.n else None,
                "interval": [*one.decision.interval],
            }
            for one in rows
        ],
        "items": scored.n,
        "source": found.source,
    }
    return MeasuredItems(
        kind=WORST_GROUP_RATE,
        scored=scored,
        decision=decision,
        threshold=at_least,
        details=details,
        caveats=caveats,
        drawn="grouped items",
    ).result(settings)


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
        outcomes: recorded outcomes, with several runs of items, or its file; or a function that is asked. Recorded
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
    settings, terms = claim_terms(options)
    held = None if max_flip_rate is None else 1 - max_flip_rate
    cluster = options.get("cluster")
    live = AskedItems.of(outcomes, items, score=score, runs=runs, calls=calls, least=2, cluster=cluster)
    replies, early, clusters = None, None, None
    if live is None:
        found = as_outcomes(outcomes, cluster)
    else:
        clusters = live.drawn(terms, settings.seed)
        how: dict[str, Any] = {"early": not settings.exact, "inputs": live.inputs(terms), "clusters": clusters}
        whole = ItemsClaim(range(len(live.items)), held, terms, **how)
        replies = live.ask(ItemsClaims([whole], _agreement), settings, CONSISTENT_RUNS.quantities[0].state(), clusters)
        found, early = replies.outcomes, whole.settled
    of_items = found.items
    several = of_items.planned >= 2
    if not several.any():
        raise DataError(f"Expected items with several runs in {found.source} but every item has one at most.")
    # A system that crashes in every other run is not consistent: pairs with a run without a score differ.
    pairs = np.maximum(of_items.planned * (of_items.planned - 1), 1)
    agree = np.nan_to_num(1 - of_items.flips) * of_items.runs * (of_items.runs - 1) / pairs
    part = ItemScores(
        of_items.name[several],
        agree[several],
        of_items.group[several],
        of_items.first[several],
        found,
        single=False,
        replies=replies,
    )
    part = part.in_clusters(terms, settings.seed, clusters)
    decision = part.decided(held, terms, settings.seed, early)
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
    caveats = [f"{count_items(left)} with one run left out"] if left else []
    gone = int((several & (of_items.planned > of_items.runs)).sum())
    caveats += [f"{count_items(gone)} with a run without a score"] if gone and replies is None else []
    details = {
        "items": part.n,
        "runs": int(of_items.runs[several].sum()),
        "flipped_items": int((part.mean < 1).sum()),
        "source": found.source,
    }
    # A system that is never right, as one whose calls all fail, is consistent: its answers count as one.
    never_right = bool((np.nan_to_num(found.score, nan=found.low) == found.low).all())
    return MeasuredItems(
        kind=CONSISTENT_RUNS,
        scored=part,
        decision=decision,
        threshold=max_flip_rate,
        details=details,
        caveats=caveats,
        answers=["wrong"] * part.n if never_right else (),
    ).result(settings)


@assertion(measure_consistent_runs)
def assert_consistent_runs() -> None:
    """Claim that two runs of one item rarely get different scores."""


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
