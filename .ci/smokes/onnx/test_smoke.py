"""A file that torch writes is attacked through its gradients; a claim that it does not keep fails."""

import pytest
import torch
from robustest_onnx import onnx_model

from robustest import ClaimFailed, Linf, assert_robust_accuracy


def test_a_file(tmp_path):
    linear = torch.nn.Linear(64, 2)
    with torch.no_grad():  # class 1 where the mean is above 0.5
        linear.weight.copy_(torch.stack([-torch.ones(64), torch.ones(64)]))
        linear.bias.copy_(torch.tensor([32.0, -32.0]))
    x = torch.cat([torch.full((10, 1, 8, 8), 0.4), torch.full((10, 1, 8, 8), 0.6)])
    y = (x.flatten(1).mean(1) > 0.5).long()
    file = tmp_path / "classifier.onnx"
    torch.onnx.export(
        torch.nn.Sequential(torch.nn.Flatten(), linear),
        (x[:1],),
        str(file),
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
    )
    model = onnx_model(file, gradients=True)
    assert_robust_accuracy(model, (x, y), Linf(0.05), at_least=1.0)
    with pytest.raises(ClaimFailed):
        assert_robust_accuracy(model, (x, y), Linf(0.15), at_least=0.5)
