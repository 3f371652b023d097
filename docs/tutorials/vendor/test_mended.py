import pytest
from test_vendor import address, robust_data, test_accuracy, test_faint_print  # noqa: F401
from vendor import ask

from robustest import scores_model


def contrast_restored(batch):
    """Return the pictures with their darkest pixel at 1."""
    return batch / batch.max(axis=(1, 2, 3), keepdims=True)


@pytest.fixture(scope="module")
def robust_model(address):
    return scores_model(lambda batch: ask(address, contrast_restored(batch)))
