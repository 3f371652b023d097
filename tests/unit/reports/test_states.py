"""One word for what became of a row, the same in every report."""

from __future__ import annotations

from typing import Any

import pytest

from robustest.account import EXPLAINED, OUTCOMES, RED, STATES, Ending
from robustest.reports.text import row_remark, row_without_result
from robustest.results import Verdict

BASELINE = {"threshold": None, "details": {"baseline": {"file": "b.json", "tolerance": 0.0}}}


def ended(outcome: str, phase: str = "call", **more: Any) -> Ending:
    return Ending(test="t", phase=phase, outcome=outcome, reason="because", **more)


def test_what_could_not_be_measured_is_an_error(row: Any) -> None:
    assert row("t", None, problem="NaN").state == "error"


@pytest.mark.parametrize("outcome", [None, "failed", "error", "unfinished"])
@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("more", [{}, BASELINE], ids=["threshold", "baseline"])
def test_a_claim_has_its_verdict_unless_a_failure_was_expected_or_let_off(
    verdict: Verdict, outcome: str | None, more: dict[str, Any], made: Any, row: Any
) -> None:
    assert row("t", made(str(verdict), **more), ending=outcome and ended(outcome)).state == str(verdict)


@pytest.mark.parametrize(
    ("outcome", "states"),
    [
        ("passed", ("passed", "tolerated", "tolerated")),
        ("xpassed", ("xpassed", "tolerated", "tolerated")),
        ("xfailed", ("passed", "xfailed", "xfailed")),
        ("skipped", ("passed", "skipped", "skipped")),
    ],
)
def test_the_tests_ending_comes_before_the_claims_verdict(
    outcome: str, states: tuple[str, ...], made: Any, row: Any
) -> None:
    rows = [row("t", made(verdict), ending=ended(outcome)) for verdict in ("passed", "failed", "inconclusive")]
    assert tuple(one.state for one in rows) == states
    assert all(("because" in row_remark(one)) == (one.state not in ("passed", "tolerated")) for one in rows)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_without_a_threshold_or_a_baseline_nothing_was_claimed(outcome: str, made: Any, row: Any) -> None:
    measured = made("inconclusive", threshold=None)
    assert row("t", measured, ending=ended(outcome)).state == "measured"
    assert not measured.is_claim


@pytest.mark.parametrize("outcome", [outcome for outcome in OUTCOMES if outcome != "passed"])
def test_a_test_without_a_result_is_what_it_ended_as(outcome: str, row: Any) -> None:
    one = row("t", None, problem="because", ending=ended(outcome))
    assert one.state == outcome
    assert row_without_result(one).endswith(": because")
    assert "could not measure" not in row_without_result(one)


@pytest.mark.parametrize(
    ("phase", "outcome", "claimed", "words"),
    [
        ("setup", "error", False, "error in setup: because"),
        ("call", "error", True, "could not measure: because"),
        ("worker", "error", False, "its worker process was lost: because"),
        ("collect", "error", False, "could not be collected: because"),
        ("call", "unfinished", False, "stopped before its call: because"),
        ("call", "xfailed", True, "failed as expected: because"),
    ],
)
def test_the_phase_is_named(phase: str, outcome: str, claimed: bool, words: str, row: Any) -> None:
    assert row_without_result(row("t", None, problem="because", ending=ended(outcome, phase, claimed=claimed))) == words


def test_every_ending_has_a_state_and_red_is_what_keeps_a_run_from_being_green() -> None:
    assert set(OUTCOMES) <= set(STATES)
    assert {"failed", "error", "unfinished", "inconclusive"} == RED
    assert {"tolerated"} == EXPLAINED - RED
