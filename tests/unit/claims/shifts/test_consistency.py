"""Predictions that a shift flips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ClaimFailed, ConfigError, Verdict, assert_consistency
from robustest.claims.shifts.shift_accuracy import measure_consistency
from robustest.shifts import as_shift

N = 100
X = ((torch.arange(N) + 0.5) / N).view(N, 1, 1, 1).expand(N, 1, 4, 4).clone()
Y = (X[:, 0, 0, 0] >= 0.5).long()


def model(x: Tensor) -> Tensor:
    """Class 2 from a brightness of .8 on, class 1 from a half on, else class 0."""
    mean = x.flatten(1).mean(1)
    return torch.stack([0.5 - mean, torch.full_like(mean, 0.0), 2 * (mean - 0.8)], 1)


def brighter(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x + severity / 100


def inverted(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return 1 - x


def test_every_flip_counts_whatever_the_label() -> None:
    """Brighter by 5: samples 45..49 become class 1, and 75..79, wrong by their label 1, become class 2."""
    result = measure_consistency(model, (X, Y), brighter, severity=5, max_flip_rate=0.1, exact=True)
    assert result.outcomes == tuple(not (45 <= i < 50 or 75 <= i < 80) for i in range(N))
    assert result.estimate == 0.1
    assert result.verdict is Verdict.PASSED
    assert (result.numbers.quantity, result.ruling.comparison) == ("flip rate", "<=")
    assert result.subject.setting == "brighter, severity 5"
    details = {name: result.details[name] for name in ("flips", "lost", "gained", "wrong_to_wrong")}
    assert details == {"flips": 10, "lost": 10, "gained": 0, "wrong_to_wrong": 0}
    assert (result.details["clean_accuracy"], result.details["shifted_accuracy"]) == (0.8, 0.7)
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_flips_among_wrong_answers_count() -> None:
    """With class 2 for every label, the flips from 0 to 1 are from wrong to wrong, those from 1 to 2 are gains."""
    result = measure_consistency(model, (X, torch.full((N,), 2)), brighter, severity=5, exact=True)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert (result.details["wrong_to_wrong"], result.details["gained"], result.details["lost"]) == (5, 5, 0)
    assert result.estimate == 0.1


@pytest.mark.parametrize(("max_flip_rate", "verdict"), [(0.1, Verdict.PASSED), (0.09, Verdict.FAILED)])
def test_the_set_is_judged_exactly(max_flip_rate: float, verdict: Verdict) -> None:
    assert measure_consistency(model, (X, Y), brighter, severity=5, max_flip_rate=max_flip_rate).verdict is verdict


def test_counterexamples_show_the_flips() -> None:
    result = measure_consistency(model, (X, Y), brighter, severity=5, max_flip_rate=0.0, exact=True, examples=20)
    assert sorted(example.index for example in result.counterexamples) == [*range(45, 50), *range(75, 80)]
    assert all(example.predicted == example.clean + 1 for example in result.counterexamples)
    assert {example.size for example in result.counterexamples} == {5.0}


def test_the_surest_flip_is_shown_first() -> None:
    """The scores of class 2 rise twice as fast: sample 79 flips by the widest margin."""
    result = measure_consistency(model, (X, Y), brighter, severity=5, max_flip_rate=0.0, exact=True, examples=1)
    assert [example.index for example in result.counterexamples] == [79]


def test_a_verdict_may_come_early() -> None:
    x = X.repeat(30, 1, 1, 1)
    result = measure_consistency(model, (x, Y.repeat(30)), inverted, max_flip_rate=0.01)
    assert result.verdict is Verdict.FAILED
    assert result.numbers.n < result.numbers.n_total == 3000
    assert result.estimate is None
    assert result.interval[0] > 0.01


def test_a_shift_by_name_and_the_same_twice() -> None:
    first, again = (
        measure_consistency(model, (X, Y), "gaussian_noise", severity=5, max_flip_rate=0.9, exact=True)
        for _ in range(2)
    )
    assert first.outcomes == again.outcomes
    assert first.subject.setting == "gaussian_noise, severity 5"


def test_the_assertion_raises_and_speaks() -> None:
    assert assert_consistency(model, (X, Y), brighter, severity=5, max_flip_rate=0.1).verdict is Verdict.PASSED
    with pytest.raises(ClaimFailed, match=r"> 0\.05: predictions flipped by brighter, severity 5\n"):
        assert_consistency(model, (X, Y), brighter, severity=5, max_flip_rate=0.05)
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_consistency(model, (X, Y), brighter, max_flip_rate=None)


def test_no_more_may_flip_than_did(baseline_of: Callable[..., Path]) -> None:
    """Ten flip, some of which held in the baseline: on this set each counts, about the population six and not five."""
    now = measure_consistency(model, (X, Y), brighter, severity=5, exact=True)
    for lost, verdict in ((6, Verdict.FAILED), (5, Verdict.INCONCLUSIVE), (0, Verdict.INCONCLUSIVE)):
        fell = [i for i, held in enumerate(now.outcomes) if not held][:lost]
        before = (bool(held) or i in fell for i, held in enumerate(now.outcomes))
        was = baseline_of(now, before, ("consistency", as_shift(brighter, 5)))
        result = measure_consistency(model, (X, Y), brighter, severity=5, no_worse_than=was)
        assert result.verdict is (Verdict.FAILED if lost else Verdict.PASSED)
        of_all = measure_consistency(model, (X, Y), brighter, severity=5, no_worse_than=was, scope="population")
        assert of_all.verdict is verdict
        assert (result.details["baseline"]["lost"], result.details["baseline"]["gained"]) == (lost, 0)
        assert (
            assert_consistency(model, (X, Y), brighter, tolerance=0.1, severity=5, no_worse_than=was).verdict
            is Verdict.PASSED
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"max_flip_rate": 1.5}, "max_flip_rate in 0..1"), ({"severity": 6}, "severity"), ({"at_least": 0.5}, "at_least")],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measure_consistency(model, (X, Y), brighter, **arguments)
