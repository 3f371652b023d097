"""Accuracy on data sets: of one, of its worst group, and on a target set beside a source."""

# The accuracy is a share (`decisions.share`) or a mean score (`decisions.mean`); the worst group has bounds for all
# groups at once (`decisions.groups`); source and target are independent samples (`decisions.two_set_drop`).

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import devices, rng
from robustest.checks import checked_whole, require
from robustest.claims.training_controls import Controls
from robustest.data import as_samples
from robustest.data.benchmarks import Benchmark
from robustest.data.groups import Groups
from robustest.data.hierarchies import BreedsSplit, Domain, domains
from robustest.data.near_copies import copied_from
from robustest.decisions import Decision, Rule, ShareRule, Terms, checked_not_both, checked_threshold
from robustest.decisions.average_precision import WorstGroupPrecision
from robustest.decisions.drop import share_of_largest_class
from robustest.decisions.groups import GroupShare, WorstGroupRule, group_shares
from robustest.decisions.multiplicity import group_level
from robustest.decisions.paired import paired_interval
from robustest.decisions.rule import decide_early
from robustest.decisions.two_set_drop import (
    TwoSetDropRule,
    cluster_mean_interval,
    decide_two_set_drop,
    fewest_clusters,
    share_difference_interval,
    two_set_drop,
)
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError
from robustest.kinds import Kind, Quantity
from robustest.models.training import TrainFn, check_train
from robustest.results import NOT_PAIRED, Captions, Pairing, Result, Verdict
from robustest.run.comparison import Baseline
from robustest.run.copies import without_copies
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, exhibits_of
from robustest.run.finish import fall_from, fallible, few, finish, result_of
from robustest.run.grounds import Changed, new_samples
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Plan, Setup, apply, deciding, of_task
from robustest.run.scores import (
    HALF,
    Metric,
    check_paired,
    claims_scores,
    mean_of,
    named_score,
    rule_of,
    scores_of,
    set_columns,
    set_details,
)
from robustest.tasks import Task, top_of
from robustest.words import interval_in_words, number

# Samples to test on that are compared with the training samples.
_LOOKED_AT = 512

# Samples are shown as they are: there is no answer before a change and another one after it.
_ONE_ANSWER = Captions(answered="predicted")

