"""Kinds of claim: each is whole, and a result says what its kind says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import robustest
from robustest import ConfigError, Cost, Result, Verdict
from robustest.kinds import Kind, Quantity
from robustest.results import Captions, Counts, Fact

RATE = Quantity.at_most("max_rate", "rate", "rate of {}", counts="outcomes")
FALL = Quantity.at_most("max_fall", "fall", "fall", counts=("lost", "gained"), fall=True)
PART = Quantity.at_most("max_part", "part", "part", counts=("flips", "of"))
KIND = Kind(name="toy", varies="nothing", quantities=(RATE, FALL, PART))


def result(quantity: str = "rate", **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "kind": "toy",
        "statement": "rate of toys",
        "verdict": Verdict.PASSED,
        "rule": "made up",
        "quantity": quantity,
        "estimate": 0.25,
        "interval": (0.0, 0.5),
        "threshold": 0.5,
        "comparison": "<=",
        "n": 4,
        "n_total": 4,
        "outcomes": (True, True, True, False),
        "cost": Cost(),
        "seed": 0,
        "setting": "",
        "method": "",
        "details": {"lost": 3, "gained": 1, "flips": 2, "of": 3, "clean_accuracy": 0.5},
    }
    return Result.of(**{**fields, **changes})


@pytest.mark.parametrize(
    ("quantity", "counts"),
    [
        ("rate", Counts(n=4, events=1)),
        ("fall", Counts(n=4, events=3, gained=1)),
        ("part", Counts(n=3, events=2)),
    ],
)
def test_a_value_has_the_whole_numbers_it_is_made_of(quantity: str, counts: Counts) -> None:
    assert KIND.describe(result(quantity)).numbers.counts == counts
    assert KIND.describe(result(quantity, estimate=None)).numbers.counts is None
    assert KIND.describe(result("fall", details={"lost": 0.5})).numbers.counts is None


def test_what_was_told_is_no_fact_of_its_own() -> None:
    kind = dataclasses.replace(KIND, lines=lambda d: [Fact("in all", d["flips"])], hidden=frozenset({"flips", "of"}))
    facts = kind.facts({"flips": 2, "of": 3, "lost": 1})
    assert facts == (Fact("in all", 2), Fact("lost", 1, leads=False))
    assert all(fact.leads for fact in KIND.facts({"flips": 2}))


def test_a_result_that_no_kind_described_tells_its_details() -> None:
    assert Fact("clean accuracy", 0.5) in result().words.facts


def test_a_described_result_goes_through_json_unchanged() -> None:
    told = dataclasses.replace(KIND, captions=Captions(size="age", names={"of": "out of"})).describe(result())
    assert Result.from_dict(told.to_dict()) == told
    assert told.subject.asserted_by == "assert_toy"


def test_a_kind_must_have_a_name_and_something_to_measure() -> None:
    with pytest.raises(ConfigError, match="a name that Python allows but got 'a b'"):
        Kind(name="a b", varies="nothing", quantities=(RATE,))
    with pytest.raises(ConfigError, match="'toy' to measure one quantity"):
        Kind(name="toy", varies="nothing", quantities=())


def test_a_threshold_asks_for_one_quantity() -> None:
    assert KIND.quantity_of("max_fall") is FALL
    assert RATE.state("toys") == "rate of toys"
    assert KIND.thresholds == ("max_rate", "max_fall", "max_part")


def test_every_public_assertion_has_a_kind_of_its_own_name() -> None:
    made = [getattr(robustest, name) for name in robustest.__all__ if name.startswith("assert_")]
    from robustest.claims import kinds

    ours = {kind.assertion for kind in kinds().values()}
    assert {one.__name__ for one in made} <= ours
    assert len({kind.name for kind in kinds().values()}) == len(kinds())
