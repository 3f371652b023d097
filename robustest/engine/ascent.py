"""A fixed number of gradient steps for every row, for training and for pictures of features."""

#     z_(t+1) = project(z_t + a_t * ascent(g_t)),  g_t the gradient of an `Objective` at z_t,  a_t = a or a (1 - t / T)
#
# No row stops early: a training example that is already misclassified is moved further. Claims use
# `robustest.engine.search` instead.
#
# Pictures (Engstrom et al., "Adversarial Robustness as a Prior for Learned Representations", 2019, sections 4 and 5)
# start from grey with a little noise and may go anywhere inside the bounds. Nothing but the network's gradient keeps
# the result natural, so a standard network's pictures look like noise, and a robust one's like the input.

from __future__ import annotations

import torch
from torch import Tensor

from robustest.engine.evaluator import Evaluator, Objective
from robustest.engine.search import pick
from robustest.threats import L1, L2, Bounds, Rows, Threat, filled, per_row, rendered


def towards_features(aim: Tensor) -> Objective:
    """Return the objective "negated relative distance of features from an aim (N, D)"."""

    def objective(features: Tensor, part: slice) -> Tensor:
        return -relative_distance(features, aim[part])

    return objective


def feature(index: Tensor) -> Objective:
    """Return the objective "one feature of each row", index (N,) int64."""

    def objective(features: Tensor, part: slice) -> Tensor:
        return features.gather(1, index[part].unsqueeze(1)).squeeze(1)

    return objective


def relative_distance(features: Tensor, aim: Tensor) -> Tensor:
    """Return (N,) Euclidean distances of features (N, D) from an aim, relative to its length."""
    apart: Tensor = torch.linalg.vector_norm(features - aim, dim=1)
    scale: Tensor = torch.linalg.vector_norm(aim, dim=1).clamp(min=torch.finfo(aim.dtype).tiny ** 0.5)
    return apart / scale


def ascend(
    evaluator: Evaluator,
    threat: Threat,
    x: Tensor,
    objective: Objective,
    *,
    bounds: Bounds,
    steps: int,
    step_size: float | None = None,
    key: Tensor | None = None,
    falling: bool = False,
) -> Tensor:
    """Return inputs (N, *S) inside the threat's region where an objective is larger.

    Args:
        threat: the region around x, (N, *S) on the evaluator's device.
        steps: gradient steps, >= 1.
        step_size: in input units, or in steps of the threat's `ascent` where a proposal is no input; None means
            2 * stride / steps, so that the steps together span the region.
        key: (N,) int64 for a random start inside the region; None starts at x.
        falling: the step's length falls linearly to 0, to come to rest at a maximum inside the region.
    """
    region = threat.region(x, bounds)
    z = threat.origin(region).clone() if key is None else threat.start(region, key)
    size = threat.stride(region) * (2 / steps) if step_size is None else torch.full_like(region["span"], step_size)

    def render(point: Tensor, part: slice) -> Tensor:
        return rendered(threat, point, region if len(point) == len(z) else pick(region, part))

    for step in range(steps):
        gradient = evaluator.gradient(z, render, objective)[1]
        z = advanced(threat, region, z, gradient, size * (1 - step / steps) if falling else size)
    return rendered(threat, z, region).detach()


def advanced(threat: Threat, region: Rows, z: Tensor, gradient: Tensor, size: Tensor) -> Tensor:
    """Return the proposals z (N, *Z) after one step of length `size` (N,) along the gradient (N, *Z)."""
    if isinstance(threat, L1):  # the steepest step is along one element, and often past its bound
        return threat.project(z + filled(gradient, z, region, size), region)
    return threat.project(z + per_row(size, z) * threat.ascent(gradient), region)


# Pictures


def maximised(read: Evaluator, start: Tensor, index: Tensor, *, bounds: Bounds, steps: int) -> Tensor:
    """Return inputs (N, *S) that drive one feature each, index (N,) int64, as high as gradient steps take it.

    Args:
        read: an evaluator that answers with features (B, D).
        start: (N, *S) inside the bounds.
        steps: >= 1.

    Raises:
        ModelError: the features have no gradient, or one that is not finite.
    """
    return ascend(read, everywhere(start, bounds), start, feature(index), bounds=bounds, steps=steps, falling=True)


def inverted(
    read: Evaluator, start: Tensor, aim: Tensor, *, bounds: Bounds, steps: int, step_size: float | None = None
) -> Tensor:
    """Return inputs (N, *S) whose features come close to an aim (N, D); see `maximised`.

    Args:
        step_size: Euclidean length of the first step, in input units; None lets the steps span the bounds.
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
    """Return the Euclidean ball that holds everything inside the bounds."""
    # L2, because its steps follow the gradient's direction.
    return L2((bounds[1] - bounds[0]) * max(1, torch.Size(x.shape[1:]).numel()) ** 0.5)
