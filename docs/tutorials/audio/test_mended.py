import pytest
import torch
from sounds import trained
from test_sounds import robust_data, test_accuracy, test_noise, test_quiet_line  # noqa: F401


def on_a_line(waves):
    """Return the waves up to 20 dB quieter, in white noise that is up to 40 dB below them."""
    quieter = waves * 10 ** -torch.rand(len(waves), 1)
    level = quieter.square().mean(1, keepdim=True).sqrt() * 10 ** (-2 * torch.rand(len(waves), 1))
    return quieter + level * torch.randn_like(waves)


@pytest.fixture(scope="module")
def robust_model():
    return trained(augment=on_a_line)
