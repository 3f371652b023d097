"""Cues that the samples and the model suggest: what is looked at, and what is proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustest.checks import checked_images
from robustest.discovery.patch_places import Places, find_patches
from robustest.discovery.properties import Association, cast_like, error_associations, marks, properties
from robustest.discovery.proposals import CASTS, PATCHES, TRIGGERS, Discovery, Proposal
from robustest.discovery.triggers import search_triggers
from robustest.errors import ConfigError, ModelError
from robustest.models import Needs
from robustest.run.split_search import Bench

_SWITCHED = ("brightness", "contrast", "colour")
"""Properties that a colour cast switches, by how their names begin; of the others a person has to think."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        proposals: cues to switch.
        looked_at: what was searched, in words.
        left_out: what was not, and why.
        not_searched: families of cues that were not searched for, and why.
        few: classes of too few images to be searched.
        marks: properties of whole images that mark a class and that no cue switches.
        errors: properties that errors go with.
    """

    proposals: tuple[Proposal, ...]
    looked_at: tuple[str, ...]
    left_out: tuple[str, ...]
    not_searched: Mapping[str, str]
    few: int
    marks: tuple[Mapping[str, Any], ...]
    errors: tuple[Association, ...]


def propose(bench: Bench, discovery: Discovery, *, target: int | None, seed: int) -> Found:
    """Look for cues in the samples to be searched on, and in what the model makes of them.

    Args:
        bench: the model and the samples.
        discovery: how to search.
        target: the one class whose cues are wanted, or None for all.
        seed: draws permutations and the search for cheapest patches.

    Raises:
        ConfigError: the samples are no images, or the target is no class.
        DataError, ModelError, DeviceError: as for any measurement.
    """
    x, y, bounds = bench.chunk.x, bench.chunk.y, bench.chunk.bounds
    checked_images(x, 'cue="auto"')
    wrong = ~bench.evaluator.task.holds(bench.evaluator.logits(x), y)
    bench.evaluator.check_labels(y)
    if target is not None and target >= bench.evaluator.classes:
        raise ConfigError(f"Expected target in 0..{bench.evaluator.classes - 1} but got {target}.")
    counts = torch.bincount(y)
    labels = [k for k, n in enumerate(counts.tolist()) if n >= discovery.min_members]
    few = int((counts > 0).sum()) - len(labels)
    left_out = [f"{few} classes of fewer than {discovery.min_members} images"] if few else []
    places = find_patches(x, y, labels, bounds=bounds, min_gap=discovery.min_gap)
    casts, told = _whole_images(x, y, labels, places, bounds)
    triggers, why = _triggers(bench, labels, discovery, seed)
    proposals = [one for one in (*places.patches, *casts, *triggers) if target in (None, one.label)]
    height, width = x.shape[2:]
    looked_at = [f"{height * width} places in {len(labels)} classes", f"properties of {len(x)} images"]
    not_searched = {} if labels else dict.fromkeys((PATCHES, CASTS), f"no class of {discovery.min_members} images")
    if why:
        not_searched[TRIGGERS] = why
        left_out.append(f"cheapest patches: {why}")
    else:
        looked_at.append(f"the cheapest patch to each of {len(labels)} classes")
    errors = error_associations(properties(x), y, wrong, seed=seed)
    return Found(tuple(proposals), tuple(looked_at), tuple(left_out), not_searched, few, told, tuple(errors))


def _whole_images(
    x: Tensor, y: Tensor, labels: Sequence[int], places: Places, bounds: tuple[float, float]
) -> tuple[list[Proposal], tuple[Mapping[str, Any], ...]]:
    """Casts that mark a class, and other properties that do; what patches explain is taken away first."""
    rest = x
    for patch in places.patches:
        rest = patch.cue.off(rest)
    marked = marks(properties(rest), y, labels)
    switched = {key: found for key, found in marked.items() if key[1].startswith(_SWITCHED)}
    casts = []
    for label in labels:
        mine = [found for key, found in switched.items() if key[0] == label]
        if not mine and label not in places.wide:
            continue
        everywhere = (places.wide.get(label, 0.0), y == label)
        score, beyond = max([*mine, everywhere], key=lambda one: one[0])
        cast = cast_like(rest, beyond & (y == label), ~beyond & (y != label), label=label, score=score, bounds=bounds)
        casts += [cast] if cast is not None else []
    told = [
        {"class": label, "property": name, "gap": gap}
        for (label, name), (gap, _) in marked.items()
        if (label, name) not in switched
    ]
    return casts, tuple(told)


def _triggers(bench: Bench, labels: Sequence[int], discovery: Discovery, seed: int) -> tuple[list[Proposal], str]:
    """Patches of classes that are far cheaper to reach than the others; or why none were searched."""
    if not discovery.trigger_steps:
        return [], "trigger_steps=0"
    if bench.evaluator.model.gives < Needs.GRADIENT:
        return [], "the model gives no gradients"
    if len(labels) < 4:
        return [], f"{len(labels)} classes are too few to tell the odd one out"
    x, y = bench.chunk.x, bench.chunk.y
    try:
        bench.gradient(x[:1], y[:1])
    except ModelError as error:
        return [], str(error).partition(". ")[0]
    found = search_triggers(
        x,
        y,
        bench.gradient,
        bench.evaluator.logits,
        classes=bench.evaluator.classes,
        labels=labels,
        bounds=bench.chunk.bounds,
        steps=discovery.trigger_steps,
        threshold=discovery.max_anomaly,
        seed=seed,
    )
    return [
        Proposal(
            found_by=TRIGGERS,
            label=trigger.label,
            cue=trigger.cue,
            score=trigger.anomaly,
            region=(trigger.top, trigger.left, trigger.size, trigger.size),
            value=tuple(trigger.pattern.mean((1, 2)).tolist()),
        )
        for trigger in found.suspects
    ], ""
