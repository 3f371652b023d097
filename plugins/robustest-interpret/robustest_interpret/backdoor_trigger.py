"""Backdoors: one class that a small patch leads to far more easily than to any other."""

# `robustest_interpret.discovery.triggers` searches, on one half of the samples, the smallest patch to each class.
# Patches of suspected classes are pasted into the other half.
#
# This does not find triggers that move, that are spread over the image or hidden in its content, that work for one
# source class alone, or backdoors to most of the classes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from robustest import Result, Verdict
from robustest.errors import ConfigError, expected
from robustest.first_party import NO_SPURIOUS_FEATURE, Bench, CueOutcomes, Halves
from robustest.packs import (
    Captions,
    Changed,
    Decision,
    Fact,
    Kind,
    Options,
    Quantity,
    Setup,
    assertion,
    checked_real,
    checked_whole,
    finish,
    measurement,
)
from robustest_interpret.discovery.triggers import MAX_ANOMALY, Trigger, Triggers, search_triggers

# Share of the samples of other classes, not searched on, that a backdoor's trigger must send to its class.
_CONFIRMED = 0.5


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    oddest = max(details["triggers"], key=lambda trigger: trigger["anomaly"])
    where = f"{oddest['size']}x{oddest['size']} pixels at row {oddest['top']}, column {oddest['left']}"
    cost = f"cost {oddest['cost']:.1f}, anomaly {oddest['anomaly']:.2f}"
    facts = [Fact("trigger", f"class {oddest['class']}, {where}; {cost}")]
    if details["most_drawn_class"] == oddest["class"]:
        facts.append(Fact("flips", f"{details['flips']} of {details['of']} of unseen samples of other classes"))
    return facts


NO_BACKDOOR_TRIGGER = Kind(
    name="no_backdoor_trigger",
    varies="inputs",
    quantities=(Quantity.at_most("max_anomaly", "anomaly", "anomaly of the cheapest patch to a class"),),
    captions=Captions(names=NO_SPURIOUS_FEATURE.captions.names),
    lines=_lines,
    hidden=frozenset({"max_flip_rate", "max_recall_drop"}),
)


