"""Accuracy of a model that abstains where it is least sure."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from robustest.claims.confidence.answers import (
    Answering,
    about,
    answers_plan,
    asked_shift,
    changed_by,
    setting,
    sure_setup,
)
from robustest.decisions import checked_threshold, count_at_least, optional_threshold
from robustest.decisions.selection import SelectiveRule
from robustest.kinds import Kind, Quantity
from robustest.results import Result
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup
from robustest.shifts import Shift, ShiftFunction

SELECTIVE_ACCURACY = Kind(
    name="selective_accuracy",
    parameters=("coverage",),
    axis="coverage",
    quantities=(
        Quantity.at_least(
            "at_least", "selective accuracy", "accuracy on the {:g} of samples that the model is surest of{}"
        ),
    ),
)
"""Accuracy on the samples that a model is surest of."""


@measurement(SELECTIVE_ACCURACY)
def measure_selective_accuracy(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction | None = None,
    *,
    coverage: float,
    at_least: float | None = None,
    severity: int | None = None,
    probabilities: bool = False,
    **options: Unpack[Options],
) -> Result:
    """The accuracy on the share of samples that a model is surest of, by the probability of the class that it predicts.

    (Geifman and El-Yaniv, NeurIPS 2017.) About the population, the confidence that so many samples reach is not known
    either; the interval joins exact ones for each number of these samples that may lie above it
    (`robustest.decisions.selection`).

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_calibrated`.
        shift, severity, probabilities: as for `measure_calibrated`.
        coverage: the share of samples that is answered, in 0..1 and more than 0.
        at_least: the accuracy claimed on them, in 0..1 and more than 0.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError, ModelError, DeviceError, StoreError: as for `measure_calibrated`.
    """
    coverage = checked_threshold("coverage", coverage, trivial=0)
    at_least = optional_threshold("at_least", at_least, trivial=0)
    chosen = asked_shift(shift, severity)
    setup = sure_setup(Setup.of(model, data, options), probabilities=probabilities)
    plan = answers_plan(
        setup,
        SELECTIVE_ACCURACY.quantities[0].state(coverage, about(chosen)),
        Answering(examples=setup.settings.examples, shift=chosen, probabilities=probabilities),
        SelectiveRule(threshold=at_least, coverage=coverage, terms=setup.terms),
    )
    evidence = observe(plan)
    return finish(
        plan,
        evidence,
        kind=SELECTIVE_ACCURACY,
        threshold=at_least,
        setting=setting(chosen),
        method=f"the surest {coverage:g} answered",
        details=_details(evidence, coverage),
        changed=changed_by(evidence, chosen, worst=_worst(evidence, coverage)),
    )


def _worst(evidence: Evidence, coverage: float) -> float:
    """The most that the accuracy could be were the model sure and wrong on every sample that was changed."""
    moved, answered = int(evidence.columns["moved"].sum()), count_at_least(coverage, evidence.n)
    return max(0.0, 1 - moved / answered)


def _details(evidence: Evidence, coverage: float) -> dict[str, Any]:
    if not evidence.whole:
        return {"coverage": coverage}
    held, order = evidence.columns["held"], np.argsort(-evidence.columns["msp"], kind="stable")
    k = count_at_least(coverage, evidence.n)
    return {
        "coverage": coverage,
        "answered": k,
        "confidence_from": float(evidence.columns["confidence"][order[k - 1]]),
        "accuracy": float(held.mean()),
        "by_coverage": [
            {"coverage": share / 10, "accuracy": float(held[order[: count_at_least(share / 10, evidence.n)]].mean())}
            for share in range(1, 11)
        ],
    }
