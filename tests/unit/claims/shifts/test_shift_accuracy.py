"""Accuracy under a shift, and its fall."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, MultiLabel, Segmentation, Shift, Verdict, context
from robustest.account import Row
from robustest.cli.suggest import suggestion
from robustest.decisions import mcnemar
from robustest.measure import measure_shift_accuracy
from robustest.pytest_plugin.reports import update_baselines
from robustest.settings import Settings
from robustest.shifts import SHIFTS

N = 100
X = ((torch.arange(N) + 0.5) / N).view(N, 1, 1, 1).expand(N, 1, 4, 4).clone()
Y = (X[:, 0, 0, 0] >= 0.5).long()


def model(x: Tensor) -> Tensor:
    """Class 1 from a mean brightness of a half on; right on all of X."""
    mean = x.flatten(1).mean(1)
    return torch.stack([0.5 - mean, mean - 0.5], 1)


def brighter(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x + severity / 100


def unchanged(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x


def test_a_users_own_shift_is_measured_and_named() -> None:
    """Brighter by that many hundredths, as many samples just below a half change class."""
    for severity in (1, 3, 5):
        result = measure_shift_accuracy(model, (X, Y), brighter, severity=severity)
        assert result.outcomes == tuple(not 50 - severity <= i < 50 for i in range(N))
        assert result.subject.setting == f"brighter, severity {severity}"
        assert result.details["lost"] == severity
        assert result.details["gained"] == 0
        assert result.details["clean_accuracy"] == 1
        assert result.details["shifted_accuracy"] == result.estimate


@pytest.mark.parametrize(
    ("at_least", "verdict"), [(0.95, Verdict.PASSED), (0.96, Verdict.FAILED), (None, Verdict.INCONCLUSIVE)]
)
def test_accuracy_at_least(at_least: float | None, verdict: Verdict) -> None:
    result = measure_shift_accuracy(model, (X, Y), brighter, severity=5, at_least=at_least, exact=True)
    assert result.verdict is verdict
    assert result.estimate == 0.95
    assert (result.numbers.quantity, result.ruling.comparison, result.ruling.threshold) == ("accuracy", ">=", at_least)


@pytest.mark.parametrize(("max_drop", "verdict"), [(0.05, Verdict.PASSED), (0.04, Verdict.FAILED)])
def test_a_fall_of_at_most(max_drop: float, verdict: Verdict) -> None:
    result = measure_shift_accuracy(model, (X, Y), brighter, severity=5, max_drop=max_drop, exact=True)
    assert result.verdict is verdict
    assert result.estimate == pytest.approx(0.05)
    assert result.numbers.quantity == "accuracy drop"
    assert (result.ruling.comparison, result.ruling.threshold) == ("<=", max_drop)
    assert "lost to brighter, severity 5" in result.subject.statement


def test_what_the_shift_repairs_counts_against_what_it_breaks() -> None:
    """Labels that only the brighter image has: the fall is negative, and outcomes are those under the shift."""
    y = (X[:, 0, 0, 0] >= 0.45).long()
    result = measure_shift_accuracy(model, (X, y), brighter, severity=5, max_drop=0.0, exact=True)
    assert result.verdict is Verdict.PASSED
    assert (result.details["lost"], result.details["gained"]) == (0, 5)
    assert result.estimate == pytest.approx(-0.05)
    assert all(result.outcomes)
    assert result.details["mcnemar_p"] == mcnemar(0, 5) == 1


@pytest.mark.parametrize(
    ("threshold", "verdict"),
    [
        ({"at_least": 0.8}, "passed"),
        ({"at_least": 0.999}, "failed"),
        ({"at_least": 0.95}, "inconclusive"),
        ({"max_drop": 0.2}, "passed"),
        ({"max_drop": 0.0}, "inconclusive"),
    ],
    ids=str,
)
def test_claims_about_the_population(threshold: dict[str, float], verdict: str) -> None:
    result = measure_shift_accuracy(model, (X, Y), brighter, severity=5, scope="population", **threshold)
    assert result.verdict == verdict
    assert "population" in result.rule


@pytest.mark.parametrize("name", sorted(SHIFTS))
def test_our_own_shifts_run_by_name(name: str, toys: Callable[..., Any]) -> None:
    toy = toys(80, shape=(3, 16, 16))
    mild, severe = (
        measure_shift_accuracy(toy.model, (toy.x, toy.y), name, severity=s, at_least=0.5, exact=True) for s in (1, 5)
    )
    if name != "saturate":  # its severities 1 and 2 take colour away, 3 to 5 add some: the other way, not further
        assert mild.estimate >= severe.estimate
    assert severe.estimate < 1
    assert mild.subject.setting == f"{name}, severity 1"
    assert measure_shift_accuracy(toy.model, (toy.x, toy.y), Shift(name, 5)).outcomes == severe.outcomes


@pytest.mark.parametrize("name", sorted(SHIFTS))
def test_batches_do_not_change_outcomes(name: str, toys: Callable[..., Any]) -> None:
    toy = toys(90, shape=(3, 16, 16))
    outcomes = {
        measure_shift_accuracy(toy.model, (toy.x, toy.y), name, severity=5, batch_size=size).outcomes
        for size in (1, 7, 256)
    }
    assert len(outcomes) == 1


def test_each_sample_draws_its_own_noise_and_the_seed_decides_which(toys: Callable[..., Any]) -> None:
    toy = toys(90)
    runs = [measure_shift_accuracy(toy.model, (toy.x, toy.y), "gaussian_noise", seed=s).outcomes for s in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_sample_keeps_its_randomness_when_others_are_added(toys: Callable[..., Any]) -> None:
    """It depends on the index in the data, so that the beginning of the data has the beginning of the outcomes."""
    toy = toys(150)
    few, whole = (
        measure_shift_accuracy(toy.model, (toy.x[:n], toy.y[:n]), "gaussian_noise", severity=5).outcomes
        for n in (60, 150)
    )
    assert 0 < few.count(False) < 60
    assert few == whole[:60]


@pytest.mark.parametrize("threshold", [{"max_drop": 0.0}, {"max_drop": 0.4}, {"at_least": 0.5}], ids=str)
def test_a_shift_that_changes_nothing_tests_nothing(threshold: dict[str, float]) -> None:
    result = measure_shift_accuracy(model, (X, Y), unchanged, exact=True, **threshold)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the shift unchanged, severity 3 changes none of 100 samples" in result.rule
    assert result.estimate == (1 if "at_least" in threshold else 0)
    assert result.details["changed"] == {"the shift unchanged, severity 3": 0}
    assert result.counterexamples == ()


def test_a_shift_that_changes_nothing_still_fails_what_is_wrong_without_it() -> None:
    result = measure_shift_accuracy(model, (X, 1 - Y), unchanged, at_least=0.5, exact=True)
    assert result.verdict is Verdict.FAILED
    assert "the shift unchanged, severity 3 changes no sample" in result.words.caveats


@pytest.mark.parametrize(
    ("few", "threshold", "verdict"),
    [
        (10, {"at_least": 0.9}, Verdict.INCONCLUSIVE),
        (11, {"at_least": 0.9}, Verdict.PASSED),
        (10, {"max_drop": 0.1}, Verdict.INCONCLUSIVE),
        (11, {"max_drop": 0.1}, Verdict.PASSED),
        (100, {"at_least": 0.9}, Verdict.PASSED),
    ],
    ids=str,
)
def test_samples_that_did_not_change_cannot_pass_a_claim(
    few: int, threshold: dict[str, float], verdict: Verdict
) -> None:
    """Were the model wrong on all that changed, 90 of 100 would be right, or 89."""

    def sometimes(x: Tensor) -> Tensor:
        return torch.where(x < few / N, x + 0.001, x)

    result = measure_shift_accuracy(model, (X, Y), sometimes, exact=True, **threshold)
    assert result.verdict is verdict
    assert result.details["changed"] == {"the shift sometimes": few}
    assert ("nothing could have failed it" in result.rule) is (verdict is Verdict.INCONCLUSIVE)
    assert (f"the shift sometimes changes {few} of 100 samples" in result.words.caveats) is (few < N)


def test_a_shift_in_other_units_is_cut_off_and_tests_nothing() -> None:
    """Values in 0..255 are white for a model of [0, 1], and those of [0, 1] are loudest for one of decibels."""
    bright = X * 0.4 + 0.5  # all of class 1
    levels = measure_shift_accuracy(model, (bright, torch.ones_like(Y)), lambda x: x * 255, at_least=0.9, exact=True)
    assert levels.verdict is Verdict.INCONCLUSIVE
    assert "leaves 100 samples with nothing but values cut off at the bounds" in levels.rule
    loud = measure_shift_accuracy(
        lambda x: model(x / 80 + 1),
        (bright * 80 - 80, torch.ones_like(Y)),
        lambda x: x.clamp(0, 1),
        at_least=0.9,
        bounds=(-80, 0),
        exact=True,
    )
    assert loud.verdict is Verdict.INCONCLUSIVE
    assert loud.words.caveats == ("the shift <lambda> is cut off at the bounds in 100 of 100 samples: check its units",)


def test_only_a_function_with_severities_has_one() -> None:
    """Nowhere in a result is a severity named that the function never got."""
    for shift in (lambda x: x + 0.05, partial(brighter, severity=5, key=None)):
        result = measure_shift_accuracy(model, (X, Y), shift, at_least=1.0, exact=True)
        assert result.verdict is Verdict.FAILED
        assert {one.size for one in result.counterexamples} == {None}
        assert "severity 3" not in str(result.to_dict())
    with pytest.raises(ConfigError, match="no severity for the shift 'fliplr'"):
        measure_shift_accuracy(model, (X, Y), torch.fliplr, severity=5)


def test_counterexamples_are_what_the_shift_broke() -> None:
    result = measure_shift_accuracy(model, (X, Y), brighter, severity=5, at_least=1.0, examples=10, exact=True)
    assert [c.index for c in result.counterexamples] == [49, 48, 47, 46, 45]  # furthest beyond the border first
    assert {(c.label, c.clean, c.predicted, c.size) for c in result.counterexamples} == {(0, 0, 1, 5.0)}


def test_a_gradient_is_never_asked_for(watched: Callable[..., Any], toy: Any) -> None:
    model = watched(toy.model)
    measure_shift_accuracy(model, (toy.x, toy.y), "rotation")
    assert model.backward_samples == 0


def test_a_baseline_does_not_pass_a_shift_that_changes_nothing(tmp_path: Path) -> None:
    """What was recorded then and is seen now are clean accuracies: they say nothing of the shift."""
    file = tmp_path / "was.json"
    for shift, verdict in ((unchanged, Verdict.INCONCLUSIVE), (brighter, Verdict.PASSED)):
        with context.running(context.Context(settings=Settings(update_baseline=True))):
            made = measure_shift_accuracy(model, (X, Y), shift, no_worse_than=file)
        assert update_baselines([Row(test="", result=made, problem="", replay="")]) == []
        assert measure_shift_accuracy(model, (X, Y), shift, no_worse_than=file).verdict is verdict


def test_no_threshold_is_suggested_that_nothing_could_fail() -> None:
    """Of 100 samples 20 change and 5 of these are lost: a drop of 0.3 could not be, and one of 0.15 could."""

    def sometimes(x: Tensor) -> Tensor:
        return torch.where((x > 0.45) & (x < 0.65), x + 0.05, x)

    loose = measure_shift_accuracy(model, (X, Y), sometimes, max_drop=0.3, exact=True)
    assert (loose.verdict, loose.details["nothing_fails_at"]) == (Verdict.INCONCLUSIVE, pytest.approx(0.2))
    assert 0.05 < (suggestion(loose, 0.01).threshold or 0) < 0.2
    for untested in (lambda x: x, lambda x: x * 255 + 1):
        for claim in ({"at_least": 0.001}, {"max_drop": 0.999}):
            empty = measure_shift_accuracy(model, (X, Y), untested, exact=True, **claim)
            assert suggestion(empty, 0.01).why_not.startswith("nothing was tested: the shift"), (claim, empty)
    few = measure_shift_accuracy(model, (X, Y), lambda x: torch.where(x < 0.02, x + 0.01, x), max_drop=0.9, exact=True)
    assert suggestion(few, 0.01).why_not.startswith("so few samples change that no model could fail")


def test_an_answer_that_never_changes_cannot_fall_in_any_task() -> None:
    """Nine in ten images show nothing: so says the model of all of them."""
    x = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    shown = (torch.arange(60) < 6).long()
    sets, masks = torch.stack([shown] * 3, 1), shown.view(-1, 1, 1).expand(-1, 4, 4)

    def names(images: Tensor) -> Tensor:
        return torch.full((len(images), 3), -1.0)

    def segments(images: Tensor) -> Tensor:
        return torch.stack([images.mean(1) + 1, images.mean(1) - 1], 1)

    for model, y, task in (
        (names, sets, MultiLabel(by="overall")),
        (segments, masks, Segmentation(classes=2, floor=0.8)),
    ):
        found = measure_shift_accuracy(model, (x, y), "brightness", severity=5, task=task, max_drop=0.1)
        assert (found.verdict, found.ruling.reasons) == (Verdict.INCONCLUSIVE, ("no_fall",)), found.rule
        assert found.details["without_looking"] == 0.9
