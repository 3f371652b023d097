import pytest
import torch
from digits import Digits, Reader, trained

from robustest import Linf, assert_accuracy, assert_robust_accuracy


@pytest.fixture(scope="module")
def robust_model():
    torch.manual_seed(0)
    return trained(Reader())


@pytest.fixture(scope="module")
def robust_data():
    return Digits()


def test_accuracy(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.9)


def test_small_changes(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.6)
