"""A claim on a fall states the accuracy that the fall starts from, and no worse model looks better by falling less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Result, Verdict
from robustest.account import Row
from robustest.context import Context, running
from robustest.measure import measure_corruption_robustness, measure_shift_accuracy, measure_transfer_accuracy
from robustest.pytest_plugin.reports import update_baselines
from robustest.reports.text import failure_text, measured
from robustest.settings import Settings

N = 400
Y = torch.arange(N) % 4
X = torch.zeros(N, 1, 2, 2)
X[:, 0, 0, 0] = torch.arange(N) / N
"""Each sample has its number in its first element."""

Model = Callable[[Tensor], Tensor]


def moved(x: Tensor, severity: int = 3, key: Tensor | None = None) -> Tensor:
    """The shift: the last element is lit."""
    x = x.clone()
    x[:, 0, 1, 1] = 1.0
    return x


def right_on(clean: float, shifted: float, *, period: int = 100) -> Model:
    """A model that is right on so large a share of every hundred samples, unshifted and shifted."""

    def model(x: Tensor) -> Tensor:
        at = (x[:, 0, 0, 0] * N).round().long()
        share = torch.where(x[:, 0, 1, 1] > 0.5, shifted, clean)
        right = (at // 4) % period < (share * period).round()  # the same share of each of the four classes
        return 5.0 * torch.nn.functional.one_hot((Y[at] + (~right).long()) % 4, 4)

    return model


FP32, INT8 = right_on(1.0, 0.76), right_on(0.75, 0.70)


def transfer(model: Model, **options: Any) -> Result:
    return measure_transfer_accuracy(model, (X, Y), (moved(X), Y), **options)


def shifted(model: Model, **options: Any) -> Result:
    return measure_shift_accuracy(model, (X, Y), moved, **options)


FALLS: dict[str, Callable[..., Result]] = {"shift": shifted, "transfer": transfer}
every_fall = pytest.mark.parametrize("measure", FALLS.values(), ids=FALLS)


def baseline(measure: Callable[..., Result], model: Model, folder: Path, **options: Any) -> Path:
    """The baseline file that a run with --robust-update-baseline writes of a claim."""
    path = folder / "baseline.json"
    with running(Context(settings=Settings(update_baseline=True))):
        made = measure(model, no_worse_than=path, **options)
    assert update_baselines([Row(test="", result=made, problem="", replay="")]) == []
    return path


def test_the_first_line_of_a_fall_has_the_clean_accuracy() -> None:
    """Nothing else tells the worse model, whose fall is the smaller one, from the better."""
    passed = measure_shift_accuracy(INT8, (X, Y), moved, max_drop=0.1, exact=True)
    failed = measure_shift_accuracy(FP32, (X, Y), moved, max_drop=0.1, exact=True)
    assert (passed.verdict, failed.verdict) == (Verdict.PASSED, Verdict.FAILED)
    assert "from clean accuracy 0.750" in measured(passed)
    assert "from clean accuracy 0.750" in repr(passed)
    assert "from clean accuracy 1.000" in failed.headline
    assert "from clean accuracy 1.000" in failure_text(failed, replay="").splitlines()[0]
    assert Result.from_dict(passed.to_dict()) == passed


def test_words_of_an_early_verdict_have_the_clean_accuracy_of_what_was_seen() -> None:
    early = shifted(INT8, max_drop=0.4)
    assert early.estimate is None
    seen = early.details["clean_seen"]
    assert f"from clean accuracy {seen['right'] / seen['of']:.3f} of the {seen['of']} seen" in measured(early)


@every_fall
def test_a_baseline_compares_both_ends_of_a_fall(measure: Callable[..., Result], tmp_path: Path) -> None:
    """The copy's accuracy fell by .25 where it starts and by 0 where it ends: its fall alone is the smaller one."""
    for copy in (INT8, right_on(0.75, 0.76)):
        path = baseline(measure, FP32, tmp_path, max_drop=0.3)
        same = measure(FP32, no_worse_than=path, max_drop=0.3)
        worse = measure(copy, no_worse_than=path, max_drop=0.3)
        assert (same.verdict, worse.verdict) == (Verdict.PASSED, Verdict.FAILED), worse.rule
        assert worse.rule.startswith("worse: fell by 0.")
        assert "100 lost, 0 gained of 400" in worse.rule
        assert measure(copy, max_drop=0.3).verdict is Verdict.PASSED  # without a baseline the words are all there is


