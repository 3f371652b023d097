"""The thresholds of tree ensembles are all the places at which their answers change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from robustest import Columns, scores_model
from robustest.data.frames import Frames
from robustest.measure import measure_robust_accuracy
from robustest.models.classifier import Estimator
from robustest.models.trees import by_columns, cells_of, thresholds, through
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
    "two steps": make_pipeline(
        make_pipeline(MinMaxScaler((-1, 1)), QuantileTransformer(n_quantiles=20)),
        DecisionTreeClassifier(max_depth=4, random_state=0),
    ),
    "passed through": make_pipeline(
        make_column_transformer((StandardScaler(), [2]), remainder="passthrough"),
        DecisionTreeClassifier(max_depth=4, random_state=0),
    ),
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
        # A spike between any points that one could look at.
        make_pipeline(FunctionTransformer(lambda x: np.abs(x - X[3]) < 1e-6), DecisionTreeClassifier()),
        # A number that counts as missing is such a spike.
        make_pipeline(SimpleImputer(missing_values=0, fill_value=-50, strategy="constant"), DecisionTreeClassifier()),
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), DecisionTreeClassifier()),
        make_pipeline(KBinsDiscretizer(50, quantile_method="averaged_inverted_cdf"), DecisionTreeClassifier()),
    ],
)
def test_other_models_and_pipelines_have_no_cells(model: Any) -> None:
    assert cells_of(model.fit(X, Y), X[:2], MOVABLE) is None


ROOMS = pd.DataFrame({"job": RNG.choice(["x", "y"], 80), "rooms": RNG.integers(1, 9, 80).astype(float)})


def test_numbers_that_are_encoded_with_words_have_no_cells() -> None:
    """Behind an imputer both are objects, and each number has an output of its own."""
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    encoder = make_column_transformer((words, ["job", "rooms"]))
    tree = make_pipeline(encoder, DecisionTreeClassifier(random_state=0)).fit(ROOMS, ROOMS.rooms == 4)
    coding = Frames.of(ROOMS)
    rows = coding.encode(ROOMS)[:2].numpy()
    assert cells_of(tree, rows, [(coding.names.index("rooms"), 1.0, 8.0)], coding) is None
    assert by_columns(tree, coding) is None, "nor bounds"


@pytest.mark.parametrize("columns", [slice(0, 2), [0, 1]], ids=str)
def test_columns_may_be_chosen_by_a_slice(columns: Any) -> None:
    scaled = make_column_transformer((StandardScaler(), columns), remainder="passthrough")
    model = make_pipeline(scaled, DecisionTreeClassifier(max_depth=3, random_state=0)).fit(X, Y)
    assert cells_of(model, X[:2], MOVABLE) is not None


def test_thresholds_of_xgboost_hold_for_every_number() -> None:
    """It writes those of whole numbers rounded up, and a number that counts as missing goes its own way."""
    xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed: tox -e boosters")
    whole = pd.DataFrame((X * 9).astype(int), columns=list("abc"))
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1, tree_method="exact").fit(whole, Y)
    cells = cells_of(model, X[:2], MOVABLE)
    assert cells is not None
    grid = np.linspace(0, 9, 91, dtype=np.float32)
    for column in range(3):
        rows = np.repeat(whole.to_numpy(np.float32)[:1], len(grid), 0)
        rows[:, column] = grid
        answers = model.predict_proba(pd.DataFrame(rows, columns=list("abc")))[:, 1]
        for place in np.flatnonzero(answers[1:] != answers[:-1]):
            assert any(grid[place] <= t < grid[place + 1] for t in cells[column]), (column, grid[place])
    zero = xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1, missing=0).fit(X, Y)
    assert cells_of(zero, X[:2], MOVABLE) is None


def test_thresholds_of_wide_numbers_are_between_codes_of_the_frame() -> None:
    """Histograms compare float64: 5.35 is at most 5.35, and its code is above."""
    frame = pd.DataFrame({"x": np.round(RNG.normal(5, 1, 80), 1), "y": RNG.random(80) + 1})
    labels = ((frame.x * 10).round() % 2).astype(int)
    model = HistGradientBoostingClassifier(max_iter=9, min_samples_leaf=2, random_state=0).fit(frame, labels)
    coding = Frames.of(frame)
    cuts = cells_of(model, coding.encode(frame)[:2].numpy(), [(0, 2.0, 8.0)], coding)
    assert cuts is not None
    assert len(cuts[0]) > 3
    for code in np.array(cuts[0], np.float32):
        rows = coding.encode(frame)[:2]
        rows[:, 0] = torch.tensor([code, np.nextafter(code, np.float32(np.inf))])
        left, right = coding.decode(rows).x
        inner = [t for t in thresholds(model, 2)[0] if left <= t < right]
        assert inner, (left, right)


def test_a_forest_answers_as_its_own_method_does() -> None:
    for kind in (RandomForestClassifier, ExtraTreesClassifier):
        model = kind(7, random_state=0).fit(X, Y)
        assert np.array_equal(Estimator(model)(X), np.log(model.predict_proba(X).clip(1e-12)))


def test_a_tree_of_real_numbers_is_decided() -> None:
    """Its labels alone lead no search, and a region of real numbers has no end: its cells have."""
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, Y)
    threat = Columns({0: Within(-0.05, 0.05), 2: Within(-0.1, 0.1)})
    result = measure_robust_accuracy(model, (X, Y), threat, attack="fast", at_least=0.6, exact=True)
    assert result.verdict == "passed", result.rule
    assert list(result.details["changed"].values()) == [80], "also rows that stay in their cell"
    grid = np.stack(np.meshgrid(np.linspace(-0.05, 0.05, 41), np.linspace(-0.1, 0.1, 41)), -1).reshape(-1, 2)
    rows = np.repeat(X, len(grid), 0)
    rows[:, [0, 2]] = (rows[:, [0, 2]] + np.tile(grid, (len(X), 1)).astype(np.float32)).clip(0, 1)
    right = (model.predict(rows).reshape(len(X), -1) == Y[:, None]).all(1)
    assert result.estimate == pytest.approx(right.mean(), abs=1e-9)
    blind = scores_model(Estimator(model))
    few = measure_robust_accuracy(blind, (X[:9], Y[:9]), threat, attack="fast", at_least=0.1)
    assert few.verdict == "inconclusive"


def test_thresholds_behind_a_falling_step_are_found() -> None:
    inner = [[-0.25, -0.5], [], [0.125]]
    found = through(lambda rows: rows * np.array([-1, 1, 2], np.float32), inner, X[:2], MOVABLE)
    assert found is not None
    assert [one[:3] for one in found] == [[pytest.approx(0.25), pytest.approx(0.5)], [], [pytest.approx(0.0625)]]


def test_another_model_is_not_searched_by_the_cells_of_the_first() -> None:
    """The other tree changes between the thresholds of this one, whose cells would find nothing there."""
    x = np.concatenate([X[:8], np.array([[0.35, 0.2, 0.2]] * 6, np.float32)])
    steady = (x[:, 1] > 0.5).astype(int)
    one = DecisionTreeClassifier(random_state=0).fit(x, steady)
    far = np.concatenate([x, np.array([[0.37, 0.2, 0.2]] * 9, np.float32)])
    other = DecisionTreeClassifier(random_state=0).fit(far, np.concatenate([steady, [1] * 9]))
    threat, share = Columns({0: Within(-0.05, 0.05)}), {}
    share["alone"] = measure_robust_accuracy(other, (x, steady), threat, attack="fast", exact=True).estimate
    beside = measure_robust_accuracy(
        one, (x, steady), threat, attack="fast", exact=True, no_worse_than=other, suppress=("weak_search",)
    )
    assert beside.estimate == 1
    assert share["alone"] <= 0.8
    assert beside.details["baseline"]["accuracy"] == pytest.approx(share["alone"])


def test_a_region_that_is_enumerated_is_proven() -> None:
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, Y)
    threat = Columns({0: Within(-0.05, 0.05), 2: Within(-0.1, 0.1)})
    result = measure_robust_accuracy(model, (X, Y), threat, attack="fast", exact=True, certify="auto")
    assert result.details["proven"] == round(result.estimate * len(X)) > 10
    assert result.details["open"] == 0
    blind = scores_model(Estimator(model))
    assert measure_robust_accuracy(blind, (X[:9], Y[:9]), threat, attack="fast", certify="auto").details["proven"] == 0


def test_behind_a_preprocessing_a_tree_has_other_cells() -> None:
    """The stump's threshold is .5, and the preprocessing moves it to .3, inside the region of every sample."""
    x = np.array([[0.2], [0.8]], dtype=np.float32).repeat(20, 0)
    stump = DecisionTreeClassifier(max_depth=1).fit(x, np.array([0, 1]).repeat(20))
    few, label = np.full((20, 1), 0.25, dtype=np.float32), np.zeros(20, dtype=np.int64)
    result = measure_robust_accuracy(
        stump,
        (few, label),
        Columns({0: Within(-0.1, 0.1)}),
        attack="fast",
        at_least=0.5,
        bounds=(0.0, 1.0),
        preprocessing=lambda batch: batch + 0.2,
    )
    assert result.verdict == "failed"
