"""Corruption robustness, on a model that brightness alone decides and shifts whose effect is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, StoreError, Verdict, assert_corruption_robustness, measure_corruption_robustness
from robustest.shifts import COMMON_CORRUPTIONS, CORRUPTIONS, Shift

VALUES = (0.25, 0.44, 0.56, 0.75)
X = torch.tensor(VALUES).repeat(25).view(-1, 1, 1, 1).expand(-1, 1, 32, 32).contiguous()
Y = (X[:, 0, 0, 0] > 0.5).long()


def model(x: Tensor) -> Tensor:
    z = 10 * (x.flatten(1).mean(1) - 0.5)
    return torch.stack([-z, z], 1)


def measured(**options: Any) -> Any:
    return measure_corruption_robustness(model, (X, Y), **{"corruptions": ["brightness"], **options})


def test_brightness_breaks_what_it_lifts_over_the_boundary() -> None:
    """Dark images become bright: those of 0.44 from an early severity on, those of 0.25 later; bright ones stay."""
    result = measured(exact=True)
    table = result.details["by_severity"]["brightness"]
    accuracies = [table[str(severity)]["accuracy"] for severity in range(1, 6)]
    assert set(accuracies) <= {0.5, 0.75, 1.0}
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] < accuracies[0] or accuracies[0] < 1.0
    assert result.estimate == pytest.approx(sum(accuracies) / 5)
    assert result.details["clean_accuracy"] == 1.0
    for entry in table.values():
        low, high = entry["interval"]
        assert low <= entry["accuracy"] <= high
    assert result.outcomes.count(True) == sum(
        sum(a >= share for a in accuracies) >= 3 for share in (1.0, 0.75, 0.5, 0.5) for _ in range(25)
    )


def test_thresholds_are_judged_on_the_mean_of_all_cells() -> None:
    mean = measured(exact=True).estimate
    for name, good, bad in (
        ("min_accuracy", mean, mean + 0.001),
        ("max_drop", 1 - mean, 0.999 - mean),
    ):
        assert measured(exact=True, **{name: round(good, 9)}).verdict is Verdict.PASSED
        assert measured(exact=True, **{name: bad}).verdict is Verdict.FAILED


def test_a_model_is_as_good_as_itself() -> None:
    errors = measured().details["errors"]
    result = measured(max_mce=1.0, baseline=errors, exact=True)
    assert (result.verdict, result.estimate) == (Verdict.PASSED, pytest.approx(1.0))
    assert result.details["mce"] == pytest.approx(1.0)
    assert result.details["relative_mce"] == pytest.approx(1.0)
    assert result.quantity == "mean corruption error"
    twice = {name: [min(1.0, 2 * rate) for rate in rates] for name, rates in errors.items()}
    assert measured(max_mce=0.55, baseline=twice, exact=True).verdict is Verdict.PASSED
    assert measured(max_mce=0.45, baseline=twice, exact=True).verdict is Verdict.FAILED


def test_errors_are_by_severity_in_whatever_order_they_were_asked_for() -> None:
    errors = measured().details["errors"]["brightness"]
    assert errors[0] < errors[-1]
    assert measured(severities=[4, 2, 5, 1, 3]).details["errors"]["brightness"] == errors


def test_a_baseline_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    path.write_text(json.dumps(measured().details["errors"]))
    assert measured(max_mce=1.0, baseline=path, exact=True).verdict is Verdict.PASSED
    path.write_text("{")
    with pytest.raises(StoreError, match=r"errors\.json"):
        measured(max_mce=1.0, baseline=path)


def test_it_stops_early_and_shows_no_number() -> None:
    result = measured(min_accuracy=0.1)
    assert (result.verdict, result.estimate) == (Verdict.PASSED, None)
    assert result.n_used < result.n_total
    assert "by_severity" not in result.details


def test_the_sets_are_those_of_the_benchmark() -> None:
    data = (X[:4], Y[:4])
    common = measure_corruption_robustness(model, data, severities=[1])
    assert list(common.details["by_severity"]) == list(COMMON_CORRUPTIONS)
    everything = measure_corruption_robustness(model, data, corruptions="all", severities=[1])
    assert list(everything.details["by_severity"]) == list(CORRUPTIONS)
    assert (len(COMMON_CORRUPTIONS), len(CORRUPTIONS)) == (15, 19)
    assert "errors" not in common.details  # of one severity they are no baseline


def test_batches_make_no_difference() -> None:
    one = measure_corruption_robustness(model, (X, Y), corruptions=["gaussian_noise", "fog"], batch_size=7)
    other = measure_corruption_robustness(model, (X, Y), corruptions=["gaussian_noise", "fog"], batch_size=100)
    assert one.outcomes == other.outcomes
    assert one.details["by_severity"] == other.details["by_severity"]


def test_shown_are_samples_that_were_right_each_once() -> None:
    result = measured(exact=True, examples=5)
    assert len({shown.index for shown in result.counterexamples}) == len(result.counterexamples) == 5
    assert all(shown.clean == shown.label != shown.predicted for shown in result.counterexamples)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_accuracy": 0.5, "max_drop": 0.1}, "one threshold but got min_accuracy and max_drop"),
        ({"max_mce": 1.0}, "baseline= for max_mce"),
        ({"max_mce": -1.0, "baseline": {"brightness": [0.1] * 5}}, "max_mce to be a number > 0"),
        ({"max_mce": 1.0, "baseline": {"fog": [0.1] * 5}}, "five error rates"),
        ({"max_mce": 1.0, "baseline": {"brightness": [0.0] * 5}}, "errs under"),
        ({"min_accuracy": 1.5}, "min_accuracy in 0..1"),
        ({"max_mce": 1.0, "baseline": {"brightness": [0.1, None, 0.1, 0.1, 0.1]}}, "five error rates"),
        ({"corruptions": ["fog", Shift("fog", parameters="32")]}, "each corruption once but got 'fog' twice"),
        ({"severities": []}, "one corruption and one severity"),
        ({"severities": [6]}, "severity"),
    ],
    ids=str,
)
def test_mistakes_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        measured(**options)


def test_an_assertion_needs_something_to_claim() -> None:
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_corruption_robustness(model, (X, Y))
    assert assert_corruption_robustness(model, (X, Y), corruptions="brightness", min_accuracy=0.4).verdict == "passed"
