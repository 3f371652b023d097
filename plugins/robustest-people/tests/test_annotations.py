"""Annotations: counted by item, and kept apart from those by which items were chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from robustest_people.annotations import Annotations

from robustest import DataError

NAN = float("nan")


def test_counts_make_frequencies() -> None:
    says = Annotations(selected=np.array([1, 3, 0]), shown=[4, 3, 0], independent=True)
    assert len(says) == 3
    assert says.frequency[:2].tolist() == [0.25, 1.0]
    assert np.isnan(says.frequency[2]), "nobody was shown the third item"


def test_responses_used_for_matching_are_left_out() -> None:
    responses = [[1, 0, 1, NAN], [0, 0, 1, 1]]
    every = Annotations.from_responses(responses, matching=None)
    assert (every.selected.tolist(), every.shown.tolist(), every.dropped) == ([2, 2], [3, 4], 0)
    first = Annotations.from_responses(responses, matching=[True, False, False, True])
    assert (first.selected.tolist(), first.shown.tolist(), first.dropped) == ([1, 1], [2, 2], 3)
    single = Annotations.from_responses(responses, matching=np.array([[True, *[False] * 3], [False] * 4]))
    assert (single.selected.tolist(), single.shown.tolist(), single.dropped) == ([1, 2], [2, 4], 1)
    assert every.independent
    assert first.independent


def test_records_are_counted_by_item() -> None:
    """Response 1 was used for matching; one slip of two checks does not tell that b is not attentive."""
    says = Annotations.from_records(
        [0, 0, 2, 2, 2, 1],
        [True, True, True, False, True, False],
        size=4,
        matching=[False, True, False, False, False, False],
        annotators=["a", "a", "b", "c", "a", "b"],
        attentive=[True, True, True, True, True, False],
    )
    assert says.selected.tolist() == [1, 0, 2, 0]
    assert says.shown.tolist() == [1, 1, 3, 0]
    assert says.dropped == 1
    plain = Annotations.from_records([0, 1, 1], [True, False, True], size=2, matching=None)
    assert (plain.selected.tolist(), plain.shown.tolist(), plain.dropped) == ([1, 1], [1, 2], 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Annotations(selected=[3], shown=[2], independent=True), "item 0 has 3 of 2"),
        (lambda: Annotations(selected=[-1], shown=[2], independent=True), "item 0 has -1 of 2"),
        (lambda: Annotations(selected=[1, 1], shown=[2], independent=True), "2 and 1"),
        (lambda: Annotations(selected=[0.5], shown=[2], independent=True), "selected to be whole numbers"),
        (lambda: Annotations(selected=[[1]], shown=[[2]], independent=True), "selected to be whole numbers"),
        (lambda: Annotations(selected=[1], shown=[2], independent="yes"), "independent to be True or False"),
        (lambda: Annotations.from_responses([[1, 2]], matching=None), "of 0, 1 and NaN"),
        (lambda: Annotations.from_responses([1, 0], matching=None), "of 0, 1 and NaN"),
        (lambda: Annotations.from_responses([[1, 0]], matching=[True]), "matching to be bool"),
        (lambda: Annotations.from_responses([[1, 0]], matching=[0, 1]), "matching to be bool"),
        (lambda: Annotations.from_records([0, 5], [True, True], size=5, matching=None), r"items in 0..4 but got 0..5"),
        (lambda: Annotations.from_records([0, 1], [True], size=5, matching=None), "2 responses, one a response"),
        (
            lambda: Annotations.from_records([0], [True], size=1, matching=None, attentive=[True]),
            "annotators= with attentive=",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_whether_responses_were_used_for_matching_must_be_said() -> None:
    with pytest.raises(TypeError, match="independent"):
        Annotations(selected=np.array([1]), shown=np.array([2]))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="matching"):
        Annotations.from_responses([[1]])  # type: ignore[call-arg]
