"""Classification: one class per sample."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from robustest.errors import DataError, ModelError, expected
from robustest.tasks import class_losses
from robustest.tasks.protocol import Describing


@dataclass(frozen=True, slots=True)
class Classification:
    """Targets are labels (B,) int64, outputs logits (B, K) of K >= 2 classes; the largest logit is the answer."""

    name = "classification"
    one_class = True
    placed = False
    losses = MappingProxyType(
        {
            "ce": class_losses.cross_entropy,
            "dlr": class_losses.dlr,
            "log_odds": class_losses.log_odds_tangent,
            "margin": class_losses.margin_loss,
        }
    )

    def targets(self, given: object) -> Tensor:
        """Return (B,) int64 labels on the CPU, from integers in a tensor, an array or a sequence."""
        try:
            labels = torch.as_tensor(np.array(given) if isinstance(given, np.ndarray) else given).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            raise DataError(expected("labels as integers", given)) from None
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise DataError(
                f"Expected integer class labels but got {labels.dtype}. Convert them with y.long() if they are classes."
            )
        if labels.ndim != 1:
            raise DataError(expected("labels of shape (N,)", tuple(labels.shape), "One class index per sample."))
        return labels.to(torch.int64)

    def check_targets(self, y: Tensor, width: int) -> None:
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= width:
            raise DataError(f"Expected labels in 0..{width - 1}, the model's {width} classes, but got {low}..{high}.")

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        if output.ndim != 2 or output.shape != (rows, width or max(2, output.shape[1])):
            classes = width or "K >= 2"
            raise ModelError(
                f"Expected logits of shape ({rows}, {classes}) for {rows} samples but got {tuple(output.shape)}. "
                "A model with one output per sample needs a wrapper that gives two logits."
            )
        return output.shape[1]

    @staticmethod
    def predictions(output: Tensor) -> Tensor:
        # A tie goes to the class of the smallest index, here and in `holds`; the margin is zero there.
        return output.argmax(-1)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B,) bool, or (B, A) for logits (B, A, K)."""
        predicted = output.argmax(-1)
        return predicted == (y if predicted.ndim == 1 else y.view(-1, *[1] * (predicted.ndim - 1)))

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the label's logit minus the largest other."""
        return -class_losses.margin_loss(output, y)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return self.holds(output, y).double()

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        return (predictions == other).double()

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        return predictions == other

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        return y

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        return {"label": int(y), "clean": int(clean), "predicted": int(predicted)}


CLASSIFICATION = Classification()
"""The default task."""
