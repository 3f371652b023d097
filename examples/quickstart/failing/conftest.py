"""The digits come from the conftest.py above; here is another net."""

import pytest

from ..model import load  # noqa: TID252 - an example is no installed package with an absolute name


@pytest.fixture(scope="session")
def robust_model():
    return load("standard")
