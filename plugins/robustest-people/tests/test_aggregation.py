"""One label for each item: what tied stays tied, and what each way of taking answers together can see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from robustest_people.aggregation import aggregate, dawid_skene
from robustest_people.responses import Responses

from robustest import ConfigError, DataError, UnknownNameError


def test_ties_are_told_and_never_broken_by_the_order_of_classes() -> None:
    counts = np.array([[3, 3, 0], [0, 3, 3], [1, 2, 0], [0, 0, 0]])
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        found = aggregate(Responses.from_counts(counts[:, order]))
        assert found.tied.tolist() == [True, True, False, False]
        assert found.labels.tolist() == [-1, -1, order.index(1), -1]
    assert found.answers.tolist() == [6, 6, 3, 0]
    assert np.isnan(found.shares[3]).all()


def test_labels_asked_about_lead_by_how_often_they_were_selected_of_how_often_they_were_shown() -> None:
    """Class 0 was selected by 4 of 8, class 1 by 3 of 4; then 1 of 3 against 2 of 6, which is the same."""
    found = aggregate(Responses.from_counts([[4, 3], [1, 2], [0, 0]], shown=[[8, 4], [3, 6], [2, 2]]))
    assert found.labels.tolist() == [1, -1, -1]
    assert found.tied.tolist() == [False, True, False], "what nobody selected does not lead"


def crowd(seed: int, bad: str, *, checks: int = 0) -> tuple[Any, Responses]:
    """2,000 items of 10 classes, 5 answers each; 20 of 50 annotators are bad, the others right in 80 to 95 %."""
    random = np.random.default_rng(seed)
    items, k, annotators = 2000, 10, 50
    truth = random.integers(0, k, items)
    skill = random.uniform(0.8, 0.95, annotators)
    item = np.repeat(np.arange(items), 5)
    who = np.concatenate([random.choice(annotators, 5, replace=False) for _ in range(items)])
    right = random.random(len(item)) < skill[who]
    answer = np.where(right, truth[item], (truth[item] + random.integers(1, k, len(item))) % k)
    copied = random.integers(0, k, items)
    worse = {"zero": np.zeros_like(answer), "random": random.integers(0, k, len(item)), "collude": copied[item]}[bad]
    answer = np.where(who < 20, worse, answer)
    good = random.random((annotators, checks)) < np.where(np.arange(annotators) < 20, 0.1, skill)[:, None]
    seen = np.repeat(np.arange(annotators), checks)
    return truth, Responses.from_columns(
        [*item, *[None] * len(seen)],
        [*answer, *[0] * len(seen)],
        size=items,
        classes=k,
        annotator=[*who, *seen],
        check=[*[None] * len(item), *good.ravel().tolist()],
        checks_at_least=None,
    )


@pytest.mark.parametrize("seed", range(3))
def test_dawid_and_skene_see_who_always_says_the_same(seed: int) -> None:
    truth, says = crowd(seed, "zero")
    majority, found = (
        float((aggregate(says, method).labels == truth).mean()) for method in ("majority", "dawid-skene")
    )
    assert majority < 0.65
    assert found >= 0.93


def test_checks_alone_see_collusion() -> None:
    truth, says = crowd(0, "collude", checks=10)
    share = {m: float((aggregate(says, m).labels == truth).mean()) for m in ("majority", "dawid-skene", "checks")}
    assert share["checks"] > 0.8
    assert max(share["majority"], share["dawid-skene"]) < share["checks"] - 0.1


def test_dawid_and_skene_by_hand() -> None:
    """Two annotators who agree are believed against one who always says 0; nobody answered the last item."""
    item = np.repeat(np.arange(8), 3)
    answer = np.array([[t, t, 0] for t in [0, 1, 0, 1, 0, 1, 0, 1]]).ravel()
    belief = dawid_skene(item, np.tile([0, 1, 2], 8), answer, items=9, annotators=3, classes=2)
    assert belief[:8].argmax(1).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert belief[:8].max(1).min() > 0.99
    assert np.isnan(belief[8]).all()
    assert belief[:8].sum(1) == pytest.approx(np.ones(8))


def test_two_who_differ_everywhere_leave_a_tie() -> None:
    rows = [(item, who, (item + who) % 2) for item in range(4) for who in (0, 1)]
    item, who, answer = (np.array(column) for column in zip(*rows, strict=True))
    says = Responses.from_columns(item, answer, size=4, classes=2, annotator=who)
    assert aggregate(says, "dawid-skene").tied.all()


def test_what_cannot_be_taken_together_is_refused() -> None:
    counts = Responses.from_counts([[1, 2]])
    with pytest.raises(UnknownNameError, match="majority"):
        aggregate(counts, "mean")
    for method in ("dawid-skene", "checks"):
        with pytest.raises(DataError, match="of item 0 nobody says who did"):
            aggregate(counts, method)
    asked = Responses.from_columns([0], [1], size=1, classes=2, label=[0], annotator=["ann"])
    with pytest.raises(DataError, match="one at a time"):
        aggregate(asked, "dawid-skene")
    with pytest.raises(DataError, match="5 attention checks or more but nobody did"):
        aggregate(asked, "checks")
    with pytest.raises(ConfigError, match="checks_at_least"):
        aggregate(asked, "checks", checks_at_least=2)
