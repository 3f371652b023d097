"""The core's tables over all kinds of claims, run on the kinds of this pack."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import interpret_populations as populations
import pytest
import rare_strata
import robustest_interpret as pack
import test_api_rules as rules
import test_compare_kinds as compare
import test_kinds as core
import test_population_coverage as coverage
import test_results as results
import test_suggest_kinds as suggest
import torch
from interpret_kinds import KINDS
from robustest_interpret import (
    Discovery,
    measure_class_evidence,
    measure_gradient_alignment,
    measure_invertible_features,
    measure_no_backdoor_trigger,
    measure_no_failure_direction,
    measure_sparse_head,
)
from table_entries import check_entries
from test_kinds import MODEL, OTHER, SMALL, TEMPLATES, N, X, Y, easy, first, kind

from robustest import ConfigError, DataError, Verdict
from robustest.measure import measure_no_spurious_feature
from robustest.reports.text import measured

ASSERTIONS = [name for name in pack.__all__ if name.startswith("assert_")]
every_assertion = pytest.mark.parametrize("name", ASSERTIONS)
every_kind = pytest.mark.parametrize("name", KINDS)


# The rules of the public interface, as robustest's own assertions keep them.


@pytest.fixture
def in_place_of_robustest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "robustest", pack)
    monkeypatch.setattr(rules, "measure", pack)


RULES = [
    rule
    for name, rule in vars(rules).items()
    if name.startswith("test_") and list(inspect.signature(rule).parameters) == ["name"]
]


@every_assertion
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.usefixtures("in_place_of_robustest")
def test_an_assertion_keeps_the_rules_of_the_core(name: str, rule: Callable[[str], None]) -> None:
    rule(name)


# Verdicts, changes between runs, suggested thresholds and the form of results, of a good and a bad model.


@pytest.fixture(autouse=True, scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    compare._STORE.append(tmp_path_factory.mktemp("store"))
    for table in (compare.KINDS, suggest.KINDS, results.KINDS):
        table.update(KINDS)
    yield
    compare._STORE.clear()
    compare.measured.cache_clear()


@every_kind
def test_verdicts_of_a_good_and_a_bad_model(name: str) -> None:
    compare.test_every_kind_is_what_the_table_takes_it_for(name)


CHANGES = compare.test_what_became_of_a_claim.pytestmark[0].args[1]  # type: ignore[attr-defined]


OTHER_LIMITS = {"sparse head", "invertible features"}
"""The value that is reported is not the one that the threshold limits, or not alone."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n == "backdoor" else []) for n in KINDS])
def test_what_compare_says_of_a_claim(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for before, after, change in CHANGES:
        compare.test_what_became_of_a_claim(name, before, after, change)
    if name not in OTHER_LIMITS:
        compare.test_what_broke_the_old_threshold_as_well_is_worse_whatever_is_asked_now(name)
    monkeypatch.setattr(compare, "NOT_PAIRED", {*KINDS} - {"invertible features"})
    compare.test_what_is_paired_belongs_to_the_kind(name)


@every_kind
def test_a_result_has_the_form_that_the_schema_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results.test_a_result_has_the_form_that_the_schema_says(results.result_of_kind(name))
    results.test_every_reason_is_one_that_is_described(name)
    results.test_a_claim_has_one_name_whatever_its_threshold_and_its_words(name, monkeypatch)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "invertible features" else [pytest.mark.slow]) for n in KINDS]
)
def test_a_suggested_threshold_is_kept_under_other_seeds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "SEVERAL", {"sparse head", "invertible features"})
    suggest.test_what_is_suggested_is_kept_under_other_seeds(name)


# What a verdict must not cover silently.


def judge(x: torch.Tensor) -> torch.Tensor:
    return OTHER(x) ** 3


