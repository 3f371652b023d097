"""Checks of a reply's numbers: scores, probabilities or labels, one per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest import Classifier, as_classifier, labels_model, scores_model
from robustest.errors import ConfigError, ModelError, expected
from robustest_http.endpoint import Connection, Endpoint

Gives = Literal["scores", "probabilities", "labels"]
GIVES = ("scores", "probabilities", "labels")

# Largest distance of a sum of probabilities from 1: servers round them.
_SUM_OFF = 1e-2


class ModelOptions(Connection, total=False):
    """Arguments of every model."""

    # The server's answers: "scores" (B, K >= 2), larger for likelier classes; "probabilities" (B, K >= 2), whose
    # logarithm is taken; "labels" (B,) or (B, 1), whole numbers.
    gives: Gives
    classes: int | None  # number of classes, for labels
    bounds: tuple[float, float]  # smallest and largest input value; (0, 1) by default
    preprocessing: Any  # (mean, std) per channel, or a function of a batch, applied before sending
    max_queries: int | None  # largest number of queries per sample, as for `robustest.scores_model`


def model_at(
    url: str,
    predictor: Callable[[Endpoint, Gives], Callable[[Any], NDArray[Any]]],
    *,
    gives: Gives = "scores",
    classes: int | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    preprocessing: Any = None,
    max_queries: int | None = None,
    **connection: Unpack[Connection],
) -> Classifier:
    """Return a model with scores, or with labels if `classes` is given.

    Args:
        url: the server.
        predictor: function from the connection and the meaning of the numbers to a function of batches.
        gives, classes, bounds, preprocessing, max_queries, **connection: as `ModelOptions` describes them.

    Raises:
        ConfigError: an argument is invalid. Nothing is sent.
    """
    if gives not in GIVES:
        raise ConfigError(expected(f"gives to be one of {', '.join(GIVES)}", gives))
    if (gives == "labels") != (classes is not None):
        raise ConfigError(expected("classes=, the number of classes, with gives='labels' and only then", classes))
    predict = predictor(Endpoint(url, **connection), gives)
    if classes is None:
        model = scores_model(predict, bounds=bounds, max_queries=max_queries)
    else:
        model = labels_model(predict, classes=classes, bounds=bounds, max_queries=max_queries)
    return as_classifier(model, preprocessing=preprocessing)


def check_names(*, model: object, **others: object) -> None:
    """Raise ConfigError if the name of a model, or another name that is not None, is no text."""
    for name, value in {"model": model, **{name: value for name, value in others.items() if value is not None}}.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(expected(f"{name} to be a name", value))


def reshaped(x: NDArray[Any], shape: Sequence[int] | None) -> NDArray[Any]:
    """Return samples (B, *S) as (B, *shape); raise ConfigError if they do not fit."""
    if shape is None:
        return x
    if math.prod(shape) != math.prod(x.shape[1:]):
        raise ConfigError(expected(f"shape to hold a sample, {math.prod(x.shape[1:])} numbers, {x.shape[1:]}", shape))
    return x.reshape(len(x), *shape)


def answers(value: object, n: int, gives: Gives) -> NDArray[Any]:
    """Return scores (n, K) or labels (n,), in the form that robustest takes.

    Args:
        value: nested lists or an array of numbers: (n, K) scores or probabilities; (n,) or (n, 1) labels.
        n: number of samples in the request.
        gives: meaning of the numbers.

    Raises:
        ModelError: the numbers have another shape or meaning.
    """
    try:
        found = np.asarray(value)
    except ValueError:  # lists of different lengths
        raise ModelError("numbers in rows of one length but got rows of several lengths") from None
    if gives == "labels" and found.shape == (n, 1):
        found = found[:, 0]
    shape = f"({n},)" if gives == "labels" else f"({n}, K >= 2)"
    right = found.shape == (n,) if gives == "labels" else found.ndim == 2 and len(found) == n and found.shape[1] >= 2
    if not right:
        raise ModelError(f"{gives} of shape {shape} but got {found.shape}")
    if found.dtype.kind not in "fiu":
        raise ModelError(f"{gives} that are numbers but got, for example, {found.flat[0]!r} ({found.dtype})")
    if not np.isfinite(found).all():
        raise ModelError(f"finite {gives} but got NaN or infinite ones (sample {_first(found)} of {n})")
    if gives == "probabilities":
        return _logarithms(found)
    if gives == "labels" and found.dtype.kind == "f":
        if (found != np.rint(found)).any():
            raise ModelError("labels that are whole numbers but got others")
        return found.astype(np.int64)
    return found


def _logarithms(found: NDArray[Any]) -> NDArray[Any]:
    found = found.astype(np.float64)
    if (found < 0).any() or (np.abs(found.sum(1) - 1) > _SUM_OFF).any():
        raise ModelError("probabilities >= 0 that add up to 1 but got others")
    # An attack needs margins that it can climb: probabilities near 0 and 1 hardly change. The smallest float32
    # replaces 0.
    logarithms: NDArray[Any] = np.log(np.maximum(found, np.finfo(np.float32).tiny))
    return logarithms


def _first(found: NDArray[Any]) -> int:
    return int(np.argwhere(~np.isfinite(found))[0, 0])
