"""Models as classifiers: torch modules, TorchScript, Hugging Face outputs, estimators, predictors, adaptive models.

`as_classifier` makes a `Classifier` of each. `Needs` is the access that an attack has: gradients, scores or labels.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from pathlib import PurePath
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.dlpack import from_dlpack

from robustest import devices
from robustest.checks import checked_whole, require
from robustest.errors import ConfigError, DeviceError, ModelError, expected
from robustest.factory import Factory
from robustest.models.estimators import Differentiable, Estimator, piecewise_constant


class Needs(IntEnum):
    """The access to a model that an attack needs; each level includes those before it."""

    LABELS = 1
    SCORES = 2
    GRADIENT = 3


def is_estimator(model: object) -> bool:
    """Return True for a model with scikit-learn's methods of classifiers."""
    return not callable(model) and callable(getattr(model, "predict", None)) and hasattr(model, "fit")


# The distance of a masked class below the sample's lowest logit: its probability is 0 in float32.
_MASKED = 1e4

Preprocessing = tuple[Sequence[float], Sequence[float]] | Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A model with everything that is needed to call it.

    Attributes:
        call: maps a batch (B, *S) to logits, or to an object with `.logits`.
        module: the torch module behind `call`, if any.
        bounds: smallest and largest value of an input element.
        preprocessing: applied to the input first: (mean, std) per channel, or a function of a batch.
        device: of the inputs; None for a model without parameters.
        dtype: inputs are cast to it.
        gives: the access that the model allows.
        max_queries: most queries per sample by attacks without gradients and the checks around them; None: no limit.
        recipe: builds `module` on other devices and machines, which then load its weights; or None.
        reset: restores an adaptive model (`adapting`); None for other models.
        classes: names of the classes, for messages and pictures; may be empty.
        labels: the data's names of the classes, in order, if not indices 0, 1, ...
        whole: True if inputs are whole numbers, passed on as int64.
        estimator: the user's fitted classifier behind `call`, if any: it is asked many rows at a time.
        decode: makes a batch of tensors the values that `call` takes, for data that are no tensors; or None.
    """

    call: Callable[[Tensor], Any]
    module: nn.Module | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    preprocessing: Preprocessing | None = None
    device: torch.device | None = None
    dtype: torch.dtype = torch.float32
    gives: Needs = Needs.GRADIENT
    max_queries: int | None = None
    recipe: Factory | None = None
    reset: Callable[[], object] | None = None
    classes: tuple[str, ...] = ()
    labels: tuple[Any, ...] | None = None
    whole: bool = False
    estimator: Any = None
    decode: Callable[[Tensor], Any] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return (B, K) float32 logits of a batch (B, *S) of floats inside the bounds, see `unmasked`.

        Raises:
            ModelError: the output has no logits.
        """
        return self.unmasked(self.answer(x))

    def answer(self, x: Tensor) -> Tensor:
        """Return (B, K) float32 logits as the model gives them, -inf for classes that it masks; as `__call__` else."""
        with devices.users_default():
            return self._answer(x)

    def _answer(self, x: Tensor) -> Tensor:
        if self.decode is not None:
            return logits_of(self.ask(x)).float().to(x.device)
        if self.whole:  # token ids: a float would be refused by an embedding
            ids = x.long()
            if not bool((ids == x).all()):
                raise ModelError(
                    "Expected whole numbers after the change, as before it, but got fractions: change tokens to tokens."
                )
            x = ids
        else:
            x = x.to(self.dtype)
        if callable(self.preprocessing):
            x = self.preprocessing(x)
        elif self.preprocessing is not None:
            mean, std = (torch.as_tensor(v, dtype=x.dtype, device=x.device) for v in self.preprocessing)
            shape = (1, -1, *[1] * (x.ndim - 2))
            x = (x - mean.view(shape)) / std.view(shape)
        # float32 for every model, also of half precision; a model on two devices answers on the other one.
        return logits_of(self.call(x)).float().to(x.device)

    def unmasked(self, logits: Tensor) -> Tensor:
        """Return logits (B, K) with numbers for classes that are masked by -inf; other outputs as they are."""
        if logits.ndim != 2 or self.decode is not None:
            return logits
        # Masked classes are never predicted. Losses need a number: far below the sample's other logits, and without a
        # gradient. A sample whose classes are all masked stays infinite, and is refused.
        masked = torch.isneginf(logits)
        if devices.on_host(logits) and not bool(masked.any()):
            return logits  # the usual case: two operations and a node of the graph less
        lowest = torch.where(masked, torch.inf, logits.detach()).amin(1, keepdim=True)
        return torch.where(masked, lowest - _MASKED, logits)

    def ask(self, x: Tensor) -> Any:
        """Return what `call` answers to a batch, in the format that it takes."""
        return self.call(x if self.decode is None else self.decode(x))

    def reading(self, decode: Callable[[Tensor], Any]) -> Classifier:
        """Return this classifier for data that are no tensors: it has no gradient to its inputs.

        Raises:
            ConfigError: it has bounds or preprocessing, which are of tensors.
        """
        if self.preprocessing is not None or self.bounds != (0.0, 1.0):
            raise ConfigError(
                "Expected no bounds= and no preprocessing= for data that are no tensors. Do the preprocessing inside "
                "the model's function."
            )
        return replace(self, decode=decode, gives=min(self.gives, Needs.SCORES))

    def place(self, setting: str) -> torch.device:
        """Return the device of a setting: "auto" leaves a function where the modules are that it refers to.

        Raises:
            DeviceError: see `devices.resolve`.
        """
        held = None if setting != "auto" or self.call is self.module else self.device or _held(self.call)
        return devices.resolve(setting, self.device) if held is None else held

    def on(self, device: torch.device) -> Classifier:
        """Return this classifier on a device: itself or a copy, so that the user's module stays in place.

        Raises:
            DeviceError: the module cannot be copied or moved.
        """
        if self.module is None or self.device is None or self.device == device:
            return replace(self, device=device)
        if self.call is not self.module:  # the module alone would be another model
            raise DeviceError(
                f"Expected a module to copy to {device} but the model is a function around one on {self.device}. Move "
                "both there yourself, or take --robust-device=auto."
            )
        try:
            # A copy, since `to` moves the user's module in place.
            module = copy.deepcopy(self.module).to(device)
        except Exception as error:
            raise DeviceError(
                f"Expected to copy the model to {device} but got: {error}. Move it there yourself."
            ) from error
        return replace(self, call=module, module=module, device=device)


