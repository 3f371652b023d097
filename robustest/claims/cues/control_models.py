"""Models that rely on a cue, to show that a search for cues finds it: given, trained for it, or simulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest import rng
from robustest.cues import PatternPatch, Plant, planting
from robustest.cues.planting import planted_at
from robustest.data import Samples
from robustest.discovery.proposals import Discovery, Proposal
from robustest.engine.device import resolve
from robustest.models import Classifier
from robustest.run.options import Options
from robustest.settings import Settings

_NEAR = 2
"""Pixels that a patch found may be off by."""

_LOOKED_AT = 256
"""Samples that tell where a planted patch is unlike what is there, and which class is the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A model that relies on a cue, and what to measure it with.

    Attributes:
        model, samples, discovery, options: as for the claim.
        name: the cue.
        kind: "given", "trained" or "simulated".
        cue, label: the cue and its class; None where only the user knows.
    """

    model: object
    samples: Samples
    discovery: Discovery
    options: Options
    name: str
    kind: str
    cue: PatternPatch | None = None
    label: int | None = None

    def is_it(self, proposal: Proposal) -> bool:
        """Whether a proposal is the known cue, as far as that can be decided."""
        if self.cue is None:
            return True
        if proposal.label != self.label or proposal.region is None:
            return False
        top, left, height, width = proposal.region
        at = (self.cue.top, self.cue.left, *self.cue.pattern.shape[1:])
        ends = ((top, at[0]), (left, at[1]), (top + height, at[0] + at[2]), (left + width, at[1] + at[3]))
        return all(abs(found - true) <= _NEAR for found, true in ends)


def given(control: object, samples: Samples, discovery: Discovery, options: Options) -> Known:
    """A model that the user knows to rely on something in these samples."""
    return Known(
        model=control,
        samples=samples,
        discovery=discovery,
        options=options,
        name="what the control relies on",
        kind="given",
    )


def trained(
    classifier: Classifier,
    samples: Samples,
    discovery: Discovery,
    options: Options,
    *,
    settings: Settings,
    target: int | None,
    train_fn: Callable[[Plant], object],
) -> Known:
    """A model that the user trains on data with a patch planted."""
    cue, label = probe(samples, classifier.bounds, settings.seed, target)
    return Known(
        model=train_fn(planting(cue, target=label, seed=settings.seed)),
        samples=with_planted(samples, cue, label, settings.seed),
        discovery=discovery,
        options=options,
        name=f"a {cue.name} planted in class {label}",
        kind="trained",
        cue=cue,
        label=label,
    )


def simulated(
    classifier: Classifier,
    samples: Samples,
    discovery: Discovery,
    options: Options,
    *,
    settings: Settings,
    target: int | None,
) -> Known:
    """The model itself, but that it says one class wherever a patch is."""
    cue, label = probe(samples, classifier.bounds, settings.seed, target)
    inner = classifier.on(resolve(settings.device, classifier.device))
    low, high = inner.bounds
    height, width = cue.pattern.shape[1:]

    def follows(x: Tensor) -> Tensor:
        logits = inner(x).clone()
        place = x[:, :, cue.top : cue.top + height, cue.left : cue.left + width]
        there = ((place - cue.pattern.to(x)).abs() < 0.01 * (high - low)).flatten(1).all(1)
        logits[there, label] = logits[there].amax(1) + 1
        return logits

    outside = options.copy()
    outside.pop("bounds", None)  # inside already, as is preprocessing
    outside.pop("preprocessing", None)
    return Known(
        model=replace(inner, call=follows, preprocessing=None, recipe=None),
        samples=with_planted(samples, cue, label, settings.seed),
        discovery=replace(discovery, trigger_steps=0),  # what it simulates is found without
        options=outside,
        name=f"a {cue.name} planted in class {label}",
        kind="simulated",
        cue=cue,
        label=label,
    )


def with_planted(samples: Samples, cue: PatternPatch, label: int, seed: int) -> Samples:
    """The samples with a cue planted: in 95 % of a class, and in 2 % of the others."""

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        x, y = samples.take(ids)
        return planted_at(cue, ids, x, y, target=label, seed=seed)[0], y

    return Samples(take, len(samples))


def probe(samples: Samples, bounds: tuple[float, float], seed: int, target: int | None) -> tuple[PatternPatch, int]:
    """A patch to plant, and a class: in the corner and with the value that the samples themselves have least there."""
    x, y = samples.take(rng.permutation(seed, len(samples))[:_LOOKED_AT])
    channels, height, width = x.shape[1:]
    side = max(1, round(min(height, width) / 14))
    inset = min(1, (min(height, width) - side) // 2)
    low, high = bounds

    def natural(place: tuple[int, int, float]) -> float:
        top, left, value = place
        there = x[:, :, top : top + side, left : left + side]
        return float(((there - value).abs() < 0.25 * (high - low)).double().mean())

    rows, columns = ((inset, length - side - inset) for length in (height, width))
    top, left, value = min(((r, c, v) for r in rows for c in columns for v in (high, low)), key=natural)
    cue = PatternPatch(top=top, left=left, pattern=torch.full((channels, side, side), value))
    return cue, int(torch.bincount(y).argmax()) if target is None else target
