"""The loss around a point in weight space, along its gradient (Santurkar et al., NeurIPS 2018, section 3).

A step of size eta moves each tensor by eta of its own norm, against its own gradient. Gradients are compared in the same
units: each tensor's is multiplied with the tensor's norm. So whatever multiplies a tensor that a normalisation follows, and
does not change the function, does not change what is measured either. The absolute beta is kept beside it to be seen.

A probe of n sizes takes n + 3 gradients, one fewer where a net has one layer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustest.errors import ModelError

Loss = Callable[[Any, Any], Tensor]
Tensors = list[Tensor]

_TINY = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was seen around one point, on one batch.

    Attributes:
        loss: at the point.
        loss_range: the largest less the smallest loss along the relative steps, the point included.
        cosine: the least between the point's gradient and one along the steps, in -1..1.
        beta: the largest change of the gradient along the steps, over the distance, in relative units.
        absolute_beta: the change of the gradient over the distance for one plain step, in units of the weights.
        shift: internal covariate shift: the change of a layer's gradient once the layers before it have made a relative
            step, over its length; NaN where no layer has others before it.
        shift_cosine: the cosine between the two; NaN likewise.
    """

    loss: float
    loss_range: float
    cosine: float
    beta: float
    absolute_beta: float
    shift: float
    shift_cosine: float


def probe(
    net: nn.Module, loss: Loss, x: Any, y: Any, *, etas: Sequence[float], learning_rate: float, number: int = 0
) -> Probe:
    """Look at the loss around the weights that a net has; weights, buffers and random states are put back.

    Args:
        net: in the mode that it is trained in.
        loss: maps outputs and targets to a scalar.
        x, y: a batch.
        etas: sizes of relative steps, rising.
        learning_rate: of the plain step.
        number: of the probe: each looks at the covariate shift of another layer, by turns.

    Raises:
        ModelError: a loss or a gradient is not finite.
    """
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    with _put_back(net, weights) as at:
        return _look(weights, at, _Asking(net, loss, x, y, weights), etas, learning_rate, number)


@dataclass(frozen=True, slots=True)
class _Asking:
    """A loss and its gradient at the weights that a net has now."""

    net: nn.Module
    loss: Loss
    x: Any
    y: Any
    weights: Tensors

    def __call__(self) -> tuple[float, Tensors]:
        return gradient_of(self.net, self.loss, self.x, self.y, self.weights)


def gradient_of(net: nn.Module, loss: Loss, x: Any, y: Any, weights: Tensors) -> tuple[float, Tensors]:
    """The loss of a batch and its gradient by each weight; no `.grad` is written.

    Raises:
        ModelError: the loss is no scalar with a gradient, or not finite.
    """
    with torch.enable_grad():
        value = loss(net(x), y)
        if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
            raise ModelError("Expected the loss to give a scalar tensor with a gradient. Take the mean over the batch.")
        found = torch.autograd.grad(value, weights, allow_unused=True)
    gradient = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
    level = float(value.detach())
    if not np.isfinite(level) or not all(bool(torch.isfinite(g).all()) for g in gradient):
        raise ModelError(
            f"Expected finite losses and gradients but got a loss of {level:.4g}. The training diverges, or a step "
            "along the gradient leaves what float32 holds: lower learning_rate=, or the largest of etas=."
        )
    return level, gradient


def _look(
    weights: Tensors, at: Callable[[], None], ask: _Asking, etas: Sequence[float], learning_rate: float, number: int
) -> Probe:
    start = [weight.detach().clone() for weight in weights]
    level, gradient = ask()
    norms = [weight.norm() for weight in start]
    relative = _times(gradient, norms)
    steps = [n * g / g.norm().clamp(min=_TINY) for n, g in zip(norms, gradient, strict=True)]
    moving = sum(bool(step.any()) for step in steps)
    losses, cosines, betas = [level], [1.0], [0.0]
    for eta in etas:
        at()
        _move(weights, start, steps, eta)
        value, there = ask()
        there = _times(there, norms)
        losses.append(value)
        cosines.append(_cosine(relative, there))
        betas.append(_apart(relative, there) / (eta * sqrt(max(1, moving))))
    at()
    _move(weights, start, gradient, learning_rate)
    _, there = ask()
    absolute = _apart(gradient, there) / max(_TINY, learning_rate * _length(gradient))
    at()
    shift, shift_cosine = _shift(weights, start, steps, gradient, ask, etas[0], number)
    return Probe(
        loss=level,
        loss_range=max(losses) - min(losses),
        cosine=min(cosines),
        beta=max(betas),
        absolute_beta=absolute,
        shift=shift,
        shift_cosine=shift_cosine,
    )


def _shift(
    weights: Tensors, start: Tensors, steps: Tensors, gradient: Tensors, ask: _Asking, eta: float, number: int
) -> tuple[float, float]:
    """Of one of the layers that have others before them: how far its gradient changes where those have moved."""
    layers = [i for i, weight in enumerate(weights) if weight.ndim >= 2][1:]  # in the order of their registration
    if not layers:
        return float("nan"), float("nan")
    layer = layers[number % len(layers)]
    _move(weights[:layer], start, steps, eta)
    _, there = ask()
    before, after = [gradient[layer]], [there[layer]]
    return _apart(before, after) / max(_TINY, _length(before)), _cosine(before, after)


def _move(weights: Tensors, start: Tensors, steps: Tensors, eta: float) -> None:
    with torch.no_grad():
        for weight, origin, step in zip(weights, start, steps, strict=False):
            weight.copy_(origin - eta * step)


def _times(tensors: Tensors, factors: Tensors) -> Tensors:
    return [factor * tensor for tensor, factor in zip(tensors, factors, strict=True)]


def _length(a: Tensors) -> float:
    return sqrt(sum(float(t.double().square().sum()) for t in a))


def _apart(a: Tensors, b: Tensors) -> float:
    return _length([one - other for one, other in zip(a, b, strict=True)])


def _cosine(a: Tensors, b: Tensors) -> float:
    dot = sum(float((one.double() * other.double()).sum()) for one, other in zip(a, b, strict=True))
    return dot / max(_TINY, _length(a) * _length(b))


@contextmanager
def _put_back(net: nn.Module, weights: Tensors) -> Iterator[Callable[[], None]]:
    """Inside, what is yielded puts buffers and random states back, so that each pass is of one function; at the end
    weights are put back too."""
    start = [weight.detach().clone() for weight in weights]
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    cuda = {weight.device for weight in weights if weight.device.type == "cuda"}
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in cuda)]
    python, arrays = random.getstate(), np.random.get_state()

    def again() -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(cuda, states[1:], strict=True):
            torch.cuda.set_rng_state(state, device)
        random.setstate(python)
        np.random.set_state(arrays)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
            for weight, value in zip(weights, start, strict=True):
                weight.copy_(value)

    try:
        yield again
    finally:
        again()
