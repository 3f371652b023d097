"""An int8 file against the float file it was made of, in both directions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from robustest_onnx import onnx_model
from torch import Tensor, nn

from robustest import Linf, Result, Verdict
from robustest.attacks import Square
from robustest.measure import measure_accuracy, measure_robust_accuracy

Data = tuple[Tensor, Tensor]
Save = Callable[..., Path]


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """One batch of images that nothing is judged by."""

    def __init__(self, seed: int) -> None:
        images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1000 + seed))
        self.left = iter([{"x": images.numpy()}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.left, None)


def int8(path: Path, seed: int) -> Path:
    """The file in int8, its scales fitted to other images."""
    logging.getLogger().setLevel(logging.ERROR)  # advice on shapes
    made = path.with_name(f"{path.stem}-int8.onnx")
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    quantize_static(path, made, Reader(seed), quant_format=QuantFormat.QDQ, **kinds)
    return made


def coarse(path: Path) -> Path:
    """The file with weights of two bits."""
    model = onnx.load(path)
    for one in model.graph.initializer:
        values = numpy_helper.to_array(one)
        if values.ndim > 1:
            scale = np.abs(values).max()
            one.CopyFrom(numpy_helper.from_array((np.rint(values / scale) * scale).astype(values.dtype), one.name))
    made = path.with_name("coarse.onnx")
    onnx.save(model, made)
    return made


@pytest.fixture(params=range(3))
def files(request: pytest.FixtureRequest, save: Save, net: nn.Module) -> tuple[dict[str, Any], Data]:
    """The float file, a good and a coarse copy in int8, and images that the float net mostly labels."""
    plain, seed = save("float.onnx"), request.param
    models = {"float": plain, "good": int8(plain, seed), "coarse": int8(coarse(plain), seed)}
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(300, 1, 8, 8, generator=generator)
    y = (net(x) + 0.05 * torch.randn(300, 4, generator=generator)).argmax(1)
    return {name: onnx_model(path, threads=1) for name, path in models.items()}, (x, y)


def by_accuracy(model: Any, other: Any, data: Data) -> Result:
    return measure_accuracy(model, data, no_worse_than=other, tolerance=0.01)


def by_attack(model: Any, other: Any, data: Data) -> Result:
    x, y = data
    how: dict[str, Any] = {"attack": Square(queries=20), "suppress": ("weak_search",), "tolerance": 0.02}
    return measure_robust_accuracy(model, (x[:150], y[:150]), Linf(0.005), no_worse_than=other, **how)


@pytest.mark.parametrize("claim", [by_accuracy, by_attack])
def test_the_worse_file_fails_and_an_equal_one_passes(files: tuple[dict[str, Any], Data], claim: Any) -> None:
    models, data = files
    for first, second, verdict in (
        ("good", "float", Verdict.PASSED),
        ("float", "good", Verdict.PASSED),
        ("coarse", "float", Verdict.FAILED),
        ("float", "coarse", Verdict.PASSED),
        ("good", "good", Verdict.PASSED),
    ):
        found = claim(models[first], models[second], data)
        assert found.verdict is verdict, (first, second, found.rule)
        assert found.details["baseline"]["model"]
