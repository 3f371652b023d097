"""Entries of a history: they show the numbers that the report of the run showed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from accounts import account_of

from robustest import Result
from robustest.account import Row
from robustest.history import HistoryEntry, Origin
from robustest.reports.history import entries_of, value_of
from robustest.words import value_in_words

Make = Callable[..., Any]
ORIGIN = Origin(time="2026-01-02T00:00:00.000Z", commit="a" * 40, committed="2026-01-01T00:00:00Z", versions="1")


@pytest.mark.parametrize(
    ("estimate", "low", "high", "threshold"),
    [
        (0.96, 0.95004, 0.97, 0.95),  # the lower end lies just above the threshold
        (0.94996, 0.9, 0.96, 0.95),
        (0.099994, 0.01, 0.1, None),  # rounded to 0.1 first it would be 0.100
        (0.9, 0.87654, 0.91234, 0.8),
        (0.00043, 0.00041, 0.0004567, None),
        (3e-21, 1e-21, 4e-21, None),
        (2e16, 1e16, 3e16, 1e10),
    ],
)
def test_a_history_shows_the_numbers_of_the_report(
    made: Make, estimate: float, low: float, high: float, threshold: float | None
) -> None:
    entry = entry_of(made(estimate=estimate, interval=(low, high), threshold=threshold))
    shown = value_in_words(estimate, (low, high), (low, high), bounds="", threshold=threshold)
    assert value_of(entry) == f"{shown}; n=8"
    # No slack appears that is not there.
    assert entry.low is not None
    assert entry.high is not None
    assert entry.low <= low
    assert entry.high >= high


def test_small_ends_keep_three_figures_and_infinite_values_are_numbers(made: Make) -> None:
    entry = entry_of(made(estimate=math.inf, interval=(0.000412345, math.inf), threshold=None))
    assert (entry.low, entry.estimate, entry.high) == (0.000412, 1e100, 1e100)


def entry_of(result: Result) -> HistoryEntry:
    """The entry of a run with one claim."""
    ((entry,),) = entries_of(account_of([Row("test_a.py::test_it", result)]), ORIGIN).values()
    return entry
