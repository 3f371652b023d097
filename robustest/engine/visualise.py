"""Inputs that drive a feature up, and inputs whose features are those of another.

Engstrom et al., "Adversarial Robustness as a Prior for Learned Representations" (2019), sections 4 and 5: gradient
steps from grey with a little noise, anywhere inside the bounds. Nothing but the network's own gradient keeps the
result natural, so what a standard network gives looks like noise, and what a robust one gives like the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustest import rng
from robustest.engine.ascent import ascend
from robustest.engine.evaluator import Evaluator
from robustest.engine.objectives import feature, towards_features
from robustest.threats import L2, Bounds

_NOISE = 0.05
"""Standard deviation of the noise on grey, in widths of the bounds (the paper's is 1/20)."""


def grey(key: Tensor, shape: Sequence[int], bounds: Bounds) -> Tensor:
    """(N, *shape) starts: the middle of the bounds, with a little noise of each key (N,)."""
    low, high = bounds
    noise = rng.normal(rng.fold(key, "grey"), shape)
    return ((low + high) / 2 + _NOISE * (high - low) * noise).clamp(low, high)


def maximised(read: Evaluator, start: Tensor, index: Tensor, *, bounds: Bounds, steps: int) -> Tensor:
    """Inputs (N, *S) that drive one feature each as high as gradient steps take it.

    Args:
        read: an evaluator that answers with features (B, D).
        start: (N, *S) inside the bounds.
        index: (N,) int64 features.
        bounds: the input's bounds.
        steps: gradient steps, >= 1.

    Raises:
        ModelError: the features have no gradient, or one that is not finite.
    """
    return ascend(read, everywhere(start, bounds), start, feature(index), bounds=bounds, steps=steps, falling=True)


def inverted(
    read: Evaluator, start: Tensor, aim: Tensor, *, bounds: Bounds, steps: int, step_size: float | None = None
) -> Tensor:
    """Inputs (N, *S) whose features come close to those aimed at (N, D).

    Args:
        read, start, bounds, steps: as for `maximised`.
        aim: (N, D) features.
        step_size: Euclidean length of the first step, in input units; None lets the steps span the bounds.

    Raises:
        ModelError: as for `maximised`.
    """
    return ascend(
        read,
        everywhere(start, bounds),
        start,
        towards_features(aim),
        bounds=bounds,
        steps=steps,
        step_size=step_size,
        falling=True,
    )


def everywhere(x: Tensor, bounds: Bounds) -> L2:
    """The Euclidean ball that holds everything inside the bounds, for steps that follow the gradient's direction."""
    return L2((bounds[1] - bounds[0]) * max(1, torch.Size(x.shape[1:]).numel()) ** 0.5)
