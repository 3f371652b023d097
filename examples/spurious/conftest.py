"""What the tests here are about: a net with a fault, the same net repaired, and 1,000 digits that neither has seen."""

import pytest
import torch
from robustest_training.repair import Recipe, counterfactual_training

from robustest.cues import planted

from ..quickstart.model import digits  # noqa: TID252 - an example is no installed package
from .model import SCANNER, TARGET, trained, training_digits

collect_ignore = ["failing"]  # run only where it is named: pytest --robust examples/spurious/failing


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Nets this small gain little from more threads, and lose much where other programs share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def faulty_model(one_thread):
    return trained()


@pytest.fixture(scope="package")
def repair(faulty_model):
    """The repaired model, and the log of the repair."""
    recipe = Recipe(epochs=8, learning_rate=5e-3)
    return counterfactual_training(faulty_model, training_digits(), SCANNER, recipe=recipe)


@pytest.fixture(scope="package")
def robust_model(repair):
    return repair.model


@pytest.fixture(scope="session")
def robust_data():
    return digits()


@pytest.fixture(scope="session")
def same_scanners():
    """Test digits of which, as in training, nearly all threes have the pixel, and few others."""
    x, y = digits()
    return planted(SCANNER, x, y, target=TARGET, share=0.95, others=0.02, seed=1)[0], y
