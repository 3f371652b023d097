"""Frames: every cell comes back as the user gave it, whatever the order of the columns."""

from __future__ import annotations

import datetime
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from robustest import Columns, Linf, Settings, Verdict, assert_robust_accuracy
from robustest.context import Context, running
from robustest.data import as_samples
from robustest.data.frames import MISSING, Frames
from robustest.data.groups import subgroups
from robustest.errors import ConfigError, DataError, ModelError
from robustest.measure import (
    measure_accuracy,
    measure_certified_accuracy,
    measure_robust_accuracy,
    measure_shift_accuracy,
)
from robustest.models.trees import cells_of
from robustest.threats import AnyOf, Increase, Linear, Relative, Whole, Within

RNG = np.random.default_rng(0)
N = 30


def mixed() -> pd.DataFrame:
    """A column of every type."""
    some = RNG.random(N) > 0.3
    days = pd.to_timedelta(RNG.integers(0, 900, N), unit="D")
    return pd.DataFrame(
        {
            "income": RNG.normal(50_000, 10_000, N),
            "age": RNG.integers(17, 90, N),
            "job": RNG.choice(["cook", "clerk"], N),
            "grade": pd.Categorical(RNG.choice(["a", "b"], N), categories=["b", "a", "z"], ordered=True),
            "code": pd.Categorical(RNG.choice([3, 1], N)),
            "member": RNG.random(N) > 0.5,
            "since": pd.to_datetime("2020-01-05") + days,
            "seen": pd.to_datetime(RNG.integers(0, 10**9, N), unit="s", utc=True).tz_convert("Europe/Berlin"),
            "nullable": pd.array(np.where(some, RNG.integers(0, 9, N), None), dtype="Int64"),
            "flag": pd.array(np.where(some, RNG.random(N) > 0.5, None), dtype="boolean"),
            "gap": np.where(some, RNG.random(N), np.nan),
            "small": RNG.integers(0, 9, N).astype("uint8"),
            "large": RNG.integers(0, 30_000_000, N) * 4 + 16_777_217,
            "object": pd.Series(RNG.choice(["x", "y"], N)).astype(object).mask(~some),
            "narrow": RNG.random(N).astype("float32"),
        }
    )


def test_every_cell_comes_back_with_its_type() -> None:
    frame = mixed()
    coding = Frames.of(frame)
    x = coding.encode(frame)
    assert x.dtype == torch.float32
    assert bool(x.isfinite().all())
    pd.testing.assert_frame_equal(coding.decode(x), frame)
    again = pickle.loads(pickle.dumps(coding))  # noqa: S301 - workers get it like this
    pd.testing.assert_frame_equal(again.decode(x[3:9]), frame[3:9].reset_index(drop=True))


def test_another_order_of_columns_is_the_same_data() -> None:
    frame = mixed()
    other = frame[frame.columns[::-1]]
    one, two = Frames.of(frame), Frames.of(other)
    assert torch.equal(one.encode(frame), two.encode(other))
    assert one.identities(one.encode(frame)) == two.identities(two.encode(other))
    assert list(two.decode(two.encode(other)).columns) == list(other.columns)
    changed = frame.assign(job=frame.job.replace("cook", "clerk"))
    assert one.identities(one.encode(frame)) != one.identities(one.encode(changed))


@pytest.mark.parametrize("labels", [[3, 1], [("a", "b"), ("a", "c")], ["a", 1]], ids=str)
def test_columns_keep_labels_that_are_no_text(labels: list[Any]) -> None:
    frame = pd.DataFrame([[1, 2], [3, 5]])
    frame.columns = pd.Index(labels)
    coding = Frames.of(frame)
    pd.testing.assert_frame_equal(coding.decode(coding.encode(frame)), frame)


