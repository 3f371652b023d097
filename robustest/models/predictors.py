"""Predictors that are no torch modules: numpy in, scores or labels out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.errors import ConfigError, ModelError, expected
from robustest.models.classifier import Classifier
from robustest.models.needs import Needs

Predict = Callable[[NDArray[np.float32]], Any]


def scores_model(fn: Predict, *, bounds: tuple[float, float] = (0.0, 1.0)) -> Classifier:
    """A model that gives scores and no gradients: attacks that need gradients are left out.

    Args:
        fn: maps a float32 array (B, *S) to scores (B, K), larger for likelier classes; logits serve best.
        bounds: smallest and largest input value.

    Raises:
        ConfigError: fn cannot be called.
    """
    _check(fn)

    def call(x: Tensor) -> Tensor:
        scores = np.asarray(fn(x.detach().cpu().numpy()))
        if scores.ndim != 2:
            raise ModelError(expected("scores of shape (B, K)", scores.shape))
        return torch.from_numpy(scores.astype(np.float32)).to(x.device)

    return Classifier(call=call, bounds=bounds, gives=Needs.SCORES)


def labels_model(fn: Predict, *, classes: int, bounds: tuple[float, float] = (0.0, 1.0)) -> Classifier:
    """A model that gives class labels alone: only attacks that need no more are used.

    Args:
        fn: maps a float32 array (B, *S) to integer labels (B,) in 0..classes-1.
        classes: number of classes, >= 2.
        bounds: smallest and largest input value.

    Raises:
        ConfigError: fn cannot be called, or classes < 2.
    """
    _check(fn)
    if type(classes) is not int or classes < 2:
        raise ConfigError(expected("classes to be a whole number >= 2", classes))

    def call(x: Tensor) -> Tensor:
        labels = np.asarray(fn(x.detach().cpu().numpy()))
        if labels.shape != (len(x),) or not np.issubdtype(labels.dtype, np.integer):
            raise ModelError(expected(f"integer labels of shape ({len(x)},)", f"{labels.dtype} {labels.shape}"))
        if len(labels) and (labels.min() < 0 or labels.max() >= classes):
            raise ModelError(expected(f"labels in 0..{classes - 1}", (int(labels.min()), int(labels.max()))))
        one_hot = np.eye(classes, dtype=np.float32)[labels]
        return torch.from_numpy(one_hot).to(x.device)

    return Classifier(call=call, bounds=bounds, gives=Needs.LABELS)


def _check(fn: object) -> None:
    if not callable(fn):
        raise ConfigError(expected("a function from a numpy batch to predictions", fn))
