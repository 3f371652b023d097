"""A file that torch writes is attacked through its gradients; a claim that it does not keep fails."""

import pytest
import torch
from robustest_onnx import onnx_model

from robustest import ClaimFailed, Linf, assert_robust_accuracy


def test_a_file(tmp_path):
    linear = torch.nn.Linear(64, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.stack([-torch.ones(64), torch.ones(64)]))
    x = torch.cat([torch.full((10, 64), 0.4), torch.full((10, 64), 0.6)]) - 0.0
    y = (x.mean(1) > 0.5).long()
    centred = torch.nn.Sequential(torch.nn.Threshold(-1.0, 0.0), linear)
    linear.weight.data -= linear.weight.data.mean(0)
    torch.onnx.export(
        centred, (x[:1] - 0.5,), str(tmp_path / "m.onnx"), dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
    )
    model = onnx_model(tmp_path / "m.onnx", gradients=True, preprocessing=lambda x: x - 0.5)
    assert_robust_accuracy(model, (x, y), Linf(0.05), at_least=1.0)
    with pytest.raises(ClaimFailed):
        assert_robust_accuracy(model, (x, y), Linf(0.15), at_least=0.5)
