"""Semantic segmentation: one class per pixel, and the losses that attacks on masks climb."""

# The losses return (B,) means over the pixels that count, which grow as labels lose. A lost pixel need not be pushed
# further, at the expense of other pixels (Gu et al., ECCV 2022, section 3; Croce, Singh and Hein, ECCV 2024, section
# 3).

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.checks import checked_whole, require
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.tasks.class_losses import cross_entropy
from robustest.tasks.protocol import Describing, Loss, Scored, by_row, checked_floor, integers
from robustest.words import number

# SegPGD's weight of lost pixels, which rises from 0 to 1/2 over its steps, as its mean.
_EARLY = 0.25
# Pixels that are right by more than this number of mean leads weigh little in the margin loss.
_NEAR = 0.2
_TINY = 1e-12


def leads(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B, H, W) the label's logit minus the largest other: positive if a pixel is right."""
    at = y.unsqueeze(1)
    return logits.gather(1, at).squeeze(1) - logits.scatter(1, at, -torch.inf).amax(1)


def mean(values: Tensor, counts: Tensor) -> Tensor:
    """Return (B,) means of values (B, H, W) over the pixels that count (B, H, W) bool; 0 if none does."""
    return (values * counts).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B, H, W) the log-odds against the label: cross-entropy whose slope does not round to 0."""
    at = y.unsqueeze(1)
    others = logits.scatter(1, at, -torch.inf)
    return others.logsumexp(1) - logits.gather(1, at).squeeze(1)


def still_right(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B, H, W) bool: the label is predicted."""
    return logits.detach().argmax(1) == y


def weighted(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B, H, W) cross-entropy with SegPGD's weights: 3/4 for right pixels, 1/4 for lost ones."""
    right = still_right(logits, y)
    return torch.where(right, 1 - _EARLY, _EARLY) * cross_entropy(logits, y)


def masked(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B, H, W) cross-entropy of right pixels; 0 of lost ones."""
    return still_right(logits, y) * cross_entropy(logits, y)


def turning(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B, H, W) the softplus of each pixel's negated lead: pixels far from turning weigh little."""
    lead = leads(logits, y)
    # Dividing by the image's mean lead removes the scale of the logits.
    usual = lead.detach().abs().flatten(1).mean(1).clamp(min=_TINY).view(-1, 1, 1)
    return F.softplus(lead / (-_NEAR * usual))


