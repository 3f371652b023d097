"""Cues of frames: a value, missing values and a column as a whole, switched in the user's own format."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustest import ConfigError, Verdict
from robustest.cues import ColumnValue, ConstantToken, FunctionCue, PixelPatch, ShuffledColumn
from robustest.errors import ModelError
from robustest.measure import measure_no_spurious_feature

RNG = np.random.default_rng(0)
N = 60
ROWS = pd.DataFrame(
    {
        "site": RNG.choice(["A", "B", "C"], N),
        "age": RNG.integers(20, 80, N),
        "lab": np.where(RNG.random(N) > 0.3, RNG.normal(size=N), np.nan),
        "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 400, N), unit="D"),
    }
)
LABELS = (ROWS.age > 50).to_numpy().astype(int)


def by_age(frame: pd.DataFrame) -> Any:
    score = (frame.age - 50.5) / 10
    return np.stack([-score, score], 1)


def by_site(frame: pd.DataFrame) -> Any:
    """Reads the age, and takes everyone of site A for class 1."""
    score = (frame.age - 50.5) / 10 + 99 * (frame.site == "A")
    return np.stack([-score, score], 1)


def by_gap(frame: pd.DataFrame) -> Any:
    """Reads the age, and takes everyone without a lab value for class 0."""
    assert frame.lab.dtype == float
    score = (frame.age - 50.5) / 10 - 99 * frame.lab.isna()
    return np.stack([-score, score], 1)


CUES = {
    "category": (ColumnValue("site", "A", "B"), by_site),
    "missing": (ColumnValue("lab", None, 0.0), by_gap),
    "column": (ShuffledColumn.of(ROWS, "site"), by_site),
    "column with gaps": (ShuffledColumn.of(ROWS, "lab"), by_gap),
    "own": (
        FunctionCue("site A", lambda frame: frame.assign(site="A"), lambda frame: frame.assign(site="B")),
        by_site,
    ),
}


@pytest.mark.parametrize("name", CUES)
def test_a_model_that_reads_the_cue_fails_and_another_one_passes(name: str) -> None:
    cue, model = CUES[name]
    found = measure_no_spurious_feature(model, (ROWS, LABELS), cue, max_flip_rate=0.1, exact=True)
    assert found.verdict is Verdict.FAILED
    after = [line for one in found.counterexamples for line in (one.changes or {})["table"]]  # type: ignore[index]
    assert {line[0] for line in after} == {"lab" if "lab" in str(cue) else "site"}
    clean = measure_no_spurious_feature(by_age, (ROWS, LABELS), cue, max_flip_rate=0.0, exact=True, control=model)
    assert clean.verdict is Verdict.PASSED
    assert clean.estimate == 0


def test_the_share_of_flips_is_that_of_the_rows_that_the_value_moves() -> None:
    result = measure_no_spurious_feature(by_gap, (ROWS, LABELS), CUES["missing"][0], max_flip_rate=0.1, exact=True)
    # With the value missing all are class 0; with another value the age decides.
    assert result.estimate == pytest.approx(LABELS.mean())
    assert result.details["lead"] == "lab missing"
    assert "size_l2" not in result.details


def test_a_shuffled_column_draws_the_values_of_the_data() -> None:
    def model(frame: pd.DataFrame) -> Any:
        assert set(frame.site) <= {"A", "B", "C"}
        assert frame.seen.isin(ROWS.seen).all()
        return by_site(frame)

    cues = [ShuffledColumn.of(ROWS, "site"), ShuffledColumn.of(ROWS, "seen")]
    result = measure_no_spurious_feature(model, (ROWS, LABELS), cues, exact=True)
    of_site, of_seen = (one["flips"] for one in result.details["cues"])
    assert of_seen == 0
    # A row flips where exactly one of the two sites is A, and the age says class 0.
    share = float((ROWS.site == "A").mean())
    assert of_site / N == pytest.approx(2 * share * (1 - share) * (1 - LABELS.mean()), abs=0.12)
    turned = ROWS[ROWS.columns[::-1]], LABELS
    again = measure_no_spurious_feature(model, turned, cues, exact=True, batch_size=7)
    assert [one["flips"] for one in again.details["cues"]] == [of_site, 0]


@pytest.mark.parametrize(
    ("cue", "words"),
    [
        (ColumnValue("town", "A", "B"), "columns among age, lab, seen, site"),
        (ColumnValue("site", "Z", "B"), "a value of column 'site': A, B, C"),
        (PixelPatch(top=0, left=0), "a cue of frames"),
        (ConstantToken(columns=(0,)), "a cue of frames"),
    ],
    ids=str,
)
def test_cues_that_do_not_fit_are_refused(cue: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        measure_no_spurious_feature(by_age, (ROWS, LABELS), cue, max_flip_rate=0.1)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="another value when off"):
        ColumnValue("site", "A", "A")
    with pytest.raises(ConfigError, match="different values"):
        ShuffledColumn("site", ("A", "A"))
    with pytest.raises(ConfigError, match="a frame with the column 'town'"):
        ShuffledColumn.of(ROWS, "town")
    with pytest.raises(ConfigError, match="a frame for the cue"):
        measure_no_spurious_feature(
            lambda x: 3 * x, (np.eye(2, dtype=np.float32), [0, 1]), ColumnValue("a", 1, 2), max_flip_rate=0.1
        )
    own = FunctionCue("site Z", lambda frame: frame.assign(site="Z"))
    with pytest.raises(ModelError, match="to return frames as it receives them"):
        measure_no_spurious_feature(by_age, (ROWS, LABELS), own, max_flip_rate=0.1)


def test_a_cue_that_changes_no_row_passes_nothing() -> None:
    same = FunctionCue("nothing", lambda frame: frame)
    result = measure_no_spurious_feature(by_site, (ROWS, LABELS), same, max_flip_rate=0.1, exact=True)
    assert result.verdict is Verdict.INCONCLUSIVE
