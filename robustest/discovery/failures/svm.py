"""Many weighted linear support vector machines on the same rows, solved together.

Each minimises 1/2 |w|^2 + sum_i c_i max(0, 1 - t_i w.x_i)^2, the squared hinge (Chapelle, Neural Computation 2007),
with the rows x of all and targets t and costs c of its own. So the folds and permutations of a study are one batch of
matrix products.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CHECK_EVERY = 10


def fit_machines(
    rows: Tensor, targets: Tensor, costs: Tensor, *, tolerance: float = 1e-3, max_steps: int = 500
) -> Tensor:
    """Weights (B, D) of B machines, by Nesterov's method for strongly convex functions.

    Args:
        rows: (N, D); append a column of ones for a bias, which is then penalised as liblinear's is.
        targets: (B, N) of -1 and 1.
        costs: (B, N) >= 0; 0 leaves a row out.
        tolerance: the gradient's norm at which a machine is done, as a share of its norm at 0.
        max_steps: steps at most.
    """
    # The largest curvature of a machine, by the larger of two bounds' smaller: all rows alike, or its costs' sum.
    largest = (2 * costs.amax(1) * top_eigenvalue(rows)).minimum(2 * costs @ rows.square().sum(1))
    curvature = (1 + largest).unsqueeze(1)
    root = curvature.sqrt()
    beta = (root - 1) / (root + 1)
    weight = rows.new_zeros(len(targets), rows.shape[1])
    ahead, goal = weight, None
    for step in range(max_steps):
        gradient = ahead - 2 * ((costs * targets) * (1 - targets * (ahead @ rows.T)).clamp_(min=0)) @ rows
        if step % _CHECK_EVERY == 0:
            norm = gradient.norm(dim=1)
            goal = tolerance * norm if goal is None else goal
            if bool((norm <= goal).all()):
                break
        after = ahead - gradient / curvature
        ahead, weight = after + beta * (after - weight), after
    return weight


def top_eigenvalue(rows: Tensor, steps: int = 20) -> float:
    """An upper estimate of the largest eigenvalue of rows.T @ rows: power steps, a tenth added."""
    vector = rows.new_ones(rows.shape[1]) / math.sqrt(rows.shape[1])
    size = 0.0
    for _ in range(steps):
        vector = rows.T @ (rows @ vector)
        size = float(vector.norm())
        if size == 0:
            return 0.0
        vector = vector / size
    return 1.1 * size


def balanced(targets: Tensor, used: Tensor) -> Tensor:
    """Costs (B, N) that give both sides of each machine the same weight, and sum to its used rows.

    Args:
        targets: (B, N) of -1 and 1.
        used: (B, N) of 0 and 1; both sides of every machine are used.
    """
    total = used.sum(1, keepdim=True)
    costs = torch.zeros_like(used)
    for side in (-1, 1):
        members = used * (targets == side)
        costs += members * (total / (2 * members.sum(1, keepdim=True).clamp(min=1)))
    return costs