ACCURACY = Kind(
    name="accuracy",
    varies="nothing",
    quantities=(
        Quantity.at_least("at_least", "accuracy", "accuracy", counts="outcomes", constant=True),
        Quantity.at_least("at_least", "mean score", "mean {}", constant=True),
    ),
    further_claims=("no_worse_than",),
    captions=_ONE_ANSWER,
    brief=True,
)


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
    """Measure the share of samples that a model has right; for a task without a floor, the mean of their scores.

    Args:
        model, data: as for `measure_robust_accuracy`.
        at_least: accuracy, or mean score, claimed, in 0..1.
        no_worse_than, tolerance: as for `measure_robust_accuracy`; for scores as for `measure_robust_score`.
        task: as for `measure_robust_accuracy`; without a floor the mean score is claimed, e.g. `Segmentation(19)`.
        metric: "mean", "miou" or "map", as for `measure_robust_score`.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. A sample's outcome is True if it is right; if scores are claimed, if its score is .5 or more.

    Raises:
        ConfigError: the metric does not fit the task, or is "miou" in a claim about a population or against a baseline,
            or "map" against the file of one.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    setup = Setup.of(model, data, options, task)
    check_paired(metric, no_worse_than)
    scored = claims_scores(metric, task, setup.task)
    quantity = ACCURACY.quantities[scored]
    if scored:
        plan = setup.plan(
            quantity.state(mean_of(setup.task, metric, setup.settings.scope)),
            Scoring(metric=metric),
            rule_of(metric, at_least, setup),
            identity=("scores", metric),
        )
    else:
        rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
        plan = accuracy_plan(setup, quantity.state() + of_task(setup.task), rule)
    plan = plan.against(
        no_worse_than, tolerance, has_threshold=at_least is not None, scored=named_score(metric) if scored else ""
    )
    evidence = observe(plan)
    # Accuracy of a constant prediction, the largest class.
    chance = 0.0 if scored else share_of_largest_class(evidence.columns)
    caveats = list(data.caveats) if isinstance(data, Benchmark) else []
    details: dict[str, Any] = {} if scored else {"without_looking": chance}
    if scored and evidence.whole:
        columns = evidence.columns
        details = {"mean_score": float(columns["score"].mean()), "lowest_score": float(columns["score"].min())}
        # Over the set, not a mean over samples: classes missing in a sample have no value there.
        details |= set_details(metric, columns)
    return finish(
        plan,
        evidence,
        kind=ACCURACY,
        quantity=quantity,
        threshold=at_least,
        setting=f"{evidence.total} samples as they are",
        method="predictions",
        details=details,
        caveats=caveats,
        pairing=NOT_PAIRED if scored else Pairing(under=of_task(setup.task).strip(", ")),
    )


@assertion(measure_accuracy)
def assert_accuracy() -> None:
    """Claim that accuracy on unchanged samples, or mean score, is at least `at_least`, or not below a baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Scores of a chunk, with the columns of a metric of the set."""

    whole_inputs: ClassVar[bool] = True

    metric: str = "mean"

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        judgement = scores_of(evaluator, chunk.x, chunk.y, least=HALF)
        exhibits = exhibits_of(
            evaluator, chunk, ~judgement.holds, predicted=judgement.predicted, badness=-judgement.margin
        )
        columns = {"held": judgement.holds, "score": cast("Tensor", judgement.score)}
        columns |= set_columns(evaluator.task, self.metric, judgement.predicted, chunk.y)
        return Observation(columns, exhibits)


TRANSFER_ACCURACY = Kind(
    name="transfer_accuracy",
    varies="sets",
    quantities=(
        Quantity.at_least("at_least", "accuracy", "accuracy on the target", counts="outcomes", constant=True),
        Quantity.at_most(
            "max_drop", "accuracy drop", "accuracy lost from source to target", trivial=1, start="source_accuracy"
        ),
    ),
    further_claims=("no_worse_than",),
    captions=_ONE_ANSWER,
    brief=True,
)


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
    """Measure the accuracy on a target data set, or its drop from the accuracy on a source data set.

    All of the source is evaluated, the target until the claim is decided. Outcomes are the target's.

    Args:
        model, task: as for `measure_robust_accuracy`.
        data: the source, as for `measure_robust_accuracy`.
        new_data: the target, with the same classes. For a benchmark of some of them, as
            `robustest.benchmark("imagenet-r", root)` reads it, predictions and source are restricted to these.
        at_least: accuracy claimed on the target, in 0..1.
        max_drop: largest drop in accuracy claimed, in 0..1; not together with at_least.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the target's samples; with max_drop about the
            source's as well; alpha covers all comparisons.
        **options: see `robustest.run.options.Options`.
    """
    checked_not_both(at_least=at_least, max_drop=max_drop)
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    max_drop = checked_threshold("max_drop", max_drop, trivial=1, optional=True)
    if isinstance(new_data, Benchmark):
        # The model is restricted to the target's classes, and the source to samples of these: one task for both ends.
        setup = Setup.of(model, new_data, options, deciding(task)).on(new_data.matching(data))
    else:
        # A source with some of the model's classes and any other target: their labels differ.
        if isinstance(data, Benchmark) and not data.classes.whole:
            raise ConfigError(
                f"Expected {data.name} as the target but it is the source: the target's labels are others."
            )
        setup = Setup.of(model, data, options, deciding(task))
    by_drop = max_drop is not None
    how: dict[str, Any] = {}
    of_source = _accuracy_alone(setup, "accuracy on the source")
    if by_drop:  # a drop has two ends: a model that starts lower looks better by the drop alone
        how = {"together": False, "level": setup.terms.alpha / 2}
        of_source = of_source.against(
            no_worse_than, tolerance, has_threshold=False, parts=(("source", ("held",)),), **how
        )
        how["parts"] = (("target", ("held",)),)
    start = of_source.baseline if no_worse_than is not None else None
    # All of the source, since its accuracy is the start of the drop; the target can then stop early.
    first = observe(of_source)
    rule: Rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
    if by_drop:
        # The source is fixed by now: the target's samples decide against it.
        rule = drop_claim(first, max_drop, setup.terms)
    quantity = TRANSFER_ACCURACY.quantity_of("max_drop" if by_drop else "at_least")
    plan = accuracy_plan(
        setup.on(as_samples(new_data, setup.task)), quantity.state() + of_task(setup.task), rule
    ).against(no_worse_than, tolerance, has_threshold=at_least is not None or by_drop, **how)
    second = observe(plan)
    decision = second.decision
    if by_drop and decision.verdict is Verdict.PASSED and setup.terms.scope != "set" and first.copies is not None:
        # The driver has looked at the target: a source of few images, there many times, is as uncertain.
        source, target = first.once, second.once
        once = drop_claim(source, max_drop, setup.terms).decide(target.columns, target.total, None)
        if once.verdict is not Verdict.PASSED:
            decision = without_copies(decision, first.copies, second.copies)
    before = first if setup.terms.scope == "set" else first.once
    decision = fallible(decision, before, max_drop, alpha=setup.terms.alpha)
    if start is not None:
        # The worse verdict counts: a model that starts lower than the baseline must not pass by a smaller drop.
        at_start = first.decision
        if at_start.verdict is Verdict.FAILED or (
            at_start.verdict is Verdict.INCONCLUSIVE and decision.verdict is not Verdict.FAILED
        ):
            decision = replace(
                decision,
                verdict=at_start.verdict,
                rule=at_start.rule,
                at_alpha=at_start.at_alpha,
                reasons=at_start.reasons,
            )
    of_benchmark = f" of {new_data.name}, {len(new_data.classes)} classes" if isinstance(new_data, Benchmark) else ""
    result = finish(
        plan,
        second.including(first),
        decision=decision,
        kind=TRANSFER_ACCURACY,
        quantity=quantity,
        threshold=max_drop if by_drop else at_least,
        setting=f"source of {first.total} samples, target of {second.total}{of_benchmark}",
        method="two samples, not paired",
        details=pair_details(first, second, setup.terms),
        caveats=(*few(first.n, " of the source"), *(new_data.caveats if isinstance(new_data, Benchmark) else ())),
        changed=[_second_set(first, second, by_drop=by_drop)],
        pairing=fall_from(first) if by_drop else Pairing(),
    )
    if start is None:
        return result
    about = result.details["baseline"] | {"start": start.details_of(first)[0]}
    return result.but(details={**result.details, "baseline": about})


def _second_set(first: Evidence, second: Evidence, *, by_drop: bool) -> Changed:
    """Return the samples that the target brings, with the claim's value for a model that is wrong on all of them."""
    new, held = new_samples(first, second), second.columns["held"]
    worst = float((held & ~new).mean())
    start = float(first.columns["held"].mean())
    return Changed(by="the second set", moved=new, worst=start - worst if by_drop else worst, verb="brings")


