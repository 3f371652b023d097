"""Estimators of scikit-learn, beside closed forms and enumerated cells, and endpoints with coarse scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from robustest import Linf, Verdict, scores_model
from robustest.measure import measure_robust_accuracy

linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn brings the estimators")

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.naive_bayes import GaussianNB, MultinomialNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.svm import SVC, LinearSVC  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

EPS = 0.04
# Much regularised, some fits answer one class everywhere in [0, 1].
CONSTANT = ("constant_answer", "unbounded_attack_fails")
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
    "centroids": lambda c: NearestCentroid(shrink_threshold=0.1 / (1 + c)),
    "gaussian": lambda c: GaussianNB(var_smoothing=1e-2 / c),
    "tree": lambda c: DecisionTreeClassifier(ccp_alpha=1e-2 / (1 + c), random_state=0),
    "adaboost": lambda c: AdaBoostClassifier(n_estimators=30, learning_rate=c / (1 + c), random_state=0),
    "stumps": lambda c: GradientBoostingClassifier(
        n_estimators=60, max_depth=1, learning_rate=0.02 + 0.3 * c / (1 + c)
    ),
    "histograms": lambda c: HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=2, l2_regularization=1 / c),
}


def table(seed: int, columns: int) -> tuple[Any, Any, Any, Any]:
    draws = np.random.default_rng(seed)
    x = draws.random((400, columns)).astype(np.float32)
    y = ((x - 0.5) @ draws.normal(size=columns) + 0.1 * draws.normal(size=400) > 0).astype(int)
    return x[:300], y[:300], x[300:], y[300:]


def truth(model: Any, x: Any, y: Any) -> float:
    """The share of rows that are right everywhere in their box, by closed forms or by the cells between thresholds."""
    low, high = np.clip(x.astype(np.float64) - EPS, 0, 1), np.clip(x.astype(np.float64) + EPS, 0, 1)
    if isinstance(model, DecisionTreeClassifier):
        return float(np.mean([reached(model.tree_, *box) == {label} for *box, label in zip(low, high, y, strict=True)]))
    sign = np.where(y == 1, 1, -1)
    if isinstance(model, GaussianNB):
        worst = worst_of_parabolas(model, sign, low, high)
    elif hasattr(model, "estimators_") or hasattr(model, "_predictors"):
        worst = worst_of_stumps(model, sign, low, high)
    else:
        weights, height = line(model, x.shape[1])
        slope = sign[:, None] * weights
        worst = (slope * np.where(slope > 0, low, high)).sum(1) + sign * height
    return float((worst > 0).mean())


def line(model: Any, columns: int) -> tuple[Any, float]:
    """The weights and the height of a margin that is affine in the input."""
    if hasattr(model, "coef_"):
        return np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])
    if hasattr(model, "centroids_"):
        own, other = model.centroids_.astype(np.float64)
        return 2 * (other - own), float(own @ own - other @ other)
    if hasattr(model, "feature_log_prob_"):
        flat, prior = model.feature_log_prob_, model.class_log_prior_
        return flat[1] - flat[0], float(prior[1] - prior[0])
    at, ends = np.zeros((1, columns)), np.eye(columns)
    for each, offset in zip(model.coefs_, model.intercepts_, strict=True):
        at, ends = at @ each + offset, ends @ each + offset
    return np.ravel(ends - at), float(at[0, 0])


def worst_of_parabolas(model: Any, sign: Any, low: Any, high: Any) -> Any:
    """The margin of naive Bayes is a sum of parabolas, least at an end of each box or at the vertex."""
    (own, other), (wide, narrow) = model.theta_, model.var_
    curve, slope = 1 / wide - 1 / narrow, other / narrow - own / wide
    flat = (own**2 / wide - other**2 / narrow + np.log(wide / narrow)) / 2
    vertex = np.clip(np.where(curve == 0, 0.0, -slope / np.where(curve == 0, 1.0, curve)), low, high)
    values = [sign[:, None] * (curve * at**2 / 2 + slope * at + flat) for at in (low, high, vertex)]
    return np.min(values, 0).sum(1) + sign * np.log(model.class_prior_[1] / model.class_prior_[0])


def worst_of_stumps(model: Any, sign: Any, low: Any, high: Any) -> Any:
    """The margin is a sum over columns, each constant between two thresholds: its values are looked up in the model."""
    if hasattr(model, "_predictors"):
        nodes = np.concatenate([one.nodes[:1] for stage in model._predictors for one in stage])
        pairs = list(zip(nodes["feature_idx"].tolist(), nodes["num_threshold"].tolist(), strict=True))
    else:
        trees = [one.tree_ for one in np.ravel(model.estimators_)]
        assert all(tree.max_depth == 1 for tree in trees)
        pairs = [(int(tree.feature[0]), float(tree.threshold[0])) for tree in trees]
    base = np.full((1, low.shape[1]), 0.5, dtype=np.float32)
    at_base = float(model.decision_function(base)[0])
    worst = sign * at_base
    for column in {at for at, _ in pairs}:
        cuts = np.unique([cut for at, cut in pairs if at == column])
        cells = np.concatenate([[cuts[0] - 1], (cuts[1:] + cuts[:-1]) / 2, [cuts[-1] + 1]])
        rows = np.repeat(base, len(cells), 0)
        rows[:, column] = cells
        values = sign[:, None] * (model.decision_function(rows) - at_base)
        inside = (high[:, column, None] > np.r_[-np.inf, cuts]) & (low[:, column, None] <= np.r_[cuts, np.inf])
        worst = worst + np.where(inside, values, np.inf).min(1)
    return worst


def reached(tree: Any, low: Any, high: Any, node: int = 0) -> set[int]:
    """The classes of a tree's leaves that a box meets."""
    if tree.children_left[node] < 0:
        return {int(tree.value[node, 0].argmax())}
    column, cut = tree.feature[node], tree.threshold[node]
    left = reached(tree, low, high, tree.children_left[node]) if low[column] <= cut else set()
    return left | (reached(tree, low, high, tree.children_right[node]) if high[column] > cut else set())


