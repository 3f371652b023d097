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


def _wrapped(output: Tensor, rows: int) -> str:
    shape = tuple(output.shape)
    if shape == (rows,) and bool((output == output.round()).all()) and bool((output >= 0).all()):
        return (
            "If these are labels (argmax), return the logits, or use labels_model(f, classes=K), where f maps an array "
            "to labels."
        )
    if shape in ((rows,), (rows, 1)):
        return (
            "A model with one output per sample needs a wrapper that gives two logits: torch.stack([-z, z], 1) of the "
            "logit z; a regressor needs task=Regression(tolerance=...)."
        )
    if not shape:
        return "One number for the batch, such as a loss, judges no sample: return the logits."
    if len(shape) == 2 and shape[1] == rows:
        return "Transpose them: a row for each sample."
    if len(shape) == 4:
        return "If each pixel has an answer, claim with task=Segmentation(...)."
    return "Wrap the model in a function that returns a row of logits for each sample."


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
            "log_odds_terms": class_losses.log_odds_terms,
            "margin": class_losses.margin_loss,
        }
    )

    def targets(self, given: object) -> Tensor:
        """Return (B,) int64 labels on the CPU, from integers in a tensor, an array or a sequence."""
        try:
            labels = torch.as_tensor(np.array(given) if isinstance(given, np.ndarray) else given).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            mend = "Number the classes from 0, in the order of the model's logits."
            raise DataError(expected("labels as integers", given, mend)) from None
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            mend = "Convert them with y.long() if they are classes."
            if labels.ndim == 2 and labels.shape[1] > 1:
                mend = "One class index per sample: y.argmax(1) of one-hot labels."
            elif labels.is_floating_point() and bool(labels.isnan().any()):
                lacking = int(labels.isnan().sum())
                mend = f"{lacking} of {labels.numel()} are NaN: leave out samples without a label, then y.long()."
            elif labels.is_floating_point() and not bool((labels == labels.round()).all()):
                mend = "These are numbers, not classes: claim with task=Regression(tolerance=...), or bin them."
            raise DataError(f"Expected integer class labels but got {labels.dtype}. {mend}")
        if labels.ndim != 1:
            mend = "One class index per sample"
            if labels.ndim == 0:
                mend = f"{mend}: a single sample is a batch of one, (x[None], y[None])"
            elif labels.ndim == 2:
                mend = f"{mend}: {'y[:, 0]' if labels.shape[1] == 1 else 'y.argmax(1) of one-hot labels'}"
            raise DataError(expected("labels of shape (N,)", tuple(labels.shape), f"{mend}."))
        return labels.to(torch.int64)

    def check_targets(self, y: Tensor, width: int) -> None:
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= width:
            mend = "Number them as the model's logits are ordered, from 0"
            mend = f"{mend}: y - 1 if they start at 1." if low == 1 else f"{mend}, and leave out samples without one."
            raise DataError(
                f"Expected labels in 0..{width - 1}, the model's {width} classes, but got {low}..{high}. {mend}"
            )

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        if output.ndim != 2 or output.shape != (rows, width or max(2, output.shape[1])):
            classes = width or "K >= 2"
            raise ModelError(
                f"Expected logits of shape ({rows}, {classes}) for {rows} samples but got {tuple(output.shape)}. "
                f"{_wrapped(output, rows)}"
            )
        return output.shape[1]

    @staticmethod
    def predictions(output: Tensor) -> Tensor:
        # A tie goes to the class of the smallest index, here and in `holds`; the margin is zero there.
        return output.argmax(-1)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
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