def as_classifier(
    model: object, *, bounds: tuple[float, float] | None = None, preprocessing: Preprocessing | None = None
) -> Classifier:
    """Return a user's model as a classifier.

    Args:
        model: a torch module (TorchScript too), a callable from a batch to logits, a `Classifier`, or the `Factory` of
            one of them.
        bounds: smallest and largest input value; None: the model's, or (0, 1).
        preprocessing: (mean, std) per channel, or a function, applied before the model.

    Raises:
        ConfigError: the model cannot be called, or bounds or preprocessing are invalid.
    """
    if bounds is not None:
        bounds = _checked_bounds(bounds)
    if callable(preprocessing):
        _check_takes_tensors(preprocessing)
    elif preprocessing is not None:
        preprocessing = _checked_statistics(preprocessing)
    recipe = None
    if isinstance(model, Factory):
        recipe, model = model, model.build()
    if isinstance(preprocessing, tuple):
        _check_units(preprocessing, bounds or (model.bounds if isinstance(model, Classifier) else (0.0, 1.0)))
    if isinstance(model, Classifier):
        if model.module is None and isinstance(model.call, nn.Module):  # or it would not be frozen
            inner: nn.Module = model.call
            model = replace(model, module=inner, dtype=_dtype(inner))
        if model.module is not None:
            model = replace(model, device=_device(model.module))
        return replace(
            model,
            bounds=model.bounds if bounds is None else bounds,
            preprocessing=model.preprocessing if preprocessing is None else preprocessing,
        )
    if is_estimator(model):
        return replace(estimator_model(model), bounds=bounds or (0.0, 1.0), preprocessing=preprocessing)
    if not callable(model) or isinstance(model, type) or _is_half_a_call(model):
        raise ConfigError(expected("a torch module or a callable that maps a batch to logits", model, _instead(model)))
    module = model if isinstance(model, nn.Module) else None
    if module is not None and (device := _device(module)) is not None and device.type == "meta":
        mend = "Load them: model.to_empty(device='cpu'), then model.load_state_dict(weights)."
        raise ConfigError(f"Expected a module with weights but its parameters are on the device meta. {mend}")
    return Classifier(
        call=model,
        module=module,
        bounds=bounds or (0.0, 1.0),
        preprocessing=preprocessing,
        device=None if module is None else _device(module),
        dtype=torch.float32 if module is None else _dtype(module),
        recipe=recipe,
    )