@every_fall
def test_a_baseline_of_a_fall_finds_the_end_that_fell_after_the_change(
    measure: Callable[..., Result], tmp_path: Path
) -> None:
    path = baseline(measure, FP32, tmp_path, max_drop=0.5)
    worse = measure(right_on(1.0, 0.6), no_worse_than=path, max_drop=0.5)
    assert worse.verdict is Verdict.FAILED
    assert "64 lost, 0 gained of 400" in worse.rule
    assert worse.details["baseline"]["accuracy"] == pytest.approx(0.76)


def test_a_baseline_of_corruptions_compares_clean_samples_as_well(tmp_path: Path) -> None:
    """All that the copy lost, it lost on clean samples, which are the darker ones of these."""

    def fall(lost: float, **options: Any) -> Result:
        def model(x: Tensor) -> Tensor:
            lit = (x[:, 0, 0, 1] > 0.1).long()
            hit = torch.where((x[:, 0, 1, 0] * N < lost * N) & (lit == 0), 1, 0)
            return 5.0 * torch.nn.functional.one_hot((x[:, 0, 1, 1] > 0.5).long() ^ hit, 2)

        x = torch.zeros(N, 1, 2, 2)
        x[:, 0, 1, 0], x[:, 0, 1, 1] = 0.5 * torch.arange(N) / N, torch.arange(N) % 2
        names = ["brightness"]
        return measure_corruption_robustness(
            model, (x, x[:, 0, 1, 1].long()), corruptions=names, severities=[5], **options
        )

    path = baseline(lambda _, **o: fall(0.0, **o), FP32, tmp_path, max_drop=0.3)
    assert fall(0.0, no_worse_than=path, max_drop=0.3).verdict is Verdict.PASSED
    worse = fall(0.1, no_worse_than=path, max_drop=0.3)
    assert worse.verdict is Verdict.FAILED
    assert "in 'clean samples'" in worse.rule
    assert fall(0.1, max_drop=0.2).verdict is Verdict.PASSED  # early too: it reads on until the start is settled


@every_fall
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_model_at_chance_cannot_fall(measure: Callable[..., Result], scope: str, exact: bool) -> None:
    """Four classes alike often: a model that says one of them, or guesses, loses nothing under any change."""

    def constant(x: Tensor) -> Tensor:
        return torch.tensor([[5.0, 0, 0, 0]]).expand(len(x), 4)

    for model in (constant, right_on(0.25, 0.25), right_on(0.28, 0.28)):
        result = measure(model, max_drop=0.2, scope=scope, exact=exact)
        assert result.verdict is Verdict.INCONCLUSIVE
        if scope == "set":
            assert result.rule.startswith("a model at chance cannot fall"), result.rule


@every_fall
def test_a_fall_to_chance_that_is_allowed_is_no_claim(measure: Callable[..., Result]) -> None:
    """A model that stopped looking under the change would have kept it; a smaller fall is a claim."""
    allowed = measure(right_on(0.5, 0.48), max_drop=0.3, exact=True)
    assert allowed.verdict is Verdict.INCONCLUSIVE
    assert allowed.rule.startswith("a model that stopped looking would keep it")
    assert measure(right_on(0.5, 0.48), max_drop=0.2, exact=True).verdict is Verdict.PASSED


def test_failures_stay_failures_at_chance() -> None:
    assert shifted(right_on(0.28, 0.04), max_drop=0.1, exact=True).verdict is Verdict.FAILED
