"""Thresholds mean what is written, in decimals."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robustest import ConfigError
from robustest.decisions import checked_threshold, count_at_least, count_at_most
from robustest.decisions.thresholds import checked_not_both, fraction_at_most

written = st.integers(0, 6).flatmap(lambda digits: st.integers(0, 10**digits).map(lambda n: Decimal(n).scaleb(-digits)))


@given(written, st.integers(1, 10**6))
@example(Decimal("0.55"), 200)  # 0.55 * 200 is 110.00000000000001 in floating point
@example(Decimal("0.29"), 100)  # 0.29 * 100 is 28.999999999999996
@example(Decimal("0.0001"), 30000)
def test_need_and_most_are_exact_in_the_digits_as_written(threshold: Decimal, n: int) -> None:
    exact = Fraction(threshold) * n
    assert count_at_least(float(threshold), n) == math.ceil(exact)
    assert count_at_most(float(threshold), n) == math.floor(exact)


def test_the_case_that_floating_point_gets_wrong() -> None:
    assert count_at_least(0.55, 200) == 110
    assert math.ceil(0.55 * 200) == 111  # as plain arithmetic has it


@given(st.floats(0, 1), st.integers(1, 1000))
def test_all_and_none_bound_everything(threshold: float, n: int) -> None:
    assert 0 <= count_at_most(threshold, n) <= count_at_least(threshold, n) <= n


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.4, 1e-9])
def test_thresholds_that_are_taken(value: float) -> None:
    assert checked_threshold("at_least", value) == value
    assert type(checked_threshold("at_least", value)) is float


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (40, "Write 0.4 for 40 %"),
        (np.int64(40), "Write 0.4 for 40 %"),
        ("40%", "Write 0.4."),
        ("40 %", "Write 0.4."),
        ("40", "Write 0.4."),
        ("much", "'much' (str)"),
        (np.float32("nan"), "nan"),
        (np.bool_(True), "(bool"),
        (1 + 2j, "(complex)"),
        (55.5, "Write 0.555 for 55.5 %"),
        (100, "Write 1 for 100 %"),
        (1.0001, "at_least in 0..1"),
        (-0.1, "-0.1 (float)"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (101, "101 (int)"),
        ("0.4", "'0.4' (str). Write 0.4."),
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


@pytest.mark.parametrize(
    ("value", "number"),
    [(np.float32(0.9), 0.9), (np.float64(0.9), 0.9), (np.float16(0.4), 0.4), (Fraction(2, 5), 0.4), (np.int32(1), 1.0)],
)
def test_numbers_of_other_kinds_mean_what_they_print(value: object, number: float) -> None:
    got = checked_threshold("at_least", value)
    assert (got, type(got)) == (number, float)


@pytest.mark.parametrize("value", [0, 0.0, -0.0, np.float32(0), Fraction(0)])
def test_what_any_model_keeps_claims_nothing(value: object) -> None:
    with pytest.raises(ConfigError, match=r"Expected at_least to be more than 0 but got .* claims nothing"):
        checked_threshold("at_least", value, trivial=0)


def test_the_other_end_may_be_trivial_too() -> None:
    with pytest.raises(ConfigError, match=r"max_flip_rate to be less than 1 but got 1\.0"):
        checked_threshold("max_flip_rate", 1.0, trivial=1)
    with pytest.raises(ConfigError, match=r"Write 0\.01 for 1 %"):
        checked_threshold("max_flip_rate", 1, trivial=1)
    assert checked_threshold("max_flip_rate", 0, trivial=1) == 0
    assert checked_threshold("at_least", 1, trivial=0) == 1


def test_a_range_may_be_another_one() -> None:
    assert checked_threshold("at_least", 40, within=(0, math.inf), trivial=0) == 40
    for value in (math.inf, math.nan, -1, "40"):
        with pytest.raises(ConfigError, match="at_least to be a number > 0 but got"):
            checked_threshold("at_least", value, within=(0, math.inf))
    with pytest.raises(ConfigError, match=r"min_gain in -2\.\.2"):
        checked_threshold("min_gain", 3, within=(-2, 2))


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_measured_share_keeps_itself(share: tuple[int, int]) -> None:
    k, n = share
    assert count_at_least(k / n, n) == count_at_most(k / n, n) == k


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, "Write 0.01 for 1 %."),
        (1.0, ""),
        (1.5, "Write 0.015 for 1.5 %."),
        (100.0, "Write 1 for 100 %."),
        (100.5, ""),
        ("100", "Write 1."),
        ("100.5", ""),
        ("1", "Write 1."),
        ("1%", "Write 0.01."),
        ("1.5", "Write 0.015."),
        ("1000", ""),
    ],
)
def test_percentages_are_recognised_up_to_a_hundred(value: object, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_threshold("max_drop", value, trivial=1.0)
    assert (
        str(caught.value).rpartition("Write")[2] == hint.removeprefix("Write")
        if hint
        else "Write" not in str(caught.value)
    )


def test_of_two_thresholds_one_is_given() -> None:
    checked_not_both(at_least=None, at_most=None)
    checked_not_both(at_least=0.5, at_most=None)
    checked_not_both(at_least=None, at_most=0.5)
    with pytest.raises(ConfigError, match="Expected at_least or at_most but got both"):
        checked_not_both(at_least=0.5, at_most=0.5)
    assert checked_threshold("at_least", None, optional=True) is None
    assert checked_threshold("at_least", 0.5, optional=True) == 0.5


def test_an_exact_value_is_compared_with_the_digits_as_written() -> None:
    assert fraction_at_most(Fraction(29, 100), 0.29)
    assert not fraction_at_most(Fraction(29, 100) + Fraction(1, 10**9), 0.29)
    assert fraction_at_most(Fraction(1, 3), 1 / 3), "a measured value keeps itself"
