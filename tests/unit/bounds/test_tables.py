"""Bounds of tables prove nothing that an enumeration breaks, and of linear models and trees most of the rest."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from robustest import ModelError
from robustest.bounds.operations import NoBound
from robustest.bounds.tables import prove_columns
from robustest.data.frames import Frames
from robustest.measure import measure_certified_accuracy, measure_robust_accuracy
from robustest.threats import AnyOf, Columns, Increase, Linear, Relative, Whole, Within, rendered

BOUNDS = (0.0, 9.0)


def lightgbm(**settings: Any) -> Any:
    return pytest.importorskip("lightgbm").LGBMClassifier(
        n_estimators=9, num_leaves=6, min_child_samples=5, n_jobs=1, verbose=-1, **settings
    )


def xgboost(**settings: Any) -> Any:
    return pytest.importorskip("xgboost").XGBClassifier(n_estimators=9, max_depth=3, n_jobs=1, **settings)


MODELS: dict[str, Any] = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "ridge": RidgeClassifier,
    "svm": LinearSVC,
    "sgd": lambda: SGDClassifier(random_state=0),
    "scaled": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "tree": lambda: DecisionTreeClassifier(max_depth=5, random_state=0),
    "forest": lambda: RandomForestClassifier(12, max_depth=5, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(9, max_depth=5, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=9, random_state=0),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=9, min_samples_leaf=5, random_state=0),
    "scaled forest": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(9, max_depth=4, random_state=0)),
    "lightgbm": lightgbm,
    "xgboost": xgboost,
}


def problem(seed: int, classes: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Whole columns 0 to 9, a block of three categories in 3 to 5, and a code in 6."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 10, (n, 7)).astype(np.float32)
    x[:, 3:6] = np.eye(3)[rng.integers(0, 3, n)]
    x[:, 6] = rng.choice([0, 3, 7], n)
    score = x[:, 0] - 0.8 * x[:, 1] + 2 * x[:, 4] + (x[:, 6] == 3) * (x[:, 2] > 4) * 3 + rng.normal(size=n)
    return x, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


def enumerated(model: Any, threat: Columns, x: torch.Tensor, y: np.ndarray) -> np.ndarray:
    """Return (N,) bool: no point of a region has another label, by asking the model."""
    region = threat.region(x, BOUNDS)
    count = int(threat.points(region).max())
    points = threat.point(torch.arange(count).expand(len(x), -1), region)
    wide = {name: value.repeat_interleave(count, 0) for name, value in region.items()}
    shown = rendered(threat, points.flatten(0, 1), wide).numpy()
    return (model.predict(shown).reshape(len(x), count) == y[:, None]).all(1)


def agreement(name: str, seed: int) -> tuple[int, int, int]:
    """Return rows, those proven, and those robust by enumeration; assert that none is proven and broken."""
    rng = np.random.default_rng(seed)
    classes = 3 if seed % 3 == 0 else 2
    x, y = problem(seed, classes)
    model = MODELS[name]().fit(x, y)
    fields: list[Any] = [0, 1, 2, (3, 4, 5), 6]
    chosen = [fields[at] for at in rng.permutation(5)[: rng.integers(1, 6)]]
    rules: dict[Any, Any] = {at: Whole(-int(rng.integers(0, 3)), int(rng.integers(1, 3))) for at in (0, 1, 2)}
    rules |= {(3, 4, 5): AnyOf() if seed % 2 else AnyOf(0, 2), 6: AnyOf(0, 3, 7)}
    where = [Linear({0: 1, 1: 1}, at_most=12)] if seed % 5 == 0 else []
    most = (None, 1, 2, 3)[int(rng.integers(4))]
    threat = Columns({at: rules[at] for at in chosen}, max_changed=most, where=where).resolved(7, BOUNDS)
    inputs = torch.from_numpy(x[:30])
    proven = prove_columns(model, threat, inputs, torch.from_numpy(y[:30]), bounds=BOUNDS).numpy()
    robust = enumerated(model, threat, inputs, y[:30])
    assert not (proven & ~robust).any(), (name, seed, np.flatnonzero(proven & ~robust))
    return 30, int(proven.sum()), int(robust.sum())


@pytest.mark.parametrize("name", MODELS)
def test_no_row_is_proven_that_an_enumeration_breaks(name: str) -> None:
    found = np.array([agreement(name, seed) for seed in range(2)])
    _, proven, robust = found.sum(0)
    # Whole steps and relations make regions smaller than their bounds know; the rest is exact.
    assert proven >= 0.85 * robust > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_of_thousands_of_rows_none_is_both(name: str) -> None:
    found = np.array([agreement(name, seed) for seed in range(100, 140)])
    rows, proven, robust = found.sum(0)
    assert rows == 1200
    assert proven >= 0.9 * robust


def test_a_threshold_at_the_end_of_a_range_is_not_crossed() -> None:
    """XGBoost asks `x < 5`: of a range that begins at 5 no input is below."""
    x = np.arange(10, dtype=np.float32)[:, None].repeat(8, 0)
    y = (x[:, 0] >= 5).astype(int)
    model = xgboost().fit(x, y)
    threat = Columns({0: Whole(-1, 1)}).resolved(1, (0.0, 9.0))
    inputs, labels = torch.arange(10.0)[:, None], torch.arange(10) >= 5
    proven = prove_columns(model, threat, inputs, labels.long(), bounds=(0.0, 9.0))
    assert proven.tolist() == [at not in (4, 5) for at in range(10)]


@pytest.mark.parametrize("kind", [DecisionTreeClassifier, HistGradientBoostingClassifier, LogisticRegression])
def test_no_row_is_proven_that_an_end_of_its_range_breaks(kind: Any) -> None:
    """Labels change at the very end of one row's range, or beside it, so that thresholds lie there to the last bit."""
    proven, every = 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scale = 10.0 ** rng.integers(-3, 6)
        x = (rng.normal(size=(20, 2)) * scale).astype(np.float32)
        rules = [Within(-0.1 * scale, 0.1 * scale), Relative(0.1), Increase(0.3 * scale)]
        bounds = float(x.min()), float(x.max())
        threat = Columns({at: rules[rng.integers(3)] for at in (0, 1)}).resolved(2, bounds)
        region = threat.region(torch.from_numpy(x), bounds)
        ends = [region[side].expand(20, 2) for side in ("low", "high")]
        beyond = [torch.nextafter(one, torch.tensor(far)) for one, far in zip(ends, (-np.inf, np.inf), strict=True)]
        shown = np.stack([rendered(threat, threat.project(z, region), region).numpy() for z in (*ends, *beyond)], 1)
        at, column = shown[rng.integers(20)], rng.integers(2)
        around = [np.nextafter(at, np.float32(far)) for far in (-np.inf, np.inf)]
        train = np.concatenate([x, at, *around])
        label = train[:, column] >= at[rng.integers(4), column]
        model = kind(**({"max_iter": 3, "min_samples_leaf": 1} if "Hist" in kind.__name__ else {})).fit(train, label)
        own = model.predict(x)
        found = prove_columns(model, threat, torch.from_numpy(x), torch.from_numpy(own).long(), bounds=bounds).numpy()
        holds = (model.predict(shown.reshape(-1, 2)).reshape(20, -1) == own[:, None]).all(1)
        assert not (found & ~holds).any(), seed
        proven, every = proven + found.sum(), every + holds.sum()
    assert proven >= 0.9 * every


