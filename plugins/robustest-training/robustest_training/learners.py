"""Learners of a training set: a logistic regression, or the user's training function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from robustest import Classifier
from robustest.clock import check as check_clock
from robustest.errors import ModelError
from robustest.packs import Evaluator, TrainFn, frozen, seed_draws
from robustest.packs import resolve as resolve_device

Predict = Callable[[Tensor], Tensor]
"""Maps inputs (B, *S) to classes (B,) int64."""

# Test samples per call of a user's model: fixed, as last bits may depend on it.
_ROWS = 1024


class Learner(Protocol):
    """Learns from samples; has a name for reports."""

    @property
    def name(self) -> str: ...

    def train(self, x: Tensor, y: Tensor, classes: int, key: Tensor) -> Predict:
        """Train on samples x (n, *S) float32 with labels y (n,); `key` (1,) int64 seeds this training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """Multinomial logistic regression with an L2 penalty, at its only optimum: it draws nothing."""

    name: ClassVar[str] = "logistic regression"
    # The best penalty for digits (MNIST at 7 x 7, 1,500 samples).
    penalty: float = 10.0  # of half the squared weights, in units of one sample's loss
    tolerance: float = 1e-5  # largest gradient of the mean loss at the end
    steps: int = 1000  # most steps of L-BFGS

    def train(self, x: Tensor, y: Tensor, classes: int, key: Tensor) -> Predict:
        rows = x.flatten(1).double()
        # One scale for all inputs: pixels that hardly change in training are not blown up.
        centre = rows.mean(0)
        scale = float((rows - centre).square().mean().sqrt()) or 1.0
        weights, bias = self._fitted(((rows - centre) / scale).numpy(), y.numpy(), classes)
        w, b = torch.from_numpy(weights), torch.from_numpy(bias)

        def predict(at: Tensor) -> Tensor:
            return (((at.flatten(1).double() - centre) / scale) @ w + b).argmax(1)

        return predict

    def _fitted(
        self, x: NDArray[np.float64], y: NDArray[np.int64], classes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n, d = x.shape
        target = np.eye(classes)[y]

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            check_clock()
            w, b = flat[: d * classes].reshape(d, classes), flat[d * classes :]
            logits = x @ w + b
            # Log-sum-exp, shifted by the largest logit.
            top = logits.max(1, keepdims=True)
            odds = np.exp(logits - top)
            total = odds.sum(1, keepdims=True)
            value = (np.log(total) + top).mean() - (logits * target).sum() / n + self.penalty / n * (w * w).sum() / 2
            error = (odds / total - target) / n
            return float(value), np.concatenate([(x.T @ error + self.penalty / n * w).ravel(), error.sum(0)])

        found = minimize(
            loss,
            np.zeros((d + 1) * classes),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.steps, "maxfun": 2 * self.steps, "gtol": self.tolerance, "ftol": 0.0},
        )
        left = float(np.abs(found.jac).max())
        if not left <= 100 * self.tolerance:  # rounding may stop it a little before
            raise ModelError(
                f"Expected logistic regression to reach its optimum but a gradient of {left:.3g} is left after "
                f"{found.nit} steps. Scale the features alike, or train another learner with train=."
            )
        return found.x[: d * classes].reshape(d, classes), found.x[d * classes :]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLearner:
    """The user's training function."""

    fit: TrainFn  # maps samples (n, *S) float32, labels (n,) int64 and a seed to a model
    as_model: Callable[[object], Classifier]  # makes a classifier of the model
    device: str  # as in settings

    @property
    def name(self) -> str:
        return getattr(self.fit, "__name__", type(self.fit).__name__)

    def train(self, x: Tensor, y: Tensor, classes: int, key: Tensor) -> Predict:
        # Draws from global generators follow from the key, and the generators are restored.
        with torch.inference_mode(False), torch.enable_grad(), frozen(None):
            seed_draws(key)
            # Copies: the function may write into its arguments.
            model = self.as_model(self.fit(x.clone(), y.clone(), int(key[0]) & 0x7FFFFFFF))

        def predict(at: Tensor) -> Tensor:
            with torch.inference_mode(False), frozen(model.module) as notes:
                device = resolve_device(self.device, model.device)
                evaluator = Evaluator(model, device, batch_size=_ROWS, suppress=(), notes=notes)
                logits = [evaluator.logits(part.to(device)) for part in torch.split(at, _ROWS)]
                evaluator.settle()
                answers = [evaluator.task.predictions(each).cpu() for each in logits]
            if logits[0].shape[1] < classes:
                raise ModelError(
                    f"Expected train to return a model of {classes} classes, which the data have, but its logits "
                    f"are {tuple(logits[0].shape)}."
                )
            return torch.cat(answers)

        return predict
