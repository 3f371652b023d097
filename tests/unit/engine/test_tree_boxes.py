"""Rows of tree ensembles in boxes are broken by an input of the model's own, or no input of the box breaks them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="scikit-learn brings the estimators")

from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from robustest import Linf, Verdict
from robustest.attacks import Square
from robustest.bounds.operations import NoBound
from robustest.bounds.tables import Ensemble, escapes_of
from robustest.measure import measure_robust_accuracy

MODELS: dict[str, Any] = {
    "tree": DecisionTreeClassifier(max_depth=6, random_state=0),
    "forest": RandomForestClassifier(15, max_depth=6, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=12, random_state=0),
    "stumps": GradientBoostingClassifier(n_estimators=30, max_depth=1, random_state=0),
    "histograms": HistGradientBoostingClassifier(max_iter=12, random_state=0),
    "adaboost": AdaBoostClassifier(n_estimators=20, random_state=0),
    "adaboost of trees": AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=12, random_state=0),
}
EPS = 0.06


def table(classes: int, columns: int = 4) -> tuple[Any, Any]:
    draws = np.random.default_rng(classes)
    x = draws.random((300, columns)).astype(np.float32)
    lead = (x - 0.5) @ draws.normal(size=columns) + 0.1 * draws.normal(size=300)
    return x, np.digitize(lead, np.quantile(lead, np.arange(1, classes) / classes))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_broken_by_the_model_itself_or_by_no_input_of_its_box(name: str, classes: int) -> None:
    x, y = table(classes)
    model = MODELS[name].fit(x[:200], y[:200])
    rows = x[200:260]
    said = model.predict(rows)
    low, high = np.clip(rows - EPS, 0, 1), np.clip(rows + EPS, 0, 1)
    found = escapes_of(model, *(torch.from_numpy(one) for one in (rows, said, low, high)))
    made, proven, broken = found.x.numpy(), found.proven.numpy(), found.found.numpy()
    assert (broken ^ proven).mean() > 0.95
    assert 0 < broken.sum() < len(rows)
    assert ((made >= low) & (made <= high)).all()
    assert (model.predict(made)[broken] != said[broken]).mean() > 0.95
    draws = low + (high - low) * np.random.default_rng(0).random((400, *rows.shape)).astype(np.float32)
    ends = np.where(np.random.default_rng(1).random(draws.shape) < 0.5, low, high)
    for points in (draws, ends):
        answers = model.predict(points.reshape(-1, rows.shape[1])).reshape(len(points), -1)
        assert not (answers != said).any(0)[proven].any()


def test_a_box_that_ends_at_a_threshold_does_not_cross_it() -> None:
    x = np.array([[0.0], [1.0]], dtype=np.float32)
    model = DecisionTreeClassifier().fit(x, [0, 1])  # x <= .5
    at, above = np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(1))
    rows, label, low = torch.tensor([[0.4], [0.4]]), torch.tensor([0, 0]), torch.zeros(2, 1)
    found = escapes_of(model, rows, label, low, torch.tensor([[at], [above]]))
    assert found.proven.tolist() == [True, False]
    assert found.x[1].item() == above


def test_sums_of_stumps_have_one_tree_a_column() -> None:
    x, y = table(2)
    model = MODELS["stumps"].fit(x, y)
    ensemble = Ensemble.of(model)
    assert ensemble is not None
    assert len(ensemble.starts) == len({int(tree.column[0]) for tree in ensemble.trees})


def test_other_models_are_not_read() -> None:
    x, y = table(2)
    with pytest.raises(NoBound, match="LogisticRegression is no tree ensemble"):
        escapes_of(LogisticRegression().fit(x, y), *(torch.from_numpy(one) for one in (x, y, x, x)))


def test_a_cascade_breaks_what_queries_miss_and_decides_the_rest() -> None:
    x, y = table(2, 30)
    model = RandomForestClassifier(20, random_state=0).fit(x[:200], y[:200])
    data: Any = x[200:224], model.predict(x[200:224])
    claim: Any = {"exact": True, "cache": False}
    read = measure_robust_accuracy(model, data, Linf(0.04), **claim)
    queried = measure_robust_accuracy(model, data, Linf(0.04), attack=Square(queries=100), **claim)
    assert read.estimate is not None
    assert queried.estimate is not None
    assert read.estimate < queried.estimate
    assert "tree-leaves" in read.details["stages"]
    assert "tree-leaves" not in queried.details["stages"], "one attack that a user chose runs alone"


def test_a_tree_whose_scores_are_its_labels_is_decided() -> None:
    x, y = table(2)
    model = DecisionTreeClassifier(random_state=0).fit(x[:200], y[:200])
    data: Any = x[200:260], model.predict(x[200:260])
    found = measure_robust_accuracy(model, data, Linf(0.02), at_least=0.7, exact=True, cache=False)
    assert found.verdict is Verdict.PASSED


def test_an_estimator_with_a_method_of_another_s_is_not_read() -> None:
    x, y = table(2)
    model = RandomForestClassifier(5, random_state=0).fit(x, y)
    own = model.predict_proba
    model.predict_proba = lambda rows: np.where(np.asarray(rows)[:, :1] > 0.99, own(rows)[:, ::-1], own(rows))
    with pytest.raises(NoBound, match="is no tree ensemble"):
        escapes_of(model, *(torch.from_numpy(one) for one in (x, y, x, x)))
