"""The true rate of items that a judge scored and people labelled in part."""

# People's labels say how often the judge errs, and the claim is about the rate that they would have found
# (`robustest.decisions.judged`):
#
# - labels drawn at random from the items: prediction-powered inference, which assumes nothing of the judge;
# - labels of chosen items, or of others: Rogan and Gladen, which assumes that the judge errs there as often. Chosen
#   items count by their labels, and the others are the population.
#
# Nothing passes if there are no labels, if they do not show the judge to be better than chance, or if labels that are
# said to be random got other verdicts than the rest.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.claims.outcome_items import (
    ItemScores,
    MeasuredItems,
    Missing,
    Reference,
    as_outcomes,
    count_items,
    mean_scores,
    of_one_input,
    unscored_words,
)
from robustest.data.judge_labels import JudgeLabels
from robustest.data.outcomes import Outcomes
from robustest.decisions import Decision, Terms
from robustest.decisions.clusters import count_clusters, counted_once, drawn
from robustest.decisions.distributions import hypergeometric_cdf
from robustest.decisions.judged import (
    Count,
    Verdicts,
    corner_interval,
    powered_interval,
    powered_interval_by_cluster,
    rogan_gladen,
    rogan_gladen_interval,
    share_by_cluster,
)
from robustest.decisions.rule import Interval, decide_whole
from robustest.errors import ConfigError, DataError
from robustest.kinds import Kind
from robustest.results import Result, Verdict
from robustest.settings import Settings
from robustest.words import interval_in_words, number

# Labels that are said to be random, and got other verdicts than the rest with less than this chance, are not.
_NOT_RANDOM = 0.001
_NAMED = 3

Floats = NDArray[np.float64]


