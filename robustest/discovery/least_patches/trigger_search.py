"""Ask/tell searches for universal triggers: a soft mask with a pattern, and an opaque square with a pattern.

Several classes are searched in one batch, each for itself. `ask` gives points for the model, `tell` takes what the
model said there; neither sees the model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.tasks import CLASSIFICATION

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
