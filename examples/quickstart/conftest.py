"""What the tests here are about: a robust net, and 1,000 digits that it has not seen."""

import pytest
import torch

from .model import digits, load

collect_ignore = ["failing"]  # run only where it is named: pytest --robust examples/quickstart/failing


@pytest.fixture(scope="session")
def robust_model():
    return load("robust")


@pytest.fixture(scope="session")
def robust_data():
    return digits()


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Nets this small gain little from more threads, and lose much where other programs share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
