"""Estimators of scikit-learn, and what has their methods: what `predict` says is the answer, scores lead the search."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.errors import ConfigError, expected
from robustest.models.needs import Needs


def is_estimator(model: object) -> bool:
    """Whether a model predicts as estimators of scikit-learn do."""
    return not callable(model) and callable(getattr(model, "predict", None)) and hasattr(model, "fit")


class Estimator:
    """A fitted classifier or pipeline as a function from an array (B, D) to scores (B, K) or labels (B,).

    Attributes:
        classes: its labels, in the order of the columns of its scores.
        gives: scores where it has them, labels alone elsewhere.

    Args:
        model: a fitted classifier.

    Raises:
        ConfigError: it is not fitted, or no classifier of two classes or more.
    """

    def __init__(self, model: Any) -> None:
        classes = _classes(model)
        self.model = model
        self.classes = tuple(classes.tolist())
        self._score = next((name for name in ("predict_proba", "decision_function") if _has(model, name)), "")
        self.gives = Needs.SCORES if self._score else Needs.LABELS

    def __call__(self, x: NDArray[np.float32]) -> NDArray[Any]:
        rows = self._rows(x)
        place = {label: index for index, label in enumerate(self.classes)}
        answer = np.array([place[label] for label in np.asarray(self.model.predict(rows)).tolist()], dtype=np.int64)
        if not self._score:
            return answer
        scores = np.asarray(getattr(self.model, self._score)(rows), dtype=np.float64)
        if scores.ndim == 1:  # a margin of two classes
            scores = np.stack([-scores, scores], 1)
        if self._score == "predict_proba":
            scores = np.log(scores.clip(1e-12))
        return _led_by(answer, scores)

    def _rows(self, x: NDArray[np.float32]) -> Any:
        """Rows as it was fitted on: a frame, where its columns have names."""
        flat = x.reshape(len(x), -1)
        names = getattr(self.model, "feature_names_in_", None)
        if names is None:
            return flat
        pandas = import_module("pandas")  # whoever fitted on a frame has it
        return pandas.DataFrame(flat, columns=list(names))


def _classes(model: Any) -> NDArray[Any]:
    name = type(model).__name__
    kind = getattr(model, "_estimator_type", None) or getattr(_tags(model), "estimator_type", None)
    if kind not in (None, "classifier"):
        mend = "robustest judges which class is predicted: bin the target, or claim it with task=."
        raise ConfigError(expected("a classifier", f"{name}, a {kind}", mend))
    try:
        classes = np.asarray(model.classes_)
    except AttributeError:
        raise ConfigError(expected("a fitted classifier with classes_", name, "Call fit(x, y) first.")) from None
    if classes.ndim != 1 or len(classes) < 2:
        raise ConfigError(expected("a classifier of one label a sample and two classes or more", name))
    return classes


def _tags(model: Any) -> Any:
    told = getattr(model, "__sklearn_tags__", None)
    try:
        return None if told is None else told()
    except Exception:  # an estimator of an older protocol; classes_ then decide
        return None


def _has(model: Any, name: str) -> bool:
    try:
        return callable(getattr(model, name, None))
    except AttributeError:  # what a pipeline's last step has not
        return False


def _led_by(answer: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores whose largest is that of the answer: what an estimator predicts need not be what its scores say."""
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, answer] = -np.inf
    behind = scores[rows, answer] <= others.max(1)
    scores[rows[behind], answer[behind]] = np.nextafter(others.max(1)[behind].astype(np.float32), np.float32(np.inf))
    return scores
