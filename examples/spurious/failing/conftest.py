"""The digits come from the conftest.py above; here is the net before its repair."""

import pytest


@pytest.fixture(scope="package")
def robust_model(faulty_model):
    return faulty_model
