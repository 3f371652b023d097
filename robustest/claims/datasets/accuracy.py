"""Accuracy on samples as they are: the simplest claim, and the end that a fall starts from.

Accuracy on data sets as they are, and its fall from one to another.

Accuracy on the group where it is lowest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack, cast

import numpy as np
from torch import Tensor

from robustest.checks import checked_whole
from robustest.data import as_samples
from robustest.data.benchmarks import Benchmark
from robustest.data.groups import Groups, as_groups
from robustest.decisions import Decision, Rule, ShareRule, Terms, checked_not_both, optional_threshold
from robustest.decisions.drop import share_of_largest_class
from robustest.decisions.groups import GroupShare, WorstGroupRule
from robustest.decisions.mean_iou import mean_iou
from robustest.decisions.multiplicity import group_level
from robustest.decisions.two_set_drop import TwoSetDropRule, share_difference_interval
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError
from robustest.kinds import OUTCOMES, Kind, Quantity, no_lines
from robustest.results import NOT_PAIRED, Pairing, Result, Verdict
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, unchanged_exhibits
from robustest.run.finish import fall_from, fallible, few, finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Plan, Setup, deciding, of_task
from robustest.run.scores import Metric, check_paired, iou_by_class, mean_of, pixel_counts, rule_of
from robustest.tasks import Task, WorstScore

_HALF = 0.5
"""The score from which on a sample's outcome is True, where scores are claimed: it is more right than wrong."""

ACCURACY = Kind(
    name="accuracy",
    quantities=(
        Quantity.at_least("at_least", "accuracy", "accuracy", counts=OUTCOMES),
        Quantity.at_least("at_least", "mean score", "mean {}"),
    ),
    further_claims=("no_worse_than",),
    lines=no_lines,
)
"""The share of samples that a model has right, or the mean of their scores."""


@measurement(ACCURACY)
def measure_accuracy(
    model: object,
    data: object,
    *,
    at_least: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | str | None = None,
    metric: Metric = "mean",
    **options: Unpack[Options],
) -> Result:
    """The share of samples that a model has right, as they are; of a task without a floor, the mean of their scores.

    A claim on a fall says nothing of the accuracy that it falls from: this one does.

    Args:
        model, data: as for `measure_robust_accuracy`.
        at_least: the accuracy, or mean score, claimed, in 0..1; without one the verdict is "inconclusive".
        no_worse_than, tolerance: as for `measure_robust_accuracy`; of scores as for `measure_robust_score`.
        task: what the answers are, and when they are right; classification where None. Of a task with a floor a
            sample is right that keeps it, of one without a floor the mean score is claimed, e.g. `Segmentation(19)`.
        metric: "mean", or "miou", of tasks that count intersections and unions: the mean over classes of intersection
            over union, both summed over the set.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result. Outcomes are whether a sample is right; where scores are claimed, whether its score is .5 or more.

    Raises:
        ConfigError: an argument is out of range or unknown; the task has no such metric; or the metric is no mean, and
            a claim about a population or against a baseline is made of it.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    setup = Setup.of(model, data, options, task)
    check_paired(metric, no_worse_than)
    scored = metric != "mean" or (task is not None and getattr(setup.task, "floor", _HALF) is None)
    asked = ACCURACY.quantities[scored]
    plan = _plan(setup, asked, at_least, metric, scored=scored)
    plan = plan.against(
        no_worse_than, tolerance, has_threshold=at_least is not None, scored="mean score" if scored else ""
    )
    evidence = observe(plan)
    chance = 0.0 if scored else share_of_largest_class(evidence.columns)
    return finish(
        plan,
        evidence,
        kind=ACCURACY,
        quantity=asked,
        threshold=at_least,
        setting=f"{evidence.total} samples as they are",
        method="predictions",
        details=_scores(evidence, metric) if scored else {"without_looking": chance},
        caveats=_caveats(data, at_least, chance),
        pairing=NOT_PAIRED if scored else Pairing(under=of_task(setup.task).strip(", ")),
    )


def _plan(setup: Setup, asked: Quantity, at_least: float | None, metric: Metric, *, scored: bool) -> Plan:
    if not scored:
        rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
        return accuracy_plan(setup, asked.state() + of_task(setup.task), rule)
    return setup.plan(
        asked.state(mean_of(setup.task, metric)),
        Scoring(examples=setup.settings.examples, counting=metric == "miou"),
        rule_of(metric, at_least, setup),
        identity=("scores", metric),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Scores of a chunk as it is; samples of the lowest may be shown.

    Attributes:
        examples: how many samples may be shown.
        counting: add the columns of what the set's metric counts.
    """

    whole_inputs: ClassVar[bool] = True

    examples: int
    counting: bool = False

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """Return the outcomes and scores of the model's answers to a chunk."""
        task = evaluator.task
        evaluator.task = cast(
            "Task", WorstScore(task, least=_HALF)
        )  # one without a floor says of no answer if it holds
        try:
            seen = evaluator.judged(chunk.x, chunk.y, scored=True)
        finally:
            evaluator.task = task
        exhibits = unchanged_exhibits(chunk, ~seen.holds, seen.predicted, seen.margin, most=self.examples, task=task)
        columns = {"held": seen.holds, "score": cast("Tensor", seen.score)}
        if self.counting:
            columns |= pixel_counts(task, seen.predicted, chunk.y)
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


