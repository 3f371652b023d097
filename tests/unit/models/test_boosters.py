"""LightGBM, XGBoost and CatBoost with categories of their own: red where a row breaks them, green where none can."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustest import Columns, Verdict, assert_no_spurious_feature
from robustest.cues import ColumnValue
from robustest.measure import measure_robust_accuracy
from robustest.threats import AnyOf, Whole

RNG = np.random.default_rng(0)
N = 240
ROWS = pd.DataFrame(
    {
        "job": pd.Categorical(RNG.choice(["boss", "clerk", "cook"], N), categories=["boss", "clerk", "cook", "pilot"]),
        "age": RNG.integers(20, 70, N),
        "tenure": RNG.integers(0, 20, N),
        "gap": np.where(RNG.random(N) > 0.2, RNG.random(N), np.nan),
    }
)
LABELS = np.where((ROWS.age > 45) | (ROWS.job == "boss"), "yes", "no")
TEST = ROWS[:30]


def lightgbm() -> Any:
    library = pytest.importorskip("lightgbm", reason="LightGBM is not installed: tox -e boosters")
    model = library.LGBMClassifier(n_estimators=20, num_leaves=6, min_child_samples=5, n_jobs=1, verbose=-1)
    return model.fit(ROWS, LABELS)


class Named:
    """XGBoost's classifier, which takes numbers for classes, with the names of the labels."""

    def __init__(self, model: Any, classes: Any) -> None:
        self.model, self.classes_ = model, classes

    def fit(self, x: Any, y: Any) -> Any:
        raise NotImplementedError

    def predict(self, x: Any) -> Any:
        return self.classes_[self.model.predict(x)]

    def predict_proba(self, x: Any) -> Any:
        return self.model.predict_proba(x)


def xgboost() -> Any:
    library = pytest.importorskip("xgboost", reason="XGBoost is not installed: tox -e boosters")
    model = library.XGBClassifier(n_estimators=20, max_depth=3, n_jobs=1, enable_categorical=True, tree_method="hist")
    return Named(model.fit(ROWS, (LABELS == "yes").astype(int)), np.array(["no", "yes"]))


def catboost() -> Any:
    library = pytest.importorskip("catboost", reason="CatBoost is not installed: tox -e boosters")
    model = library.CatBoostClassifier(
        iterations=30, depth=3, cat_features=["job"], thread_count=1, verbose=0, allow_writing_files=False
    )
    return model.fit(ROWS, LABELS)


BOOSTERS = {"lightgbm": lightgbm, "xgboost": xgboost, "catboost": catboost}


def truth(model: Any, steps: range, jobs: list[str]) -> np.ndarray:
    """Return (N,) bool: no change of the age by these steps, of the job to these, or of both, changes the answer."""
    held = np.ravel(model.predict(TEST)) == LABELS[:30]
    for step, job in itertools.product(steps, [None, *jobs]):
        age = (TEST.age + step).clip(ROWS.age[:30].min(), ROWS.age[:30].max())
        new = TEST.assign(age=age)
        if job is not None:
            new["job"] = pd.Categorical([job] * 30, categories=ROWS.job.cat.categories)
        held &= np.ravel(model.predict(new)) == LABELS[:30]
    return held


@pytest.mark.parametrize("name", BOOSTERS)
def test_the_share_that_holds_is_that_of_all_rows(name: str) -> None:
    """Also with a category that no row has."""
    model = BOOSTERS[name]()
    held = truth(model, range(-3, 4), ["clerk", "cook", "pilot"])
    assert 0.1 < held.mean() < 0.9
    threat = Columns({"age": Whole(3), "job": AnyOf("clerk", "cook", "pilot")})
    found = measure_robust_accuracy(model, (TEST, LABELS[:30]), threat, attack="fast", exact=True)
    assert found.estimate == pytest.approx(held.mean())
    at_least = {"attack": "fast", "at_least": held.mean()}
    green = measure_robust_accuracy(model, (TEST, LABELS[:30]), threat, **at_least)
    assert green.verdict is Verdict.PASSED
    red = measure_robust_accuracy(model, (TEST, LABELS[:30]), threat, attack="fast", at_least=held.mean() + 0.02)
    assert red.verdict is Verdict.FAILED
    names = {line[0] for one in red.counterexamples for line in (one.changes or {})["table"]}  # type: ignore[index]
    assert names <= {"age", "job"}


@pytest.mark.parametrize("name", BOOSTERS)
def test_cues_are_switched_in_the_categories_of_the_model(name: str) -> None:
    model = BOOSTERS[name]()
    with pytest.raises(AssertionError, match="flip rate"):
        assert_no_spurious_feature(model, (TEST, LABELS[:30]), ColumnValue("job", "boss", "cook"), max_flip_rate=0.1)
    assert_no_spurious_feature(model, (TEST, LABELS[:30]), ColumnValue("gap", None, 0.5), max_flip_rate=0.1)
