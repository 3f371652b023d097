"""One face for the models people have."""

# ruff: noqa: ARG005 - models and hooks have their signatures given

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import Classifier, ConfigError, DeviceError, Linf, ModelError, as_classifier, devices, scores_model
from robustest.measure import measure_robust_accuracy

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
EPS = 0.03


def small_net(dtype: torch.dtype = torch.float32) -> nn.Module:
    """A net with fixed weights for images (N, 3, 4, 4), two-layered so that attacks have work to do."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Tanh(), nn.Linear(16, 4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return net.to(dtype).eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def y(x: Tensor) -> Tensor:
    with torch.no_grad():
        return small_net()(x).argmax(1)


def normalised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
    return (x - mean) / std


class Predictor:
    """A callable object that is no torch module."""

    def __init__(self) -> None:
        self.net = small_net()

    def predict(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    __call__ = predict


class WithLogits(nn.Module):
    """Answers as Hugging Face models do: an object that has `logits`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=None, logits=self.net(pixel_values))


SAME_NET: dict[str, Callable[[], Any]] = {
    "module": small_net,
    "callable object": Predictor,
    "bound method": lambda: Predictor().predict,
    "function": lambda: small_net().forward,
    "logits attribute": WithLogits,
    "classifier": lambda: as_classifier(small_net()),
    "classifier by hand": lambda: Classifier(call=small_net()),
    "float64": lambda: small_net(torch.float64),
}


@pytest.mark.parametrize("build", SAME_NET.values(), ids=SAME_NET)
def test_every_kind_of_model_is_measured_alike(build: Callable[[], Any], x: Tensor, y: Tensor) -> None:
    module, other = (measure_robust_accuracy(m, (x, y), Linf(EPS)) for m in (small_net(), build()))
    assert 0.1 < module.estimate < 0.9  # the attack has work to do, and does not win everywhere
    assert other.outcomes == module.outcomes


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
def test_torchscript_is_measured_as_the_module_it_came_from(how: str, x: Tensor, y: Tensor) -> None:
    net = small_net()
    scripted = torch.jit.trace(net, x[:2]) if how == "trace" else torch.jit.script(net)
    model = torch.jit.freeze(scripted) if how == "freeze" else scripted
    module, other = (measure_robust_accuracy(m, (x, y), Linf(EPS)) for m in (net, model))
    assert other.outcomes == module.outcomes


@pytest.mark.parametrize("as_array", [True, False], ids=["array", "tensor"])
def test_scores_may_come_as_arrays(as_array: bool) -> None:
    scores = np.array([[1.0, 2.0]])
    got = as_classifier(lambda x: scores if as_array else torch.from_numpy(scores))(torch.zeros(1, 2))
    assert got.dtype == torch.float32
    assert got.tolist() == [[1.0, 2.0]]


@pytest.mark.thinned
@pytest.mark.parametrize(
    "preprocessing",
    [(MEAN, STD), (list(MEAN), list(STD)), (torch.tensor(MEAN), np.array(STD)), normalised],
    ids=["tuples", "lists", "arrays", "function"],
)
@pytest.mark.parametrize("way", ["argument", "classifier", "option"])
def test_preprocessing_stands_before_the_model(preprocessing: Any, way: str, x: Tensor) -> None:
    inside = nn.Sequential(Normalise(), small_net())
    with torch.no_grad():
        labels = inside(x).argmax(1)
    model, options = small_net(), {}
    if way == "argument":
        model = as_classifier(model, preprocessing=preprocessing)
    elif way == "classifier":
        model = as_classifier(Classifier(call=model, module=model), preprocessing=preprocessing)
    else:
        options = {"preprocessing": preprocessing}
    want, got = (measure_robust_accuracy(m, (x, labels), Linf(0.03), **o) for m, o in ((inside, {}), (model, options)))
    assert 0.1 < want.estimate < 0.9
    assert got.outcomes == want.outcomes


