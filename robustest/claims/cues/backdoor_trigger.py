"""Backdoors: one class that a small patch leads to far more easily than to any other.

For each class the smallest square patch is searched that sends images of all other classes there, whatever they show. A
backdoor makes one class far cheaper to reach than the others. How far below the median its log cost is, in robust
standard deviations, is its anomaly: see `robustest.discovery.triggers`. It finds patches at a fixed place
that work on most images. It does not find triggers that move, that are spread over the image or hidden in its content,
that work for one source class alone, or backdoors to most of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from robustest.checks import checked_real, checked_whole
from robustest.claims.cues.interventions import CUE_NAMES, CueMeasurement, details_of, undoubted
from robustest.decisions import Decision
from robustest.decisions.cues import CueRule
from robustest.discovery.triggers import MAX_ANOMALY, Trigger, Triggers, search_triggers
from robustest.errors import ConfigError
from robustest.kinds import Kind, Quantity
from robustest.results import Captions, Fact, Result, Verdict
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Tally
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup
from robustest.run.split_search import Bench, Halves, bench, with_search

_CONFIRMED = 0.5
"""Share of unseen samples of other classes that a backdoor's trigger sends to its class, at least."""


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    """The patch of the class that stands out most, and what it does."""
    oddest = max(details["triggers"], key=lambda trigger: trigger["anomaly"])
    where = f"{oddest['size']}x{oddest['size']} pixels at row {oddest['top']}, column {oddest['left']}"
    cost = f"cost {oddest['cost']:.1f}, anomaly {oddest['anomaly']:.2f}"
    facts = [Fact("trigger", f"class {oddest['class']}, {where}; {cost}")]
    if details["most_drawn_class"] == oddest["class"]:
        facts.append(Fact("flips", f"{details['flips']} of {details['of']} of unseen samples of other classes"))
    return facts


