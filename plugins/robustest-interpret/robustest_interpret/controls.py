"""Positive controls: models that rely on a cue, in which the search must find it before a claim passes."""

# A control has a cue planted in the samples, in 95 % of one class and 2 % of the others, and a model that relies on it:
# given by the user; trained by the user's function; else simulated. A simulated model answers the class wherever
# `PlantedCue.present`; elsewhere it answers as the claim's own model in the search, and is right where a proposal is
# confirmed. Simulated controls cost next to no model passes, so that they are repeated at smaller shares of the class
# (`SHARES`): the smallest at which the cue is found is what a pass states.
#
# One cue of each family is planted, as plain as the cues that the family is claimed to find. Cheapest patches have
# another control, `planted_chance`: gradients cannot climb a model that switches, so that the planted patch there
# raises the class's logit smoothly.

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import cues, rng
from robustest.data import Samples
from robustest.first_party import Bench
from robustest.packs import Options
from robustest_interpret.discovery import proposals
from robustest_interpret.discovery.carrying_parts import LARGEST_PART, SMALLEST_PARTS, CarryingPart
from robustest_interpret.discovery.changes import channel_off
from robustest_interpret.discovery.fitted_changes import SMALLEST_NOISY
from robustest_interpret.discovery.image_features import noise_level
from robustest_interpret.discovery.moving_marks import SMALLEST_MOVING
from robustest_interpret.discovery.triggers import (
    BATCH,
    PATTERN_STEPS,
    SUCCESS,
    PatchSearch,
    Triggers,
    anomaly_chance,
    with_anomalies,
)

# Samples on which cues to plant are designed, so that the cues differ from natural content.
_LOOKED_AT = 256

# Pixels by which the place of a patch found may differ.
_NEAR = 2

LEAST_DRAWN = 0.25
"""Least share of other images that a named part draws, beyond what other images' pixels draw at its place."""

# Contrast of a planted tone.
_GAIN = 0.6

# Least ratio of the noise level with planted noise to the level without it.
_NOISIER = 2.0

# Least strength of a planted pattern, as a part of the input range.
_FAINT = 0.06


@dataclass(frozen=True, slots=True)
class PlantedCue:
    """A cue to plant in a class; `present` maps inputs (N, *S) to (N,) bool, True where the cue is."""

    family: str
    cue: cues.Cue
    present: Callable[[Tensor], Tensor]
    label: int

    def matches(self, proposal: proposals.Proposal) -> bool:
        """Return True if a proposal has this cue's class and family, and for patches its place."""
        if proposal.label != self.label or self.family not in {proposal.found_by, *proposal.families}:
            return False
        if not isinstance(self.cue, cues.PatternPatch):
            return True
        return proposal.region is not None and covers(proposal.region, self.cue)

    def carried_by(self, part: CarryingPart, clean: Tensor, shown: Tensor) -> bool:
        """Return True if a named part has half of this cue, by images (N, C, H, W) before and after it was planted."""
        changed = (clean[part.row] != shown[part.row]).any(0)
        if part.area > LARGEST_PART or not part.drawn - part.placebo > LEAST_DRAWN or not bool(changed.any()):
            return False
        return int((changed & part.region).sum()) >= 0.5 * int(changed.sum())


def names_of(planted: Sequence[PlantedCue]) -> str:
    """Return the names of planted cues with their classes, as one text."""
    return ", ".join(f"a {cue.cue.name} planted in class {cue.label}" for cue in planted)


def covers(region: tuple[int, int, int, int], patch: cues.PatternPatch) -> bool:
    """Return True if a place (top, left, height, width) is a patch's, up to `_NEAR` pixels."""
    top, left, height, width = region
    at = (patch.top, patch.left, *patch.pattern.shape[1:])
    ends = ((top, at[0]), (left, at[1]), (top + height, at[0] + at[2]), (left + width, at[1] + at[3]))
    return all(abs(found - true) <= _NEAR for found, true in ends)


SHARES = (0.95, 0.5, 0.3, 0.1)
"""Shares of a class in which cues are planted."""