def _scores(evidence: Evidence, metric: Metric) -> dict[str, Any]:
    columns = evidence.columns
    if not evidence.whole:
        return {}
    details: dict[str, Any] = {
        "mean_score": float(columns["score"].mean()),
        "lowest_score": float(columns["score"].min()),
    }
    if metric == "miou":
        details |= {"miou": float(mean_iou(columns["counts"].sum(0))), "iou_by_class": iou_by_class(columns)}
    return details


def _caveats(data: object, at_least: float | None, chance: float) -> list[str]:
    """Return the caveats of the data: what they lack, and what a model reaches on them without looking."""
    told = list(data.caveats) if isinstance(data, Benchmark) else []
    if at_least is not None and 0 < at_least <= chance:
        told.append(f"saying one thing of every sample reaches {chance:.3f}")
    return told


TRANSFER_ACCURACY = Kind(
    name="transfer_accuracy",
    quantities=(
        Quantity.at_least("at_least", "accuracy", "accuracy on the target", counts=OUTCOMES),
        Quantity.at_most(
            "max_drop", "accuracy drop", "accuracy lost from source to target", trivial=1, start="source_accuracy"
        ),
    ),
    further_claims=("no_worse_than",),
    lines=no_lines,
)
"""Accuracy on a target data set, or its fall from the accuracy on a source."""


