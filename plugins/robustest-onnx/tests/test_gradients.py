"""Gradients come from a graph that is the same function; what counts as broken is judged by onnxruntime."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx2torch
import pytest
import torch
from robustest_onnx import onnx_model
from torch import Tensor, nn

from robustest import ConfigError, Linf, ModelError
from robustest.measure import measure_robust_accuracy

Data = tuple[Tensor, Tensor]
Save = Callable[..., Path]


@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_the_networks(save: Save, net: nn.Module, data: Data, opset: int, dtype: str) -> None:
    model = onnx_model(save(opset=opset, dtype=dtype), gradients=True)
    assert model.gives.name == "GRADIENT"
    one, two = (data[0].clone().requires_grad_() for _ in range(2))
    model(one)[:, 0].sum().backward()
    net(two)[:, 0].sum().backward()
    assert one.grad is not None
    assert two.grad is not None
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-5)


def test_passes_without_gradient_are_onnxruntimes(save: Save, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx_model(save(), gradients=True)
    assert isinstance(model.module, nn.Module)
    monkeypatch.setattr(model.module.graph, "forward", lambda x: x.flatten(1)[:, :4] * 0 + 7)
    assert not (model(data[0]) == 7).any()
    assert (model(data[0].clone().requires_grad_()) == 7).all()


def another(graph: nn.Module, change: float) -> nn.Module:
    for parameter in graph.parameters():
        parameter.data += change
    return graph


@pytest.mark.parametrize("change", [1e-3, float("nan")])
def test_a_graph_that_is_another_function_is_refused(
    save: Save, monkeypatch: pytest.MonkeyPatch, change: float
) -> None:
    convert = onnx2torch.convert
    monkeypatch.setattr(onnx2torch, "convert", lambda model: another(convert(model), change))
    with pytest.raises(ModelError, match=r"net\.onnx to give onnxruntime's logits within 0\.0001"):
        onnx_model(save(), gradients=True)


def test_a_graph_that_differs_on_the_examples_alone_is_refused(
    save: Save, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(nn.Module):
        """Right inside [0, 1], wrong beyond."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + (x.amax((1, 2, 3)) > 1).float()[:, None]

    convert = onnx2torch.convert
    monkeypatch.setattr(onnx2torch, "convert", lambda model: Elsewhere(convert(model)))
    onnx_model(save(), gradients=True, examples=data[0])
    with pytest.raises(ModelError, match="gradients would be of another function"):
        onnx_model(save(), gradients=True, examples=2 * data[0])


def test_a_graph_for_one_size_of_batch_is_refused(save: Save) -> None:
    with pytest.raises(ModelError, match="Export with a batch axis of any size"):
        onnx_model(save(batch=4, flat=False), gradients=True)


def test_a_batch_axis_of_one_size_is_no_harm_where_the_graph_does_not_hold_it(save: Save, data: Data) -> None:
    model = onnx_model(save(batch=4), gradients=True)
    x = data[0][:6].clone().requires_grad_()
    torch.testing.assert_close(model(x), model(x.detach()), rtol=1e-4, atol=1e-5)


def test_examples_are_needed_where_the_file_does_not_tell(save: Save, data: Data) -> None:
    with pytest.raises(ConfigError, match="Expected examples=, a batch of inputs"):
        onnx_model(save(sides=("h", "w")), gradients=True)
    onnx_model(save(sides=("h", "w")), gradients=True, examples=data[0].numpy())
    with pytest.raises(ConfigError, match="Expected examples="):
        onnx_model(save(), gradients=True, preprocessing=lambda x: x.transpose(2, 3))
    onnx_model(save(), gradients=True, preprocessing=lambda x: x.transpose(2, 3), examples=data[0])
    with pytest.raises(ConfigError, match=r"examples of shape \(B >= 1, \*S\)"):
        onnx_model(save(), gradients=True, examples=torch.zeros(0, 1, 8, 8))


def test_what_gradients_cannot_go_with(save: Save) -> None:
    with pytest.raises(ConfigError, match="max_queries to be None"):
        onnx_model(save(), gradients=True, max_queries=10)
    with pytest.raises(ConfigError, match="input of floats"):
        onnx_model(save(dtype="uint8"), gradients=True)


def test_weights_in_constant_nodes_are_converted(save: Save, data: Data) -> None:
    plain, nodes = onnx_model(save(), gradients=True), onnx_model(save("nodes.onnx", constants=True), gradients=True)
    slopes = []
    for model in (plain, nodes):
        x = data[0].clone().requires_grad_()
        model(x)[:, 1].sum().backward()
        slopes.append(x.grad)
    assert torch.equal(slopes[0], slopes[1])


def test_the_node_that_cannot_be_converted_is_named(save: Save) -> None:
    path = save()
    file = onnx.load(path)
    file.graph.node.insert(1, onnx.helper.make_node("Det", ["square"], ["determinant"], name="the_culprit"))
    square = onnx.numpy_helper.from_array(torch.eye(3).numpy(), "square")
    file.graph.initializer.append(square)
    onnx.save(file, path)
    with pytest.raises(
        ModelError, match=r"the node \S*the_culprit \(Det, with the output determinant\): NotImpl.*gradients_from"
    ):
        onnx_model(path, gradients=True)
    onnx_model(path)  # scores need none


def test_an_operator_that_cannot_be_converted_is_named(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any) -> nn.Module:
        raise NotImplementedError("Converter is not implemented (Custom)")

    monkeypatch.setattr(onnx2torch, "convert", refuse)
    with pytest.raises(ModelError, match=r"Converter is not implemented \(Custom\).*opset"):
        onnx_model(save(), gradients=True)


def test_without_onnx2torch_the_extra_is_named(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(ConfigError, match=r"pip install 'robustest-onnx\[gradients\]'"):
        onnx_model(save(), gradients=True)
    onnx_model(save())  # scores need none


def test_an_attack_breaks_what_it_breaks_of_the_network(save: Save, net: nn.Module, data: Data) -> None:
    model = onnx_model(save(), gradients=True)
    ours, theirs = (measure_robust_accuracy(m, data, Linf(0.05), attack="pgd", exact=True) for m in (model, net))
    assert ours.outcomes == theirs.outcomes
    assert 0.1 < theirs.estimate < 0.9
    assert ours.words.notes == ()
