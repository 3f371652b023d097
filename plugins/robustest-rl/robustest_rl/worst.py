"""The episodes of lowest return, and where they broke; any of them played again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest_rl.episodes import env_seed
from robustest_rl.moments import Stepped, Untouched

if TYPE_CHECKING:
    from robustest.run.evidence import Evidence
    from robustest_rl.judged import Episodes


@dataclass(frozen=True)
class Trace:
    """One episode, step by step.

    Attributes:
        seen, shown: (T, *S) true observations, and what the policy was shown.
        actions: (T, *A) what was done.
        rewards: (T,) float64.
    """

    seen: NDArray[Any]
    shown: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]


def trace(counted: Episodes, episode: int, *, untouched: bool = False) -> Trace:
    """Play one of the judged episodes again, as it was.

    Args:
        counted: the episodes.
        episode: its number, 0..n - 1.
        untouched: whether the adversary is left out.

    Raises:
        ConfigError: there is no such episode.
    """
    if not 0 <= episode < counted.n:
        raise ConfigError(expected(f"an episode in 0..{counted.n - 1}", episode))
    steps: list[Stepped] = []

    arena = counted.scene.arena(1)
    arena.play(Untouched() if untouched else counted.adversary, key_of(counted, episode), record=steps.append)
    arena.close()
    return Trace(
        torch.cat([step.moment.seen for step in steps]).numpy(),
        torch.cat([step.shown for step in steps]).numpy(),
        torch.cat([step.actions for step in steps]).numpy(),
        np.concatenate([step.rewards for step in steps]),
    )


def key_of(counted: Episodes, episode: int) -> Tensor:
    """(1,) the key of an episode."""
    return rng.keys(counted.seed, torch.tensor([episode]))


def broke_at(attacked: Trace, clean: Trace, *, ended: bool) -> int:
    """The step at which an episode broke: its last, where the environment ended it before its time.

    Elsewhere the first by whose end half of what it lost against the same episode untouched was lost.
    """
    if ended and len(attacked.rewards) < len(clean.rewards):
        return len(attacked.rewards) - 1
    n = min(len(attacked.rewards), len(clean.rewards))
    lost = np.cumsum(clean.rewards[:n] - attacked.rewards[:n])
    return int((lost >= lost[-1] / 2).argmax()) if lost[-1] > 0 else n - 1


def worst_episodes(counted: Episodes, evidence: Evidence, most: int) -> list[dict[str, Any]]:
    """Rows of the episodes of lowest return, lowest first."""
    columns: Any = evidence.columns
    order: Sequence[int] = np.argsort(columns["return"], kind="stable")[:most].tolist()
    rows = []
    for place in order:
        episode = int(evidence.ids[place])
        ended = bool(columns["ended"][place])
        step = broke_at(trace(counted, episode), trace(counted, episode, untouched=True), ended=ended)
        rows.append(
            {
                "episode": episode,
                "seed": env_seed(key_of(counted, episode)[0]),
                "return": float(columns["return"][place]),
                "untouched": float(columns["untouched"][place]),
                "broke at step": step,
            }
        )
    return rows
