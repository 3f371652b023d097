import pytest
from digits import quantised
from test_quantised import float_model, robust_data, test_accuracy, test_as_good_as_floats, test_noise  # noqa: F401


def scale_of_each_channel(weight):
    """Return a scale for each output channel, in the shape that multiplies the weights."""
    largest = weight.abs().flatten(1).amax(1)
    return largest.view(-1, *[1] * (weight.ndim - 1))


@pytest.fixture(scope="module")
def robust_model(float_model):
    return quantised(float_model, scale_of_each_channel)
