"""The loss around a point in weight space, along its gradient (Santurkar et al., NeurIPS 2018, section 3).

A step of size eta moves each tensor by eta of its norm, against its gradient; gradients are compared after
multiplication by their tensor's norm. So rescaling a tensor under a normalisation, which leaves the function as it is,
changes no measure but the absolute beta. A probe of n sizes takes n + 3 gradients.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustest.errors import ModelError
from robustest.packs import random_states

Loss = Callable[[Any, Any], Tensor]

_TINY = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Measures around one point, on one batch."""

    loss: float  # at the point
    loss_range: float  # largest minus smallest loss along the relative steps, the point included
    cosine: float  # least cosine between the point's gradient and one along the steps, -1..1
    beta: float  # largest change of the gradient along the steps, over the distance, in relative units
    absolute_beta: float  # the change of the gradient over the distance for one plain step, in units of the weights
    # Internal covariate shift: relative change of a layer's gradient after a relative step of the layers before; NaN
    # without any.
    shift: float
    shift_cosine: float  # cosine between the two gradients; NaN without any


def probe(
    net: nn.Module, loss: Loss, x: Any, y: Any, *, etas: Sequence[float], learning_rate: float, number: int = 0
) -> Probe:
    """Probe the loss around the weights of a net; weights, buffers and random states are restored.

    Args:
        etas: sizes of relative steps, rising.
        learning_rate: of the plain step.
        number: of the probe: each measures the shift of another layer, by turns.

    Raises:
        ModelError: a loss or a gradient is not finite.
    """
    weights = trained_weights(net)
    with _put_back(net, weights) as at:
        return _look(_Point.of(net, loss, x, y, weights), at, etas, learning_rate, number)


def gradient_of(net: nn.Module, loss: Loss, x: Any, y: Any, weights: list[Tensor]) -> tuple[float, Tensor]:
    """Return the loss of a batch and its gradient (D,) by all weights in a row; no `.grad` is written.

    Raises:
        ModelError: the loss is no scalar with a gradient, or not finite.
    """
    with torch.enable_grad():
        value = loss(net(x), y)
        if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
            raise ModelError("Expected the loss to give a scalar tensor with a gradient. Take the mean over the batch.")
        found = torch.autograd.grad(value, weights, allow_unused=True)
    parts = [w.new_zeros(w.numel()) if g is None else g.reshape(-1) for w, g in zip(weights, found, strict=True)]
    gradient, level = torch.cat(parts), float(value.detach())
    if not isfinite(level) or not isfinite(float(gradient.sum())):  # no sum with NaN or infinite terms is finite
        raise ModelError(
            f"Expected finite losses and gradients but got a loss of {level:.4g}. The training diverges, or a step "
            "along the gradient leaves what float32 holds: lower learning_rate=, or the largest of etas=."
        )
    return level, gradient


def trained_weights(net: nn.Module) -> list[Tensor]:
    """Return the parameters that require a gradient, in the order of their registration."""
    return [weight for weight in net.parameters() if weight.requires_grad]


def in_a_row(weights: list[Tensor]) -> Tensor:
    """Return (D,) a copy of all values of some tensors."""
    return torch.cat([weight.detach().reshape(-1) for weight in weights])


def put(weights: list[Tensor], row: Tensor) -> None:
    """Set weights to the values of a row (D,)."""
    at = 0
    with torch.no_grad():
        for weight in weights:
            weight.copy_(row[at : at + weight.numel()].view_as(weight))
            at += weight.numel()


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """A net's weights, one row for all: many small tensors would cost more than the net."""

    ask: Callable[[], tuple[float, Tensor]]  # the loss and its gradient (D,) at the present weights
    weights: list[Tensor]
    start: Tensor  # (D,) the first values
    norms: Tensor  # (D,) the norm of the tensor that each belongs to

    @classmethod
    def of(cls, net: nn.Module, loss: Loss, x: Any, y: Any, weights: list[Tensor]) -> _Point:
        start = in_a_row(weights)
        return cls(lambda: gradient_of(net, loss, x, y, weights), weights, start, cls.by_tensor(weights, start))

    @staticmethod
    def by_tensor(weights: list[Tensor], row: Tensor) -> Tensor:
        sizes = [weight.numel() for weight in weights]
        norms = torch.stack([part.norm() for part in torch.split(row, sizes)])
        return norms.repeat_interleave(torch.tensor(sizes, device=row.device))


def _look(point: _Point, at: Callable[[], None], etas: Sequence[float], learning_rate: float, number: int) -> Probe:
    level, gradient = point.ask()
    relative = point.norms * gradient
    own = point.by_tensor(point.weights, gradient)
    steps = point.norms * gradient / own.clamp(min=_TINY)
    # Tensors that move: each makes a step of its norm, so the whole step is sqrt(moving) * eta long in relative units.
    moving = sum(bool(part.any()) for part in torch.split(steps, [weight.numel() for weight in point.weights]))
    losses, cosines, betas = [level], [1.0], [0.0]
    for eta in etas:
        at()
        put(point.weights, point.start - eta * steps)
        value, there = point.ask()
        there = point.norms * there
        losses.append(value)
        cosines.append(_cosine(relative, there))
        betas.append(float((relative - there).norm()) / (eta * sqrt(max(1, moving))))
    at()
    put(point.weights, point.start - learning_rate * gradient)
    there = point.ask()[1]
    absolute = float((gradient - there).norm()) / max(_TINY, learning_rate * float(gradient.norm()))
    at()
    put(point.weights, point.start)
    shift, shift_cosine = _shift(point, point.start - etas[0] * steps, gradient, number)
    return Probe(
        loss=level,
        loss_range=max(losses) - min(losses),
        cosine=min(cosines),
        beta=max(betas),
        absolute_beta=absolute,
        shift=shift,
        shift_cosine=shift_cosine,
    )


def _shift(point: _Point, moved: Tensor, gradient: Tensor, number: int) -> tuple[float, float]:
    # Weights of two axes or more are layers; the first has none before it.
    layers = [i for i, weight in enumerate(point.weights) if weight.ndim >= 2][1:]  # in the order of registration
    if not layers:
        return float("nan"), float("nan")
    layer = layers[number % len(layers)]
    put(point.weights[:layer], moved)
    first = sum(weight.numel() for weight in point.weights[:layer])
    part = slice(first, first + point.weights[layer].numel())
    before, after = gradient[part], point.ask()[1][part]
    return float((before - after).norm()) / max(_TINY, float(before.norm())), _cosine(before, after)


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / max(_TINY, float(a.norm()) * float(b.norm()))


@contextmanager
def _put_back(net: nn.Module, weights: list[Tensor]) -> Iterator[Callable[[], None]]:
    start = in_a_row(weights)
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    here, there = torch.get_rng_state(), random_states()
    python, arrays = random.getstate(), np.random.get_state()

    # Before each pass, buffers and torch's generators are restored, so that all passes are of one function.
    def again() -> None:
        torch.set_rng_state(here)
        there()
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)

    try:
        yield again
    finally:
        again()
        put(weights, start)
        random.setstate(python)
        np.random.set_state(arrays)
