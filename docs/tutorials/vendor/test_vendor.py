import pytest
import torch
from sklearn.datasets import load_digits
from vendor import ask, service

from robustest import assert_accuracy, assert_shift_accuracy, scores_model


@pytest.fixture(scope="session")
def address():
    return service()


@pytest.fixture(scope="module")
def robust_model(address):
    return scores_model(lambda batch: ask(address, batch))


@pytest.fixture(scope="session")
def robust_data():
    digits = load_digits()
    return torch.tensor(digits.images[1::4] / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target[1::4])


def faint(pictures):
    """Pictures as a printer writes them whose cartridge is nearly empty."""
    return 0.25 * pictures


def test_accuracy(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.9)


def test_faint_print(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, faint, at_least=0.9)
