"""The episodes that are judged, as units of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from robustest.packs import Part
from robustest_rl.moments import Untouched
from robustest_rl.policies import BLOCK
from robustest_rl.scene import Scene, walked
from robustest_rl.threats import Attacked


@dataclass(frozen=True)
class Episodes:
    """The episodes that are judged (`robustest.run.own_units.Countable`): each is a function of seed and position.

    Attributes:
        scene: what acts, and where.
        adversary: what stands between; found on other episodes.
        n: how many.
        seed: of the run; it tells these episodes from those of another.
        level: the return that an episode must reach to speak for the claim.
        lanes: played at once, at most; no outcome depends on it.
    """

    scene: Scene
    adversary: Attacked | Untouched
    n: int
    seed: int
    level: float
    lanes: int = BLOCK

    def __len__(self) -> int:
        return self.n

    def load(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """As `Countable.load`."""
        return [(self.seed, one) for one in ids]

    def look(self, part: Part) -> dict[str, NDArray[Any]]:
        """As `Countable.look`."""
        arena = self.scene.arena(self.lanes)
        clean = arena.play(Untouched(), part.keys)
        hit = clean if isinstance(self.adversary, Untouched) else arena.play(self.adversary, part.keys)
        arena.close()
        return {
            "held": hit.returns >= self.level,
            "return": hit.returns,
            "untouched": clean.returns,
            "fall": clean.returns - hit.returns,
            "length": hit.lengths,
            "ended": hit.ended,
        }

    def glance(self, part: Part) -> dict[str, NDArray[Any]]:
        """As `robustest.run.own_units.Glancing.glance`."""
        return {"walk": walked(self.scene, self.adversary, part.keys)}
