import pytest
from digits import halves, quantised, trained

from robustest import assert_accuracy, assert_shift_accuracy


@pytest.fixture(scope="module")
def float_model():
    return trained()


@pytest.fixture(scope="module")
def robust_model(float_model):
    return quantised(float_model, lambda weight: weight.abs().max())  # one scale for a layer


@pytest.fixture(scope="module")
def robust_data():
    return halves()[1]


def test_accuracy(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.8)


def test_as_good_as_floats(robust_model, robust_data, float_model):
    assert_accuracy(robust_model, robust_data, no_worse_than=float_model, tolerance=0.02)


def test_noise(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "gaussian_noise", severity=1, at_least=0.93)
