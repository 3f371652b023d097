"""Claims about populations whose loss sits in strata, clusters and values that samples often miss, rule by rule."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from table_entries import check_entries

import robustest
from robustest.claims import kinds

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import rare_strata
from rare_strata import CASES, NO_BOUND, Case, measured

sys.path.pop(0)

IDS = [f"{one.rule}: {one.population}" for one in CASES]


@pytest.mark.thinned
@pytest.mark.parametrize("n", rare_strata.SIZES)
@pytest.mark.parametrize("one", CASES, ids=IDS)
def test_few_runs_pass_a_false_claim(one: Case, n: int) -> None:
    row = measured(one, n, 60 if n < 500 else 30)
    assert row.met, row


@pytest.mark.slow
@pytest.mark.parametrize("n", rare_strata.SIZES)
@pytest.mark.parametrize("one", CASES, ids=IDS)
def test_a_false_claim_passes_no_oftener_than_alpha(one: Case, n: int) -> None:
    row = measured(one, n, 2000)
    assert row.met, row


def test_every_kind_of_claim_has_a_population_that_misleads() -> None:
    assertions = {name for name in robustest.__all__ if name.startswith("assert_") and getattr(robustest, name)}
    ours = {kind.name for kind in kinds().values() if kind.assertion in assertions}  # and not those of plugins
    here = {kind for one in CASES for kind in one.kinds}
    check_entries([*here, *NO_BOUND], ours | set(NO_BOUND), "CASES in benchmarks/rare_strata.py, or NO_BOUND")


def test_a_model_that_is_clearly_good_enough_passes() -> None:
    """Of subclasses: a fall of .07 in the mean, against what so many can show."""
    found = {key: rare_strata.power(*key, 30)[0] for key in ((4, 0.8), (10, 0.5), (30, 0.3), (100, 0.15))}
    assert min(found.values()) >= 0.8, found
