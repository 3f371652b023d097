import pytest
from sounds import RATE, sounds, trained

from robustest import Waveforms, assert_accuracy, assert_shift_accuracy


@pytest.fixture(scope="module")
def robust_model():
    return trained()


@pytest.fixture(scope="module")
def robust_data():
    return Waveforms(sounds(seed=1, number=300), sample_rate=RATE)


def test_accuracy(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.95)


def test_noise(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "noise", severity=3, at_least=0.95)


def test_quiet_line(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "gain", severity=2, at_least=0.95)
