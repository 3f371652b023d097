"""Universal triggers: for each class the cheapest patch that sends images of others there, and the odd class."""

# After Wang et al., "Neural Cleanse" (IEEE S&P 2019). A backdoor makes one class far cheaper to reach than the others.
#
# 1. *Mask*, for each class t: a soft mask m in (0, 1)^(H, W) and a pattern p, shared by all images, minimise
#        cross-entropy(f((1 - m) x + m p), t) + price * |m|_1
#    by Adam on their logits. The price rises while enough images arrive at t, and falls while they do not.
# 2. *Square*: for rising sides, the opaque square where the mask has most of its mass; its pattern is optimised from p.
#    The smallest square that works on images held out is the class's patch.
# 3. *Cost*: the geometric mean of the square's area and |m|_1. Neural Cleanse takes |m|_1 alone, which with few classes
#    misses backdoors and accuses clean models.
# 4. *Anomaly*: the distance of a class's log cost below the median of all classes, in robust standard deviations
#    (1.4826 times the median absolute deviation) with a floor.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.cues import PatternPatch
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import checked_real, checked_whole
from robustest.tasks import CLASSIFICATION
from robustest_interpret.discovery.fixed_places import check_images

Gradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps points (B, *S) and targets (B,) int64 to logits (B, K) and the gradient (B, *S) of the summed cross-entropy."""

Logits = Callable[[Tensor], Tensor]
"""Maps inputs (B, *S) to logits (B, K)."""

MAX_ANOMALY = 1.75
"""Anomaly above which a class is suspected."""

PATTERN_STEPS, BATCH, SUCCESS = 40, 32, 0.85
"""Steps for a square's pattern, images in a step, and the share of images that a patch must send to its class."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trigger:
    """The cheapest patch found for a class.

    Attributes:
        top, left, size: the square in pixels; the largest one tried if none works.
        pattern: (C, size, size) in input units.
        success: share of held-out images of other classes that it sends to the class, in 0..1.
        area: of the square in pixels; of the image if no square works.
        mask_norm: L1 norm of the soft mask; the image's area if no mask worked.
        anomaly: distance of the log cost below the median, in robust standard deviations.
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
        """The geometric mean of area and mask norm, in pixels."""
        return math.sqrt(self.area * self.mask_norm)

    @property
    def cue(self) -> PatternPatch:
        """The patch as a cue: on pastes it, off leaves images unchanged."""
        return PatternPatch(top=self.top, left=self.left, pattern=self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """The cheapest patch of each class searched, and the anomaly above which a class is suspected."""

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
    """Search the cheapest universal patch for every class, and compare the classes.

    It takes about labels * batch * (steps + pattern_steps * sizes tried) passes forward and backward.

    Args:
        x, y: images (N, C, H, W) inside the bounds, and (N,) int64 labels; a few hundred are enough.
        gradient: maps points and targets to logits and the gradient of the summed cross-entropy.
        logits: maps points to logits (B, K).
        classes: K.
        labels: classes to search, at least 4, because the odd one out is sought; None for all.
        steps: of the soft masks' search.
        pattern_steps: of the search for a square's pattern.
        batch: images in a step.
        success: share of images that a patch must send to its class, in (0, 1].
        sizes: sides of the squares, in pixels, rising; None takes about ten.
        threshold: anomaly above which a class is suspected.

    Raises:
        ConfigError: an argument is out of range.
        DataError: a half of the images has no images of other classes than some label.
    """
    check_images(x, "a search for triggers")
    wanted = list(range(classes)) if labels is None else list(labels)
    if len(set(wanted)) < 4 or not all(type(k) is int and 0 <= k < classes for k in wanted):
        raise ConfigError(expected(f"at least 4 classes in 0..{classes - 1} to compare", wanted))
    for name, number in (("steps", steps), ("pattern_steps", pattern_steps), ("batch", batch)):
        checked_whole(name, number, 1)
    checked_whole("classes_at_a_time", classes_at_a_time, 1)
    checked_real("min_success", success, 1e-6, 1.0)
    search = PatchSearch(x, y, gradient, logits, bounds=bounds, batch=batch, success=success, seed=seed)
    sides = patch_sides(sizes, min(x.shape[2:]))
    found: list[Trigger] = []
    for start in range(0, len(wanted), classes_at_a_time):
        masks = search.masks(wanted[start : start + classes_at_a_time], steps)
        found += search.squares(masks, sides, pattern_steps)
    return with_anomalies(found, threshold)


def patch_sides(sizes: Sequence[int] | None, side: int) -> list[int]:
    """Return the sides of squares to try, rising, none larger than an image's shorter side."""
    if sizes is None:
        first, last = max(1.0, side / 28), max(1.0, 0.6 * side)
        sides = sorted({round(first * (last / first) ** (i / 12)) for i in range(13)})
    else:
        sides = list(sizes)
    if not sides or not all(type(s) is int and 1 <= s <= side for s in sides) or sorted(set(sides)) != sides:
        raise ConfigError(expected(f"patch_sizes to be rising whole numbers in 1..{side}", sizes))
    return sides


