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
from robustest_onnx.gradients import OnnxModule
from torch import Tensor, nn

from robustest import ConfigError, Linf, ModelError, Result, Verdict
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
    """The file with weights of five values: with three, most pixels would reach no score."""
    model = onnx.load(path)
    for one in model.graph.initializer:
        values = numpy_helper.to_array(one)
        if values.ndim > 1:
            scale = np.abs(values).max() / 2
            one.CopyFrom(numpy_helper.from_array((np.rint(values / scale) * scale).astype(values.dtype), one.name))
    made = path.with_name("coarse.onnx")
    onnx.save(model, made)
    return made


def test_a_quantised_file_is_climbed_along_its_twin_and_judged_by_itself(save: Save, data: Data) -> None:
    plain = save("float.onnx")
    path = int8(plain, 0)
    with pytest.raises(ModelError, match=r"the node .*(Quantize|Dequantize)Linear.*gradients_from="):
        onnx_model(path, gradients=True)
    model, alone, float_ = onnx_model(path, gradients_from=plain), onnx_model(path), onnx_model(plain, gradients=True)
    x = data[0].clone().requires_grad_()
    logits = model(x)
    # The quantised file's answers with the slope of the twin.
    torch.testing.assert_close(logits, alone(data[0]), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits, float_(data[0]), atol=1e-3)
    logits[:, 0].sum().backward()
    twin = data[0].clone().requires_grad_()
    float_(twin)[:, 0].sum().backward()
    assert torch.equal(x.grad, twin.grad)  # type: ignore[arg-type]
    y = alone(data[0]).argmax(1)
    climbed = measure_robust_accuracy(model, (data[0], y), Linf(0.05), attack="pgd", exact=True)
    asked = measure_robust_accuracy(alone, (data[0], y), Linf(0.05), attack=Square(queries=20), exact=True)
    assert climbed.estimate is not None
    assert asked.estimate is not None
    assert climbed.estimate < asked.estimate
    assert not {"gradient_misleads", "zero_gradient"} & {one["name"] for one in climbed.details["health"]}
    for one in climbed.counterexamples:
        assert one.predicted != one.clean


def test_a_twin_is_part_of_what_is_remembered(save: Save) -> None:
    plain, path = save("float.onnx"), int8(save("other.onnx", shift=0.5), 0)
    prints = []
    for twin in (plain, save("other.onnx", shift=0.5), save("copy.onnx")):
        module = onnx_model(path, gradients_from=twin).module
        assert isinstance(module, OnnxModule)
        prints.append(module.robustest_fingerprint())
    assert prints[0] == prints[2] != prints[1]


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "fast"])
def test_a_twin_that_is_another_function_passes_nothing(save: Save, data: Data, attack: str) -> None:
    stranger = onnx.load(save("stranger.onnx"))
    generator = torch.Generator().manual_seed(9)
    for one in stranger.graph.initializer:
        values = torch.randn(*one.dims, generator=generator) / one.dims[-1] ** 0.5
        one.CopyFrom(numpy_helper.from_array(values.numpy(), one.name))
    path = save()
    onnx.save(stranger, path.with_name("stranger.onnx"))
    model = onnx_model(path, gradients_from=path.with_name("stranger.onnx"))
    found = measure_robust_accuracy(model, data, Linf(0.03), attack=attack, at_least=0.05)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "health:gradient_misleads" in found.ruling.reasons


def test_twins_of_another_form_are_refused(save: Save) -> None:
    with pytest.raises(ConfigError, match=r"gradients_from with inputs of shape \(1, 8, 8\), as net.onnx"):
        onnx_model(save(), gradients_from=save("wide.onnx", sides=(8, "w")))
    with pytest.raises(ConfigError, match="path of an ONNX file"):
        onnx_model(save(), gradients_from=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="input of floats"):
        onnx_model(save(), gradients_from=save("bytes.onnx", dtype="uint8"))


@pytest.fixture(params=range(3))
def files(request: pytest.FixtureRequest, save: Save, net: nn.Module) -> tuple[dict[str, Any], Data]:
    """The float file, a good and a coarse copy in int8, and images that the float net mostly labels."""
    plain, seed = save("float.onnx"), request.param
    models = {"float": onnx_model(plain, gradients=True, threads=1)}
    for name, twin in (("good", plain), ("coarse", coarse(plain))):
        models[name] = onnx_model(int8(twin, seed), gradients_from=twin, threads=1)
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(300, 1, 8, 8, generator=generator)
    y = (net(x) + 0.05 * torch.randn(300, 4, generator=generator)).argmax(1)
    return models, (x, y)


def by_accuracy(model: Any, other: Any, data: Data) -> Result:
    return measure_accuracy(model, data, no_worse_than=other, tolerance=0.01)


def by_attack(model: Any, other: Any, data: Data) -> Result:
    x, y = data
    return measure_robust_accuracy(
        model, (x[:150], y[:150]), Linf(0.005), no_worse_than=other, tolerance=0.02, attack="pgd"
    )


@pytest.mark.parametrize("claim", [by_accuracy, by_attack])
def test_the_worse_file_fails_and_an_equal_one_passes(files: tuple[dict[str, Any], Data], claim: Any) -> None:
    models, data = files
    for first, second, verdict in (
        ("good", "float", Verdict.PASSED),
        ("float", "good", Verdict.PASSED),
        ("coarse", "float", Verdict.FAILED),
        ("float", "coarse", Verdict.PASSED),
    ):
        found = claim(models[first], models[second], data)
        assert found.verdict is verdict, (first, second, found.rule)
        assert found.details["baseline"]["model"]
    itself = claim(models["good"], models["good"], data)
    assert itself.verdict is Verdict.INCONCLUSIVE
    assert itself.ruling.reasons == ("health:same_model",)


@pytest.mark.parametrize("queries", [20, 300])
def test_the_steps_of_a_quantised_file_alone_pass_nothing(save: Save, data: Data, queries: int) -> None:
    # Small moves change no bit of its scores: a search by scores is blind there, and one along the twin is not.
    plain = save("float.onnx")
    path = int8(plain, 0)
    claim: dict[str, Any] = {"at_least": 0.3, "suppress": ("weak_search",)}
    found = measure_robust_accuracy(onnx_model(path), data, Linf(0.005), attack=Square(queries=queries), **claim)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "health:blind_scores" in found.ruling.reasons
    climbed = measure_robust_accuracy(
        onnx_model(path, gradients_from=plain), data, Linf(0.005), attack="pgd", at_least=0.3
    )
    assert climbed.verdict is Verdict.PASSED
