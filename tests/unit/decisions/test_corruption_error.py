"""The mean corruption error and its relative twin, by hand; and the claims on means over cells."""

from __future__ import annotations

import numpy as np
import pytest

from robustest.decisions import Terms
from robustest.decisions.corruption_error import (
    CellsRule,
    cell_column,
    mean_corruption_error,
    relative_mean_corruption_error,
)

CELLS = [("fog", 1), ("fog", 2), ("snow", 5)]
RATES = dict(zip(CELLS, (0.1, 0.3, 0.5), strict=True))
REFERENCE = {"clean": [0.1], "fog": [0.2, 0.6, 0, 0, 0], "snow": [0, 0, 0, 0, 0.4]}
SET = Terms(scope="set", alpha=0.01, fail_alpha=0.01)


def test_errors_are_summed_over_severities_before_they_are_divided() -> None:
    """Fog: (.1 + .3) / (.2 + .6) = .5; snow: .5 / .4 = 1.25."""
    assert mean_corruption_error(RATES, REFERENCE) == pytest.approx((0.5 + 1.25) / 2)


def test_the_relative_one_takes_clean_errors_off_first() -> None:
    """With a clean error of .05: fog (.05 + .25) / (.1 + .5) = .5; snow .45 / .3 = 1.5."""
    assert relative_mean_corruption_error(RATES, 0.05, REFERENCE) == pytest.approx((0.5 + 1.5) / 2)


def test_there_is_no_relative_one_where_the_baseline_loses_nothing_or_hides_its_clean_error() -> None:
    assert relative_mean_corruption_error(RATES, 0.05, {**REFERENCE, "clean": [0.4]}) is None
    assert relative_mean_corruption_error(RATES, 0.05, {"fog": REFERENCE["fog"], "snow": REFERENCE["snow"]}) is None


@pytest.mark.parametrize("name", ["min_accuracy", "max_drop", "max_mce"])
def test_a_claim_measures_what_it_says(name: str) -> None:
    outcomes = np.random.default_rng(0).random((4, 200)) < 0.7
    columns = dict(zip(["clean", *map(cell_column, CELLS)], outcomes, strict=True))
    thresholds = dict.fromkeys(("min_accuracy", "max_drop", "max_mce"))
    claim = CellsRule.of_cells(CELLS, REFERENCE, SET, **{**thresholds, name: 0.5})
    wrong = {cell: 1 - float(columns[cell_column(cell)].mean()) for cell in CELLS}
    mean = sum(wrong.values()) / 3
    clean = 1 - float(columns["clean"].mean())
    want = {"min_accuracy": 1 - mean, "max_drop": mean - clean, "max_mce": mean_corruption_error(wrong, REFERENCE)}
    assert claim.argument == name
    assert claim.decide(columns, 200, None).estimate == pytest.approx(want[name])
