"""The public API keeps its rules: twins, positional arguments, threshold words, one meaning a word.

A new assertion is held by these tests without an entry of its own; a new keyword needs a row in docs/reference.md.
"""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from table_entries import check_entries

import robustest
from robustest import measure
from robustest.claims import kinds

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference.md"
ASSERTIONS = [name for name in robustest.__all__ if name.startswith("assert_")]
THRESHOLD = re.compile("at_least|at_most|(min|max)_[a-z0-9_]+")
VARIED = {
    "threat",
    "shift",
    "cue",
    "strategy",
    "norm",
    "groups",
    "split",
    "responses",
    "new_data",
    "outside",
    "synthetic",
    "changes",
    "change",
}
FIRST = {
    f"assert_{name}": ["outcomes", "items"]
    for name in ("rate", "worst_group_rate", "consistent_runs", "reliable", "worst_item_rate")
} | {f"assert_{name}": ["system", "items"] for name in ("invariant", "directional", "worst_change_rate")}
"""First arguments of the claims on recorded outcomes, or on a function that is asked about items."""

every_assertion = pytest.mark.parametrize("name", ASSERTIONS)


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(robustest, name)).parameters)


def twin(name: str) -> Any:
    return getattr(measure, f"measure_{name.removeprefix('assert_')}")


def kind_of(name: str) -> Any:
    getattr(robustest, name)  # which registers it
    return kinds()[name.removeprefix("assert_")]


def test_the_top_level_is_small() -> None:
    assert len(robustest.__all__) <= 95
    assert not [name for name in robustest.__all__ if name.startswith("measure_")]


@every_assertion
def test_an_assertion_and_its_measurement_are_twins(name: str) -> None:
    """The same name, arguments and defaults; a threshold may be required, or claimed by default, by the assertion."""
    thresholds = {*kind_of(name).thresholds, *kind_of(name).further_claims}
    own, other = parameters(name), dict(inspect.signature(twin(name)).parameters)
    assert list(own) == list(other)
    for word, one in own.items():
        assert (one.kind, one.annotation) == (other[word].kind, other[word].annotation)
        assert one.default == other[word].default or word in thresholds
    assert getattr(robustest, name).__wrapped__ is twin(name)


def test_every_measurement_has_its_assertion() -> None:
    measured = [name.removeprefix("measure_") for name in measure.__all__ if name.startswith("measure_")]
    asserted = [name.removeprefix("assert_") for name in ASSERTIONS]
    check_entries(measured, asserted, "robustest.measure (as measure_NAME)")


@every_assertion
def test_a_model_data_and_what_is_varied_are_positional_and_nothing_else(name: str) -> None:
    places = [word for word, one in parameters(name).items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    first = FIRST.get(name, ["model", "data"])
    assert places[: len(first)] == first
    assert len(places) <= len(first) + 1
    new = sorted({*places[len(first) :]} - VARIED)
    assert not new, f"Make {', '.join(new)} keyword-only, or add to VARIED here what {name} varies."


@every_assertion
def test_a_threshold_is_called_by_one_of_four_words(name: str) -> None:
    kind = kind_of(name)
    for word in {*kind.thresholds, *kind.further_claims} - {"no_worse_than"}:
        assert THRESHOLD.fullmatch(word), f"{name}: {word} should be at_least, at_most, min_... or max_..."
    for quantity in kind.quantities:
        largest = quantity.comparison == "<="
        word = quantity.threshold
        if not word.startswith(("min_", "max_")) or quantity.name == "images that come back":
            continue  # a share of samples that each keep a most of their own
        assert word.startswith("max_") == largest, (word, quantity.name)
    assert {q.comparison for q in kind.quantities if q.threshold == "at_least"} <= {">="}
    assert {q.comparison for q in kind.quantities if q.threshold == "at_most"} <= {"<="}


@every_assertion
def test_a_baseline_comes_with_a_tolerance(name: str) -> None:
    words = parameters(name)
    pair = {"no_worse_than", "tolerance"}
    lacking = pair - {*words}
    assert lacking in (set(), pair), f"Add {', '.join(lacking)} to {name}."


@every_assertion
def test_a_kind_is_named_as_its_assertion(name: str) -> None:
    assert kind_of(name).name == name.removeprefix("assert_")


def keywords() -> list[str]:
    """The words of the table of keywords, in its order."""
    table = PAGE.read_text(encoding="utf-8").partition("### Keywords")[2].partition("\n## ")[0]
    return [word for row in re.findall(r"^\| (`.*?) \|", table, re.M) for word in re.findall(r"`(\w+)`", row)]


def test_every_keyword_has_one_meaning_on_the_page() -> None:
    used = {word for name in ASSERTIONS for word, one in parameters(name).items() if one.kind is not one.VAR_KEYWORD}
    check_entries(keywords(), used, "the table Keywords of docs/reference.md (a word in two rows has two meanings)")


ONE_TYPE = {
    "reference": "another model, or a table that is measured against: each quantity has its own table",
    "no_worse_than": "recorded outcomes are compared with recorded outcomes",
    "score": "of the logits of a model, or of the answer of a function that is asked",
    "model": "one claim is about several copies of a model",
    "data": "some claims take a form of data of their own",
    "threat": "some searches know two norms",
}
"""Words whose type differs from claim to claim, and why their meaning does not."""


def test_a_word_has_one_type() -> None:
    types: dict[str, set[str]] = {}
    for name in ASSERTIONS:
        for word, one in parameters(name).items():
            types.setdefault(word, set()).add(str(one.annotation).removesuffix(" | None"))
    several = {word for word, known in types.items() if len(known) > 1}
    check_entries(ONE_TYPE, several, "ONE_TYPE here (words of several types)")


def test_the_reference_is_made_from_the_signatures() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "reference_tables.py"))["page"]
    text = PAGE.read_text(encoding="utf-8")
    assert make(text) == text, "Run python docs/reference_tables.py."
    assert text.count("](claims/") >= len(ASSERTIONS)
