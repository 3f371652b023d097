"""Universal triggers: for every class, the cheapest patch that sends other classes' images there; and the odd one out.

After Wang et al., "Neural Cleanse" (IEEE S&P 2019): for each class a soft mask and a pattern, shared by all images, are
learned so that what is pasted is classified as that class while the mask stays small. A backdoor makes one class far
cheaper to reach than the others, which a rule on median absolute deviations finds. There the cost is the mask's L1
norm, which with few classes both misses backdoors and accuses clean models: ten norms spread widely, or hardly, by
chance. Here the mask also says where to look for the smallest opaque square that works on images held out. The cost
is the geometric mean of that square's area and the mask's norm, compared on a logarithmic scale, and the spread has a
floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.checks import checked_images, checked_real, checked_whole
from robustest.cues.cue import PatternPatch
from robustest.discovery.odd_one_out import anomalies
from robustest.discovery.trigger_search import Gradient, MaskSearch, PatternSearch
from robustest.errors import ConfigError, DataError, expected
from robustest.tasks import CLASSIFICATION

Logits = Callable[[Tensor], Tensor]
"""Maps inputs (B, *S) to logits (B, K)."""

MAX_ANOMALY = 1.75
"""What is more anomalous is suspected."""

_HOPELESS, _HOPELESS_AFTER = 1 / 3, 10
"""A square's pattern that after ten steps has less than a third of the success asked for is given up: on nets with
planted patches and clean ones, ten more or thirty more steps added .2 at most, and where a square works it has over
half of its success by then."""

_HELD_OUT = 256
"""Images that tell how well a patch does."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trigger:
    """The cheapest patch found for a class.

    Attributes:
        label: the class it leads to.
        top, left, size: the square in pixels; the largest one tried where none works.
        pattern: (C, size, size) what it shows, in input units.
        success: share of held-out images of other classes that it sends to the class, in 0..1.
        area: the square's in pixels, or the image's where no square works.
        mask_norm: L1 norm of the soft mask, Neural Cleanse's cost; the image's area where none worked.
        anomaly: how far log cost is below the median over classes, in robust standard deviations.
    """

    label: int
    top: int
    left: int
    size: int
    pattern: Tensor
    success: float
    area: int
    mask_norm: float
    anomaly: float

    @property
    def cost(self) -> float:
        """Geometric mean of area and mask norm, in pixels."""
        return math.sqrt(self.area * self.mask_norm)

    @property
    def cue(self) -> PatternPatch:
        """The patch as a cue: on pastes it, off leaves images as they are."""
        return PatternPatch(top=self.top, left=self.left, pattern=self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """The cheapest patch of each class searched.

    Attributes:
        triggers: by class, in the order asked for.
        threshold: the anomaly above which a class is suspected.
    """

    triggers: tuple[Trigger, ...]
    threshold: float

    @property
    def suspects(self) -> tuple[Trigger, ...]:
        """Triggers of classes far cheaper to reach than the others, the most anomalous first."""
        odd = [trigger for trigger in self.triggers if trigger.anomaly > self.threshold]
        return tuple(sorted(odd, key=lambda trigger: -trigger.anomaly))


def search_triggers(
    x: Tensor,
    y: Tensor,
    gradient: Gradient,
    logits: Logits,
    *,
    classes: int,
    labels: Sequence[int] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 200,
    pattern_steps: int = 40,
    batch: int = 32,
    success: float = 0.85,
    sizes: Sequence[int] | None = None,
    threshold: float = MAX_ANOMALY,
    classes_at_a_time: int = 10,
    seed: int = 0,
) -> Triggers:
    """The cheapest universal patch for every class, and how odd each is among them.

    One half of the images is searched on; the other tells how well a patch does. The passes forward and backward are
    about labels * batch * (steps + pattern_steps * sizes tried).

    Args:
        x, y: images (N, C, H, W) inside the bounds, and (N,) int64 labels. A few hundred are enough.
        gradient: maps points and targets to logits and the gradient of the summed cross-entropy; see `gradient_of`.
        logits: maps points to logits (B, K).
        classes: K.
        labels: classes to search, 4 at least, for the rule looks for the odd one out; None for all.
        bounds: smallest and largest input value.
        steps: of the soft masks' search.
        pattern_steps: of the search for a square's pattern.
        batch: images in a step.
        success: share of images that a patch must send to its class, in (0, 1].
        sizes: sides of the squares, in pixels, rising; None takes about ten, up to .6 of the image's side.
        threshold: anomaly above which a class is suspected.
        classes_at_a_time: classes searched in one batch.
        seed: draws the halves, the batches and the starts.

    Raises:
        ConfigError: an argument is out of range.
        DataError: a half of the images holds none of the classes other than some label.
    """
    checked_images(x, "a search for triggers")
    wanted = list(range(classes)) if labels is None else list(labels)
    if len(set(wanted)) < 4 or not all(type(k) is int and 0 <= k < classes for k in wanted):
        raise ConfigError(expected(f"at least 4 classes in 0..{classes - 1} to compare", wanted))
    for name, number in (("steps", steps), ("pattern_steps", pattern_steps), ("batch", batch)):
        checked_whole(name, number, 1)
    checked_whole("classes_at_a_time", classes_at_a_time, 1)
    checked_real("success", success, 1e-6, 1.0)
    hunt = _Hunt(x, y, gradient, logits, bounds=bounds, batch=batch, success=success, seed=seed)
    sides = checked_sides(sizes, min(x.shape[2:]))
    found: list[Trigger] = []
    for start in range(0, len(wanted), classes_at_a_time):
        search = hunt.masks(wanted[start : start + classes_at_a_time], steps)
        found += hunt.squares(search, sides, pattern_steps)
    worked = [replace(f, area=f.size**2) if f.success >= success else f for f in found]
    odd = anomalies([trigger.cost for trigger in worked])
    triggers = tuple(replace(trigger, anomaly=a) for trigger, a in zip(worked, odd, strict=True))
    return Triggers(triggers=triggers, threshold=threshold)


def checked_sides(sizes: Sequence[int] | None, side: int) -> list[int]:
    """Sides of squares to try, rising, none larger than an image's shorter side."""
    if sizes is None:
        first, last = max(1.0, side / 28), max(1.0, 0.6 * side)
        sides = sorted({round(first * (last / first) ** (i / 12)) for i in range(13)})
    else:
        sides = list(sizes)
    if not sides or not all(type(s) is int and 1 <= s <= side for s in sides) or sorted(set(sides)) != sides:
        raise ConfigError(expected(f"sizes to be rising whole numbers in 1..{side}", sizes))
    return sides


class _Hunt:
    """Images to search on, images to judge on, and the model's answers."""

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        gradient: Gradient,
        logits: Logits,
        *,
        bounds: tuple[float, float],
        batch: int,
        success: float,
        seed: int,
    ) -> None:
        order = rng.permutation(seed, len(x)).to(x.device)
        self.search, self.test = order[: len(x) // 2], order[len(x) // 2 :]
        self.x, self.y, self.gradient, self.logits = x, y.to(x.device), gradient, logits
        self.bounds, self.batch, self.success, self.seed = bounds, batch, success, seed

    def masks(self, labels: list[int], steps: int) -> MaskSearch:
        """Soft masks for some classes."""
        where = torch.tensor(labels, device=self.x.device)
        shape = (self.x.shape[1], self.x.shape[2], self.x.shape[3])
        keys = rng.keys(self.seed, where)
        # What a soft mask can do, an opaque square can do a little less well: aim higher here.
        success = min(1.0, self.success + 0.1)
        search = MaskSearch(where, shape, bounds=self.bounds, success=success, keys=keys)
        for step in range(steps):
            search.tell(*self.gradient(*search.ask(self._drawn(labels, step))))
        return search

    def squares(self, masks: MaskSearch, sides: list[int], steps: int) -> list[Trigger]:
        """The smallest squares that work, where the masks have most of their mass."""
        open_, found = list(range(len(masks.labels))), dict[int, Trigger]()
        for side in sides:
            if not open_:
                break
            labels = masks.labels[open_]
            places = [heaviest(masks.mask[i, 0], side) for i in open_]
            start = torch.stack(
                [masks.pattern[i, :, r : r + side, c : c + side] for i, (r, c) in zip(open_, places, strict=True)]
            )
            search = PatternSearch(labels, places, side, start, bounds=self.bounds)
            self._improve(search, steps, every=side == sides[-1])
            # Those given up are told at the last side, where all are searched to the end.
            for label, place, pattern in zip(search.labels.tolist(), search.places, search.patterns, strict=True):
                share = self._success(label, PatternPatch(top=place[0], left=place[1], pattern=pattern))
                i = masks.labels.tolist().index(label)
                found[i] = self._trigger(masks, i, place, pattern, share)
                if share >= self.success:
                    open_.remove(i)
        return [found[i] for i in range(len(masks.labels))]

    def _improve(self, search: PatternSearch, steps: int, *, every: bool) -> None:
        """Steps on patterns; after a few, classes for which a square of this size is hopeless are left out.

        Args:
            every: no class is left out.
        """
        recent = torch.zeros(len(search.labels), device=search.labels.device)
        for step in range(steps):
            labels = search.labels.tolist()
            logits, gradient = self.gradient(*search.ask(self._drawn(labels, step, f"side {search.size}")))
            search.tell(logits, gradient)
            if every or step >= _HOPELESS_AFTER:
                continue
            arrived = CLASSIFICATION.predictions(logits).view(len(labels), -1) == search.labels.unsqueeze(1)
            recent = 0.8 * recent + 0.2 * arrived.float().mean(1)
            if step == _HOPELESS_AFTER - 1:
                seen = 1 - 0.8**_HOPELESS_AFTER  # the weights of a running mean from nothing add up to this
                search.keep(recent >= _HOPELESS * self.success * seen)
                if not len(search.labels):
                    return

    def _trigger(self, masks: MaskSearch, i: int, place: tuple[int, int], pattern: Tensor, share: float) -> Trigger:
        area = self.x.shape[2] * self.x.shape[3]
        return Trigger(
            label=int(masks.labels[i]),
            top=place[0],
            left=place[1],
            size=pattern.shape[-1],
            pattern=pattern.cpu(),
            success=share,
            area=area,
            mask_norm=min(float(masks.norm[i]), float(area)),
            anomaly=0.0,
        )

    def _success(self, label: int, cue: PatternPatch) -> float:
        others = self._others(self.test, label)[:_HELD_OUT]
        return float((CLASSIFICATION.predictions(self.logits(cue.on(self.x[others]))) == label).double().mean())

    def _others(self, rows: Tensor, label: int) -> Tensor:
        others = rows[self.y[rows] != label]
        if not len(others):
            raise DataError(f"Expected images of classes other than {label} in both halves but got none.")
        return others

    def _drawn(self, labels: list[int], step: int, use: str = "mask") -> Tensor:
        """(k, B, C, H, W) images of other classes for each class, drawn by seed, class and step."""
        keys = rng.fold(rng.fold(rng.keys(self.seed, torch.tensor(labels)), f"images for {use}"), step)
        pools = [self._others(self.search, label) for label in labels]
        limits = torch.tensor([len(pool) for pool in pools]).view(-1, 1)
        picks = rng.integers(keys, (self.batch,), limits)
        return torch.stack([self.x[pool[pick.to(pool.device)]] for pool, pick in zip(pools, picks, strict=True)])


def heaviest(mask: Tensor, side: int) -> tuple[int, int]:
    """Corner of the square of a mask (H, W) that holds most of it."""
    sums = F.avg_pool2d(mask.view(1, 1, *mask.shape), side, 1)[0, 0]
    row, column = divmod(int(sums.flatten().argmax()), sums.shape[1])
    return row, column
