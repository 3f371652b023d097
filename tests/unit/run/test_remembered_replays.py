"""Known counterexamples and remembered chunks together: neither makes a liar of the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from robustest import Linf, Result, Settings, Verdict
from robustest.attacks import PGD
from robustest.context import Context, running
from robustest.measure import measure_certified_accuracy, measure_robust_accuracy

THREAT = Linf(0.05)


@pytest.fixture
def measured(tmp_path: Path, toys: Callable[..., Any]) -> Callable[..., Result]:
    """Measures in one test's context, with a store and a corpus of their own."""
    toy = toys(200)
    settings = Settings(store=str(tmp_path / "store"), corpus=str(tmp_path / "corpus"))

    def measure(attack: Any, **options: Any) -> Result:
        with running(Context(settings=settings, test="t.py::t")):
            return measure_robust_accuracy(toy.model, (toy.x, toy.y), THREAT, attack=attack, **options)

    return measure


WEAK = PGD(steps=1, step_size=1e-6)
"""Finds next to nothing, so that what is broken is broken by what an earlier run found."""


def test_a_sample_broken_by_replay_alone_agrees_with_itself_when_it_is_measured_again(
    measured: Callable[..., Result],
) -> None:
    strong = measured(PGD(steps=10), exact=True, recheck=0.0)
    assert 20 < strong.outcomes.count(False) < 180
    replayed = measured(WEAK, exact=True, recheck=0.0)
    assert replayed.evidence.replayed == strong.outcomes.count(False)
    assert replayed.outcomes == strong.outcomes
    again = measured(WEAK, exact=True, recheck=1.0)
    assert again.outcomes == replayed.outcomes


def test_replay_dooms_a_claim_before_anything_is_searched(measured: Callable[..., Result]) -> None:
    strong = measured(PGD(steps=10), exact=True)
    claim = strong.estimate + 0.05
    doomed = measured(WEAK, at_least=claim, cache=False)
    assert doomed.verdict is Verdict.FAILED
    assert doomed.estimate is None
    assert doomed.evidence.replayed == doomed.numbers.n == strong.outcomes.count(False)
    assert doomed.rule.startswith("certain: ")
    assert doomed.interval[0] == 0
    assert doomed.interval[1] == pytest.approx(strong.estimate)
    assert doomed.interval[1] < claim
    assert doomed.cost.forward < strong.cost.forward


@pytest.mark.thinned
@pytest.mark.parametrize("measure", [measure_certified_accuracy, partial(measure_robust_accuracy, certify="auto")])
@pytest.mark.parametrize("how", [{"cache": False}, {"replay_only": True}], ids=str)  # settings of the run
def test_replay_dooms_a_claim_that_proves_too(
    toys: Callable[..., Any], tmp_path: Path, measure: Callable[..., Result], how: dict[str, Any]
) -> None:
    """What is broken is not proven; a model that was trained on keeps most of what broke it."""
    toy = toys(200)
    settings = Settings(store=str(tmp_path / "store"), corpus=str(tmp_path / "corpus"))
    with running(Context(settings=settings, test="t.py::t")):
        first = measure(toy.model, (toy.x, toy.y), THREAT, exact=True)
    with running(Context(settings=settings.but(how), test="t.py::t")):
        doomed = measure(toy.model, (toy.x, toy.y), THREAT, at_least=0.99)
    assert doomed.verdict is Verdict.FAILED
    assert doomed.rule.endswith("samples are broken by replayed counterexamples")
    assert doomed.evidence.replayed == doomed.numbers.n == doomed.details["not_held"] == first.details["not_held"]
    assert (doomed.details["proven"], doomed.details["open"]) == (0, 0)


def test_replay_breaks_and_never_vouches(measured: Callable[..., Result]) -> None:
    """What the weak attack breaks by itself is broken with the corpus too, and more."""
    alone = measured(WEAK, exact=True, cache=False)
    measured(PGD(steps=10), exact=True)
    together = measured(WEAK, exact=True, cache=False)
    for before, after in zip(alone.outcomes, together.outcomes, strict=True):
        assert before or not after
    assert together.outcomes.count(False) > alone.outcomes.count(False)
