"""Nets that hang on marks without a statistic of their own, and their twins: no pass is silent, and no twin accused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[4] / "benchmarks"))
from hidden_marks import DESIGNS, LABEL, LIMIT, outcomes
from robustest_interpret.discovery.proposals import FAMILIES, OWN

SAMPLE = ["logo, 30 %", "two squares", "two moving marks", "contrast in a square", "curve, 30 %", "frame, 30 %"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_net_that_hangs_on_a_mark_is_found_or_named_and_its_twin_is_not_accused(name: str) -> None:
    planted, twin = outcomes(name, 0)
    assert planted.moved > LIMIT
    assert planted.accused or planted.named
    assert not planted.unnamed
    assert not twin.accused


@pytest.mark.slow
def test_a_mosaic_in_few_images_of_a_class_is_named_though_it_moves_few() -> None:
    planted, twin = outcomes("mosaic, 30 %", 0)
    assert planted.moved > LIMIT
    marks = {(one["class"], one["property"]) for one in planted.result.details["discovery"]["other_marks"]}
    assert planted.accused or (LABEL, OWN) in marks
    assert not twin.accused


@pytest.mark.slow
def test_a_class_whose_mark_a_few_pixels_bring_to_other_images_does_not_pass() -> None:
    planted, twin = outcomes("dashed curve", 0)
    assert planted.moved > 0.5
    assert planted.result.verdict != "passed"
    assert twin.result.verdict == "passed"


def test_every_design_has_a_family_that_a_pass_speaks_of() -> None:
    assert len(DESIGNS) >= 25
    assert {one.family for one in DESIGNS.values()} <= set(FAMILIES)
