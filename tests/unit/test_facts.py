"""Facts, captions and counts: plain values, and what details become."""

from __future__ import annotations

from typing import Any

import pytest

from robustest.results import Captions, Counts, Fact, facts_of, is_table


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (Fact("clean accuracy", 0.954321), "0.9543"),
        (Fact("flips", 1234567), "1,234,567"),
        (Fact("size", 0.5, "pixels"), "0.5 pixels"),
        (Fact("disjoint", value=True), "yes"),
        (Fact("cue", "a border"), "a border"),
    ],
)
def test_a_fact_is_printed_with_its_unit(fact: Fact, words: str) -> None:
    assert str(fact) == words


@pytest.mark.parametrize(
    "value", [None, [1], {"a": 1}, float("nan"), float("inf"), pytest.param(object(), id="an object")], ids=repr
)
def test_a_fact_has_one_plain_value(value: Any) -> None:
    with pytest.raises(TypeError, match="Expected value of a fact"):
        Fact("size", value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fact(1, 1), "label of a fact"),  # type: ignore[arg-type]
        (lambda: Fact("a", 1, None), "unit of a fact"),  # type: ignore[arg-type]
        (lambda: Fact("a", 1, leads=1), "leads of a fact"),  # type: ignore[arg-type]
        (lambda: Captions(size=None), "size of captions"),  # type: ignore[arg-type]
        (lambda: Captions(names=["a"]), "names of captions"),  # type: ignore[arg-type]
        (lambda: Captions(names={"a": 1}), "a of names of captions"),  # type: ignore[dict-item]
        (lambda: Counts(n=1.0, events=1), "n of counts"),  # type: ignore[arg-type]
        (lambda: Counts(n=1, events=True), "events of counts"),
        (lambda: Counts(n=1, events=None), "events of counts"),  # type: ignore[arg-type]
    ],
)
def test_what_has_another_type_is_refused_by_name(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"Expected {words}"):
        make()


def test_details_become_facts_and_tables_are_left_out() -> None:
    details = {
        "clean_accuracy": 0.75,
        "drop": 0.125,
        "drop_interval": [0.0, 0.25],
        "nothing": None,
        "empty": [],
        "stages": {"fast": 3, "slow": 1},
        "groups": [{"name": "a", "n": 3}],
        "by_severity": {"fog": {"1": 0.5}},
        "search": {"searched_on": 16, "proposed": [{"class": 1}]},
        "health": [],
        "hidden": 1,
    }
    facts = facts_of(details, {"stages": "broken, by stage"}, without=("hidden",))
    assert [(fact.label, str(fact)) for fact in facts] == [
        ("clean accuracy", "0.75"),
        ("drop", "0.125 [0, 0.25]"),
        ("broken, by stage", "fast: 3, slow: 1"),
        ("search: searched on", "16"),
    ]
    assert facts[0].value == 0.75, "a number stays one"


@pytest.mark.parametrize(
    ("value", "table"),
    [
        ([{"a": 1}], True),
        ([], False),
        ({}, False),
        ({"a": 1}, False),
        ({str(k): k for k in range(9)}, True),
        ({"a": {"b": 1}}, True),
        ({"a": [{"b": 1}]}, True),
        ({"a": [{"b": 1}], "c": 1}, False),
        (1, False),
    ],
    ids=repr,
)
def test_a_table_is_told_by_its_shape(value: object, table: bool) -> None:
    assert is_table(value) is table
