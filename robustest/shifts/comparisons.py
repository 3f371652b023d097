"""Comparisons that answer with 1.0 and 0.0: several times faster on a CPU than booleans that are then converted."""

from __future__ import annotations

import torch
from torch import Tensor


def above(x: Tensor, limit: Tensor | float) -> Tensor:
    """1.0 where x > limit."""
    return torch.gt(x, limit, out=torch.empty_like(x))


def at_least(x: Tensor, limit: Tensor | float) -> Tensor:
    """1.0 where x >= limit."""
    return torch.ge(x, limit, out=torch.empty_like(x))


def below(x: Tensor, limit: Tensor | float) -> Tensor:
    """1.0 where x < limit."""
    return torch.lt(x, limit, out=torch.empty_like(x))