# Frames behind encoders

RNG = np.random.default_rng(0)
ROWS = pd.DataFrame(
    {
        "job": RNG.choice(["cook", "clerk", "boss"], 80),
        "age": RNG.integers(20, 70, 80),
        "income": RNG.normal(5e4, 1e4, 80),
        "member": RNG.random(80) > 0.5,
        "gap": np.where(RNG.random(80) > 0.2, RNG.random(80), np.nan),
    }
)
LABELS = ((ROWS.age > 45) * 1.0 + (ROWS.job == "boss") + (ROWS.income > 5.2e4) > 1).to_numpy().astype(int)
ENCODER = ColumnTransformer(
    [
        ("words", OneHotEncoder(), ["job"]),
        ("numbers", StandardScaler(), ["age", "income"]),
        ("rest", "passthrough", ["member"]),
    ]
)
BINS = KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")
INCOMES = (-2000, 0, 700, 2000)
RULES: dict[str, Any] = {"age": Whole(3), "job": AnyOf(), "income": Within(-2000, 2000), "member": AnyOf()}


@pytest.mark.parametrize("last", [LogisticRegression(), RandomForestClassifier(15, max_depth=5, random_state=0)])
@pytest.mark.parametrize("most", [None, 2])
def test_frames_are_proven_in_the_numbers_behind_the_encoder(last: Any, most: int | None) -> None:
    model = make_pipeline(ENCODER, last).fit(ROWS, LABELS)
    coding = Frames.of(ROWS)
    threat = Columns(RULES, max_changed=most).resolved(len(coding.names), coding.bounds, coding=coding)
    x = coding.encode(ROWS)
    proven = prove_columns(
        model,
        threat,
        x,
        torch.from_numpy(LABELS),
        bounds=coding.bounds,
        frame=coding,
    ).numpy()
    made = []
    for age, job, income, member in itertools.product((-3, 0, 2, 3), ("cook", "clerk", "boss"), INCOMES, (False, True)):
        new = ROWS.assign(age=ROWS.age + age, job=job, income=ROWS.income + income, member=member)
        new["age"] = new.age.clip(ROWS.age.min(), ROWS.age.max())
        made.append(new.assign(income=new.income.clip(ROWS.income.min(), ROWS.income.max())))
    every = pd.concat(made, ignore_index=True)
    same = pd.concat([ROWS] * len(made), ignore_index=True)
    allowed = (every != same)[list(RULES)].sum(axis=1).to_numpy() <= (most or 4)
    wrong = allowed & (model.predict(every) != np.tile(LABELS, len(made)))
    robust = ~wrong.reshape(len(made), -1).any(0)
    assert not (proven & ~robust).any()
    # The grid misses some incomes, so that robust rows are fewer than it shows.
    assert proven.sum() >= 0.7 * robust.sum() > 0


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(FunctionTransformer(np.sin), LogisticRegression()),
        make_pipeline(SimpleImputer(missing_values=0.125, fill_value=-50, strategy="constant"), LogisticRegression()),
        make_pipeline(ColumnTransformer([("bins", BINS, [0, 1, 2])]), LogisticRegression()),
        make_pipeline(StandardScaler(), GradientBoostingClassifier(init=LogisticRegression(), n_estimators=3)),
        # With three classes its scores are of pairs of classes, and the class that wins most pairs is predicted.
        SVC(kernel="linear", decision_function_shape="ovo"),
    ],
)
def test_what_cannot_be_read_is_not_proven(model: Any) -> None:
    x, y = problem(1, 3 if isinstance(model, SVC) else 2)
    threat = Columns({0: Whole(1)}).resolved(7, BOUNDS)
    with pytest.raises(NoBound):
        prove_columns(model.fit(x, y), threat, torch.from_numpy(x), torch.from_numpy(y), bounds=BOUNDS)