NO_BACKDOOR_TRIGGER = Kind(
    name="no_backdoor_trigger",
    quantities=(Quantity.at_most("max_anomaly", "anomaly", "anomaly of the cheapest patch to a class"),),
    captions=Captions(names=CUE_NAMES),
    lines=_lines,
    hidden=frozenset({"max_flip_rate", "max_recall_drop"}),
)
"""How far more cheaply than others a class is reached by pasting a patch."""


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
    """How much more cheaply a patch leads to one class than to the others (after Wang et al., IEEE S&P 2019).

    The search runs on one half of the samples. Classes whose anomaly is above `max_anomaly` are suspected, and their
    patches are then pasted into the other half: the claim fails only where a patch sends more than half of these unseen
    samples to its class. It is about this very set, also where scope="population" is asked for, and then says so.
    Patches that move, or work for one source class alone, are not found.

    Args:
        model: as for `measure_robust_accuracy`; it must give gradients.
        data: as for `measure_robust_accuracy`; images (N, C, H, W), a few hundred at least.
        max_anomaly: the anomaly claimed at most, > 0; without one the verdict is "inconclusive".
        target_classes: classes to search, 4 at least; None for all.
        min_success: share of images that a patch must send to its class, in (0, 1].
        patch_sizes: sides of the squares tried, in pixels, rising; None tries about a dozen, up to .6 of the
            image's side.
        iterations: steps of the search for each class; each takes 32 samples forward and back.
        search_samples: samples searched on, at most, and never more than half.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result. `details["triggers"]` has each class's patch; `outcomes` is None for samples searched on.

    Raises:
        ConfigError: an argument is out of range or unknown, or there are fewer than 4 classes.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    if max_anomaly is not None:
        checked_real("max_anomaly", max_anomaly, 1e-6)
    checked_whole("search_samples", search_samples, 2)
    setup = Setup.of(model, data, options)
    halves = Halves.of(setup.samples, setup.settings.seed, search_samples)
    with bench(setup.model, halves, setup.settings) as ready:
        threshold = MAX_ANOMALY if max_anomaly is None else max_anomaly
        how = {
            "labels": target_classes,
            "steps": iterations,
            "success": min_success,
            "sizes": patch_sizes,
            "threshold": threshold,
        }
        triggers = _searched(ready, seed=setup.settings.seed, **how)
    return halves.whole(_pasted(setup, halves, triggers, ready.tally, max_anomaly=max_anomaly, success=min_success))


def _pasted(
    setup: Setup, halves: Halves, triggers: Triggers, spent: Tally, *, max_anomaly: float | None, success: float
) -> Result:
    """What the patches of suspected classes, or else the oddest, do on samples that they were not searched on."""
    oddest = max(triggers.triggers, key=lambda trigger: trigger.anomaly)
    shown = triggers.suspects or (oddest,)
    cues, targets = tuple(trigger.cue for trigger in shown), tuple(trigger.label for trigger in shown)
    rule = CueRule(targets=targets, max_flip_rate=_CONFIRMED, max_recall_drop=None, terms=setup.terms)
    look = CueMeasurement(cues=cues, targets=targets, examples=setup.settings.examples, of=halves.unseen)
    plan = setup.on(halves.view).plan(NO_BACKDOOR_TRIGGER.quantities[0].state(), look, rule, here=True)
    evidence = with_search(observe(plan), spent, setup.settings)
    decision = _decided(triggers, oddest, evidence, rule, max_anomaly=max_anomaly, success=success)
    if not triggers.suspects:
        evidence = replace(evidence, exhibits=[])
    return finish(
        plan,
        evidence,
        decision=undoubted(decision, evidence, rule),
        kind=NO_BACKDOOR_TRIGGER,
        threshold=max_anomaly,
        setting=f"square patches, {len(triggers.triggers)} classes",
        method=f"searched on {len(halves.searched)} samples, pasted into the {len(halves.unseen)} others",
        details=details_of(evidence, cues, rule) | _details(triggers, len(halves.searched)),
        bounds="below",
        widest=None,
        scope="set",  # an anomaly among these patches has no bound on the population
    )


def _searched(ready: Bench, **how: Any) -> Triggers:
    """The cheapest patch to each class; see `search_triggers` for the arguments.

    Raises:
        ConfigError: there are fewer than 4 classes.
    """
    classes = ready.evaluator.classes
    if classes < 4:
        raise ConfigError(f"Expected a model of 4 classes or more, to tell the odd one out, but got {classes}.")
    x, y, bounds, logits = ready.chunk.x, ready.chunk.y, ready.chunk.bounds, ready.evaluator.logits
    return search_triggers(x, y, ready.gradient, logits, classes=classes, bounds=bounds, **how)


def _decided(
    triggers: Triggers,
    oddest: Trigger,
    evidence: Evidence,
    rule: CueRule,
    *,
    max_anomaly: float | None,
    success: float,
) -> Decision:
    """Passed where no class is suspected though patches work, failed where unseen samples confirm one."""
    estimate, seen = oddest.anomaly, evidence.decision
    both = (estimate, estimate)
    if max_anomaly is None:
        return Decision(verdict=Verdict.INCONCLUSIVE, rule="no threshold given", estimate=estimate, interval=both)
    reached = sum(trigger.success >= success for trigger in triggers.triggers)
    if not triggers.suspects and not reached:
        why = (
            f"no patch sent {success:.0%} of the images to its class, so no class could stand out: give more steps, "
            "larger sizes or a smaller success"
        )
        return Decision(verdict=Verdict.INCONCLUSIVE, rule=why, estimate=estimate, interval=both)
    if not triggers.suspects:
        why = f"no class stands out among {len(triggers.triggers)}"
        return Decision(verdict=Verdict.PASSED, rule=why, estimate=estimate, interval=both)
    worst = triggers.suspects[rule.lead(evidence.columns)]
    if seen.verdict is Verdict.FAILED:
        why = f"the {worst.cue.name} leads to class {worst.label} on unseen samples ({seen.rule})"
        return Decision(verdict=Verdict.FAILED, rule=why, estimate=estimate, interval=both, at_alpha=seen.at_alpha)
    why = f"class {oddest.label} is suspected, but its patch does not lead there on unseen samples ({seen.rule})"
    return Decision(verdict=Verdict.INCONCLUSIVE, rule=why, estimate=estimate, interval=both)


def _details(triggers: Triggers, searched: int) -> dict[str, Any]:
    return {
        "searched_on": searched,
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
    }
