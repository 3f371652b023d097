"""Results are plain JSON, come back whole, and refuse what is not plain."""

from __future__ import annotations

import dataclasses
import json
import math
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import accounts
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustest import Cost, Counterexample, Result, TruthValueError, Verdict
from robustest.results import Counts, Fact, Variation, facts_of, is_table, named, numbers_apart, shown

finite = st.floats(allow_nan=False, allow_infinity=False)
share = st.floats(0, 1)
count = st.integers(0, 10**6)
text = st.text(max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
results = st.builds(
    Result.of,
    kind=text,
    statement=text,
    verdict=st.sampled_from(Verdict),
    rule=text,
    quantity=text,
    estimate=st.none() | share,
    interval=st.tuples(share, share),
    threshold=st.none() | share,
    comparison=st.sampled_from([">=", "<="]),
    n=count,
    n_total=count,
    outcomes=st.lists(st.none() | st.booleans(), max_size=5).map(tuple),
    cost=st.builds(Cost, forward=count, backward=count, seconds=st.floats(0, 1e6)),
    seed=st.integers(),
    setting=text,
    method=text,
    counterexamples=st.lists(
        st.builds(
            Counterexample,
            index=count,
            label=count,
            clean=count,
            predicted=count,
            size=st.none() | finite,
            image=st.none() | text,
            pixels=st.none() | count,
            changes=st.none()
            | st.fixed_dictionaries({"diff": st.lists(st.tuples(st.sampled_from("=-+"), text).map(list))})
            | st.fixed_dictionaries({"table": st.lists(st.tuples(text, text, text).map(list))}),
        ),
        max_size=3,
    ).map(tuple),
    notes=st.lists(text, max_size=3).map(tuple),
    details=st.dictionaries(text, plain, max_size=4),
    cached=text,
    replayed=count,
    data=text,
    model=text,
    bounds=st.sampled_from(["", "above", "below"]),
    scope=st.sampled_from(["set", "population"]),
    caveats=st.lists(text, max_size=3).map(tuple),
    gated=st.booleans(),
)


def all_plain(value: object) -> bool:
    if type(value) is dict:
        return all(type(key) is str and all_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(all_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def a_result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "kind": "robust_accuracy",
        "statement": "s",
        "verdict": Verdict.PASSED,
        "rule": "r",
        "quantity": "accuracy",
        "estimate": 0.5,
        "interval": (0.4, 0.6),
        "threshold": 0.4,
        "comparison": ">=",
        "n": 2,
        "n_total": 2,
        "outcomes": (True, False),
        "cost": Cost(forward=1, backward=2, seconds=0.5),
        "seed": 0,
        "setting": "Linf",
        "method": "pgd",
    }
    return Result.of(**{**values, **changes})


@given(results)
def test_to_dict_is_made_of_the_plain_types_alone(result: Result) -> None:
    assert all_plain(result.to_dict())


@given(results)
def test_from_dict_inverts_to_dict_through_json(result: Result) -> None:
    assert Result.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.5),  # a subclass of float, and yet not what xdist can send
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        np.zeros(2),
        torch.tensor(1.0),
        Path("x"),
        Decimal(1),
        {1, 2},
        b"bytes",
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_is_not_plain_is_refused_at_any_depth(value: object, depth: int) -> None:
    for _ in range(depth):
        value = {"inside": [value]}
    with pytest.raises(TypeError, match="plain JSON types"):
        a_result(details={"here": value}).to_dict()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_are_refused(value: float) -> None:
    with pytest.raises((TypeError, ValueError)):
        a_result(details={"here": value}).to_dict()


def test_a_field_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="flavour"):
        Result.from_dict({**a_result().to_dict(), "flavour": "new"})


def test_an_unknown_verdict_is_refused() -> None:
    with pytest.raises(ValueError, match="maybe"):
        Result.from_dict({**a_result().to_dict(), "verdict": "maybe"})


@pytest.mark.parametrize(("value", "field"), [(a_result(), "estimate"), (Cost(), "forward")], ids=["result", "cost"])
def test_results_do_not_change(value: object, field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, 1)


def test_verdicts_are_their_words() -> None:
    assert [str(verdict) for verdict in Verdict] == ["passed", "failed", "inconclusive"]


def test_outcomes_stay_out_of_the_repr() -> None:
    assert "outcomes" not in repr(a_result(outcomes=(True,) * 1000))