SPREAD_FLOOR = math.log(2.0)
"""Least standard deviation of log costs: an anomaly of 2 is at least 4 times as cheap."""

# A normal variable's standard deviation over its median absolute deviation.
_TO_DEVIATION = 1.4826

# Normal numbers drawn to estimate chance, and least number of sets of classes.
_NUMBERS, _LEAST_DRAWS = 200_000, 2_000


def with_anomalies(found: Sequence[Trigger], threshold: float) -> Triggers:
    """Return the triggers with their anomalies."""
    odd = anomalies([trigger.cost for trigger in found])
    triggers = tuple(replace(trigger, anomaly=anomaly) for trigger, anomaly in zip(found, odd, strict=True))
    return Triggers(triggers=triggers, threshold=threshold)


def anomalies(costs: Sequence[float]) -> list[float]:
    """Return the distance of each log cost below their median, in robust standard deviations."""
    logs = torch.tensor(costs, dtype=torch.float64).log()
    below: list[float] = _below(logs).tolist()
    return below


def anomaly_chance(anomaly: float, costs: Sequence[float], seed: int) -> float:
    """Return the probability that the oddest of equal classes has at least this anomaly."""
    # Log costs of equal classes are drawn from one normal distribution with the spread of `costs`, at least
    # SPREAD_FLOOR. A spread estimated on few classes is often far too small: of six equal classes one has an anomaly of
    # 2 in 9 of 100 sets.
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


# A square's pattern that after ten steps has less than a third of the success asked for is given up. On networks with
# planted patches and clean ones, ten or thirty more steps added 0.2 at most, and a square that works has over half of
# its success by then.
_HOPELESS, _HOPELESS_AFTER = 1 / 3, 10

# Images that a patch's success is measured on.
_HELD_OUT = 256


class PatchSearch:
    """The search for patches on one model, with images to search on and images to measure on."""

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
        targets = torch.tensor(labels, device=self.x.device)
        shape = (self.x.shape[1], self.x.shape[2], self.x.shape[3])
        keys = rng.keys(self.seed, targets)
        # An opaque square does a little worse than a soft mask: aim higher here.
        success = min(1.0, self.success + 0.1)
        search = MaskSearch(targets, shape, bounds=self.bounds, success=success, keys=keys)
        for step in range(steps):
            search.tell(*self.gradient(*search.ask(self._drawn(labels, step))))
        return search

    def squares(self, masks: MaskSearch, sides: list[int], steps: int) -> list[Trigger]:
        """Return the smallest squares that work, at the places where the masks have most of their mass."""
        labels, area = masks.labels.tolist(), self.x.shape[2] * self.x.shape[3]
        unsolved, found = list(range(len(labels))), dict[int, Trigger]()
        for side in sides:
            if not unsolved:
                break
            places = [heaviest_square(masks.mask[i, 0], side) for i in unsolved]
            starts = [
                masks.pattern[i, :, r : r + side, c : c + side] for i, (r, c) in zip(unsolved, places, strict=True)
            ]
            search = PatternSearch(masks.labels[unsolved], places, side, torch.stack(starts), bounds=self.bounds)
            # Classes given up on a smaller side get their trigger on the last side, where all are searched to the end.
            self._improve(search, steps, every=side == sides[-1])
            for label, (top, left), pattern in zip(search.labels.tolist(), search.places, search.patterns, strict=True):
                patch = PatternPatch(top=top, left=left, pattern=pattern)
                others = self._others(self.test, label)[:_HELD_OUT]
                arrived = CLASSIFICATION.predictions(self.logits(patch.on(self.x[others]))) == label
                share = float(arrived.double().mean())
                i = labels.index(label)
                found[i] = Trigger(
                    label=label,
                    top=top,
                    left=left,
                    size=side,
                    pattern=pattern.cpu(),
                    success=share,
                    area=side**2 if share >= self.success else area,
                    mask_norm=min(float(masks.norm[i]), float(area)),
                    anomaly=0.0,
                )
                if share >= self.success:
                    unsolved.remove(i)
        return [found[i] for i in range(len(labels))]

    def _improve(self, search: PatternSearch, steps: int, *, every: bool) -> None:
        recent = torch.zeros(len(search.labels), device=search.labels.device)
        for step in range(steps):
            labels = search.labels.tolist()
            logits, gradient = self.gradient(*search.ask(self._drawn(labels, step, f"side {search.size}")))
            search.tell(logits, gradient)
            # Unless `every`, leave out classes for which a square of this size is hopeless.
            if every or step >= _HOPELESS_AFTER:
                continue
            arrived = CLASSIFICATION.predictions(logits).view(len(labels), -1) == search.labels.unsqueeze(1)
            recent = 0.8 * recent + 0.2 * arrived.float().mean(1)
            if step == _HOPELESS_AFTER - 1:
                total = 1 - 0.8**_HOPELESS_AFTER  # the sum of a running mean's weights, from nothing
                search.keep(recent >= _HOPELESS * self.success * total)
                if not len(search.labels):
                    return

    def _others(self, rows: Tensor, label: int) -> Tensor:
        others = rows[self.y[rows] != label]
        if not len(others):
            raise DataError(f"Expected images of classes other than {label} in both halves but got none.")
        return others

    def _drawn(self, labels: list[int], step: int, use: str = "mask") -> Tensor:
        # (k, B, C, H, W): images of other classes for each class, drawn by seed, class and step.
        keys = rng.fold(rng.fold(rng.keys(self.seed, torch.tensor(labels)), f"images for {use}"), step)
        pools = [self._others(self.search, label) for label in labels]
        limits = torch.tensor([len(pool) for pool in pools]).view(-1, 1)
        picks = rng.integers(keys, (self.batch,), limits)
        return torch.stack([self.x[pool[pick.to(pool.device)]] for pool, pick in zip(pools, picks, strict=True)])


