"""The quickstart's net, every eighth of its digits, and what people say of them."""

import pytest
from robustest_people import Responses

from ..quickstart.model import digits, load  # noqa: TID252 - an example is no installed package
from .people import answers


@pytest.fixture(scope="session")
def robust_model():
    return load("standard")


@pytest.fixture(scope="session")
def robust_data():
    x, y = digits()
    return x[::8], y[::8]


@pytest.fixture(scope="session")
def robust_responses(robust_data, tmp_path_factory):
    x, y = digits()
    table = answers(tmp_path_factory.mktemp("study"), *robust_data, checks=(x[1::80], y[1::80]))
    return Responses.from_csv(table, size=len(robust_data[0]), classes=10)
