"""The interface of a training method: the order of samples, and the steps on a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from robustest import rng
from robustest.packs import Chunk

if TYPE_CHECKING:
    from robustest_training.repair.trainer import Trainer


class Method(Protocol):
    """A training method.

    A method that goes through every sample once an epoch, without state, defines name, settings and `learn`, and
    `identity` if its fields do not cover all.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        pass

    @property
    def settings(self) -> Mapping[str, Any]:
        pass

    @property
    def identity(self) -> object:
        """Everything that the training depends on besides recipe, model and data, for the key of a checkpoint."""
        return self

    @property
    def state(self) -> dict[str, Tensor]:
        """Tensors that change during training, in place."""
        return {}

    def order(self, epoch: int, n: int, seed: int) -> Tensor:
        """Return (M,) int64 positions in the data, in the order of the epoch."""
        return shuffled(epoch, n, seed)

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        """Take one or more steps on a batch, whose keys are of this epoch."""


def shuffled(epoch: int, n: int, seed: int) -> Tensor:
    """Return (n,) int64: every sample once, in an order drawn for the epoch."""
    return torch.argsort(rng.fold(rng.fold(rng.keys(seed, torch.arange(n)), "training order"), epoch), stable=True)


def drawn_evenly(key: Tensor, use: str, members: Tensor, sizes: Tensor) -> Tensor:
    """Return (M,) int64 positions: draws of a group, and then of one of its members (N,), with replacement.

    Args:
        key: (M, 2) one for each draw.
        sizes: (G,) int64 of the groups, each >= 1.
    """
    which = rng.integers(rng.fold(key, use), (1,), len(sizes)).flatten()
    place = rng.integers(rng.fold(key, "member"), (1,), sizes[which].unsqueeze(1)).flatten()
    return members[(sizes.cumsum(0) - sizes)[which] + place]