# Methods that give a module back, and are no model themselves: their call was forgotten.
_GIVE_THE_MODULE = frozenset({"eval", "train", "cpu", "cuda", "to", "float", "half", "double", "requires_grad_"})


def _is_half_a_call(model: object) -> bool:
    """Return True for a method of a model that answers nothing, or that hides the model's scores."""
    of = getattr(model, "__self__", None)
    if isinstance(of, nn.Module):
        return getattr(model, "__name__", "") in _GIVE_THE_MODULE
    return of is not None and is_estimator(of) and getattr(model, "__name__", "") == "predict"


def _instead(model: object) -> str:
    of = f"{type(model).__module__}.{type(model).__name__}"
    if _is_half_a_call(model):
        name = getattr(model, "__name__", "")
        if name == "predict":
            return "This is a method of an estimator: give the estimator itself, which has scores too."
        return f"This is the method {name} of a module, without its call: give the module, model.{name}()."
    if type(model).__name__ == "_IncompatibleKeys":
        return (
            "load_state_dict returns no model: call it on a line of its own, model.load_state_dict(weights), and give "
            "the model."
        )
    if isinstance(model, (str, PurePath)):
        name = str(model)
        if name.endswith(".onnx"):
            return "Use robustest_onnx.onnx_model(path): pip install robustest-onnx"
        if name.startswith(("http://", "https://")):
            return "Use robustest_http.open_inference_model or json_model: pip install robustest-http"
        if name.endswith((".csv", ".jsonl", ".json", ".parquet")):
            return "Recorded answers need no model: assert_rate(Outcomes.read(path), at_least=...)."
        return (
            "Build the model and load its weights first: model.load_state_dict(torch.load(path, weights_only=True)), "
            "or the loader of the library that it comes from."
        )
    if isinstance(model, type):
        return "This is a class: make an instance of it, with its weights loaded or fitted."
    if isinstance(model, Mapping):
        return "These are weights or a checkpoint: build the module and load them: model.load_state_dict(weights)."
    if of.startswith("onnxruntime."):
        return (
            "Use robustest_onnx.onnx_model(path) (pip install robustest-onnx), or "
            "scores_model(lambda x: session.run(None, {name: x})[0])."
        )
    if of.startswith(("flax.", "jax.")):
        return (
            "Use jax_model(f, params), where f maps parameters and a batch to logits: jax_model(net.apply, variables)."
        )
    if of.startswith("tensorflow."):
        return "Use tf_model(f), where f maps a batch to logits; of a SavedModel, one of its signatures."
    if isinstance(model, (Tensor, np.ndarray, list, tuple)) or hasattr(model, "columns"):
        return "The model comes first, then the data: (model, (x, y), ...)."
    if model is None:
        return "The function that makes it may lack its return."
    if callable(getattr(model, "predict", None)):
        return (
            "Use scores_model(f), where f maps a float32 array to one column of scores for each class, e.g. by its "
            "predict; or its library's classifier in the style of scikit-learn."
        )
    return "Pass its module, or a function from a batch to logits."


def _checked_bounds(bounds: object) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in bounds)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ConfigError(expected("bounds to be (lowest, highest) input value", bounds)) from None
    require(math.isfinite(low) and math.isfinite(high) and low < high, "finite bounds with lowest < highest", bounds)
    return low, high


# Transforms of torchvision that take pictures, and no tensors.
_OF_PICTURES = frozenset({"ToTensor", "PILToTensor"})


def _check_takes_tensors(preprocessing: object) -> None:
    steps = getattr(preprocessing, "transforms", None)
    kinds = [type(one) for one in (steps if isinstance(steps, (list, tuple)) else [preprocessing])]
    wrong = [one.__name__ for one in kinds if one.__name__ in _OF_PICTURES and one.__module__.startswith("torchvision")]
    if wrong:
        raise ConfigError(
            f"Expected preprocessing of a batch of tensors (N, C, H, W) but got {wrong[0]}, which takes pictures. The "
            "data's transform makes tensors of them; give what follows it: the (mean, std) of Normalize."
        )