def judged_rate(
    outcomes: Reference,
    judge: JudgeLabels,
    *,
    at_least: float | None,
    missing: Missing,
    terms: Terms,
    settings: Settings,
    cluster: object,
    kind: Kind,
) -> Result:
    """Return the result of a claim on the true rate of recorded outcomes, whose scores are a judge's.

    Raises:
        ConfigError: the claim is about the set, and labels are missing.
        DataError: labels are of no items, of other answers, or of no form that the judge's scores have.
    """
    found = as_outcomes(outcomes, cluster)
    scored, dropped = mean_scores(found, missing)
    scored = scored.in_clusters(terms, settings.seed, None)
    caveats = unscored_words(dropped, missing, None)
    details: dict[str, Any] = {"items": scored.n, "runs": int(found.items.runs.sum()), "source": found.source}
    if judge.truth is None:
        nothing = "the judge's errors are unknown: label some items, JudgeLabels(truth, drawn=)"
        caveats = ["the judge's errors are unknown", *caveats]
        decision = Decision(
            verdict=Verdict.INCONCLUSIVE, rule=nothing, estimate=None, interval=(0.0, 1.0), reasons=("judge",)
        )
    else:
        columns = _Judged.of(found, scored, judge, outcomes)
        if terms.scope == "set" and np.isnan(columns.truth).any():
            raise ConfigError(
                'Expected scope="population" for scores of a judge but got "set": what items without a label are is '
                "only known on average. Label every item, or claim it of the population."
            )
        decision = _decided(columns, judge, at_least, terms, settings.seed)
        caveats = [*columns.words(judge, terms.alpha), *caveats]
        details["judge"] = columns.details(judge, terms.alpha)
    return MeasuredItems(
        kind=kind,
        scored=scored,
        decision=decision,
        threshold=at_least,
        details=details,
        caveats=caveats,
        statement="true rate",
    ).result(settings)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The judge's scores and people's labels.

    Attributes:
        judge: (n,) scores of the items of the claim, in 0..1.
        truth: (n,) their labels in 0..1; NaN without one.
        others, labels: (m,) scores and labels of other items.
        inputs: (n,) digests of the items' inputs; empty if unknown.
        clusters: (n,) numbers of the items' clusters; None for independent items.
        related: True if the other items have names of items of the claim.
        others_clusters: (m,) numbers of the other items' clusters; None for independent ones.
    """

    judge: Floats
    truth: Floats
    others: Floats
    labels: Floats
    inputs: NDArray[np.str_]
    clusters: NDArray[np.int64] | None
    related: bool
    others_clusters: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, found: Outcomes, scored: ItemScores, judge: JudgeLabels, given: object) -> _Judged:
        """Pair scores and labels by the names of the items."""
        assert judge.truth is not None  # noqa: S101 - as the caller has it
        _check_other_file(judge, given)
        people = as_outcomes(judge.truth)
        labelled, _ = mean_scores(people, "drop")
        none = np.empty(0)
        common: dict[str, Any] = {"inputs": found.digest[scored.first], "clusters": scored.clusters}
        if judge.scores is not None:
            other = as_outcomes(judge.scores)
            theirs, _ = mean_scores(other, "fail")
            _, mine, their = np.intersect1d(labelled.name, theirs.name, assume_unique=True, return_indices=True)
            _check_answers(people, labelled.first[mine], other, theirs.first[their])
            if len(mine) < labelled.n:
                raise _no_items(labelled, np.setdiff1d(np.arange(labelled.n), mine), other.source)
            no_label = np.full(scored.n, np.nan)
            related = bool(np.isin(theirs.name[their], scored.name).any())
            pairs: dict[str, Any] = {"others": theirs.mean[their], "labels": labelled.mean[mine]}
            ids = other.cluster[theirs.first[their]]
            clusters = drawn(ids, 0) if len(ids) and ids[0] else None
            return cls(scored.mean, no_label, **pairs, **common, related=related, others_clusters=clusters)
        _, mine, place = np.intersect1d(labelled.name, scored.name, assume_unique=True, return_indices=True)
        if len(mine) < labelled.n:
            raise _no_items(labelled, np.setdiff1d(np.arange(labelled.n), mine), found.source)
        if found is people:
            raise ConfigError("Expected labels of people but got the judge's scores themselves. Name their column.")
        _check_answers(people, labelled.first[mine], found, scored.first[place])
        truth = np.full(scored.n, np.nan)
        truth[place] = labelled.mean[mine]
        return cls(scored.mean, truth, none, none, **common, related=False)

    @property
    def pairs(self) -> tuple[Floats, Floats]:
        """Scores and labels of the labelled items."""
        if len(self.labels):
            return self.others, self.labels
        labelled = ~np.isnan(self.truth)
        return self.judge[labelled], self.truth[labelled]

    @property
    def yes_or_no(self) -> bool:
        """True if all scores and labels are 0 or 1."""
        return all(bool(np.isin(one, (0.0, 1.0)).all()) for one in (self.judge, *self.pairs))

    def once(self) -> _Judged:
        """Return one item for each known input, with its label if it has one."""
        own = np.array([one or f"item {place}" for place, one in enumerate(self.inputs.tolist())])
        # The first of each input among those with a label, else of all.
        order = np.argsort(np.isnan(self.truth), kind="stable")
        kept = np.sort(order[np.unique(own[order], return_index=True)[1]])
        clusters = None if self.clusters is None else self.clusters[kept]
        changes: dict[str, Any] = {"judge": self.judge[kept], "truth": self.truth[kept], "inputs": self.inputs[kept]}
        return replace(self, **changes, clusters=clusters)

    def verdicts(self) -> Verdicts:
        judge, truth = self.pairs
        return Verdicts.of(judge == 1, truth == 1)

    def words(self, judge: JudgeLabels, alpha: float) -> list[str]:
        """Return the words of a line on the labels and of the judge's errors."""
        score, label = self.pairs
        assumed = "the judge is assumed to err as often on these"
        of = {"random": "drawn at random", "chosen": f"chosen, not drawn at random: {assumed}"}
        found = [f"{len(label)} labels {of.get(judge.drawn or '', f'of other items: {assumed}')}"]
        if not self.yes_or_no:
            return [*found, f"the judge's scores differ from the labels by {float((score - label).mean()):+.3f}"]
        verdicts = self.verdicts()
        for what, count in (("accepts wrong", verdicts.accepted_wrong), ("rejects right", verdicts.rejected_right)):
            share = number(count.share) if count.n else "an unknown share"
            ends = interval_in_words(*count.interval(alpha))
            found.append(f"the judge {what} items in {share} {ends} ({count.events} of {count.n})")
        return found

    def details(self, judge: JudgeLabels, alpha: float) -> Mapping[str, Any]:
        score, label = self.pairs
        found: dict[str, Any] = {"labels": len(label), "drawn": judge.drawn or "other items"}
        found["score"] = float(self.judge.mean())
        if self.yes_or_no:
            verdicts = self.verdicts()
            for name, count in (
                ("false_accepts", verdicts.accepted_wrong),
                ("false_rejects", verdicts.rejected_right),
            ):
                found[name] = {"events": count.events, "n": count.n, "interval": [*count.interval(alpha)]}
        else:
            found["bias"] = float((score - label).mean())
        return found


