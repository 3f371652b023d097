"""Cues that nobody named: proposed on one half of the samples, and switched on and off in the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from robustest.claims.cues.control_check import with_control
from robustest.claims.cues.control_cues import probe_rounds
from robustest.claims.cues.control_models import Known, given, simulated, trained
from robustest.claims.cues.cue_proposals import propose
from robustest.claims.cues.interventions import Switching, details_of, undoubted
from robustest.claims.cues.judged_proposals import Judged
from robustest.claims.cues.reliance import NO_SPURIOUS_FEATURE
from robustest.cues import Cue, NullCue, Plant, for_samples, switched
from robustest.data import Samples, as_samples
from robustest.discovery.proposals import COLUMNS, PATCHES, TRIGGERS, Discovery, Proposal
from robustest.engine.chunks import Chunk
from robustest.results import Result, Verdict
from robustest.rules.cues import CueRule
from robustest.run.driver import observe
from robustest.run.finish import finish
from robustest.run.plan import Options, Setup, apply
from robustest.run.split_search import Halves, bench, with_search

_PLAINEST = frozenset({PATCHES, COLUMNS})
"""Families whose control has to be found for any claim to pass."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds and the class of a claim; see `measure_no_spurious_feature`."""

    max_flip_rate: float | None
    max_recall_drop: float | None
    target: int | None


def measure_discovered(
    model: object,
    data: object,
    discovery: Discovery,
    limits: Limits,
    options: Options,
    *,
    control: object | None,
    learner: Callable[[Plant], object] | None,
) -> Result:
    """`measure_no_spurious_feature` where no cue is named.

    A claim that passes is shown to be able to fail: on the model given for it, on one trained on data with a cue
    planted, or else on a simulated one.
    """
    samples = as_samples(data)
    result, _ = searched(model, samples, discovery, limits, options)
    if result.verdict is not Verdict.PASSED:
        return with_families(result)
    alpha = apply(model, options)[1].alpha
    proven = {TRIGGERS} if result.details["discovery"]["planted_patch_p"] <= alpha else set[str]()
    found = result.details["discovery"]
    marked = {one["class"] for one in (*found["proposed"], *found["other_marks"])}
    how: dict[str, Any] = {"marked": marked, "control": control, "learner": learner}
    for known in _controls(model, samples, discovery, limits, options, **how):
        shown, confirmed = searched(
            known.model,
            known.samples,
            known.discovery,
            limits,
            known.options,
            proof=True,
            # What is not planted need not be found, and its search takes as long as that of the claim itself.
            families={probe.family for probe in known.probes},
        )
        proven |= known.proven(confirmed)
        problem = _problem(known, shown, confirmed)
        result = with_control(result, shown, cue=known.name, problem=problem, more={"model": known.kind})
    return with_families(result, proven)


def _controls(
    model: object,
    samples: Samples,
    discovery: Discovery,
    limits: Limits,
    options: Options,
    *,
    marked: Collection[int],
    control: object | None,
    learner: Callable[[Plant], object] | None,
) -> Iterator[Known]:
    """Models that rely on something: the one given, or as many as it takes to plant a cue of each family."""
    if control is not None:
        yield given(control, samples, discovery, options)
        return
    classifier, settings = apply(model, options)
    for probes in probe_rounds(samples, classifier.bounds, settings.seed, limits.target, marked):
        if learner is None:
            yield simulated(classifier, probes, samples, discovery, options, settings=settings)
        else:
            yield trained(probes, samples, discovery, options, settings=settings, learner=learner)


def with_families(result: Result, proven: Collection[str] = ()) -> Result:
    """A result whose every line says which cues were searched for, and which of these a control shows to be findable.

    Args:
        result: of a search for cues.
        proven: what found the control's cue; see `robustest.discovery.proposals.FAMILIES`.
    """
    found = result.details["discovery"]
    families = [{**one, "proven": one["found_by"] in proven} for one in found["families"]]
    kinds = {
        "found where planted": [one["family"] for one in families if one["proven"]],
        "searched, not proven findable": [
            one["family"] for one in families if not one["proven"] and not one["not_searched"]
        ],
        "not searched": [f"{one['family']} ({one['not_searched']})" for one in families if one["not_searched"]],
        "marked, but by nothing that was tried": [
            f"class {one['class']}, {one['property']} (gap {one['gap']:.2f})" for one in found["other_marks"]
        ],
    }
    told = [f"{what}: {', '.join(names)}" for what, names in kinds.items() if names]
    if found["few"]:
        told.append(f"{found['few']} {'class' if found['few'] == 1 else 'classes'} of too few images to be searched")
    details = {**result.details, "discovery": {**found, "families": families}}
    return replace(result, details=details, caveats=(*result.caveats, *told))


