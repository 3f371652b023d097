"""Errors that a model raises in a pass: those that mean that memory ran out, and what mends the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.errors import RobustestError
from robustest.models import Classifier

# Characters of the model's own error that a message quotes.
_QUOTED = 300

NO_GRADIENT = (
    "Expected gradients from the model's input to its logits but got none. Remove torch.no_grad(), .detach(), "
    "stop_gradient or numpy from its forward; a function that has none, such as an estimator's predict_proba, is "
    "scores_model(f). Networks of JAX, TensorFlow and Keras are jax_model(f, params), tf_model(f) and keras_model(m)."
)


# What torch's backends say, in lower case, where a pass does not fit; cuBLAS and cuDNN have their own words.
_NO_MEMORY = ("out of memory", "can't allocate memory", "status_alloc_failed", "out_of_device_memory")


def out_of_memory(error: BaseException | None) -> bool:
    """Return True for torch's errors that say that a pass did not fit into memory."""
    if not isinstance(error, RuntimeError) or isinstance(error, RobustestError):
        return False
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _NO_MEMORY)


def quoted(error: Exception) -> str:
    """Return the kind and the message of a model's own error, without the full stop."""
    message = " ".join(str(error).split())[:_QUOTED].rstrip(".")
    return f"{type(error).__name__}: {message}"


def failed_forward(model: Classifier, x: Tensor, error: Exception) -> str:
    """Return the message for a model that raised an error for a batch x (B, *S)."""
    if "numpy() on Tensor that requires grad" in str(error):
        return NO_GRADIENT
    return (
        f"Expected the model to answer a batch of shape {tuple(x.shape)} but it raised {quoted(error)}. "
        f"{remedy(model, x, error)}"
    )


# Remedies: the first that fits an error


@dataclass(frozen=True, slots=True)
class FailedPass:
    """A model's error, and what its remedy depends on.

    Attributes:
        shape: of the batch (B, *S).
        package: of the model's class.
        wrapped: the model is that of `scores_model` or `labels_model`.
        foreign: the model is that of `jax_model`, `tf_model` or `keras_model`.
        decodes: the model takes the values that its inputs stand for, as texts.
    """

    error: Exception
    shape: tuple[int, ...]
    package: str
    wrapped: bool
    foreign: bool
    decodes: bool

    def says(self, words: str) -> bool:
        return words in str(self.error)

    def raised(self, *kinds: type[Exception]) -> bool:
        return isinstance(self.error, kinds)

    def is_image(self) -> bool:
        return len(self.shape) == 4


# Numbers of channels of usual images.
_CHANNELS = (1, 3, 4)
_REMEDIES: tuple[tuple[Callable[[FailedPass], bool], str], ...] = (
    (
        lambda it: it.package in ("jax", "flax", "equinox", "haiku") or it.says("as an abstract array"),
        "A function of JAX takes no tensors of torch: use jax_model(f, params), or jax_model(f) if it holds its "
        "parameters, which has JAX's gradients.",
    ),
    (
        lambda it: it.package == "keras",
        "A model of Keras takes no tensors of torch: use keras_model(model), which has its backend's gradients.",
    ),
    (
        lambda it: it.package in ("tensorflow", "tf_keras"),
        "A model of {package} takes no tensors of torch: use tf_model(model), which has TensorFlow's gradients.",
    ),
    (
        lambda it: it.foreign and it.says("traced array"),
        "It branches on values, or calls NumPy: write it in jax.numpy throughout, or give jit=False for the branches.",
    ),
    (
        lambda it: it.foreign and it.is_image(),
        "If it takes the channels last, give channels_last=True; if it takes batches of one size, batch=.",
    ),
    (
        lambda it: it.decodes and it.says("must be Tensor"),
        "It takes tensors: wrap it in a function that makes them of these values, "
        "lambda texts: model(**tokenizer(list(texts), padding=True, return_tensors='pt')).logits for texts.",
    ),
    (
        lambda it: it.says("NaN") and it.raised(ValueError),
        "Fill the missing values in a step of the pipeline (SimpleImputer), or leave such samples out.",
    ),
    (
        lambda it: it.wrapped and it.raised(TypeError, AttributeError),
        "Its function gets a float32 array of NumPy: begin with x = torch.from_numpy(x) where it is written for "
        "tensors, or give the torch module as it is.",
    ),
    (
        lambda it: it.raised(RuntimeError) and it.says("on the same device"),
        "The inputs are on {device}, and something of it is not: register its tensors as parameters or buffers, "
        "move the model there yourself, or name the device where it works, --robust-device=cpu, say.",
    ),
    (
        lambda it: it.raised(TypeError) and it.says("positional argument"),
        "If it is a function that makes the model, call it; else wrap it in a function of the batch alone.",
    ),
    (
        lambda it: it.is_image() and it.shape[3] in _CHANNELS and it.shape[1] not in _CHANNELS[:2],
        "Its channels come last: give x.permute(0, 3, 1, 2), or wrap the model if it takes them so.",
    ),
    (
        lambda it: it.is_image() and it.shape[1] == 1,
        "If it takes three channels, repeat the grey one: x.expand(-1, 3, -1, -1).",
    ),
    (
        lambda it: it.raised(RuntimeError, ValueError, IndexError),
        "Give samples in the shape that it was trained on, or wrap it in a function that brings them there.",
    ),
    (lambda _: True, "Call it by itself, model(torch.rand{shape}), and mend what it says."),
)


def remedy(model: Classifier, x: Tensor, error: Exception) -> str:
    """Return the remedy for a model that raised an error for a batch x (B, *S)."""
    failed = FailedPass(
        error,
        tuple(x.shape),
        package=type(model.call).__module__.partition(".")[0],
        wrapped=getattr(model.call, "__module__", "") == "robustest.models.classifier",
        foreign=type(model.call).__module__ == "robustest.models.frameworks",
        decodes=model.decode is not None,
    )
    words = next(words for fits, words in _REMEDIES if fits(failed))
    return words.format(package=failed.package, device=x.device, shape=failed.shape)
