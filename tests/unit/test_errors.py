"""The hierarchy of errors, and the sentences they speak."""

from __future__ import annotations

import copy

import pytest

from robustest import (
    ClaimFailed,
    ClaimInconclusive,
    ConfigError,
    Cost,
    DataError,
    DeviceError,
    ModelError,
    Result,
    RobustestError,
    UnknownNameError,
    Verdict,
)
from robustest.errors import expected, unknown

RESULT = Result.of(
    kind="c",
    statement="s",
    verdict=Verdict.FAILED,
    rule="r",
    quantity="accuracy",
    estimate=0.0,
    interval=(0.0, 1.0),
    threshold=None,
    comparison=">=",
    n=1,
    n_total=1,
    outcomes=(False,),
    cost=Cost(),
    seed=0,
    setting="",
    method="",
)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigError, ValueError),
        (UnknownNameError, ValueError),
        (DataError, ValueError),
        (ModelError, RuntimeError),
        (DeviceError, RuntimeError),
    ],
)
def test_each_error_is_also_the_builtin_a_caller_would_catch(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)
    assert issubclass(error, RobustestError)


@pytest.mark.parametrize("claim", [ClaimFailed, ClaimInconclusive])
def test_a_failed_claim_is_no_error_and_an_error_is_no_failed_claim(claim: type[Exception]) -> None:
    assert issubclass(claim, AssertionError)
    assert not issubclass(claim, RobustestError)
    assert not issubclass(RobustestError, AssertionError)


def test_inconclusive_is_not_let_through_where_failed_is_caught() -> None:
    assert issubclass(ClaimInconclusive, ClaimFailed)


@pytest.mark.parametrize("claim", [ClaimFailed, ClaimInconclusive])
def test_a_failed_claim_survives_the_way_between_processes(claim: type[ClaimFailed]) -> None:
    there = copy.copy(claim("does not hold", RESULT))  # copying takes the same road as sending to a process
    assert type(there) is claim
    assert str(there) == "does not hold"
    assert there.result == RESULT


def test_expected_says_what_was_wanted_what_was_got_and_its_type() -> None:
    assert expected("eps >= 0", -0.1) == "Expected eps >= 0 but got -0.1 (float)"
    assert expected("eps >= 0", "x", "Give a number.") == "Expected eps >= 0 but got 'x' (str). Give a number."


def test_unknown_names_the_nearest_and_lists_all_in_order() -> None:
    error = unknown("attack", "pdg", ["pgd", "fgsm"])
    assert isinstance(error, UnknownNameError)
    assert str(error) == "Unknown attack 'pdg'. Did you mean 'pgd'? Known: fgsm, pgd."


@pytest.mark.parametrize("name", ["zzzzzz", "", 7, None])
def test_unknown_suggests_nothing_where_nothing_is_near(name: object) -> None:
    text = str(unknown("attack", name, ["pgd", "fgsm"]))
    assert "Did you mean" not in text
    assert repr(name) in text
    assert "Known: fgsm, pgd." in text
