"""Accuracy on a source and on a target data set."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ClaimFailed, ConfigError, DataError, Verdict, assert_transfer_accuracy
from robustest.claims.datasets import measure_transfer_accuracy
from robustest.decisions.effective_robustness import effective_robustness
from robustest.decisions.two_set_drop import share_difference_interval


def model(x: Tensor) -> Tensor:
    """Class 1 from a mean brightness of a half on."""
    mean = x.flatten(1).mean(1)
    return torch.stack([0.5 - mean, mean - 0.5], 1)


def data(n: int, wrong: int) -> tuple[Tensor, Tensor]:
    """n images, of which the model gets so many wrong: the last ones."""
    x = ((torch.arange(n) * 7 % n + 0.5) / n).view(n, 1, 1, 1).expand(n, 1, 4, 4).clone()
    y = (x[:, 0, 0, 0] >= 0.5).long()
    y[n - wrong :] = 1 - y[n - wrong :]
    return x, y


SOURCE, TARGET = data(200, 10), data(120, 18)  # .95 and .85


@pytest.mark.parametrize(
    ("threshold", "verdict"),
    [
        ({"max_drop": 0.1}, Verdict.PASSED),
        ({"max_drop": 0.09}, Verdict.FAILED),
        ({"at_least": 0.85}, Verdict.PASSED),
        ({"at_least": 0.86}, Verdict.FAILED),
        ({}, Verdict.INCONCLUSIVE),
    ],
)
def test_the_sets_are_judged_exactly(threshold: dict[str, float], verdict: Verdict) -> None:
    result = measure_transfer_accuracy(model, SOURCE, TARGET, exact=True, **threshold)  # type: ignore[arg-type]
    assert result.verdict is verdict
    assert result.estimate == pytest.approx(0.1 if "max_drop" in threshold else 0.85)
    assert (result.details["source_accuracy"], result.details["target_accuracy"]) == (0.95, 0.85)
    assert (result.details["source_n"], result.details["target_n"]) == (200, 120)
    assert result.details["drop"] == pytest.approx(0.1)
    assert result.details["drop_interval"] == list(share_difference_interval(190, 200, 102, 120, 0.01))
    assert result.outcomes == tuple(i < 102 for i in range(120)), "outcomes are the target's"
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_counterexamples_are_misclassified_targets() -> None:
    result = measure_transfer_accuracy(model, SOURCE, TARGET, at_least=0.9, exact=True)
    assert len(result.counterexamples) == 3
    for example in result.counterexamples:
        assert example.index >= 102
        assert example.label == TARGET[1][example.index] == 1 - example.predicted
    surest = max(range(102, 120), key=lambda i: abs(float(TARGET[0][i, 0, 0, 0]) - 0.5))
    assert result.counterexamples[0].index == surest


def test_both_sets_are_paid_for(watched: Any, linear: Any) -> None:
    module = watched(linear(torch.tensor([[-1.0] * 16, [1.0] * 16]), torch.tensor([8.0, -8.0])))
    result = measure_transfer_accuracy(module, SOURCE, TARGET, max_drop=0.5, exact=True)
    assert sum(module.calls) == result.cost.forward >= 320


def test_a_verdict_may_come_early() -> None:
    """Of 3,000 targets a third are wrong: .95 to .67 is surely no fall of .05."""
    result = measure_transfer_accuracy(model, SOURCE, data(3000, 1000), max_drop=0.05)
    assert result.verdict is Verdict.FAILED
    assert result.numbers.n < result.numbers.n_total == 3000
    assert result.estimate is None
    assert result.interval[0] > 0.05
    assert result.details["target_accuracy"] is None
    assert result.details["source_accuracy"] == 0.95


def test_a_population_claim_needs_the_interval() -> None:
    low, high = share_difference_interval(190, 200, 102, 120, 0.01)
    for most, verdict in ((high + 0.001, Verdict.PASSED), (0.1, Verdict.INCONCLUSIVE), (low, Verdict.INCONCLUSIVE)):
        result = measure_transfer_accuracy(model, SOURCE, TARGET, max_drop=max(0.0, most), scope="population")
        assert result.verdict is verdict
        assert result.interval == (low, high)


def test_a_budget_leaves_it_open() -> None:
    result = measure_transfer_accuracy(model, SOURCE, TARGET, max_drop=0.1, max_samples=64)
    assert (result.verdict, result.estimate) == (Verdict.INCONCLUSIVE, None)
    assert result.details["source_accuracy"] is None
    assert "in part" in result.rule


def test_the_assertion_raises_and_speaks() -> None:
    assert assert_transfer_accuracy(model, SOURCE, TARGET, max_drop=0.1).verdict is Verdict.PASSED
    with pytest.raises(ClaimFailed, match=r"0\.05: accuracy lost from source to target"):
        assert_transfer_accuracy(model, SOURCE, TARGET, max_drop=0.05)
    with pytest.raises(ConfigError, match="at_least=, max_drop= or no_worse_than="):
        assert_transfer_accuracy(model, SOURCE, TARGET)


@pytest.mark.parametrize(
    ("source", "target", "arguments", "error", "message"),
    [
        (SOURCE, TARGET, {"max_drop": 0.1, "at_least": 0.5}, ConfigError, "got both"),
        (SOURCE, TARGET, {"max_drop": 10}, ConfigError, "max_drop in 0..1"),
        (SOURCE, TARGET, {"at_least": float("nan")}, ConfigError, "at_least in 0..1"),
        (SOURCE, TARGET, {"at_most": 0.1}, ConfigError, "at_most"),
        ((SOURCE[0], SOURCE[1] + 5), TARGET, {"max_drop": 0.1}, DataError, "labels in 0..1"),
        (SOURCE, (TARGET[0] * 9, TARGET[1]), {"max_drop": 0.1}, DataError, "bounds"),
    ],
)
def test_bad_arguments_are_named(
    source: Any, target: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        measure_transfer_accuracy(model, source, target, **arguments)


def test_several_models_make_a_line() -> None:
    """The results of four models are all that effective robustness needs; equal ones lie on their line."""

    def shifted(by: float) -> Any:
        def moved(x: Tensor) -> Tensor:
            return model(x - by)

        return moved

    results = {
        f"by {by}": measure_transfer_accuracy(shifted(by), SOURCE, TARGET, max_drop=0.99, exact=True)
        for by in (0.0, 0.1, 0.2, 0.3)
    }
    found = effective_robustness(results)
    assert found.slope > 0
    assert all(low <= 0 <= high for low, high in (residual.interval for residual in found.models.values()))