def _check_other_file(judge: JudgeLabels, given: object) -> None:
    """Raise ConfigError if the labels are the judge's scores, by the object or the file that has them."""
    for scores in (given, judge.scores):
        files = [Path(one).resolve() for one in (judge.truth, scores) if isinstance(one, (str, PathLike))]
        if (judge.truth is scores and scores is not None) or (len(files) == 2 and files[0] == files[1]):
            raise ConfigError(
                "Expected labels of people but got the judge's scores themselves. Of one file with both read each "
                'column: Outcomes.read(path, score="human").'
            )


def _check_answers(people: Outcomes, rows: NDArray[np.int64], found: Outcomes, theirs: NDArray[np.int64]) -> None:
    """Raise DataError if labels are of other inputs or answers than the scores, where both are known."""
    answers = [one.texts.get("answer", ()) for one in (people, found)]
    other = [
        str(people.item[row])
        for row, own in zip(rows.tolist(), theirs.tolist(), strict=True)
        if (people.digest[row] and found.digest[own] and people.digest[row] != found.digest[own])
        or (all(answers) and answers[0][row] and answers[1][own] and answers[0][row] != answers[1][own])
    ]
    if other:
        raise DataError(
            f"Expected labels of the answers that the judge scored but {count_items(len(other))} in {people.source} "
            f"{'has' if len(other) == 1 else 'have'} another input or answer, as {other[0]!r} has. Label these "
            "answers, or give the judge's scores of the labelled ones: JudgeLabels(truth, scores=)."
        )


def _no_items(labelled: ItemScores, places: NDArray[np.int64], source: str) -> DataError:
    names = ", ".join(map(repr, labelled.name[places[:_NAMED]].tolist()))
    return DataError(
        f"Expected labels of items in {source} but {count_items(len(places))} with a label are not there: {names}. "
        "Labels of other items need the judge's scores of them: JudgeLabels(truth, scores=)."
    )


def _decided(judged: _Judged, labels: JudgeLabels, at_least: float | None, terms: Terms, seed: int) -> Decision:
    """Return the decision; items of one known input count once."""
    decision = _decide(judged, labels, at_least, terms, seed)
    once = judged.once()
    if terms.scope == "set" or len(once.judge) == len(judged.judge):
        return decision
    found = counted_once(decision, _decide(once, labels, at_least, terms, seed), "items of one input counted once")
    unshown = decision.verdict is Verdict.PASSED and found.verdict is Verdict.INCONCLUSIVE
    return of_one_input(found, len(judged.judge), len(once.judge)) if unshown else found


def _decide(judged: _Judged, labels: JudgeLabels, at_least: float | None, terms: Terms, seed: int) -> Decision:
    estimate, interval = _bounds(judged, labels, at_least, terms.alpha, seed)
    decision = decide_whole(
        0.0 if estimate is None else estimate,
        interval,
        at_least,
        at_least=True,
        scope=terms.scope,
        alpha=terms.alpha,
        holds=lambda claimed: estimate is not None and estimate >= claimed,
    )
    decision = replace(decision, estimate=estimate)
    if terms.scope != "set":
        decision = replace(decision, rule=f"{decision.rule}, corrected by {len(judged.pairs[1])} labels")
        if judged.clusters is not None:
            decision = count_clusters(decision, judged.clusters)
    if decision.verdict is Verdict.PASSED and (doubt := _doubt(judged, labels, terms.alpha)):
        rule = f"{doubt}; {decision.rule}"
        decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("judge",))
    return decision


