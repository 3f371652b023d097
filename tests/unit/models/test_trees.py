"""The thresholds of tree ensembles are all the places at which their answers change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from robustest import Columns, scores_model
from robustest.measure import measure_robust_accuracy
from robustest.models.classifier import Estimator
from robustest.models.trees import cells_of
from robustest.threats import Within

RNG = np.random.default_rng(0)
X = RNG.random((80, 3)).astype(np.float32)
Y = ((X[:, 0] > 0.4) ^ (X[:, 1] + 0.3 * X[:, 2] > 0.6)).astype(np.int64)
MOVABLE = [(at, 0.0, 1.0) for at in range(3)]
MODELS: dict[str, Any] = {
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
    "forest": RandomForestClassifier(4, max_depth=3, random_state=0),
    "extra trees": ExtraTreesClassifier(4, max_depth=3, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=4, random_state=0),
    "histograms": HistGradientBoostingClassifier(max_iter=4, random_state=0),
    "scaled": make_pipeline(StandardScaler(), RandomForestClassifier(4, max_depth=3, random_state=0)),
    "falling": make_pipeline(FunctionTransformer(np.negative), DecisionTreeClassifier(max_depth=4, random_state=0)),
    "bins": make_pipeline(
        KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
        DecisionTreeClassifier(max_depth=4, random_state=0),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_between_two_thresholds_a_model_is_constant(name: str) -> None:
    model = MODELS[name].fit(X, Y)
    cells = cells_of(model, X[:2], MOVABLE)
    assert cells is not None
    grid = np.linspace(0, 1, 2001, dtype=np.float32)
    for column in range(3):
        rows = np.repeat(X[:1], len(grid), 0)
        rows[:, column] = grid
        answers = model.predict_proba(rows)[:, 1]
        at = np.flatnonzero(answers[1:] != answers[:-1])
        for place in at:  # a threshold in x_i <= t < x_(i + 1)
            assert any(grid[place] <= t < grid[place + 1] for t in cells[column]), (column, grid[place])
    assert sum(map(len, cells)) < 200


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(FunctionTransformer(lambda x: x - x.mean(1, keepdims=True)), DecisionTreeClassifier()),
        make_pipeline(FunctionTransformer(lambda x: np.sin(20 * x)), DecisionTreeClassifier()),
    ],
)
def test_other_models_and_pipelines_have_no_cells(model: Any) -> None:
    assert cells_of(model.fit(X, Y), X[:2], MOVABLE) is None


def test_a_forest_answers_as_its_own_method_does() -> None:
    for kind in (RandomForestClassifier, ExtraTreesClassifier):
        model = kind(7, random_state=0).fit(X, Y)
        assert np.array_equal(Estimator(model)(X), np.log(model.predict_proba(X).clip(1e-12)))


def test_a_tree_of_real_numbers_is_decided() -> None:
    """Its labels alone lead no search, and a region of real numbers has no end: its cells have."""
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, Y)
    threat = Columns({0: Within(-0.05, 0.05), 2: Within(-0.1, 0.1)})
    result = measure_robust_accuracy(model, (X, Y), threat, attack="fast", at_least=0.1, exact=True)
    assert result.verdict == "passed"
    grid = np.stack(np.meshgrid(np.linspace(-0.05, 0.05, 81), np.linspace(-0.1, 0.1, 81)), -1).reshape(-1, 2)
    rows = np.repeat(X, len(grid), 0)
    rows[:, [0, 2]] = (rows[:, [0, 2]] + np.tile(grid, (len(X), 1)).astype(np.float32)).clip(0, 1)
    right = (model.predict(rows).reshape(len(X), -1) == Y[:, None]).all(1)
    assert result.estimate == pytest.approx(right.mean(), abs=1e-9)
    blind = scores_model(Estimator(model))
    assert measure_robust_accuracy(blind, (X, Y), threat, attack="fast", at_least=0.1).verdict == "inconclusive"