def _checked_statistics(preprocessing: object) -> tuple[list[float], list[float]]:
    try:
        mean, std = (np.atleast_1d(np.asarray(v, dtype=float)).tolist() for v in preprocessing)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        mend = "For example ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])."
        raise ConfigError(expected("preprocessing to be (mean, std) or a function", preprocessing, mend)) from None
    if len(mean) != len(std) or not all(s > 0 and math.isfinite(s) for s in std) or not all(map(math.isfinite, mean)):
        raise ConfigError(expected("one mean and one std > 0 per channel", preprocessing))
    return mean, std


def _check_units(statistics: tuple[list[float], list[float]], bounds: tuple[float, float]) -> None:
    """Raise ConfigError for a mean that no input inside the bounds can have."""
    (low, high), largest = bounds, max(map(abs, statistics[0]), default=0.0)
    if largest > 4 * max(abs(low), abs(high)):
        mend = f"They are of the inputs as the model is given them, inside [{low:g}, {high:g}]"
        if (low, high) == (0.0, 1.0) and largest <= 255:
            mend = f"{mend}: divide both by 255"
        raise ConfigError(expected("mean and std in the units of the inputs", statistics, f"{mend}."))


def logits_of(output: object) -> Tensor:
    """Return the logits in a model's output: a tensor, an array of any framework, or one of them as `.logits`.

    Raises:
        ModelError: there are none.
    """
    if type(output) is Tensor:  # the usual case, in every pass
        return output
    # Hugging Face outputs are mappings too.
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    if not isinstance(output, (Tensor, np.ndarray)):
        output = getattr(output, "logits", output)
    if not isinstance(output, (Tensor, np.ndarray)) and callable(getattr(output, "__array__", None)):
        # An array of another framework; a type that NumPy lacks, such as bfloat16, is exchanged below.
        array = np.array(output)  # a copy, as their memory may be read-only
        output = array if array.ndim and array.dtype.kind in "fiub" else output
    if isinstance(output, np.ndarray):
        output = torch.from_numpy(np.ascontiguousarray(output))  # torch takes no reversed rows
    elif not isinstance(output, Tensor) and callable(getattr(output, "__dlpack__", None)):
        output = from_dlpack(output)
    if not isinstance(output, Tensor):
        raise ModelError(
            expected("logits as a tensor, an array, or an output with .logits", output, _other_task(output))
        )
    return output


def _other_task(output: object) -> str:
    boxes = output[0] if isinstance(output, (list, tuple)) and output else output
    if isinstance(boxes, Mapping) and "boxes" in boxes:
        return (
            "robustest judges classes, not boxes: claim which classes are found, by a function that gives their logits."
        )
    if isinstance(output, Mapping) and "out" in output:
        return "For segmentation wrap the model in a function that returns ['out'], and claim with task=."
    if isinstance(output, (list, tuple)) and isinstance(boxes, (str, int)):
        return "These are labels: use labels_model(f, classes=K), where f maps an array to class indices."
    top = boxes[0] if isinstance(boxes, (list, tuple)) and boxes else boxes
    if isinstance(top, Mapping) and "label" in top:
        return (
            "This is a pipeline: give the model inside it, and samples as it takes them; or scores_model(f), where f "
            "returns the scores of pipe(list(x), top_k=None), sorted by label."
        )
    if isinstance(output, (list, tuple)) and isinstance(boxes, (Tensor, np.ndarray)):
        return "Wrap the model in a function that returns the logits alone: lambda x: model(x)[0]."
    return "Wrap the model in a function that returns its logits."


def _dtype(module: nn.Module) -> torch.dtype:
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


def _device(module: nn.Module) -> torch.device | None:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return None


# Most things that are looked at to find the modules of a function.
_LOOKED_AT = 1000


def _held(call: object) -> torch.device | None:
    """Return the device of the first module, or tensor, that a function refers to or an object holds; or None."""
    for one in reached(call):
        if isinstance(one, Tensor):
            return one.device
        if isinstance(one, nn.Module) and (device := _device(one)) is not None:
            return device
    return None