@pytest.mark.parametrize("verdict", Verdict)
def test_a_result_is_no_truth_value(verdict: Verdict) -> None:
    """`assert measure_...(at_least=.9)` would pass whatever was found, and so would `assert result.verdict`."""
    result = a_result(verdict=verdict)
    with pytest.raises(TruthValueError, match=rf"\({verdict}\)\. Write assert_robust_accuracy"):
        assert result
    with pytest.raises(TruthValueError, match=r"verdict is Verdict\.PASSED"):
        assert result.verdict
    with pytest.raises(TypeError):
        all([result])


@pytest.mark.parametrize(
    "changes",
    [
        {"bounds": "beside"},
        {"scope": 3},
        {"gated": "no"},
        {"caveats": "few"},
        {"caveats": [1]},
        {"caveats": {"a": "b"}},
    ],
    ids=str,
)
def test_a_file_that_says_nonsense_of_how_to_read_it_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="of a result"):
        Result.from_dict(a_result().to_dict() | changes)


@pytest.mark.parametrize("left", ["ab", [1], [1, 2, 3], {"a": 1}, [None, 1], 7, True])
def test_a_left_interval_that_is_none_is_no_matter(left: object) -> None:
    assert a_result(details={"left_interval": left}).numbers.left_interval == (0.4, 0.6)


@pytest.mark.parametrize("name", list(accounts.RESULT.to_dict()))
def test_a_result_without_one_of_its_fields_is_refused(name: str) -> None:
    """What an earlier version wrote has no meaning here: nothing is filled in."""
    written = a_result().to_dict()
    del written[name]
    with pytest.raises(KeyError, match=name):
        Result.from_dict(written)


# What is read of a result

ONE = accounts.RESULT


@pytest.mark.parametrize(
    ("changes", "outcome", "claim"),
    [
        ({}, "passed", True),
        ({"verdict": Verdict.FAILED}, "failed", True),
        ({"verdict": Verdict.INCONCLUSIVE}, "inconclusive", True),
        ({"verdict": Verdict.INCONCLUSIVE, "threshold": None}, "measured", False),
        ({"verdict": Verdict.INCONCLUSIVE, "threshold": None, "details": {"baseline": {"a": 1}}}, "inconclusive", True),
        ({"threshold": None}, "passed", False),
        ({"gated": False}, "measured", True),
        ({"gated": False, "verdict": Verdict.FAILED}, "measured", True),
        ({"threshold": 0.0}, "passed", True),
        ({"threshold": None, "details": {"baseline": {}}}, "passed", False),
    ],
)
def test_what_claims_nothing_or_was_asserted_by_nobody_is_measured(
    changes: dict[str, Any], outcome: str, claim: bool
) -> None:
    made = ONE.but(**changes)
    assert (made.outcome, made.is_claim) == (outcome, claim)
    assert made.subject.asserted_by == "assert_robust_accuracy"


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, 0.5),
        ({"estimate": 0.0}, 0.0),
        ({"estimate": None, "interval": (0.25, 1.0)}, 0.625),
        ({"estimate": None, "interval": (0.25, 1.0), "bounds": "above"}, 1.0),
        ({"estimate": None, "interval": (0.25, 1.0), "bounds": "below"}, 0.25),
        ({"estimate": 0.5, "interval": (0.25, 1.0), "bounds": "below"}, 0.5),
    ],
)
def test_a_value_that_was_not_measured_is_its_proven_end_or_the_middle(changes: dict[str, Any], value: float) -> None:
    assert ONE.but(**changes).numbers.value == value


@pytest.mark.parametrize(
    ("left", "interval"),
    [
        ([0.3, 0.6], (0.3, 0.6)),
        ((0, 1), (0, 1)),
        ([0.3], (0.25, 0.75)),
        ([0.3, 0.6, 0.7], (0.25, 0.75)),
        ([0.3, "x"], (0.25, 0.75)),
        ([None, 0.5], (0.25, 0.75)),
        ([True, 0.5], (0.25, 0.75)),
        ("ab", (0.25, 0.75)),
        (None, (0.25, 0.75)),
    ],
)
def test_the_interval_that_a_search_left_is_taken_if_it_is_one(left: Any, interval: tuple[float, float]) -> None:
    assert ONE.but(details={"left_interval": left}).numbers.left_interval == interval


@pytest.mark.parametrize(
    ("changes", "straddles"),
    [
        ({}, True),
        ({"threshold": 0.25}, False),
        ({"threshold": 0.75}, False),
        ({"threshold": 0.26}, True),
        ({"threshold": None}, False),
        ({"scope": "population"}, False),
        ({"verdict": Verdict.INCONCLUSIVE}, False),
        ({"verdict": Verdict.FAILED}, True),
        ({"estimate": None}, False),
        ({"details": {"left_interval": [0.55, 0.6]}}, False),
    ],
)
def test_a_claim_of_a_set_whose_population_may_lie_on_the_other_side(changes: dict[str, Any], straddles: bool) -> None:
    assert ONE.but(**changes).straddles is straddles


