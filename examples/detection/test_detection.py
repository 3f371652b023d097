"""Claims on a detector's mean average precision, on YOLO's files. `pytest --robust examples/detection`."""

import pytest

from robustest import (
    Detection,
    Linf,
    assert_accuracy,
    assert_robust_score,
    assert_shift_accuracy,
    assert_worst_group_accuracy,
)
from robustest.attacks import APGD
from robustest.data import yolo_boxes
from robustest.tasks import DetrDetector

from .model import pictures, trained, write_yolo

BOXES = {"task": Detection(DetrDetector(classes=2), score_by="ap"), "metric": "map"}


@pytest.fixture(scope="module")
def detector():
    return trained(noise=0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return yolo_boxes(write_yolo(tmp_path_factory.mktemp("data"), *pictures(60, seed=7)), "val")


def test_it_finds_squares_and_discs(detector, data):
    assert_accuracy(detector, data, at_least=0.7, **BOXES)


def test_noise_costs_little(detector, data):
    assert_shift_accuracy(detector, data, "gaussian_noise", severity=2, max_drop=0.05, **BOXES)


def test_in_a_brighter_light_it_is_no_worse_than_one_that_saw_no_noise(detector, data):
    assert_shift_accuracy(detector, data, "brightness", severity=2, no_worse_than=trained(), **BOXES)


def test_one_thing_alone_is_found_as_well_as_two(detector, data):
    groups = [f"{len(target['labels'])} in the picture" for _, target in data]
    assert_worst_group_accuracy(detector, data, groups, at_least=0.6, min_group_size=15, **BOXES)


def test_a_change_that_nobody_sees_moves_few_boxes_away(detector, data):
    attack = APGD(steps=10, loss="move")
    assert_robust_score(detector, data, Linf(2 / 255), attack=attack, at_least=0.5, **BOXES)
