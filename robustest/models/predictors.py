"""Predictors that are no torch modules: numpy in, scores or labels out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.checks import checked_whole
from robustest.errors import ConfigError, ModelError, expected
from robustest.models.classifier import Classifier, as_classifier
from robustest.models.estimators import Estimator
from robustest.models.needs import Needs

Predict = Callable[[NDArray[np.float32]], Any]


def scores_model(
    fn: Predict, *, bounds: tuple[float, float] = (0.0, 1.0), max_queries: int | None = None
) -> Classifier:
    """A model that gives scores and no gradients: attacks that need gradients are left out.

    Args:
        fn: maps a float32 array (B, *S) to real scores (B, K >= 2), larger for likelier classes; logits serve best.
            The array is a copy that it may change.
        bounds: smallest and largest input value.
        max_queries: most queries that may be spent on one sample, those around the attack included; attacks are
            shortened or left out until they fit. None: as many as the attack takes.

    Raises:
        ConfigError: fn cannot be called, bounds make no sense, or max_queries < 1.
    """
    _check(fn, max_queries)

    def call(x: Tensor) -> Tensor:
        scores = _answer(fn, x)
        if scores.ndim != 2 or scores.shape[1] < 2 or scores.dtype.kind not in "fiub":
            mend = "One column a class."
            raise ModelError(expected("real scores of shape (B, K >= 2)", f"{scores.dtype} {scores.shape}", mend))
        return torch.from_numpy(_as_float32(scores)).to(x.device)

    return as_classifier(Classifier(call=call, gives=Needs.SCORES, max_queries=max_queries), bounds=bounds)


def labels_model(
    fn: Predict, *, classes: int, bounds: tuple[float, float] = (0.0, 1.0), max_queries: int | None = None
) -> Classifier:
    """A model that gives class labels alone: only attacks that need no more are used.

    Args:
        fn: maps a float32 array (B, *S) to integer labels (B,) in 0..classes-1. The array is a copy that it may change.
        classes: number of classes, >= 2.
        bounds: smallest and largest input value.
        max_queries: as for `scores_model`.

    Raises:
        ConfigError: fn cannot be called, classes < 2, bounds make no sense, or max_queries < 1.
    """
    _check(fn, max_queries)
    checked_whole("classes", classes, 2)

    def call(x: Tensor) -> Tensor:
        labels = _answer(fn, x)
        if labels.shape != (len(x),) or labels.dtype.kind not in "iu":
            raise ModelError(expected(f"integer labels of shape ({len(x)},)", f"{labels.dtype} {labels.shape}"))
        if len(labels) and (labels.min() < 0 or labels.max() >= classes):
            raise ModelError(expected(f"labels in 0..{classes - 1}", (int(labels.min()), int(labels.max()))))
        # 1 for the label and -1 for the others: 0 and 1 would look like probabilities.
        return torch.from_numpy(2 * np.eye(classes, dtype=np.float32)[labels] - 1).to(x.device)

    return as_classifier(Classifier(call=call, gives=Needs.LABELS, max_queries=max_queries), bounds=bounds)


def estimator_model(model: object) -> Classifier:
    """A fitted classifier of scikit-learn, or a pipeline that ends in one; `predict` says what it answers.

    Raises:
        ConfigError: it is not fitted, or no classifier of two classes or more.
    """
    fn = Estimator(model)
    made = scores_model(fn) if fn.gives is Needs.SCORES else labels_model(fn, classes=len(fn.classes))
    names = tuple(map(str, fn.classes)) if any(isinstance(label, str) for label in fn.classes) else ()
    return replace(made, classes=names, labels=fn.classes)


def _check(fn: object, max_queries: object) -> None:
    if not callable(fn) or isinstance(fn, type):
        raise ConfigError(expected("a function from a numpy batch to predictions", fn))
    if max_queries is not None and (type(max_queries) is not int or max_queries < 1):
        raise ConfigError(expected("max_queries to be None or a whole number >= 1", max_queries))


def _answer(fn: Predict, x: Tensor) -> NDArray[Any]:
    answer = fn(x.detach().to("cpu", torch.float32, copy=True).numpy())
    return np.asarray(answer.detach().cpu() if isinstance(answer, Tensor) else answer)


def _as_float32(scores: NDArray[Any]) -> NDArray[np.float32]:
    """Scores whose largest stays the largest where float32 could not tell it from another."""
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        out = scores.astype(np.float32)
    first = scores.argmax(1)
    tied = (out.argmax(1) != first).nonzero()[0]
    out[tied, first[tied]] = np.nextafter(out[tied, first[tied]], np.float32(np.inf))
    return out
