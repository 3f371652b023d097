"""Claims about people, items and labels whose loss is rare, by the core's table of false passes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
sys.path[:0] = [str(ROOT / "benchmarks"), str(Path(__file__).resolve().parents[1])]
import rare_strata  # noqa: E402 - a benchmark of the core
from rare_people import CASES  # noqa: E402

del sys.path[:2]

IDS = [f"{one.rule}: {one.population}" for one in CASES]


@pytest.mark.parametrize("n", rare_strata.SIZES)
@pytest.mark.parametrize("one", CASES, ids=IDS)
def test_few_runs_pass_a_false_claim(one: rare_strata.Case, n: int) -> None:
    row = rare_strata.measured(one, n, 60 if n < 500 else 30)
    assert row.met, row


@pytest.mark.slow
@pytest.mark.parametrize("n", rare_strata.SIZES)
@pytest.mark.parametrize("one", CASES, ids=IDS)
def test_a_false_claim_passes_no_oftener_than_alpha(one: rare_strata.Case, n: int) -> None:
    row = rare_strata.measured(one, n, 2000)
    assert row.met, row


def test_kinds_with_rules_of_their_own_have_a_population_that_misleads() -> None:
    """Agreement and accuracy of several objects are shares, which the core's table covers."""
    assert {kind for one in CASES for kind in one.kinds} == {
        "cue_noticed",
        "label_quality",
        "replication_gap",
        "selection_gap",
        "simulatable",
    }


def test_an_approximate_rule_would_pass_false_claims_of_a_population() -> None:
    """Otherwise it need not say so: the selection gap is studentised over few people."""
    misled = {
        one.rule for one in CASES if one.about for n in (20, 500) if (rare_strata.measured(one, n, 60).as_set or 0) > 3
    }
    assert "decide_selection_gap" in misled
