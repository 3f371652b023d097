"""One word for what became of a row, the same in every report."""

from __future__ import annotations

from typing import Any

import pytest

from robustest.reports.states import QUIET, STATES, state
from robustest.results import Verdict


def test_what_could_not_be_measured_is_an_error() -> None:
    assert state(None) == "error"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_claim_has_its_verdict(verdict: Verdict, made: Any) -> None:
    assert state(made(str(verdict))) == str(verdict)


def test_without_a_threshold_or_a_baseline_nothing_was_claimed(made: Any) -> None:
    measured = made("inconclusive", threshold=None)
    assert state(measured) == "measured"
    assert not measured.is_claim


@pytest.mark.parametrize("verdict", list(Verdict))
def test_to_be_no_worse_than_a_baseline_is_a_claim(verdict: Verdict, made: Any) -> None:
    compared = made(str(verdict), threshold=None, details={"baseline": {"file": "b.json", "tolerance": 0.0}})
    assert state(compared) == str(verdict)


def test_only_what_passed_or_claims_nothing_is_quiet() -> None:
    assert set(STATES) - QUIET == {"failed", "error", "inconclusive"}
