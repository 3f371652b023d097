"""Traces: judged episodes, played again step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest.packs import checked_whole
from robustest_rl.episodes import env_seed
from robustest_rl.moments import Stepped, Untouched

if TYPE_CHECKING:
    from robustest_rl.judged import Episodes


@dataclass(frozen=True)
class Trace:
    """One episode of T steps.

    Attributes:
        episode: its number among the judged ones, 0, 1, ...
        seed: seed of its environment, 0..2**31 - 1.
        seen, shown: (T, *S) true observations, and those shown to the policy.
        actions: (T,) int64, or (T, *A) float32, carried out.
        rewards: (T,) float64; of a cost, minus the cost.
        returned: the sum, equal to that of the claim to the last bit.
        ended: True if the environment ended the episode, False for a limit of steps.
    """

    episode: int
    seed: int
    seen: NDArray[Any]
    shown: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    returned: float
    ended: bool


def trace(counted: Episodes, episode: int, *, untouched: bool = False) -> Trace:
    """Play one of the judged episodes again.

    Args:
        episode: its number, 0..n - 1.
        untouched: leave out the adversary.

    Raises:
        ConfigError: there is no such episode.
    """
    checked_whole("episode", episode, 0)
    if episode >= counted.n:
        raise ConfigError(expected(f"an episode in 0..{counted.n - 1}", episode))
    steps: list[Stepped] = []
    key = key_of(counted, episode)
    arena = counted.scene.arena(1)
    played = arena.play(Untouched() if untouched else counted.adversary, key, record=steps.append)
    arena.close()
    return Trace(
        episode=episode,
        seed=env_seed(key[0]),
        seen=torch.cat([step.moment.seen for step in steps]).numpy(),
        shown=torch.cat([step.shown for step in steps]).numpy(),
        actions=torch.cat([step.actions for step in steps]).numpy(),
        rewards=np.concatenate([step.rewards for step in steps]),
        returned=float(played.returns[0]),
        ended=bool(played.ended[0]),
    )


def key_of(counted: Episodes, episode: int) -> Tensor:
    """Return the key of an episode, (1,)."""
    return rng.keys(counted.seed, torch.tensor([episode]))
