import pytest
import torch
from digits import Reader, trained
from test_digits import robust_data, test_accuracy, test_small_changes  # noqa: F401
from torch import nn


class RobustReader(Reader):
    """The same net; each training step first changes the pictures against it."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        changed = x.clone().requires_grad_()
        loss = nn.functional.cross_entropy(self(changed), y)
        (slope,) = torch.autograd.grad(loss, changed)
        changed = (x + 0.15 * slope.sign()).clamp(0, 1)
        return nn.functional.cross_entropy(self(changed), y)


@pytest.fixture(scope="module")
def robust_model():
    torch.manual_seed(0)
    return trained(RobustReader())
