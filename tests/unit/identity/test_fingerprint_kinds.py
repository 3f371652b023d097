"""Kinds of models, and models that have no identity."""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from robustest import as_classifier, labels_model, scores_model
from robustest.errors import ConfigError
from robustest.identity.fingerprint import Fingerprint, fingerprint


def of(model: Any, preprocessing: Any = None, **more: Any) -> str:
    found = fingerprint(model, model if isinstance(model, nn.Module) else None, preprocessing, **more)
    assert found.digest is not None, found.reason
    assert len(found.digest) == 64
    return found.digest


def refused(model: Any, preprocessing: Any = None, **more: Any) -> str:
    found = fingerprint(model, model if isinstance(model, nn.Module) else None, preprocessing, **more)
    assert found.digest is None
    return found.reason


def test_order_of_parts_counts() -> None:
    def chain(*parts: nn.Module) -> str:
        return of(nn.Sequential(*parts))

    assert chain(nn.ReLU(), nn.Tanh()) != chain(nn.Tanh(), nn.ReLU())


def stack(*sizes: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    parts = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    for part in parts:
        part.weight.data = torch.rand(part.weight.shape, generator=generator)
        part.bias.data = torch.zeros(part.bias.shape)
    return nn.Sequential(*parts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LSTM(3, 4),
        lambda: nn.TransformerEncoderLayer(8, 2, dropout=0.1),
        lambda: nn.MultiheadAttention(8, 2),
        lambda: parametrizations.spectral_norm(nn.Linear(3, 3)),
        lambda: torch.compile(stack(3, 4, 2)),
        lambda: torch.fx.symbolic_trace(stack(3, 4, 2)),
    ],
)
def test_kinds_of_torch_modules(make: Callable[[], nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        one, other = make(), make()
    other.load_state_dict(one.state_dict())
    assert of(one) == of(other)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-5
    assert of(one) != of(other)


def scaled(x: Tensor) -> Tensor:
    return x * torch.tensor([2.0])


class Scripted(nn.Module):
    """A module for TorchScript, which calls a function and reads a setting."""

    def __init__(self, scale: float = 1.5, count: int = 3) -> None:
        super().__init__()
        self.inner = stack(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.scale = scale
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.inner(scaled(x)) * self.count) * self.scale


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit")
@pytest.mark.parametrize("frozen", [False, True])
def test_torchscript_counts_by_graph_constants_and_state(frozen: bool) -> None:
    def made(change: Callable[[Scripted], Any] = lambda _: None, **settings: Any) -> nn.Module:
        model = Scripted(**settings).eval()
        change(model)
        script = torch.jit.script(model)
        return torch.jit.freeze(script) if frozen else script

    def weight(model: Scripted) -> None:
        model.inner[0].weight.data[0, 0] += 1e-5

    def eps(model: Scripted) -> None:
        model.norm.eps = 1e-3

    variants = [made(), made(scale=1.25), made(count=4), made(weight), made(eps)]
    assert len({of(model) for model in variants}) == 5
    assert of(made()) == of(variants[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
def test_traced_modules_count_by_their_constants() -> None:
    one, other = (torch.jit.trace(lambda x, k=k: x * torch.tensor([k]), torch.rand(2, 3)) for k in (2.0, 3.0))
    assert of(one) != of(other)


def test_exported_programs_count_by_graph_and_state() -> None:
    def exported(model: nn.Module) -> nn.Module:
        return torch.export.export(model.eval(), (torch.rand(2, 3),)).module()

    one = exported(stack(3, 2))
    assert of(one) == of(exported(stack(3, 2)))
    changed = stack(3, 2)
    changed[0].weight.data[0, 0] += 1e-5
    assert len({of(one), of(exported(changed)), of(exported(nn.Sequential(stack(3, 2), nn.ReLU())))}) == 3


class Predictor:
    """A model that is no torch module."""

    def __init__(self, weight: float) -> None:
        self.weight = np.full((4, 3), weight, dtype=np.float32)
        self.lock = threading.Lock()
        self.log = logging.getLogger("predictor")
        self.parent: Any = self

    def __call__(self, x: Any) -> Any:
        with self.lock:
            self.log.debug("called")
            return self.predict(x)

    def predict(self, x: Any) -> Any:
        return x.reshape(len(x), -1)[:, :4] @ self.weight


def test_objects_count_by_class_and_state() -> None:
    digests = [
        of(Predictor(0.5)),
        of(Predictor(0.25)),
        of(Predictor(0.5).predict),
        of(functools.partial(Predictor(0.5))),
    ]
    assert len(set(digests)) == 4
    assert of(Predictor(0.5)) == digests[0]
    assert of(Predictor(0.5).predict) == digests[2]


def test_what_robustest_wraps_counts() -> None:
    models = [
        scores_model(Predictor(0.5).predict),
        scores_model(Predictor(0.25).predict),
        scores_model(lambda x: x.reshape(len(x), -1)[:, :2]),
        labels_model(lambda x: x.reshape(len(x), -1)[:, :2].argmax(1), classes=2),
        labels_model(lambda x: x.reshape(len(x), -1)[:, :2].argmax(1), classes=3),
        as_classifier(stack(3, 2)),
    ]
    assert len({of(model.call) for model in models}) == 6
    assert of(scores_model(Predictor(0.5).predict).call) == of(models[0].call)


class Endpoint:
    """A model behind a network."""

    def __init__(self, version: Any) -> None:
        self.version = version
        self.connection = (i for i in range(3))  # nothing that could be hashed

    def robustest_fingerprint(self) -> Any:
        return self.version

    def __call__(self, x: Any) -> Any:
        return x


def test_objects_that_say_what_they_are_are_taken_at_their_word() -> None:
    assert of(Endpoint("model 3")) == of(Endpoint("model 3")) != of(Endpoint("model 4"))
    assert of(scores_model(Endpoint("a")).call) != of(scores_model(Endpoint("b")).call)

    def function(x: Any) -> Any:
        return next(x)

    function.robustest_fingerprint = lambda: "v1"  # type: ignore[attr-defined]
    one = of(function)
    function.robustest_fingerprint = lambda: "v2"  # type: ignore[attr-defined]
    assert of(function) != one


@pytest.mark.parametrize("version", [None, 3, ""])
def test_objects_that_say_no_text_are_refused(version: Any) -> None:
    assert "robustest_fingerprint() returns a text" in refused(Endpoint(version))


def test_an_object_that_fails_when_it_is_looked_at_is_no_crash() -> None:
    class Broken:
        def robustest_fingerprint(self) -> str:
            raise OSError("no connection")

        def __call__(self, x: Any) -> Any:
            return x

    assert "OSError: no connection" in refused(Broken())


def test_an_object_may_say_why_it_has_no_identity() -> None:
    class Nameless:
        def robustest_fingerprint(self) -> str:
            raise ConfigError("Expected version= but got None")

        def __call__(self, x: Any) -> Any:
            return x

    assert refused(Nameless()) == "Expected version= but got None"


class Odd(nn.Module):
    """A net with something that has no identity."""

    def __init__(self, threshold: int = 0) -> None:
        super().__init__()
        self.inner = stack(3, 2)
        self.stream = (i for i in range(3))
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        assert self.stream is not None
        if self.threshold and len(x) > self.threshold:
            return self.inner(x) + 1
        return self.inner(x)


def test_what_cannot_be_told_is_named() -> None:
    reason = refused(Odd().eval())
    assert "the model.stream is a generator" in reason
    assert "robustest_fingerprint()" in reason


def test_the_exported_graph_takes_its_place() -> None:
    example = torch.rand(1, 3)
    model = Odd().eval()
    found = fingerprint(model, model, None, example=example)
    assert found.digest is not None
    assert "exported graph" in found.reason
    assert "the model.stream is a generator" in found.reason
    assert of(Odd().eval(), example=example) == found.digest
    with torch.no_grad():
        model.inner[0].weight[0, 0] += 1e-5
    assert of(model, example=example) != found.digest
    assert of(Odd().eval(), ([0.5], [0.5]), example=example) != found.digest


def test_the_graph_of_a_module_does_not_stand_for_the_function_around_it() -> None:
    model, example = Odd().eval(), torch.rand(1, 3)
    assert fingerprint(lambda x: 2 * model(x), model, None, example=example).digest is None


def test_code_that_depends_on_the_size_of_the_batch_is_not_exported() -> None:
    reason = refused(Odd(threshold=4).eval(), example=torch.rand(2, 3))
    assert "torch.export cannot take its place" in reason


def test_shared_and_separate_weights_are_told_by_value() -> None:
    one, other = stack(3, 3), stack(3, 3)
    assert of(nn.Sequential(one, one)) != of(nn.Sequential(one, nn.ReLU()))
    assert of(nn.Sequential(one)) == of(nn.Sequential(other))


def test_a_fingerprint_is_a_value() -> None:
    assert Fingerprint(None, "why") == Fingerprint(None, "why")
