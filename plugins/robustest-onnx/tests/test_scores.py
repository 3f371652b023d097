"""Scores are the file's, whatever its batch and its types; what is no classifier is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from robustest_onnx import onnx_model
from robustest_onnx.scores import OnnxScores
from torch import Tensor, nn

from robustest import ConfigError, DeviceError, ModelError
from robustest.measure import measure_accuracy, measure_shift_accuracy

Data = tuple[Tensor, Tensor]
Save = Callable[..., Path]


def test_scores_are_the_networks(save: Save, net: nn.Module, data: Data) -> None:
    model = onnx_model(save())
    torch.testing.assert_close(model(data[0]), net(data[0]), rtol=1e-5, atol=1e-5)
    assert model.gives.name == "SCORES"


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("n", [1, 7, 10])
def test_a_file_for_one_size_of_batch_takes_any(save: Save, net: nn.Module, data: Data, batch: int, n: int) -> None:
    model = onnx_model(save(batch=batch, flat=False))
    torch.testing.assert_close(model(data[0][:n]), net(data[0][:n]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "near"), [("float16", 2e-2), ("float64", 1e-5)])
def test_other_floats(save: Save, net: nn.Module, data: Data, dtype: str, near: float) -> None:
    torch.testing.assert_close(onnx_model(save(dtype=dtype))(data[0]), net(data[0]), rtol=near, atol=near)


def test_whole_numbers_are_rounded_to(save: Save, net: nn.Module, data: Data) -> None:
    model = onnx_model(save(dtype="uint8"), preprocessing=lambda x: 255 * x)
    torch.testing.assert_close(model(data[0]), net((255 * data[0]).round()), rtol=1e-5, atol=1e-3)
    with pytest.raises(ModelError, match=r"inputs in 0\.\.255.*got -1\.\.-1"):
        onnx_model(save(dtype="uint8"))(torch.full((2, 1, 8, 8), -1.0))


def test_preprocessing_comes_first(save: Save, net: nn.Module, data: Data) -> None:
    x = data[0]
    model = onnx_model(save(), preprocessing=([0.5], [0.25]))
    torch.testing.assert_close(model(x), net((x - 0.5) / 0.25), rtol=1e-5, atol=1e-5)
    turned = onnx_model(save(), preprocessing=lambda x: x.permute(0, 3, 1, 2))
    torch.testing.assert_close(turned(x.permute(0, 2, 3, 1)), net(x), rtol=1e-5, atol=1e-5)


def test_bounds_and_queries_are_handed_on(save: Save) -> None:
    model = onnx_model(save(), bounds=(-1, 2), max_queries=50)
    assert (model.bounds, model.max_queries) == ((-1.0, 2.0), 50)


def test_one_of_several_outputs_is_chosen_by_name(save: Save, net: nn.Module, data: Data) -> None:
    path = save(outputs=("label", "logits"))
    torch.testing.assert_close(onnx_model(path, output="logits")(data[0]), net(data[0]), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="one of the file's outputs, label, logits but got None"):
        onnx_model(path)
    with pytest.raises(ConfigError, match="label, logits but got 'scores'"):
        onnx_model(path, output="scores")
    with pytest.raises(ModelError, match="real scores of shape"):
        onnx_model(path, output="label")(data[0])


def test_the_input_must_be_one_of_numbers(save: Save) -> None:
    with pytest.raises(ConfigError, match=r"one input but got \['x', 'y'\].*constants=.*Frames"):
        onnx_model(save(inputs=("x", "y")))
    with pytest.raises(ConfigError, match=r"got 'tensor\(bool\)'"):
        onnx_model(save(dtype="bool"))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.onnx but it cannot be read: No such file"):
        onnx_model(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("no protobuf at all")
    with pytest.raises(ConfigError, match="Expected an ONNX file but got"):
        onnx_model(tmp_path / "text.onnx")
    with pytest.raises(ConfigError, match=r"the path of an ONNX file but got 3 \(int\)"):
        onnx_model(3)  # type: ignore[arg-type]


def test_a_file_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"onnxruntime can load but empty\.onnx was refused"):
        onnx_model(tmp_path / "empty.onnx")


def test_a_provider_that_cannot_be_had_is_no_silent_fallback(save: Save) -> None:
    with pytest.raises(DeviceError, match=r"CPUExecutionProvider.*got \['NoSuchExecutionProvider'\]"):
        onnx_model(save(), providers=("NoSuchExecutionProvider", "CPUExecutionProvider"))
    with pytest.raises(DeviceError, match="execution providers"):
        onnx_model(save(), providers=())


@pytest.mark.parametrize("threads", [0, 1.5, True])
def test_threads_are_counted(save: Save, threads: object) -> None:
    with pytest.raises(ConfigError, match="threads to be None or a whole number >= 1"):
        onnx_model(save(), threads=threads)  # type: ignore[arg-type]


def test_inputs_of_another_shape_are_named(save: Save) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx to answer a batch of shape \(2, 3, 8, 8\)"):
        onnx_model(save())(torch.rand(2, 3, 8, 8))


def test_a_copy_is_the_same_session(save: Save) -> None:
    scores = OnnxScores(save(), output=None, providers=("CPUExecutionProvider",), threads=1)
    assert copy.deepcopy(scores) is scores
    x = np.zeros((3, 1, 8, 8), np.float32)
    assert scores(x).tolist() == scores(x).tolist()


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_whole_numbers_reach_the_file_as_they_are(save: Save, dtype: str) -> None:
    model = onnx_model(save(dtype=dtype))
    x = torch.randint(0, 7, (50, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    own = onnxruntime.InferenceSession(str(save("again.onnx", dtype=dtype)))
    wanted = own.run(None, {"x": x.numpy().astype(dtype)})[0].argmax(1)
    right = measure_accuracy(model, (x, wanted), at_least=0.9)
    assert right.estimate == 1.0
    moved = measure_shift_accuracy(model, (x, wanted), lambda x: (x + 1).clamp(max=6), exact=True)
    by_hand = own.run(None, {"x": (x + 1).clamp(max=6).numpy().astype(dtype)})[0].argmax(1)
    assert moved.estimate == pytest.approx((by_hand == wanted).mean())


@pytest.mark.parametrize("shape", [["n"], ["n", 1]])
def test_a_file_of_strings_is_a_function_of_a_list(tmp_path: Path, shape: list[Any]) -> None:
    words = ["good", "bad", "fine"]
    node = helper.make_node(
        "LabelEncoder", ["text"], ["level"], domain="ai.onnx.ml", keys_strings=words, values_floats=[2.0, -2.0, 1.0]
    )
    flat = helper.make_node("Reshape", ["level", "column"], ["wide"])
    both = helper.make_node("Mul", ["wide", "sides"], ["scores"])
    graph = helper.make_graph(
        [node, flat, both],
        "words",
        [helper.make_tensor_value_info("text", TensorProto.STRING, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(np.array([-1, 1], np.int64), "column"),
            numpy_helper.from_array(np.array([[-1.0, 1.0]], np.float32), "sides"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "words.onnx")
    model = onnx_model(tmp_path / "words.onnx")
    assert model.gives.name == "SCORES"
    assert model.call(["good", "bad", "fine", "good"]).tolist() == [[-2, 2], [2, -2], [-1, 1], [-2, 2]]
    found = measure_accuracy(model, (["good", "bad", "fine", "good"], np.array([1, 0, 0, 1])), exact=True)
    assert found.estimate == 0.75
    with pytest.raises(ModelError, match="a list of strings"):
        model.call("good")
    with pytest.raises(ConfigError, match="input of floats where gradients are wanted but got 'strings'"):
        onnx_model(tmp_path / "words.onnx", gradients=True)
