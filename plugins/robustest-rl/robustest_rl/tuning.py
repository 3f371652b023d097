"""The choice of an adversary: every attack is tried on episodes that are not judged, and the one of lowest return
counts.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError
from robustest.packs import Part
from robustest_rl.attacks import Attack, Directed
from robustest_rl.director import Effort, search
from robustest_rl.episodes import Arena, Played, search_keys
from robustest_rl.moments import Untouched
from robustest_rl.policies import BLOCK
from robustest_rl.scene import Scene, walked
from robustest_rl.threats import Attacked, Dynamics, Observation, SensorBias, Sometimes, Threat

Floats = NDArray[np.float64]

# Shares of the radius at which every attack is tried: an adversary of a smaller radius is allowed at the whole one.
SHARES = (1.0, 0.5, 0.25)
# Episodes per attack; the factor of the radius for an attack that found nothing; most values tried of a whole-episode
# threat.
_TRIED, _BEYOND, _MOST = 21, 4.0, 32


@dataclass(frozen=True)
class Tuning:
    """The choice of an adversary, as a unit that can be cached (`robustest.run.units.Countable`)."""

    scene: Scene
    threat: Threat
    attacks: tuple[Attack, ...]  # tried in turn, for threats of single steps
    effort: Effort  # of the search for a director
    seed: int
    level: float | None  # the return of a claim on a share; None for a mean

    def __len__(self) -> int:
        return 1

    def load(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        return [("tuning", self.seed) for _ in ids]

    def look(self, part: Part) -> dict[str, NDArray[Any]]:
        arena = self.scene.arena(4 * BLOCK, wide=True)
        keys = search_keys(self.seed, "the choice", _TRIED)
        clean = arena.play(Untouched(), keys).returns
        if self.threat.searched == "once":
            columns = self._once(arena, keys)
        elif self.threat.searched:
            columns = self._steps(arena, keys, clean)
        else:
            columns = {"returns": arena.play(Attacked(self.threat), keys).returns.reshape(1, 1, -1)}
        arena.close()
        columns |= {"untouched": clean, "held": np.array(True)}
        return {name: np.asarray(column)[None] for name, column in columns.items()}

    def glance(self, part: Part) -> dict[str, NDArray[Any]]:
        walk = walked(self.scene, Attacked(self.threat), search_keys(self.seed, "the choice", 8))
        return {"walk": np.tile(walk, (len(part.ids), 1))}

    @property
    def shares(self) -> tuple[float, ...]:
        return SHARES if self.threat.radial else (1.0,)

    def options(self) -> Floats:
        """Return (C, k) values of a whole-episode threat to try."""
        if isinstance(self.threat, Dynamics):
            grid = [np.linspace(low, high, 5) for low, high in self.threat.ranges.values()]
        elif isinstance(self.threat, SensorBias):
            scale = self.threat.scale or (1.0,)
            # A bias is worst at a corner if the policy is monotone in it; `unique` drops parts of scale 0.
            grid = [np.unique([0.0 - self.threat.eps * one, self.threat.eps * one]) for one in scale]
        else:
            raise ConfigError(f"Expected a threat of whole episodes but got {self.threat}.")
        if np.prod([float(len(one)) for one in grid]) <= _MOST:
            return np.array(list(itertools.product(*grid)))
        # Too many combinations: a random sample of the grid.
        draws = rng.integers(rng.keys(self.seed, torch.arange(_MOST)), (len(grid),), 1 << 20).numpy()
        return np.array([[one[d % len(one)] for one, d in zip(grid, row, strict=True)] for row in draws])

    def _once(self, arena: Arena, keys: Tensor) -> dict[str, Any]:
        name = "dynamics" if isinstance(self.threat, Dynamics) else "bias"
        options = torch.from_numpy(self.options()).to(torch.float64 if name == "dynamics" else torch.float32)
        rows = options.repeat_interleave(len(keys), 0)
        played = arena.play(Attacked(self.threat), keys.repeat(len(options)), start={name: rows})
        return {"returns": played.returns.reshape(len(options), 1, len(keys))}

    def _steps(self, arena: Arena, keys: Tensor, clean: Floats) -> dict[str, Any]:
        attacks, columns, counts = list(self.attacks), {}, Counter[str]()
        for place, attack in enumerate(attacks):
            if isinstance(attack, Directed):
                found = search(arena, self.threat, attack, self.effort, self.seed)
                attacks[place] = found.attack
                columns["director"] = np.array(found.attack.weights)
                columns["generations"] = np.array(found.by_generation)
        table = []
        for attack in attacks:
            played = self._tried(arena, attack, keys)
            table.append(played.returns.reshape(len(self.shares), len(keys)))
            counts.update(played.counts)
            if isinstance(attack, Directed) and self.threat.radial and not lower(table[-1], clean):
                columns["beyond"] = self._beyond(arena, replace(attack, weights=()), keys)
        columns["returns"] = np.stack(table)
        columns["slopes"] = np.array([counts["climbed"], counts["zero"]])
        return columns

    def _tried(self, arena: Arena, attack: Attack, keys: Tensor) -> Played:
        shares = torch.tensor(self.shares).repeat_interleave(len(keys))
        return arena.play(Attacked(self.threat, attack), keys.repeat(len(self.shares)), start={"share": shares})

    def _beyond(self, arena: Arena, attack: Directed, keys: Tensor) -> Floats:
        # At four times the radius a working search must find something: else silence at this radius proves nothing.
        wide = widened(self.threat)
        found = search(arena, wide, attack, replace(self.effort, ascents=0), self.seed)
        return arena.play(Attacked(wide, found.attack), keys).returns


def lower(some: Floats, whole: Floats) -> bool:
    """Return True if a row of `some` (k, E) is lower than `whole` (E,) on the same episodes by more than chance."""
    for one in some:
        fall = whole - one
        # Three standard errors of the paired difference, and more than rounding.
        if fall.mean() > 3 * fall.std(ddof=1) / len(fall) ** 0.5 + 1e-9 * abs(whole.mean()):
            return True
    return False


def widened(threat: Threat) -> Threat:
    """Return a threat of four times the radius."""
    if isinstance(threat, Sometimes):
        return replace(threat, threat=widened(threat.threat))
    return replace(threat, eps=_BEYOND * threat.eps) if isinstance(threat, Observation) else threat
