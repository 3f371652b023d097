"""The attack in a claim: on a model that sums pixels, it must find what a closed form says is there."""

import pytest
import torch

from robustest import Linf, assert_robust_accuracy
from robustest.measure import measure_robust_accuracy

from .attack import RandomSigns

pytestmark = pytest.mark.robust


def brightness_model(x):
    """Class 1 where the mean of a picture is above one half."""
    mean = x.flatten(1).mean(1)
    return torch.stack([0.5 - mean, mean - 0.5], 1)


def pictures(distance):
    """32 pictures whose mean is `distance` above one half, so that L-inf eps must exceed it to break them."""
    x = torch.full((32, 1, 4, 4), 0.5 + distance)
    return x, torch.ones(32, dtype=torch.int64)


def test_it_cannot_break_what_is_out_of_reach():
    assert_robust_accuracy(brightness_model, pictures(0.10), Linf(0.09), at_least=1.0, attack=RandomSigns())


def test_it_breaks_what_is_well_in_reach():
    found = measure_robust_accuracy(brightness_model, pictures(0.10), Linf(0.20), attack=RandomSigns())
    assert found.estimate < 0.1
