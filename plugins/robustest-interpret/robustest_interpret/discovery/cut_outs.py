"""Marks whose place or outline changes: parts of images, pasted into others at their own places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutOut:
    """Pixels cut from other images, pasted at their own places: marks whose place or outline changes.

    Args:
        pool: (M, C, H, W) whole images, of which each sample gets one.
        masks: (M, H, W) bool, True at the pixels that are pasted.
    """

    pool: Tensor
    masks: Tensor
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        if self.pool.ndim != 4 or not len(self.pool) or not bool(self.pool.isfinite().all()):
            raise ConfigError(expected("pool to be a finite tensor (M, C, H, W)", tuple(self.pool.shape)))
        shape = (len(self.pool), *self.pool.shape[2:])
        if self.masks.dtype != torch.bool or self.masks.shape != shape:
            raise ConfigError(expected(f"masks {shape} of bool", self.masks))

    @property
    def name(self) -> str:
        return f"part of {round(float(self.masks.double().sum((1, 2)).median()))} pixels cut from images"

    def on(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.pool.shape[1:]:
            raise ConfigError(expected(f"images of shape {tuple(self.pool.shape[1:])}", tuple(x.shape[1:])))
        chosen = rng.integers(
            rng.fold(rng.keys(self.seed, torch.arange(len(x)) if self.ids is None else self.ids.cpu()), "cut-out"),
            (),
            len(self.pool),
        ).cpu()
        return torch.where(self.masks[chosen].unsqueeze(1).to(x.device), self.pool[chosen].to(x), x)

    def off(self, x: Tensor) -> Tensor:
        return x

    def at(self, ids: Tensor) -> CutOut:
        return replace(self, ids=ids)
