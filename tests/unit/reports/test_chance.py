"""How many verdicts rest on alpha, and what that adds up to."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from robustest.decisions.share import settle_share
from robustest.reports.text import Chance
from robustest.results import Cost, Result, Verdict

CLAIM = Result.of(
    kind="robust_accuracy",
    statement="made up >= 0.5",
    verdict=Verdict.PASSED,
    rule="made up",
    quantity="accuracy",
    estimate=None,
    interval=(0.5, 0.8),
    threshold=0.5,
    comparison=">=",
    n=4,
    n_total=8,
    outcomes=(True,) * 4 + (None,) * 4,
    cost=Cost(),
    seed=0,
    setting="nothing",
    method="none",
    alpha=0.01,
    at_alpha=True,
)
CERTAIN = CLAIM.but(at_alpha=False)
EXACT = CERTAIN.but(alpha=0.0)


def test_it_adds_up_what_every_claim_might_have_come_to_rest_on() -> None:
    """Those that rest on alpha were picked by the outcome; to count these alone would promise too much."""
    chance = Chance.of([CLAIM] * 12 + [CERTAIN] * 8 + [EXACT] * 5 + [None])
    assert (chance.verdicts, chance.at_alpha, chance.wrong) == (25, 12, pytest.approx(0.2))
    assert str(chance) == "12 of 25 verdicts rest on alpha = 0.01: at most 0.2 wrong verdicts expected"
    assert json.loads(json.dumps(asdict(chance)))["at_alpha"] == 12


def test_nothing_is_said_where_all_is_certain() -> None:
    assert str(Chance.of([CERTAIN, EXACT, None])) == ""
    assert Chance.of([CERTAIN]).wrong == 0
    assert str(Chance.of([])) == ""


def test_what_claims_nothing_and_what_is_inconclusive_is_no_verdict() -> None:
    asked = CLAIM.but(verdict=Verdict.INCONCLUSIVE)
    chance = Chance.of([asked, asked.but(threshold=None), CLAIM])
    assert (chance.verdicts, chance.at_alpha, chance.wrong) == (1, 1, 0.02)


def test_comparisons_that_passed_are_told_apart() -> None:
    compared = CLAIM.but(details={"baseline": {"lost": 3}})
    told = str(Chance.of([compared, CLAIM.but(alpha=0.05), compared.but(verdict=Verdict.FAILED)]))
    assert told == (
        "3 of 3 verdicts rest on alpha = 0.01 to 0.05: at most 0.07 wrong verdicts expected; "
        "1 comparison with a baseline passed because no loss was shown"
    )


def test_what_holds_only_about_is_told_apart() -> None:
    about = CLAIM.but(details={"approximate": True})
    assert str(Chance.of([CLAIM, about])).endswith("expected; 1 of them holds only approximately at this alpha")
    assert str(Chance.of([about] * 3)).endswith("; 3 of them hold only approximately at this alpha")
    assert Chance.of([about, CLAIM, about.but(at_alpha=False)]).about == 1


def test_runs_hold_no_more_wrong_verdicts_than_it_says() -> None:
    """Sets one short of what is claimed: of those settled at alpha most are wrong, and in all no more than told."""
    generator, runs, n = np.random.default_rng(0), 1000, 200
    wrong = resting = 0
    for _ in range(runs):
        settled = settle_share(generator.permutation(np.arange(n) < 99), n, 100, pass_alpha=0.05, fail_alpha=0.0005)
        assert settled is not None
        resting += not settled.certain
        wrong += settled.verdict is Verdict.PASSED
    told = Chance.of([CLAIM.but(alpha=0.05)] * resting + [CERTAIN.but(alpha=0.05)] * (runs - resting))
    assert wrong <= told.wrong
    assert wrong > 0.05 * resting, "to multiply the verdicts that rest on alpha by alpha would promise too much"
