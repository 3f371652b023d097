"""Reliability of outcomes: items that succeed in all, or some, of k runs, and the lowest rate of an item."""

# Each item gets the chance that enough of k of its runs succeed (`robustest.decisions.reliability`), and then takes the
# road of all claims on outcomes: clusters, copies, pairs, missing scores.
#
# - A run without a score is a run that failed; `missing="drop"` leaves the run out.
# - Of an item with fewer than k runs the chance is not known. The claim passes only if it would with the runs that are
#   not there as failures, and fails only if it would with them as successes. `missing="drop"` leaves the item out.
# - Copies of one run let any system look reliable: no chance then lies between 0 and 1. If no run of an item differs
#   from its others, though some items fail, the claim passes only if one run of each item shows it: by Jensen's
#   inequality E[p^k] >= (E p)^k.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest.checks import require
from robustest.claims.outcome_items import (
    AskedItems,
    Compared,
    ItemsClaim,
    ItemsClaims,
    ItemScores,
    MeasuredItems,
    Missing,
    Reference,
    as_outcomes,
    claim_terms,
    compare,
    count_items,
    mean_scores,
    no_tolerance,
    unscored_words,
)
from robustest.data.outcomes import Outcomes
from robustest.decisions import Decision, Terms, checked_threshold
from robustest.decisions.reliability import ItemRate, chance_of_draws, chances_of_draws, decide_worst_item, item_rates
from robustest.errors import ConfigError, DataError, expected
from robustest.kinds import Kind, Quantity
from robustest.results import Result, Verdict
from robustest.run.asking import Calls, Replies, Score
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options

# Items that a line names.
_NAMED = 5

RELIABLE = Kind(
    name="reliable",
    varies="nothing",
    quantities=(Quantity.at_least("at_least", "reliability", "chance of an item to succeed in {}", trivial=0),),
    further_claims=("no_worse_than",),
    parameters=("k", "needed", "min_score"),
    axis="k",
    brief=True,
)
"""The mean chance of items to succeed in all, or in some, of k runs."""

WORST_ITEM_RATE = Kind(
    name="worst_item_rate",
    varies="nothing",
    quantities=(Quantity.at_least("at_least", "worst item's rate", "rate of every item over its runs", trivial=0),),
    brief=True,
)
"""The lowest rate of an item over its runs."""


