"""Networks of other frameworks: outputs, gradients, counterexamples, identity and guards are as the torch port has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import UserDict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import ClaimInconclusive, ConfigError, Linf, assert_robust_accuracy, find_adversarial, measure
from robustest.errors import ModelError, NotInstalledError
from robustest.identity.fingerprint import fingerprint, lasting_digest
from robustest.identity.plain import Unhashable
from robustest.models import as_classifier, jax_model, keras_model, tf_model
from robustest.models import classifier as classifiers
from robustest.models.frameworks import ForeignNetwork, FrameworkModel, compiled_size

DRAWN = np.random.default_rng(0)
# A network that is right on its data with a lead that an attack can and cannot take, by sample.
WEIGHTS = [
    (DRAWN.normal(size=size).astype(np.float32) / 2, DRAWN.normal(size=size[1]).astype(np.float32) / 4)
    for size in ((6, 16), (16, 3))
]
X = torch.from_numpy(DRAWN.random((40, 6), dtype=np.float32))
# The scores are centred, so that no class is the answer for most samples.
(FIRST, AT), (SECOND, SHIFT) = WEIGHTS
SHIFT -= (np.tanh(X.numpy() @ FIRST + AT) @ SECOND + SHIFT).mean(axis=0)


def torch_port() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    with torch.no_grad():
        for layer, (weight, bias) in zip((net[0], net[2]), WEIGHTS, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))
    return net.eval()


Y = torch_port()(X).argmax(1)


class ByHand(ForeignNetwork):
    """Stands in for a framework: NumPy with a vector-Jacobian product written by hand.

    Attributes:
        gradient: multiplies the true gradient; None for a framework that says that there is none.
        sizes: numbers of rows that it was called with.
    """

    def __init__(self, weights: Any = WEIGHTS, gradient: Any = 1.0, *, fills: bool = False) -> None:
        self.weights, self.gradient, self.fills = weights, gradient, fills
        self.sizes: list[int] = []

    def answer(self, x: Any) -> Any:
        return self.linearised(x)[0]

    def linearised(self, x: Any) -> Any:
        self.sizes.append(len(x))
        (first, at), (second, shift) = self.weights
        hidden = np.tanh(x @ first + at)

        def pull(slope: Any) -> Any:
            if self.gradient is None:
                return None
            return np.float32(self.gradient) * ((slope @ second.T * (1 - hidden**2)) @ first.T)

        return hidden @ second + shift, pull

    def identity(self, shape: tuple[int, ...]) -> object:
        return shape, [array.tobytes() for pair in self.weights for array in pair]


def by_hand() -> FrameworkModel:
    return FrameworkModel(ByHand())


def by_jax(weights: Any = WEIGHTS, **options: Any) -> FrameworkModel:
    jax = pytest.importorskip("jax", reason="JAX is not installed")

    def function(params: Any, x: Any) -> Any:
        (first, at), (second, shift) = params
        return jax.numpy.tanh(x @ first + at) @ second + shift

    return jax_model(function, weights, **options)


def by_tensorflow(weights: Any = WEIGHTS, **options: Any) -> FrameworkModel:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    (first, at), (second, shift) = [[tf.Variable(one) for one in pair] for pair in weights]
    return tf_model(lambda x: tf.tanh(x @ first + at) @ second + shift, **options)


def by_keras(weights: Any = WEIGHTS, **options: Any) -> nn.Module:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    layers = keras.layers
    net = keras.Sequential(
        [keras.Input((6,)), layers.Dense(16, activation="tanh"), layers.Dropout(0.5), layers.Dense(3)]
    )
    net.set_weights([array for pair in weights for array in pair])
    return keras_model(net, **options)


MADE = [by_hand, by_jax, by_tensorflow, by_keras]


def gradient(model: Callable[[Tensor], Tensor], x: Tensor, slope: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x), x, slope)[0]


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_outputs_and_gradients_are_those_of_the_torch_port(made: Callable[[], nn.Module], rows: int) -> None:
    model, port, slope = made(), torch_port(), torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows))
    assert torch.allclose(model(X[:rows]), port(X[:rows]), atol=1e-5, rtol=0)
    found, expected = gradient(model, X[:rows], slope), gradient(port, X[:rows], slope)
    assert float(expected.abs().max()) > 0.1
    assert torch.allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("made", MADE)
def test_pgd_finds_the_counterexamples_of_the_torch_port(made: Callable[[], nn.Module]) -> None:
    found = [find_adversarial(model, X, Y, Linf(0.1), attack="pgd") for model in (made(), torch_port())]
    assert 0 < int(found[0].broken.sum()) < len(X)
    assert np.array_equal(found[0].broken, found[1].broken)
    assert torch.allclose(found[0].x, found[1].x, atol=1e-5)


@pytest.mark.parametrize("made", [by_jax, by_tensorflow, by_keras])
def test_a_fixed_batch_is_filled_up_and_split(made: Callable[..., nn.Module]) -> None:
    slope = torch.ones(40, 3)
    model = made(batch=7)
    assert torch.allclose(model(X), torch_port()(X), atol=1e-5)
    assert torch.allclose(gradient(model, X, slope), gradient(torch_port(), X, slope), atol=1e-5)


def test_every_batch_has_the_fixed_size() -> None:
    network = ByHand()
    model = FrameworkModel(network, batch=7)
    assert torch.allclose(
        gradient(model, X, torch.ones(40, 3)), gradient(torch_port(), X, torch.ones(40, 3)), atol=1e-5
    )
    assert network.sizes == [7] * 6


def test_few_sizes_are_compiled() -> None:
    network = ByHand(fills=True)
    model = FrameworkModel(network)
    for rows in range(1, 41):
        assert len(model(X[:rows])) == rows
    assert sorted(set(network.sizes)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]
    assert all(rows <= compiled_size(rows) <= rows * 3 // 2 for rows in range(2, 500))


def test_jax_compiles_once_for_each_shape() -> None:
    model = by_jax()
    traced: list[int] = []
    inner = model.network.params

    def params() -> Any:
        traced.append(1)
        return inner()

    model.network.params = params
    for _ in range(3):
        for rows in (5, 6, 8):
            gradient(model, X[:rows], torch.ones(rows, 3))
    assert len(traced) == 9
    assert model.network._linearised._cache_size() == 2  # of 6 and 8 rows
    assert model.network._pull._cache_size() == 2


def test_channels_last() -> None:
    class Means(ByHand):
        def linearised(self, x: Any) -> Any:
            assert x.shape == (2, 4, 5, 3)
            return x.mean((1, 2)), lambda slope: np.broadcast_to(slope[:, None, None] / 20, x.shape)

    x = torch.rand(2, 3, 4, 5)
    model = FrameworkModel(Means(), channels_last=True)
    assert torch.allclose(model(x), x.mean((2, 3)))
    assert torch.allclose(gradient(model, x, torch.eye(3)[:2]), gradient(lambda z: z.mean((2, 3)), x, torch.eye(3)[:2]))


def test_a_batch_that_is_written_to_changes_no_gradient() -> None:
    x = X.clone().requires_grad_()
    outputs = by_hand()(x)
    with torch.no_grad():
        x.zero_()
    found = torch.autograd.grad(outputs, x, torch.ones(40, 3))[0]
    assert torch.allclose(found, gradient(torch_port(), X, torch.ones(40, 3)), atol=1e-5)


# Identity


def digest(model: nn.Module) -> str | None:
    model(X[:3])
    return fingerprint(model, model, None).digest


@pytest.mark.parametrize("made", [by_jax, by_tensorflow, by_keras])
def test_the_identity_covers_the_parameters(made: Callable[..., nn.Module]) -> None:
    one = digest(made())
    if one is None and os.environ.get("KERAS_BACKEND") == "torch":
        pytest.skip("a model of Keras on torch has no identity")
    assert one is not None
    assert digest(made()) == one
    changed = [(weight.copy(), bias.copy()) for weight, bias in WEIGHTS]
    changed[0][0][2, 3] += 1e-6
    assert digest(made(changed)) not in (one, None)


@pytest.mark.parametrize("made", ["by_jax", "by_tensorflow", "by_keras"])
def test_the_identity_is_the_same_in_another_process(made: str) -> None:
    one = digest(globals()[made]())
    if one is None:
        pytest.skip("a model of Keras on torch has no identity")
    # Others come before it there, so that counters of the framework stand elsewhere.
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_frameworks as t; "
        f"t.digest(t.{made}(batch=2)); t.digest(t.{made}(batch=3)); print(t.digest(t.{made}()))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert printed.split()[-1] == one


def test_the_identity_covers_what_a_function_closes_over_and_its_gradient() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")

    def scaled(factor: Any) -> str | None:
        return digest(jax_model(lambda x: x * factor))

    def with_gradient(slope: float) -> str | None:
        same = jax.custom_vjp(lambda x: x)
        same.defvjp(lambda x: (x, None), lambda _, v: (v * slope,))
        return digest(jax_model(same))

    wide = np.arange(6.0, dtype=np.float32)
    assert scaled(wide) == scaled(wide.copy()) != scaled(wide + 1)
    assert with_gradient(1.0) == with_gradient(1.0) != with_gradient(0.0)


def test_a_function_that_calls_python_has_no_identity() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    model = jax_model(lambda x: jax.pure_callback(np.asarray, jax.ShapeDtypeStruct(x.shape, x.dtype), x))
    model(X[:2])
    assert fingerprint(model, model, None).digest is None


def test_a_graph_of_tensorflow_that_calls_python_has_no_identity() -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    model = tf_model(lambda x: tf.numpy_function(lambda z: z, [x], tf.float32))
    model(X[:2])
    found = fingerprint(model, model, None)
    assert found.digest is None
    assert "PyFunc" in found.reason


def test_a_model_has_an_identity_once_it_was_called() -> None:
    model = by_hand()
    assert fingerprint(model, model, None).digest is None
    model(X)
    first = fingerprint(model, model, None)
    assert first.digest is not None
    assert not first.declared
    other = FrameworkModel(ByHand(), batch=7)
    assert digest(other) not in (first.digest, None)
    with pytest.raises(Unhashable, match="FrameworkModel"):
        lasting_digest(model)


@pytest.mark.parametrize("framework", ["jax", "tensorflow"])
def test_answers_are_of_the_arrays_that_the_identity_is_of(framework: str) -> None:
    """A compiled function keeps the arrays that it closed over; results would be stored under those of now."""
    library = pytest.importorskip(framework, reason=f"{framework} is not installed")
    held = WEIGHTS[0][0][:, :3].copy()

    def made() -> FrameworkModel:
        if framework == "jax":
            return jax_model(lambda x: x @ library.numpy.asarray(held))
        return tf_model(lambda x: x @ library.constant(held))

    model = made()
    model(X)
    held *= -1
    fresh = made()
    fresh(X)
    assert digest(model) == digest(fresh)
    assert torch.equal(model(X), fresh(X))


# Gradients that are hidden


@pytest.mark.parametrize("attack", ["pgd", "standard"])
def test_a_framework_that_gives_no_gradient_is_an_error(attack: str) -> None:
    with pytest.raises(ModelError, match=r"got none.*jax_model\(f, params\)"):
        assert_robust_accuracy(FrameworkModel(ByHand(gradient=None)), (X, Y), Linf(0.02), at_least=0.6, attack=attack)


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_masked_gradient_is_never_green(factor: float) -> None:
    claim = {"at_least": 0.6, "attack": "pgd"}
    sound = measure.measure_robust_accuracy(by_hand(), (X, Y), Linf(0.02), **claim)
    assert sound.verdict.name == "PASSED"
    with pytest.raises(ClaimInconclusive):
        assert_robust_accuracy(FrameworkModel(ByHand(gradient=factor)), (X, Y), Linf(0.02), **claim)


@pytest.mark.parametrize("framework", ["jax", "tensorflow"])
def test_stop_gradient_is_never_green(framework: str) -> None:
    inner = {"jax": by_jax, "tensorflow": by_tensorflow}[framework]()
    if framework == "jax":
        stop = pytest.importorskip("jax").lax.stop_gradient
        model, error = jax_model(lambda p, x: inner.network._function(p, stop(x)), WEIGHTS), ClaimInconclusive
    else:
        stop = pytest.importorskip("tensorflow").stop_gradient
        model, error = tf_model(lambda x: inner.network._outputs(stop(x))), ModelError
    with pytest.raises(error):
        assert_robust_accuracy(model, (X, Y), Linf(0.02), at_least=0.6, attack="pgd")


# Errors


@pytest.mark.parametrize(("make", "module"), [(jax_model, "jax"), (tf_model, "tensorflow"), (keras_model, "keras")])
def test_an_absent_framework_is_named(make: Any, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        NotInstalledError, match=f"Expected {module}, which {make.__name__} needs.*pip install {module}"
    ):
        make(lambda x: x)


def test_robustest_imports_no_framework() -> None:
    code = (
        "import sys, robustest; robustest.jax_model; "
        "print([name for name in ('jax', 'tensorflow', 'keras') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert printed == "[]\n"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jax_model(3), "a function of JAX"),  # type: ignore[arg-type]
        (lambda: tf_model(3), "a function of TensorFlow"),  # type: ignore[arg-type]
        (lambda: FrameworkModel(ByHand(), batch=0), "batch to be a whole number >= 1"),
        (lambda: FrameworkModel(ByHand(), channels_last=1), "channels_last to be True or False"),  # type: ignore[arg-type]
    ],
)
def test_arguments_are_checked(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_rows_that_are_missing_are_an_error() -> None:
    class Short(ByHand):
        def answer(self, x: Any) -> Any:
            return x[1:]

    with pytest.raises(ModelError, match="a row of outputs for each of 5 samples"):
        FrameworkModel(Short())(X[:5])


# What a function refers to


class Values(UserDict[str, Any]):
    """A mapping whose values are an array, as of some tables."""

    def values(self) -> Any:
        return np.ones(3)


class Adding(list[Any]):
    """A list that adds itself to what stands before it, as lists that TensorFlow tracks do."""

    def __radd__(self, other: Any) -> Any:
        raise TypeError("only to lists")


@pytest.mark.parametrize("held", [Values(), Adding([1.0])], ids=["values in an array", "a list that adds itself"])
def test_what_a_function_refers_to_is_read_by_iteration(held: Any) -> None:
    # `deque += array` is an array, in which nothing is found any more.
    if isinstance(held, Values):
        queue: Any = deque([1.0])
        queue += held.values()
        assert not isinstance(queue, deque)
    net = nn.Linear(6, 3)
    last = SimpleNamespace(net=net)

    def call(x: Tensor) -> Tensor:
        return last.net(x) + len(held)

    assert net in [one for one in classifiers.reached(call) if isinstance(one, nn.Module)]
    assert not classifiers.constant_by_nature(as_classifier(call))