def test_labels_in_another_order_than_rows_are_refused() -> None:
    labels = pd.Series(LABELS, index=ROWS.index)
    with pytest.raises(DataError, match=r"labels in the order.*values\.loc\[rows\.index\]"):
        measure_accuracy(ByRule(), (ROWS, labels[::-1]))
    shuffled = ROWS.sample(frac=1, random_state=0)
    known = measure_accuracy(ByRule(), (shuffled, labels.loc[shuffled.index])).estimate
    assert known == measure_accuracy(ByRule(), (ROWS, labels)).estimate


def test_numbers_closer_than_float32_tells_apart_are_held_as_one() -> None:
    """Among 10,000 measured numbers some are so close."""
    frame = pd.DataFrame({"x": [0.5, 0.5 + 2**-30, 0.75]})
    coding = Frames.of(frame)
    assert coding.decode(coding.encode(frame)).x.tolist() == [0.5, 0.5, 0.75]


def test_other_numbers_are_those_of_few_digits_in_the_same_order() -> None:
    coding = Frames.of(pd.DataFrame({"x": [0.5, 99.0]}))
    decimals = np.round(RNG.normal(0, 100, 2000), 2)
    codes = torch.from_numpy(decimals.astype(np.float32))
    assert coding.numbers(0, codes).tolist() == decimals.tolist()
    for power in range(-8, 9):
        codes = torch.from_numpy(np.unique(RNG.normal(0, 10.0**power, 2000).astype(np.float32)))
        numbers = coding.numbers(0, codes)
        assert torch.equal(numbers.float(), codes)
        assert bool((numbers.diff() > 0).all())


@pytest.mark.parametrize("cut", [5.4, 9.7, 4.5])
def test_a_rule_ends_where_the_user_says(cut: float) -> None:
    """float32 has neither 5.4 nor 9.7, the largest number of the data, and both are allowed."""
    rows = pd.DataFrame({"x": [4.4, 4.3, 8.7, 9.7, 2.1] * 4, "y": RNG.random(20)})

    def model(frame: pd.DataFrame) -> Any:
        score = np.where(frame.x >= cut, 1.0, -1.0) + 0.01 * frame.y
        return np.stack([-score, score], 1)

    labels = (rows.x >= cut).astype(int)
    result = measure_robust_accuracy(
        model, (rows, labels), Columns({"x": Within(0, 1)}), attack="fast", exact=True, at_least=0.9
    )
    assert result.verdict is Verdict.FAILED
    assert result.estimate == 1 - ((rows.x < cut) & (rows.x + 1 >= cut)).mean()


