"""One cue of each family to plant, as plain as what the search claims to find, and how to tell where it is.

Models that rely on cues, to show that a search for cues finds them: given, trained for it, or simulated.

A patch planted in what a model says, to show that the search for cheapest patches would find one in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.cues import (
    AddedNoise,
    AddedPattern,
    Blur,
    ConstantToken,
    Cue,
    MovingMark,
    PatternPatch,
    Plant,
    TokenAnywhere,
    Tone,
)
from robustest.cues.cue import planted_at
from robustest.data import Samples, as_samples
from robustest.discovery.changes import channel_off
from robustest.discovery.fitted_changes import SMALLEST_NOISY
from robustest.discovery.image_features import noise_level
from robustest.discovery.moving_marks import SMALLEST
from robustest.discovery.proposals import (
    CHANNELS,
    COLUMNS,
    EDGES,
    MOVING,
    NOISE,
    PATCHES,
    PROPERTIES,
    SPECTRA,
    TOKENS,
    Discovery,
    Proposal,
)
from robustest.discovery.triggers import (
    BATCH,
    PATTERN_STEPS,
    SUCCESS,
    PatchSearch,
    Trigger,
    Triggers,
    chance_of,
    compared,
)
from robustest.engine.evaluator import resolve
from robustest.models import Classifier
from robustest.run.plan import Options
from robustest.run.split_search import Bench
from robustest.run.training.trainings import TrainFn
from robustest.settings import Settings
from robustest.tasks.class_losses import cross_entropy

_LOOKED_AT = 256
"""Samples that tell where a planted cue is unlike what is there, and which classes are the largest."""

_NEAR = 2
"""Pixels that a patch found may be off by."""

_GAIN = 0.6

_NOISIER = 2.0
"""How much noisier images must be with planted noise for it to be told from what they have."""

_FAINT = 0.06
"""Strength of a planted pattern, as a part of the input range, where images do not hide it."""


@dataclass(frozen=True, slots=True)
class PlantedCue:
    """A cue to plant.

    Attributes:
        family: which it belongs to, one of `FAMILIES`.
        cue: what is planted.
        there: maps inputs (N, *S) to (N,) bool, where it is.
        label: the class that it is planted in.
    """

    family: str
    cue: Cue
    there: Callable[[Tensor], Tensor]
    label: int

    def is_it(self, proposal: Proposal) -> bool:
        """Whether a proposal is this cue, as far as that can be decided."""
        if proposal.label != self.label or self.family not in {proposal.found_by, *proposal.families}:
            return False
        if not isinstance(self.cue, PatternPatch):
            return True
        return proposal.region is not None and covers(proposal.region, self.cue)


def covers(region: tuple[int, int, int, int], patch: PatternPatch) -> bool:
    """Whether a place (top, left, height, width) is a patch's, but for a few pixels on each side."""
    top, left, height, width = region
    at = (patch.top, patch.left, *patch.pattern.shape[1:])
    ends = ((top, at[0]), (left, at[1]), (top + height, at[0] + at[2]), (left + width, at[1] + at[3]))
    return all(abs(found - true) <= _NEAR for found, true in ends)


def probe_rounds(
    samples: Samples, bounds: tuple[float, float], seed: int, target: int | None, marked: Collection[int] = ()
) -> list[tuple[PlantedCue, ...]]:
    """A cue of each family, in rounds, each in a class of its own; the largest class comes first.

    In a round a minority of the classes has a cue: what marks most of them alike would not stand out. Classes that
    something marks already have none, as long as there are others: one would be taken for the other.

    Args:
        samples: where they are planted.
        bounds: smallest and largest input value.
        seed: draws the samples that are looked at.
        target: the one class to plant in, which takes a round for each; None for any.
        marked: classes that the search found to be marked.
    """
    x, y = samples.take(rng.permutation(seed, len(samples))[:_LOOKED_AT])
    counts = torch.bincount(y)
    order = torch.argsort(counts, descending=True, stable=True)
    classes = order[counts[order] > 0].tolist() if target is None else [target]
    most = len(classes) // 2 if len(classes) >= 8 else max(1, len(classes) // 3)
    if target is None:
        classes = [label for label in classes if label not in marked] or classes
    most = min(most, len(classes))
    made = list(_row_cues(x, bounds) if x.ndim == 2 else _image_cues(x, bounds, seed))
    return [
        tuple(
            PlantedCue(family, cue, there, label)
            for (family, cue, there), label in zip(made[start : start + most], classes, strict=False)
        )
        for start in range(0, len(made), most)
    ]


