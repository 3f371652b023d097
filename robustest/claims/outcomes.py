"""The rate of recorded outcomes: a share of items, or a mean score, over all items, in each group, and over runs.

The unit is the item, whatever the number of its runs:

1. Each item gets the mean score of its runs, scaled to 0..1. A run without a score counts as 0, as a crash would
   otherwise raise the rate; `missing="drop"` leaves such items out and says how many.
2. If every item is one run of 0 or 1, the rate is a share with exact binomial bounds (Clopper and Pearson, 1934).
   Otherwise it is a mean of bounded values, bounded by bets (Waudby-Smith and Ramdas, JRSS B 2024).
3. Two sets of outcomes are paired by the names of their items. Shares are compared by McNemar's exact test, means by
   bets on the differences and by swapping the pairs at random: an item whose runs agree in both says nothing.

The outcomes are all there are, so that no verdict is early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest.data.outcomes import TEXTS, Outcomes
from robustest.decisions import Decision, Rule, ShareRule, optional_threshold
from robustest.decisions.baseline import BaselineRule, NoWorse, ScoreBaselineRule
from robustest.decisions.mean import ScoreRule
from robustest.decisions.rule import Terms
from robustest.errors import ConfigError, DataError, expected
from robustest.kinds import Kind, Quantity, no_lines
from robustest.results import NOT_PAIRED, Counterexample, Pairing, Result, Verdict
from robustest.run.assertion import assertion
from robustest.run.evidence import Evidence
from robustest.run.finish import result_of
from robustest.run.measurement import measurement
from robustest.run.plan import Options, apply, terms_of
from robustest.settings import Settings

Reference = Outcomes | str | PathLike[str]
"""Other outcomes, or a file of them."""
Missing = Literal["fail", "drop"]

RATE = Kind(
    name="rate",
    quantities=(Quantity.at_least("at_least", "rate", "rate", trivial=0),),
    further_claims=("no_worse_than",),
    lines=no_lines,
)
"""The share of items that are right, or the mean of their scores."""

WORST_GROUP_RATE = Kind(
    name="worst_group_rate",
    quantities=(Quantity.at_least("at_least", "worst group's rate", "rate in the worst group", trivial=0),),
    lines=no_lines,
)
"""The lowest rate among groups of items."""

CONSISTENT_RUNS = Kind(
    name="consistent_runs",
    quantities=(Quantity.at_most("max_flip_rate", "flip rate", "flip rate between runs of an item", trivial=1),),
    lines=no_lines,
)
"""The share of pairs of runs of one item whose scores differ."""


@measurement(RATE)
def measure_rate(
    outcomes: Reference,
    *,
    at_least: float | None = None,
    no_worse_than: Reference | None = None,
    tolerance: float = 0.0,
    missing: Missing = "fail",
    **options: Unpack[Options],
) -> Result:
    """Measure the rate of recorded outcomes: the share of items that are right, or their mean score.

    Args:
        outcomes: what was recorded, or its file.
        at_least: the rate claimed, in 0..1 of the range of the scores. It is about the population that the items were
            drawn from, unless `scope="set"` is given.
        no_worse_than: outcomes of another system, or their file, paired by the names of the items. Without
            `scope="population"` the claim fails where a loss is shown, and passes where none is.
        tolerance: the fall of the rate that is allowed, in 0..1.
        missing: "fail" counts a run without a score, and an item that only the other outcomes have, as 0; "drop" leaves
            it out. Either way the result says how many there are.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result. Outcomes are whether an item's mean score is .5 or more, in the order of the items' names.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: a file cannot be read, the outcomes have different ranges, or no item has a score.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    settings, given_scope = _settings(options)
    _checked_missing(missing)
    if not 0 <= tolerance < 1:
        raise ConfigError(expected("a tolerance in 0..1, below 1", tolerance))
    found = as_outcomes(outcomes)
    scored, dropped = _scored(found, missing)
    number = _number_rule(scored, at_least, terms_of(replace(settings, scope=given_scope or "population")))
    columns = scored.columns(settings.seed)
    decision = number.decide(columns, scored.n, None)
    details: dict[str, Any] = {"items": scored.n, "runs": int(found.items.runs.sum()), "source": found.source}
    caveats = (
        [f"{_count(dropped)} without a score {'left out' if missing == 'drop' else 'counted as 0'}"] if dropped else []
    )
    scope = given_scope or "population"
    if no_worse_than is not None:
        pairs = _paired(found, as_outcomes(no_worse_than), missing)
        rule = _comparison(pairs, tolerance, replace(number.terms, scope=given_scope or "set"), settings.seed)
        compared = rule.decide(_pair_columns(pairs), len(pairs.now), None)
        if compared.verdict is Verdict.PASSED and len(pairs.changed) and missing == "fail":
            # A candidate whose failing items got another input loses nothing among the pairs. It passes only if the
            # loss of all changed items would not be a loss that the rule shows.
            worst = replace(
                pairs,
                now=np.concatenate([pairs.now, np.zeros(len(pairs.changed))]),
                before=np.concatenate([pairs.before, pairs.changed]),
            )
            if_lost = _comparison(worst, tolerance, rule.terms, settings.seed)
            if if_lost.decide(_pair_columns(worst), len(worst.now), None).verdict is not Verdict.PASSED:
                hidden = f"{_count(len(pairs.changed))} of another input could hide a loss"
                why = f'{hidden}: give such items new names, or missing="drop"'
                compared = replace(compared, verdict=Verdict.INCONCLUSIVE, rule=f"{why}; {compared.rule}")
        decision = _both(decision, compared, claimed=at_least is not None)
        details["baseline"] = {
            "model": f"recorded in {pairs.reference}",
            **rule.compare(_pair_columns(pairs)).details(),
            "accuracy": float(rule.share_before),
            "pairs": len(pairs.now),
            "missing": pairs.lost,
            "new": pairs.new,
            "changed": len(pairs.changed),
            "tolerance": tolerance,
        }
        caveats += pairs.caveats(missing)
        scope = scope if at_least is not None else given_scope or "set"
    return _result(
        scored,
        decision,
        settings,
        columns,
        kind=RATE,
        threshold=at_least,
        scope=scope,
        details=details,
        caveats=caveats,
    )


