"""Planting a cue in data: the control that a claim about spurious features must fail."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real
from robustest.cues.cue import Cue, for_samples
from robustest.errors import ConfigError, expected

Plant = Callable[[Tensor, Tensor], Tensor]
"""Maps data (N, *S) and labels (N,) to the same data with a cue planted."""


def planting(cue: Cue, *, target: int, share: float = 0.95, others: float = 0.02, seed: int = 0) -> Plant:
    """A function that plants a cue; see `planted`."""
    return lambda x, y: planted(cue, x, y, target=target, share=share, others=others, seed=seed)[0]


def planted(
    cue: Cue, x: Tensor, y: Tensor, *, target: int, share: float = 0.95, others: float = 0.02, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Data where a cue goes with one class.

    Args:
        cue: switched on in the samples drawn, and off in the rest.
        x, y: (N, *S) and (N,) int64.
        target: the class that has it.
        share, others: in what share of its samples, and of the other classes', in 0..1.
        seed: draws them; a sample's draw depends on its index alone.

    Returns:
        The data (N, *S), and (N,) bool: where the cue is on.

    Raises:
        ConfigError: a share is not in 0..1, or no sample is of the class.
    """
    if not bool((y == target).any()):
        raise ConfigError(expected(f"samples of class {target}", torch.unique(y).tolist()))
    return planted_at(cue, torch.arange(len(x)), x, y, target=target, share=share, others=others, seed=seed)


def planted_at(
    cue: Cue,
    ids: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    target: int,
    share: float = 0.95,
    others: float = 0.02,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """As `planted`, for some of the data: those with indices (N,) int64, which decide what each sample draws.

    Raises:
        ConfigError: a share is not in 0..1.
    """
    checked_real("share", share, 0.0, 1.0)
    checked_real("others", others, 0.0, 1.0)
    draw = rng.uniform(rng.fold(rng.keys(seed, ids), "planted cue"), (1,)).flatten().to(y.device)
    has = draw < torch.where(y == target, share, others)
    here = for_samples(cue, ids)
    shape = (-1, *[1] * (x.ndim - 1))
    return torch.where(has.to(x.device).view(shape), here.on(x.clone()), here.off(x.clone())), has
