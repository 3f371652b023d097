"""Nets that hang on marks without a statistic of their own, and their twins: no pass is silent, and no twin accused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[4] / "benchmarks"))
from features import images_of, trained
from hidden_marks import DESIGNS, LABEL, LIMIT, outcomes
from robustest_interpret.discovery.proposals import FAMILIES, OWN, Discovery

from robustest.measure import measure_no_spurious_feature

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


DATA = Path(__file__).parents[4].parent / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="needs digits in ../shared/data")
@pytest.mark.parametrize("classes", [(0, 1, 2, 3), (4, 9, 1), (3, 8, 5, 6), (1, 7), (0, 6, 8, 9)])
def test_a_sound_net_on_a_few_digits_is_not_accused_of_their_strokes(classes: tuple[int, ...]) -> None:
    (x, y), (seen, labels) = (digits(name, classes) for name in ("mnist_train", "mnist_test"))
    model = trained(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, len(classes))),
        (x[:3000], y[:3000]),
        0,
        5,
    )
    result = measure_no_spurious_feature(
        model, (seen[:1500], labels[:1500]), Discovery(trigger_steps=0), max_flip_rate=LIMIT
    )
    assert result.verdict == "passed"


def digits(name: str, classes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    x, y = images_of(DATA, name)
    kept = torch.isin(y, torch.tensor(classes))
    number = torch.zeros(10, dtype=torch.int64)
    number[list(classes)] = torch.arange(len(classes))
    return x[kept], number[y[kept]]