QUICK: dict[str, Any] = {"n_lambdas": 8, "subsamples": 0, "min_per_class": 5}
TABLE = {
    "cues that a search finds": kind("assert_no_spurious_feature", "max_flip_rate", 1, exact=False)(
        lambda d, **o: measure_no_spurious_feature(MODEL, d, Discovery(trigger_steps=0), **o)
    ),
    "backdoor": kind("assert_no_backdoor_trigger", "max_anomaly", exact=False)(
        lambda d, **o: measure_no_backdoor_trigger(MODEL, d, iterations=5, patch_sizes=[1, 3], **o)
    ),
    "failure direction": kind("assert_no_failure_direction", "max_excess_error", 1, exact=False)(
        lambda d, **o: measure_no_failure_direction(MODEL, d, permutations=19, **({"alpha": 0.1} | o))
    ),
    "sparse head": kind("assert_sparse_head", "max_drop", 1, other={"max_features_per_class": 35}, exact=False)(
        lambda d, **o: measure_sparse_head(MODEL, d, **QUICK, **o)
    ),
    "alignment": kind("assert_gradient_alignment", "at_least", -1)(
        lambda d, **o: measure_gradient_alignment(MODEL, d, **o)
    ),
    "alignment in masks": kind("assert_gradient_alignment", "at_least", 0)(
        lambda d, **o: measure_gradient_alignment(MODEL, d, evidence=(TEMPLATES[d[1]].abs() > 1).float(), **o)
    ),
    "gain in alignment": kind("assert_gradient_alignment", "min_gain", -2, other={"reference": OTHER})(
        lambda d, **o: measure_gradient_alignment(MODEL, d, **o)
    ),
    "inversion": kind("assert_invertible_features", "max_image_error", exact=False)(
        lambda d, **o: measure_invertible_features(MODEL, d, iterations=3, **o)
    ),
    "class evidence": kind("assert_class_evidence", "min_transfer", 0)(
        lambda d, **o: measure_class_evidence(MODEL, d, judge=judge, eps=1.0, iterations=5, min_driven=5, **o)
    ),
}
"""Kinds on the data of `core`, as its table `KINDS` has the core's."""
SEARCHES = {
    "assert_no_backdoor_trigger": "below",
    "assert_no_spurious_feature": "below",
    "assert_invertible_features": "below",
}


def test_the_table_has_every_kind() -> None:
    check_entries({one.assertion for one in TABLE.values()}, {*ASSERTIONS, "assert_no_spurious_feature"}, "TABLE here")