def _problem(known: Known, shown: Result, confirmed: list[Proposal]) -> str:
    """Why a control leaves the claim open; empty where it does not.

    A patch, or a value in a column, is as plain as a cue can be: a search that misses it vouches for nothing. One that
    misses a cue of another family does not vouch for that family, which every line says.
    """
    plain = next((probe for probe in known.probes if probe.family in _PLAINEST), None)
    if known.probes and plain is None:
        return ""
    name = known.name if plain is None else f"a {plain.cue.name} planted in class {plain.label}"
    if plain is not None and plain.family not in known.proven(confirmed):
        mistaken = [one for one in confirmed if one.label == plain.label]
        if not mistaken:
            return f"the search does not find {name} in a model that relies on it: neither might it find another cue"
        names = ", ".join(f"{one.cue.name} (class {one.label})" for one in mistaken)
        return f"the search takes {name} for something else: {names}"
    if not confirmed:
        return f"the search does not find {name} in a model that relies on it: neither might it find another cue"
    if known.kind != "simulated" and shown.verdict is not Verdict.FAILED:
        return f"the control does not fail ({shown.verdict}): a model that relies on {name} would not be noticed"
    return ""


def searched(
    model: object,
    samples: Samples,
    discovery: Discovery,
    limits: Limits,
    options: Options,
    *,
    proof: bool = False,
    families: Collection[str] = (),
) -> tuple[Result, list[Proposal]]:
    """The claim on one model, and the cues that an intervention confirmed.

    A control's claim (`proof`) is not the test's: it spends none of its error and has no pictures. The search is for
    cues of some `families` alone, or of all where none is given.
    """
    setup = Setup.of(model, samples, options)
    terms = replace(setup.alone, scope="set") if proof else setup.terms
    # Confirmation is a test of its own beside the claim: it has to see a number of samples that does not depend on it.
    setup = setup.but(exact=True)
    setup = setup.unpictured() if proof else setup
    halves = Halves.of(samples, setup.settings.seed, discovery.search_samples)
    with bench(setup.model, halves, setup.settings) as ready:
        found = propose(
            ready, discovery, target=limits.target, seed=setup.settings.seed, control=proof, families=families
        )
        staying = _staying(found.proposals, ready.chunk)
    proposals = found.proposals
    cues: tuple[Cue, ...] = tuple(one.cue for one in proposals) or (NullCue(),)
    targets = tuple(one.label for one in proposals) or (None,)
    rule = CueRule(
        targets=targets, max_flip_rate=limits.max_flip_rate, max_recall_drop=limits.max_recall_drop, terms=terms
    )
    look = Switching(cues=cues, targets=targets, examples=setup.settings.examples, of=halves.unseen)
    towards = "" if limits.target is None else f" towards class {limits.target}"
    asked = NO_SPURIOUS_FEATURE.quantity_of("max_recall_drop" if rule.by_recall else "max_flip_rate")
    statement = asked.state("cues that a search finds", towards)
    plan = setup.on(halves.view).plan(statement, look, rule, here=True)
    evidence = with_search(observe(plan), ready.tally, setup.settings)
    judged = Judged(found, evidence, rule, setup.settings.alpha, staying)
    result = finish(
        plan,
        evidence if proposals else replace(evidence, exhibits=[]),
        decision=undoubted(judged.decision(), evidence, rule),
        kind=NO_SPURIOUS_FEATURE,
        quantity=asked,
        threshold=rule.max_recall_drop if rule.by_recall else rule.max_flip_rate,
        setting="; ".join(found.looked_at),
        method=f"searched on {len(halves.searched)} samples, switched in the {len(halves.unseen)} others",
        details=details_of(evidence, cues, rule, lead=judged.lead)
        | {"discovery": judged.told(len(halves.searched), len(halves.unseen))},
        bounds="below",
    )
    return halves.whole(result), judged.confirmed


def _staying(proposals: Sequence[Proposal], chunk: Chunk) -> frozenset[int]:
    """The numbers of cues that cannot be taken from samples: switched off, they leave all of them as they are."""
    return frozenset(
        number
        for number, one in enumerate(proposals)
        if torch.equal(switched(for_samples(one.cue, chunk.ids), chunk.x, chunk.bounds)[1], chunk.x)
    )
