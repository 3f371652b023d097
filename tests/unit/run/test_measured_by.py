"""A baseline that was measured in another way hides a loss: it is an error, not a comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustest import Linf, MultiLabel, Regression, Result, StoreError, Verdict, context
from robustest.account import Row
from robustest.attacks import PGD
from robustest.measure import measure_robust_accuracy as accuracy
from robustest.measure import measure_robust_score as score
from robustest.pytest_plugin.reports import update_baselines
from robustest.run.comparison import measured_by
from robustest.settings import Settings

X = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
Y = (X > 0.5).long()
EPS = Linf(0.02)


def model(x: Tensor) -> Tensor:
    return 4 * (x - 0.5)


def made(file: Path, measure: Callable[[], Result]) -> None:
    """The baseline of a claim, as a run of its test writes it."""
    with context.running(context.Context(settings=Settings(update_baseline=True))):
        result = measure()
    assert update_baselines([Row(test="", result=result, problem="", replay="")]) == []


def by_attack(file: Path, steps: int) -> Result:
    return accuracy(model, (X, Y[:, 0]), EPS, attack=PGD(steps=steps), no_worse_than=file)


def by_cut(file: Path, threshold: float) -> Result:
    return accuracy(model, (X, Y), EPS, attack="pgd", task=MultiLabel(threshold), no_worse_than=file)


def by_scale(file: Path, scale: float) -> Result:
    task = Regression(1.0, scale=scale)
    return score(model, (X, Y.float()), EPS, attack="pgd", task=task, no_worse_than=file)


@pytest.mark.parametrize(
    ("measure", "was", "now"),
    [(by_attack, 20, 1), (by_cut, 0.5, 0.4), (by_scale, 4.0, 40.0)],
    ids=["attack", "cut", "scale"],
)
def test_another_measure_is_an_error(measure: Callable[..., Result], was: float, now: float, tmp_path: Path) -> None:
    file = tmp_path / "was.json"
    made(file, lambda: measure(file, was))
    assert measure(file, was).verdict is Verdict.PASSED
    with pytest.raises(StoreError, match="measured as those of the baseline"):
        measure(file, now)


def test_what_has_no_words_is_not_compared() -> None:
    assert measured_by(None, None) == measured_by((lambda x: x,), None) == ""
    assert measured_by(("a", PGD(steps=3), Linf(0.1)), MultiLabel()) == measured_by(
        ("a", PGD(steps=3), Linf(0.1)), MultiLabel()
    )