def reached(call: object) -> Iterator[Any]:
    """Yield what a function refers to or an object holds, the nearest first; itself too."""
    # `todo += values` would ask an array among the values, or a list of TensorFlow, to add itself to the queue.
    todo, seen = deque([call]), set[int]()
    while todo and len(seen) < _LOOKED_AT:
        one: Any = todo.popleft()
        if id(one) in seen or isinstance(one, (type, ModuleType)):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, FunctionType):
            with suppress(ValueError):  # of a variable that is not set yet
                todo.extend([cell.cell_contents for cell in one.__closure__ or ()])
            todo.extend([one.__globals__[name] for name in one.__code__.co_names if name in one.__globals__])
            todo.extend(one.__defaults__ or ())
        elif isinstance(one, MethodType):
            todo.extend([one.__func__, one.__self__])
        elif isinstance(one, partial):
            todo.extend([one.func, *one.args, *one.keywords.values()])
        elif isinstance(one, Mapping):
            todo.extend(one.values())
        elif isinstance(one, (list, tuple)):
            todo.extend(one)
        else:
            todo.extend(getattr(one, "__dict__", {}).values())
            slots = getattr(type(one), "__slots__", ())
            todo.extend(
                [getattr(one, name) for name in slots if hasattr(one, name)] if isinstance(slots, tuple) else []
            )


def constant_by_nature(model: Classifier) -> bool:
    """Return True for trees, their ensembles and nearest neighbours, also behind a function that refers to nothing else
    that classifies.
    """
    if model.estimator is not None:
        return piecewise_constant(model.estimator)
    todo, seen, found = deque[Any]([model.call]), set[int](), False
    while todo and len(seen) < _LOOKED_AT:
        one = todo.popleft()
        if id(one) in seen or isinstance(one, (type, ModuleType)):
            continue
        seen.add(id(one))
        if isinstance(one, nn.Module):
            return False
        if piecewise_constant(one):
            found = True
        elif is_estimator(one) and callable(getattr(one, "predict", None)) and hasattr(one, "classes_"):
            return False
        elif isinstance(one, FunctionType):
            with suppress(ValueError):  # of a variable that is not set yet
                todo.extend([cell.cell_contents for cell in one.__closure__ or ()])
            todo.extend([one.__globals__[name] for name in one.__code__.co_names if name in one.__globals__])
        elif isinstance(one, MethodType):
            todo.extend([one.__func__, one.__self__])
        elif isinstance(one, partial):
            todo.extend([one.func, *one.args, *one.keywords.values()])
        elif isinstance(one, (list, tuple)):
            todo.extend(one)
        elif type(one).__module__.partition(".")[0] not in {"numpy", "torch", "builtins"}:
            todo.extend(getattr(one, "__dict__", {}).values())
    return found


Predict = Callable[[NDArray[np.float32]], Any]


def scores_model(
    fn: Predict, *, bounds: tuple[float, float] = (0.0, 1.0), max_queries: int | None = None
) -> Classifier:
    """Return a model that gives scores and no gradients: attacks that need gradients are left out.

    Args:
        fn: maps a float32 array (B, *S), a copy, to real scores (B, K >= 2), larger for likelier classes; logits serve
            best. For tasks with an answer at each place, (B, K >= 2, ...).
        bounds: smallest and largest input value.
        max_queries: most queries per sample, with the checks around the attack; attacks are shortened or left out until
            they fit. None: no limit.

    Raises:
        ConfigError: fn cannot be called, bounds are invalid, or max_queries < 1.
    """
    _check(fn, max_queries)

    def call(x: Tensor) -> Tensor:
        scores = _answer(fn, x)
        if scores.ndim < 2 or scores.shape[1] < 2 or scores.dtype.kind not in "fiub":
            mend = "One column a class."
            raise ModelError(expected("real scores of shape (B, K >= 2)", f"{scores.dtype} {scores.shape}", mend))
        return torch.from_numpy(_as_float32(scores)).to(getattr(x, "device", "cpu"))

    return as_classifier(Classifier(call=call, gives=Needs.SCORES, max_queries=max_queries), bounds=bounds)