def test_a_result_is_a_line_in_a_log_that_steers_nothing() -> None:
    line = repr(ONE.but(statement="it ##[error] \x1b[31m"))
    assert line.startswith(r"<Result passed: it \x23#[error] \x1b[31m; ")
    assert line.endswith("; n=4>")


def test_a_result_has_a_claim_and_facts_though_nobody_gave_them() -> None:
    assert ONE.but(claim="").subject.claim == "robust_accuracy: made up"
    assert ONE.but(claim="robust_accuracy(x)").subject.claim == "robust_accuracy(x)"
    assert ONE.but(claim="other(x)").subject.claim == "robust_accuracy: made up"
    assert [fact.label for fact in ONE.but(details={"steps_done": 3}).words.facts] == ["steps done"]
    assert ONE.words.facts == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "yes"),
        (False, "no"),
        (None, "–"),  # noqa: RUF001 - as it is printed
        (1234567, "1,234,567"),
        (0.123456, "0.1235"),
        (1e-9, "1e-09"),
        ("text", "text"),
        ([1, [2, None]], "[1, [2, –]]"),  # noqa: RUF001
        ({"a_b": 1, "c": {"d": True}}, "a b: 1, c: d: yes"),
        ([], "[]"),
    ],
)
def test_values_in_words(value: Any, words: str) -> None:
    assert shown(value) == words
    assert shown({"k_k": value}, {"k_k": "Name"}) == f"Name: {words}"
    assert named("without_looking", {}) == "best constant answer"


def test_facts_have_their_intervals_beside_them() -> None:
    details = {
        "a": 0.5,
        "a_interval": [0.25, 0.75],
        "b_interval": [0.0, 1.0],
        "c": None,
        "d": [],
        "e": {},
        "f": [1, 2],
        "g": {"h": 1},
        "health": [1],
        "hidden": 3,
        "rows": [{"x": 1}],
        "mixed": {"rows": [{"x": 1}], "n": 4},
        "many": {str(i): i for i in range(9)},
        "eight": {str(i): i for i in range(8)},
    }
    found = {fact.label: fact.value for fact in facts_of(details, {"g": "Group"}, without={"hidden"}, leads=False)}
    assert found == {
        "a": "0.5 [0.25, 0.75]",
        "b interval": "[0, 1]",
        "f": "[1, 2]",
        "Group": "h: 1",
        "mixed: n": 4,
        "eight": ", ".join(f"{i}: {i}" for i in range(8)),
    }
    assert {fact.leads for fact in facts_of(details, {}, leads=False)} == {False}
    assert {fact.leads for fact in facts_of(details, {})} == {True}


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        (None, True),
        ({"diff": []}, True),
        ({"diff": [["+", "a"]]}, True),
        ({"diff": [["+", "a", "b"]]}, False),
        ({"diff": [["+", 1]]}, False),
        ({"table": [["a", "b", "c"]]}, True),
        ({"table": [["a", "b"]]}, False),
        ({"other": []}, False),
        ({}, False),
        ({"diff": [], "table": []}, False),
    ],
)
def test_changes_are_parts_of_a_text_or_rows_of_a_table(changes: Any, taken: bool) -> None:
    with nullcontext() if taken else pytest.raises(TypeError):
        assert Counterexample(index=0, label=0, clean=0, predicted=1, changes=changes).changes == changes


@pytest.mark.parametrize(("n", "events", "gained"), [(True, 1, None), (1, 1.0, None), (1, 1, 0.5), (None, 1, 1)])
def test_counts_are_whole_numbers(n: Any, events: Any, gained: Any) -> None:
    assert (Counts(n=3, events=1).gained, Counts(n=3, events=1, gained=2).gained) == (None, 2)
    with pytest.raises(TypeError):
        Counts(n=n, events=events, gained=gained)