def check(fit: str, strength: float, columns: int) -> None:
    x, y, test, labels = table(0, columns)
    model = FITS[fit](strength).fit(x, y)
    true = truth(model, test, labels)
    for claimed in (min(1.0, true + 0.03), true - 0.02):
        if claimed <= 0:
            continue
        found = measure_robust_accuracy(
            model, (test, labels), Linf(EPS), at_least=claimed, exact=True, suppress=CONSTANT
        )
        assert found.estimate == pytest.approx(true, abs=0.01)
        assert (found.verdict is Verdict.PASSED) is (claimed < true), (claimed, found.details["health"])


@pytest.mark.parametrize(
    ("fit", "strength", "columns"),
    [
        ("counts", 1.0, 5),
        ("gaussian", 1.0, 30),
        pytest.param("logistic", 1e6, 30, marks=pytest.mark.slow),
        pytest.param("stumps", 1.0, 30, marks=pytest.mark.slow),
    ],
)
def test_a_model_is_broken_where_its_closed_form_says(fit: str, strength: float, columns: int) -> None:
    check(fit, strength, columns)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [5, 30, 100])
@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize("fit", FITS)
def test_every_model_is_broken_where_its_closed_form_says(fit: str, strength: float, columns: int) -> None:
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


def remembered(model: Any, eps: float, digits: int) -> Any:
    """An endpoint that answers by its input rounded to a grid, as a cache by a rounded key does."""
    grid = eps / digits
    return scores_model(lambda rows: model.predict_proba((np.round(rows / grid) * grid).astype(np.float32)))


def never_green_by_memory(per_eps: int, seed: int, columns: int) -> None:
    x, y, test, labels = table(seed, columns)
    model, test, labels = linear_model.LogisticRegression(C=100.0, max_iter=5000).fit(x, y), test[:FEW], labels[:FEW]
    grid = EPS / per_eps
    # The truth: of each column the worst value of the grid that an input inside the box is rounded to.
    low, high = (np.round(np.clip(test + step, 0, 1) / grid) * grid for step in (-EPS, EPS))
    sign = np.where(labels == 1, 1, -1)
    weights, height = line(model, columns)
    slope = sign[:, None] * weights
    true = float(((slope * np.where(slope > 0, low, high)).sum(1) + sign * height > 0).mean())
    claim: Any = {"at_least": min(1.0, true + 0.03), "exact": True, "suppress": ("constant_answer",)}
    found = measure_robust_accuracy(remembered(model, EPS, per_eps), (test, labels), Linf(EPS), **claim)
    assert found.verdict is not Verdict.PASSED, (found.estimate, true)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [8, 40])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("per_eps", [1, 2, 5])
def test_no_endpoint_that_remembers_rounded_inputs_is_green(per_eps: int, seed: int, columns: int) -> None:
    never_green_by_memory(per_eps, seed, columns)


@pytest.mark.parametrize("fit", [RandomForestClassifier(20, random_state=0), KNeighborsClassifier(5)], ids=str)
def test_models_that_are_constant_by_nature_are_not_blind(fit: Any) -> None:
    x, y, test, _ = table(0, 8)
    model = fit.fit(x, y)
    data = test[:20], model.predict(test[:20])
    claim: Any = {"at_least": 0.5, "exact": True, "suppress": ("constant_answer",)}
    found = measure_robust_accuracy(scores_model(model.predict_proba), data, Linf(0.001), **claim)
    assert found.verdict is Verdict.PASSED
    assert not any(one["name"] == "blind_scores" for one in found.details["health"])
