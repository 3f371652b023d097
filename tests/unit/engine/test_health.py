"""From counts to findings: each check speaks from its share on, and never on nothing."""

from __future__ import annotations

from dataclasses import fields

import pytest

from robustest.engine.health import Health
from robustest.settings import HEALTH_CHECKS

# name, what is counted, out of, a count that speaks, the largest that does not
TURNS = [
    ("zero_gradient", "zero", "climbed", 100, 10, 9),
    ("loss_does_not_rise", "flat", "climbed_first", 100, 50, 49),
    ("black_box_beats_white_box", "broken_blind", "asked", 100, 10, 9),
    ("black_box_beats_white_box", "broken_blind", "asked", 30, 5, 4),
    ("black_box_beats_white_box", "broken_blind", "asked", 3, 3, 2),
    ("black_box_beats_white_box", "broken_blind", "asked", 6, 4, 3),
    ("gradient_misleads", "unkept", "promises", 2, 2, 1),
    ("gradient_misleads", "unkept", "promises", 6, 4, 3),
    ("gradient_misleads", "unkept", "promises", 16, 6, 5),
    ("gradient_misleads", "unkept", "promises", 160, 26, 25),
    ("unbounded_attack_fails", "unbounded_held", "unbounded", 40, 10, 9),
    ("unbounded_attack_fails", "unbounded_held", "unbounded", 4, 2, 1),
    ("unbounded_attack_fails", "unbounded_held", "unbounded", 1, 1, 0),
    ("not_monotone", "halved_broken", "halved", 40, 10, 9),
    ("not_monotone", "halved_broken", "halved", 4, 2, 1),
    ("quantised_input", "unmoved", "probed", 100, 90, 89),
    ("saturated_softmax", "saturated", "probed", 100, 50, 49),
    ("precision_disagreement", "rounded_apart", "rounded", 40, 4, 3),
    ("precision_disagreement", "rounded_apart", "rounded", 8, 2, 1),
    ("precision_disagreement", "rounded_apart", "rounded", 1, 1, 0),
    ("batch_dependence", "beside_apart", "beside", 8, 1, 0),
    ("unreached_input", "unreached", "followed", 40, 4, 3),
    ("unreached_input", "unreached", "followed", 8, 2, 1),
    ("unreached_input", "unreached", "followed", 1, 1, 0),
    ("weak_attack", "audit_broken", "audited", 19, 6, 5),
    ("weak_search", "unsearched", "survivors", 200, 1, 0),
    ("history_dependence", "otherwise", "asked_anew", 6, 1, 0),
    ("train_mode", "training", "modal", 50, 1, 0),
]


@pytest.mark.parametrize("turn", TURNS)
def test_a_check_speaks_from_its_share_on_with_its_numbers(turn: tuple[str, str, str, int, int, int]) -> None:
    name, seen, of, whole, speaks, silent = turn
    (finding,) = Health(**{seen: speaks, of: whole}).findings(())
    assert finding.name == name
    assert f"({speaks} of {whole} " in finding.message
    assert not finding.suppressed
    assert Health(**{seen: silent, of: whole}).findings(()) == ()


def test_no_check_speaks_on_nothing() -> None:
    assert Health().findings(()) == ()


def test_a_suppressed_check_still_says_what_it_saw() -> None:
    health = Health(training=1, modal=1, zero=5, climbed=5)
    assert {f.name: f.suppressed for f in health.findings(("train_mode",))} == {
        "train_mode": True,
        "zero_gradient": False,
    }


def test_counts_of_chunks_add_up() -> None:
    """Every field is a number whose sum over chunks is the number of the whole."""
    assert all(field.type == "int" and field.default == 0 for field in fields(Health))


def test_every_check_but_those_of_other_hands_has_its_turn() -> None:
    assert {turn[0] for turn in TURNS} == set(HEALTH_CHECKS) - {"random_forward", "softmax_outputs"}


@pytest.mark.parametrize("survivors", [1, 2])
def test_gradients_do_not_matter_where_two_searches_without_them_went_through_all_that_is_left(survivors: int) -> None:
    counts = {"zero": 5, "climbed": 5, "survivors": survivors}
    assert [one.carried for one in Health(**counts, carried=survivors).findings(())] == [True]
    assert [one.carried for one in Health(**counts, carried=survivors - 1).findings(())] == [False]
    assert [one.carried for one in Health(**counts, carried=survivors, broken_again=1).findings(())] == [False]
