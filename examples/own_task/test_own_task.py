"""The task in claims: a model that names the brightest place, under noise and where pictures are moved."""

import pytest
import torch

from robustest import Linf, Verdict, assert_robust_accuracy, assert_shift_accuracy
from robustest.measure import measure_robust_accuracy

from .task import Landmarks

pytestmark = pytest.mark.robust
SIDE = 16


def names_the_brightest(x):
    """(N, 1, 2) row and column of the brightest place, as a mean that bright pixels weigh in."""
    weight = (12 * x.mean(1)).flatten(1).softmax(1).view(-1, SIDE, SIDE)
    line = torch.arange(SIDE, dtype=x.dtype, device=x.device)
    return torch.stack([weight.sum(2) @ line, weight.sum(1) @ line], 1).unsqueeze(1)


def pictures(n=24):
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(4, SIDE - 4, (n, 1, 2), generator=generator).float()
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    away = (row - place[:, 0, 0, None, None]) ** 2 + (column - place[:, 0, 1, None, None]) ** 2
    return torch.exp(-away / 4).unsqueeze(1), place


def test_what_is_found_at_first_holds_under_a_little_noise():
    assert_robust_accuracy(names_the_brightest, pictures(), Linf(0.001), task=Landmarks(1.5), at_least=0.9)


def test_an_attack_moves_the_landmark_where_more_is_allowed():
    found = measure_robust_accuracy(names_the_brightest, pictures(), Linf(0.3), task=Landmarks(1.5), at_least=0.5)
    assert found.verdict is Verdict.FAILED
    assert "px off" in found.counterexamples[0].answer


def test_landmarks_follow_a_picture_that_is_moved():
    assert_shift_accuracy(names_the_brightest, pictures(), "translation", severity=2, task=Landmarks(1.5), at_least=0.9)
