"""Accuracy on data sets as they are, and its fall from one to another."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import numpy as np

from robustest.data import Samples, as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import margins
from robustest.errors import ConfigError
from robustest.kinds import OUTCOMES, Kind, Quantity, no_lines
from robustest.models import Classifier
from robustest.results import Pairing, Result
from robustest.rules import Rule, ShareRule, Terms
from robustest.rules.independent import FallRule
from robustest.run.driver import Look, observe
from robustest.run.evidence import Evidence, Observed, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options, apply, terms_of
from robustest.run.result_building import fallible, few, result_of
from robustest.settings import Settings
from robustest.statistics import checked_threshold
from robustest.statistics.two_shares import difference_interval

AS_THEY_ARE = ("accuracy",)
"""What `accuracy_look` depends on besides model and samples, for the store."""


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
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or both thresholds are given.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    if at_least is not None and max_drop is not None:
        raise ConfigError("Expected at_least or max_drop but got both. Write two assertions.")
    at_least = None if at_least is None else checked_threshold("at_least", at_least, trivial=0)
    max_drop = None if max_drop is None else checked_threshold("max_drop", max_drop, trivial=1)
    classifier, settings = apply(model, options)
    terms = terms_of(settings)
    first = accuracy_of(classifier, as_samples(source), settings, "accuracy on the source")
    by_drop = max_drop is not None
    rule: Rule = ShareRule(threshold=at_least, at_least=True, terms=terms)
    if by_drop:
        rule = fall_claim(first, max_drop, terms)
    asked = TRANSFER_ACCURACY.asked("max_drop" if by_drop else "at_least")
    statement = asked.says()
    second = observe(
        statement,
        classifier,
        as_samples(target),
        settings,
        accuracy_look(settings),
        rule=rule,
        identity=AS_THEY_ARE,
    )
    threshold = max_drop if by_drop else at_least
    return result_of(
        together(second, first),
        fallible(second.decision, first.columns["held"], max_drop),
        settings,
        kind=TRANSFER_ACCURACY,
        statement=statement if threshold is None else f"{statement} {asked.comparison} {threshold:g}",
        asked=asked,
        threshold=threshold,
        setting=f"source of {first.total} samples, target of {second.total}",
        method="two samples, not paired",
        details=pair_details(first, second, terms),
        caveats=few(first.n, " of the source"),
        pairing=Pairing(share=not by_drop),
    )


def accuracy_look(settings: Settings) -> Look:
    """What to do with a chunk where only its accuracy is wanted; misclassified samples are kept."""
    return partial(predict_chunk, examples=settings.examples)


def predict_chunk(evaluator: Evaluator, chunk: Chunk, *, examples: int) -> Observed:
    """Predictions of a chunk as it is; `examples` of its misclassified samples may be shown."""
    logits = evaluator.logits(chunk.x)
    predicted = logits.argmax(1)
    exhibits = exhibits_of(
        chunk,
        predicted != chunk.y,
        clean=predicted,
        predicted=predicted,
        before=chunk.x,
        after=chunk.x,
        badness=-margins(logits, chunk.y),
        size=None,
        most=examples,
    )
    columns = {"held": (predicted == chunk.y).cpu().numpy(), "predicted": predicted.cpu().numpy()}
    return Observed(columns, exhibits)


def accuracy_of(classifier: Classifier, samples: Samples, settings: Settings, statement: str) -> Evidence:
    """The accuracy on all samples, or on as many as the settings' budget allows; nothing is claimed of it."""
    nothing = Terms(scope=settings.scope, alpha=settings.alpha, fail_alpha=settings.alpha)
    rule = ShareRule(threshold=None, at_least=True, terms=nothing)
    return observe(statement, classifier, samples, settings, accuracy_look(settings), rule=rule, identity=AS_THEY_ARE)


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
