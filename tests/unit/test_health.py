"""From counts to findings: each check speaks from its share on, and never on nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from math import ceil, comb, floor

import pytest

from robustest.health import BEYOND_SEARCH, CHECKS, HEALTH_CHECKS, Health, HealthCheck, HealthFinding, unlikely

# check, cases tried, the fewest failures that stop a claim, the most that do not
TURNS = [
    ("zero_gradient", 100, 10, 9),
    ("loss_does_not_rise", 100, 50, 49),
    ("black_box_beats_white_box", 100, 10, 9),
    ("black_box_beats_white_box", 30, 5, 4),
    ("black_box_beats_white_box", 3, 3, 2),
    ("black_box_beats_white_box", 6, 4, 3),
    ("gradient_misleads", 2, 2, 1),
    ("gradient_misleads", 6, 4, 3),
    ("gradient_misleads", 16, 6, 5),
    ("gradient_misleads", 160, 26, 25),
    ("unbounded_attack_fails", 40, 10, 9),
    ("unbounded_attack_fails", 4, 2, 1),
    ("unbounded_attack_fails", 1, 1, 0),
    ("not_monotone", 40, 10, 9),
    ("not_monotone", 4, 2, 1),
    ("quantised_input", 100, 90, 89),
    ("saturated_softmax", 100, 50, 49),
    ("precision_disagreement", 40, 4, 3),
    ("precision_disagreement", 8, 2, 1),
    ("precision_disagreement", 1, 1, 0),
    ("reduced_precision", 19, 1, 0),
    ("batch_dependence", 8, 1, 0),
    ("no_room", 40, 4, 3),
    ("no_room", 5, 1, 0),
    ("no_change", 40, 36, 35),
    ("unreached_input", 40, 4, 3),
    ("unreached_input", 8, 2, 1),
    ("unreached_input", 1, 1, 0),
    ("weak_attack", 19, 6, 5),
    ("unconfirmed_success", 40, 4, 3),
    ("unconfirmed_success", 8, 2, 1),
    ("missed_control", 40, 4, 3),
    ("missed_control", 3, 1, 0),
    ("weak_search", 200, 1, 0),
    ("history_dependence", 6, 1, 0),
    ("train_mode", 50, 1, 0),
    ("radius_units", 40, 1, 0),
    ("idle_search", 40, 36, 35),
    ("blind_scores", 100, 2, 1),
    ("softmax_outputs", 40, 1, 0),
]


def counted(*counts: tuple[str, int, int]) -> Health:
    """Counts of checks: name, cases that failed, cases tried."""
    health = Health()
    for name, failed, tried in counts:
        health.count(name, failed=failed, tried=tried)
    return health


@pytest.mark.parametrize("turn", TURNS)
def test_a_check_stops_a_claim_from_its_share_on_with_its_numbers(turn: tuple[str, int, int, int]) -> None:
    name, tried, stops, passes = turn
    (finding,) = counted((name, stops, tried)).findings(())
    assert finding.name == name
    assert f"({stops} of {tried} " in finding.message
    assert not finding.suppressed
    assert counted((name, passes, tried)).findings(()) == ()


def test_no_check_stops_a_claim_without_counts() -> None:
    assert Health().findings(()) == ()
    assert counted(*((check.name, 0, 0) for check in CHECKS)).findings(()) == ()


def test_a_suppressed_check_still_says_what_it_found() -> None:
    health = counted(("train_mode", 1, 1), ("zero_gradient", 5, 5))
    assert {f.name: f.suppressed for f in health.findings(("train_mode",))} == {
        "train_mode": True,
        "zero_gradient": False,
    }


def test_counts_of_chunks_add_up_and_are_left_as_they_are() -> None:
    first, second = counted(("zero_gradient", 1, 4)), counted(("zero_gradient", 2, 3), ("train_mode", 0, 5))
    first.searched_twice, second.broken_again = 2, 1
    both = first.plus(second)
    assert both.counts("zero_gradient") == (3, 7)
    assert both.counts("train_mode") == (0, 5)
    assert (both.searched_twice, both.broken_again) == (2, 1)
    assert both.plus(second, -1).counts("zero_gradient") == first.counts("zero_gradient") == (1, 4)
    assert both.plus(second, -1).broken_again == 0


def test_sums_and_differences_of_counts_need_no_failures() -> None:
    """Names without a failure may be absent, on either side."""
    one = Health(tried={"no_room": 3, "train_mode": 2}, failed={"train_mode": 1}, searched_twice=5, broken_again=7)
    other = Health(tried={"no_room": 4, "zero_gradient": 6}, searched_twice=2, broken_again=3)
    both, apart = one.plus(other), one.plus(other, -1)
    assert both.tried == {"no_room": 7, "train_mode": 2, "zero_gradient": 6}
    assert both.failed == {"no_room": 0, "train_mode": 1, "zero_gradient": 0}
    assert (both.searched_twice, both.broken_again) == (7, 10)
    assert apart.tried == {"no_room": -1, "train_mode": 2, "zero_gradient": -6}
    assert apart.failed == {"no_room": 0, "train_mode": 1, "zero_gradient": 0}
    assert (apart.searched_twice, apart.broken_again) == (3, 4)
    assert one.tried == {"no_room": 3, "train_mode": 2}
    assert (Health().searched_twice, Health().broken_again) == (0, 0)


def test_counts_survive_a_file() -> None:
    health = counted(("zero_gradient", 1, 4), ("weak_search", 2, 9))
    health.searched_twice = 3
    assert Health(**json.loads(json.dumps(asdict(health)))) == health


def test_counts_without_survivors_keep_the_other_checks() -> None:
    health = counted(("zero_gradient", 1, 4), ("weak_search", 2, 9))
    health.searched_twice = health.broken_again = 3
    assert health.without_survivors() == counted(("zero_gradient", 1, 4))


def test_every_check_with_counts_has_its_turn() -> None:
    without = {"random_forward", "same_model", "constant_answer"}  # raised, or found in the whole claim
    assert {turn[0] for turn in TURNS} == set(HEALTH_CHECKS) - without
    assert len(HEALTH_CHECKS) == len(CHECKS)


@pytest.mark.parametrize("survivors", [1, 2])
def test_gradients_do_not_matter_where_two_searches_without_them_went_through_all_that_is_left(survivors: int) -> None:
    def carried(twice: int, again: int = 0) -> list[bool]:
        health = counted(("zero_gradient", 5, 5), ("weak_search", 0, survivors))
        health.searched_twice, health.broken_again = twice, again
        return [one.carried for one in health.findings(())]

    assert carried(survivors) == [True]
    assert carried(survivors - 1) == [False]
    assert carried(survivors, 1) == [False]


@pytest.mark.parametrize("check", [check for check in CHECKS if check.share], ids=lambda check: check.name)
def test_a_share_of_failures_stops_a_claim_at_its_decimal_whatever_the_number_of_cases(check: HealthCheck) -> None:
    share = Fraction(repr(check.share))
    for tried in range(1, 201):
        for failed in {0, floor(share * tried), ceil(share * tried), ceil(share * tried) + 1, tried} - {tried + 1}:
            enough = failed >= max(1, share * tried)
            few = (check.few == "all" and failed == tried) or (check.few == "unlikely" and unlikely(failed, tried))
            assert check.stops(failed, tried) == (enough and (failed >= check.least or few)), (failed, tried)


def test_a_tenth_that_fails_is_usual_up_to_one_per_cent() -> None:
    for tried in range(1, 60):
        for failed in range(tried + 1):
            p = sum(comb(tried, k) * 9 ** (tried - k) for k in range(failed, tried + 1))
            assert unlikely(failed, tried) == (failed > 0 and 100 * p <= 10**tried)


def test_findings_and_their_carriers_are_these() -> None:
    carried = {check.name for check in CHECKS if check.about == "gradients"}
    assert carried == {
        "zero_gradient", "loss_does_not_rise", "gradient_misleads", "black_box_beats_white_box",
        "unbounded_attack_fails", "not_monotone", "quantised_input", "saturated_softmax", "unreached_input",
        "softmax_outputs",
    }  # fmt: skip
    assert {
        "batch_dependence", "history_dependence", "train_mode", "random_forward", "no_change", "radius_units",
        "same_model", "constant_answer",
    } == BEYOND_SEARCH  # fmt: skip
    health = counted(*((check.name, 9, 9) for check in CHECKS))
    health.failed["weak_search"], health.searched_twice = 0, 9
    found = {one.name: one for one in health.findings(("train_mode",))}
    assert {name for name, one in found.items() if one.carried} == carried
    assert {name for name, one in found.items() if not one.stops} == carried | {"train_mode"}
    assert asdict(found["no_room"]) == {
        "name": "no_room", "message": found["no_room"].message, "suppressed": False, "carried": False,
    }  # fmt: skip
    assert HealthFinding(name="a", message="b", suppressed=False).stops