@assertion(measure_transfer_accuracy)
def assert_transfer_accuracy() -> None:
    """Claim that accuracy on a target data set is at least `at_least`, or at most `max_drop` below that on a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicting:
    """Predictions of a chunk."""

    whole_inputs: ClassVar[bool] = True

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        judgement, task = evaluator.judge(chunk.x, chunk.y), evaluator.task
        held, predicted = judgement.holds, judgement.predicted
        exhibits = exhibits_of(evaluator, chunk, ~held, predicted=predicted, badness=-judgement.margin)
        columns = {"held": held}
        if top_of(task):
            # For `without_looking`, the accuracy of a constant prediction.
            columns |= {"predicted": predicted, "label": chunk.y}
        return Observation(columns, exhibits)


def accuracy_plan(setup: Setup, statement: str, rule: Rule) -> Plan:
    """Return the plan of an accuracy; all claims on it share the stored outcomes."""
    return setup.plan(statement, Predicting(), rule, identity=("accuracy",))


def accuracy_of(setup: Setup, statement: str) -> Evidence:
    """Return the evidence of all samples, or of the settings' budget, without a claim."""
    return observe(_accuracy_alone(setup, statement))


def _accuracy_alone(setup: Setup, statement: str) -> Plan:
    return accuracy_plan(setup, statement, ShareRule(threshold=None, at_least=True, terms=setup.alone))


