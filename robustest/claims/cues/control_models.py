"""Models that rely on cues, to show that a search for cues finds them: given, trained for it, or simulated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest.claims.cues.control_cues import Probe
from robustest.cues import Plant
from robustest.cues.planting import planted_at
from robustest.data import Samples, as_samples
from robustest.discovery.proposals import Discovery, Proposal
from robustest.engine.device import resolve
from robustest.models import Classifier
from robustest.models.training import TrainFn
from robustest.run.options import Options
from robustest.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A model that relies on cues, and what to measure it with.

    Attributes:
        model, samples, discovery, options: as for the claim.
        name: the cues, in words.
        kind: "given", "trained" or "simulated".
        probes: the cues, each with its class; empty where only the user knows.
    """

    model: object
    samples: Samples
    discovery: Discovery
    options: Options
    name: str
    kind: str
    probes: tuple[Probe, ...] = ()

    def proven(self, confirmed: Collection[Proposal]) -> set[str]:
        """Families that found and confirmed a known cue of theirs."""
        if not self.probes:
            return {family for one in confirmed for family in (one.found_by, *one.families)}
        return {probe.family for probe in self.probes if any(probe.is_it(one) for one in confirmed)}


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


def on_planted(train: TrainFn, train_data: object, seed: int) -> Callable[[Plant], object]:
    """Return a function that trains a model on the user's training data with cues planted by what it is given."""
    samples = as_samples(train_data)

    def learner(plant: Plant) -> object:
        x, y = samples.take(torch.arange(len(samples)))
        return train(plant(x, y), y, seed)

    return learner


def trained(
    probes: tuple[Probe, ...],
    samples: Samples,
    discovery: Discovery,
    options: Options,
    *,
    settings: Settings,
    learner: Callable[[Plant], object],
) -> Known:
    """A model that the user trains on data with the cues planted, each in its class."""

    def plant(x: Tensor, y: Tensor) -> Tensor:
        return _planted(probes, torch.arange(len(x)), x, y, settings.seed)

    return Known(
        model=learner(plant),
        samples=with_planted(samples, probes, settings.seed),
        discovery=discovery,
        options=options,
        name=_named(probes),
        kind="trained",
        probes=probes,
    )


def simulated(
    classifier: Classifier,
    probes: tuple[Probe, ...],
    samples: Samples,
    discovery: Discovery,
    options: Options,
    *,
    settings: Settings,
) -> Known:
    """The model itself, but that it says one class wherever a cue is, another for each cue."""
    inner = classifier.on(resolve(settings.device, classifier.device))

    def follows(x: Tensor) -> Tensor:
        logits = inner(x).clone()
        for probe in reversed(probes):
            there = probe.there(x)
            logits[there, probe.label] = logits[there].amax(1) + 1
        return logits

    outside = options.copy()
    outside.pop("bounds", None)  # inside already, as is preprocessing
    outside.pop("preprocessing", None)
    return Known(
        model=replace(inner, call=follows, preprocessing=None, recipe=None),
        samples=with_planted(samples, probes, settings.seed),
        discovery=replace(discovery, trigger_steps=0),  # what it simulates is found without
        options=outside,
        name=_named(probes),
        kind="simulated",
        probes=probes,
    )


def with_planted(samples: Samples, probes: Sequence[Probe], seed: int) -> Samples:
    """The samples with cues planted: each in 95 % of its class, and in 2 % of the others."""

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        x, y = samples.take(ids)
        return _planted(probes, ids, x, y, seed), y

    return Samples(take, len(samples))


def _planted(probes: Sequence[Probe], ids: Tensor, x: Tensor, y: Tensor, seed: int) -> Tensor:
    for number, probe in enumerate(probes):
        # Draws of their own, or the same few samples of other classes had every cue.
        x = planted_at(probe.cue, ids, x, y, target=probe.label, seed=seed + 1_000_003 * number)[0]
    return x


def _named(probes: Sequence[Probe]) -> str:
    return ", ".join(f"a {probe.cue.name} planted in class {probe.label}" for probe in probes)