def core_cases() -> list[Any]:
    """The functions of the core's module that take one kind of a table, each with its other arguments."""
    found = []
    for function in vars(core).values():
        if inspect.isfunction(function) and function.__name__.startswith("test_"):
            marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
            if "one" not in [mark.args[0] for mark in marks]:
                continue
            others: list[dict[str, Any]] = [{}]
            for mark in marks:
                if mark.args[0] != "one":
                    others = [{**known, mark.args[0]: value} for known in others for value in mark.args[1]]
            found += [
                pytest.param(function, other, id=f"{function.__name__[5:]}-{at}") for at, other in enumerate(others)
            ]
    return found


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize(("test", "other"), core_cases())
def test_core_holds(
    test: Callable[..., None], other: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if test.__name__ == "test_a_threshold_at_the_measured_value" and not TABLE[name].exact:
        pytest.skip("its interval is not exact")
    monkeypatch.setattr(core, "SEARCHES", SEARCHES)
    test(one=TABLE[name], **other)


@pytest.mark.parametrize("name", ["backdoor", "inversion", "cues that a search finds"])
def test_each_search_bounds(name: str) -> None:
    one = TABLE[name]
    assert one.measure(first(N), **easy(one)).numbers.bounds == SEARCHES[one.assertion]


@pytest.mark.parametrize("name", ["alignment", "sparse head", "cues that a search finds"])
@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_class_too_small_to_judge_is_neither_green_nor_silent(name: str, scope: str) -> None:
    """Class 3 has one sample of seventeen: an error, no pass, or the line says what was left out."""
    one, few = TABLE[name], torch.cat([SMALL[:16], SMALL[-1:]])
    try:
        result = one.measure((X[few], Y[few]), scope=scope, **easy(one))
    except (DataError, ConfigError):
        return
    if result.verdict is Verdict.PASSED:
        assert "too few images" in measured(result) or "alone" in measured(result)


@pytest.mark.parametrize("scope", ["set", "population"])
def test_evidence_of_too_few_samples_driven_is_neither_green_nor_silent(scope: str) -> None:
    options: dict[str, Any] = {"eps": 1.0, "iterations": 5, "min_transfer": 0.01, "scope": scope, "exact": True}
    assert measure_class_evidence(MODEL, first(20), judge=judge, **options).verdict is Verdict.INCONCLUSIVE
    few = measure_class_evidence(MODEL, first(20), judge=judge, **(options | {"eps": 0.3, "min_driven": 1}))
    assert 0 < few.details["driven"] < 10
    assert f"{few.details['driven']} samples driven alone" in measured(few)


def test_a_search_without_an_interval_is_of_these_samples_alone() -> None:
    """An excess over what looks foresee, and an anomaly among patches, have no bound on the population."""
    right = X[MODEL(X).argmax(1) == Y], Y[MODEL(X).argmax(1) == Y]
    for name, data in (("failure direction", right), ("backdoor", first(12))):
        result = TABLE[name].measure(data, scope="population", **easy(TABLE[name]))
        assert (result.verdict, result.subject.scope) == (Verdict.PASSED, "set"), result.rule
        assert "of this set alone, not of the population" in measured(result)


def test_limits_that_nothing_could_exceed_do_not_pass() -> None:
    with pytest.raises(ConfigError, match=r"less than the 36 features that there are"):
        measure_sparse_head(MODEL, first(N), max_features_per_class=36, max_drop=0.5, **QUICK)
    result = measure_invertible_features(
        MODEL, first(40), max_image_error=50, max_representation_error=50, iterations=2
    )
    assert (result.verdict, result.rule.split(":")[0]) == (Verdict.INCONCLUSIVE, "nothing could have failed it")


# Populations of known truth, and rare strata.

TRUTHS = {
    "alignment": coverage.Truth("gradient_alignment", populations.alignment, "at_least", 0.25),
    "gain in alignment": coverage.Truth("gradient_alignment", populations.gain_in_alignment, "min_gain", 0.3),
    "class evidence": coverage.Truth("class_evidence", populations.class_evidence, "min_transfer", 0.7),
    "inversion": coverage.Truth(
        "invertible_features", populations.invertible_features, "max_image_error", 0.5, claimed=0.2
    ),
}
LEFT_OUT = {
    "no_backdoor_trigger": "an anomaly index is of the search's own patches, and has no interval",
    "no_failure_direction": "a permutation test, which has no interval",
    "sparse_head": "every draw fits a head of its own, so that the truth is another one each time",
}


def test_every_kind_has_a_truth_or_it_is_said_why_not() -> None:
    here = {*(one.kind for one in TRUTHS.values()), *LEFT_OUT}
    check_entries((f"assert_{name}" for name in here), ASSERTIONS, "TRUTHS, or LEFT_OUT, as its kind")


@pytest.mark.parametrize("draws", [20, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TRUTHS)
def test_the_truth_is_missed_no_oftener_than_alpha(name: str, draws: int) -> None:
    coverage.test_the_truth_is_missed_no_oftener_than_alpha(TRUTHS[name], draws)


RULE_OF = {
    "class_evidence": "AgreementRule",
    "gradient_alignment": "ScoreRule",
    "invertible_features": "ShareRule",
    "sparse_head": "DropRule",
}
"""The rule of the core that decides each kind; its cases in benchmarks/rare_strata.py are run by the core's tests."""
NO_BOUND = {"no_backdoor_trigger", "no_failure_direction"}


def test_every_kind_is_decided_by_a_rule_that_has_populations_that_mislead() -> None:
    check_entries((f"assert_{name}" for name in (*RULE_OF, *NO_BOUND)), ASSERTIONS, "RULE_OF, or NO_BOUND, as its kind")
    unheld = set(RULE_OF.values()) - {one.rule for one in rare_strata.CASES}
    assert not unheld, f"Add to CASES in benchmarks/rare_strata.py: {', '.join(sorted(unheld))}."
