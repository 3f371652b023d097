"""The search for unnamed cues on one half of the samples; `robustest.discovery` describes its steps.

It fills in the cues that each step found before the next one, tries changes on the model itself, and searches the
cheapest patches where gradients and classes allow it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from robustest.checks import checked_images
from robustest.claims.cues.controls import planted_chance
from robustest.cues import Cue, MaskedPatch, switched
from robustest.discovery.changes import standing_changes
from robustest.discovery.fitted_changes import (
    SMALLEST_NOISY,
    FamilyClassifier,
    ImagePool,
    explaining_proposal,
    faint_proposal,
    fit_families,
    fitted_proposals,
)
from robustest.discovery.image_features import ErrorAssociation, error_associations, image_properties
from robustest.discovery.moving_marks import SMALLEST_MOVING, find_moving_marks
from robustest.discovery.patch_places import find_patches, joined_patches, transplants
from robustest.discovery.proposals import (
    CHANNELS,
    COLUMNS,
    EDGES,
    FAMILIES,
    MOVING,
    NOISE,
    PATCHES,
    PROPERTIES,
    SPECTRA,
    TOKENS,
    TRIGGERS,
    Discovery,
    Proposal,
)
from robustest.discovery.row_columns import find_columns_and_tokens
from robustest.discovery.triggers import anomaly_chance, patch_sides, search_triggers
from robustest.errors import ConfigError, ModelError
from robustest.models import Needs
from robustest.run.split_search import Bench

# Samples in which the standing changes are switched on.
_TRIED_ON = 256

# Share of other classes' samples that a standing change has to draw to one class to be considered for a proposal.
_DRAWN = 0.05

# Standing changes considered, those that draw most.
_CONSIDERED = 6


@dataclass(frozen=True, slots=True)
class SearchFindings:
    """The result of a search.

    Attributes:
        looked_at, left_out: the parts searched, and not searched, in words.
        not_searched: families that were not searched for, with reasons.
        few: number of classes with too few samples.
        marks: class, family and gap of marks that no change explains.
        errors: properties that errors go with.
        planted: see `planted_chance`.
    """

    proposals: tuple[Proposal, ...]
    looked_at: tuple[str, ...]
    left_out: tuple[str, ...]
    not_searched: Mapping[str, str]
    few: int
    marks: tuple[Mapping[str, Any], ...]
    errors: tuple[ErrorAssociation, ...]
    standing: tuple[Mapping[str, Any], ...] = ()
    planted: float = 1.0


def propose(
    bench: Bench,
    discovery: Discovery,
    *,
    target: int | None,
    seed: int,
    control: bool = False,
    families: Collection[str] = (),
) -> SearchFindings:
    """Search for cues in the samples, and in the model's answers to them.

    Args:
        target: the one class whose cues are wanted, or None for all.
        control: the model is a positive control, in which a planted cue has to be found without standing changes.
        families: the families to search for; empty for all.

    Raises:
        ConfigError: the samples are no images and no rows of numbers, or the target is no class.
    """
    x, y = bench.chunk.x, bench.chunk.y
    if x.ndim != 2:
        checked_images(x, 'cue="auto"')
    before = bench.evaluator.task.predictions(bench.evaluator.logits(x))
    bench.evaluator.check_labels(y)
    if target is not None and target >= bench.evaluator.classes:
        raise ConfigError(f"Expected target in 0..{bench.evaluator.classes - 1} but got {target}.")
    counts = torch.bincount(y)
    labels = [k for k, n in enumerate(counts.tolist()) if n >= discovery.min_members]
    few = int((counts > 0).sum()) - len(labels)
    left_out = [f"{few} classes of fewer than {discovery.min_members} samples"] if few else []
    if x.ndim == 2:
        found = _in_rows(bench, discovery, labels)
    else:
        wanted = frozenset(families or FAMILIES)
        found = _in_images(bench, discovery, labels, before, seed, control=control, families=wanted)
    proposals = tuple(one for one in found.proposals if target in (None, one.label))
    return replace(found, proposals=proposals, left_out=(*left_out, *found.left_out), few=few)


def _in_images(
    bench: Bench,
    discovery: Discovery,
    labels: Sequence[int],
    before: Tensor,
    seed: int,
    *,
    control: bool,
    families: Collection[str],
) -> SearchFindings:
    x, y, bounds = bench.chunk.x, bench.chunk.y, bench.chunk.bounds
    # 1. Patches at a fixed place. Each is filled in, in every image: filled in only where it was, the filling would
    #    mark the class.
    places = find_patches(x, y, labels, bounds=bounds, min_gap=discovery.min_gap) if PATCHES in families else ()
    rest = x
    for patch in places:
        if isinstance(patch.cue, MaskedPatch):
            rest = replace(patch.cue, tolerance=None).off(rest)

    # 2. Marks that move.
    moving: tuple[Proposal, ...] = ()
    if MOVING in families:
        moving = find_moving_marks(rest, y, labels, bounds=bounds, min_gap=discovery.min_gap, seed=seed)
    for mark in moving:
        rest = mark.cue.off(rest)

    # 3. Whole images.
    pool = ImagePool(x=rest, y=y, bounds=bounds, seed=seed)
    classifiers = fit_families(pool, labels, families) if len(labels) > 1 else []
    whole, unexplained = fitted_proposals(classifiers, pool, min_mark=discovery.min_mark)

    # 4. Changes that are tried on every model.
    standing: tuple[Mapping[str, Any], ...] = ()
    if not control:
        standing, more = _standing_proposals(
            bench, discovery, before, labels=labels, classifiers=classifiers, pool=pool, fitted=whole
        )
        whole += more

    # 5. Cheapest patches.
    triggers, planted, why = (
        _triggers(bench, labels, discovery, seed) if TRIGGERS in families else ([], 1.0, "no trigger is planted")
    )

    height, width = x.shape[2:]
    looked_at = [
        f"{height * width} places in {len(labels)} classes",
        "marks that move",
        f"what {len(x)} whole images are like",
    ]
    not_searched = dict.fromkeys((COLUMNS, TOKENS), "images")
    if x.shape[1] == 1:
        not_searched[CHANNELS] = "images of one channel"
    if min(height, width) < SMALLEST_MOVING:
        not_searched[MOVING] = f"images of fewer than {SMALLEST_MOVING} pixels"
    if min(height, width) < SMALLEST_NOISY:
        not_searched[NOISE] = f"images of fewer than {SMALLEST_NOISY} pixels"
    if len(labels) < 2:
        why_not = f"fewer than two classes of {discovery.min_members} images"
        not_searched |= dict.fromkeys((PATCHES, MOVING, PROPERTIES, CHANNELS, SPECTRA, EDGES, NOISE), why_not)
    left_out = []
    if why:
        not_searched[TRIGGERS] = why
        left_out.append(f"cheapest patches: {why}")
    else:
        looked_at.append(f"the cheapest patch to each of {len(labels)} classes")
    return SearchFindings(
        proposals=(*places, *joined_patches(places), *transplants(x, y, places), *moving, *whole, *triggers),
        looked_at=tuple(looked_at),
        left_out=tuple(left_out),
        not_searched=not_searched,
        few=0,
        marks=tuple({"class": mark.label, "property": family, "gap": mark.gap} for family, mark in unexplained),
        errors=() if control else tuple(error_associations(image_properties(x), y, before != y, seed=seed)),
        standing=standing,
        planted=planted,
    )


def _standing_proposals(
    bench: Bench,
    discovery: Discovery,
    before: Tensor,
    *,
    labels: Sequence[int],
    classifiers: Sequence[FamilyClassifier],
    pool: ImagePool,
    fitted: Sequence[Proposal],
) -> tuple[tuple[Mapping[str, Any], ...], list[Proposal]]:
    # The effects of the standing changes on predictions, and proposals in addition to `fitted`.
    chunk, task = bench.chunk, bench.evaluator.task
    few = chunk.rows(torch.arange(min(_TRIED_ON, len(chunk.y)), device=chunk.y.device))
    effects, drawn = list[Mapping[str, Any]](), list[tuple[float, Cue, int, bool]]()
    was = before[: len(few.y)]
    for cue in standing_changes(chunk.x.shape[1:], chunk.bounds):
        after = task.predictions(bench.evaluator.logits(switched(cue, few.x, few.bounds)[0]))
        moved = (after != was) & (after != few.y)
        if not bool(moved.any()):
            continue
        label = int(torch.bincount(after[moved]).argmax())
        share = float((moved & (after == label)).double().sum() / (few.y != label).sum().clamp(min=1))
        effects.append({"cue": cue.name, "class": label, "flips": share})
        if share >= _DRAWN:
            # A change that drives more predictions out of the class than it draws in merely disturbs the model.
            into, out = (
                float((part & change).double().sum() / part.double().sum().clamp(min=1))
                for part, change in ((was != label, after == label), (was == label, after != label))
            )
            drawn.append((share, cue, label, into > out))
    effects.sort(key=lambda one: -one["flips"])
    drawn.sort(key=lambda one: -one[0])
    proposals, known = list[Proposal](), {(other.label, other.cue.name) for other in fitted}
    for _, cue, label, draws_in in drawn[:_CONSIDERED]:
        if label not in labels:
            continue
        # A change that draws many predictions to a class is proposed if it explains marks of the class; or faintly, if
        # few of the class's images look like it.
        one = explaining_proposal(classifiers, cue, label, pool, min_mark=discovery.min_mark)
        if one is None and draws_in:
            one = faint_proposal(classifiers, cue, label, pool)
        if one is not None and (label, one.cue.name) not in known:
            proposals.append(one)
            known.add((label, one.cue.name))
    return tuple(effects), proposals


def _in_rows(bench: Bench, discovery: Discovery, labels: Sequence[int]) -> SearchFindings:
    x, y = bench.chunk.x, bench.chunk.y
    proposals, tokens = find_columns_and_tokens(x, y, labels, min_gap=discovery.min_gap)
    looked_at = [f"{x.shape[1]} columns in {len(labels)} classes"]
    not_searched = {family: "rows of numbers" for family in FAMILIES if family not in (COLUMNS, TOKENS)}
    if tokens:
        looked_at.append("tokens wherever they stand")
    else:
        not_searched[TOKENS] = "the rows are no whole numbers"
    if len(labels) < 2:
        not_searched |= dict.fromkeys((COLUMNS, TOKENS), f"fewer than two classes of {discovery.min_members} rows")
    return SearchFindings(tuple(proposals), tuple(looked_at), (), not_searched, 0, (), ())


def _triggers(
    bench: Bench, labels: Sequence[int], discovery: Discovery, seed: int
) -> tuple[list[Proposal], float, str]:
    """Return proposals, `SearchFindings.planted`, and the reason if no patches were searched."""
    if not discovery.trigger_steps:
        return [], 1.0, "trigger_steps=0"
    if bench.evaluator.model.gives < Needs.GRADIENT:
        return [], 1.0, "the model gives no gradients"
    if len(labels) < 4:
        return [], 1.0, f"{len(labels)} classes are too few to tell the odd one out"
    x, y = bench.chunk.x, bench.chunk.y
    try:
        # One sample first: a model without gradients fails here, and not in the middle of a search.
        bench.gradient(x[:1], y[:1])
    except ModelError as error:
        return [], 1.0, str(error).partition(". ")[0]
    # Every other side where there are many: each costs as many passes as the last.
    sides = patch_sides(None, min(x.shape[2:]))
    sides = sides if len(sides) < 8 else sides[::2]
    found = search_triggers(
        x,
        y,
        bench.gradient,
        bench.evaluator.logits,
        classes=bench.evaluator.classes,
        labels=labels,
        bounds=bench.chunk.bounds,
        steps=discovery.trigger_steps,
        sizes=sides,
        threshold=discovery.max_anomaly,
        seed=seed,
    )
    planted = planted_chance(bench, found, steps=discovery.trigger_steps, sides=sides, seed=seed)
    suspected = [
        Proposal(
            found_by=TRIGGERS,
            label=trigger.label,
            cue=trigger.cue,
            score=trigger.anomaly,
            region=(trigger.top, trigger.left, trigger.size, trigger.size),
            value=tuple(trigger.pattern.mean((1, 2)).tolist()),
            chance=anomaly_chance(trigger.anomaly, [one.cost for one in found.triggers], seed),
        )
        for trigger in found.suspects
    ]
    return suspected, planted, ""