def test_a_model_that_answers_otherwise_than_it_was_read_is_not_proven() -> None:
    x, y = problem(1, 2)
    model = LogisticRegression().fit(x, y)
    plain = model.decision_function
    model.decision_function = lambda rows: plain(rows) + 0.1 * (np.asarray(rows)[:, 0] > 5)
    threat = Columns({0: Whole(2)}).resolved(7, BOUNDS)
    with pytest.raises(NoBound, match="does not give its scores"):
        prove_columns(model, threat, torch.from_numpy(x), torch.from_numpy(y), bounds=BOUNDS)


# Claims


def test_claims_count_rows_of_endless_regions_as_proven() -> None:
    """No enumeration ends here: a linear model has no cells."""
    x, y = problem(2, 2)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    forest = RandomForestClassifier(9, max_depth=4, random_state=0).fit(x, y)
    half = np.concatenate([np.flatnonzero(y == label)[:8] for label in (0, 1)])
    x, y = x[half], y[half]
    threat = Columns({0: Within(-0.7, 0.7), 1: Within(-0.7, 0.7), (3, 4, 5): AnyOf()})
    options: dict[str, Any] = {"bounds": BOUNDS, "exact": True, "attack": "fast"}
    result = measure_robust_accuracy(model, (x, y), threat, certify="auto", **options)
    assert result.details["proven"] == result.details["attacked"] * 16 > 5
    assert result.details["open"] == 0
    certified = measure_certified_accuracy(model, (x, y), threat, at_least=0.6, **options)
    assert certified.verdict == "passed"
    assert certified.estimate == result.details["proven"] / 16
    trees = measure_certified_accuracy(forest, (x, y), threat, **options)
    assert trees.details["open"] == 0


def test_a_network_is_proven_by_the_box_around_its_region() -> None:
    x, y = problem(2, 2)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 2))
    optimiser = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimiser.step()
    threat = Columns({0: Within(-0.05, 0.05), 1: Within(-0.05, 0.05)})
    result = measure_certified_accuracy(net, (x[:16], y[:16]), threat, bounds=BOUNDS, exact=True, attack="pgd")
    assert result.details["proven"] > 3


def test_a_wrong_proof_stops_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem(2, 2)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    monkeypatch.setattr("robustest.bounds.tables.LinearScores.holds", lambda *_: True)
    with pytest.raises(ModelError, match="both proven and broken"):
        measure_robust_accuracy(
            model, (x[:16], y[:16]), Columns({0: Whole(4)}), certify="auto", bounds=BOUNDS, exact=True, attack="fast"
        )
