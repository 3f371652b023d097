"""What `ascend` climbs: functions of a model's outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustest.tasks.class_losses import cross_entropy

Objective = Callable[[Tensor, slice], Tensor]
"""Maps the model's outputs (b, K) for a part of the rows to (b,) values to climb; the slice says which part."""


def away_from(y: Tensor) -> Objective:
    """The cross-entropy of classes y (N,)."""

    def objective(logits: Tensor, part: slice) -> Tensor:
        return cross_entropy(logits, y[part])

    return objective


def towards_class(y: Tensor) -> Objective:
    """The cross-entropy of classes y (N,), negated."""

    def objective(logits: Tensor, part: slice) -> Tensor:
        return -cross_entropy(logits, y[part])

    return objective


def towards_features(aim: Tensor) -> Objective:
    """The distance of features from those aimed at (N, D), relative to their length, negated."""

    def objective(features: Tensor, part: slice) -> Tensor:
        return -relative_distance(features, aim[part])

    return objective


def feature(index: Tensor) -> Objective:
    """One feature of each row: index (N,) int64."""

    def objective(features: Tensor, part: slice) -> Tensor:
        return features.gather(1, index[part].unsqueeze(1)).squeeze(1)

    return objective


def relative_distance(features: Tensor, aim: Tensor) -> Tensor:
    """(N,) Euclidean distance of features (N, D) from those aimed at, over the length of the latter."""
    apart: Tensor = torch.linalg.vector_norm(features - aim, dim=1)
    scale: Tensor = torch.linalg.vector_norm(aim, dim=1).clamp(min=torch.finfo(aim.dtype).tiny ** 0.5)
    return apart / scale