def test_a_changed_cell_alone_is_changed() -> None:
    frame = mixed()
    coding = Frames.of(frame)
    x = coding.encode(frame)
    new = x[:1].clone()
    for name, code in (("age", float(x[0, coding.names.index("age")]) + 2), ("gap", MISSING), ("job", 0.0)):
        new[0, coding.names.index(name)] = code
    new[0, coding.names.index("since")] += 3
    row, old = coding.decode(new), frame[:1]
    assert row.age[0] == old.age[0] + 2
    assert row.since[0] == old.since[0] + datetime.timedelta(days=3)
    assert row.gap.isna()[0]
    assert row.job[0] == "clerk"
    rest = [name for name in frame.columns if name not in {"age", "gap", "job", "since"}]
    pd.testing.assert_frame_equal(row[rest], old[rest])
    table = coding.changes(x[0], new[0])["table"]
    assert ["age", str(old.age[0]), str(old.age[0] + 2)] in table
    assert ["since", old.since[0].date().isoformat(), row.since[0].date().isoformat()] in table
    assert {line[0] for line in table} <= {"age", "gap", "job", "since"}


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"id": [2**53, 2**53 - 1]}), "float32 tells apart"),
        (pd.DataFrame({"x": [1.0, np.inf]}), "finite numbers"),
        (pd.DataFrame({"x": [[1], [2]]}), "Convert the column to one of these, or drop it"),
        (pd.DataFrame({"x": pd.to_timedelta([1, 2], unit="D")}), "numbers, booleans, categories, words or dates"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "different names"),
        (pd.DataFrame({"x": []}), "empty frame"),
        (pd.DataFrame({"x": np.array([1, 2], np.float16)}), "but got float16"),
        (pd.DataFrame({"x": pd.Series(["a", None, np.nan], dtype=object)}), "one kind of missing value"),
    ],
)
def test_what_cannot_be_held_is_refused(frame: pd.DataFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Frames.of(frame)


def test_polars_keeps_its_types() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(
        {
            "a": [1, 2, None],
            "b": [0.1, None, 0.3],
            "c": ["x", None, "y"],
            "d": [True, None, False],
            "e": [datetime.date(2020, 1, 1), None, datetime.date(2021, 5, 5)],
            "f": polars.Series(["u", "v", None], dtype=polars.Categorical),
        }
    )
    coding = Frames.of(frame)
    assert coding.decode(coding.encode(frame)).equals(frame)
    gaps = polars.DataFrame({"a": [0.5, float("nan"), 2.0]})
    coding = Frames.of(gaps)
    assert coding.decode(coding.encode(gaps)).equals(gaps)
    with pytest.raises(DataError, match="one kind of missing value"):
        Frames.of(polars.DataFrame({"a": [0.5, float("nan"), None]}))
    groups = subgroups(polars.DataFrame({"a": [1, None, 1], "b": [0.5, float("nan"), 0.5]}), min_size=1)
    assert {name: ids.tolist() for name, ids in groups.items()} == {"a missing": [1], "a = 1": [0, 2]}


def test_a_number_that_is_none_is_a_missing_value() -> None:
    coding = Frames.of(ROWS)
    at = coding.names.index("gap")
    assert coding.code_of(at, float("nan")) == coding.code_of(at, None) == coding.missing


# Claims

ROWS = pd.DataFrame(
    {
        "tenure": RNG.integers(0, 20, N),
        "age": RNG.integers(35, 70, N),
        "income": RNG.normal(50_000, 15_000, N).round(2),
        "job": RNG.choice(["cook", "clerk", "boss"], N),
        "member": RNG.random(N) > 0.5,
        "gap": np.where(RNG.random(N) > 0.2, RNG.random(N), np.nan),
    }
)
LABELS = ((ROWS.age > 50) * 1.0 + (ROWS.job == "boss") * 1.5 > 0.8).to_numpy().astype(int)
RULES: dict[Any, Any] = {"age": Within(-2, 2), "income": Relative(0.1), "tenure": Increase(2), "job": AnyOf("cook")}


class ByRule:
    """A function of a frame that checks what it gets."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, frame: pd.DataFrame) -> Any:
        self.rows += len(frame)
        assert list(frame.columns) == list(ROWS.columns)
        assert frame.age.dtype == ROWS.age.dtype
        assert set(frame.job) <= {"cook", "clerk", "boss"}
        assert (frame.tenure <= frame.age - 14).all()
        score = (frame.age > 50) * 1.0 + (frame.job == "boss") * 1.5 - 0.8
        return np.stack([-score, score + 0.001 * frame.income / 50_000], 1)


RELATIONS = [lambda frame: frame.tenure <= frame.age - 14]


def test_a_pipeline_with_its_own_encoder_is_asked_in_words() -> None:
    words = OneHotEncoder(handle_unknown="ignore")
    encoder = ColumnTransformer([("w", words, ["job"]), ("n", StandardScaler(), ["age", "income", "tenure"])])
    model = make_pipeline(encoder, LogisticRegression()).fit(ROWS, LABELS)
    threat = Columns(RULES, max_changed=2, where=[*RELATIONS, Linear({"age": 1, "tenure": -1}, at_least=15)])
    result = measure_robust_accuracy(model, (ROWS, LABELS), threat, at_least=0.99, attack="fast")
    assert result.verdict is Verdict.FAILED
    worst = result.counterexamples[0]
    assert worst.size in {1.0, 2.0}
    assert worst.changes is not None
    (table,) = worst.changes.values()
    assert {line[0] for line in table} <= set(RULES)
    assert result.details["ranges"]["age"] == f"{ROWS.age.min()} to {ROWS.age.max()}"
    assert_robust_accuracy(model, (ROWS[:8], LABELS[:8]), Columns({"member": AnyOf()}), at_least=0.7, attack="fast")


def test_a_function_gets_feasible_frames_only() -> None:
    """The assertions of `ByRule` raise on the first row that cannot exist."""
    model = ByRule()
    result = measure_robust_accuracy(
        model, (ROWS, LABELS), Columns(RULES, where=RELATIONS), at_least=0.95, attack="fast"
    )
    assert result.verdict is Verdict.FAILED
    near = (ROWS.age - 50.5).abs() < 2
    boss = (ROWS.job == "boss") & (LABELS == 1)
    assert result.details["broken_by_attack"] <= int((near | boss).sum())
    assert model.rows > N


def test_a_model_that_knows_the_numbers_of_the_data_alone_is_searched_at_them() -> None:
    """As an encoder of numbers: what it does at 4 it does nowhere near 4."""
    rooms = ROWS.assign(rooms=np.where(np.arange(N) % 9, np.arange(N) % 9, np.nan))

    def model(frame: pd.DataFrame) -> Any:
        score = np.where(frame.rooms == 4, -1.0, 1.0) + 0.001 * frame.income / 50_000
        return np.stack([score, -score], 1)

    labels = (rooms.rooms == 4).astype(int)
    near = (rooms.rooms - 4).abs() <= 2
    threat = Columns({"rooms": Within(-2, 2.3)})
    result = measure_robust_accuracy(model, (rooms, labels), threat, attack="fast", exact=True, at_least=0.6)
    assert result.verdict is Verdict.FAILED
    assert result.estimate == pytest.approx(1 - near.mean())


def test_missing_numbers_stay_missing_unless_a_rule_lists_them() -> None:
    def model(frame: pd.DataFrame) -> Any:
        score = (frame.age > 50) * 1.0 + (frame.job == "boss") * 1.5 - 0.8
        return np.stack([-score, score - 9 * frame.gap.isna()], 1)

    rows = ROWS[:9]
    labels = np.where(rows.gap.isna(), 0, LABELS[:9])
    assert rows.gap.isna().any()
    moves = Columns({"gap": Within(-0.5, 0.5)})
    assert measure_robust_accuracy(model, (rows, labels), moves, attack="fast", exact=True).estimate == 1
    gone = Columns({"gap": AnyOf(None)})
    result = measure_robust_accuracy(model, (rows, labels), gone, attack="fast", exact=True)
    assert result.estimate == pytest.approx(1 - labels.mean())
    assert result.counterexamples[0].changes["table"][0][2] == "missing"  # type: ignore[index]


def test_a_second_run_recalls_frames_in_any_order_of_columns(tmp_path: Path) -> None:
    asked = []

    def counted(frame: pd.DataFrame) -> Any:
        asked.append(len(frame))
        score = (frame.age > 50) * 1.0 + (frame.job == "boss") * 1.5 - 0.8
        return np.stack([-score, score], 1)

    counted.robustest_fingerprint = lambda: "one model"  # type: ignore[attr-defined]
    settings = Settings(store=str(tmp_path), recheck=0.0, exact=True)
    threat = Columns({"age": Whole(1), "job": AnyOf()})

    def measured(frame: pd.DataFrame, labels: Any = LABELS) -> Any:
        with running(Context(settings=settings, test="t.py::t")):
            return measure_robust_accuracy(counted, (frame, labels), threat, at_least=0.9, attack="fast")

    first = measured(ROWS)
    cost = sum(asked)
    again = measured(ROWS[ROWS.columns[::-1]])
    assert not first.evidence.cached
    assert again.evidence.cached
    assert sum(asked) - cost < cost / 2
    assert again.estimate == first.estimate
    # A history tells runs apart by these.
    assert first.evidence.data
    assert (again.evidence.data, again.subject.claim) == (first.evidence.data, first.subject.claim)
    other = measured(ROWS.assign(age=ROWS.age + 1))
    assert not other.evidence.cached, "other values are other data"
    assert other.evidence.data != first.evidence.data


def test_known_counterexamples_are_tried_first_where_they_are_allowed(tmp_path: Path) -> None:
    settings = Settings(corpus=str(tmp_path), exact=True, cache=False)
    wide = Columns({"age": Whole(2), "job": AnyOf("cook")})

    def measured(frame: pd.DataFrame, after: float, threat: Columns) -> Any:
        def model(rows: pd.DataFrame) -> Any:
            score = (rows.age > 50 + after) * 1.0 + (rows.job == "boss") * 1.5 - 0.8
            return np.stack([-score, score], 1)

        with running(Context(settings=settings, test="t.py::t")):
            return measure_robust_accuracy(model, (frame, LABELS), threat, at_least=0.99, attack="fast")

    first = measured(ROWS, 0.0, wide)
    again = measured(ROWS[ROWS.columns[::-1]], 0.5, wide)
    assert again.evidence.replayed == first.details["broken_by_attack"] > 0
    assert again.estimate == first.estimate
    assert measured(ROWS, 0.5, Columns({"tenure": Whole(1)})).evidence.replayed == 0, (
        "rows that this threat does not allow"
    )


def test_a_shift_gets_the_users_frame() -> None:
    def older(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(age=frame.age + 5, job="boss")

    result = measure_shift_accuracy(ByRule(), (ROWS, LABELS), older, at_least=0.99)
    assert result.verdict is Verdict.FAILED
    assert ["job", "cook", "boss"] in [line for c in result.counterexamples for line in c.changes["table"]]  # type: ignore[index]
    with pytest.raises(ModelError, match="rows in the order of their labels"):
        measure_shift_accuracy(ByRule(), (ROWS, LABELS), lambda frame: frame.sort_values("age"), at_least=0.9)
    with pytest.raises(ModelError, match="astronaut"):
        measure_shift_accuracy(ByRule(), (ROWS, LABELS), lambda frame: frame.assign(job="astronaut"), at_least=0.9)


def test_other_threats_and_unknown_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match="Use Columns"):
        measure_robust_accuracy(ByRule(), (ROWS, LABELS), Linf(0.1))
    with pytest.raises(ConfigError, match="columns among"):
        measure_robust_accuracy(ByRule(), (ROWS, LABELS), Columns({"wage": Within(-1, 1)}))
    with pytest.raises(ConfigError, match="a value of column 'job': boss, clerk, cook"):
        measure_robust_accuracy(ByRule(), (ROWS, LABELS), Columns({"job": AnyOf("pilot")}))
    with pytest.raises(ConfigError, match="AnyOf"):
        measure_robust_accuracy(ByRule(), (ROWS, LABELS), Columns({"job": Within(-1, 1)}))
    assert measure_accuracy(ByRule(), (ROWS[:1], LABELS[:1])).estimate == 1


def test_a_frame_that_becomes_an_array_keeps_the_names_of_its_columns() -> None:
    unit = pd.DataFrame(RNG.random((N, 3)), columns=["z", "a", "m"])
    labels = (unit.a > 0.5).to_numpy().astype(int)
    model = DecisionTreeClassifier(random_state=0).fit(unit, labels)
    still = measure_robust_accuracy(model, (unit, labels), Columns({"z": Within(-0.2, 0.2)}), attack="fast")
    moved = measure_robust_accuracy(model, (unit, labels), Columns({"a": Within(-0.2, 0.2)}), attack="fast")
    assert still.estimate == 1
    assert moved.estimate is not None
    assert moved.estimate < 1


@pytest.mark.parametrize("rules", [{"job": AnyOf("cook")}, {"job": AnyOf()}, {"age": Within(-0.4, 0.4)}], ids=str)
def test_rules_that_leave_every_sample_as_it_is_pass_nothing(rules: Any) -> None:
    """All rows have the one word, and no whole number lies within less than a step."""
    rows = ROWS[ROWS.job == "cook"]
    result = measure_robust_accuracy(ByRule(), (rows, LABELS[rows.index]), Columns(rules), at_least=0.5, attack="fast")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "health:no_change" in result.ruling.reasons
    # Every row is proven, and that says no more.
    data = rows, LABELS[rows.index]
    proven = measure_certified_accuracy(ByRule(), data, Columns(rules), at_least=0.5, attack="fast")
    assert (proven.verdict, proven.details["open"]) == (Verdict.INCONCLUSIVE, 0)


def test_a_proposal_from_a_frame_has_a_rule_for_each_column() -> None:
    threat = Columns.from_frame(mixed(), eps=0.1)
    rules = dict(threat.changes)  # type: ignore[arg-type]
    assert isinstance(rules["age"], Whole)
    assert isinstance(rules["income"], Within)
    assert {type(rules[name]) for name in ("job", "grade", "member", "object")} == {AnyOf}
    assert isinstance(rules["since"], Within)
    coding = Frames.of(ROWS)
    plain = Columns.from_frame(ROWS, eps=0.02).resolved(len(ROWS.columns), coding.bounds, coding=coding)
    region = plain.region(coding.encode(ROWS), coding.bounds)
    assert bool((plain.points(region) > 1).all())


@dataclass
class Check:
    """A check of pandera, as far as ranges are read."""

    statistics: dict[str, float]


@dataclass
class SchemaColumn:
    """A column of a schema with its checks."""

    checks: list[Check]


@dataclass
class Schema:
    """A schema of pandera, as far as ranges are read."""

    columns: dict[str, SchemaColumn]


SCHEMA = Schema({"age": SchemaColumn([Check({"min_value": 18}), Check({"max_value": 99})]), "income": SchemaColumn([])})


def test_ranges_of_a_schema_go_before_those_of_the_data() -> None:
    threat = Columns({"age": Within(-90, 90), "income": Relative(0.1)}, ranges=SCHEMA)
    coding = Frames.of(ROWS)
    spans = threat.resolved(len(coding.names), coding.bounds, coding=coding).spans
    assert spans["age"] == "18 to 99"
    assert spans["income"].startswith(f"{ROWS.income.min():.10g}"[:6])
    with pytest.raises(ConfigError, match="a schema of pandera"):
        Columns({"age": Within(-1, 1)}, ranges=3)


def test_thresholds_of_a_tree_behind_an_encoder_are_those_of_the_frame() -> None:
    words = OneHotEncoder(handle_unknown="ignore")
    encoder = ColumnTransformer([("w", words, ["job"]), ("n", StandardScaler(), ["age", "income"])])
    model = make_pipeline(encoder, DecisionTreeClassifier(max_depth=3, random_state=0)).fit(ROWS, LABELS)
    samples = as_samples((ROWS, LABELS))
    coding: Any = samples.coding
    at = coding.names.index("age")
    rows = samples.take(torch.arange(2))[0].numpy()
    cells = cells_of(model, rows, [(at, 35.0, 69.0)], coding)
    assert cells is not None
    assert cells[at]
    for cut in cells[at]:
        low, high = ROWS[:1].assign(age=np.floor(cut)), ROWS[:1].assign(age=np.floor(cut) + 1)
        assert encoder.transform(low).tolist() != encoder.transform(high).tolist()
