"""Thresholds mean what is written, in decimals."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robustest import ConfigError
from robustest.verdicts import checked_threshold, most, need

written = st.integers(0, 6).flatmap(lambda digits: st.integers(0, 10**digits).map(lambda n: Decimal(n).scaleb(-digits)))


@given(written, st.integers(1, 10**6))
@example(Decimal("0.55"), 200)  # 0.55 * 200 is 110.00000000000001 in floating point
@example(Decimal("0.29"), 100)  # 0.29 * 100 is 28.999999999999996
@example(Decimal("0.0001"), 30000)
def test_need_and_most_are_exact_in_the_digits_as_written(threshold: Decimal, n: int) -> None:
    exact = Fraction(threshold) * n
    assert need(float(threshold), n) == math.ceil(exact)
    assert most(float(threshold), n) == math.floor(exact)


def test_the_case_that_floating_point_gets_wrong() -> None:
    assert need(0.55, 200) == 110
    assert math.ceil(0.55 * 200) == 111  # as plain arithmetic has it


@given(st.floats(0, 1), st.integers(1, 1000))
def test_all_and_none_bound_everything(threshold: float, n: int) -> None:
    assert 0 <= most(threshold, n) <= need(threshold, n) <= n


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.4, 1e-9])
def test_thresholds_that_are_taken(value: float) -> None:
    assert checked_threshold("at_least", value) == value
    assert type(checked_threshold("at_least", value)) is float


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (40, "Write 0.4 for 40 %"),
        (55.5, "Write 0.555 for 55.5 %"),
        (100, "Write 1 for 100 %"),
        (1.0001, "at_least in 0..1"),
        (-0.1, "-0.1 (float)"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (101, "101 (int)"),
        ("0.4", "'0.4' (str)"),
        (True, "True (bool)"),
        (None, "NoneType"),
        ([0.4], "[0.4] (list)"),
    ],
    ids=repr,
)
def test_thresholds_that_are_refused(value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=r"Expected at_least in 0\.\.1") as caught:
        checked_threshold("at_least", value)
    assert words in str(caught.value)
