"""A run that only replays: a test that crashes before any claim fails, and one that claims nothing is never green."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from robustest.context import Context
from robustest.errors import ClaimFailed, ModelError, NotSearched
from robustest.pytest_plugin.outcome import skip_if_not_searched, skip_if_only_replayed

REASON = "accuracy >= 0.5: replayed only: 3 known counterexamples still break"


def ended(block: AbstractContextManager[None], error: BaseException | None = None) -> BaseException | None:
    """Return what comes out of a block in which `error` is raised."""
    try:
        with block:
            if error is not None:
                raise error
    except BaseException as raised:
        return raised
    return None


def claim_failed() -> ClaimFailed:
    failed: Any = ClaimFailed.__new__(ClaimFailed)
    return failed


LOUD = [RuntimeError("crash"), AssertionError("0 == 1"), ModelError("NaN"), claim_failed(), KeyboardInterrupt()]


@pytest.mark.parametrize("error", [*LOUD, pytest.fail.Exception("by hand")], ids=lambda error: type(error).__name__)
def test_what_is_raised_before_any_claim_is_no_skip(error: BaseException) -> None:
    assert ended(skip_if_only_replayed(Context()), error) is error


@pytest.mark.parametrize("error", [ModelError("NaN"), claim_failed()], ids=lambda error: type(error).__name__)
def test_a_refuted_claim_and_an_error_stay_what_they_are_after_a_claim_that_was_not_searched(error: Exception) -> None:
    assert ended(skip_if_only_replayed(Context(unvouched=[REASON])), error) is error


@pytest.mark.parametrize("error", [TypeError("None > 0.5\nand more"), AssertionError("None > 0.5")])
def test_a_test_that_stumbles_over_missing_numbers_is_skipped_and_says_so(error: Exception) -> None:
    context = Context(unvouched=[REASON])
    raised = ended(skip_if_only_replayed(context), error)
    assert isinstance(raised, pytest.skip.Exception)
    assert str(raised) == f"{REASON}; then the test raised {type(error).__name__}: None > 0.5"
    assert not context.unvouched


@pytest.mark.parametrize("error", [None, NotSearched("accuracy >= 0.5", "replayed only")], ids=str)
@pytest.mark.parametrize("unvouched", [[], [REASON, "another"]], ids=["no claim", "two claims"])
def test_a_test_that_reaches_its_end_is_skipped(unvouched: list[str], error: Exception | None) -> None:
    raised = ended(skip_if_only_replayed(Context(declared=True, unvouched=list(unvouched))), error)
    assert isinstance(raised, pytest.skip.Exception)
    assert str(raised) == ("; ".join(unvouched) or "replayed only: the test makes no claim")


def test_a_test_that_nothing_makes_a_robustness_test_goes_on() -> None:
    assert ended(skip_if_only_replayed(Context())) is None


@pytest.mark.parametrize("error", [*LOUD, None], ids=lambda error: type(error).__name__)
def test_a_fixture_that_crashes_is_no_skip(error: BaseException | None) -> None:
    assert ended(skip_if_not_searched(), error) is error


def test_a_fixture_that_was_not_searched_skips() -> None:
    raised = ended(skip_if_not_searched(), NotSearched("accuracy", "replayed only"))
    assert isinstance(raised, pytest.skip.Exception)