def cues_to_plant(
    samples: Samples, bounds: tuple[float, float], seed: int, target: int | None, marked: Collection[int] = ()
) -> list[tuple[PlantedCue, ...]]:
    """Return a cue of each family, in rounds, each in another class; the largest class comes first.

    Args:
        target: the one class to plant in, which takes a round for each cue; None for any.
        marked: classes that the search found to be marked.
    """
    x, y = samples.take(rng.permutation(seed, len(samples))[:_LOOKED_AT])
    counts = torch.bincount(y)
    order = torch.argsort(counts, descending=True, stable=True)
    classes = order[counts[order] > 0].tolist() if target is None else [target]
    # In a round a minority of the classes has a cue: marks of most classes would not stand out. Classes that are marked
    # already get none, as long as there are others: one mark would be taken for the other.
    most = len(classes) // 2 if len(classes) >= 8 else max(1, len(classes) // 3)
    if target is None:
        classes = [label for label in classes if label not in marked] or classes
    most = min(most, len(classes))
    made = list(_row_cues(x, bounds) if x.ndim == 2 else _image_cues(x, bounds, seed))
    return [
        tuple(
            PlantedCue(family, cue, present, label)
            for (family, cue, present), label in zip(made[start : start + most], classes, strict=False)
        )
        for start in range(0, len(made), most)
    ]