def _bounds(
    judged: _Judged, labels: JudgeLabels, at_least: float | None, alpha: float, seed: int
) -> tuple[float | None, Interval]:
    """Return estimate and bounds of the true rate, alpha on each side."""
    known = ~np.isnan(judged.truth)
    if judged.yes_or_no and judged.clusters is None and known.all():
        right = int(judged.truth.sum())
        return right / len(known), Count(right, len(known)).interval(alpha)
    if labels.drawn == "random":
        if judged.clusters is not None:
            return powered_interval_by_cluster(judged.judge, judged.truth, judged.clusters, alpha)
        return powered_interval(judged.judge, judged.truth, alpha, seed=seed, beside=at_least)
    if not judged.yes_or_no:
        raise DataError(
            "Expected verdicts and labels of 0 or 1, one run of each item, for labels that were not drawn at random, "
            "but got others: a judge's errors on graded scores are not two shares. Draw the labelled items at random, "
            "or give yes or no."
        )
    accepted, verdicts = judged.judge == 1, judged.verdicts()
    n, rest = len(accepted), int((~known).sum())
    right = int((judged.truth[known] == 1).sum())
    of_rest = Count.of(accepted[~known])
    estimate = rogan_gladen(of_rest, verdicts) if rest else 0.0
    if judged.clusters is None and judged.others_clusters is None and not judged.related:
        low, high = rogan_gladen_interval(of_rest, verdicts, alpha)
    else:
        low, high = corner_interval(lambda name, level: _by_cluster(judged, name, level), alpha)
    # Chosen items count by their labels, the others by the population that they are draws of.
    ends = (right + rest * low) / n, (right + rest * high) / n
    return None if estimate is None else (right + rest * estimate) / n, ends


def _by_cluster(judged: _Judged, name: str, alpha: float) -> Interval:
    """Return bounds of one share of a judge's verdicts, alpha on each side: by cluster, if there are any."""
    known, accepted = ~np.isnan(judged.truth), judged.judge == 1
    score, label = judged.pairs
    of_labels = judged.others_clusters
    if judged.clusters is not None and not len(judged.labels):
        of_labels = judged.clusters[known]
    events, which, clusters = {
        "accepted": (accepted[~known], slice(None), None if judged.clusters is None else judged.clusters[~known]),
        "accepted_right": (score == 1, label == 1, of_labels),
        "rejected_wrong": (score == 0, label == 0, of_labels),
    }[name]
    if clusters is None:
        return Count.of(events[which]).interval(alpha)
    return share_by_cluster(events[which], clusters[which], alpha)


def _doubt(judged: _Judged, labels: JudgeLabels, alpha: float) -> str:
    """Return why a pass rests on nothing; "" if it does not."""
    if not judged.yes_or_no:
        return ""
    verdicts, known = judged.verdicts(), ~np.isnan(judged.truth)
    both = verdicts.accepted_right.n > 0 and verdicts.accepted_wrong.n > 0
    if both and not known.all() and verdicts.by_chance() > alpha:
        labels_alone = "claim the rate of the labels alone: assert_rate(labels)"
        return f"the labels do not show that the judge is better than chance: {labels_alone}, or label more items"
    if labels.drawn == "random" and not known.all():
        accepted = judged.judge == 1
        chance = _same_verdicts(Count.of(accepted[known]), Count.of(accepted[~known]))
        if chance < _NOT_RANDOM:
            shares = (float(accepted[which].mean()) for which in (known, ~known))
            apart = " and ".join(map(number, shares))
            return (
                f"labels that chance alone chose would have the verdicts of the others, but the judge accepts {apart} "
                'of them: say drawn="chosen"'
            )
    return ""


def _same_verdicts(one: Count, other: Count) -> float:
    """Return the chance that a random part of all items has a share as far from that of the others, on either side."""
    n, events = one.n + other.n, one.events + other.events
    below = hypergeometric_cdf(one.events, n, events, one.n)
    above = hypergeometric_cdf(one.n - one.events, n, n - events, one.n)
    return min(1.0, 2 * min(below, above))