class Normalise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return normalised(x)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 7), (5, 3, 4, 4), (5, 3, 2, 2, 2)], ids=str)
def test_statistics_are_per_channel_whatever_the_shape(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    got = as_classifier(lambda z: z.flatten(1), preprocessing=(MEAN, STD))(x)
    for channel in range(3):
        want = (x[:, channel] - MEAN[channel]) / STD[channel]
        assert torch.allclose(got.view(shape)[:, channel], want)


def test_one_number_may_stand_for_all_channels() -> None:
    x = torch.rand(2, 3, 4, 4)
    assert torch.allclose(as_classifier(lambda z: z.flatten(1), preprocessing=(0.5, 0.25))(x), (x.flatten(1) - 0.5) * 4)


def test_inputs_reach_a_module_in_its_own_precision_and_logits_come_in_float32() -> None:
    net = small_net(torch.float64)
    seen: list[torch.dtype] = []
    net.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    assert as_classifier(net)(torch.rand(1, 3, 4, 4)).dtype == torch.float32
    assert seen == [torch.float64]


def test_bounds_follow_the_nearest_word(x: Tensor) -> None:
    assert as_classifier(small_net()).bounds == (0.0, 1.0)
    classifier = as_classifier(small_net(), bounds=(0, 255))
    assert classifier.bounds == (0.0, 255.0)
    assert as_classifier(classifier).bounds == (0.0, 255.0)
    assert as_classifier(classifier, bounds=(-1, 1)).bounds == (-1.0, 1.0)


def test_other_bounds_scale_the_whole_measurement(x: Tensor, y: Tensor) -> None:
    """The same net fed 0..255: eps is in input units, so 255 times the eps gives the same outcomes."""
    unit = measure_robust_accuracy(small_net(torch.float64), (x, y), Linf(EPS))
    options: dict[str, Any] = {"bounds": (0, 255), "preprocessing": lambda z: z / 255}
    wide = measure_robust_accuracy(small_net(torch.float64), (x * 255, y), Linf(EPS * 255), **options)
    assert wide.outcomes == unit.outcomes


def test_the_model_stays_where_it_is() -> None:
    net = small_net()
    classifier = as_classifier(net)
    assert classifier.device == torch.device("cpu")
    assert classifier.on(torch.device("cpu")).module is net
    copy = classifier.on(torch.device("meta"))
    assert copy.module is not net
    assert copy.device == torch.device("meta")
    assert all(parameter.device.type == "cpu" for parameter in net.parameters())


def around(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda z: -net(z)


FUNCTIONS: dict[str, Callable[[nn.Module], Callable[[Tensor], Any]]] = {
    "closure": around,
    "bound method": lambda net: net.forward,
    "partial": lambda net: partial(nn.Module.__call__, net),
    "default": lambda net: lambda z, own=net: own(z),
    "list": lambda net: lambda z, nets=(net,): nets[0](z),
    "of scores": lambda net: scores_model(lambda z: net(torch.from_numpy(z)).detach().numpy()).call,
}


@pytest.mark.parametrize("way", FUNCTIONS)
def test_auto_leaves_a_function_where_its_module_is(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """It cannot be moved, and would get inputs on another device than its weights."""
    here, there = torch.device("cpu"), torch.device("cuda", 0)
    monkeypatch.setattr(devices, "default", lambda: there)
    monkeypatch.setattr(devices, "count", lambda kind: int(kind == "cuda"))
    net = small_net()
    assert as_classifier(net).place("auto") == there
    function = as_classifier(FUNCTIONS[way](net))
    assert function.place("auto") == here
    assert function.place("cuda") == there
    assert as_classifier(FUNCTIONS[way](net.to("meta"))).place("auto") == torch.device("meta")
    assert as_classifier(lambda z: z.flatten(1)).place("auto") == there


def test_a_function_around_a_module_is_not_moved_as_the_module_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module without the function is another model."""
    monkeypatch.setattr(devices, "default", lambda: torch.device("meta"))
    net = small_net()
    model = as_classifier(Classifier(call=lambda z: -net(z), module=net))
    assert model.device == model.place("auto") == torch.device("cpu")
    assert model.on(torch.device("cpu")).call is model.call
    with pytest.raises(DeviceError, match="a function around one on cpu"):
        model.on(torch.device("meta"))


@pytest.mark.parametrize(
    "model",
    [None, 5, "resnet", [1], object(), nn.Linear, Predictor],
    ids=["None", "number", "name", "list", "object", "module class", "class"],
)
def test_what_cannot_be_called_is_no_model(model: object) -> None:
    with pytest.raises(ConfigError, match="torch module or a callable"):
        as_classifier(model)


@pytest.mark.parametrize(
    "bounds",
    [(1, 0), (0, 0), (0, 1, 2), (0,), 1, "ab", (None, 1), (0, float("inf")), (float("nan"), 1)],
    ids=repr,
)
def test_bounds_are_two_finite_numbers_in_order(bounds: Any) -> None:
    with pytest.raises(ConfigError, match="bounds"):
        as_classifier(small_net(), bounds=bounds)


@pytest.mark.parametrize(
    "preprocessing",
    [(MEAN, (0.1, 0.0, 0.1)), (MEAN, (0.1, -1, 0.1)), (MEAN, (0.1,)), (MEAN,), "imagenet", 5, ((None,), (1,))],
    ids=repr,
)
def test_statistics_are_as_many_means_as_positive_deviations(preprocessing: Any) -> None:
    with pytest.raises(ConfigError, match=r"preprocessing|one mean and one std"):
        as_classifier(small_net(), preprocessing=preprocessing)


@pytest.mark.parametrize("output", [None, 3, [[1.0, 2.0]], {"scores": 1}, "cat"], ids=repr)
def test_an_output_that_is_no_tensor_is_a_model_error(output: object) -> None:
    with pytest.raises(ModelError, match=r"logits as a tensor.*Wrap the model"):
        as_classifier(lambda x: output)(torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("name", "pack"), [("digits.onnx", "robustest-onnx"), ("https://models.example/v2", "robustest-http")]
)
def test_a_model_that_is_named_instead_of_given_names_its_pack(name: str, pack: str) -> None:
    with pytest.raises(ConfigError, match=f"pip install {pack}"):
        as_classifier(name)


@pytest.mark.parametrize("bounds", [None, (0.0, 255.0)])
def test_statistics_are_in_the_units_of_the_bounds_of_the_model(bounds: tuple[float, float] | None) -> None:
    statistics = ([123.7], [58.4])
    made = replace(as_classifier(nn.Linear(2, 2)), bounds=bounds or (0.0, 1.0))
    if bounds is None:
        with pytest.raises(ConfigError, match="divide both by 255"):
            as_classifier(made, preprocessing=statistics)
    else:
        assert as_classifier(made, preprocessing=statistics).bounds == bounds
    assert as_classifier(nn.Linear(2, 2), bounds=(0.0, 255.0), preprocessing=statistics).preprocessing is not None


class AsArray:
    """An array of another framework that NumPy can read."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values.numpy()


class AsDlpack:
    """An array of another framework that speaks DLPack alone."""

    def __init__(self, values: Tensor) -> None:
        self.__dlpack__, self.__dlpack_device__ = values.__dlpack__, values.__dlpack_device__


@pytest.mark.parametrize("foreign", [AsArray, AsDlpack])
def test_an_answer_may_be_an_array_of_any_framework(foreign: Callable[[Tensor], object]) -> None:
    values = torch.tensor([[0.5, -1.0], [2.0, 3.0]])
    model = as_classifier(lambda x: foreign(values))
    assert torch.equal(model(torch.zeros(2, 3)), values)
