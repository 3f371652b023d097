"""Accuracy of the worst group."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest import ClaimFailed, ClaimInconclusive, ConfigError, DataError, Verdict, assert_worst_group_accuracy
from robustest.claims.datasets import measure_worst_group_accuracy
from robustest.decisions import clopper_pearson
from robustest.decisions.multiplicity import group_level


def model(x: Tensor) -> Tensor:
    """Class 1 from a mean brightness of a half on."""
    mean = x.flatten(1).mean(1)
    return torch.stack([0.5 - mean, mean - 0.5], 1)


def make(**groups: tuple[int, int]) -> tuple[tuple[Tensor, Tensor], list[str]]:
    """Samples of each group (right, wrong), in an order that mixes them."""
    names = [name for name, (right, wrong) in groups.items() for _ in range(right + wrong)]
    good = [i < right for right, wrong in groups.values() for i in range(right + wrong)]
    order = np.random.default_rng(0).permutation(len(names))
    x = torch.from_numpy(np.random.default_rng(1).random((len(names), 1, 4, 4))).float()
    y = (x.flatten(1).mean(1) >= 0.5).long()
    held = torch.tensor([good[i] for i in order])
    return (x, torch.where(held, y, 1 - y)), [names[i] for i in order]


DATA, GROUPS = make(land=(90, 10), water=(32, 8), air=(3, 2))


@pytest.mark.parametrize(("at_least", "verdict"), [(0.6, Verdict.PASSED), (0.61, Verdict.FAILED)])
def test_the_worst_group_decides_however_small(at_least: float, verdict: Verdict) -> None:
    """Air has five samples, and is worse than water."""
    result = measure_worst_group_accuracy(model, DATA, GROUPS, at_least=at_least, exact=True)
    assert (result.verdict, result.estimate) == (verdict, 0.6)
    assert result.numbers.quantity == "worst-group accuracy"
    assert result.details["worst_group"] == "air"
    assert result.details["accuracy"] == pytest.approx(125 / 145)
    assert "small, with fewer than 30 samples, and judged all the same: air" in result.words.notes
    assert "worst group 'air': 3 of 5 samples right" in result.words.notes
    table = {row["group"]: row for row in result.details["groups"]}
    assert [row["group"] for row in result.details["groups"]] == ["air", "water", "land"]
    assert (table["water"]["accuracy"], table["water"]["n"], table["water"]["held"]) == (0.8, 40, 32)
    level = group_level(0.01, 3, disjoint=True)
    assert table["land"]["interval"] == list(clopper_pearson(90, 100, level))
    assert (table["air"]["small"], table["air"]["interval"]) == (True, list(clopper_pearson(3, 5, level)))
    assert result.interval == (clopper_pearson(3, 5, 0.01)[0], clopper_pearson(32, 40, level)[1])
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


@pytest.mark.parametrize("size", [1, 2, 29])
def test_no_group_is_too_small_to_fail(size: int) -> None:
    """A constant model is never right in the other class."""
    data, groups = make(land=(200, 0), water=(0, size))
    for exact in (False, True):
        result = measure_worst_group_accuracy(model, data, groups, at_least=0.5, exact=exact)
        assert result.verdict is Verdict.FAILED
    population = measure_worst_group_accuracy(model, data, groups, at_least=0.5, scope="population")
    settled = clopper_pearson(0, size, group_level(0.01, 2, disjoint=True))[1] < 0.5
    assert population.verdict is (Verdict.FAILED if settled else Verdict.INCONCLUSIVE)


def test_about_a_population_a_small_group_passes_only_where_its_interval_does() -> None:
    data, groups = make(land=(200, 0), water=(10, 0))
    # One answer for every sample is right on 0.5 of the worst group.
    for at_least, verdict in ((0.7, Verdict.INCONCLUSIVE), (0.6, Verdict.PASSED)):
        result = measure_worst_group_accuracy(model, data, groups, at_least=at_least, scope="population")
        assert result.verdict is verdict


def test_min_group_only_names_what_is_small() -> None:
    for min_group_size, named in ((5, False), (6, True), (101, True)):
        result = measure_worst_group_accuracy(
            model, DATA, GROUPS, at_least=0.8, min_group_size=min_group_size, exact=True
        )
        assert (result.verdict, result.estimate) == (Verdict.FAILED, 0.6)
        assert any("small, with fewer" in note for note in result.words.notes) is named


def test_samples_in_no_group_and_groups_of_no_samples_are_told() -> None:
    loose = [None if name == "air" else name for name in GROUPS]
    result = measure_worst_group_accuracy(model, DATA, loose, at_least=0.8, exact=True)
    assert (result.verdict, result.details["in_no_group"]) == (Verdict.PASSED, 5)
    assert result.words.caveats == ("5 of 145 in no group",)
    groups = {"land": [0, 1], "sea": []}
    result = measure_worst_group_accuracy(model, DATA, groups, at_least=0.01, exact=True)
    assert result.words.caveats == ("143 of 145 in no group", "no samples in 'sea'")


def test_overlapping_groups_by_name() -> None:
    land = [i for i, name in enumerate(GROUPS) if name == "land"]
    groups = {"land": land, "everything": np.ones(len(GROUPS), dtype=bool)}
    result = measure_worst_group_accuracy(model, DATA, groups, at_least=0.8, exact=True)
    assert (result.details["worst_group"], result.details["disjoint"]) == ("everything", False)
    assert result.details["groups"][1]["interval"] == list(clopper_pearson(90, 100, 0.005))


def test_a_verdict_may_come_early_and_names_the_group() -> None:
    data, groups = make(land=(1500, 0), water=(100, 400))
    result = measure_worst_group_accuracy(model, data, groups, at_least=0.9)
    assert result.verdict is Verdict.FAILED
    assert result.numbers.n < result.numbers.n_total == 2000
    assert result.estimate is None
    assert result.rule.endswith("of 2000: water")
    assert result.interval[1] < 0.9
    assert result.details["worst_group"] is None
    assert all(row["accuracy"] is None for row in result.details["groups"])
    assert sum(row["n"] for row in result.details["groups"]) == result.numbers.n


def test_a_pass_needs_every_group() -> None:
    data, groups = make(land=(1500, 0), water=(500, 0))
    result = measure_worst_group_accuracy(model, data, groups, at_least=0.6)
    assert result.verdict is Verdict.PASSED
    assert result.numbers.n < 2000
    assert result.interval[0] >= 0.6


def test_a_population_claim_needs_the_intervals() -> None:
    data, groups = make(land=(960, 40), water=(480, 20))
    for at_least, verdict in ((0.92, Verdict.PASSED), (0.96, Verdict.INCONCLUSIVE), (0.99, Verdict.FAILED)):
        result = measure_worst_group_accuracy(model, data, groups, at_least=at_least, scope="population")
        assert result.verdict is verdict
        assert result.numbers.n == 1500
        assert "2 groups at once" in result.rule


def test_the_assertion_raises_and_speaks() -> None:
    assert assert_worst_group_accuracy(model, DATA, GROUPS, at_least=0.6).verdict is Verdict.PASSED
    with pytest.raises(ClaimFailed, match=r"< 0\.90: accuracy of the worst group(.|\n)*air"):
        assert_worst_group_accuracy(model, DATA, GROUPS, at_least=0.9, exact=True)
    with pytest.raises(ClaimInconclusive):
        assert_worst_group_accuracy(model, DATA, GROUPS, at_least=0.6, scope="population")
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_worst_group_accuracy(model, DATA, GROUPS, at_least=None)


def baseline(keep: Callable[..., Path], **was: int) -> Path:
    """A file with outcomes of `DATA` in which so many samples of each group held."""
    now = measure_worst_group_accuracy(model, DATA, GROUPS, exact=True)
    held = list(now.outcomes)
    for name, right in was.items():
        members = sorted((i for i, group in enumerate(GROUPS) if group == name), key=lambda i: not now.outcomes[i])
        for place, i in enumerate(members):
            held[i] = place < right
    return keep(now, held, ("accuracy",))


def test_no_group_may_be_worse_than_it_was(baseline_of: Callable[..., Path]) -> None:
    """Water held all 40, land none: in all many are gained, but water has lost eight."""
    was = baseline(baseline_of, water=40, land=0)
    with pytest.raises(
        ClaimFailed, match=r"worse: fell by 0\.2000 on this set in 'water', tolerance 0 \(8 lost, 0 gained of 40\)"
    ):
        assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was, alpha=0.05)
    about = measure_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was).details["baseline"]
    assert (about["lost"], about["gained"]) == (8, 90)
    assert [(row["group"], row["lost"], row["gained"]) for row in about["groups"]] == [
        ("air", 0, 0),
        ("land", 0, 90),
        ("water", 8, 0),
    ]
    assert assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was, tolerance=0.2).numbers.n == len(GROUPS)


def test_a_small_group_may_fall_by_the_tolerance_and_no_more(baseline_of: Callable[..., Path]) -> None:
    """Of five samples of air that held, two are lost."""
    was = baseline(baseline_of, air=5)
    fell = r"fell by 0\.4000 on this set in 'air', tolerance 0\.39 \(2 lost, 0 gained of 5\)"
    with pytest.raises(ClaimFailed, match=f"worse: {fell}"):
        assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was, tolerance=0.39)
    open_ = r"not decided: fell by 0\.4000 \[.*\] in 'air', tolerance 0\.4 .* the fall equals the tolerance"
    with pytest.raises(ClaimInconclusive, match=open_):
        assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was, tolerance=0.4, scope="population")
    result = assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was, tolerance=0.4)
    assert result.rule.endswith("tolerance 0.4 (2 lost, 0 gained of 145), no worse in any of 3 groups")
    with pytest.raises(ClaimFailed, match=r"< 0\.90: accuracy of the worst group"):
        assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was, at_least=0.9)


@pytest.mark.parametrize(
    ("groups", "arguments", "error", "message"),
    [
        (GROUPS[1:], {}, DataError, "each of 145 samples but got 144"),
        (GROUPS, {"min_group_size": 0}, ConfigError, "min_group_size to be a whole number >= 1"),
        (GROUPS, {"at_least": 80}, ConfigError, "Write 0.8 for 80 %"),
    ],
)
def test_bad_arguments_are_named(groups: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        measure_worst_group_accuracy(model, DATA, groups, **arguments)


@pytest.mark.parametrize("tolerance", [0.9, 1, 1.0, "0.1", float("nan"), True, -0.1], ids=str)
def test_a_tolerance_that_nothing_could_exceed_claims_nothing(baseline_of: Callable[..., Path], tolerance: Any) -> None:
    """Of the baseline's samples .862 held: no more can be lost."""
    was = baseline(baseline_of)
    with pytest.raises(ConfigError, match="tolerance"):
        assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was, tolerance=tolerance)
    assert assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was, tolerance=0.85).estimate == 0.6


def test_a_baseline_in_which_nothing_held_cannot_be_fallen_below(baseline_of: Callable[..., Path]) -> None:
    was = baseline(baseline_of, land=0, water=0, air=0)
    with pytest.raises(ConfigError, match=r"less than the share that held in the baseline, 0\.000"):
        assert_worst_group_accuracy(model, DATA, GROUPS, no_worse_than=was)
