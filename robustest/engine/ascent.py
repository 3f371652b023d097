"""A fixed number of steps along the gradient, for every row alike: for training, and for looking at features.

Nothing is searched for here, so nothing ends early: a training example that is misclassified already is made worse
still, and a picture of a feature is driven on. Claims use `robustest.engine.searches.search` instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.engine.evaluator import Evaluator
from robustest.engine.objectives import Objective
from robustest.engine.searches.rows import pick
from robustest.threats import L1, Bounds, Rows, Threat, filled, per_row


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
    """Inputs (N, *S) inside the threat's region where an objective is larger.

    Args:
        evaluator: makes the model's passes.
        threat: what can be reached from x.
        x: (N, *S) on the evaluator's device, inside the bounds.
        objective: what to climb.
        bounds: the input's bounds.
        steps: gradient steps, >= 1.
        step_size: length of a step in input units, or in steps of the threat's `ascent` where a proposal is no input;
            None means 2 * stride / steps, so that the steps together span the region.
        key: (N,) int64 for a random start inside the region; None starts at x.
        falling: whether the step's length falls linearly to 0, to come to rest at a maximum inside the region.
    """
    region = threat.region(x, bounds)
    z = threat.origin(region).clone() if key is None else threat.start(region, key)
    size = threat.stride(region) * (2 / steps) if step_size is None else torch.full_like(region["span"], step_size)
    for step in range(steps):
        gradient = _slope(evaluator, threat, region, z, objective)
        z = advanced(threat, region, z, gradient, size * (1 - step / steps) if falling else size)
    return threat.render(z, region).detach()


def advanced(threat: Threat, region: Rows, z: Tensor, gradient: Tensor, size: Tensor) -> Tensor:
    """The proposals after one step.

    Args:
        threat, region: where proposals may be.
        z, gradient: (N, *Z) proposals, and what to climb there.
        size: (N,) the step's length.
    """
    if isinstance(threat, L1):  # the steepest step is along one element, and often past its bound
        return threat.project(z + filled(gradient, z, region, size), region)
    return threat.project(z + per_row(size, z) * threat.ascent(gradient), region)


def _slope(evaluator: Evaluator, threat: Threat, region: Rows, z: Tensor, objective: Objective) -> Tensor:
    def render(point: Tensor, part: slice) -> Tensor:
        return threat.render(point, region if len(point) == len(z) else pick(region, part))

    return evaluator.gradient(z, render, objective)[1]
