"""Estimators of scikit-learn and endpoints with coarse scores, beside the closed form of a linear model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from robustest import Linf, Verdict, scores_model
from robustest.measure import measure_robust_accuracy

linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn brings the estimators")

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.naive_bayes import MultinomialNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.svm import SVC, LinearSVC  # noqa: E402

EPS = 0.04
FITS: dict[str, Callable[[float], Any]] = {
    "logistic": lambda c: linear_model.LogisticRegression(C=c, max_iter=5000),
    "ridge": lambda c: linear_model.RidgeClassifier(alpha=1 / c),
    "sgd": lambda c: linear_model.SGDClassifier(alpha=1e-3 / c, random_state=0),
    "perceptron": lambda c: linear_model.Perceptron(penalty="l2", alpha=1e-3 / c, random_state=0),
    "svm": lambda c: LinearSVC(C=c, max_iter=5000),
    "machine": lambda c: SVC(kernel="linear", C=c),
    "discriminant": lambda c: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1 / (1 + c)),
    "counts": lambda c: MultinomialNB(alpha=1 / c),
    "identity": lambda c: MLPClassifier((8,), activation="identity", alpha=1 / c, max_iter=300, random_state=0),
}


def table(seed: int, columns: int) -> tuple[Any, Any, Any, Any]:
    draws = np.random.default_rng(seed)
    x = draws.random((400, columns)).astype(np.float32)
    y = ((x - 0.5) @ draws.normal(size=columns) + 0.1 * draws.normal(size=400) > 0).astype(int)
    return x[:300], y[:300], x[300:], y[300:]


def truth(model: Any, x: Any, y: Any) -> float:
    """The share of rows whose worst corner of the box is still right: the margin is affine in the input."""
    at, ends = np.zeros((1, x.shape[1])), np.eye(x.shape[1])
    if hasattr(model, "coef_"):
        weights, height = np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])
    elif hasattr(model, "coefs_"):
        weights, height = at, ends
        for each, offset in zip(model.coefs_, model.intercepts_, strict=True):
            weights, height = weights @ each + offset, height @ each + offset
        weights, height = np.ravel(height - weights), float(weights[0, 0])
    else:
        flat, prior = model.feature_log_prob_, model.class_log_prior_
        weights, height = flat[1] - flat[0], float(prior[1] - prior[0])
    sign = np.where(y == 1, 1, -1)[:, None]
    slope = sign * weights
    worst = np.where(slope > 0, np.clip(x - EPS, 0, 1), np.clip(x + EPS, 0, 1)).astype(np.float64)
    return float(((slope * worst).sum(1) + sign[:, 0] * height > 0).mean())


def check(fit: str, strength: float, columns: int) -> None:
    x, y, test, labels = table(0, columns)
    model = FITS[fit](strength).fit(x, y)
    true = truth(model, test, labels)
    found = measure_robust_accuracy(
        model, (test, labels), Linf(EPS), at_least=min(1.0, true + 0.03), exact=True, suppress=("constant_answer",)
    )
    assert found.estimate == pytest.approx(true, abs=0.01)
    assert found.verdict is not Verdict.PASSED


@pytest.mark.parametrize(("fit", "strength", "columns"), [("logistic", 1e6, 30), ("counts", 1.0, 5)])
def test_a_linear_model_is_broken_where_its_closed_form_says(fit: str, strength: float, columns: int) -> None:
    check(fit, strength, columns)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [5, 30, 100])
@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize("fit", FITS)
def test_every_linear_model_is_broken_where_its_closed_form_says(fit: str, strength: float, columns: int) -> None:
    check(fit, strength, columns)


COARSE: dict[str, Callable[[Any], Any]] = {
    **{f"{decimals} decimals": (lambda p, k=decimals: np.round(p, k)) for decimals in range(1, 7)},
    "saturated": lambda p: 1 / (1 + np.exp(-40 * np.clip(2 * p - 1, -0.4, 0.4) * 2.5)),
    "plateau": lambda p: np.clip(p, 0.3, 0.7),
}
FEW = 50  # rows of each cell of the grid below, which takes four CPU seconds


def never_green(coarse: str, seed: int, columns: int, *, image: bool = False) -> None:
    x, y, test, labels = table(seed, columns)
    model, test, labels = linear_model.LogisticRegression(C=100.0, max_iter=5000).fit(x, y), test[:FEW], labels[:FEW]
    true = truth(model, test, labels)
    endpoint = scores_model(lambda rows: COARSE[coarse](model.predict_proba(rows.reshape(len(rows), -1))))
    if image:
        test = test.reshape(FEW, 1, 4, -1)
    claim: Any = {"at_least": true + 0.03, "exact": True, "suppress": ("constant_answer",)}
    assert measure_robust_accuracy(endpoint, (test, labels), Linf(EPS), **claim).verdict is not Verdict.PASSED


def test_an_endpoint_that_rounds_to_one_decimal_is_never_green() -> None:
    never_green("1 decimals", 0, 40)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [8, 40])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("coarse", COARSE)
def test_no_endpoint_with_coarse_scores_is_green(coarse: str, seed: int, columns: int) -> None:
    never_green(coarse, seed, columns)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("coarse", COARSE)
def test_no_endpoint_with_coarse_scores_of_images_is_green(coarse: str, seed: int) -> None:
    never_green(coarse, seed, 64, image=True)


@pytest.mark.parametrize("fit", [RandomForestClassifier(20, random_state=0), KNeighborsClassifier(5)], ids=str)
def test_models_that_are_constant_by_nature_are_not_blind(fit: Any) -> None:
    x, y, test, _ = table(0, 8)
    model = fit.fit(x, y)
    data = test[:20], model.predict(test[:20])
    claim: Any = {"at_least": 0.5, "exact": True, "suppress": ("constant_answer",)}
    found = measure_robust_accuracy(scores_model(model.predict_proba), data, Linf(0.001), **claim)
    assert found.verdict is Verdict.PASSED
    assert not any(one["name"] == "blind_scores" for one in found.details["health"])
