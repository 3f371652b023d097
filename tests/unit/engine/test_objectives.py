"""What ascents climb, beside its formula."""

from __future__ import annotations

import math

import torch

from robustest.engine.ascent import feature, relative_distance, towards_features

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, -1.0], [1.0, 1.0, 1.0]])
ALL = slice(0, 3)


def test_a_part_of_the_rows_is_that_part_of_the_aims() -> None:
    part = slice(1, 3)
    aim = torch.eye(3)
    index = torch.tensor([2, 0, 1])
    for objective in (towards_features(aim), feature(index)):
        assert torch.equal(objective(LOGITS[part], part), objective(LOGITS, ALL)[part])
        assert not torch.equal(objective(LOGITS[part], part), objective(LOGITS[part], slice(0, 2)))


def test_a_feature_is_its_column() -> None:
    assert feature(torch.tensor([1, 1, 2]))(LOGITS, ALL).tolist() == [0.0, 3.0, 1.0]


def test_distances_are_in_lengths_of_what_is_aimed_at() -> None:
    aim = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    there = torch.tensor([[3.0, 4.0], [2.0, 2.0]])
    assert relative_distance(there, aim).tolist() == [0.0, 1.0]
    assert towards_features(aim)(there, slice(0, 2)).tolist() == [0.0, -1.0]
    assert relative_distance(3 * there, 3 * aim).tolist() == [0.0, 1.0]


def test_an_aim_of_zero_is_finite_and_far() -> None:
    zero = torch.zeros(1, 2)
    assert relative_distance(zero, zero).tolist() == [0.0]
    far = float(relative_distance(torch.ones(1, 2), zero))
    assert math.isfinite(far)
    assert far > 1e6
