"""The gap in how often annotators select label and prediction: right for other images and other annotators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from robustest_people.annotator_shares import (
    clustered,
    difference_by_annotator,
    share_by_annotator,
    share_interval,
)
from robustest_people.selection_gap import Answers, Missing, decide_selection_gap, selection_gap

from robustest import Verdict
from robustest.decisions import Terms

TERMS = Terms(scope="population", alpha=0.01, fail_alpha=0.01)
SPREAD, BY_IMAGE = 0.1, 0.2


def world(seed: int, annotators: int, gap: float, images: int = 400) -> Answers:
    """Everybody answers about every image: label, prediction or neither; both images and annotators differ."""
    random = np.random.default_rng(seed)
    lean = gap + random.normal(0, SPREAD, annotators) + random.normal(0, BY_IMAGE, (images, 1))
    draw = random.random(lean.shape)
    label = draw < (0.9 + np.clip(lean, -0.9, 0.9)) / 2
    item, who = np.divmod(np.arange(label.size), annotators)
    every = np.ones(label.size, dtype=bool)
    return Answers(
        item=item,
        annotator=who,
        about_label=every,
        about_prediction=every,
        label=label.ravel(),
        prediction=(~label & (draw < 0.9)).ravel(),
    )


@pytest.mark.parametrize("annotators", [10, 30, 50])
def test_the_interval_covers_as_often_as_it_says(annotators: int) -> None:
    """200 worlds; 98 % is claimed. At the edge of the margin, both are called equal in 2 % or less."""
    covered, equal = 0, 0
    for seed in range(200):
        low, high = selection_gap(world(seed, annotators, 0.05), Missing()).gap.interval(0.01)
        covered += low <= 0.05 <= high
        edge = decide_selection_gap(selection_gap(world(1000 + seed, annotators, 0.05), Missing()), 0.05, terms=TERMS)
        equal += edge.verdict is Verdict.PASSED
    assert covered / 200 >= 0.95
    assert equal / 200 <= 0.02


def test_equal_is_shown_and_different_is_shown() -> None:
    for gap, verdict in ((0.0, Verdict.PASSED), (0.4, Verdict.FAILED), (-0.4, Verdict.FAILED)):
        found = selection_gap(world(0, 50, gap), Missing())
        decision = decide_selection_gap(found, 0.1, terms=replace(TERMS, scope="set"))
        assert decision.verdict is verdict
        assert "about alpha = " in decision.rule
        of_others = decide_selection_gap(found, 0.1, terms=TERMS)
        assert of_others.verdict is (Verdict.INCONCLUSIVE if verdict is Verdict.PASSED else verdict)
        assert "about alpha = " in of_others.rule
        assert found.gap.value == pytest.approx(found.label - found.prediction)


def test_few_annotators_settle_nothing_however_many_the_images() -> None:
    found = decide_selection_gap(selection_gap(world(0, 9, 0.0, 5000), Missing()), 0.5, terms=TERMS)
    assert (found.verdict, found.rule[:12]) == (Verdict.INCONCLUSIVE, "9 annotators")


def test_what_nobody_selects_is_not_selected_equally_often() -> None:
    nothing = world(0, 30, 0.0)
    none = np.zeros(len(nothing.item), dtype=bool)
    silent = Answers(
        item=nothing.item,
        annotator=nothing.annotator,
        about_label=nothing.about_label,
        about_prediction=nothing.about_prediction,
        label=none,
        prediction=none,
    )
    found = decide_selection_gap(selection_gap(silent, Missing()), 0.05, terms=TERMS)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.rule.startswith("nothing could have failed it")


def test_items_count_alike_however_many_answers_they_have() -> None:
    """Item 0 is asked of 20 and item 1 of 10, each about label and prediction by turns of annotators."""
    item = np.repeat([0, 1], [40, 20])
    who = np.concatenate([np.arange(40), np.arange(20)])
    about_label = np.arange(60) % 2 == 0
    label = about_label & (item == 0)
    found = selection_gap(
        Answers(
            item=item,
            annotator=who,
            about_label=about_label,
            about_prediction=~about_label,
            label=label,
            prediction=np.zeros(60, bool),
        ),
        Missing(),
    )
    assert (found.label, found.prediction, found.gap.value) == (0.5, 0.0, 0.5)
    assert (found.gap.items, found.gap.annotators) == (2, 40)


def test_without_clusters_the_error_is_the_binomial_one() -> None:
    """Each answer of another annotator about another item."""
    held = np.random.default_rng(0).random(4000) < 0.3
    parts = (held - held.mean()) / len(held)
    both = clustered(held.mean(), parts, np.arange(4000), np.arange(4000))
    one = share_by_annotator(held, np.arange(4000), np.arange(4000))
    assert both.error == one.error == pytest.approx(np.sqrt(held.mean() * (1 - held.mean()) / 3999))


def test_a_cluster_that_answers_alike_counts_once() -> None:
    """100 items, each answered by the same 20 people, who say the same of all: as little is known as of 20 answers."""
    who = np.tile(np.arange(20), 100)
    held = who < 6
    item = np.repeat(np.arange(100), 20)
    for found in (share_by_annotator(held, item, who), clustered(0.3, (held - 0.3) / 2000, item, who)):
        assert found.error == pytest.approx(np.sqrt(0.3 * 0.7 / 19))
        assert (found.items, found.annotators, found.freedom) == (100, 20, pytest.approx(19))


def test_clusters_that_agree_say_no_more_than_independent_answers() -> None:
    held = np.ones(100, dtype=bool)
    found = share_by_annotator(held, np.arange(100), np.repeat(np.arange(10), 10))
    assert found.error == 0
    assert share_interval(held, found, 0.01) == (pytest.approx(0.01**0.01), 1.0)


def test_one_who_gave_most_of_the_answers_is_hardly_more_than_one() -> None:
    """20 annotators, of whom the first gave 1,000 of 1,019 answers: the others do not tell how much he differs."""
    who = np.concatenate([np.zeros(1000, int), np.arange(1, 20)])
    held = np.random.default_rng(0).random(1019) < 0.6
    found = share_by_annotator(held, np.arange(1019), who)
    assert found.annotators == 20
    assert found.freedom < 0.1
    assert found.interval(0.01, lowest=0.0) == (0.0, 1.0)


def test_a_single_cluster_says_nothing_of_others() -> None:
    held, one, many = np.array([True, False] * 20), np.zeros(40, int), np.arange(40)
    assert share_by_annotator(held, many, one).interval(0.01, lowest=0.0) == (0.0, 1.0)
    assert clustered(0.5, (held - 0.5) / 40, one, many).interval(0.01) == (-1.0, 1.0)


def test_differences_that_never_vary_keep_an_error() -> None:
    first = np.arange(40) < 20
    found = difference_by_annotator(first, ~first, np.zeros(40, bool), np.arange(40), np.arange(40) % 20)
    assert found.value == 0
    assert found.interval(0.01)[0] < 0 < found.interval(0.01)[1]
