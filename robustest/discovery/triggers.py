"""Universal triggers: for every class, the cheapest patch that sends other classes' images there; and the odd one out.

After Wang et al., "Neural Cleanse" (IEEE S&P 2019): for each class a soft mask and a pattern, shared by all images, are
learned so that what is pasted is classified as that class while the mask stays small. A backdoor makes one class far
cheaper to reach than the others, which a rule on median absolute deviations finds. There the cost is the mask's L1
norm, which with few classes both misses backdoors and accuses clean models: ten norms spread widely, or hardly, by
chance. Here the mask also says where to look for the smallest opaque square that works on images held out. The cost
is the geometric mean of that square's area and the mask's norm, compared on a logarithmic scale, and the spread has a
floor.

The cheapest patch to each of some classes: a soft mask that says where, then the smallest square that works.

Ask/tell searches for universal triggers: a soft mask with a pattern, and an opaque square with a pattern.

Several classes are searched in one batch, each for itself. `ask` gives points for the model, `tell` takes what the
model said there; neither sees the model.

How far the cheapest of several classes is from the others, and how often chance alone brings one as far.
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
from robustest.cues.patches import PatternPatch
from robustest.errors import ConfigError, DataError, expected
from robustest.tasks import CLASSIFICATION

MAX_ANOMALY = 1.75
"""What is more anomalous is suspected."""

PATTERN_STEPS, BATCH, SUCCESS = 40, 32, 0.85
"""Steps for a square's pattern, images in a step, and the share of them that a patch must send to its class."""


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
    pattern_steps: int = PATTERN_STEPS,
    batch: int = BATCH,
    success: float = SUCCESS,
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
    checked_real("min_success", success, 1e-6, 1.0)
    hunt = PatchSearch(x, y, gradient, logits, bounds=bounds, batch=batch, success=success, seed=seed)
    sides = checked_sides(sizes, min(x.shape[2:]))
    found: list[Trigger] = []
    for start in range(0, len(wanted), classes_at_a_time):
        search = hunt.masks(wanted[start : start + classes_at_a_time], steps)
        found += hunt.squares(search, sides, pattern_steps)
    return compared(found, threshold)


def compared(found: Sequence[Trigger], threshold: float) -> Triggers:
    """The cheapest patches of some classes, each with its anomaly among them."""
    odd = anomalies([trigger.cost for trigger in found])
    triggers = tuple(replace(trigger, anomaly=a) for trigger, a in zip(found, odd, strict=True))
    return Triggers(triggers=triggers, threshold=threshold)


def checked_sides(sizes: Sequence[int] | None, side: int) -> list[int]:
    """Sides of squares to try, rising, none larger than an image's shorter side."""
    if sizes is None:
        first, last = max(1.0, side / 28), max(1.0, 0.6 * side)
        sides = sorted({round(first * (last / first) ** (i / 12)) for i in range(13)})
    else:
        sides = list(sizes)
    if not sides or not all(type(s) is int and 1 <= s <= side for s in sides) or sorted(set(sides)) != sides:
        raise ConfigError(expected(f"patch_sizes to be rising whole numbers in 1..{side}", sizes))
    return sides


Logits = Callable[[Tensor], Tensor]
"""Maps inputs (B, *S) to logits (B, K)."""

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


