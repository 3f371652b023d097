"""No claim above what a design's own inputs prove passes; models that hide nothing pass below it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import designs
import pytest

from robustest import Verdict
from robustest.measure import measure_robust_accuracy

DAILY = (18, 24, 35)
"""Gates that passed before moves of all elements together were followed behind them, as did the longer 4 and 98."""
ALL = 200


def claimed(design: designs.Design, at_least: float, attack: str) -> Any:
    return measure_robust_accuracy(
        design.model,
        (design.x, design.y),
        design.threat,
        attack=attack,
        at_least=at_least,
        exact=True,
        cache=False,
        suppress=("constant_answer",),  # two classes: a claim above a low truth is often below a constant answer
    )


def never_green(number: int, attack: str) -> None:
    design = designs.design(number)
    found = claimed(design, min(1.0, design.truth + 0.03), attack)
    assert found.verdict is not Verdict.PASSED, (design.name, design.truth, found.estimate, found.details.get("audit"))


@pytest.mark.parametrize("number", DAILY)
def test_a_design_of_the_daily_sample_is_not_green(number: int) -> None:
    never_green(number, "fast")


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["fast", "standard"])
@pytest.mark.parametrize("number", range(ALL))
def test_no_design_is_green(number: int, attack: str) -> None:
    never_green(number, attack)


SOUND = [pytest.param(number, marks=() if number < 2 else pytest.mark.slow) for number in range(30)]


@pytest.mark.parametrize("number", SOUND)
def test_a_model_that_hides_nothing_passes(number: int) -> None:
    design = designs.sound_design(number)
    found = claimed(design, 0.95 * design.truth - 0.05, "fast")
    assert found.verdict is Verdict.PASSED, (design.name, found.rule, found.details["health"])


def test_a_witness_outside_the_threat_does_not_count() -> None:
    design = designs.design(DAILY[0])
    far = (design.x + 2 * design.threat.radius).unsqueeze(0)
    assert replace(design, witnesses=far).truth == pytest.approx(
        float((design.answer(design.x) == design.y).double().mean())
    )