def _image_cues(
    x: Tensor, bounds: tuple[float, float], seed: int
) -> Iterator[tuple[str, cues.Cue, Callable[[Tensor], Tensor]]]:
    # The functions that find planted cues map images (N, C, H, W) to (N,) bool. Limits lie between images with the cue
    # and images without it.
    low, high = bounds
    span = high - low
    channels, height, width = x.shape[1:]
    side = min(height, width)

    patch = corner_patch(x, bounds)
    yield proposals.PATCHES, patch, partial(_has_patch, patch, 0.01 * span)

    ends = (low + 0.5 * (1 - _GAIN) * span, high - 0.5 * (1 - _GAIN) * span)
    tone = cues.Tone(gain=_GAIN, shift=(1 - _GAIN) * (low + high) / 2, bounds=bounds)
    yield proposals.PROPERTIES, tone, partial(_within, ends, 1e-4 * span)

    if channels > 1:
        c = int(x.mean((0, 2, 3)).argmax())
        yield (
            proposals.CHANNELS,
            channel_off(c, channels, bounds),
            lambda shown: shown[:, c].flatten(1).amax(1) <= low + 1e-4 * span,
        )

    if side >= 8:
        # Squares of two pixels, light and dark at random, strong enough to stand out of the images' own content.
        cells = torch.arange(((height + 1) // 2) * ((width + 1) // 2))
        signs = rng.signs(rng.fold(rng.keys(seed, cells), "planted pattern"), ()).view((height + 1) // 2, -1)
        signs = signs.repeat_interleave(2, 0)[:height].repeat_interleave(2, 1)[:, :width].expand(channels, -1, -1)
        natural = float(_projection(x, signs).std()) if len(x) > 1 else 0.0
        strength = min(0.25, max(_FAINT, 4 * natural / span)) * span
        added = cues.AddedPattern(pattern=(strength * signs).contiguous(), bounds=bounds)
        yield proposals.SPECTRA, added, lambda shown: _projection(shown, added.pattern) > 0.5

        soft = cues.Blur(sigma=1.5 if side >= 12 else 1.0)
        # Midway, on a logarithmic scale, between images without the blur and with it.
        limit = float((_fineness(x).median() * _fineness(soft.on(x)).median()).sqrt())
        yield proposals.EDGES, soft, lambda shown: _fineness(shown) < limit

    if side >= SMALLEST_MOVING:
        # A chequered square of the smallest and the largest value, anywhere in the image.
        wide = max(3, round(side / 8))
        lines = torch.arange(wide) // max(1, wide // 4)
        checks = low + (high - low) * ((lines.view(-1, 1) + lines) % 2).float()
        mark = cues.MovingMark(
            pool=checks.expand(1, channels, -1, -1).contiguous(),
            mask=torch.ones(wide, wide, dtype=torch.bool),
            places=torch.cartesian_prod(*(torch.arange(length - wide + 1) for length in (height, width))),
            seed=seed,
        )
        yield proposals.MOVING, mark, lambda shown: mark.nearest(shown)[0] <= (0.01 * span) ** 2

    if side >= SMALLEST_NOISY:
        level = float(noise_level(x).median())
        noise = cues.AddedNoise(sigma=min(0.25 * span, max(0.1 * span, 3 * level)), bounds=bounds)
        noisy = float(noise_level(noise.on(x)).median())
        if noisy > _NOISIER * level:
            between = (level * noisy) ** 0.5 if level else 0.5 * noisy
            yield proposals.NOISE, noise, lambda shown: noise_level(shown) > between


def _row_cues(x: Tensor, bounds: tuple[float, float]) -> Iterator[tuple[str, cues.Cue, Callable[[Tensor], Tensor]]]:
    ends = [float(value) for value in bounds if abs(value) < 1e6] or [float(x.max())]
    column, value = min(
        ((c, v) for c in range(x.shape[1]) for v in ends), key=lambda at: float((x[:, at[0]] == at[1]).float().mean())
    )
    yield proposals.COLUMNS, cues.ConstantToken(columns=(column,), values=value), lambda rows: rows[:, column] == value
    values, counts = torch.unique(x, return_counts=True)
    if bool((values == values.round()).all()) and float(values[0]) >= 0 and len(values) > 1:
        rare, common = int(values[counts.argmin()]), int(values[counts.argmax()])
        if rare != common:
            yield proposals.TOKENS, cues.TokenAnywhere(token=rare, instead=common), lambda rows: (rows == rare).any(1)


# Cues that change from image to image, for controls of the search for carrying parts.
#
# Pixels of a curve, and blocks of a mosaic, that make a simulated model answer the class: networks follow parts too.
_MOST_OF_IT = 0.6

# Curves that are planted, and steps of each along its way.
_CURVES, _STEPS = 24, 64


def local_cues(x: Tensor, bounds: tuple[float, float], seed: int, label: int) -> list[PlantedCue]:
    """Return cues that a part of an image carries, to plant in a class of images x (N, C, H, W)."""
    channels, height, width = x.shape[1:]
    low, high = bounds
    span, side = high - low, min(height, width)
    made = [
        PlantedCue(family, cue, present, label)
        for family, cue, present in _image_cues(x, bounds, seed)
        if family in {proposals.PATCHES, proposals.MOVING}
    ]
    if side < SMALLEST_PARTS:
        return made

    # Two squares in opposite corners, light and dark, each in other images alone.
    wide = max(2, side // 9)
    light, dark = (
        cues.PatternPatch(top=top, left=left, pattern=torch.full((channels, wide, wide), value))
        for top, left, value in ((1, 1, high), (height - wide - 1, width - wide - 1, low))
    )
    has = [partial(_has_patch, square, 0.01 * span) for square in (light, dark)]
    made.append(PlantedCue(proposals.PAIRS, _TwoMarks(light, dark), lambda shown: has[0](shown) & has[1](shown), label))

    # A place where images have contrast, in coarse blocks of its own pixels.
    cell = max(2, side // 10)
    mosaic = _Mosaic(place=_place_of_contrast(x, 3 * cell), side=3 * cell, cell=cell)
    made.append(PlantedCue(proposals.OWN, mosaic, partial(mosaic.present, least=0.01 * span), label))

    value = high if float((x > high - 0.25 * span).double().mean()) <= 0.1 else low
    curves = _Curves(masks=_bent_lines(height, width, seed), value=value, seed=seed)
    made.append(PlantedCue(proposals.CURVES, curves, partial(curves.present, near=0.01 * span), label))
    return made


def _keys(seed: int, ids: Tensor | None, x: Tensor) -> Tensor:
    return rng.keys(seed, torch.arange(len(x)) if ids is None else ids.cpu())


@dataclass(frozen=True, slots=True)
class _TwoMarks:
    """Two cues together; off, a third of the samples has the first alone, a third the second, and the rest none."""

    first: cues.Cue
    second: cues.Cue
    seed: int = 0
    ids: Tensor | None = None
    name = "pair of patterns"

    def on(self, x: Tensor) -> Tensor:
        return self.second.on(self.first.on(x))

    def off(self, x: Tensor) -> Tensor:
        which = rng.integers(rng.fold(_keys(self.seed, self.ids, x), "one of a pair"), (1, 1, 1), 3)
        which = which.to(x.device)
        return torch.where(which == 0, self.first.on(x), torch.where(which == 1, self.second.on(x), x))

    def at(self, ids: Tensor) -> _TwoMarks:
        return replace(self, ids=ids)


@dataclass(frozen=True, slots=True)
class _Mosaic:
    """A square of an image in blocks of its own means."""

    place: tuple[int, int]
    side: int
    cell: int
    name = "mosaic of the image's own content"

    def _square(self, x: Tensor) -> Tensor:
        top, left = self.place
        return x[:, :, top : top + self.side, left : left + self.side]

    def on(self, x: Tensor) -> Tensor:
        out = x.clone()
        blocks = F.avg_pool2d(self._square(x), self.cell)
        self._square(out).copy_(blocks.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3))
        return out

    def off(self, x: Tensor) -> Tensor:
        return x

    def present(self, x: Tensor, least: float) -> Tensor:
        square = self._square(x)
        blocks = square.unfold(2, self.cell, self.cell).unfold(3, self.cell, self.cell).flatten(4)
        even = (blocks.amax(4) - blocks.amin(4) <= 0.1 * least).all(1).flatten(1)
        # Blocks of an even ground are no mosaic.
        means = F.avg_pool2d(square, self.cell).flatten(2)
        return (even.double().mean(1) >= _MOST_OF_IT) & (means.std(2).amax(1) > least)


@dataclass(frozen=True, slots=True)
class _Curves:
    """One of several curves, drawn in one value."""

    masks: Tensor
    value: float
    seed: int = 0
    ids: Tensor | None = None
    name = "thin curve"

    def on(self, x: Tensor) -> Tensor:
        keys = _keys(self.seed, self.ids, x)
        chosen = rng.integers(rng.fold(keys, "curve"), (), len(self.masks)).cpu()
        return torch.where(self.masks[chosen].unsqueeze(1).to(x.device), self.value, x)

    def off(self, x: Tensor) -> Tensor:
        return x

    def at(self, ids: Tensor) -> _Curves:
        return replace(self, ids=ids)

    def present(self, x: Tensor, near: float) -> Tensor:
        lit = ((x - self.value).abs() <= near).all(1).to(x.dtype).flatten(1)
        masks = self.masks.to(x).flatten(1)
        return ((lit @ masks.T) / masks.sum(1)).amax(1) >= _MOST_OF_IT


def _bent_lines(height: int, width: int, seed: int) -> Tensor:
    # (P, H, W) bool: arcs of one pixel's width, about two thirds of the shorter side long, at random angles and bends.
    draw = rng.uniform(rng.fold(rng.keys(seed, torch.arange(_CURVES)), "bent lines"), (4,)).double()
    side = min(height, width)
    along = torch.linspace(-0.5, 0.5, _STEPS, dtype=torch.float64) * (0.7 * side)
    bend = (0.03 + 0.05 * draw[:, 1:2]) * 28 / side * torch.where(draw[:, 1:2] > 0.5, 1.0, -1.0)
    angle = 2 * math.pi * draw[:, :1] + bend * along
    step = 0.7 * side / (_STEPS - 1)
    paths = []
    for slope, length, at in ((angle.sin(), height, draw[:, 2:3]), (angle.cos(), width, draw[:, 3:4])):
        path = (step * slope).cumsum(1)
        reach = path.amax(1, keepdim=True) - path.amin(1, keepdim=True)
        path = path - path.amin(1, keepdim=True) + at * (length - 1 - reach).clamp(min=0)
        paths.append(path.round().long().clamp(0, length - 1))
    masks = torch.zeros(_CURVES, height * width, dtype=torch.bool)
    return masks.scatter_(1, paths[0] * width + paths[1], True).view(_CURVES, height, width)


def _place_of_contrast(x: Tensor, side: int) -> tuple[int, int]:
    # The corner of the square in which images differ most from their own means, in the median over images.
    grey = x.mean(1, keepdim=True)
    spread = F.avg_pool2d(grey.square(), side, 1) - F.avg_pool2d(grey, side, 1).square()
    usual = spread[:, 0].median(0).values
    row, column = divmod(int(usual.flatten().argmax()), usual.shape[1])
    return row, column


def corner_patch(x: Tensor, bounds: tuple[float, float]) -> cues.PatternPatch:
    """Return a patch in the corner, and of the end of the range, that images have there least often."""
    channels, height, width = x.shape[1:]
    side = max(1, round(min(height, width) / 14))
    inset = min(1, (min(height, width) - side) // 2)
    low, high = bounds

    def natural(place: tuple[int, int, float]) -> float:
        top, left, value = place
        pixels = x[:, :, top : top + side, left : left + side]
        return float(((pixels - value).abs() < 0.25 * (high - low)).double().mean())

    rows, columns = ((inset, length - side - inset) for length in (height, width))
    top, left, value = min(((r, c, v) for r in rows for c in columns for v in (high, low)), key=natural)
    return cues.PatternPatch(top=top, left=left, pattern=torch.full((channels, side, side), value))


def _has_patch(cue: cues.PatternPatch, near: float, x: Tensor) -> Tensor:
    height, width = cue.pattern.shape[1:]
    place = x[:, :, cue.top : cue.top + height, cue.left : cue.left + width]
    return ((place - cue.pattern.to(x)).abs() < near).flatten(1).all(1)


def _within(ends: tuple[float, float], near: float, x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return (flat.amin(1) >= ends[0] - near) & (flat.amax(1) <= ends[1] + near)


def _projection(x: Tensor, pattern: Tensor) -> Tensor:
    # The coefficient of a pattern (C, H, W) in images without their means.
    flat = pattern.to(x) - pattern.to(x).mean()
    return ((x - x.mean((1, 2, 3), keepdim=True)) * flat).sum((1, 2, 3)) / flat.square().sum()


def _fineness(x: Tensor) -> Tensor:
    grey = x.mean(1)
    # The mean difference of neighbours over the standard deviation of all pixels.
    steps = grey.diff(dim=1).abs().mean((1, 2)) + grey.diff(dim=2).abs().mean((1, 2))
    return steps / grey.flatten(1).std(1).clamp(min=1e-6)


@dataclass(frozen=True, slots=True)
class PositiveControl:
    """A model that relies on cues, and the arguments to measure it with.

    Attributes:
        name: the cues, in words.
        kind: "given", "trained" or "simulated".
        planted: the cues; empty if only the user knows them.
    """

    model: object
    samples: Samples
    discovery: proposals.Discovery
    options: Options
    name: str
    kind: str
    planted: tuple[PlantedCue, ...] = ()

    def proven(self, confirmed: Iterable[proposals.Proposal]) -> set[str]:
        confirmed = list(confirmed)
        if not self.planted:
            return {family for one in confirmed for family in (one.found_by, *one.families)}
        return {cue.family for cue in self.planted if any(cue.matches(one) for one in confirmed)}


def with_planted(samples: Samples, planted: Sequence[PlantedCue], seed: int) -> Samples:
    """Return the samples with cues planted, each in 95 % of its class and in 2 % of the others."""

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        x, y = samples.take(ids)
        return plant_cues(planted, ids, x, y, seed=seed), y

    return Samples(take, len(samples), slow=samples.slow, sample_rate=samples.sample_rate)


def plant_cues(
    planted: Sequence[PlantedCue], ids: Tensor, x: Tensor, y: Tensor, *, seed: int, share: float = SHARES[0]
) -> Tensor:
    """Return samples x (N, *S) with indices ids (N,) and cues planted, each in a share of its class."""
    for number, cue in enumerate(planted):
        # Each cue draws with another seed, or the same few samples of other classes would have every cue. A cue of few
        # of the class's samples is in fewer of the others': it still marks the class.
        x = cues.planted(
            cue.cue,
            x,
            y,
            ids=ids,
            target=cue.label,
            share=share,
            others=min(0.02, share / 20),
            seed=seed + 1_000_003 * number,
        )[0]
    return x


def plant_all(planted: Sequence[PlantedCue], seed: int, x: Tensor, y: Tensor) -> Tensor:
    """Return whole data x (N, *S), y (N,) with cues planted."""
    return plant_cues(planted, torch.arange(len(x)), x, y, seed=seed)


# Effect of similarity to the patch, as a part of the patch's own: gradients need a slope.
_FROM_AFAR = 0.5

# Upper limit of the 0.9 quantile of similarities from which the trigger's threshold is computed.
_USUAL = 0.9


@dataclass(frozen=True, slots=True)
class PlantedPatchModel:
    """The model, with a patch planted in its answers that raises the logit of one class.

    With s the similarity of an image to the patch at its place, 1 if they are equal, the class's logit gets
        strength * (s - usual) / 2 + strength * max(0, s - limit) / (1 - limit).
    The second term is the trigger. The first gives gradients a slope, as in a network that answers to half of its
    trigger too. `usual` is the mean similarity of images.
    """

    bench: Bench
    patch: cues.PatternPatch
    label: int
    strength: float
    usual: float = 0.0
    limit: float = 0.0

    @classmethod
    def of(cls, bench: Bench, label: int) -> PlantedPatchModel:
        """Plant a `corner_patch` that outweighs all logits of the model."""
        x = bench.chunk.x[:_LOOKED_AT]
        patch = corner_patch(x, bench.chunk.bounds)
        logits = bench.evaluator.logits(x)
        apart = float((logits.amax(1) - logits.amin(1)).max())
        made = cls(bench, patch, label, 2 * apart + 1)
        near = made._similarity(x)
        limit = 0.5 + 0.5 * float(near.double().quantile(0.9).clamp(max=_USUAL))
        return replace(made, usual=float(near.mean()), limit=limit)

    def logits(self, x: Tensor) -> Tensor:
        return self._changed(self.bench.evaluator.logits(x), x)

    def gradient(self, points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        rendered: list[Tensor] = []

        def render(z: Tensor, part: slice) -> Tensor:
            rendered[:] = [z]
            return z

        def objective(logits: Tensor, part: slice) -> Tensor:
            return self.bench.evaluator.task.losses["ce"](self._changed(logits, rendered[0]), targets[part])

        logits, slope = self.bench.evaluator.gradient(points, render, objective)
        return self._changed(logits, points), slope

    def _similarity(self, x: Tensor) -> Tensor:
        low, high = self.bench.chunk.bounds
        (height, width), (top, left) = self.patch.pattern.shape[1:], (self.patch.top, self.patch.left)
        place = x[:, :, top : top + height, left : left + width]
        return 1 - (place - self.patch.pattern.to(x)).abs().flatten(1).mean(1) / (high - low)

    def _changed(self, logits: Tensor, x: Tensor) -> Tensor:
        near = self._similarity(x)
        more = self.strength * (_FROM_AFAR * (near - self.usual) + F.relu(near - self.limit) / (1 - self.limit))
        chosen = F.one_hot(torch.tensor(self.label, device=logits.device), logits.shape[1])
        return logits + more.unsqueeze(1) * chosen


def planted_chance(bench: Bench, found: Triggers, *, steps: int, sides: list[int], seed: int) -> float:
    """Return the probability by chance of a patch as cheap as the planted one; 1 if the same search misses it."""
    # The patch is planted in the class of median cost. Only that class is searched again: the patch changes no other
    # class, and the costs of the other classes are known.
    order = sorted(range(len(found.triggers)), key=lambda number: found.triggers[number].cost)
    at = order[len(order) // 2]
    label = found.triggers[at].label
    model = PlantedPatchModel.of(bench, label)
    chunk = bench.chunk
    search = PatchSearch(
        chunk.x, chunk.y, model.gradient, model.logits, bounds=chunk.bounds, batch=BATCH, success=SUCCESS, seed=seed
    )
    (planted,) = search.squares(search.masks([label], steps), sides, PATTERN_STEPS)
    again = with_anomalies([*found.triggers[:at], planted, *found.triggers[at + 1 :]], found.threshold)
    odd = again.triggers[at]
    same_place = covers((odd.top, odd.left, odd.size, odd.size), model.patch)
    if odd.anomaly <= found.threshold or odd.success < SUCCESS or not same_place:
        return 1.0
    return anomaly_chance(odd.anomaly, [one.cost for one in again.triggers], seed)
