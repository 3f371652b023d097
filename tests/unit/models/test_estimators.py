"""Estimators of scikit-learn, taken as they are: what predict says is the answer, whatever the scores say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustest import ConfigError, DataError, Linf, Verdict
from robustest.attacks import Square
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy
from robustest.models import Needs, as_classifier

linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn brings the estimators")
pytest.importorskip("pandas", reason="frames are of pandas")

import pandas as pd  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.svm import SVC, LinearSVC  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.random((120, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 1).astype(int) + (X[:, 2] > 0.8)
WORDS = np.array(["low", "mid", "top"])[Y]
FRAME = pd.DataFrame(X, columns=["age", "dose", "rate", "site"])

ESTIMATORS: dict[str, Any] = {
    "forest": RandomForestClassifier(20, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), linear_model.LogisticRegression()),
    "margins": LinearSVC(),
    "one against one": SVC(decision_function_shape="ovo", break_ties=False),
    "labels alone": linear_model.SGDClassifier(random_state=0),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("labels", [Y, WORDS, Y + 1], ids=["0..2", "words", "1..3"])
def test_the_answer_is_what_predict_says(name: str, labels: Any) -> None:
    model = ESTIMATORS[name].fit(X, labels)
    if name == "one against one":
        model.decision_function_shape = "ovr"
    classifier = as_classifier(model)
    answer = classifier(torch.from_numpy(X)).argmax(1).numpy()
    assert np.array_equal(model.classes_[answer], model.predict(X))


def test_two_classes_have_one_margin() -> None:
    model = LinearSVC().fit(X, Y > 0)
    assert np.array_equal(as_classifier(model)(torch.from_numpy(X)).argmax(1).numpy() > 0, model.predict(X))


def test_what_scores_say_otherwise_is_overruled_by_predict() -> None:
    class Contrary(linear_model.LogisticRegression):  # type: ignore[misc, name-defined]
        def predict(self, x: Any) -> Any:
            return np.full(len(x), 2)

    classifier = as_classifier(Contrary().fit(X, Y))
    assert bool((classifier(torch.from_numpy(X)).argmax(1) == 2).all())


def test_a_claim_is_made_of_it_directly_and_can_fail() -> None:
    x, words = X[:24], WORDS[:24]
    model = make_pipeline(StandardScaler(), linear_model.LogisticRegression(C=100.0)).fit(X, WORDS)
    assert as_classifier(model).gives is Needs.GRADIENT
    same = measure_shift_accuracy(model, (x, words), lambda x: x, at_least=0.5, exact=True)
    assert same.estimate == pytest.approx(model.score(x, words))
    assert same.details["class_names"] == ["low", "mid", "top"]
    attack = Square().within(60)
    bad = measure_robust_accuracy(model, (x, words), Linf(0.5), attack=attack, at_least=0.9, exact=True)
    assert bad.verdict is Verdict.FAILED
    mixed = measure_shift_accuracy(model, (x, np.roll(words, 1)), lambda x: x, at_least=0.9)
    assert mixed.verdict is Verdict.FAILED, "labels are looked up by name, not by place"


@pytest.mark.parametrize("y", [Y, pd.Series(Y, index=range(1000, 1120))], ids=["array", "series"])
def test_a_frame_keeps_its_columns(y: Any, recwarn: pytest.WarningsRecorder) -> None:
    model = make_pipeline(StandardScaler(), linear_model.LogisticRegression()).fit(FRAME, Y)
    found = measure_shift_accuracy(model, (FRAME, y), lambda x: x, at_least=0.5, exact=True)
    assert found.estimate == pytest.approx(model.score(FRAME, Y))
    assert [str(one.message) for one in recwarn if "feature names" in str(one.message)] == []


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"fitted classifier with classes_.*Call fit"):
        as_classifier(RandomForestClassifier())
    with pytest.raises(ConfigError, match="a regressor"):
        as_classifier(linear_model.LinearRegression().fit(X, Y))
    model = RandomForestClassifier(3, random_state=0).fit(X, WORDS)
    with pytest.raises(DataError, match=r"model's classes \(low, mid, top\) but got none"):
        measure_robust_accuracy(model, (X, np.where(Y == 0, "none", WORDS)), Linf(0.1))
    with pytest.raises(ConfigError, match=r"a threat of single changes for frames but got Linf.*Use Columns"):
        measure_robust_accuracy(model, (FRAME.assign(name="a"), WORDS), Linf(0.1))