Made = tuple[str, Cue, Callable[[Tensor], Tensor]]


def _image_cues(x: Tensor, bounds: tuple[float, float], seed: int) -> Iterator[Made]:
    low, high = bounds
    channels, height, width = x.shape[1:]
    patch = corner_patch(x, bounds)
    yield PATCHES, patch, partial(_patch_there, patch, 0.01 * (high - low))
    ends = (low + 0.5 * (1 - _GAIN) * (high - low), high - 0.5 * (1 - _GAIN) * (high - low))
    tone = Tone(gain=_GAIN, shift=(1 - _GAIN) * (low + high) / 2, bounds=bounds)
    yield PROPERTIES, tone, partial(_within, ends, 1e-4 * (high - low))
    if channels > 1:
        c = int(x.mean((0, 2, 3)).argmax())
        yield CHANNELS, channel_off(c, channels, bounds), partial(_dark, c, low + 1e-4 * (high - low))
    if min(height, width) >= 8:
        added = _pattern(x, bounds, seed)
        yield SPECTRA, added, partial(_has_pattern, added.pattern)
        soft = Blur(sigma=1.5 if min(height, width) >= 12 else 1.0)
        limit = float((_fineness(x).median() * _fineness(soft.on(x)).median()).sqrt())
        yield EDGES, soft, partial(_smooth, limit)

    if min(height, width) >= SMALLEST:
        mark = _mark(x, bounds, seed)
        yield MOVING, mark, partial(_mark_there, mark, 0.01 * (high - low))
    if min(height, width) >= SMALLEST_NOISY:
        level, span = float(noise_level(x).median()), high - low
        noise = AddedNoise(sigma=min(0.25 * span, max(0.1 * span, 3 * level)), bounds=bounds)
        noisy = float(noise_level(noise.on(x)).median())
        if noisy > _NOISIER * level:
            yield NOISE, noise, partial(_noisy, (level * noisy) ** 0.5 if level else 0.5 * noisy)


def _row_cues(x: Tensor, bounds: tuple[float, float]) -> Iterator[Made]:
    ends = [float(value) for value in bounds if abs(value) < 1e6] or [float(x.max())]
    column, value = min(
        ((c, v) for c in range(x.shape[1]) for v in ends), key=lambda at: float((x[:, at[0]] == at[1]).float().mean())
    )
    yield COLUMNS, ConstantToken(columns=(column,), values=value), lambda rows: rows[:, column] == value
    values, counts = torch.unique(x, return_counts=True)
    if bool((values == values.round()).all()) and float(values[0]) >= 0 and len(values) > 1:
        rare, common = int(values[counts.argmin()]), int(values[counts.argmax()])
        if rare != common:
            yield TOKENS, TokenAnywhere(token=rare, instead=common), lambda rows: (rows == rare).any(1)


def corner_patch(x: Tensor, bounds: tuple[float, float]) -> PatternPatch:
    """A patch in the corner, and with the value, that images (N, C, H, W) have least there."""
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
    return PatternPatch(top=top, left=left, pattern=torch.full((channels, side, side), value))


