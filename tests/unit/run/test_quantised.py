"""An int8 network against the float one that it was made of, in both directions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import quantised
from quantised import by_accuracy, by_attack, in_torch, samples

sys.path.pop(0)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_the_worse_fails_and_an_equal_one_passes(seed: int, tmp_path: Path) -> None:
    models, data = in_torch(seed, tmp_path), samples(seed, 2000)
    for pair, verdict in quantised.PAIRS.items():
        first, second = pair.split(" < ")
        found = by_accuracy(models[first], models[second], data)
        assert found.verdict == verdict, (pair, found.rule)


@pytest.mark.parametrize("claim", [by_accuracy, pytest.param(by_attack, marks=pytest.mark.slow)])
def test_each_model_is_no_worse_than_one_of_its_answers(claim: Any, tmp_path: Path) -> None:
    for model in in_torch(0, tmp_path).values():
        assert claim(model, quantised.twin(model), samples(0, 100)).verdict == "passed"
        assert claim(model, model, samples(0, 100)).rule == "health check: same_model"


@pytest.mark.slow
def test_twenty_seeds() -> None:
    right = quantised.sweep(in_torch, by_accuracy, 2000)
    assert set(right.values()) == {quantised.SEEDS}
    assert sum(quantised.same(in_torch, by_accuracy)) >= 0.99 * quantised.SAME
