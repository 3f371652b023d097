"""Accuracy on data sets as they are, and its fall from one to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np

from robustest.data import as_samples
from robustest.data.benchmarks import Benchmark
from robustest.decisions import Decision, Rule, ShareRule, Terms, checked_not_both, optional_threshold
from robustest.decisions.drop import share_of_largest_class
from robustest.decisions.two_set_drop import TwoSetDropRule, share_difference_interval
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError
from robustest.kinds import OUTCOMES, Kind, Quantity, no_lines
from robustest.results import Pairing, Result, Verdict
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, unchanged_exhibits
from robustest.run.finish import fall_from, fallible, few, finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Plan, Setup, deciding, of_task
from robustest.tasks import Task

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
    setup = _setup(model, data, new_data, options, deciding(task))
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
        rule = fall_claim(first, max_drop, setup.terms)
    asked = TRANSFER_ACCURACY.quantity_of("max_drop" if by_drop else "at_least")
    plan = accuracy_plan(setup.on(as_samples(new_data, setup.task)), asked.state() + of_task(setup.task), rule).against(
        no_worse_than, tolerance, has_threshold=at_least is not None or by_drop, **how
    )
    second = observe(plan)
    decision = fallible(second.decision, first, max_drop, alpha=setup.terms.alpha)
    result = finish(
        plan,
        second.including(first),
        decision=_beside(decision, first.decision) if start is not None else decision,
        kind=TRANSFER_ACCURACY,
        quantity=asked,
        threshold=max_drop if by_drop else at_least,
        setting=f"source of {first.total} samples, target of {second.total}{_of(new_data)}",
        method="two samples, not paired",
        details=pair_details(first, second, setup.terms),
        caveats=(*few(first.n, " of the source"), *(new_data.caveats if isinstance(new_data, Benchmark) else ())),
        pairing=fall_from(first) if by_drop else Pairing(),
    )
    if start is None:
        return result
    about = result.details["baseline"] | {"start": start.told(result, first).details["baseline"]}
    return replace(result, details={**result.details, "baseline": about})


def _beside(decision: Decision, start: Decision) -> Decision:
    """Return a decision on a fall, where the accuracy that it starts from must be no worse than a baseline's."""
    if start.verdict is Verdict.FAILED or (
        start.verdict is Verdict.INCONCLUSIVE and decision.verdict is not Verdict.FAILED
    ):
        return replace(decision, verdict=start.verdict, rule=start.rule, at_alpha=start.at_alpha, reasons=start.reasons)
    return decision


def _setup(model: object, source: object, target: object, options: Options, task: Task | None) -> Setup:
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


def _of(target: object) -> str:
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


def fall_claim(first: Evidence, max_drop: float | None, terms: Terms) -> TwoSetDropRule:
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