def _pattern(x: Tensor, bounds: tuple[float, float], seed: int) -> AddedPattern:
    """Squares of two pixels, light and dark at random, strong enough to be told from what images have anyway."""
    channels, height, width = x.shape[1:]
    cells = torch.arange(((height + 1) // 2) * ((width + 1) // 2))
    signs = rng.signs(rng.fold(rng.keys(seed, cells), "planted pattern"), ()).view((height + 1) // 2, -1)
    signs = signs.repeat_interleave(2, 0)[:height].repeat_interleave(2, 1)[:, :width].expand(channels, -1, -1)
    natural = float(_projected(x, signs).std()) if len(x) > 1 else 0.0
    strength = min(0.25, max(_FAINT, 4 * natural / (bounds[1] - bounds[0]))) * (bounds[1] - bounds[0])
    return AddedPattern(pattern=(strength * signs).contiguous(), bounds=bounds)


def _mark(x: Tensor, bounds: tuple[float, float], seed: int) -> MovingMark:
    """Checks, three to eight a side, of the smallest and the largest value in turn, anywhere."""
    channels, height, width = x.shape[1:]
    side = max(3, round(min(height, width) / 8))
    lines = torch.arange(side) // max(1, side // 4)
    low, high = bounds
    checks = low + (high - low) * ((lines.view(-1, 1) + lines) % 2).float()
    ends = [torch.arange(length - side + 1) for length in (height, width)]
    return MovingMark(
        pool=checks.expand(1, channels, -1, -1).contiguous(),
        mask=torch.ones(side, side, dtype=torch.bool),
        places=torch.cartesian_prod(*ends),
        seed=seed,
    )


def _projected(x: Tensor, pattern: Tensor) -> Tensor:
    """(N,) how much of a pattern (C, H, W) images hold, their mean taken off."""
    flat = pattern.to(x) - pattern.to(x).mean()
    return ((x - x.mean((1, 2, 3), keepdim=True)) * flat).sum((1, 2, 3)) / flat.square().sum()


def _has_pattern(pattern: Tensor, x: Tensor) -> Tensor:
    return _projected(x, pattern) > 0.5


def _patch_there(cue: PatternPatch, near: float, x: Tensor) -> Tensor:
    height, width = cue.pattern.shape[1:]
    place = x[:, :, cue.top : cue.top + height, cue.left : cue.left + width]
    return ((place - cue.pattern.to(x)).abs() < near).flatten(1).all(1)


def _mark_there(mark: MovingMark, near: float, x: Tensor) -> Tensor:
    return mark.nearest(x)[0] <= near**2


def _noisy(limit: float, x: Tensor) -> Tensor:
    return noise_level(x) > limit


def _within(ends: tuple[float, float], near: float, x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return (flat.amin(1) >= ends[0] - near) & (flat.amax(1) <= ends[1] + near)


def _dark(channel: int, limit: float, x: Tensor) -> Tensor:
    return x[:, channel].flatten(1).amax(1) <= limit


def _fineness(x: Tensor) -> Tensor:
    """(N,) how much neighbours differ, over how much all pixels do."""
    grey = x.mean(1)
    steps = grey.diff(dim=1).abs().mean((1, 2)) + grey.diff(dim=2).abs().mean((1, 2))
    return steps / grey.flatten(1).std(1).clamp(min=1e-6)


def _smooth(limit: float, x: Tensor) -> Tensor:
    return _fineness(x) < limit


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveControl:
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
    probes: tuple[PlantedCue, ...] = ()

    def proven(self, confirmed: Collection[Proposal]) -> set[str]:
        """Families that found and confirmed a known cue of theirs."""
        if not self.probes:
            return {family for one in confirmed for family in (one.found_by, *one.families)}
        return {probe.family for probe in self.probes if any(probe.is_it(one) for one in confirmed)}


def given(control: object, samples: Samples, discovery: Discovery, options: Options) -> PositiveControl:
    """A model that the user knows to rely on something in these samples."""
    return PositiveControl(
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
    probes: tuple[PlantedCue, ...],
    samples: Samples,
    discovery: Discovery,
    options: Options,
    *,
    settings: Settings,
    learner: Callable[[Plant], object],
) -> PositiveControl:
    """A model that the user trains on data with the cues planted, each in its class."""

    def plant(x: Tensor, y: Tensor) -> Tensor:
        return _planted(probes, torch.arange(len(x)), x, y, settings.seed)

    return PositiveControl(
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
    probes: tuple[PlantedCue, ...],
    samples: Samples,
    discovery: Discovery,
    options: Options,
    *,
    settings: Settings,
) -> PositiveControl:
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
    return PositiveControl(
        model=replace(inner, call=follows, preprocessing=None, recipe=None),
        samples=with_planted(samples, probes, settings.seed),
        discovery=replace(discovery, trigger_steps=0),  # what it simulates is found without
        options=outside,
        name=_named(probes),
        kind="simulated",
        probes=probes,
    )


def with_planted(samples: Samples, probes: Sequence[PlantedCue], seed: int) -> Samples:
    """The samples with cues planted: each in 95 % of its class, and in 2 % of the others."""

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        x, y = samples.take(ids)
        return _planted(probes, ids, x, y, seed), y

    return Samples(take, len(samples))


def _planted(probes: Sequence[PlantedCue], ids: Tensor, x: Tensor, y: Tensor, seed: int) -> Tensor:
    for number, probe in enumerate(probes):
        # Draws of their own, or the same few samples of other classes had every cue.
        x = planted_at(probe.cue, ids, x, y, target=probe.label, seed=seed + 1_000_003 * number)[0]
    return x


def _named(probes: Sequence[PlantedCue]) -> str:
    return ", ".join(f"a {probe.cue.name} planted in class {probe.label}" for probe in probes)


_FROM_AFAR = 0.5
"""What being nearer to a patch says of it, as a part of what the patch itself does: gradients have to see a slope."""

_USUAL = 0.9
"""Images of which a tenth are nearer to the patch than this have it about as well."""


@dataclass(frozen=True, slots=True)
class PlantedPatchModel:
    """What a model says, but for one class wherever a patch is.

    Images are answered about as before: a little more or less of the class, by how near to the patch they are. A
    network that learned a trigger answers to half of it as well; a switch would leave gradients nothing to climb.

    Attributes:
        bench: the model.
        patch, label: what is planted, and its class.
        strength: what the patch adds to the class's logit.
        usual, limit: how near to the patch images are in the mean, and from where on they have it.
    """

    bench: Bench
    patch: PatternPatch
    label: int
    strength: float
    usual: float = 0.0
    limit: float = 0.0

    @classmethod
    def of(cls, bench: Bench, label: int) -> PlantedPatchModel:
        """A patch as `robustest.claims.cues.control_cues` plants it, that outdoes all that the model says."""
        x = bench.chunk.x[:_LOOKED_AT]
        patch = corner_patch(x, bench.chunk.bounds)
        logits = bench.evaluator.logits(x)
        apart = float((logits.amax(1) - logits.amin(1)).max())
        made = cls(bench, patch, label, 2 * apart + 1)
        near = made._alike(x)
        return replace(
            made, usual=float(near.mean()), limit=0.5 + 0.5 * float(near.double().quantile(0.9).clamp(max=_USUAL))
        )

    def logits(self, x: Tensor) -> Tensor:
        """Of points (B, C, H, W)."""
        return self._told(self.bench.evaluator.logits(x), x)

    def gradient(self, points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """As `Bench.gradient`."""
        seen: list[Tensor] = []

        def render(z: Tensor, part: slice) -> Tensor:
            seen[:] = [z]
            return z

        def objective(logits: Tensor, part: slice) -> Tensor:
            return cross_entropy(self._told(logits, seen[0]), targets[part])

        logits, slope = self.bench.evaluator.gradient(points, render, objective)
        return self._told(logits, points), slope

    def is_it(self, found: Trigger) -> bool:
        """Whether a square is the patch, but for a few pixels."""
        return covers((found.top, found.left, found.size, found.size), self.patch)

    def _alike(self, x: Tensor) -> Tensor:
        """(B,) how much images are like the patch at its place, 1 where it is."""
        low, high = self.bench.chunk.bounds
        (height, width), (top, left) = self.patch.pattern.shape[1:], (self.patch.top, self.patch.left)
        place = x[:, :, top : top + height, left : left + width]
        return 1 - (place - self.patch.pattern.to(x)).abs().flatten(1).mean(1) / (high - low)

    def _told(self, logits: Tensor, x: Tensor) -> Tensor:
        near = self._alike(x)
        says = self.strength * (_FROM_AFAR * (near - self.usual) + F.relu(near - self.limit) / (1 - self.limit))
        chosen = F.one_hot(torch.tensor(self.label, device=logits.device), logits.shape[1])
        return logits + says.unsqueeze(1) * chosen


def planted_chance(bench: Bench, found: Triggers, *, steps: int, sides: list[int], seed: int) -> float:
    """How likely a patch as cheap as the one found is by chance, in the same model with a patch planted; 1 if missed.

    It is planted in the class of median cost. Only that class is searched again: the patch changes nothing else, and
    what other classes cost is known. That it works is seen on images held out.

    Args:
        bench: the model, and the samples searched on.
        found: the cheapest patches in the model as it is.
        steps, sides, seed: as they were searched with.
    """
    order = sorted(range(len(found.triggers)), key=lambda number: found.triggers[number].cost)
    at = order[len(order) // 2]
    label = found.triggers[at].label
    model = PlantedPatchModel.of(bench, label)
    chunk = bench.chunk
    hunt = PatchSearch(
        chunk.x, chunk.y, model.gradient, model.logits, bounds=chunk.bounds, batch=BATCH, success=SUCCESS, seed=seed
    )
    (planted,) = hunt.squares(hunt.masks([label], steps), sides, PATTERN_STEPS)
    again = compared([*found.triggers[:at], planted, *found.triggers[at + 1 :]], found.threshold)
    odd = again.triggers[at]
    if odd.anomaly <= found.threshold or odd.success < SUCCESS or not model.is_it(odd):
        return 1.0
    return chance_of(odd.anomaly, [one.cost for one in again.triggers], seed)