class PatchSearch:
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
        area, size = self.x.shape[2] * self.x.shape[3], pattern.shape[-1]
        return Trigger(
            label=int(masks.labels[i]),
            top=place[0],
            left=place[1],
            size=size,
            pattern=pattern.cpu(),
            success=share,
            area=size**2 if share >= self.success else area,
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


Gradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps points (B, *S) and targets (B,) int64 to logits (B, K) and the gradient (B, *S) of the summed cross-entropy."""

_START = -1.0
"""The mask's first logit, about .27: open enough for a gradient everywhere, and soon closed where it does not help."""

_DEARER, _CHEAPER, _FIRST_PRICE = 1.1, 1 / 1.15, 1e-3
"""How the price of a mask's area moves after a step that succeeded, and after one that did not; and where it starts."""


def gradient_of(logits: Callable[[Tensor], Tensor]) -> Gradient:
    """The `Gradient` of a function that torch can differentiate."""

    def gradient(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = points.detach().requires_grad_(True)
            answers = logits(leaf)
            (slope,) = torch.autograd.grad(F.cross_entropy(answers, targets, reduction="sum"), leaf)
        return answers.detach(), slope

    return gradient


class _Adam:
    """Steps of Adam (Kingma and Ba, ICLR 2015) on one tensor."""

    def __init__(self, like: Tensor, rate: float, momentum: float = 0.5, memory: float = 0.9) -> None:
        self.first, self.second, self.count = torch.zeros_like(like), torch.zeros_like(like), 0
        self.rate, self.momentum, self.memory = rate, momentum, memory

    def keep(self, which: Tensor) -> None:
        """Go on with some rows: which (k,) bool."""
        self.first, self.second = self.first[which], self.second[which]

    def step(self, gradient: Tensor) -> Tensor:
        self.count += 1
        self.first = self.momentum * self.first + (1 - self.momentum) * gradient
        self.second = self.memory * self.second + (1 - self.memory) * gradient.square()
        mean = self.first / (1 - self.momentum**self.count)
        square = self.second / (1 - self.memory**self.count)
        return -self.rate * mean / (square.sqrt() + 1e-8)


class MaskSearch:
    """The smallest soft mask, with its pattern, that sends images to each of k classes (Neural Cleanse, section 4).

    Args:
        labels: (k,) int64 the classes.
        shape: (C, H, W) of an image.
        bounds: smallest and largest input value.
        success: share of a batch, in 0..1, that must arrive.
        keys: (k,) int64 randomness of the starts.
        rate: step length on the logits of mask and pattern.
    """

    def __init__(
        self,
        labels: Tensor,
        shape: tuple[int, int, int],
        *,
        bounds: tuple[float, float],
        success: float,
        keys: Tensor,
        rate: float = 0.1,
    ) -> None:
        self.labels, self.bounds, self.success = labels, bounds, success
        self.mask_logit = _START + 0.1 * rng.normal(rng.fold(keys, "mask"), (1, *shape[1:]))
        self.pattern_logit = 0.1 * rng.normal(rng.fold(keys, "pattern"), shape)
        self.mask_adam, self.pattern_adam = _Adam(self.mask_logit, rate), _Adam(self.pattern_logit, rate)
        self.price = torch.full((len(labels), 1, 1, 1), _FIRST_PRICE, device=labels.device)
        self.recent = torch.zeros(len(labels), device=labels.device)
        self.mask, self.pattern = self._now()
        self.norm = torch.full((len(labels),), float("inf"), device=labels.device)

    def ask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points (k * B, C, H, W) and targets (k * B,) for images x (k, B, C, H, W), B for each class."""
        self.x = x
        mask, pattern = (part.unsqueeze(1) for part in self._now())
        return (x + mask * (pattern - x)).flatten(0, 1), self.labels.repeat_interleave(x.shape[1])

    def tell(self, logits: Tensor, gradient: Tensor) -> None:
        """Take one step; keep the mask where it did its work and is the smallest so far."""
        k, b = self.x.shape[:2]
        mask, pattern = self._now()
        arrived = (CLASSIFICATION.predictions(logits).view(k, b) == self.labels.unsqueeze(1)).float().mean(1)
        self.recent = 0.8 * self.recent + 0.2 * arrived
        works = self.recent >= self.success
        norm = mask.flatten(1).sum(1)
        better = works & (arrived >= self.success) & (norm < self.norm)
        never = self.norm.isinf() & ~better
        keep = (better | never).view(-1, 1, 1, 1)  # what never worked is at least the latest
        self.norm = torch.where(better, norm, self.norm)
        self.mask, self.pattern = torch.where(keep, mask, self.mask), torch.where(keep, pattern, self.pattern)
        slope = gradient.view(self.x.shape) / b
        low, high = self.bounds
        by_mask = (slope * (pattern.unsqueeze(1) - self.x)).sum((1, 2)).unsqueeze(1) + self.price
        by_pattern = slope.sum(1) * mask * (high - low)
        share = (pattern - low) / (high - low)
        self.mask_logit = self.mask_logit + self.mask_adam.step(by_mask * mask * (1 - mask))
        self.pattern_logit = self.pattern_logit + self.pattern_adam.step(by_pattern * share * (1 - share))
        change = torch.where(works, _DEARER, _CHEAPER).view(-1, 1, 1, 1)
        self.price = (self.price * change).clamp_(1e-5, 10.0)

    def _now(self) -> tuple[Tensor, Tensor]:
        low, high = self.bounds
        return torch.sigmoid(self.mask_logit), low + (high - low) * torch.sigmoid(self.pattern_logit)


class PatternSearch:
    """The pattern of an opaque square that sends images to each of k classes.

    Args:
        labels: (k,) int64 the classes.
        places: k pairs (row, column) of each square's corner.
        size: side of the squares, in pixels.
        patterns: (k, C, size, size) where to start, in input units.
        bounds: smallest and largest input value.
        rate: step length on the pattern's logits.
    """

    def __init__(
        self,
        labels: Tensor,
        places: list[tuple[int, int]],
        size: int,
        patterns: Tensor,
        *,
        bounds: tuple[float, float],
        rate: float = 0.3,
    ) -> None:
        self.labels, self.places, self.size, self.bounds = labels, places, size, bounds
        low, high = bounds
        self.logit = torch.logit(((patterns - low) / (high - low)).clamp(0.02, 0.98))
        self.adam = _Adam(self.logit, rate, 0.9, 0.99)

    @property
    def patterns(self) -> Tensor:
        """(k, C, size, size) in input units."""
        low, high = self.bounds
        return low + (high - low) * torch.sigmoid(self.logit)

    def ask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Points (k * B, C, H, W) and targets (k * B,) for images x (k, B, C, H, W), B for each class."""
        points = x.clone()
        for at, pattern, row in zip(self._spans(), self.patterns, points, strict=True):
            row[at] = pattern
        return points.flatten(0, 1), self.labels.repeat_interleave(x.shape[1])

    def tell(self, logits: Tensor, gradient: Tensor) -> None:
        """Take one step."""
        slope = gradient.view(len(self.labels), -1, *gradient.shape[1:])
        inside = torch.stack([row[at].mean(0) for at, row in zip(self._spans(), slope, strict=True)])
        share = torch.sigmoid(self.logit)
        self.logit = self.logit + self.adam.step(inside * share * (1 - share))

    def keep(self, which: Tensor) -> None:
        """Go on with some of the classes: which (k,) bool."""
        self.labels, self.logit = self.labels[which], self.logit[which]
        self.places = [place for place, kept in zip(self.places, which.tolist(), strict=True) if kept]
        self.adam.keep(which)

    def _spans(self) -> list[tuple[slice, slice, slice, slice]]:
        everything = slice(None)
        return [
            (everything, everything, slice(top, top + self.size), slice(left, left + self.size))
            for top, left in self.places
        ]


SPREAD_FLOOR = math.log(2.0)
"""The least standard deviation of log costs that is believed: an anomaly of 2 is at least 4 times as cheap."""

_TO_DEVIATION = 1.4826
"""A normal variable's standard deviation over its median absolute deviation."""

_NUMBERS, _LEAST_DRAWS = 200_000, 2_000
"""Normal numbers drawn to tell what chance does, and sets of classes at least."""


def anomalies(costs: Sequence[float]) -> list[float]:
    """How far each log cost is below their median, in robust standard deviations, `SPREAD_FLOOR` at least.

    A robust standard deviation is 1.4826 times the median absolute deviation.
    """
    logs = torch.tensor(costs, dtype=torch.float64).log()
    below: list[float] = _below(logs).tolist()
    return below


def chance_of(anomaly: float, costs: Sequence[float], seed: int) -> float:
    """How often the oddest of as many classes is as anomalous, where no class is odd.

    Log costs are drawn from one normal distribution of the spread that these have, `SPREAD_FLOOR` at least. A spread
    measured on few classes is often far too small: of six alike one has an anomaly of 2 in 9 of 100 sets.

    Args:
        anomaly: of one class.
        costs: of all classes.
        seed: of the draws.
    """
    logs = torch.tensor(costs, dtype=torch.float64).log()
    sets = max(_LEAST_DRAWS, _NUMBERS // len(costs))
    drawn = rng.normal(rng.fold(rng.keys(seed, torch.arange(sets)), "costs of classes"), (len(costs),)).double()
    farthest = _below(float(_spread(logs)) * drawn).amax(1)
    return (1 + int((farthest >= anomaly).sum())) / (1 + sets)


def _below(logs: Tensor) -> Tensor:
    return (logs.quantile(0.5, dim=-1, keepdim=True) - logs) / _spread(logs)


def _spread(logs: Tensor) -> Tensor:
    middle = logs.quantile(0.5, dim=-1, keepdim=True)
    found = _TO_DEVIATION * (logs - middle).abs().quantile(0.5, dim=-1, keepdim=True)
    return found.clamp(min=SPREAD_FLOOR)
