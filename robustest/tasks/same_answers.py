"""Agreement: several copies of one classifier give one answer."""

# A search for a disagreement has to arrive between the decision boundaries of two copies, which lie close together.
# With d_i the lead of the class y over the likeliest other class in the scores of copy i, copies i and j disagree about
# y where d_i > 0 > d_j. The search climbs
#
#     t = min(max_i d_i, -min_i d_i),
#
# a tent whose ridge lies between the boundaries: where all copies answer y it is -min d, so that the step leads out of
# the class; where none does it is max d, so that the step leads back. It is positive exactly between them.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest.errors import ModelError
from robustest.tasks import class_losses
from robustest.tasks.classification import CLASSIFICATION
from robustest.tasks.protocol import Describing, Loss


@dataclass(frozen=True, slots=True)
class SameAnswers:
    """Outputs are the scores (B, K, C) of C >= 2 copies, and an answer holds if all copies have one likeliest class.

    Targets are labels (B,), which only tell a search which class to leave; they never decide if an answer holds.

    Args:
        names: of the C copies.
        leaving: an answer holds while every copy answers the target: the control of a search, which must be able to
            leave the class.
    """

    names: tuple[str, ...]
    leaving: bool = field(default=False, kw_only=True)

    name = "same answers"
    one_class = False
    placed = False

    def __str__(self) -> str:
        return "same answers of " + ", ".join(self.names)

    @property
    def losses(self) -> Mapping[str, Loss]:
        """Losses by name; "ce" and "log_odds" lead all copies out of the class, "margin" to a place between them."""
        return {
            "ce": _mean_of(class_losses.cross_entropy),
            "log_odds": _mean_of(class_losses.log_odds_tangent),
            "margin": self._climbed,
        }

    def targets(self, given: object) -> Tensor:
        """Return (B,) int64 labels on the CPU."""
        return CLASSIFICATION.targets(given)

    def check_targets(self, y: Tensor, width: int) -> None:
        CLASSIFICATION.check_targets(y, width)

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        shape = (rows, width or max(2, output.shape[1]), len(self.names))
        if output.shape != shape:
            raise ModelError(f"Expected scores {shape} of classes and copies but got {tuple(output.shape)}.")
        return output.shape[1]

    def predictions(self, output: Tensor) -> Tensor:
        """Return (..., C) int64: the class that each copy answers."""
        return output.argmax(-2)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        return self._one_answer(self.predictions(output), y)

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        height = self._climbed(output, y).abs()
        return torch.where(self.holds(output, y), height, -height)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return self.holds(output, y).double()

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self.right(predictions, other).double()

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self._one_answer(predictions, other)

    def as_targets(self, predictions: Tensor) -> Tensor:
        """Return the class (B,) that the first copy answers."""
        return predictions[..., 0]

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        return y

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        answers = ", ".join(f"{name} {int(k)}" for name, k in zip(self.names, predicted, strict=True))
        before = sorted(set(clean.tolist()))
        changed = "" if torch.equal(clean, predicted) or len(before) > 1 else f"; unchanged, all answer {before[0]}"
        return {"answer": f"classes answered: {answers}{changed}"}

    def _one_answer(self, predictions: Tensor, y: Tensor) -> Tensor:
        first = predictions[..., :1]
        if self.leaving:
            first = y.view(-1, *[1] * (predictions.ndim - 1))
        return (predictions == first).all(-1)

    def _climbed(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (...) the height of the tent or, for a control, of the first copy to leave the class."""
        lead = -_of_each(class_losses.margin_loss, output, y)
        out = -lead.amin(-1)
        return out if self.leaving else torch.minimum(lead.amax(-1), out)


def _of_each(loss: Callable[[Tensor, Tensor], Tensor], output: Tensor, y: Tensor) -> Tensor:
    """Return (..., C) a loss of classes for the scores (B, ..., K, C) of each copy."""
    each = output.transpose(-1, -2)
    rows = each.flatten(0, -2)
    return loss(rows, y.repeat_interleave(len(rows) // len(y))).view(each.shape[:-1])


def _mean_of(loss: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    return lambda output, y: _of_each(loss, output, y).mean(-1)