def test_a_variation_is_code_with_its_place_on_the_axis() -> None:
    one = Variation("Linf", {"eps": 8 / 255, "by": [1, {"a": "b"}]}, "eps")
    assert str(one) == "Linf(eps=8/255, by=(1, {a: b}))"
    assert (one.at, str(one.without_axis), str(Variation("Spatial"))) == (8 / 255, "Linf(by=(1, {a: b}))", "Spatial")
    assert Variation("Spatial").at is None
    for at in ("x", None, True):
        with pytest.raises(TypeError):
            Variation("Linf", {"eps": at}, "eps")


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, 0),
        ({"interval": (0.5, 0.5)}, 0),
        ({"interval": (0.6, 0.4)}, 1),
        ({"estimate": 0.4 - 1e-10, "threshold": None}, 0),
        ({"estimate": 0.6 + 1e-10}, 0),
        ({"estimate": 0.4 - 1e-8, "threshold": None}, 1),
        ({"estimate": 0.6 + 1e-8}, 1),
        ({"estimate": None}, 0),
        ({"counts": {"n": 4, "events": 2, "gained": None}}, 0),
        ({"counts": {"n": 4, "events": 3, "gained": 1}}, 0),
        ({"counts": {"n": 4, "events": 3, "gained": None}}, 1),
        ({"counts": {"n": 4, "events": 1, "gained": -1}}, 0),
        ({"counts": {"n": 0, "events": 3, "gained": None}}, 0),
        ({"counts": {"n": 4, "events": 3, "gained": None}, "estimate": None}, 0),
        ({"comparison": "="}, 1),
        ({"comparison": "<=", "verdict": "failed"}, 0),
        ({"threshold": 0.5 + 1e-10}, 0),
        ({"threshold": 0.5 + 1e-8}, 1),
        ({"threshold": 0.5 + 1e-8, "verdict": "failed"}, 0),
        ({"threshold": None}, 0),
        ({"comparison": "<=", "threshold": 0.5 - 1e-10}, 0),
        ({"comparison": "<=", "threshold": 0.5 - 1e-8}, 1),
        ({"comparison": "<=", "threshold": 0.9}, 0),
        ({"estimate": None, "threshold": 0.6}, 0),  # the better end of the interval
        ({"estimate": None, "threshold": 0.61}, 1),
        ({"estimate": None, "threshold": 0.4, "comparison": "<="}, 0),
        ({"estimate": None, "threshold": 0.39, "comparison": "<="}, 1),
        # at the edge of what is the same number
        ({"estimate": -1e-9, "interval": (0.0, 1.0), "threshold": None}, 0),
        ({"estimate": 1e-9, "interval": (0.0, 0.0), "threshold": None}, 0),
        (
            {"estimate": 1e-9, "interval": (0.0, 1.0), "threshold": None, "counts": {"n": 4, "events": 0, "gained": 0}},
            0,
        ),
        ({"estimate": 0.0, "interval": (0.0, 1.0), "threshold": 1e-9}, 0),
        ({"estimate": 1e-9, "interval": (0.0, 1.0), "threshold": 0.0, "comparison": "<="}, 0),
    ],
    ids=repr,
)
def test_numbers_that_cannot_be_true_at_once_are_named(changes: dict[str, Any], problems: int) -> None:
    plain = {"interval": (0.4, 0.6), "quantity": "accuracy", "estimate": 0.5, "counts": None, "threshold": 0.5}
    plain |= {"comparison": ">=", "verdict": Verdict.PASSED, **changes}
    found = list(numbers_apart(plain))
    assert len(found) == problems
    for words in found:
        if words.startswith("passed"):
            about = "in [0.4, 0.6]" if plain["estimate"] is None else str(plain["estimate"])
            assert words == f"passed with accuracy {about}, required {plain['comparison']} {plain['threshold']}"


def test_facts_that_a_kind_has_made_stay() -> None:
    mine = (Fact("mine", 3),)
    assert (mine[0].unit, mine[0].leads) == ("", True)
    assert a_result(facts=mine, details={"other": 1}).words.facts == mine
    assert a_result(facts=mine).words.facts == mine
    assert [fact.label for fact in a_result(details={"other": 1}).words.facts] == ["other"]


@pytest.mark.parametrize(
    ("value", "table"),
    [
        ([], False),
        ([{"a": 1}], True),
        ([{"a": 1}, 2], False),
        ({}, False),
        ({"a": 1}, False),
        ({"a": {"b": 1}}, True),
        ({"a": {"b": 1}, "c": 2}, False),
        ({"a": [{"b": 1}]}, True),
        ({"a": [{"b": 1}], "c": {"d": 1}}, False),  # some are rows and some are not
        ({"a": [{"b": 1}], "c": 2}, False),
        ({str(i): i for i in range(8)}, False),
        ({str(i): i for i in range(9)}, True),
        (3, False),
    ],
    ids=repr,
)
def test_a_table_is_no_fact(value: Any, table: bool) -> None:
    assert is_table(value) is table