def labels_model(
    fn: Predict, *, classes: int, bounds: tuple[float, float] = (0.0, 1.0), max_queries: int | None = None
) -> Classifier:
    """Return a model that gives class labels alone: attacks that need more are left out.

    Args:
        fn: maps a float32 array (B, *S), a copy, to integer labels (B,) in 0..classes-1.
        classes: number of classes, >= 2.
        bounds, max_queries: as for `scores_model`.

    Raises:
        ConfigError: fn cannot be called, classes < 2, bounds are invalid, or max_queries < 1.
    """
    _check(fn, max_queries)
    checked_whole("classes", classes, 2)

    def call(x: Tensor) -> Tensor:
        labels = _answer(fn, x)
        if labels.shape != (len(x),) or labels.dtype.kind not in "iu":
            raise ModelError(expected(f"integer labels of shape ({len(x)},)", f"{labels.dtype} {labels.shape}"))
        if len(labels) and (labels.min() < 0 or labels.max() >= classes):
            raise ModelError(expected(f"labels in 0..{classes - 1}", (int(labels.min()), int(labels.max()))))
        # 1 for the label and -1 for the others: 0 and 1 would look like probabilities.
        answers = torch.from_numpy(2 * np.eye(classes, dtype=np.float32)[labels] - 1)
        return answers.to(getattr(x, "device", "cpu"))

    return as_classifier(Classifier(call=call, gives=Needs.LABELS, max_queries=max_queries), bounds=bounds)


def estimator_model(model: object) -> Classifier:
    """Return the model of a fitted classifier of scikit-learn, or of a pipeline that ends in one.

    Raises:
        ConfigError: not fitted, or not a classifier of two classes or more.
    """
    fn = Estimator(model)
    made = scores_model(fn) if fn.scored else labels_model(fn, classes=len(fn.classes))
    names = tuple(map(str, fn.classes)) if any(isinstance(label, str) for label in fn.classes) else ()
    made = replace(made, classes=names, labels=fn.classes, estimator=model)
    if fn.network is None:
        return made
    return replace(made, call=Differentiable(made.call, fn.network), gives=Needs.GRADIENT)


def confident(model: Classifier) -> Classifier:
    """Return a classifier whose softmax is its estimator's `predict_proba`, if it has one; else the classifier."""
    if not callable(getattr(model.estimator, "predict_proba", None)):
        return model
    asked = scores_model(Estimator(model.estimator, probable=True))
    return replace(model, call=asked.call, gives=Needs.SCORES)


def _check(fn: object, max_queries: object) -> None:
    require(callable(fn) and not isinstance(fn, type), "a function from a numpy batch to predictions", fn)
    if max_queries is not None and (type(max_queries) is not int or max_queries < 1):
        raise ConfigError(expected("max_queries to be None or a whole number >= 1", max_queries))


def _answer(fn: Predict, x: Tensor) -> NDArray[Any]:
    # A copy, which the user's function may overwrite; values that are no tensors are decoded anew for each call.
    given: Any = x.detach().to("cpu", torch.float32, copy=True).numpy() if isinstance(x, Tensor) else x
    answer = fn(given)
    return np.asarray(answer.detach().cpu() if isinstance(answer, Tensor) else answer)


def _as_float32(scores: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        out = scores.astype(np.float32)
    # Rounding may tie the two largest scores: lift the one that was larger, so that the prediction stays.
    first = scores.argmax(1, keepdims=True)
    largest = np.take_along_axis(out, first, 1)
    tied = out.argmax(1, keepdims=True) != first
    np.put_along_axis(out, first, np.where(tied, np.nextafter(largest, np.float32(np.inf)), largest), 1)
    return out


def adapting(
    model: Callable[[Tensor], Any],
    reset: Callable[[], object] | None = None,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Classifier:
    """Return a model that adapts to its inputs, as in test-time adaptation (Wang et al., ICLR 2021).

    Only `assert_corruption_robustness` takes it: reset before each cell and before the clean samples, it receives all
    samples in the seeded order, in its own mode. Predictions are dependent, so the claim is about the set.

    Args:
        model: maps a batch to logits, and may change itself.
        reset: restores it; None calls `model.reset()`.
        bounds: smallest and largest input value.

    Raises:
        ConfigError: the model or its reset cannot be called.
    """
    back = getattr(model, "reset", None) if reset is None else reset
    if not callable(model) or not callable(back):
        raise ConfigError(expected("a model that can be called, and reset= or a method reset() of it", model))
    return Classifier(call=_Adapting(model), bounds=bounds, gives=Needs.SCORES, reset=back)


@dataclass(frozen=True, slots=True)
class _Adapting:
    model: Callable[[Tensor], Any]

    def __call__(self, x: Tensor) -> Any:
        # Test-time adaptation takes gradient steps inside the call.
        with torch.enable_grad():
            output = self.model(x.clone())
        logits = getattr(output, "logits", output)
        return logits.detach() if isinstance(logits, Tensor) else logits