def drop_claim(first: Evidence, max_drop: float | None, terms: Terms) -> TwoSetDropRule:
    """Return the rule of a drop from a measured accuracy."""
    held = int(first.columns["held"].sum())
    return TwoSetDropRule(threshold=max_drop, first=held, n_first=first.n, whole=first.whole, terms=terms)


def pair_details(first: Evidence, second: Evidence, terms: Terms) -> dict[str, Any]:
    """Return both accuracies and the drop; None if some samples were not evaluated."""
    counts = [(int(np.sum(side.columns["held"])), side.n) for side in (first, second)]
    whole = first.whole and second.whole
    return {
        "source_accuracy": first.share(first.columns["held"]),
        "target_accuracy": second.share(second.columns["held"]),
        "source_n": first.n,
        "target_n": second.n,
        "without_looking": share_of_largest_class(first.columns),
        "drop": counts[0][0] / counts[0][1] - counts[1][0] / counts[1][1] if whole else None,
        # Not paired: the two sets have other samples.
        "drop_interval": list(share_difference_interval(*counts[0], *counts[1], terms.alpha)) if whole else None,
    }


WORST_GROUP_ACCURACY = Kind(
    name="worst_group_accuracy",
    varies="nothing",
    quantities=(
        Quantity.at_least("at_least", "worst-group accuracy", "accuracy of the worst group"),
        Quantity.at_least("at_least", "worst-group mean", "mean {} of the worst group"),
    ),
    further_claims=("no_worse_than",),
    captions=_ONE_ANSWER,
    brief=True,
)


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
    metric: Metric = "mean",
    **options: Unpack[Options],
) -> Result:
    """Measure the accuracy of the group of samples with the lowest one (Sagawa et al., ICLR 2020).

    The data pick the worst group, so bounds hold for all groups at once.

    Args:
        model, data, task: as for `measure_robust_accuracy`.
        groups: (N,) integers, strings or tuples, the group of each sample (None: in no group), or a mapping from names
            to positions or to (N,) bool; see `robustest.data.groups.Groups.of`.
        at_least: accuracy claimed for every group, in (0, 1].
        min_group_size: smaller groups are listed as small, >= 1; they count all the same.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, for each group; alpha covers all comparisons.
        metric: "mean", or "map" for the mean average precision of each group's boxes, as for `measure_robust_score`.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: the metric is neither, does not fit the task, or is "map" with no_worse_than.
        DataError: the groups do not fit the data.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    checked_whole("min_group_size", min_group_size, 1)
    setup = Setup.of(model, data, options, deciding(task) if metric == "mean" else task)
    # Groups may overlap; the level of each comparison depends on whether they do.
    rows = data[0] if isinstance(data, (tuple, list)) and len(data) == 2 else None
    known = Groups.of(groups, len(setup.samples), rows=rows)
    if metric != "mean":
        return _measure_groups_of_boxes(
            setup, known, metric, at_least=at_least, min_group_size=min_group_size, no_worse_than=no_worse_than
        )
    rule = WorstGroupRule(
        threshold=at_least, names=known.names, members=known.members, disjoint=known.disjoint, terms=setup.terms
    )
    plan = accuracy_plan(setup, WORST_GROUP_ACCURACY.quantities[0].state() + of_task(setup.task), rule)
    plan = plan.against(
        no_worse_than,
        tolerance,
        has_threshold=at_least is not None,
        groups=tuple(zip(rule.names, rule.members, strict=True)),
        level=group_level(rule.terms.alpha, len(rule.names), disjoint=rule.disjoint),
    )
    evidence = observe(plan)
    shares, whole = rule.shares({**evidence.columns, "id": evidence.ids}, evidence.total), evidence.whole
    labels = evidence.labels(setup.samples)
    sizes = dict(zip(known.names, known.sizes, strict=True))
    notes = []
    if whole:
        worst = shares[0]
        # By the point estimate: the verdict is by bounds for all groups.
        notes.append(f"worst group {worst.name!r}: {worst.held} of {worst.n} samples right")
    notes += _small(known, min_group_size)
    return finish(
        plan,
        evidence,
        kind=WORST_GROUP_ACCURACY,
        threshold=at_least,
        setting=f"{len(rule.names)} groups of {min(known.sizes)} to {max(known.sizes)} samples",
        constant=None if labels is None else _of_one_answer(labels, rule.members, named=max(1, top_of(setup.task))),
        method="accuracy of each group, with bounds for all at once",
        details={
            "accuracy": evidence.share(evidence.columns["held"]),
            "worst_group": shares[0].name if whole else None,
            "min_group_size": min_group_size,
            "disjoint": known.disjoint,
            "in_no_group": known.outside,
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
        },
        caveats=_left_out(known),
        notes=notes,
        pairing=Pairing(groups={name: tuple(ids.tolist()) for name, ids in zip(rule.names, rule.members, strict=True)}),
    )


def _measure_groups_of_boxes(
    setup: Setup,
    known: Groups,
    metric: str,
    *,
    at_least: float | None,
    min_group_size: int,
    no_worse_than: Baseline | None,
) -> Result:
    """Measure the mean average precision of the worst group; arguments as for `measure_worst_group_accuracy`."""
    require(metric == "map", 'metric to be "mean" or "map" for groups', metric)
    rule_of(metric, at_least, setup)  # raises, and says which task it takes
    if no_worse_than is not None:
        raise ConfigError(
            'Expected at_least= with metric="map" for groups but got no_worse_than=. Compare the samples of each group '
            "by assert_accuracy, or all groups by their accuracy, with a floor of the task."
        )
    rule = WorstGroupPrecision(
        threshold=at_least, names=known.names, members=known.members, disjoint=known.disjoint, terms=setup.terms
    )
    quantity = WORST_GROUP_ACCURACY.quantities[1]
    plan = setup.plan(
        quantity.state(mean_of(setup.task, metric, setup.settings.scope)),
        Scoring(metric=metric),
        rule,
        identity=("scores", metric),  # the outcomes are those of the same claim on all samples
    )
    evidence = observe(plan)
    whole, columns = evidence.whole, {**evidence.columns, "id": evidence.ids}
    groups, sizes, notes = rule.groups(columns), dict(zip(known.names, known.sizes, strict=True)), []
    if whole and groups[0].value is not None:
        notes.append(f"worst group {groups[0].name!r}: {number(groups[0].value)} on {groups[0].n} samples")
    return finish(
        plan,
        evidence,
        kind=WORST_GROUP_ACCURACY,
        quantity=quantity,
        threshold=at_least,
        setting=f"{len(known.names)} groups of {min(known.sizes)} to {max(known.sizes)} samples",
        method="mean average precision of each group, with bounds for all at once",
        details={
            "map": set_details(metric, columns)["map"] if whole else None,
            "worst_group": groups[0].name if whole else None,
            "min_group_size": min_group_size,
            "disjoint": known.disjoint,
            "in_no_group": known.outside,
            "groups": [
                {
                    "group": group.name,
                    "n": group.n,
                    "map": group.value if whole else None,
                    "interval": list(group.interval) if whole else None,
                    "small": sizes[group.name] < min_group_size,
                }
                for group in groups
            ],
        },
        caveats=_left_out(known),
        notes=[*notes, *_small(known, min_group_size)],
    )


def _small(known: Groups, least: int) -> list[str]:
    """Return the note that names groups of fewer samples than `least`, if there are any."""
    small = [name for name, size in zip(known.names, known.sizes, strict=True) if size < least]
    return [f"small, with fewer than {least} samples, and judged all the same: {', '.join(small)}"] if small else []


def _left_out(known: Groups) -> tuple[str, ...]:
    """Return the caveats on samples in no group, and on groups without samples."""
    outside = [f"{known.outside} of {known.total} in no group"] if known.outside else []
    return (*outside, *(f"no samples in {name!r}" for name in known.empty))


def _of_one_answer(labels: NDArray[Any], members: Sequence[NDArray[np.int64]], *, named: int) -> float:
    """Return the worst group's accuracy of a constant answer that names the classes which help that group most.

    The best answer where it names one class; of more, classes are chosen one after the other.
    """
    classes = np.unique(labels)
    shares = np.array([[(labels[ids] == one).mean() for ids in members if len(ids)] for one in classes])
    reached = np.zeros(shares.shape[1:])
    for _ in range(min(named, len(classes))):
        best = int((reached + shares).min(1).argmax()) if reached.size else 0
        reached, shares = reached + shares[best], np.delete(shares, best, 0)
    return float(reached.min()) if reached.size else 0.0


@assertion(measure_worst_group_accuracy)
def assert_worst_group_accuracy() -> None:
    """Claim that accuracy is at least `at_least`, or not below a baseline, in every group."""


# Subpopulation shift: accuracy on subclasses that were not in training (BREEDS).
#
# Santurkar, Tsipras and Madry, "BREEDS: Benchmarks for Subpopulation Shift" (ICLR 2021). Other subclasses would give
# another drop, so the interval is by bets on the subclasses' accuracies, each a draw of its domain
# (`robustest.decisions.two_set_drop`).


SUBPOPULATION_SHIFT = Kind(
    name="subpopulation_shift",
    varies="sets",
    quantities=(
        Quantity.at_most(
            "max_drop",
            "accuracy drop",
            "accuracy lost from the source's subclasses to the target's",
            trivial=1,
            start="source_accuracy",
        ),
    ),
    captions=_ONE_ANSWER,
    brief=True,
)


@measurement(SUBPOPULATION_SHIFT)
def measure_subpopulation_shift(
    model: object,
    data: object,
    split: BreedsSplit,
    *,
    max_drop: float | None = None,
    train: TrainFn | None = None,
    train_data: object | None = None,
    oracle: object = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the drop in accuracy from the subclasses of training to others of the same superclasses.

    (Santurkar, Tsipras and Madry, ICLR 2021.) The interval is for subclasses to come, of equal weight; with
    `scope="population"` it decides. The headroom is the accuracy that an oracle gains on the target. Outcomes are
    the target's.

    Args:
        model: as for `measure_robust_accuracy`, trained on the source domain, with a logit per superclass; None with
            `train`.
        data: samples to test on, as for `measure_robust_accuracy`; labels are the subclasses.
        split: superclasses and the subclasses of both domains, e.g. from `breeds_split`.
        max_drop: largest drop in accuracy claimed, in 0..1.
        train: maps samples (n, *S) float32, labels (n,) int64 (superclasses) and a seed to a model; called with each
            domain of `train_data`, in memory.
        train_data: samples to train on, others than `data`; labels are the subclasses.
        oracle: a model trained on the target domain, if `model` is a model; or None.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: train is given with a model or an oracle.
        DataError: the split has no target, or a subclass no samples.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    max_drop = checked_threshold("max_drop", max_drop, trivial=1, optional=True)
    require(isinstance(split, BreedsSplit), "a split such as breeds_split(tree, level=2) gives", split)
    source, target = domains(data, split)
    seed = apply(lambda x: x, options)[1].seed
    model, oracle = _trained(model, train, train_data, oracle, split=split, seed=seed)
    setup = Setup.of(model, source.samples(), options)
    on_source = accuracy_of(setup, "accuracy on the source's subclasses")
    on_target = accuracy_of(setup.on(target.samples()), "accuracy on the target's subclasses")
    best, others = None, [on_source]
    if oracle is not None:
        best = accuracy_of(Setup.of(oracle, target.samples(), options), "the oracle's accuracy")
        others = [on_source, best]
    # Shares have simultaneous bounds within each domain, for the table; the verdict is by the bets.
    halves = (
        _DomainShares.of(source, on_source, split, setup.terms),
        _DomainShares.of(target, on_target, split, setup.terms),
    )
    decision = _decide(*halves, max_drop, setup.terms)
    before = on_source if setup.terms.scope == "set" else on_source.once
    decision = fallible(decision, before, max_drop, alpha=setup.terms.alpha)
    controls: Controls | None = None
    if train is not None and max_drop is not None and decision.verdict is Verdict.PASSED:
        doubt = _doubt_of_copies(train_data, data)
        if not doubt:
            controls = _controls(train, domains(train_data, split)[0], target, options, seed=seed)
            taught = float(on_source.columns["held"].mean())
            doubt = controls.doubt(taught=taught, allowed=max_drop)
        if doubt:
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt)
    # Exhibits are numbered within the domain; users know positions in their data.
    shown = [replace(exhibit, index=int(target.ids[exhibit.index])) for exhibit in on_target.exhibits]
    result = result_of(
        replace(on_target.including(*others), exhibits=shown),
        decision,
        setup.settings,
        kind=SUBPOPULATION_SHIFT,
        statement=SUBPOPULATION_SHIFT.quantities[0].state(),
        threshold=max_drop,
        setting=f"{len(split.superclasses)} superclasses; subclasses: {len(halves[0].shares)} in the source, "
        f"{len(halves[1].shares)} in the target",
        method="bets on the accuracies of subclasses",
        details={
            **pair_details(on_source, on_target, setup.terms),
            **_headroom(on_target, best, setup.terms),
            "drop_interval": list(decision.interval),
            "subclasses": {"source": halves[0].table(), "target": halves[1].table()},
            **({} if controls is None else controls.details),
        },
        caveats=few(on_source.n, " of the source"),
        changed=[Changed.brought("the target", on_source, on_target)],
    )
    worst = halves[1].shares[0]
    notes = [*result.words.notes, f"worst subclass {worst.name!r}: {worst.held} of {worst.n} samples right"]
    if result.details["headroom"] is None:
        notes.append("no oracle: how much of the fall could be avoided is not known")
    else:
        low, high = result.details["headroom_interval"]
        words = f"an oracle trained on the target has accuracy {number(result.details['oracle_accuracy'])}"
        notes.append(f"{words}: headroom {number(result.details['headroom'])} {interval_in_words(low, high)}")
    return result.but(notes=tuple(notes))


@assertion(measure_subpopulation_shift)
def assert_subpopulation_shift() -> None:
    """Claim that accuracy falls by at most `max_drop` from the subclasses of training to others of the same classes."""


@dataclass(frozen=True, slots=True)
class _DomainShares:
    """One domain's accuracy by subclass.

    Attributes:
        held, counts: (c,) right samples and samples, by evaluated subclass.
        shares: subclasses with simultaneous intervals, worst first.
        read, n: number of evaluated samples, and of all.
    """

    held: NDArray[np.int64]
    counts: NDArray[np.int64]
    shares: list[GroupShare]
    read: int
    n: int

    @property
    def whole(self) -> bool:
        return self.read == self.n

    @classmethod
    def of(cls, domain: Domain, evidence: Evidence, split: BreedsSplit, terms: Terms) -> _DomainShares:
        subclass = domain.subclasses.numpy()[evidence.ids]
        # Subclasses without an evaluated sample are left out: nothing is known of them.
        known, at = np.unique(subclass, return_inverse=True)
        n = np.bincount(at, minlength=len(known)).astype(np.int64)
        held = np.bincount(at[evidence.columns["held"].astype(bool)], minlength=len(known)).astype(np.int64)
        shares = group_shares(
            [split.name(int(index)) for index in known],
            held.tolist(),
            n.tolist(),
            alpha=terms.alpha,
            disjoint=True,
        )
        return cls(held, n, shares, evidence.n, evidence.total)

    def table(self) -> list[dict[str, Any]]:
        return [
            {
                "subclass": group.name,
                "n": group.n,
                "held": group.held,
                "accuracy": group.share if self.whole else None,
                "interval": list(group.interval),
            }
            for group in self.shares
        ]


def _trained(
    model: object, train: TrainFn | None, train_data: object, oracle: object, *, split: BreedsSplit, seed: int
) -> tuple[object, object]:
    if train is None:
        if train_data is not None:
            raise ConfigError("Expected train= with train_data= but got none: nothing else trains on these samples.")
        return model, oracle
    if model is not None or oracle is not None:
        raise ConfigError(
            "Expected model=None and no oracle= with train=, which trains both, but got one of them. Leave it out, or "
            "leave train= out."
        )
    if train_data is None:
        raise ConfigError("Expected train_data= with train= but got none: there is nothing to train on.")
    check_train(train)
    source, target = domains(train_data, split)
    # The same seed for both: model and oracle differ by their data alone.
    of_source, of_target = source.arrays(), target.arrays()
    with devices.users_default():
        return train(*of_source, seed), train(*of_target, seed)


def _doubt_of_copies(train_data: object, data: object) -> str:
    """Return the reason why samples to test on cannot judge: they are trained on, perhaps changed a little; or ""."""
    train, test = as_samples(train_data), as_samples(data)
    x = train.take(torch.arange(len(train)))[0]
    looked = rng.permutation(0, len(test))[:_LOOKED_AT]
    shown = test.take(looked)[0]
    if x.shape[1:] != shown.shape[1:] or not x.is_floating_point():
        return ""
    leaked, _ = copied_from(shown, x)
    if not leaked:
        return ""
    return (
        f"{len(leaked)} of {len(shown)} samples to test on are copies of training samples, perhaps changed a little: "
        f"sample {int(looked[leaked[0][0]])} of data is sample {leaked[0][1]} of train_data. Take them out of a set"
    )


def _controls(train: TrainFn, source: Domain, target: Domain, options: Options, *, seed: int) -> Controls:
    """Train on data that teach nothing, and judge by the target and by training samples left out."""
    x, y = source.arrays()
    controls = Controls.of(x, y, judged=len(target.ids), seed=seed)
    beside = (x[controls.held_out], y[controls.held_out])

    def judge(x: Tensor, y: Tensor, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        with devices.users_default():
            model = train(x.clone(), y.clone(), seed)
        setup = Setup.of(model, target.samples(), options).but(exact=True, max_samples=None).unpictured()
        right = accuracy_of(setup, "the control's accuracy on the target").columns["held"]
        if not len(beside[1]):
            return right, right, np.zeros(0, bool)
        held_out = setup.on(Setup.of(model, beside, options).samples)
        return right, right, accuracy_of(held_out, "the control's accuracy on other samples").columns["held"]

    return controls.trained(judge)


def _decide(source: _DomainShares, target: _DomainShares, max_drop: float | None, terms: Terms) -> Decision:
    both = cluster_mean_interval(source.held / source.counts, terms.alpha, minus=target.held / target.counts)
    if source.whole and target.whole:
        fall = two_set_drop(source.held, source.counts, target.held, target.counts)
        # If subclasses differ in size the drop over samples differs from the one over subclasses, which the bets are
        # about. A claim has to hold for both.
        both = min(both[0], float(fall)), max(both[1], float(fall))
        decision = decide_two_set_drop(fall, max_drop, interval=both, terms=terms)
    else:
        read, n = source.read + target.read, source.n + target.n
        # Samples are missing: only the interval can decide.
        decision = decide_early(max_drop, both, read, n, None, at_least=False, terms=terms)
    if terms.scope == "set" or max_drop is None:
        return decision
    decision = replace(decision, rule=f"{decision.rule}, by subclass, of which each counts alike")
    if decision.verdict is not Verdict.INCONCLUSIVE or not max_drop:
        return decision
    subclasses, needed = len(target.counts), fewest_clusters(max_drop, terms.alpha)
    if subclasses >= needed:
        return decision
    few = (
        f"{subclasses} subclasses in the target, however right the model is on them, show nothing of kinds as rare as "
        f'max_drop={max_drop:g} allows: give {needed} or more, or claim it of these (scope="set")'
    )
    return replace(decision, rule=f"{decision.rule}; {few}")


def _headroom(model: Evidence, oracle: Evidence | None, terms: Terms) -> dict[str, Any]:
    if oracle is None or not (model.whole and oracle.whole):
        return {"oracle_accuracy": None, "headroom": None, "headroom_interval": None}
    right, best = model.columns["held"].astype(bool), oracle.columns["held"].astype(bool)
    # Paired by sample: only samples with different outcomes count.
    more, less = int((best & ~right).sum()), int((right & ~best).sum())
    return {
        "oracle_accuracy": float(best.mean()),
        "headroom": (more - less) / len(right),
        "headroom_interval": list(paired_interval(more, less, len(right), terms.alpha)),
    }
