"""What a training method is: what it goes through, and what it does with a batch."""

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
    """What is trained on, and how.

    A method that goes through every sample once an epoch, and keeps nothing beside the model, writes name, settings
    and `learn`, and `identity` where its own fields do not tell all.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """In words, for the log."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings as JSON types."""

    @property
    def identity(self) -> object:
        """What a checkpoint is of: everything that the training depends on besides recipe, model and data."""
        return self

    @property
    def state(self) -> dict[str, Tensor]:
        """Tensors of its own that change while it trains, changed in place; empty where there are none."""
        return {}

    def order(self, epoch: int, n: int, seed: int) -> Tensor:
        """(M,) int64 positions in the data: what an epoch goes through, and in which order."""
        return shuffled(epoch, n, seed)

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        """Take one or more steps on a batch, whose keys are of this epoch."""


def shuffled(epoch: int, n: int, seed: int) -> Tensor:
    """(n,) int64: every sample once, in an order of the epoch's own."""
    return torch.argsort(rng.fold(rng.fold(rng.keys(seed, torch.arange(n)), "training order"), epoch), stable=True)


def drawn_evenly(key: Tensor, use: str, members: Tensor, sizes: Tensor) -> Tensor:
    """Draws of a group first, and then of one of its members, with replacement: groups are drawn equally often.

    Args:
        key: (M, 2) one for each draw.
        use: of the key, for the draw of the group.
        members: (N,) int64 positions in the data, one group's after the other's.
        sizes: (G,) int64 of the groups, each >= 1.

    Returns:
        (M,) int64 positions.
    """
    which = rng.integers(rng.fold(key, use), (1,), len(sizes)).flatten()
    place = rng.integers(rng.fold(key, "member"), (1,), sizes[which].unsqueeze(1)).flatten()
    return members[(sizes.cumsum(0) - sizes)[which] + place]
