"""What `ascend` climbs: functions of a model's outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Objective = Callable[[Tensor, slice], Tensor]
"""Maps the model's outputs (b, K) for a part of the rows to (b,) values to climb; the slice says which part."""


def away_from(y: Tensor) -> Objective:
    """The cross-entropy of classes y (N,)."""

    def objective(logits: Tensor, part: slice) -> Tensor:
        return F.cross_entropy(logits, y[part], reduction="none")

    return objective


def towards_class(y: Tensor) -> Objective:
    """The cross-entropy of classes y (N,), negated."""

    def objective(logits: Tensor, part: slice) -> Tensor:
        return -F.cross_entropy(logits, y[part], reduction="none")

    return objective


def towards_features(aim: Tensor) -> Objective:
    """The distance of features from those aimed at (N, D), relative to their length, negated."""

    def objective(features: Tensor, part: slice) -> Tensor:
        return -relative_distance(features, aim[part])

    return objective


def unit(which: Tensor) -> Objective:
    """The value of one output a row, (N,) int64."""

    def objective(outputs: Tensor, part: slice) -> Tensor:
        return outputs.gather(1, which[part].unsqueeze(1)).squeeze(1)

    return objective


def lead(y: Tensor, runner_up: Tensor) -> Objective:
    """The logit of y (N,) minus that of its runner-up (N,)."""

    def objective(logits: Tensor, part: slice) -> Tensor:
        both = torch.stack([y[part], runner_up[part]], 1)
        pair = logits.gather(1, both)
        return pair[:, 0] - pair[:, 1]

    return objective


def relative_distance(features: Tensor, aim: Tensor) -> Tensor:
    """(N,) Euclidean distance of features (N, D) from those aimed at, over the length of the latter."""
    apart: Tensor = torch.linalg.vector_norm(features - aim, dim=1)
    scale: Tensor = torch.linalg.vector_norm(aim, dim=1).clamp(min=torch.finfo(aim.dtype).tiny ** 0.5)
    return apart / scale