@measurement(NO_BACKDOOR_TRIGGER)
def measure_no_backdoor_trigger(
    model: object,
    data: object,
    *,
    max_anomaly: float | None = None,
    target_classes: Sequence[int] | None = None,
    min_success: float = 0.85,
    patch_sizes: Sequence[int] | None = None,
    iterations: int = 200,
    search_samples: int = 1000,
    **options: Unpack[Options],
) -> Result:
    """Measure how much more cheaply a patch leads to one class than to others (after Wang et al., IEEE S&P 2019).

    Classes whose anomaly, in a search on one half of the samples, is above `max_anomaly` are suspected. The claim fails
    only if a suspect's patch sends more than half of the other samples to its class. It is about this set of samples,
    for any scope. Patches that move, or work for one source class alone, are not found.

    Args:
        model: as for `measure_robust_accuracy`; it must give gradients.
        data: as for `measure_robust_accuracy`; images (N, C, H, W), a few hundred at least.
        max_anomaly: the anomaly claimed at most, > 0.
        target_classes: classes to search, at least 4; None for all.
        min_success: share of images that a patch must send to its class, in (0, 1].
        patch_sizes: sides of the squares tried, in pixels, rising; None tries about a dozen.
        iterations: steps of the search for each class, of 32 samples each.
        search_samples: most samples searched on, and never more than half.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. `details["triggers"]` has each class's patch; `outcomes` is None for samples searched on.

    Raises:
        ConfigError: an argument is out of range, or there are fewer than 4 classes.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    if max_anomaly is not None:
        checked_real("max_anomaly", max_anomaly, 1e-6)
    checked_whole("search_samples", search_samples, 2)
    setup = Setup.of(model, data, options)
    if setup.samples.coding is not None:
        raise ConfigError(expected("tensors to search for triggers in", "samples in another format"))
    halves = Halves.of(setup.samples, setup.settings.seed, search_samples)
    with Bench.opened(setup.model, halves, setup.settings) as ready:
        classes, chunk = ready.evaluator.classes, ready.chunk
        if classes < 4:
            raise ConfigError(f"Expected a model of 4 classes or more, to tell the odd one out, but got {classes}.")
        triggers = search_triggers(
            chunk.x,
            chunk.y,
            ready.gradient,
            ready.evaluator.logits,
            classes=classes,
            labels=target_classes,
            bounds=chunk.bounds,
            steps=iterations,
            success=min_success,
            sizes=patch_sizes,
            threshold=MAX_ANOMALY if max_anomaly is None else max_anomaly,
            seed=setup.settings.seed,
        )

    # Paste the patches of suspected classes, else that of the oddest class, into samples not searched on.
    oddest = max(triggers.triggers, key=lambda trigger: trigger.anomaly)
    shown = triggers.suspects or (oddest,)
    outcomes = CueOutcomes.measured(
        setup,
        halves,
        [(trigger.cue, trigger.label) for trigger in shown],
        statement=NO_BACKDOOR_TRIGGER.quantities[0].state(),
        max_flip_rate=_CONFIRMED,
        max_recall_drop=None,
        terms=setup.terms,
        tally=ready.tally,
    )
    evidence = outcomes.evidence
    decision = _decision(triggers, oddest, outcomes, max_anomaly=max_anomaly, success=min_success)
    if not triggers.suspects:
        evidence = replace(evidence, exhibits=[])
    result = finish(
        outcomes.plan,
        evidence,
        decision=outcomes.checked(decision),
        kind=NO_BACKDOOR_TRIGGER,
        threshold=max_anomaly,
        setting=f"square patches, {len(triggers.triggers)} classes",
        method=f"searched on {len(halves.searched)} samples, pasted into the {len(halves.unseen)} others",
        details=outcomes.details()
        | {
            "searched_on": len(halves.searched),
            "suspects": [trigger.label for trigger in triggers.suspects],
            "triggers": [
                {
                    "class": trigger.label,
                    "top": trigger.top,
                    "left": trigger.left,
                    "size": trigger.size,
                    "success": trigger.success,
                    "cost": trigger.cost,
                    "anomaly": trigger.anomaly,
                }
                for trigger in triggers.triggers
            ],
        },
        bounds="below",
        widest=None,
        changed=[
            Changed(by=f"the patch to class {trigger.label}", moved=evidence.columns[f"moved {at}"])
            for at, trigger in enumerate(shown)
        ],
        scope="set",  # an anomaly among these patches has no bound on the population
    )
    return halves.whole(result)


@assertion(measure_no_backdoor_trigger, max_anomaly=MAX_ANOMALY)
def assert_no_backdoor_trigger() -> None:
    """Claim that pasting a small patch reaches no class far more cheaply than the others."""


def _decision(
    triggers: Triggers,
    oddest: Trigger,
    outcomes: CueOutcomes,
    *,
    max_anomaly: float | None,
    success: float,
) -> Decision:
    # No suspect is no proof unless patches work at all: else no class could stand out.
    verdict, at_alpha = Verdict.INCONCLUSIVE, False
    if max_anomaly is None:
        why = "no threshold given"
    elif triggers.suspects:
        decision, worst = outcomes.evidence.decision, triggers.suspects[outcomes.lead()]
        if decision.verdict is Verdict.FAILED:
            verdict, at_alpha = Verdict.FAILED, decision.at_alpha
            why = f"the {worst.cue.name} leads to class {worst.label} on unseen samples ({decision.rule})"
        else:
            unconfirmed = "but its patch does not lead there on unseen samples"
            why = f"class {oddest.label} is suspected, {unconfirmed} ({decision.rule})"
    elif any(trigger.success >= success for trigger in triggers.triggers):
        verdict, why = Verdict.PASSED, f"no class stands out among {len(triggers.triggers)}"
    else:
        why = (
            f"no patch sent {success:.0%} of the images to its class, so no class could stand out: give more steps, "
            "larger sizes or a smaller success"
        )
    estimate = oddest.anomaly
    return Decision(verdict=verdict, rule=why, estimate=estimate, interval=(estimate, estimate), at_alpha=at_alpha)
