"""Accuracy on data sets as they are, and its fall from one to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from robustest.data import as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError
from robustest.kinds import OUTCOMES, Kind, Quantity, no_lines
from robustest.results import Pairing, Result
from robustest.rules import Rule, ShareRule, Terms
from robustest.rules.independent import FallRule
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observed, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options
from robustest.run.plan import Plan
from robustest.run.result_building import fallible, few, finish
from robustest.run.setup import Setup, deciding, of_task
from robustest.statistics import checked_threshold
from robustest.statistics.two_shares import difference_interval
from robustest.tasks import Task

TRANSFER_ACCURACY = Kind(
    name="transfer_accuracy",
    quantities=(
        Quantity(
            name="accuracy",
            comparison=">=",
            threshold="at_least",
            statement="accuracy on the target",
            counts=OUTCOMES,
        ),
        Quantity(
            name="accuracy drop",
            comparison="<=",
            threshold="max_drop",
            statement="accuracy lost from source to target",
        ),
    ),
    lines=no_lines,
)
"""Accuracy on a target data set, or its fall from the accuracy on a source."""


@measures(TRANSFER_ACCURACY)
def measure_transfer_accuracy(
    model: object,
    source: object,
    target: object,
    *,
    at_least: float | None = None,
    max_drop: float | None = None,
    task: Task | None = None,
    **options: Unpack[Options],
) -> Result:
    """Accuracy on a target data set, or its fall from the accuracy on a source data set.

    The samples of the two sets are different ones, so that nothing is paired: the fall's interval is an exact
    one for two independent shares (`robustest.statistics.two_shares`). The source is always looked at whole; the target
    until the claim is settled. Outcomes and counterexamples are the target's.

    Args:
        model: as for `measure_robust_accuracy`.
        source: as for `measure_robust_accuracy`: samples like those the model was made for.
        target: the same: samples it shall do well on too, with the same classes.
        at_least: the accuracy claimed on the target, in 0..1.
        max_drop: the fall in accuracy claimed at most, in 0..1; not together with at_least.
        task: what the answers are, and when they are right, as for `measure_robust_accuracy`.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or both thresholds are given.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    if at_least is not None and max_drop is not None:
        raise ConfigError("Expected at_least or max_drop but got both. Write two assertions.")
    at_least = None if at_least is None else checked_threshold("at_least", at_least, trivial=0)
    max_drop = None if max_drop is None else checked_threshold("max_drop", max_drop, trivial=1)
    setup = Setup.of(model, source, options, deciding(task))
    first = accuracy_of(setup, "accuracy on the source")
    by_drop = max_drop is not None
    rule: Rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
    if by_drop:
        rule = fall_claim(first, max_drop, setup.terms)
    asked = TRANSFER_ACCURACY.asked("max_drop" if by_drop else "at_least")
    plan = accuracy_plan(setup.on(as_samples(target, setup.task)), asked.says() + of_task(setup.task), rule)
    second = observe(plan)
    return finish(
        plan,
        together(second, first),
        decision=fallible(second.decision, first.columns["held"], max_drop),
        kind=TRANSFER_ACCURACY,
        asked=asked,
        threshold=max_drop if by_drop else at_least,
        setting=f"source of {first.total} samples, target of {second.total}",
        method="two samples, not paired",
        details=pair_details(first, second, setup.terms),
        caveats=few(first.n, " of the source"),
        pairing=Pairing(share=not by_drop),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicting:
    """Predictions of a chunk as it is; `examples` of its misclassified samples may be shown."""

    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        """What the model says of a chunk."""
        seen, task = evaluator.judged(chunk.x, chunk.y), evaluator.task
        held, predicted = seen.holds, seen.said
        exhibits = exhibits_of(
            chunk,
            ~held,
            clean=predicted,
            predicted=predicted,
            before=chunk.x,
            after=chunk.x,
            badness=-seen.margin,
            size=None,
            most=self.examples,
            task=task,
        )
        columns = {"held": held.cpu().numpy()}
        if task.one_class:
            columns["predicted"] = predicted.cpu().numpy()
        return Observed(columns, exhibits)


def accuracy_plan(setup: Setup, statement: str, rule: Rule) -> Plan:
    """The plan where only the accuracy on samples as they are is wanted: whoever asks, it is remembered once."""
    return setup.plan(statement, Predicting(examples=setup.settings.examples), rule, identity=("accuracy",))


def accuracy_of(setup: Setup, statement: str) -> Evidence:
    """The accuracy on all samples, or on as many as the settings' budget allows; nothing is claimed of it."""
    return observe(accuracy_plan(setup, statement, ShareRule(threshold=None, at_least=True, terms=setup.alone)))


def fall_claim(first: Evidence, max_drop: float | None, terms: Terms) -> FallRule:
    """A claim on the fall from an accuracy that was looked at before."""
    held = int(first.columns["held"].sum())
    return FallRule(threshold=max_drop, first=held, n_first=first.n, whole=first.whole, terms=terms)


def together(main: Evidence, *others: Evidence) -> Evidence:
    """The main evidence, with what it took to gather the others as well."""
    tally, dates = main.tally, [main.cached]
    for other in others:
        tally = tally.plus(other.tally)
        dates.append(other.cached)
    return replace(main, tally=tally, cached=min(dates) if all(dates) else "")


def pair_details(first: Evidence, second: Evidence, terms: Terms) -> dict[str, Any]:
    """Both accuracies and the fall; None where some samples were not looked at."""
    counts = [(int(np.sum(side.columns["held"])), side.n) for side in (first, second)]
    whole = first.whole and second.whole
    return {
        "source_accuracy": first.share(first.columns["held"]),
        "target_accuracy": second.share(second.columns["held"]),
        "source_n": first.n,
        "target_n": second.n,
        "drop": counts[0][0] / counts[0][1] - counts[1][0] / counts[1][1] if whole else None,
        "drop_interval": list(difference_interval(*counts[0], *counts[1], terms.alpha)) if whole else None,
    }
