"""Several labels: each class is present or absent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.checks import check_ranges, real, require
from robustest.errors import ConfigError, DataError, ModelError
from robustest.tasks.protocol import Describing, Loss, Scored, above, by_row, checked_floor, integers

_SHOWN = 6
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class MultiLabel(Scored):
    """Targets are rows (B, K) of 0 and 1, outputs logits (B, K), one for the presence of each class.

    A class is predicted if its probability, the logistic function of its logit, is above the threshold.

    Args:
        threshold: in (0, 1).
        score_by: "exact", 1 if every class is right, else 0; or "hamming", the share of right classes.
        floor: with "hamming", the smallest score of a sample that holds, in (0, 1]; None if only scores are needed.
        by: "objects": a claim passes only if it does not surely fail on the samples of some number of labels;
            "overall": the mean over all samples alone decides.

    Raises:
        ConfigError: an argument is out of range, or a floor is given with "exact".
    """

    threshold: float = field(default=0.5, metadata=real(0, 1, "()"))
    score_by: Literal["exact", "hamming"] = "exact"
    floor: float | None = None
    by: Literal["objects", "overall"] = field(default="objects", kw_only=True)

    name = "several labels"
    nouns = ("object", "objects")
    one_class = False
    placed = False

    def __post_init__(self) -> None:
        check_ranges(self)
        require(self.score_by in ("exact", "hamming"), 'score_by to be "exact" or "hamming"', self.score_by)
        if self.score_by == "exact" and self.floor not in (None, 1.0):
            raise ConfigError(f'Expected no floor for score_by="exact", which is 0 or 1, but got {self.floor!r}.')
        require(self.by in ("objects", "overall"), 'by to be "objects" or "overall"', self.by)
        object.__setattr__(self, "floor", 1.0 if self.score_by == "exact" else checked_floor(self.floor))

    def __str__(self) -> str:
        if self.score_by == "exact":
            return "all labels right"
        return "share of labels right" if self.floor is None else f"share of labels right of at least {self.floor:g}"

    @property
    def losses(self) -> Mapping[str, Loss]:
        """Losses by name; the slope of "log_odds" never rounds to 0."""
        return {
            "ce": partial(by_row, _cross_entropy, axes=1),
            "log_odds": self._mean_of_ways,
            "margin": partial(by_row, self._easiest, axes=1),
        }

    def targets(self, given: object) -> Tensor:
        """Return (B, K) int64 of 0 and 1 on the CPU, from integers or booleans."""
        rows = integers(given, "labels of 0 and 1", "(N, K)", axes=2)
        if bool(((rows != 0) & (rows != 1)).any()):
            raise DataError("Expected a row of 0 and 1 for each sample but got other numbers: give indicators.")
        return rows

    def check_targets(self, y: Tensor, width: int) -> None:
        if y.shape[1] != width:
            raise DataError(f"Expected {width} labels a sample, as the model has logits, but got {y.shape[1]}.")

    def strata(self, y: Tensor) -> Tensor:
        return y.sum(1)

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        if output.ndim != 2 or output.shape != (rows, width or output.shape[1]):
            raise ModelError(
                f"Expected logits of shape ({rows}, {width or 'K'}), one a label, but got {tuple(output.shape)}."
            )
        return output.shape[1]

    def predictions(self, output: Tensor) -> Tensor:
        """Return (..., K) int64, 1 if a class is predicted."""
        return (output > self._logit_threshold).long()

    @property
    def _logit_threshold(self) -> float:
        return math.log(self.threshold / (1 - self.threshold))

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(lambda rows, labels: self.graded(self.predictions(rows), labels), output, y, 1)

    def constant(self, y: Tensor) -> Tensor:
        """Return the answer (B, L) that gives every sample the labels that most of y (B, L) have."""
        return (2 * y.sum(0) > len(y)).long().expand_as(y)

    def graded(self, predictions: Tensor, y: Tensor) -> Tensor:
        right = predictions == y
        return right.all(1).double() if self.score_by == "exact" else right.double().mean(1)

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """Return for "exact" the smallest distance of a logit from its cut, negative beyond it; else as graded."""
        if self.score_by == "hamming":
            return above(self.score(output, y), self.floor, self._mean_of_ways(output, y))
        least = by_row(lambda rows, labels: self.ways(rows, labels).amin(1), output, y, 1)
        return torch.where(self.holds(output, y), least, -least.abs())  # a logit at the cut counts as absent

    def ways(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B, K) the distance of each logit from its cut, positive on the right side."""
        return (output - self._logit_threshold) * (2 * y - 1)

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        return y

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        lost, new = ((clean > predicted).nonzero(), (clean < predicted).nonzero())
        there = ", ".join(str(k) for k in y.nonzero().squeeze(1).tolist()) or "none"
        changes = [f"-{k}" for k in lost.squeeze(1).tolist()] + [f"+{k}" for k in new.squeeze(1).tolist()]
        shown = " ".join(changes[:_SHOWN]) + (" ..." if len(changes) > _SHOWN else "")
        return {"answer": f"labels {there}; answered otherwise: {shown or 'nothing'}"}

    def _easiest(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B,) for "exact" the negated margin; else a soft count of errors."""
        ways = self.ways(output, y)
        if self.score_by == "exact":
            return -ways.amin(1)
        usual = ways.detach().abs().mean(1, keepdim=True).clamp(min=_TINY)
        # A label far beyond its cut adds no more than one, so a search turns to the labels near theirs.
        return torch.tanh(-ways / usual).mean(1)

    def _mean_of_ways(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(lambda rows, labels: -self.ways(rows, labels).mean(1), output, y, 1)


def _cross_entropy(output: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, y.to(output), reduction="none").mean(1)
