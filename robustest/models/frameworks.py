"""Models of JAX, TensorFlow and Keras 3 with the gradients of their own framework."""

# A network f of another framework becomes a torch module. For a batch x and a slope v of an objective by the outputs,
#
#     forward:    x -> f(x)
#     backward:   v -> v J,    J = df/dx at x            (the vector-Jacobian product),
#
# where both lines are computed by the framework (`jax.vjp`, `tf.GradientTape`) and torch differentiates what stands
# around them. Nothing else is asked of f by reverse-mode differentiation, so that every attack, probe and claim takes
# such a model as it takes one of torch. Two hazards decide the details:
#
# 1. Frameworks compile a function for each shape of its input, and a search asks for batches of many sizes: a batch is
#    filled up to one of a few sizes. Rows that fill it have no gradient and are cut off.
# 2. Frameworks run behind Python and may share memory with NumPy: an attack that writes into its batch would change
#    the batch that is being computed. Arrays are copied in both directions.

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from robustest.checks import checked_whole, require
from robustest.errors import ConfigError, ModelError, NotInstalledError, expected
from robustest.identity.plain import Unhashable

Array = NDArray[np.float32]
Pullback = Callable[[Array], Array | None]
"""Function from a slope (B, *P) by the outputs to the gradient (B, *S) by the inputs; None where there is none."""


class ForeignNetwork(ABC):
    """A network of another framework, on float32 arrays of NumPy.

    Attributes:
        fills: batches are filled up to one of a few sizes, as each size is compiled anew.
    """

    fills = False

    @abstractmethod
    def answer(self, x: Array) -> Array:
        """Return the outputs (B, *P) of a batch (B, *S)."""

    @abstractmethod
    def linearised(self, x: Array) -> tuple[Array, Pullback]:
        """Return the outputs (B, *P) of a batch (B, *S), and its vector-Jacobian product."""

    @abstractmethod
    def identity(self, shape: tuple[int, ...]) -> object:
        """Return plain values that change with the function, its gradient and its parameters.

        Args:
            shape: of a batch.

        Raises:
            Unhashable: the function reaches what cannot be read.
        """


class FrameworkModel(nn.Module):
    """A network of another framework as a torch module, see `jax_model`, `tf_model` and `keras_model`."""

    def __init__(self, network: ForeignNetwork, *, batch: int | None = None, channels_last: bool = False) -> None:
        super().__init__()
        _check(batch, channels_last)
        self.network, self.batch, self.channels_last = network, batch, channels_last
        self._shape: tuple[int, ...] | None = None  # of a sample of the first batch

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 outputs (B, *P) of a batch (B, *S), on its device."""
        if self.channels_last:
            x = x.movedim(1, -1)
        if self._shape is None:
            self._shape = tuple(x.shape[1:])
        apply = cast("Callable[[Tensor, ForeignNetwork], Tensor]", _Bridge.apply)
        return in_batches(lambda part: apply(part, self.network), x, self.batch, fills=self.network.fills)

    def __deepcopy__(self, memo: dict[int, Any]) -> FrameworkModel:
        # The framework holds the weights, on its own device: a copy for another device of torch shares them.
        copied = type(self)(self.network, batch=self.batch, channels_last=self.channels_last)
        copied._shape = self._shape
        return copied.train(self.training)

    def robustest_state(self) -> object:
        """Return what stands for the model in its identity: see `robustest.identity.walk.STATE`.

        Raises:
            Unhashable: the model was not called yet, or its function reaches what cannot be read.
        """
        if self._shape is None:
            raise Unhashable("a network of another framework that was not called yet, so that it has no graph")
        # A batch of one sample might be computed by another graph.
        found = self.network.identity((self.batch or 2, *self._shape))
        return type(self.network).__qualname__, found, self.batch, self.channels_last


def _check(batch: object, channels_last: object) -> None:
    if batch is not None:
        checked_whole("batch", batch, 1)
    require(type(channels_last) is bool, "channels_last to be True or False", channels_last)


def in_batches(call: Callable[[Tensor], Tensor], x: Tensor, batch: int | None, *, fills: bool) -> Tensor:
    """Return the outputs (B, *P) of a batch (B, *S), in batches that a network takes.

    Args:
        batch: their fixed size; None for any.
        fills: without a fixed size, fill the batch up to a `compiled_size`.

    Raises:
        ModelError: the network answers with another number of rows than it was given.
    """
    outputs = []
    for part in [x] if batch is None else torch.split(x, batch):
        rows = len(part)
        size = batch or (compiled_size(rows) if fills else rows)
        if size > rows:
            # Copies of a row, which the network surely takes; they are detached, so that they add to no gradient.
            part = torch.cat([part, part[-1:].detach().expand(size - rows, *part.shape[1:])])  # noqa: PLW2901
        found = call(part)
        if found.ndim == 0 or len(found) != size:
            raise ModelError(expected(f"a row of outputs for each of {size} samples", f"shape {tuple(found.shape)}"))
        outputs.append(found[:rows])
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


class _Bridge(torch.autograd.Function):
    """The outputs of a network, differentiated by its framework."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, network: ForeignNetwork) -> Tensor:
        given = x.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()
        ctx.about = x.shape, x.dtype, x.device
        if ctx.needs_input_grad[0]:
            outputs, ctx.pullback = network.linearised(given)
        else:
            outputs = network.answer(given)
        return _tensor(outputs, x.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, None]:
        shape, dtype, device = ctx.about
        gradient = ctx.pullback(slope.detach().to("cpu", torch.float32, copy=True).contiguous().numpy())
        # None as it is: zeros would look like a gradient, where the framework says that there is none.
        return (None if gradient is None else _tensor(gradient, device).to(dtype).reshape(shape)), None


