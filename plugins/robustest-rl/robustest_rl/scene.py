"""What acts, and where; and a glance at the first steps of its episodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest_rl.episodes import Arena, search_keys, steady_block
from robustest_rl.moments import Adversary, Stepped, Untouched
from robustest_rl.policies import BLOCK, as_policy
from robustest_rl.worlds import World

Floats = NDArray[np.float64]
_GLANCE = 24


@dataclass(frozen=True)
class Scene:
    """What acts, and where: all that an episode depends on besides its key and the adversary.

    Attributes:
        source: the policy as given.
        world: the environment.
        stochastic: as in `robustest_rl.policies.Policy`.
        block: rows that the policy is asked about at once.
        max_steps, cost: as in `robustest_rl.episodes.Arena`.
    """

    source: Any
    world: World
    stochastic: bool = False
    block: int = BLOCK
    max_steps: int = 10_000
    cost: str = ""

    def arena(self, lanes: int = BLOCK, *, wide: bool = False, cut: int | None = None) -> Arena:
        """Ready to play; `wide` asks the policy about as many rows as there are, for searches."""
        env = self.world.make()
        policy = as_policy(
            self.source,
            env.observation_space,
            env.action_space,
            stochastic=self.stochastic,
            within=env.unwrapped.action_space,
        )
        env.close()
        block = max(self.block, 4 * BLOCK) if wide and self.block > 1 else self.block
        return Arena(policy, self.world, lanes, block, self.max_steps, self.cost, cut)

    def steady(self) -> Scene:
        """The same with the block that its policy allows; see `robustest_rl.episodes.steady_block`."""
        seen: list[Tensor] = []
        arena = self.arena(cut=8)
        arena.block = 1 if self.stochastic else BLOCK
        arena.play(Untouched(), search_keys(0, "a look", 8), record=lambda now: seen.append(now.moment.seen))
        arena.close()
        return replace(self, block=steady_block(arena.policy, torch.cat(seen)))


def walked(scene: Scene, adversary: Adversary, keys: Tensor) -> Floats:
    """(n, 2) sums of what is shown and given in the first steps of episodes: what tells that they are as they were."""
    arena, sums = scene.arena(cut=_GLANCE), np.zeros((len(keys), 2))

    def record(now: Stepped) -> None:
        n, late = len(now.rows), now.step + 1
        sums[now.rows, 0] += late * now.shown.double().reshape(n, -1).sum(1).numpy()
        sums[now.rows, 1] += now.rewards + late * now.actions.detach().double().reshape(n, -1).sum(1).numpy()

    arena.play(adversary, keys, record=record)
    arena.close()
    return sums
