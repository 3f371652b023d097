"""A policy and its environment, and the first steps of episodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest_rl.episodes import Arena, search_keys, steady_block
from robustest_rl.moments import Adversary, Stepped, Untouched
from robustest_rl.policies import BLOCK, as_policy, check_wrappers
from robustest_rl.worlds import World

Floats = NDArray[np.float64]
_GLANCE = 24


@dataclass(frozen=True)
class Scene:
    """All that an episode depends on besides its key and the adversary."""

    source: Any  # the policy as given
    world: World
    stochastic: bool = False  # as in `robustest_rl.policies.Policy`
    block: int = BLOCK  # rows of one call of the policy
    max_steps: int = 10_000  # max_steps, cost: as in `robustest_rl.episodes.Arena`
    cost: str = ""

    def arena(self, lanes: int = BLOCK, *, wide: bool = False, cut: int | None = None) -> Arena:
        """Return an arena; with `wide`, for searches, the policy is called with larger batches."""
        env = self.world.make()
        policy = as_policy(
            self.source,
            env.observation_space,
            env.action_space,
            stochastic=self.stochastic,
            within=env.unwrapped.action_space,
        )
        check_wrappers(self.source, env)
        env.close()
        # A policy that needs single rows keeps them in searches, too.
        block = max(self.block, 4 * BLOCK) if wide and self.block > 1 else self.block
        return Arena(policy, self.world, lanes, block, self.max_steps, self.cost, cut)

    def steady(self) -> Scene:
        seen: list[Tensor] = []
        arena = self.arena(cut=8)
        arena.block = 1 if self.stochastic else BLOCK
        arena.play(Untouched(), search_keys(0, "a look", 8), record=lambda now: seen.append(now.moment.seen))
        arena.close()
        return replace(self, block=steady_block(arena.policy, torch.cat(seen)))


class Trajectories:
    """A record of episodes: a checksum of the true observations, actions and rewards of each.

    Attributes:
        sums: (n,) int64 checksums; equal ones mean equal episodes (two different ones agree with probability 2e-10).
    """

    def __init__(self, n: int) -> None:
        self.sums: NDArray[np.int64] = np.zeros(n, np.int64)

    def __call__(self, now: Stepped) -> None:
        seen, actions = now.moment.seen.detach().numpy(), now.actions.detach().numpy()
        for place, row in enumerate(now.rows.tolist()):
            step = seen[place].tobytes() + actions[place].tobytes() + now.rewards[place].tobytes()
            self.sums[row] = crc32(step, int(self.sums[row]))


def walked(scene: Scene, adversary: Adversary, keys: Tensor) -> Floats:
    """Return (n, 2) sums over the first steps of episodes: fingerprints of observations, and of actions and rewards."""
    arena, sums = scene.arena(cut=_GLANCE), np.zeros((len(keys), 2))

    def record(now: Stepped) -> None:
        n, late = len(now.rows), now.step + 1
        # Weighted by the step, so that two steps in another order give another sum.
        sums[now.rows, 0] += late * now.shown.double().reshape(n, -1).sum(1).numpy()
        sums[now.rows, 1] += now.rewards + late * now.actions.detach().double().reshape(n, -1).sum(1).numpy()

    arena.play(adversary, keys, record=record)
    arena.close()
    return sums
