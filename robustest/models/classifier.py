"""One face for torch modules, TorchScript, Hugging Face style outputs and plain callables."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustest.errors import ConfigError, DeviceError, ModelError, expected
from robustest.factory import Factory
from robustest.models.estimators import is_estimator
from robustest.models.needs import Needs

Preprocessing = tuple[Sequence[float], Sequence[float]] | Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A model with all it takes to call it.

    Attributes:
        call: maps a batch (B, *S) to logits, or to an object that has them as `.logits`.
        module: the torch module behind `call`, where there is one.
        bounds: the smallest and largest value an input element may take.
        preprocessing: applied to the input first: (mean, std) per channel, or a function of a batch.
        device: where inputs have to be; None where the model has no parameters to tell.
        dtype: the floating type the module computes in; inputs are cast to it.
        gives: what the model can tell an attack: GRADIENT, SCORES or LABELS.
        max_queries: most queries that may be spent on one sample by attacks without gradients and the checks
            around them; None for as many as they take.
        recipe: what builds `module`, for workers on other devices and machines, which then load its weights; None
            where nobody said.
        reset: puts a model back that adapts to what it is shown; None for one that does not. See `adapting`.
        classes: names of the classes, for messages and pictures; empty where there are none.
        labels: what data call the classes, in their order, where these are no indices 0, 1, ...
        whole: whether inputs are whole numbers, which the model is given as int64.
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

    def __call__(self, x: Tensor) -> Tensor:
        """(B, K) float32 logits of a batch (B, *S) of floats inside the bounds.

        Raises:
            ModelError: the model returns neither a tensor, an array, nor an object with `.logits`.
        """
        x = _as_whole(x) if self.whole else x.to(self.dtype)
        if callable(self.preprocessing):
            x = self.preprocessing(x)
        elif self.preprocessing is not None:
            mean, std = (torch.as_tensor(v, dtype=x.dtype, device=x.device) for v in self.preprocessing)
            shape = (1, -1, *[1] * (x.ndim - 2))
            x = (x - mean.view(shape)) / std.view(shape)
        return logits_of(self.call(x)).float()

    def on(self, device: torch.device) -> Classifier:
        """This classifier on a device: itself, or a copy, so that the user's module stays where it is.

        Raises:
            DeviceError: the module can be neither copied nor moved there.
        """
        if self.module is None or self.device is None or self.device == device:
            return replace(self, device=device)
        try:
            module = copy.deepcopy(self.module).to(device)
        except Exception as error:
            raise DeviceError(
                f"Expected to copy the model to {device} but got: {error}. Move it there yourself."
            ) from error
        return replace(self, call=module, module=module, device=device)


def _as_whole(x: Tensor) -> Tensor:
    whole = x.long()
    if not bool((whole == x).all()):
        raise ModelError(
            "Expected whole numbers after the change, as before it, but got fractions: change tokens to tokens."
        )
    return whole


def as_classifier(
    model: object, *, bounds: tuple[float, float] | None = None, preprocessing: Preprocessing | None = None
) -> Classifier:
    """The classifier a user's model stands for.

    Args:
        model: a torch module (TorchScript too), a callable from a batch to logits, a `Classifier`, or the `Factory`
            of one of them.
        bounds: smallest and largest input value; (0, 1) where neither this nor the model says otherwise.
        preprocessing: (mean, std) per channel, or a function, applied before the model.

    Raises:
        ConfigError: the model cannot be called, or bounds or preprocessing make no sense.
    """
    if bounds is not None:
        bounds = _checked_bounds(bounds)
    if preprocessing is not None and not callable(preprocessing):
        preprocessing = _checked_statistics(preprocessing)
    recipe = None
    if isinstance(model, Factory):
        recipe, model = model, model.build()
    if isinstance(model, Classifier):
        if model.module is None and isinstance(model.call, nn.Module):  # or it would not be frozen
            inner: nn.Module = model.call
            model = replace(model, module=inner, device=_device(inner), dtype=_dtype(inner))
        return replace(
            model,
            bounds=model.bounds if bounds is None else bounds,
            preprocessing=model.preprocessing if preprocessing is None else preprocessing,
        )
    if is_estimator(model):
        from robustest.models.predictors import estimator_model  # which is made of this module

        return replace(estimator_model(model), bounds=bounds or (0.0, 1.0), preprocessing=preprocessing)
    if not callable(model) or isinstance(model, type):
        mend = _pack_for(model) if isinstance(model, str) else ""
        raise ConfigError(expected("a torch module or a callable that maps a batch to logits", model, mend))
    module = model if isinstance(model, nn.Module) else None
    return Classifier(
        call=model,
        module=module,
        bounds=bounds or (0.0, 1.0),
        preprocessing=preprocessing,
        device=None if module is None else _device(module),
        dtype=torch.float32 if module is None else _dtype(module),
        recipe=recipe,
    )


def _pack_for(model: str) -> str:
    """What to do with a model that is named instead of given."""
    if model.endswith(".onnx"):
        return "Use robustest_onnx.onnx_model(path): pip install robustest-onnx"
    if model.startswith(("http://", "https://")):
        return "Use robustest_http.open_inference_model or json_model: pip install robustest-http"
    return ""


def _checked_bounds(bounds: object) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in bounds)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ConfigError(expected("bounds to be (lowest, highest) input value", bounds)) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(expected("finite bounds with lowest < highest", bounds))
    return low, high


def _checked_statistics(preprocessing: object) -> tuple[list[float], list[float]]:
    try:
        mean, std = (np.atleast_1d(np.asarray(v, dtype=float)).tolist() for v in preprocessing)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ConfigError(expected("preprocessing to be (mean, std) or a function", preprocessing)) from None
    if len(mean) != len(std) or not all(s > 0 and math.isfinite(s) for s in std) or not all(map(math.isfinite, mean)):
        raise ConfigError(expected("one mean and one std > 0 per channel", preprocessing))
    return mean, std


def logits_of(output: object) -> Tensor:
    """The tensor in what a model returns.

    Args:
        output: a tensor, an array, or an object that has one of them as `.logits`.

    Raises:
        ModelError: there is none.
    """
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    if not isinstance(output, (Tensor, np.ndarray)):
        output = getattr(output, "logits", output)
    if isinstance(output, np.ndarray):
        output = torch.from_numpy(output)
    if not isinstance(output, Tensor):
        raise ModelError(
            expected("logits as a tensor, an array, or an output with .logits", output, _other_task(output))
        )
    return output


def _other_task(output: object) -> str:
    """What a model's answer tells of its task, and what to do."""
    boxes = output[0] if isinstance(output, (list, tuple)) and output else output
    if isinstance(boxes, Mapping) and "boxes" in boxes:
        return (
            "robustest judges classes, not boxes: claim which classes are found, by a function that gives their logits."
        )
    if isinstance(output, Mapping) and "out" in output:
        return "For segmentation wrap the model in a function that returns ['out'], and claim with task=."
    return "Wrap the model in a function."


def _dtype(module: nn.Module) -> torch.dtype:
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


def _device(module: nn.Module) -> torch.device | None:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return None
