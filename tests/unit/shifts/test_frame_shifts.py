"""Shifts of tables: what each does to its column, and that the others stay."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from robustest import Verdict, rng
from robustest.errors import ConfigError
from robustest.measure import measure_shift_accuracy
from robustest.shifts import (
    LaterDate,
    MissingCells,
    QuantileDrift,
    RoundedColumn,
    SetColumn,
    SwappedColumns,
    UnitError,
)
from robustest.words import UNSEEN

N = 40
DRAW = np.random.default_rng(0)
ROWS = pd.DataFrame(
    {
        "age": DRAW.integers(20, 70, N),
        "income": DRAW.normal(5e4, 1e4, N),
        "job": DRAW.choice(["cook", "clerk"], N),
        "since": pd.to_datetime("2020-01-05") + pd.to_timedelta(DRAW.integers(0, 99, N), unit="D"),
        "gap": np.where(DRAW.random(N) > 0.3, 1.0, np.nan),
    }
)
KEYS = rng.keys(0, torch.arange(N))
CASES: list[tuple[Any, str, Any]] = [
    (MissingCells("age"), "age", lambda new, _: new.isna().all()),
    (MissingCells("income", 0.5), "income", lambda new, _: 0.2 < new.isna().mean() < 0.8),
    (UnitError("income", 0.001), "income", lambda new, old: np.allclose(new, old / 1000)),
    (UnitError("age", 12), "age", lambda new, old: (new == 12 * old).all() and new.dtype == old.dtype),
    (RoundedColumn("age", 10), "age", lambda new, old: (new % 10 == 0).all() and (abs(new - old) <= 5).all()),
    (
        QuantileDrift.of(ROWS, "income", 0.1),
        "income",
        lambda new, old: (new >= old - 1).all() & (new.max() == old.max()),
    ),
    (QuantileDrift.of(ROWS, "age", -1), "age", lambda new, old: (new == old.min()).all() and new.dtype == old.dtype),
    (SetColumn("job", "cook"), "job", lambda new, _: (new == "cook").all()),
    (SetColumn("job"), "job", lambda new, _: (new == UNSEEN).all()),
    (LaterDate("since", 365), "since", lambda new, old: ((new - old) == datetime.timedelta(days=365)).all()),
    (UnitError("gap", 3), "gap", lambda new, old: (new.isna() == old.isna()).all() and (new.dropna() == 3).all()),
]
OUT_OF_RANGE = [lambda: MissingCells("a", 2), lambda: RoundedColumn("a", 0), lambda: QuantileDrift("a", 0, ())]


@pytest.mark.parametrize(("shift", "column", "holds"), CASES, ids=[str(case[0])[:40] for case in CASES])
def test_a_shift_does_its_work_in_its_column_alone(shift: Any, column: str, holds: Any) -> None:
    drawn = isinstance(shift, (MissingCells, SetColumn))
    new = shift(ROWS, KEYS) if drawn else shift(ROWS)
    assert holds(new[column], ROWS[column])
    rest = [name for name in ROWS.columns if name != column]
    pd.testing.assert_frame_equal(new[rest], ROWS[rest])
    order = list(range(0, N, 3))
    some = ROWS.iloc[order].reset_index(drop=True)
    part = shift(some, KEYS[order]) if drawn else shift(some)
    assert part[column].tolist()[:3] == new[column].tolist()[::3][:3] or new[column].isna().any()


def test_swapped_columns_are_swapped() -> None:
    new = SwappedColumns("age", "income")(ROWS)
    assert new.age.tolist() == ROWS.income.round().tolist(), "a column of whole numbers stays one"
    assert new.income.tolist() == ROWS.age.tolist()


@pytest.mark.parametrize("shift", [UnitError("job", 2), RoundedColumn("wage", 1), LaterDate("age", 1)])
def test_a_column_of_another_kind_is_refused(shift: Any) -> None:
    with pytest.raises(ConfigError, match="Expected"):
        shift(ROWS)


@pytest.mark.parametrize("make", OUT_OF_RANGE)
def test_settings_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_claims_take_them_by_rows() -> None:
    """A model that reads one column fails under that column's shift, and holds under the others."""

    def model(frame: pd.DataFrame) -> Any:
        score = (frame.job == "cook") * 1.0 + (frame.age.fillna(99) > 90) - 0.5
        return np.stack([-score, score], 1)

    labels = (ROWS.job == "cook").to_numpy().astype(int)
    for shift, verdict in (
        (SetColumn("job"), Verdict.FAILED),
        (MissingCells("age", 0.8), Verdict.FAILED),
        (SwappedColumns("age", "income"), Verdict.FAILED),
        (UnitError("income", 1000), Verdict.PASSED),
        (LaterDate("since", 9), Verdict.PASSED),
    ):
        result = measure_shift_accuracy(model, (ROWS, labels), shift, at_least=0.9)
        assert result.verdict is verdict, (shift, result)
    table = measure_shift_accuracy(model, (ROWS, labels), SetColumn("job"), at_least=0.9).counterexamples[0].changes
    assert table == {"table": [["job", "cook", UNSEEN]]}
