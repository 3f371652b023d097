"""The robust digit net of the quickstart, and digits that it has not seen."""

import pytest

from ..quickstart.model import digits, load  # noqa: TID252 - an example is no installed package


@pytest.fixture(scope="session")
def robust_model():
    return load("robust")


@pytest.fixture(scope="session")
def robust_data():
    return digits()
