"""The cheapest patch to each of some classes: a soft mask that says where, then the smallest square that works."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.cues.cue import PatternPatch
from robustest.discovery.least_patches.trigger_search import Gradient, MaskSearch, PatternSearch
from robustest.errors import DataError
from robustest.tasks import CLASSIFICATION

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


class Hunt:
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
