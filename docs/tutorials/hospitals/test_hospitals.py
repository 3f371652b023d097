import pytest
import torch
from hospitals import MARKER, halves, trained
from torch import nn

from robustest import assert_accuracy, assert_no_spurious_feature, assert_worst_group_accuracy


@pytest.fixture(scope="module")
def robust_model():
    torch.manual_seed(0)
    (x, finding, _), _ = halves()
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    return trained(net, x, finding)


@pytest.fixture(scope="module")
def robust_data():
    x, finding, _ = halves()[1]
    return x, finding


def test_accuracy(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.95)


def test_marker(robust_model, robust_data):
    assert_no_spurious_feature(robust_model, robust_data, MARKER, max_flip_rate=0.02)


def test_each_hospital(robust_model, robust_data):
    _, (_, finding, hospital) = halves()
    patients = [f"{'ill' if ill else 'well'} in {place}" for ill, place in zip(finding, hospital, strict=True)]
    assert_worst_group_accuracy(robust_model, robust_data, patients, at_least=0.8)