def _tensor(values: Array, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C")).to(device)


def compiled_size(rows: int) -> int:
    """Return the smallest of 1, 2, 3, 4, 6, 8, 12, 16, ... that holds a number of rows: at most half are filled up."""
    size = 1 << max(0, rows - 1).bit_length()
    return size // 4 * 3 if size >= 4 and rows <= size // 4 * 3 else size


def _framework(module: str, needed_by: str, install: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise NotInstalledError(
            f"Expected {module}, which {needed_by} needs, but it cannot be imported ({error}): pip install {install}"
        ) from None


def _logits(output: Any) -> Any:
    """Return the logits of an output: itself, its `.logits`, or the only value of a mapping."""
    if isinstance(output, Mapping):
        return output["logits"] if "logits" in output else next(iter(output.values())) if len(output) == 1 else output
    return getattr(output, "logits", output)


# JAX


def jax_model(
    function: Callable[..., Any],
    params: Any = None,
    *,
    batch: int | None = None,
    channels_last: bool = False,
    jit: bool = True,
) -> FrameworkModel:
    """Return a function of JAX as a model whose gradients are JAX's (`jax.vjp`).

    Args:
        function: maps (params, x), or x alone where there are no params, to logits, with x a float32 batch (B, *S): the
            `apply` of a Flax module, or any function of `jax.numpy`.
        params: a tree of arrays, as of `module.init`; None where the function holds them itself.
        batch: size of every batch, for functions that take no other: larger batches are split, smaller ones filled up.
            None: any size.
        channels_last: samples (C, *S) are given as (*S, C), as networks of JAX are usually written.
        jit: compile the function, once for each shape; False for Python code that branches on values.

    Raises:
        NotInstalledError: JAX is not installed.
        ConfigError: the function cannot be called, or an argument is invalid.
    """
    require(callable(function) and not isinstance(function, type), "a function of JAX, such as module.apply", function)
    if params is None:
        network = JaxNetwork(lambda _, x: function(x), lambda: None, jit=jit)
    else:
        network = JaxNetwork(function, lambda: params, jit=jit)
    return FrameworkModel(network, batch=batch, channels_last=channels_last)


class JaxNetwork(ForeignNetwork):
    """A function of JAX.

    Args:
        function: maps parameters and a batch to outputs.
        params: returns the parameters as they are now.
        jit: see `jax_model`.
    """

    def __init__(self, function: Callable[[Any, Any], Any], params: Callable[[], Any], *, jit: bool) -> None:
        require(type(jit) is bool, "jit to be True or False", jit)
        self._jax = _framework("jax", "jax_model", "jax")
        self.params, self.fills = params, jit
        self._user, self._text = function, ""
        self._compile()

    def _compile(self) -> None:
        """Forget what was compiled: a compiled function keeps the arrays that it closed over as they were."""
        jax, function, jit = self._jax, self._user, self.fills

        def outputs(params: Any, x: Any) -> Any:
            return jax.numpy.asarray(_logits(function(params, x))).astype(jax.numpy.float32)

        def linearised(params: Any, x: Any) -> tuple[Any, Any]:
            return cast("tuple[Any, Any]", jax.vjp(lambda z: outputs(params, z), x))

        # Parameters are an argument, so that new values need no new compilation. The pullback is a tree of arrays that
        # the forward pass left: a gradient costs one forward and one backward pass.
        self._function = outputs
        self._outputs = jax.jit(outputs) if jit else outputs
        self._linearised = jax.jit(linearised) if jit else linearised
        self._pull = jax.jit(lambda pullback, slope: pullback(slope)[0]) if jit else lambda p, slope: p(slope)[0]

    @contextmanager
    def _exact(self) -> Iterator[None]:
        # Else products are rounded to TF32 or bfloat16 on accelerators; answers are judged in float32.
        with self._jax.default_matmul_precision("float32"):
            yield

    def answer(self, x: Array) -> Array:
        with self._exact():
            return np.array(self._outputs(self.params(), self._jax.numpy.array(x)))

    def linearised(self, x: Array) -> tuple[Array, Pullback]:
        with self._exact():
            outputs, pullback = self._linearised(self.params(), self._jax.numpy.array(x))

        def pull(slope: Array) -> Array:
            with self._exact():
                return np.array(self._pull(pullback, self._jax.numpy.array(slope)))

        return np.array(outputs), pull

    def identity(self, shape: tuple[int, ...]) -> object:
        jax, params = self._jax, self.params()

        def robustest_identity(params: Any, x: Any, slope: Any) -> Any:  # its name stands in the text
            outputs, pullback = jax.vjp(lambda z: self._function(params, z), x)
            return outputs, pullback(slope)  # the gradient too: a function may define another one

        x = jax.ShapeDtypeStruct(shape, jax.numpy.float32)
        try:
            with self._exact():
                slope = jax.eval_shape(self._function, params, x)
                text = jax.jit(robustest_identity).lower(params, x, slope).as_text()
                graph = jax.make_jaxpr(robustest_identity)(params, x, slope).jaxpr
        except Exception as error:  # what the user's function raises where its values are not known
            raise Unhashable(f"a function that JAX cannot compile ({type(error).__name__})") from error
        if called := re.search(r"custom_call @(\w*callback\w*)", text):
            raise Unhashable(f"a function of JAX that calls Python as it runs ({called[1]})")
        # Answers have to be those of the function that is named here, and not of the arrays that it held before.
        if text != self._text:
            self._text = text
            self._compile()
        # The text has the leaves that are used as its arguments, in order, and holds what the function closes over.
        # Others, as the seed of a dropout that is off, differ from model to model.
        used = {id(value) for step in graph.eqns for value in step.invars} | set(map(id, graph.outvars))
        leaves = zip(jax.tree_util.tree_leaves(params), graph.invars, strict=False)
        arrays = [np.asarray(leaf) for leaf, argument in leaves if id(argument) in used]
        return jax.__version__, text, [(str(array.dtype), array.shape, array.tobytes()) for array in arrays]


# TensorFlow


def tf_model(
    function: Callable[[Any], Any], *, batch: int | None = None, channels_last: bool = False, jit: bool = True
) -> FrameworkModel:
    """Return a function of TensorFlow as a model whose gradients are TensorFlow's (`tf.GradientTape`).

    Args:
        function: maps a float32 batch (B, *S) to logits: a `tf.Module` that can be called, a `tf.function`, a signature
            of a SavedModel. A model of Keras 3 is `keras_model`.
        batch: as for `jax_model`.
        channels_last: samples (C, *S) are given as (*S, C), as networks of TensorFlow are usually written.
        jit: trace the function as a graph (`tf.function`), once for each shape of a sample; False runs it eagerly.

    Raises:
        NotInstalledError: TensorFlow is not installed.
        ConfigError: the function cannot be called, or an argument is invalid.
    """
    require(callable(function) and not isinstance(function, type), "a function of TensorFlow, or a tf.Module", function)
    return FrameworkModel(TensorFlowNetwork(function, batch, jit=jit), batch=batch, channels_last=channels_last)


class TensorFlowNetwork(ForeignNetwork):
    """A function of TensorFlow.

    Args:
        function: maps a batch to outputs.
        batch: its size, where that is fixed.
        jit: see `tf_model`.
    """

    def __init__(self, function: Callable[[Any], Any], batch: int | None, *, jit: bool) -> None:
        require(type(jit) is bool, "jit to be True or False", jit)
        self._tf = _framework("tensorflow", "tf_model", "tensorflow")
        self._function, self._batch, self._jit = function, batch, jit
        self._graphs: dict[tuple[int, ...], Callable[[Any], Any]] = {}  # by the shape of a sample
        self._nodes: object = None  # of the identity that was asked for last

    def _outputs(self, x: Any) -> Any:
        return self._tf.cast(_logits(self._function(x)), self._tf.float32)

    def _called(self, shape: tuple[int, ...]) -> Callable[[Any], Any]:
        if not self._jit:
            return self._outputs
        if shape not in self._graphs:
            spec = self._tf.TensorSpec((self._batch, *shape), self._tf.float32)
            self._graphs[shape] = self._tf.function(self._outputs, input_signature=[spec])
        return self._graphs[shape]

    @contextmanager
    def _exact(self) -> Iterator[None]:
        # TensorFlow rounds products to TF32 where the device can; answers are judged in float32.
        flags = self._tf.config.experimental
        before = flags.tensor_float_32_execution_enabled()
        flags.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            flags.enable_tensor_float_32_execution(before)

    def answer(self, x: Array) -> Array:
        with self._exact():
            return cast("Array", self._called(x.shape[1:])(self._tf.constant(x)).numpy())

    def linearised(self, x: Array) -> tuple[Array, Pullback]:
        tf = self._tf
        given = tf.constant(x)
        # Persistent: a graph of torch that is kept may be asked for several slopes.
        with self._exact(), tf.GradientTape(persistent=True) as tape:
            tape.watch(given)
            outputs = self._called(x.shape[1:])(given)

        def pull(slope: Array) -> Array | None:
            with self._exact():
                found = tape.gradient(outputs, given, output_gradients=tf.constant(slope))
            return None if found is None else cast("Array", tf.convert_to_tensor(found).numpy())

        return outputs.numpy(), pull

    def identity(self, shape: tuple[int, ...]) -> object:
        from robustest.models.tensorflow_graphs import graph_of

        tf = self._tf

        def both(x: Any, slope: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = self._outputs(x)
            # The gradient too: a function may define another one.
            return outputs, tape.gradient(outputs, x, output_gradients=slope)

        spec = tf.TensorSpec(shape, tf.float32)
        try:
            answered = tf.function(self._outputs).get_concrete_function(spec)
            slope = tf.TensorSpec(answered.output_shapes, tf.float32)
            traced = tf.function(both).get_concrete_function(spec, slope)
        except Exception as error:  # what the user's function raises where its values are not known
            raise Unhashable(f"a function that TensorFlow cannot trace ({type(error).__name__})") from error
        nodes, returned, captured = graph_of(traced)
        # Answers have to be those of the function that is named here: a graph keeps the arrays that it closed over.
        if nodes != self._nodes:
            self._nodes = nodes
            self._graphs.clear()
        return tf.__version__, nodes, returned, captured


# Keras 3


def keras_model(model: Any, *, batch: int | None = None, channels_last: bool = False) -> nn.Module:
    """Return a model of Keras 3 with the gradients of its backend: JAX, TensorFlow or torch.

    It is called with `training=False`. Its weights are read at each call, so that it may be trained further.

    Args:
        model: a model that is built, with one input, whose outputs are logits (B, K), without a softmax.
        batch: as for `jax_model`.
        channels_last: samples (C, *S) are given as (*S, C), as `image_data_format()` "channels_last" has them.

    Raises:
        NotInstalledError: Keras is not installed.
        ConfigError: it is no model of Keras, is not built, its backend has no gradients, or an argument is invalid.
    """
    keras = _framework("keras", "keras_model", "keras")
    require(isinstance(model, keras.Model), "a model of Keras 3", model, "Functions are jax_model(f) or tf_model(f).")
    mend = "Call it once with a batch, or begin it with keras.Input(shape)."
    require(model.built, "a model of Keras that is built", f"{model.name} without weights", mend)
    backend = keras.backend.backend()
    network: ForeignNetwork
    if backend == "jax":

        def called(params: tuple[Any, Any], x: Any) -> Any:
            return model.stateless_call(*params, x, training=False)[0]

        def params() -> tuple[Any, Any]:
            groups = model.trainable_variables, model.non_trainable_variables
            return cast("tuple[Any, Any]", tuple([variable.value for variable in group] for group in groups))

        network = JaxNetwork(called, params, jit=True)
    elif backend == "tensorflow":
        network = TensorFlowNetwork(lambda x: model(x, training=False), batch, jit=True)
    elif backend == "torch":
        return _KerasOnTorch(model, batch=batch, channels_last=channels_last)
    else:
        mend = "Set KERAS_BACKEND to jax, tensorflow or torch, or use scores_model(f) for attacks without gradients."
        raise ConfigError(expected("a backend of Keras with gradients", backend, mend))
    return FrameworkModel(network, batch=batch, channels_last=channels_last)


class _KerasOnTorch(nn.Module):
    """A model of Keras on torch, which is a torch module, with samples and batches as `keras_model` has them."""

    def __init__(self, model: Any, *, batch: int | None, channels_last: bool) -> None:
        super().__init__()
        _check(batch, channels_last)
        self.model, self.batch, self.channels_last = model, batch, channels_last

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (B, *P) of a batch (B, *S)."""
        x = x.movedim(1, -1) if self.channels_last else x
        return in_batches(lambda part: self.model(part, training=False), x, self.batch, fills=False)
