"""Regression: numbers, right within a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robustest.checks import require
from robustest.errors import ConfigError, DataError, ModelError
from robustest.tasks.protocol import Describing, Loss, by_row, positive, reals

# Share of the tolerance that targets may lose by rounding to float32.
_ROUNDED_OFF = 0.01


@dataclass(frozen=True, slots=True)
class Regression:
    """Targets are numbers (B,) or (B, D), outputs (B, D); the error is the largest of the D.

    Args:
        tolerance: largest error of an answer that holds, > 0, in the target's units.
        scale: error at which the score is 0, > 0; the score falls linearly from 1. None: the tolerance.
        still: True if targets stay the same when an image is turned or moved, as an age does and an angle does not.
            Otherwise geometric shifts are refused.
    """

    tolerance: float
    scale: float | None = None
    still: bool = False

    name = "regression"
    one_class = False
    nouns = ("target", "targets")

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerance", positive("tolerance", self.tolerance))
        if self.scale is not None:
            object.__setattr__(self, "scale", positive("scale", self.scale))
        require(type(self.still) is bool, "still to be true or false", self.still)

    def __str__(self) -> str:
        return f"error of at most {self.tolerance:g}"

    @property
    def placed(self) -> bool:
        return not self.still

    @property
    def losses(self) -> Mapping[str, Loss]:
        """The error, in tolerances ("margin", "log_odds"), and its square, summed over the D values ("ce")."""
        squared = partial(by_row, lambda rows, y: ((rows - y) / self.tolerance).square().sum(1), axes=1)
        return {"ce": squared, "log_odds": self._error, "margin": self._error}

    def targets(self, given: object) -> Tensor:
        """Return (B, D) float32 on the CPU; raise DataError if float32 is coarser than the tolerance."""
        values = reals(given, "targets", within=_ROUNDED_OFF * min(self.tolerance, self.scale or self.tolerance))
        if values.ndim == 1:
            values = values.unsqueeze(1)
        require(values.ndim == 2, "targets of shape (N,) or (N, D)", tuple(values.shape), error=DataError)
        return values

    def check_targets(self, y: Tensor, width: int) -> None:
        if y.shape[1] != width:
            raise DataError(f"Expected {width} targets a sample, as many as the model predicts, but got {y.shape[1]}.")

    def strata(self, y: Tensor) -> Tensor:
        """Return the target (B, 1), or the norm of several numbers (B, D)."""
        return y.double().squeeze(1) if y.shape[1] == 1 else y.double().norm(dim=1)

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        if output.ndim != 2 or output.shape != (rows, width or output.shape[1]):
            mend = " Give one prediction an axis: lambda x: model(x).unsqueeze(1)." if output.ndim == 1 else ""
            raise ModelError(
                f"Expected predictions of shape ({rows}, {width or 'D'}) but got {tuple(output.shape)}.{mend}"
            )
        return output.shape[1]

    @staticmethod
    def predictions(output: Tensor) -> Tensor:
        return output

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(self.graded, output, y, 1)

    def graded(self, predictions: Tensor, y: Tensor) -> Tensor:
        worst = (predictions.double() - y.double()).abs().amax(1)
        return (1 - worst / (self.scale or self.tolerance)).clamp(0, 1)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(self.right, output, y, 1)

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B,) 1 minus the largest error, in tolerances."""
        return 1 - self._error(output, y)

    def ways(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B, 2 D) the distance of each error from the tolerance above and below, in tolerances."""
        error = (output - y) / self.tolerance
        return torch.cat([1 - error, 1 + error], 1)

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self.graded(predictions, other)

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        """Return (B,) bool: two predictions (B, D) are within the tolerance of each other."""
        return ((predictions - other).abs() <= self.tolerance).all(1)

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """Raise ConfigError: the change of targets under a move is unknown."""
        raise ConfigError(
            "Expected targets that stay what they are where an image is moved, or a shift that moves none. If they do, "
            "as an age does, say so: Regression(tolerance, still=True)."
        )

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        at = int((predicted - y).abs().argmax())
        which = f" (value {at})" if len(y) > 1 else ""
        values = f"target {float(y[at]):.4g}, predicted {float(clean[at]):.4g} -> {float(predicted[at]):.4g}"
        return {"answer": f"{values}{which}"}

    def _error(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(lambda rows, targets: (rows - targets).abs().amax(1) / self.tolerance, output, y, 1)
