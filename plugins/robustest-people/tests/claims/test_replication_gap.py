"""Replication gaps of models: refused without proper annotations, and told with everything that goes with them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from robustest_people import assert_replication_gap
from robustest_people.annotations import Annotations
from robustest_people.replication_gap import measure_replication_gap
from torch import Tensor

from robustest import ClaimFailed, ClaimInconclusive, ConfigError, DataError, Result, UnknownNameError, Verdict

N1, N2, ANNOTATORS = 600, 500, 12


def model(x: Tensor) -> Tensor:
    """Class 1 from a mean brightness of a half on."""
    mean = x.flatten(1).mean(1)
    return torch.stack([0.5 - mean, mean - 0.5], 1)


def drawn(seed: int, n: int, low: float, gap: float = 0.0) -> tuple[tuple[Tensor, Tensor], Annotations]:
    """Images whose clarity s is uniform from `low` on: annotators select them, and the model is right, so often."""
    random = np.random.default_rng(seed)
    s = random.uniform(low, 1.0, n)
    says = Annotations(selected=random.binomial(ANNOTATORS, s), shown=np.full(n, ANNOTATORS), independent=True)
    held = torch.from_numpy(random.random(n) < 0.3 + 0.6 * s - gap)
    x = torch.from_numpy(random.random((n, 1, 2, 2))).float()
    y = (x.flatten(1).mean(1) >= 0.5).long()
    return (x, torch.where(held, y, 1 - y)), says


V1, SAYS1 = drawn(0, N1, 0.5)
V2, SAYS2 = drawn(1, N2, 0.2)


def measured(**changes: Any) -> Result:
    given = {"model": model, "data": V1, "new_data": V2, "annotations": (SAYS1, SAYS2)} | changes
    return measure_replication_gap(**given)


def right(data: tuple[Tensor, Tensor]) -> Tensor:
    return model(data[0]).argmax(1) == data[1]


def test_three_gaps_are_told() -> None:
    """The replication is less clear: nine points raw; hardly any at equal clarity."""
    result = measured(at_most=0.2)
    details = result.details
    assert details["raw"]["estimate"] == pytest.approx(float(right(V1).float().mean() - right(V2).float().mean()))
    assert details["raw"]["estimate"] > 0.05
    assert abs(details["corrected"]["estimate"]) <= 3 * details["corrected"]["error"]
    assert result.estimate == details["corrected"]["estimate"]
    assert result.interval == tuple(details["corrected"]["interval"])
    assert details["annotations"] == ANNOTATORS
    assert details["source_frequency"] == pytest.approx(float(SAYS1.frequency.mean()))
    assert details["target_frequency"] == pytest.approx(float(SAYS2.frequency.mean()))
    assert (details["source_accuracy"], details["target_accuracy"]) == (
        pytest.approx(float(right(V1).float().mean())),
        pytest.approx(float(right(V2).float().mean())),
    )
    assert result.outcomes == tuple(right(V2).tolist()), "outcomes are the replication's"
    assert any(note.startswith("gap raw") for note in result.words.notes)
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_outcomes_may_be_given_in_place_of_a_model() -> None:
    by_model = measured(at_most=0.2)
    details = {name: value for name, value in by_model.details.items() if name != "largest_class"}  # which takes labels
    for first, second in ((right(V1), right(V2)), (right(V1).numpy(), right(V2).numpy())):
        given = measured(model=(first, second), data=None, new_data=None, at_most=0.2)
        assert (given.estimate, given.interval, given.details) == (
            by_model.estimate, by_model.interval, details,
        )  # fmt: skip
        assert given.outcomes == by_model.outcomes
        assert given.cost.forward == 0


def test_corrections_differ_and_none_is_the_naive_gap() -> None:
    jackknife, none = measured(correction="jackknife"), measured(correction=None)
    mixture = measured(correction="beta-mixture", resamples=100)  # each draw is a fit
    assert none.estimate == jackknife.details["naive"]["estimate"] != jackknife.estimate
    assert mixture.estimate not in (none.estimate, jackknife.estimate)
    error = jackknife.details["corrected"]["error"]
    assert abs((mixture.estimate or 0.0) - (jackknife.estimate or 0.0)) <= 2 * error
    assert any("biased" in note for note in none.words.notes)
    assert "1000 draws" in jackknife.subject.method
    assert "100 draws" in mixture.subject.method


def test_the_interval_decides_and_passes_nothing_of_the_population() -> None:
    """A bootstrap over images holds about: rare images that a sample lacks are not in it."""
    passed, of_others = (measured(at_most=0.2, scope=scope) for scope in ("set", "population"))
    assert (passed.verdict, passed.subject.scope) == (Verdict.PASSED, "set")
    assert "image bootstrap, about alpha = " in passed.rule
    assert passed.details["approximate"] is True
    assert (of_others.verdict, of_others.subject.scope) == (Verdict.INCONCLUSIVE, "population")
    assert "assert_transfer_accuracy" in of_others.rule
    assert measured(at_most=0.0).verdict is Verdict.INCONCLUSIVE
    worse, says = drawn(2, N2, 0.2, gap=0.25)
    assert measured(new_data=worse, annotations=(SAYS1, says), at_most=0.05).verdict is Verdict.FAILED


def test_a_replication_that_lacks_the_originals_frequencies_settles_nothing() -> None:
    low = Annotations(selected=np.zeros(N2, dtype=int), shown=np.full(N2, ANNOTATORS), independent=True)
    result = measured(annotations=(SAYS1, low), at_most=0.9)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "that the replication lacks" in result.rule
    assert result.details["uncovered"] > 0.9
    assert any("that the replication lacks" in note for note in result.words.notes)


def test_dropped_annotations_are_counted() -> None:
    responses = np.random.default_rng(0).random((N2, 20)) < 0.7
    says = Annotations.from_responses(responses, matching=np.arange(20) < 8)
    result = measured(annotations=(SAYS1, says))
    assert result.details["dropped_annotations"] == 8 * N2
    assert result.details["annotations"] == 12


def test_a_budget_measures_no_gap_but_bounds_it() -> None:
    result = measured(at_most=0.5, max_samples=320)
    assert result.estimate is None
    assert result.details["raw"]["estimate"] is None
    assert "budget" in result.rule
    assert result.interval[0] < result.interval[1]
    assert result.numbers.n == 320


def test_the_assertion_raises_and_speaks() -> None:
    arguments, of_both = (model, V1, V2), {"annotations": (SAYS1, SAYS2)}
    assert assert_replication_gap(*arguments, **of_both, at_most=0.2).verdict is Verdict.PASSED
    with pytest.raises(ClaimInconclusive, match="a model that stopped looking would keep it"):
        assert_replication_gap(
            *arguments, **of_both, at_most=0.5
        )  # .747 are right, and saying one class is right on .520
    with pytest.raises(ClaimInconclusive, match=r"required <= 0\.00, corrected by jackknife"):
        assert_replication_gap(*arguments, **of_both, at_most=0.0)
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_replication_gap(*arguments, **of_both, at_most=None)
    worse, says = drawn(2, N2, 0.2, gap=0.25)
    with pytest.raises(ClaimFailed, match="image bootstrap"):
        assert_replication_gap(model, V1, worse, annotations=(SAYS1, says), at_most=0.05)


FEW = Annotations(selected=np.zeros(N2, dtype=int), shown=np.r_[np.full(N2 - 1, 12), 9], independent=True)
USED = Annotations(selected=SAYS2.selected, shown=SAYS2.shown, independent=False)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"annotations": (SAYS1, FEW)},
            DataError,
            r"of new_data but 1 of 500 items have fewer, the first is item 499 with 9",
        ),
        ({"annotations": (USED, SAYS2)}, DataError, "of data that were not used for matching"),
        ({"annotations": (SAYS2, SAYS1)}, DataError, "each of the 600 items of data but got 500"),
        ({"annotations": SAYS1}, ConfigError, "pair of Annotations"),
        ({"annotations": (SAYS1, SAYS2.selected)}, ConfigError, "pair of Annotations"),
        ({"correction": "jacknife"}, UnknownNameError, "Did you mean 'jackknife'"),
        ({"at_most": 5}, ConfigError, "at_most in 0..1"),
        ({"resamples": 99}, ConfigError, "resamples to be a whole number >= 100"),
        ({"model": (right(V1), right(V2))}, ConfigError, "data=None and new_data=None"),
        ({"model": (right(V1),), "data": None, "new_data": None}, ConfigError, "a pair of outcomes"),
        (
            {"model": (right(V1).float(), right(V2)), "data": None, "new_data": None},
            DataError,
            "outcomes as a bool array",
        ),
        ({"model": (right(V2), right(V2)), "data": None, "new_data": None}, DataError, "600|500"),
    ],
)
def test_what_cannot_be_judged_is_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        measured(**changes)
