"""Predictions beside those who looked: counted one by one, and never easier with fewer answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from robustest_people.label_agreement import ComparedPredictions, LookedAtRule

from robustest import Verdict
from robustest.decisions import ShareRule, Terms

TERMS = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
SELECTED = np.array([[9, 1, 0], [4, 5, 1], [5, 5, 0], [3, 6, 1], [0, 0, 0]])


def of(label: list[int], predicted: list[int]) -> ComparedPredictions:
    shown = np.broadcast_to(SELECTED.sum(1, keepdims=True), SELECTED.shape)
    return ComparedPredictions.of(SELECTED, shown, np.array(label), np.array(predicted))


def test_hits_and_errors_are_told_apart_by_what_people_select() -> None:
    """An ordinary hit; a disputed hit; a tie with the label; an error that people share; one that nobody answered."""
    found = of([0, 0, 0, 0, 0], [0, 0, 1, 1, 1])
    assert found.right.tolist() == [True, True, False, False, False]
    assert found.disputed.tolist() == [False, True, False, False, False]
    assert found.tied.tolist() == [False, False, True, False, False]
    assert found.main.tolist() == [True, False, False, True, False], "a tie is for no class"
    assert found.contained.tolist() == [True, True, True, True, False]
    assert found.defensible.tolist() == [False, False, True, True, False]
    assert found.unsupported.tolist() == [False, False, False, False, True]
    assert found.frequency.tolist() == [0.9, 0.4, 0.5, 0.6, 0.0]
    assert found.answers.tolist() == [10, 10, 10, 10, 0]


def test_half_as_often_is_contained_and_less_is_not() -> None:
    counts = np.array([[10, 5], [10, 4], [3, 4]])
    shown = np.array([[10, 10], [10, 10], [3, 8]])
    found = ComparedPredictions.of(counts, shown, np.array([0, 0, 0]), np.array([1, 1, 1]))
    assert found.contained.tolist() == [True, False, True]
    assert found.defensible.tolist() == [False, False, False]
    assert found.answers.tolist() == [10, 10, 3]


def test_a_class_that_few_were_asked_about_leads_by_few_answers() -> None:
    """All 20 select the prediction, which is the label; one of one selects another class too."""
    found = ComparedPredictions.of(np.array([[19, 1]]), np.array([[20, 1]]), np.array([0]), np.array([0]))
    assert found.disputed.tolist() == [True]
    assert found.answers.tolist() == [1]


def test_an_error_by_nobody_is_never_defensible() -> None:
    found = ComparedPredictions.of(np.zeros((1, 2), int), np.full((1, 2), 9), np.array([0]), np.array([1]))
    assert found.unsupported.all()
    assert not found.defensible.any()
    assert not found.main.any()
    assert not found.contained.any()


def claim(threshold: float, *, at_least: bool, scope: str = "set") -> LookedAtRule:
    terms = Terms(scope=scope, alpha=0.01, fail_alpha=0.01)
    sure, possible = (
        ShareRule(threshold=threshold, at_least=at_least, terms=terms, column=name) for name in ("held", "possible")
    )
    return LookedAtRule(sure=sure, possible=possible)


@pytest.mark.parametrize("at_least", [True, False])
@pytest.mark.parametrize("scope", ["set", "population"])
def test_what_too_few_looked_at_neither_passes_nor_fails(at_least: bool, scope: str) -> None:
    n = 400
    everything, nothing = np.ones(n, bool), np.zeros(n, bool)
    rule = claim(0.5, at_least=at_least, scope=scope)
    for held, possible, verdict in (
        (everything, everything, Verdict.PASSED),
        (nothing, nothing, Verdict.FAILED),
        (nothing, everything, Verdict.INCONCLUSIVE),
    ):
        columns = {"held": held, "possible": possible}
        assert rule.decide(columns, n, None).verdict is verdict
        found = rule.settle(columns, n)
        assert (found.verdict if found else Verdict.INCONCLUSIVE) is (
            verdict if scope == "set" else Verdict.INCONCLUSIVE
        )
    unknown = rule.decide({"held": nothing, "possible": everything}, n, None)
    assert "400 samples have fewer than 10 answers" in unknown.rule
    assert unknown.interval == (0.0, 1.0)


@given(st.lists(st.sampled_from([(False, False), (False, True), (True, True)]), min_size=1, max_size=60), st.data())
def test_hiding_answers_never_turns_a_verdict_round(rows: list[tuple[bool, bool]], data: st.DataObject) -> None:
    """Samples that become unknown leave a verdict as it was, or unsettled."""
    before = {"held": np.array([a for a, _ in rows]), "possible": np.array([b for _, b in rows])}
    hidden = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    after = {"held": before["held"] & ~hidden, "possible": before["possible"] | hidden}
    for at_least in (True, False):
        rule = claim(0.6, at_least=at_least)
        first, second = (rule.decide(columns, len(rows), None).verdict for columns in (before, after))
        assert second in (first, Verdict.INCONCLUSIVE)


def test_early_verdicts_are_those_of_the_side_that_settled() -> None:
    rule = claim(0.5, at_least=True)
    columns = {"held": np.ones(300, bool), "possible": np.ones(300, bool)}
    settled = rule.settle(columns, 2000)
    assert settled is not None
    found = rule.decide(columns, 2000, settled)
    assert (found.verdict, found.estimate) == (Verdict.PASSED, None)
    columns = {"held": np.zeros(300, bool), "possible": np.zeros(300, bool)}
    assert rule.decide(columns, 2000, rule.settle(columns, 2000)).verdict is Verdict.FAILED