@measurement(RELIABLE)
def measure_reliable(
    outcomes: Reference,
    items: object = None,
    *,
    k: int,
    needed: int | None = None,
    min_score: float | None = None,
    score: Score | None = None,
    runs: int | None = None,
    calls: Calls | None = None,
    at_least: float | None = None,
    no_worse_than: Reference | None = None,
    tolerance: float = 0.0,
    missing: Missing = "fail",
    **options: Unpack[Options],
) -> Result:
    """Measure the chance that an item succeeds in all of k independent runs, or in some of them.

    With all of k it is pass^k, with 1 of k it is pass@k; both are estimated without bias from k or more runs.

    Args:
        outcomes: recorded outcomes, with k or more runs of items, or its file; or a function that is asked.
        items, score, calls: for a function, as for `measure_rate`.
        runs: number of times that a function is asked about each item, at least k; None for k.
        k: the number of runs, at least 1.
        needed: the number of them that must succeed, 1 to k; None for all.
        min_score: lowest score of a run that succeeds, in the range of the scores; needed if any lies between its ends.
        at_least: the mean chance claimed, in 0..1.
        no_worse_than, tolerance: as for `measure_rate`, of the mean chance. Items of which the other outcomes have
            fewer than k runs are not compared.
        missing: "fail" counts a run without a score as failed, and an item with fewer than k runs at worst: as failed
            for a pass, as successful for a failure. "drop" leaves out both.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. Outcomes are whether an item's chance is .5 or more, in the order of the items' names.

    Raises:
        ConfigError: an argument is out of range or unknown, no number of items can show the tolerance, or `score` or a
            cost raised.
        DataError: a file cannot be read, no item has k runs, or a score is out of range.
        ModelError: a function that is asked never answered, or failed many times in a row.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    require(0 <= tolerance < 1, "a tolerance in 0..1, below 1", tolerance)
    require(type(k) is int and k >= 1, "k to be a whole number of runs >= 1", k)
    needed = k if needed is None else needed
    require(type(needed) is int and 1 <= needed <= k, f"needed to be a whole number in 1..{k}", needed)
    settings, terms = claim_terms(options, missing)
    cluster, statement = options.get("cluster"), RELIABLE.quantities[0].state(_of_runs(k, needed))
    live = AskedItems.of(
        outcomes, items, score=score, runs=runs, calls=calls, missing=missing, least=k, cluster=cluster
    )
    clusters = None if live is None else live.drawn(terms, settings.seed)
    if no_worse_than is not None and terms.scope != "set" and not tolerance:
        known = live.items if live is not None else as_outcomes(outcomes).items.name
        raise no_tolerance(len(known), terms.alpha)
    replies, early = None, None
    asked = partial(_chance_of_run, k=k, needed=needed, min_score=min_score)
    if live is None:
        found = as_outcomes(outcomes, cluster)
    else:
        how: dict[str, Any] = {"early": not settings.exact, "passes": no_worse_than is None}
        part = ItemsClaim(range(len(live.items)), at_least, terms, **how, inputs=live.inputs(terms), clusters=clusters)
        judge = ItemsClaims([part], asked, yes_or_no=live.runs == k)
        replies = live.ask(judge, settings, statement, clusters)
        found, early = replies.outcomes, part.settled
    value = partial(_chances, k=k, needed=needed, min_score=min_score)
    scored, dropped = value(found, missing, replies)
    scored = scored.in_clusters(terms, settings.seed, clusters)
    decision = scored.decided(at_least, terms, settings.seed, early)
    short = int((_runs_of(found, missing) < k).sum())
    best = scored
    if short and missing == "fail":
        best = value(found, missing, at_best=True)[0].in_clusters(terms, settings.seed, clusters)
        decision = _between(decision, best.decided(at_least, terms, settings.seed, None), short, k)
    if needed > 1 and replies is None and decision.verdict is Verdict.PASSED and at_least is not None:
        decision = _unless_copied(decision, found, missing, k=k, at_least=at_least, terms=terms, seed=settings.seed)
    details: dict[str, Any] = {
        "items": scored.n,
        "runs": int(found.items.runs.sum()),
        "k": k,
        "needed": needed,
        "rate_of_one_run": float(_chances(found, missing, k=1, needed=1, min_score=min_score)[0].mean.mean()),
        "source": found.source,
    }
    caveats, same = unscored_words(dropped, "fail", replies) if missing == "fail" else [], ""
    if short:
        how_short = "left out" if missing == "drop" else "counted at worst"
        caveats.append(f"{count_items(short)} with fewer than {k} runs {how_short}")
    if no_worse_than is not None and not (early is not None and early.verdict is Verdict.FAILED):
        other: Outcomes | Replies
        if live is not None and callable(no_worse_than):
            every = ItemsClaim(range(len(live.items)), None, terms)
            other = replace(live, system=no_worse_than).ask(ItemsClaims([every], asked), settings, statement, clusters)
        else:
            other = as_outcomes(no_worse_than)
            fewer = int((_runs_of(other, "drop") < k).sum())
            caveats += [f"{count_items(fewer)} with fewer than {k} runs in the other outcomes"] if fewer else []
        given: dict[str, Any] = {
            "tolerance": tolerance,
            "missing": missing,
            "terms": terms,
            "seed": settings.seed,
            "of": "chance",
        }
        compared = compare(found, scored, other, **given, value=value)
        if best is not scored:
            high = compare(found, best, other, **given, value=partial(value, at_best=True))
            compared = replace(compared, decision=_between(compared.decision, high.decision, short, k))
        if needed > 1 and isinstance(other, Outcomes) and replies is None:
            compared = _unless_made_alike(compared, found, other)
        decision, same = compared.beside(decision, at_least), compared.same
        details["baseline"] = compared.details
        caveats += compared.caveats
    return MeasuredItems(
        kind=RELIABLE,
        scored=scored,
        decision=decision,
        threshold=at_least,
        details=details,
        caveats=caveats,
        same=same,
        statement=statement,
    ).result(settings)


@assertion(measure_reliable)
def assert_reliable() -> None:
    """Claim that items succeed in all of k runs (pass^k), or in some of them (pass@k), with a chance of `at_least`."""


def _of_runs(k: int, needed: int) -> str:
    if k == 1:
        return "a run"
    return f"all of {k} runs" if needed == k else f"{needed} or more of {k} runs"


def _successes(found: Outcomes, min_score: float | None) -> NDArray[np.bool_]:
    """Return (n,) bool: True for the rows of runs that succeeded.

    Raises:
        ConfigError: the lowest score of such runs is missing, or outside of the range.
    """
    if min_score is None:
        if not found.binary:
            between = found.score[(found.score > found.low) & (found.score < found.high)][0]
            raise _no_min_score(float(between), found.low, found.high)
        return np.asarray(found.score == found.high)
    if isinstance(min_score, bool) or not found.low < min_score <= found.high:
        raise ConfigError(expected(f"min_score above {found.low:g}, to {found.high:g}", min_score))
    return np.asarray(found.score >= min_score)  # NaN is not


def _no_min_score(score: float, low: float, high: float) -> ConfigError:
    mend = f"Say which scores are a success: min_score={high:g} for the best alone."
    return ConfigError(expected(f"scores of {low:g} and {high:g} alone, or min_score=", score, mend))


def _chance_of_run(scores: Sequence[float | bool | None], *, k: int, needed: int, min_score: float | None) -> float:
    """Return the chance of an item that was asked, of which None are runs that failed."""
    least = 1.0 if min_score is None else min_score
    between = next((float(one) for one in scores if one is not None and 0 < float(one) < 1), None)
    if min_score is None and between is not None:
        raise _no_min_score(between, 0.0, 1.0)
    if isinstance(least, bool) or not 0 < least <= 1:
        raise ConfigError(expected("min_score above 0, to 1", min_score))
    return chance_of_draws(sum(one is not None and float(one) >= least for one in scores), len(scores), k, needed)


def _runs_of(found: Outcomes, missing: Missing) -> NDArray[np.int64]:
    """Return the runs of each item that count."""
    return found.items.planned if missing == "fail" else found.items.runs


def _chances(
    found: Outcomes,
    missing: Missing,
    replies: Replies | None = None,
    *,
    k: int,
    needed: int,
    min_score: float | None,
    at_best: bool = False,
) -> tuple[ItemScores, int]:
    """Return the items that count, each with its chance, and the number of items with a run without a score.

    Args:
        at_best: True to count runs that an item lacks as successes, False as failures.

    Raises:
        ConfigError: see `_successes`.
        DataError: no item has k runs.
    """
    items, runs = found.items, _runs_of(found, missing)
    place = np.unique(found.item, return_inverse=True)[1]
    right = np.bincount(place[_successes(found, min_score)], minlength=len(items.name))
    lacking = np.maximum(k - runs, 0)
    if (lacking > 0).all():
        most, scored = int(runs.max()), "" if missing == "fail" else " with a score"
        mend = f"Record more runs, or claim k={most}." if most else "Record runs with a score."
        raise DataError(f"Expected items with {k} runs{scored} in {found.source} but the most of any is {most}. {mend}")
    right, filled = right + (lacking if at_best else 0), runs + lacking
    keep = np.ones(len(runs), dtype=bool) if missing == "fail" else lacking == 0
    scored_items = ItemScores(
        items.name[keep],
        chances_of_draws(right[keep], filled[keep], k, needed),
        items.group[keep],
        items.first[keep],
        found,
        single=bool((filled == k).all()),
        replies=replies,
    )
    return scored_items, int((items.planned > items.runs).sum())


def _between(worst: Decision, best: Decision, short: int, k: int) -> Decision:
    """Return the decision that holds whatever the runs would be that items lack."""
    interval = min(worst.interval[0], best.interval[0]), max(worst.interval[1], best.interval[1])
    if worst.verdict is best.verdict:
        return replace(worst, interval=interval)
    if worst.verdict is Verdict.PASSED or (
        best.verdict is not Verdict.FAILED and worst.verdict is Verdict.INCONCLUSIVE
    ):
        return replace(worst, interval=interval)
    why = f'{count_items(short)} with fewer than {k} runs could decide it: record them, or missing="drop"'
    return replace(
        worst,
        verdict=Verdict.INCONCLUSIVE,
        rule=f"{why}; {worst.rule}",
        estimate=None,
        interval=interval,
        reasons=("few_runs",),
    )


def _alike(found: Outcomes) -> bool:
    """Return True if items have several runs, and no run differs from another run of its item, in score or answer."""
    _, first, place = np.unique(found.item, return_index=True, return_inverse=True)
    if len(first) == len(place):
        return False
    original = first[place]
    same = (found.score == found.score[original]) | (np.isnan(found.score) & np.isnan(found.score[original]))
    answers = np.array(found.texts.get("answer", np.zeros(len(place))))
    return bool(same.all() and (answers == answers[original]).all())


def _unless_copied(
    decision: Decision, found: Outcomes, missing: Missing, *, k: int, at_least: float, terms: Terms, seed: int
) -> Decision:
    """Return the decision that passes only if runs are no copies, or one run of each item shows it."""
    if found.copied:
        why = "the runs have no names, and each row is there twice, as in a file written twice: name them, run="
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("copies",))
    one_run, _ = mean_scores(found, missing)
    if not _alike(found) or bool((one_run.mean == 1).all()):
        return decision
    one_run = replace(one_run, single=found.binary).in_clusters(terms, seed, None)
    if one_run.decided(at_least ** (1 / k), terms, seed, None).verdict is Verdict.PASSED:
        return decision
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=f"{_COPIES}; {decision.rule}", reasons=("copies",))


_COPIES = (
    "no run of an item differs from another, as in copies of one run, and one run of each does not show it. If the "
    "system answers alike each time, its rate says the same: assert_rate"
)


def _unless_made_alike(compared: Compared, found: Outcomes, other: Outcomes) -> Compared:
    """Return a comparison that does not pass by copies of runs of the first system alone."""
    failing = bool((found.items.mean < 1).any())
    if compared.decision.verdict is not Verdict.PASSED or not failing or not _alike(found) or _alike(other):
        return compared
    rule = f"{_COPIES}; {compared.decision.rule}"
    decision = replace(compared.decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("copies",))
    return replace(compared, decision=decision)


@measurement(WORST_ITEM_RATE)
def measure_worst_item_rate(
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
    """Measure the lowest rate among these items, each over its own runs.

    Args:
        outcomes: recorded outcomes, with several runs of items, or its file; or a function that is asked.
        items, score, runs, calls: for a function, as for `measure_rate`.
        at_least: the rate claimed of every item, in 0..1 of the range of the scores: .6 for 3 of 5. It is about the
            chance behind the runs of each of these items, for all of them at once; with `scope="set"` about the runs.
        missing: "fail" counts a run without a score as 0, "drop" leaves it out.
        **options: see `robustest.run.options.Options`; `cluster` has no meaning, as the items are no sample.

    Raises:
        ConfigError: an argument is out of range or unknown, or `score` or a cost raised.
        DataError: a file cannot be read, no item has a score, or a score is out of range.
        ModelError: a function that is asked never answered, or failed many times in a row.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    if options.get("cluster") is not None:
        raise ConfigError("Expected no cluster= but got one: the claim is about each of these items, not a sample.")
    settings, terms = claim_terms(options, missing)
    live = AskedItems.of(outcomes, items, score=score, runs=runs, calls=calls, missing=missing)
    replies, statement = None, WORST_ITEM_RATE.quantities[0].state()
    if live is None:
        found = as_outcomes(outcomes)
    else:
        every = ItemsClaim(range(len(live.items)), None, terms)
        replies = live.ask(ItemsClaims([every], _no_value), settings, statement)
        found = replies.outcomes
    scored, dropped = mean_scores(found, missing, replies)
    place = np.unique(found.item, return_inverse=True)[1]
    rows = np.flatnonzero(~np.isnan(found.score)) if missing == "drop" else np.arange(len(place))
    shares = np.nan_to_num((found.score - found.low) / (found.high - found.low))
    order = rows[np.argsort(place[rows], kind="stable")]
    by_item = np.split(shares[order], np.flatnonzero(np.diff(place[order])) + 1)
    rates = item_rates(by_item, at_least, terms, settings.seed)
    decision = decide_worst_item(rates, at_least, terms)
    if replies is not None and len(replies.places) < len(replies.names) and decision.verdict is not Verdict.FAILED:
        why = replies.stopped or f"max_samples: {len(replies.places)} of {len(replies.names)} items were asked"
        decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, estimate=None, reasons=("budget",))
    if terms.scope != "set" and decision.verdict is Verdict.PASSED and replies is None and found.copied:
        why = "the runs have no names, and each row is there twice, as in a file written twice: name them, run="
        decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("copies",))
    named = dict(zip(scored.name.tolist(), rates, strict=True))
    caveats = _below({name: one for name, one in named.items() if one.below}, at_least)
    details = {
        "items": scored.n,
        "runs": int(found.items.runs.sum()),
        "items_below": [name for name, one in named.items() if one.below],
        "source": found.source,
    }
    return MeasuredItems(
        kind=WORST_ITEM_RATE,
        scored=scored,
        decision=decision,
        threshold=at_least,
        details=details,
        caveats=[*caveats, *unscored_words(dropped, missing, replies)],
        drawn="none",
    ).result(settings)


@assertion(measure_worst_item_rate)
def assert_worst_item_rate() -> None:
    """Claim that every item succeeds in at least this share of its runs."""


def _no_value(scores: Sequence[float | bool | None]) -> float:
    """Return 0: every item is read, whatever its value."""
    return 0.0


def _below(rates: dict[str, ItemRate], at_least: float | None) -> list[str]:
    """Return the words of a line on items below the threshold: the lowest of them by name."""
    if not rates or at_least is None:
        return []
    lowest = sorted(rates.items(), key=lambda pair: (pair[1].mean, pair[0]))
    words = [f"{name!r} {one.mean * one.runs:.3g} of {one.runs}" for name, one in lowest[:_NAMED]]
    more = f" and {len(lowest) - _NAMED} more" if len(lowest) > _NAMED else ""
    return [f"{count_items(len(rates))} below {at_least:g}: {', '.join(words)}{more}"]
