"""Judged episodes, as units of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from robustest.packs import Part
from robustest_rl.moments import Untouched
from robustest_rl.policies import BLOCK
from robustest_rl.scene import Scene, Trajectories, walked
from robustest_rl.threats import Attacked


@dataclass(frozen=True)
class Episodes:
    """The judged episodes (`robustest.run.units.Countable`)."""

    scene: Scene
    adversary: Attacked | Untouched  # found on other episodes
    n: int  # number of episodes
    seed: int
    level: float  # the return at which an episode counts as held
    lanes: int = BLOCK  # most episodes at once; no outcome depends on it

    def __len__(self) -> int:
        return self.n

    def load(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        return [(self.seed, one) for one in ids]

    def look(self, part: Part) -> dict[str, NDArray[Any]]:
        arena = self.scene.arena(self.lanes)
        # Both runs share their key: the fall of an episode has much less variance than that of two independent ones.
        untouched = Trajectories(len(part.keys))
        clean = arena.play(Untouched(), part.keys, record=untouched)
        hit, trajectory = clean, untouched
        if not isinstance(self.adversary, Untouched):
            trajectory = Trajectories(len(part.keys))
            hit = arena.play(self.adversary, part.keys, record=trajectory)
        arena.close()
        return {
            "held": hit.returns >= self.level,
            "return": hit.returns,
            "untouched": clean.returns,
            "fall": clean.returns - hit.returns,
            "length": hit.lengths,
            "ended": hit.ended,
            "trajectory": trajectory.sums,
            "untouched trajectory": untouched.sums,
        }

    def glance(self, part: Part) -> dict[str, NDArray[Any]]:
        return {"walk": walked(self.scene, self.adversary, part.keys)}