@assertion(measure_rate)
def assert_rate() -> None:
    """Claim that the recorded share of right items, or mean score, is at least `at_least`, or not below a baseline."""


@measurement(WORST_GROUP_RATE)
def measure_worst_group_rate(
    outcomes: Reference, *, at_least: float | None = None, missing: Missing = "fail", **options: Unpack[Options]
) -> Result:
    """Measure the lowest rate among the groups of recorded outcomes.

    The worst group is picked after looking, so each group is judged at alpha divided by their number (Bonferroni).

    Args:
        outcomes: what was recorded, with a group for each item, or its file. Items in no group are left out, and
            counted.
        at_least: the rate claimed in every group, in 0..1 of the range of the scores.
        missing: as for `measure_rate`.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: a file cannot be read, or no item has a group.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    settings, given_scope = _settings(options)
    _checked_missing(missing)
    found = as_outcomes(outcomes)
    scored, dropped = _scored(found, missing)
    groups = sorted(set(scored.group.tolist()) - {""})
    if not groups:
        raise DataError(f"Expected a group for each item in {found.source} but got none. Name its column: group=.")
    scope = given_scope or "population"
    terms = terms_of(replace(settings, scope=scope))
    shared = replace(terms, alpha=terms.alpha / len(groups), fail_alpha=terms.fail_alpha / len(groups))
    rows = []
    for name in groups:
        part = scored.part(scored.group == name)
        decided = _number_rule(part, at_least, shared).decide(part.columns(settings.seed), part.n, None)
        rows.append((name, part.n, float(part.mean.mean()), decided))
    worst = min(rows, key=lambda row: (row[2], row[3].interval[0]))
    verdicts = {row[3].verdict for row in rows}
    failed = [row for row in rows if row[3].verdict is Verdict.FAILED]
    verdict = Verdict.FAILED if failed else Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Verdict.PASSED
    decision = replace(
        worst[3],
        verdict=verdict,
        rule=f"{(failed or [worst])[0][3].rule}, for each of {len(groups)} groups",
        estimate=worst[2],
        interval=(min(row[3].interval[0] for row in rows), min(row[3].interval[1] for row in rows)),
    )
    alone = int((scored.group == "").sum())
    caveats = [f"worst group {worst[0]!r}"]
    caveats += (
        [f"{_count(dropped)} without a score {'left out' if missing == 'drop' else 'counted as 0'}"] if dropped else []
    )
    caveats += [f"{_count(alone)} in no group"] if alone else []
    details = {
        "groups": [
            {"group": name, "n": n, "estimate": mean, "interval": list(decided.interval)}
            for name, n, mean, decided in rows
        ],
        "items": scored.n,
        "source": found.source,
    }
    columns = scored.columns(settings.seed)
    return _result(
        scored,
        decision,
        settings,
        columns,
        kind=WORST_GROUP_RATE,
        threshold=at_least,
        scope=scope,
        details=details,
        caveats=caveats,
    )


@assertion(measure_worst_group_rate)
def assert_worst_group_rate() -> None:
    """Claim that the recorded rate is at least `at_least` in every group of items."""


@measurement(CONSISTENT_RUNS)
def measure_consistent_runs(
    outcomes: Reference, *, max_flip_rate: float | None = None, **options: Unpack[Options]
) -> Result:
    """Measure how often two runs of one item get different scores.

    Each item gives one value, the share of its pairs of runs that differ; their mean is bounded by bets, so that items
    with many runs count no more than items with two.

    Args:
        outcomes: what was recorded, with several runs of items, or its file. Items with one run are left out, and
            counted.
        max_flip_rate: the rate claimed at most, in 0..1.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: a file cannot be read, or no item has two runs with a score.
    """
    max_flip_rate = optional_threshold("max_flip_rate", max_flip_rate, trivial=1)
    settings, given_scope = _settings(options)
    found = as_outcomes(outcomes)
    items = found.items
    several = items.runs >= 2
    if not several.any():
        raise DataError(f"Expected items with several runs in {found.source} but every item has one at most.")
    scope = given_scope or "population"
    part = _Scored(
        items.name[several], 1 - items.flips[several], items.group[several], items.first[several], found, single=False
    )
    rule = ScoreRule(
        threshold=None if max_flip_rate is None else 1 - max_flip_rate, terms=terms_of(replace(settings, scope=scope))
    )
    columns = part.columns(settings.seed)
    decision = rule.decide(columns, part.n, None)
    low, high = decision.interval
    decision = replace(
        decision,
        estimate=None if decision.estimate is None else 1 - decision.estimate,
        interval=(1 - high, 1 - low),
    )
    left = int((~several).sum())
    caveats = [f"{_count(left)} with fewer than two scored runs left out"] if left else []
    details = {
        "items": part.n,
        "runs": int(items.runs[several].sum()),
        "flipped_items": int((items.flips[several] > 0).sum()),
        "source": found.source,
    }
    return _result(
        part,
        decision,
        settings,
        columns,
        kind=CONSISTENT_RUNS,
        threshold=max_flip_rate,
        scope=scope,
        details=details,
        caveats=caveats,
    )


@assertion(measure_consistent_runs)
def assert_consistent_runs() -> None:
    """Claim that two runs of one item rarely get different scores."""


def as_outcomes(given: Reference) -> Outcomes:
    """Return outcomes as they are, or those in a file.

    Raises:
        ConfigError: they are neither.
        DataError: the file cannot be read.
    """
    if isinstance(given, Outcomes):
        return given
    if isinstance(given, (str, PathLike)):
        return Outcomes.read(given)
    raise ConfigError(expected("outcomes or the path of a file of outcomes", given, "Make them: Outcomes.of(rows)."))


@dataclass(frozen=True, slots=True)
class _Scored:
    """Items that count, sorted by name: m names, mean scores in 0..1, groups, and a row of each in the outcomes.

    `single` is True if every item is one run of 0 or 1.
    """

    name: NDArray[np.str_]
    mean: NDArray[np.float64]
    group: NDArray[np.str_]
    first: NDArray[np.int64]
    source: Outcomes
    single: bool

    @property
    def n(self) -> int:
        return len(self.name)

    def part(self, which: NDArray[np.bool_]) -> _Scored:
        return replace(
            self, name=self.name[which], mean=self.mean[which], group=self.group[which], first=self.first[which]
        )

    def columns(self, seed: int) -> dict[str, NDArray[Any]]:
        # Bets depend on the order of the values: a seeded one of the sorted names is the same for any order of rows.
        order = np.random.default_rng(seed).permutation(self.n)
        return {"held": (self.mean >= 0.5)[order], "score": self.mean[order], "id": order}


def _scored(found: Outcomes, missing: Missing) -> tuple[_Scored, int]:
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
    return _Scored(items.name[keep], mean[keep], items.group[keep], items.first[keep], found, single), int(gone.sum())


def _number_rule(scored: _Scored, at_least: float | None, terms: Terms) -> ShareRule | ScoreRule:
    """Return the rule on the rate: exact for shares, bets for means."""
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


def _paired(found: Outcomes, reference: Outcomes, missing: Missing) -> _Pairs:
    """Pair the items of two sets of outcomes by their names.

    Raises:
        DataError: their scores have different ranges, or they share no item.
    """
    if (found.low, found.high) != (reference.low, reference.high):
        raise DataError(
            expected("outcomes of one range of scores", [(one.low, one.high) for one in (found, reference)])
        )
    now, _ = _scored(found, missing)
    # Of the other outcomes a run without a score is no zero: that would make them easier to match.
    before, unscored = _scored(reference, "drop")
    _, here, there = np.intersect1d(now.name, before.name, assume_unique=True, return_indices=True)
    inputs = found.digest[now.first[here]], reference.digest[before.first[there]]
    same = (inputs[0] == inputs[1]) | (inputs[0] == "") | (inputs[1] == "")
    gone = np.setdiff1d(np.arange(before.n), there)
    if not same.any():
        raise DataError(
            f"Expected items that both {found.source} and {reference.source} have, of one input, but there are none: "
            f"{len(here)} share a name. Name the items alike in both."
        )
    values = [now.mean[here][same], before.mean[there][same]]
    if missing == "fail":  # a candidate that gives no answer is worse, not better
        values = [np.concatenate([values[0], np.zeros(len(gone))]), np.concatenate([values[1], before.mean[gone]])]
    at_now, at_before = (np.searchsorted(of.items.name, one.name) for of, one in ((found, now), (reference, before)))
    return _Pairs(
        now=values[0],
        before=values[1],
        lost=len(gone),
        new=now.n - len(here),
        changed=before.mean[there][~same],
        fewer=int((found.items.planned[at_now[here][same]] < reference.items.planned[at_before[there][same]]).sum()),
        unscored=unscored,
        single=now.single and before.single,
        reference=reference.source,
    )


def _comparison(pairs: _Pairs, tolerance: float, terms: Terms, seed: int) -> NoWorse:
    """Return the rule that the pairs are decided by."""
    rate: Rule = ShareRule(threshold=None, at_least=True, terms=terms)
    if pairs.single:
        return BaselineRule(other=rate, asked=False, before=pairs.before.astype(bool), tolerance=tolerance, terms=terms)
    rate = ScoreRule(threshold=None, terms=terms)
    return ScoreBaselineRule(
        other=rate, asked=False, before=pairs.before, tolerance=tolerance, terms=terms, seed=seed, of="rate"
    )


def _pair_columns(pairs: _Pairs) -> dict[str, NDArray[Any]]:
    return {"held": pairs.now >= 0.5, "score": pairs.now, "id": np.arange(len(pairs.now))}


def _both(number: Decision, compared: Decision, *, claimed: bool) -> Decision:
    """Return the decision on the rate and on the comparison: both must pass, and one failure suffices."""
    if not claimed:
        return replace(compared, estimate=number.estimate, interval=number.interval)
    order = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)
    worst = min((number, compared), key=lambda one: order.index(one.verdict))
    if number.verdict is compared.verdict:
        return replace(number, rule=f"{number.rule}; {compared.rule}", at_alpha=True)
    return replace(number, verdict=worst.verdict, rule=worst.rule, reasons=worst.reasons, at_alpha=True)


def _count(items: int) -> str:
    return f"{items} {'item' if items == 1 else 'items'}"


def _settings(options: Options) -> tuple[Settings, str | None]:
    """Return the settings of a call, and the scope that the call itself names."""
    _, settings = apply(lambda x: x, options)
    return settings, options.get("scope")


def _checked_missing(missing: str) -> None:
    if missing not in ("fail", "drop"):
        raise ConfigError(expected('missing="fail" or missing="drop"', missing))


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
) -> Result:
    from robustest.data.outcomes import digest_of

    # By the items' names `robustest compare` knows that two runs may be paired.
    names = digest_of("\0".join(scored.name.tolist()))
    evidence = Evidence(decision=decision, columns=columns, ids=columns["id"], total=scored.n, data=names)
    result = result_of(
        evidence,
        decision,
        replace(settings, scope=scope),
        kind=kind,
        statement=kind.quantities[0].state(),
        threshold=threshold,
        setting=f"{scored.n} items of {scored.source.source}",
        method="recorded outcomes",
        details=details,
        caveats=caveats,
        pairing=Pairing() if kind is RATE and scored.single else NOT_PAIRED,
        scope=scope,
    )
    if (threshold is None and "baseline" not in details) or decision.verdict is Verdict.PASSED:
        return result
    # A report shows an item's name, its score and its texts.
    shown, texts = [], scored.source.texts
    for place in np.argsort(scored.mean, kind="stable")[: settings.examples].tolist():
        if scored.mean[place] < 1:
            row = int(scored.first[place])
            parts = [f"item {str(scored.name[place])!r}, score {scored.mean[place]:.3g}"]
            parts += [f"{name} {texts[name][row]!r}" for name in TEXTS if texts.get(name) and texts[name][row]]
            shown.append(Counterexample(index=place, label=-1, clean=-1, predicted=-1, answer="; ".join(parts)))
    return replace(result, counterexamples=tuple(shown))