Pixels = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Segmentation(Scored):
    """Targets are masks (B, H, W) of classes, outputs logits (B, C, H, W); a pixel's largest logit is its answer.

    Args:
        classes: number of classes, >= 2.
        ignore: value of pixels that do not count, e.g. 255; None if all count. Geometric shifts need it, for pixels
            from outside the image.
        score_by: "pixel", the share of right pixels, or "iou", intersection over union of this image alone, averaged
            over the classes in the mask or in the answer.
        floor: smallest score of an image that holds, in (0, 1]; None if only scores are needed.
    """

    classes: int
    ignore: int | None = None
    score_by: Literal["pixel", "iou"] = "pixel"
    floor: float | None = None

    name = "segmentation"
    one_class = False
    placed = True
    nouns = ("class in the mask", "classes in the mask")

    def __post_init__(self) -> None:
        checked_whole("classes", self.classes, 2)
        if self.ignore is not None and (type(self.ignore) is not int or 0 <= self.ignore < self.classes):
            what = f"ignore to be a whole number outside 0..{self.classes - 1}, or None"
            raise ConfigError(expected(what, self.ignore))
        require(self.score_by in ("pixel", "iou"), 'score_by to be "pixel" or "iou"', self.score_by)
        object.__setattr__(self, "floor", checked_floor(self.floor))

    def __str__(self) -> str:
        what = "pixel accuracy" if self.score_by == "pixel" else "mean IoU"
        return what if self.floor is None else f"{what} of at least {self.floor:g}"

    @property
    def losses(self) -> Mapping[str, Loss]:
        """Means over the pixels that count; "margin" climbs the pixels nearest to turning."""
        return {
            "ce": _Mean(self, cross_entropy),
            "ce_right": _Mean(self, masked),
            "log_odds": _Mean(self, log_odds),
            "margin": _Mean(self, turning),
            "segpgd": _Mean(self, weighted),
        }

    def targets(self, given: object) -> Tensor:
        """Return (B, H, W) int64 masks on the CPU; in each of them a pixel must count."""
        masks = integers(given, "masks of class indices", "(N, H, W)", axes=3)
        if self.ignore is not None and len(masks) and bool((masks == self.ignore).flatten(1).all(1).any()):
            raise DataError("Expected a pixel that counts in every mask but one is ignored as a whole. Leave it out.")
        return masks

    def check_targets(self, y: Tensor, width: int) -> None:
        outside = (y < 0) | (y >= self.classes)
        if self.ignore is not None:
            outside &= y != self.ignore
        if bool(outside.any()):
            but = "" if self.ignore is None else f", or {self.ignore} to be ignored"
            mend = "" if self.ignore is not None else " Pass ignore= if it marks pixels that do not count."
            raise DataError(
                f"Expected masks of classes 0..{self.classes - 1}{but} but got the value {int(y[outside][0])}.{mend}"
            )

    def strata(self, y: Tensor) -> Tensor:
        """Return the number of classes in masks (B, H, W), among the pixels that count."""
        there = torch.where(self.counting(y), y, -1)
        return (self.counts(there, y)[:, : self.classes] > 0).sum(1)

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        if output.ndim != 4 or output.shape[:2] != (rows, self.classes):
            raise ModelError(
                f"Expected logits of shape ({rows}, {self.classes}, H, W) for {rows} images and {self.classes} classes "
                f'but got {tuple(output.shape)}. Wrap models that answer otherwise: lambda x: model(x)["out"], say.'
            )
        return self.classes

    @staticmethod
    def predictions(output: Tensor) -> Tensor:
        return output.argmax(-3)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(lambda rows, masks: self.graded(self.predictions(rows), masks), output, y, 3)

    def constant(self, y: Tensor) -> Tensor:
        """Return the answer (B, H, W) that says the commonest class of masks y (B, H, W) everywhere."""
        counting = y[self.counting(y)]
        return torch.full_like(y, int(counting.mode().values) if len(counting) else 0)

    def graded(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Return (B,) float64 scores of predicted masks (B, H, W); 0 if no pixel counts."""
        _same_size(predictions, y)
        if self.score_by == "pixel":
            return mean((predictions == y).double(), self.counting(y))
        intersection, union = self.counts(predictions, y).double().chunk(2, 1)
        shares: Tensor = (intersection / union.clamp(min=1)).sum(1)
        return shares / (union > 0).sum(1).clamp(min=1)

    def counts(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Return (B, 2 C) int64 of predicted masks: pixels in the intersection, then in the union, of each class."""
        counting = self.counting(y).flatten(1)
        predictions, y = predictions.flatten(1), torch.where(counting, y.flatten(1), 0)
        answered = counting & (predictions >= 0)
        shape = (len(y), self.classes)

        def pixels(where: Tensor, what: Tensor) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=y.device).scatter_add_(1, what, where.long())

        both = pixels(counting & (predictions == y), y)
        return torch.cat([both, pixels(counting, y) + pixels(answered, predictions.clamp(min=0)) - both], 1)

    def counting(self, y: Tensor) -> Tensor:
        """Return (B, H, W) bool, the pixels of masks that count."""
        return torch.ones_like(y, dtype=torch.bool) if self.ignore is None else y != self.ignore

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """Return moved masks: the value of the nearest source pixel; `ignore` from outside."""
        if self.ignore is None:
            raise ConfigError(
                "Expected a value for pixels that a shift brings in from outside the image but ignore is None. Pass "
                "ignore=255, say, to Segmentation."
            )
        rows, columns = source.round().long().unbind(1)
        height, width = y.shape[-2:]
        at = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
        moved = y.flatten(1).gather(1, at.flatten(1)).view_as(y)
        return torch.where(inside, moved, self.ignore)

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        after = y if moved is None else moved
        before, now = (float(self.graded(m[None], t[None])) for m, t in ((clean, y), (predicted, after)))
        what = "pixel accuracy" if self.score_by == "pixel" else "mean IoU"
        answer = f"{what} {number(before)} -> {number(now)}"
        if moved is None:
            answer += f", {int(((clean != predicted) & self.counting(y)).sum())} pixels answered otherwise"
        return {"answer": answer}


@dataclass(frozen=True, slots=True)
class _Mean:
    task: Segmentation
    pixels: Pixels

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        def of_rows(rows: Tensor, masks: Tensor) -> Tensor:
            _same_size(rows, masks)
            counting = self.task.counting(masks)
            return mean(self.pixels(rows, torch.where(counting, masks, 0)), counting)

        return by_row(of_rows, output, y, 3)


def _same_size(output: Tensor, y: Tensor) -> None:
    if output.shape[-2:] != y.shape[-2:]:
        raise ModelError(
            f"Expected answers of the masks' size, {tuple(y.shape[-2:])}, but got {tuple(output.shape[-2:])}. Resize "
            "the model's logits to the mask in a wrapper, never the mask to the logits."
        )