@measurement(TRANSFER_ACCURACY)
def measure_transfer_accuracy(
    model: object,
    data: object,
    new_data: object,
    *,
    at_least: float | None = None,
    max_drop: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """Accuracy on a target data set, or its fall from the accuracy on a source data set.

    The samples of the two sets are different ones, so that nothing is paired: the fall's interval is an exact
    one for two independent shares (`robustest.decisions.two_set_drop`). The source is always looked at
    whole; the target until the claim is settled. Outcomes and counterexamples are the target's.

    Args:
        model, task: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`: samples like those the model was made for.
        new_data: the same: samples it shall do well on too, with the same classes. Of a benchmark of some of the
            model's classes, as `robustest.benchmark("imagenet-r", root)` reads it, the model is asked for those
            alone, and of the source the samples of those classes count, so that the fall is that of one task.
        at_least: the accuracy claimed on the target, in 0..1.
        max_drop: the fall in accuracy claimed at most, in 0..1; not together with at_least. As for
            `measure_shift_accuracy` it bounds the fall alone.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the target's samples; with max_drop about the
            source's as well, and both comparisons together err with probability alpha.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or both thresholds are given.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    checked_not_both(at_least=at_least, max_drop=max_drop)
    at_least = optional_threshold("at_least", at_least, trivial=0)
    max_drop = optional_threshold("max_drop", max_drop, trivial=1)
    setup = _transfer_setup(model, data, new_data, options, deciding(task))
    by_drop = max_drop is not None
    how: dict[str, Any] = {}
    of_source = _accuracy_alone(setup, "accuracy on the source")
    if by_drop:  # a fall has two ends, and the model that started lower would look better by one of them
        how = {"together": False, "level": setup.terms.alpha / 2}
        of_source = of_source.against(
            no_worse_than, tolerance, has_threshold=False, parts=(("source", ("held",)),), **how
        )
        how["parts"] = (("target", ("held",)),)
    start = of_source.baseline if no_worse_than is not None else None
    first = observe(of_source)
    rule: Rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
    if by_drop:
        rule = drop_claim(first, max_drop, setup.terms)
    asked = TRANSFER_ACCURACY.quantity_of("max_drop" if by_drop else "at_least")
    plan = accuracy_plan(setup.on(as_samples(new_data, setup.task)), asked.state() + of_task(setup.task), rule).against(
        no_worse_than, tolerance, has_threshold=at_least is not None or by_drop, **how
    )
    second = observe(plan)
    decision = fallible(second.decision, first, max_drop, alpha=setup.terms.alpha)
    result = finish(
        plan,
        second.including(first),
        decision=_with_start(decision, first.decision) if start is not None else decision,
        kind=TRANSFER_ACCURACY,
        quantity=asked,
        threshold=max_drop if by_drop else at_least,
        setting=f"source of {first.total} samples, target of {second.total}{_benchmark_words(new_data)}",
        method="two samples, not paired",
        details=pair_details(first, second, setup.terms),
        caveats=(*few(first.n, " of the source"), *(new_data.caveats if isinstance(new_data, Benchmark) else ())),
        pairing=fall_from(first) if by_drop else Pairing(),
    )
    if start is None:
        return result
    about = result.details["baseline"] | {"start": start.told(result, first).details["baseline"]}
    return replace(result, details={**result.details, "baseline": about})


def _with_start(decision: Decision, start: Decision) -> Decision:
    """Return a decision on a fall, where the accuracy that it starts from must be no worse than a baseline's."""
    if start.verdict is Verdict.FAILED or (
        start.verdict is Verdict.INCONCLUSIVE and decision.verdict is not Verdict.FAILED
    ):
        return replace(decision, verdict=start.verdict, rule=start.rule, at_alpha=start.at_alpha, reasons=start.reasons)
    return decision


def _transfer_setup(model: object, source: object, target: object, options: Options, task: Task | None) -> Setup:
    """The model and the source; where the target is a benchmark, of its classes alone.

    Raises:
        ConfigError: the source is of some of the model's classes, and the target is not a benchmark, so that its labels
            are others.
    """
    if isinstance(target, Benchmark):
        return Setup.of(model, target, options, task).on(target.matching(source))
    if isinstance(source, Benchmark) and not source.classes.whole:
        raise ConfigError(f"Expected {source.name} as the target but it is the source: the target's labels are others.")
    return Setup.of(model, source, options, task)


def _benchmark_words(target: object) -> str:
    return f" of {target.name}, {len(target.classes)} classes" if isinstance(target, Benchmark) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicting:
    """Predictions of a chunk as it is; `examples` of its misclassified samples may be shown."""

    whole_inputs: ClassVar[bool] = True

    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """What the model says of a chunk."""
        seen, task = evaluator.judged(chunk.x, chunk.y), evaluator.task
        held, predicted = seen.holds, seen.predicted
        exhibits = unchanged_exhibits(chunk, ~held, predicted, seen.margin, most=self.examples, task=task)
        columns = {"held": held.cpu().numpy()}
        if task.one_class:
            columns |= {"predicted": predicted.cpu().numpy(), "label": chunk.y.cpu().numpy()}
        return Observation(columns, exhibits)


def accuracy_plan(setup: Setup, statement: str, rule: Rule) -> Plan:
    """The plan where only the accuracy on samples as they are is wanted: whoever asks, it is remembered once."""
    return setup.plan(statement, Predicting(examples=setup.settings.examples), rule, identity=("accuracy",))


def accuracy_of(setup: Setup, statement: str) -> Evidence:
    """The accuracy on all samples, or on as many as the settings' budget allows; nothing is claimed of it."""
    return observe(_accuracy_alone(setup, statement))


def _accuracy_alone(setup: Setup, statement: str) -> Plan:
    """Return the plan of an accuracy of which nothing is claimed."""
    return accuracy_plan(setup, statement, ShareRule(threshold=None, at_least=True, terms=setup.alone))


def drop_claim(first: Evidence, max_drop: float | None, terms: Terms) -> TwoSetDropRule:
    """A claim on the fall from an accuracy that was looked at before."""
    held = int(first.columns["held"].sum())
    return TwoSetDropRule(threshold=max_drop, first=held, n_first=first.n, whole=first.whole, terms=terms)


def pair_details(first: Evidence, second: Evidence, terms: Terms) -> dict[str, Any]:
    """Both accuracies and the fall; None where some samples were not looked at."""
    counts = [(int(np.sum(side.columns["held"])), side.n) for side in (first, second)]
    whole = first.whole and second.whole
    return {
        "source_accuracy": first.share(first.columns["held"]),
        "target_accuracy": second.share(second.columns["held"]),
        "source_n": first.n,
        "target_n": second.n,
        "without_looking": share_of_largest_class(first.columns),
        "drop": counts[0][0] / counts[0][1] - counts[1][0] / counts[1][1] if whole else None,
        "drop_interval": list(share_difference_interval(*counts[0], *counts[1], terms.alpha)) if whole else None,
    }


WORST_GROUP_ACCURACY = Kind(
    name="worst_group_accuracy",
    quantities=(Quantity.at_least("at_least", "worst-group accuracy", "accuracy of the worst group"),),
    further_claims=("no_worse_than",),
    lines=no_lines,
)
"""The accuracy of the group of samples where it is lowest."""


@measurement(WORST_GROUP_ACCURACY)
def measure_worst_group_accuracy(
    model: object,
    data: object,
    groups: object,
    *,
    at_least: float | None = None,
    min_group_size: int = 30,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """The accuracy on the group of samples where it is lowest (worst-group accuracy, Sagawa et al., ICLR 2020).

    The worst group is picked after looking, so that bounds hold for all groups at once. Every group is judged, however
    small: about this set its share is certain; about the population a claim on a small group seldom passes, as little
    is seen of it. To leave a group out, give its samples no group.

    Args:
        model, data, task: as for `measure_robust_accuracy`.
        groups: (N,) integers, strings or tuples, the group of each sample (None: in no group), or a mapping from
            names to positions or to (N,) bool; see `robustest.data.groups.as_groups`.
        at_least: the accuracy claimed for every group, in 0..1 and more than 0.
        min_group_size: groups of fewer samples are named in the result as small, >= 1; they are judged all the same.
        no_worse_than, tolerance: as for `measure_robust_accuracy`; each group is compared by itself, and all
            comparisons together err with probability alpha.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: the groups do not fit the data; else as for `measure_robust_accuracy`.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    checked_whole("min_group_size", min_group_size, 1)
    setup = Setup.of(model, data, options, deciding(task))
    known = as_groups(groups, len(setup.samples))
    rule = WorstGroupRule(
        threshold=at_least, names=known.names, members=known.members, disjoint=known.disjoint, terms=setup.terms
    )
    plan = accuracy_plan(setup, WORST_GROUP_ACCURACY.quantities[0].state() + of_task(setup.task), rule)
    plan = _group_baseline(plan, rule, no_worse_than, tolerance)
    evidence = observe(plan)
    shares = rule.shares({**evidence.columns, "id": evidence.ids}, evidence.total)
    return finish(
        plan,
        evidence,
        kind=WORST_GROUP_ACCURACY,
        threshold=at_least,
        setting=f"{len(rule.names)} groups of {min(known.sizes)} to {max(known.sizes)} samples",
        method="accuracy of each group, with bounds for all at once",
        details=_group_details(evidence, shares, known, min_group_size),
        caveats=_left_out(known),
        notes=_group_notes(evidence, shares, known, min_group_size),
        pairing=Pairing(groups={name: tuple(ids.tolist()) for name, ids in zip(rule.names, rule.members, strict=True)}),
    )


def _group_baseline(plan: Plan, rule: WorstGroupRule, no_worse_than: Baseline | None, tolerance: float) -> Plan:
    """The plan, with each group compared by itself where there is a baseline."""
    return plan.against(
        no_worse_than,
        tolerance,
        has_threshold=rule.threshold is not None,
        groups=tuple(zip(rule.names, rule.members, strict=True)),
        level=group_level(rule.terms.alpha, len(rule.names), disjoint=rule.disjoint),
    )


def _group_details(evidence: Evidence, shares: list[GroupShare], groups: Groups, min_group_size: int) -> dict[str, Any]:
    whole, sizes = evidence.whole, dict(zip(groups.names, groups.sizes, strict=True))
    return {
        "accuracy": evidence.share(evidence.columns["held"]),
        "worst_group": shares[0].name if whole else None,
        "min_group_size": min_group_size,
        "disjoint": groups.disjoint,
        "in_no_group": groups.outside,
        "groups": [
            {
                "group": group.name,
                "n": group.n,
                "held": group.held,
                "accuracy": group.share if whole else None,
                "interval": list(group.interval) if whole else None,
                "small": sizes[group.name] < min_group_size,
            }
            for group in shares
        ],
    }


def _group_notes(evidence: Evidence, shares: list[GroupShare], groups: Groups, min_group_size: int) -> list[str]:
    notes = []
    if evidence.whole:
        worst = shares[0]
        notes.append(f"worst group {worst.name!r}: {worst.held} of {worst.n} samples right")
    small = [name for name, size in zip(groups.names, groups.sizes, strict=True) if size < min_group_size]
    if small:
        notes.append(f"small, with fewer than {min_group_size} samples, and judged all the same: {', '.join(small)}")
    return notes


def _left_out(groups: Groups) -> list[str]:
    """What nothing is said of, for every line."""
    told = [f"{groups.outside} of {groups.total} in no group"] if groups.outside else []
    return told + [f"no samples in {name!r}" for name in groups.empty]
