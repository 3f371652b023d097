"""A small network as a torch module and as an ONNX file, each written from the same numbers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx2torch  # noqa: F401 - it loads torchvision, which a run inside this process cannot load twice
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

pytest_plugins = ["pytester"]
torch.set_num_threads(1)

_SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}

Save = Callable[..., Path]


@pytest.fixture(scope="session")
def shared_networks() -> ModuleType:
    """Trained networks and images from outside the project: `load(name)` and `images(name, n)`."""
    source = _SHARED / "models.py"
    if not source.is_file():
        pytest.skip("the trained networks (../shared/data beside the repository) are not here")
    spec = importlib.util.spec_from_file_location("shared_networks", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.dont_write_bytecode", True)  # the folder is not ours to write in
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def net() -> nn.Module:
    """Images (B, 1, 8, 8) to logits (B, 4); untrained, the same every time."""
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return module.requires_grad_(False)


@pytest.fixture(scope="session")
def data(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Fifteen images of each class that the network gives, so that one answer for all of them is right on a quarter."""
    x = torch.rand(1000, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    y = net(x).argmax(1)
    rows = torch.cat([(y == label).nonzero().squeeze(1)[:15] for label in range(4)]).sort().values
    assert len(rows) == 60
    return x[rows], y[rows]


@pytest.fixture
def save(tmp_path: Path, net: nn.Module) -> Save:
    """Write the network: `save(batch="n", dtype="float32", outputs=("logits",), opset=17, **weights)`."""

    def _save(
        name: str = "net.onnx",
        *,
        batch: int | str = "n",
        sides: tuple[int | str, ...] = (8, 8),
        dtype: str = "float32",
        outputs: tuple[str, ...] = ("logits",),
        opset: int = 17,
        flat: bool = True,
        external: bool = False,
        shift: float = 0.0,
        constants: bool = False,
        inputs: tuple[str, ...] = ("x",),
    ) -> Path:
        inner = "float16" if dtype == "float16" else "float32"  # onnxruntime convolves nothing else on CPUs
        weights = {name.replace(".", "_"): value.numpy().astype(inner) for name, value in net.state_dict().items()}
        weights["3_bias"] = weights["3_bias"] + np.asarray(shift, inner)
        if not flat:  # the size of the batch as a constant, as careless exports have it
            weights["size"] = np.array([batch if isinstance(batch, int) else 1, 96], np.int64)
        nodes = [
            helper.make_node("Cast", ["x"], ["cast"], to=_TYPES[inner]),
            helper.make_node("Conv", ["cast", "0_weight", "0_bias"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Flatten", ["r"], ["f"]) if flat else helper.make_node("Reshape", ["r", "size"], ["f"]),
            helper.make_node("Gemm", ["f", "3_weight", "3_bias"], ["logits"], transB=1),
        ]
        if "label" in outputs:
            nodes.append(helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0))
        if len(inputs) > 1:
            nodes[-1] = helper.make_node("Gemm", ["f", "3_weight", "3_bias"], ["l"], transB=1)
            nodes.append(helper.make_node("Add", ["l", inputs[1]], ["logits"]))
        initialisers = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()]
        if constants:  # weights as nodes, as some exporters write them
            nodes = [helper.make_node("Constant", [], [one.name], value=one) for one in initialisers] + nodes
            initialisers = []
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info(inputs[0], _TYPES[dtype], [batch, 1, *sides])]
            + [helper.make_tensor_value_info(other, _TYPES[inner], [batch, 4]) for other in inputs[1:]],
            [
                helper.make_tensor_value_info(o, _TYPES["int64"], [batch])
                if o == "label"
                else helper.make_tensor_value_info(o, _TYPES[inner], [batch, 4])
                for o in outputs
            ],
            initialisers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        path = tmp_path / name
        if external:
            onnx.save(model, path, save_as_external_data=True, location=f"{path.stem}.weights", size_threshold=0)
        else:
            onnx.save(model, path)
        return path

    return _save