def heaviest_square(mask: Tensor, side: int) -> tuple[int, int]:
    """Return the corner of the square of a mask (H, W) with the largest sum."""
    sums = F.avg_pool2d(mask.view(1, 1, *mask.shape), side, 1)[0, 0]
    row, column = divmod(int(sums.flatten().argmax()), sums.shape[1])
    return row, column


# The two searches below ask and tell: `ask` gives points for the model, `tell` takes the model's answers there. They
# search several classes in one batch, each independently of the others, and do not see the model.

# The mask's first logit, about 0.27: a gradient everywhere, and soon closed where it does not help.
_START = -1.0

# Factors of the price of a mask's area after a step that succeeded, and after one that did not; and its start.
_DEARER, _CHEAPER, _FIRST_PRICE = 1.1, 1 / 1.15, 1e-3


class _Adam:
    """Adam (Kingma and Ba, ICLR 2015) on one tensor."""

    def __init__(self, like: Tensor, rate: float, momentum: float = 0.5, memory: float = 0.9) -> None:
        self.first, self.second, self.count = torch.zeros_like(like), torch.zeros_like(like), 0
        self.rate, self.momentum, self.memory = rate, momentum, memory

    def keep(self, kept: Tensor) -> None:
        self.first, self.second = self.first[kept], self.second[kept]

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
        labels, keys: (k,) int64 the classes, and randomness of the starts.
        shape: (C, H, W) of an image.
        success: share of a batch, in 0..1, that must arrive.
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
        """Return points (k * B, C, H, W) and targets (k * B,) for images x (k, B, C, H, W)."""
        self.x = x
        mask, pattern = (part.unsqueeze(1) for part in self._now())
        return (x + mask * (pattern - x)).flatten(0, 1), self.labels.repeat_interleave(x.shape[1])

    def tell(self, logits: Tensor, gradient: Tensor) -> None:
        """Take one step; keep the mask if it worked and is the smallest so far."""
        k, b = self.x.shape[:2]
        mask, pattern = self._now()
        arrived = (CLASSIFICATION.predictions(logits).view(k, b) == self.labels.unsqueeze(1)).float().mean(1)
        self.recent = 0.8 * self.recent + 0.2 * arrived
        works = self.recent >= self.success
        norm = mask.flatten(1).sum(1)
        better = works & (arrived >= self.success) & (norm < self.norm)
        never = self.norm.isinf() & ~better
        keep = (better | never).view(-1, 1, 1, 1)  # of masks that never worked the latest is kept
        self.norm = torch.where(better, norm, self.norm)
        self.mask, self.pattern = torch.where(keep, mask, self.mask), torch.where(keep, pattern, self.pattern)
        # The chain rule through x + m (p - x), and through the sigmoids of the logits.
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
        places: k corners (row, column).
        patterns: (k, C, size, size) start, in input units.
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
        low, high = self.bounds
        return low + (high - low) * torch.sigmoid(self.logit)

    def ask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        points = x.clone()
        for at, pattern, row in zip(self._spans(), self.patterns, points, strict=True):
            row[at] = pattern
        return points.flatten(0, 1), self.labels.repeat_interleave(x.shape[1])

    def tell(self, logits: Tensor, gradient: Tensor) -> None:
        slope = gradient.view(len(self.labels), -1, *gradient.shape[1:])
        inside = torch.stack([row[at].mean(0) for at, row in zip(self._spans(), slope, strict=True)])
        share = torch.sigmoid(self.logit)
        self.logit = self.logit + self.adam.step(inside * share * (1 - share))

    def keep(self, kept: Tensor) -> None:
        self.labels, self.logit = self.labels[kept], self.logit[kept]
        self.places = [place for place, stays in zip(self.places, kept.tolist(), strict=True) if stays]
        self.adam.keep(kept)

    def _spans(self) -> list[tuple[slice, slice, slice, slice]]:
        everything = slice(None)
        return [
            (everything, everything, slice(top, top + self.size), slice(left, left + self.size))
            for top, left in self.places
        ]
