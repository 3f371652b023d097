"""Cues that the samples and the model suggest: what is looked at, and what is proposed."""

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
    ImagePool,
    explains,
    faintly_explains,
    fitted_proposals,
    seen_by_families,
)
from robustest.discovery.image_features import Association, error_associations, properties
from robustest.discovery.moving_marks import SMALLEST, find_moving_marks
from robustest.discovery.patch_places import find_patches, together, transplants
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
from robustest.discovery.row_columns import columns_and_tokens
from robustest.discovery.triggers import chance_of, checked_sides, search_triggers
from robustest.errors import ConfigError, ModelError
from robustest.models import Needs
from robustest.run.split_search import Bench

_TRIED_ON = 256
"""Samples that changes which are always tried are switched on in."""
_DRAWN = 0.05
"""Share of other classes' samples that such a change has to draw to one class to be looked into."""
_LOOKED_INTO = 6
"""Of these changes, those that draw most are looked into."""


@dataclass(frozen=True, slots=True)
class SearchFindings:
    """What a search found.

    Attributes:
        proposals: cues to switch.
        looked_at: what was searched, in words.
        left_out: what was not, and why.
        not_searched: families of cues that were not searched for, and why.
        few: classes of too few images to be searched.
        marks: families by which a class is marked, where no change explains it.
        errors: properties that errors go with.
        standing: what changes that are always tried draw to the class that they draw most to.
        planted: see `robustest.claims.cues.controls.planted_chance`; 1 where no cheapest patches were searched.
    """

    proposals: tuple[Proposal, ...]
    looked_at: tuple[str, ...]
    left_out: tuple[str, ...]
    not_searched: Mapping[str, str]
    few: int
    marks: tuple[Mapping[str, Any], ...]
    errors: tuple[Association, ...]
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
    """Look for cues in the samples to be searched on, and in what the model makes of them.

    Args:
        bench: the model and the samples.
        discovery: how to search.
        target: the one class whose cues are wanted, or None for all.
        seed: draws permutations, folds and the search for cheapest patches.
        control: the model is one to be found out. What is always tried is then left out, and so is advice: a cue that
            is found without is found with them.
        families: those to search for, where a control has cues of these alone; all of them where none is given.

    Raises:
        ConfigError: the samples are no images and no rows of numbers, or the target is no class.
        DataError, ModelError, DeviceError: as for any measurement.
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
    places = find_patches(x, y, labels, bounds=bounds, min_gap=discovery.min_gap) if PATCHES in families else ()
    rest = x
    for patch in places:
        if isinstance(patch.cue, MaskedPatch):
            # In every image: filled in where it was alone, the filling would mark the class.
            rest = replace(patch.cue, tolerance=None).off(rest)
    moving: tuple[Proposal, ...] = ()
    if MOVING in families:
        moving = find_moving_marks(rest, y, labels, bounds=bounds, min_gap=discovery.min_gap, seed=seed)
    for mark in moving:
        rest = mark.cue.off(rest)
    predictions = None if control else before
    whole, told, standing = _whole_images(bench, discovery, rest, labels, predictions, families=families, seed=seed)
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
    if min(height, width) < SMALLEST:
        not_searched[MOVING] = f"images of fewer than {SMALLEST} pixels"
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
        proposals=(*places, *together(places), *transplants(x, y, places), *moving, *whole, *triggers),
        looked_at=tuple(looked_at),
        left_out=tuple(left_out),
        not_searched=not_searched,
        few=0,
        marks=told,
        errors=() if control else tuple(error_associations(properties(x), y, before != y, seed=seed)),
        standing=standing,
        planted=planted,
    )


def _whole_images(
    bench: Bench,
    discovery: Discovery,
    rest: Tensor,
    labels: Sequence[int],
    before: Tensor | None,
    *,
    families: Collection[str],
    seed: int,
) -> tuple[list[Proposal], tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    """Changes that mark a class, marks that none explains, and what changes that are always tried move.

    What patches explain is taken away before (`rest`). Without predictions `before`, nothing is tried on the model.
    """
    pool = ImagePool(x=rest, y=bench.chunk.y, bounds=bench.chunk.bounds, seed=seed)
    seen = seen_by_families(pool, labels, families) if len(labels) > 1 else []
    fitted, left = fitted_proposals(seen, pool, min_mark=discovery.min_mark)
    told = tuple({"class": mark.label, "property": family, "gap": mark.gap} for family, mark in left)
    standing, drawn = ((), []) if before is None else _standing(bench, before)
    for cue, label, keeps in drawn:
        if label not in labels:
            continue
        one = explains(seen, cue, label, pool, min_mark=discovery.min_mark)
        if one is None and keeps:
            one = faintly_explains(seen, cue, label, pool)
        known = {(other.label, other.cue.name) for other in fitted}
        fitted += [one] if one is not None and (label, one.cue.name) not in known else []
    return fitted, told, standing


def _standing(bench: Bench, before: Tensor) -> tuple[tuple[Mapping[str, Any], ...], list[tuple[Cue, int, bool]]]:
    """What changes that are always tried do to predictions, and those that draw many to one class.

    Of each of these also whether it draws a larger share of other predictions to the class than it drives out.
    """
    chunk, task = bench.chunk, bench.evaluator.task
    few = chunk.rows(torch.arange(min(_TRIED_ON, len(chunk.y)), device=chunk.y.device))
    told, drawn = list[Mapping[str, Any]](), list[tuple[float, Cue, int, bool]]()
    was = before[: len(few.y)]
    for cue in standing_changes(chunk.x.shape[1:], chunk.bounds):
        after = task.predictions(bench.evaluator.logits(switched(cue, few.x, few.bounds)[0]))
        moved = (after != was) & (after != few.y)
        if not bool(moved.any()):
            continue
        label = int(torch.bincount(after[moved]).argmax())
        share = float((moved & (after == label)).double().sum() / (few.y != label).sum().clamp(min=1))
        told.append({"cue": cue.name, "class": label, "flips": share})
        if share >= _DRAWN:
            into, out = (
                float((part & change).double().sum() / part.double().sum().clamp(min=1))
                for part, change in ((was != label, after == label), (was == label, after != label))
            )
            drawn.append((share, cue, label, into > out))
    told.sort(key=lambda one: -one["flips"])
    drawn.sort(key=lambda one: -one[0])
    return tuple(told), [(cue, label, keeps) for _, cue, label, keeps in drawn[:_LOOKED_INTO]]


def _in_rows(bench: Bench, discovery: Discovery, labels: Sequence[int]) -> SearchFindings:
    x, y = bench.chunk.x, bench.chunk.y
    proposals, tokens = columns_and_tokens(x, y, labels, min_gap=discovery.min_gap)
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
    """Patches of classes far cheaper to reach than the others, `Found.planted`, and why none were searched, if so."""
    if not discovery.trigger_steps:
        return [], 1.0, "trigger_steps=0"
    if bench.evaluator.model.gives < Needs.GRADIENT:
        return [], 1.0, "the model gives no gradients"
    if len(labels) < 4:
        return [], 1.0, f"{len(labels)} classes are too few to tell the odd one out"
    x, y = bench.chunk.x, bench.chunk.y
    sides = _trigger_sizes(min(x.shape[2:]))
    try:
        bench.gradient(x[:1], y[:1])
    except ModelError as error:
        return [], 1.0, str(error).partition(". ")[0]
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
            chance=chance_of(trigger.anomaly, [one.cost for one in found.triggers], seed),
        )
        for trigger in found.suspects
    ]
    return suspected, planted, ""


def _trigger_sizes(side: int) -> list[int]:
    """Sides of squares to try: every other where there are many, for each costs as much as the last."""
    sides = checked_sides(None, side)
    return sides if len(sides) < 8 else sides[::2]
