import pytest
import torch
from tickets import messages, trained, words

from robustest import assert_accuracy, assert_shift_accuracy


@pytest.fixture(scope="module")
def robust_model():
    net = trained(words, known_only=True)

    def scores(texts):
        with torch.no_grad():
            return net(texts)

    return scores


@pytest.fixture(scope="module")
def robust_data():
    return messages(seed=1, number=400)


def test_accuracy(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.95)


def test_typos(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "typos", severity=4, max_drop=0.05)
