"""Accuracy on samples as they are: exact and early, of the set and of the population, of scores, against a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest import ClaimFailed, ConfigError, Result, Segmentation, Verdict, assert_accuracy, scores_model
from robustest.account import Row
from robustest.context import Context, running
from robustest.measure import measure_accuracy, measure_transfer_accuracy
from robustest.pytest_plugin.reports import update_baselines
from robustest.reports.text import failure_text
from robustest.settings import Settings

N = 1000
Y = torch.arange(N) % 4
X = (torch.arange(N) / N).view(N, 1, 1, 1).expand(N, 1, 4, 4).clone()
"""Each sample is its number."""


def right_on(share: float) -> Any:
    """A model that is right on so large a share of the samples of each class."""

    def model(x: Tensor) -> Tensor:
        at = (x[:, 0, 0, 0] * N).round().long()
        wrong = ((at // 4) * 97 % 250 >= round(share * 250)).long()
        return 5.0 * torch.nn.functional.one_hot((Y[at] + wrong) % 4, 4)

    return model


def measure(share: float, **options: Any) -> Result:
    return measure_accuracy(right_on(share), (X, Y), **options)


@pytest.mark.parametrize(("at_least", "verdict"), [(0.9, Verdict.PASSED), (0.901, Verdict.FAILED)])
def test_every_sample_decides_exactly(at_least: float, verdict: Verdict) -> None:
    result = measure(0.9, at_least=at_least, exact=True)
    assert (result.verdict, result.estimate, result.rule) == (verdict, 0.9, "certain: exact on this set")
    assert (result.numbers.quantity, result.subject.kind, result.numbers.n) == ("accuracy", "accuracy", N)
    assert result.outcomes.count(True) == 900
    assert (result.numbers.counts.events, result.numbers.counts.n) == (900, N)


@pytest.mark.parametrize(("at_least", "verdict"), [(0.7, Verdict.PASSED), (0.97, Verdict.FAILED)])
def test_a_clear_claim_stops_early(at_least: float, verdict: Verdict) -> None:
    result = measure(0.9, at_least=at_least)
    assert result.verdict is verdict
    assert result.numbers.n < N / 2
    assert result.estimate is None
    assert result.interval[0] <= 0.9 <= result.interval[1]
    assert result.cost.backward == 0


def test_a_claim_about_the_population_rests_on_the_bound() -> None:
    for at_least, verdict in ((0.87, Verdict.PASSED), (0.9, Verdict.INCONCLUSIVE), (0.93, Verdict.FAILED)):
        result = measure(0.9, at_least=at_least, scope="population")
        assert (result.verdict, result.numbers.n, result.subject.scope) == (verdict, N, "population")


def test_its_first_line_is_the_accuracy() -> None:
    failed = measure(0.9, at_least=0.95, exact=True)
    assert failed.headline == "accuracy 0.900 < 0.95"
    with pytest.raises(ClaimFailed, match=r"accuracy 0\.900 < 0\.95"):
        assert_accuracy(right_on(0.9), (X, Y), at_least=0.95, exact=True)
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_accuracy(right_on(0.9), (X, Y))


def test_a_threshold_that_saying_one_class_keeps_is_told() -> None:
    """Nineteen of twenty samples are of one class."""
    y = torch.where(torch.arange(N) % 10 == 0, Y, 0)
    rare = torch.arange(N) % 10 == 0

    def knows_some(x: Tensor) -> Tensor:
        """Right on all samples of class 0, and on one other."""
        logits = torch.tensor([[5.0, 0, 0, 0]]).repeat(len(x), 1)
        logits[(x == X[10]).flatten(1).all(1), Y[10]] = 9
        return logits

    assert Y[10] > 0
    assert rare[10]
    for at_least, verdict in ((0.9, "inconclusive"), (0.95, "inconclusive"), (0.951, "passed"), (0.952, "failed")):
        result = measure_accuracy(knows_some, (X, y), at_least=at_least, exact=True)
        assert (str(result.verdict), result.details["constant_answer"]) == (verdict, 0.95)
        told = "one answer for every sample reaches 0.950" in " ".join(result.words.notes)
        assert told is (verdict == "inconclusive")
    quiet = measure_accuracy(knows_some, (X, y), at_least=0.9, exact=True, suppress=("constant_answer",))
    assert quiet.verdict is Verdict.PASSED
    constant = torch.tensor([[5.0, 0, 0, 0]])
    said = measure_accuracy(lambda x: constant.expand(len(x), 4), (X, y), at_least=0.9, exact=True)
    assert said.rule == "health check: constant_answer"
    assert "the model gives one answer to all of 1000 samples" in " ".join(said.words.notes)


def update(folder: Path, share: float, **options: Any) -> Path:
    path = folder / "baseline.json"
    with running(Context(settings=Settings(update_baseline=True))):
        made = measure(share, no_worse_than=path, **options)
    assert update_baselines([Row(test="", result=made, problem="", replay="")]) == []
    return path


def test_no_more_is_wrong_than_was(tmp_path: Path) -> None:
    path = update(tmp_path, 0.9)
    for share, verdict in ((0.9, Verdict.PASSED), (0.88, Verdict.FAILED), (0.92, Verdict.PASSED)):
        assert measure(share, no_worse_than=path).verdict is verdict
    assert measure(0.88, no_worse_than=path, tolerance=0.03).verdict is Verdict.PASSED
    assert measure(0.88, no_worse_than=path, at_least=0.5).verdict is Verdict.FAILED


def test_other_claims_ask_no_model_again_for_the_same_accuracy(tmp_path: Path) -> None:
    with running(Context(settings=Settings(store=str(tmp_path), recheck=0))):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4)).eval()
        data = (X[:100], model(X[:100]).argmax(1))
        first = measure_accuracy(model, data, at_least=0.9, exact=True)
        second = measure_transfer_accuracy(model, data, data, at_least=0.9, exact=True)
    assert (first.evidence.cached, bool(second.evidence.cached)) == ("", True)


MASKS = (X[:, 0] + 0.2 * (torch.arange(16).view(4, 4) % 2) > 0.5).long()


def bright(x: Tensor) -> Tensor:
    """Pixels from a half on are bright: wrong on every other pixel of a fifth of the samples."""
    return 5 * torch.cat([0.5 - x, x - 0.5], 1)


def test_of_a_task_with_a_floor_samples_that_keep_it_are_right() -> None:
    result = measure_accuracy(bright, (X, MASKS), task=Segmentation(2, floor=0.9), at_least=0.7, exact=True)
    assert (result.verdict, result.numbers.quantity) == (Verdict.PASSED, "accuracy")
    assert result.estimate == pytest.approx(0.8, abs=0.002)


@pytest.mark.parametrize("scope", ["set", "population"])
def test_of_a_task_without_a_floor_the_mean_score_is_claimed(scope: str) -> None:
    """Half right on a fifth: .9 on average, whatever a floor would have made of it."""
    options: dict[str, Any] = {"task": Segmentation(2), "scope": scope}
    for at_least, verdict in ((0.8, Verdict.PASSED), (0.99, Verdict.FAILED)):
        for exact in (True, False):
            result = measure_accuracy(bright, (X, MASKS), at_least=at_least, exact=exact, **options)
            assert (result.verdict, result.numbers.quantity) == (verdict, "mean score")
            assert result.interval[0] <= 0.9 <= result.interval[1]
    whole = measure_accuracy(bright, (X, MASKS), exact=True, **options)
    assert whole.estimate == whole.details["mean_score"] == pytest.approx(0.9, abs=0.002)
    assert whole.details["lowest_score"] == 0.5


def test_a_baseline_of_scores_compares_the_mean(tmp_path: Path) -> None:
    def scored(cut: float, **options: Any) -> Result:
        def model(x: Tensor) -> Tensor:
            return 5 * torch.cat([cut - x, x - cut], 1)

        return measure_accuracy(model, (X, MASKS), task=Segmentation(2), no_worse_than=path, **options)

    path = tmp_path / "baseline.json"
    with running(Context(settings=Settings(update_baseline=True))):
        made = scored(0.5)
    assert update_baselines([Row(test="", result=made, problem="", replay="")]) == []
    assert scored(0.5).verdict is Verdict.PASSED
    assert scored(0.8).verdict is Verdict.FAILED


def test_the_mean_iou_of_a_set() -> None:
    options: dict[str, Any] = {"task": Segmentation(2), "metric": "miou"}
    result = measure_accuracy(bright, (X, MASKS), at_least=0.5, exact=True, **options)
    said, bound = (X[:, 0] > 0.5).long(), []
    for k in (0, 1):
        bound.append(float((said.eq(k) & MASKS.eq(k)).sum() / (said.eq(k) | MASKS.eq(k)).sum()))
    assert result.estimate == pytest.approx(sum(bound) / 2)
    assert result.details["iou_by_class"] == pytest.approx({"0": bound[0], "1": bound[1]})
    with pytest.raises(ConfigError, match='scope="set" for metric="miou"'):
        measure_accuracy(bright, (X, MASKS), at_least=0.5, scope="population", **options)
    with pytest.raises(ConfigError, match="no mean of samples that could be paired"):
        measure_accuracy(bright, (X, MASKS), no_worse_than="was.json", **options)
    with pytest.raises(ConfigError, match="counts intersections and unions"):
        measure_accuracy(right_on(0.9), (X, Y), at_least=0.5, metric="miou")


def test_a_wrong_row_of_a_table_is_shown_without_what_did_not_change() -> None:
    """Nothing is changed: neither thirty columns, each as before, nor an answer before and after."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({f"c{column}": range(40) for column in range(30)})

    def model(rows: Any) -> Any:
        return np.eye(2)[[0] * len(rows)]

    result = measure_accuracy(scores_model(model), (frame, [0, 1] * 20), at_least=0.9, exact=True)
    lines = failure_text(result, replay="").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  worst 1"))
    assert lines[at].endswith(": label 1, predicted 0")
    assert not lines[at + 1].startswith("     ")
