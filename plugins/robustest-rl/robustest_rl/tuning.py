"""Which adversary is judged: every attack is tried on episodes of its own, and the lowest one counts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, unknown
from robustest.run.own_units import Part
from robustest_rl.attacks import Attack, Away, Directed, Lower, Noise
from robustest_rl.director import Effort, search
from robustest_rl.episodes import Arena, Moment, Played, Untouched, search_keys, steady_block
from robustest_rl.policies import BLOCK, as_policy
from robustest_rl.threats import ActionAttack, Attacked, Dynamics, Observation, SensorBias, Sometimes, Threat
from robustest_rl.worlds import World

Floats = NDArray[np.float64]

SHARES = (1.0, 0.5, 0.25)
"""Shares of the radius at which every attack is tried: what a smaller one found counts for the whole."""
_TRIED, _BEYOND, _GLANCE, _MOST = 21, 4.0, 24, 32
EFFORTS: Mapping[str, Effort] = {
    "agent-fast": Effort(candidates=12, episodes=5, generations=4),
    "agent-standard": Effort(candidates=24, episodes=8, generations=6, ascents=3),
}
CASCADES = tuple(EFFORTS)
SINGLE = ("noise", "corner", "pgd", "critic", "director")


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
        spaces = {"within": env.unwrapped.action_space, "stochastic": self.stochastic}
        policy = as_policy(self.source, env.observation_space, env.action_space, **spaces)
        env.close()
        block = max(self.block, 4 * BLOCK) if wide and self.block > 1 else self.block
        return Arena(policy, self.world, lanes, block, self.max_steps, self.cost, cut)

    def steady(self) -> Scene:
        """The same with the block that its policy allows; see `robustest_rl.episodes.steady_block`."""
        seen: list[Tensor] = []
        arena = self.arena(cut=8)
        arena.block = 1 if self.stochastic else BLOCK
        arena.play(Untouched(), search_keys(0, "a look", 8), record=lambda step, moment, *_: seen.append(moment.seen))
        arena.close()
        return replace(self, block=steady_block(arena.policy, torch.cat(seen)))


@dataclass(frozen=True)
class Tuning:
    """The choice of an adversary, as a unit that can be remembered (`robustest.run.own_units.Countable`).

    Attributes:
        scene: what acts, and where.
        threat: what an adversary may do.
        attacks: tried in turn, for threats of single steps.
        effort: spent on a director.
        seed: of all draws.
        level: the return that episodes must reach, where their share is claimed; None where the mean is.
    """

    scene: Scene
    threat: Threat
    attacks: tuple[Attack, ...]
    effort: Effort
    seed: int
    level: float | None

    def __len__(self) -> int:
        return 1

    def load(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        """As `Countable.load`."""
        return [("tuning", self.seed) for _ in ids]

    def look(self, part: Part) -> dict[str, NDArray[Any]]:
        """As `Countable.look`."""
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
        """As `robustest.run.own_units.Glancing.glance`."""
        walk = walked(self.scene, Attacked(self.threat), search_keys(self.seed, "the choice", 8))
        return {"walk": np.tile(walk, (len(part.ids), 1))}

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the radius, tried."""
        return SHARES if self.threat.radial else (1.0,)

    def options(self) -> Floats:
        """(C, k) values tried of a threat of whole episodes."""
        if isinstance(self.threat, Dynamics):
            grid = [np.linspace(low, high, 5) for low, high in self.threat.ranges.values()]
        elif isinstance(self.threat, SensorBias):
            scale = self.threat.scale or (1.0,)
            grid = [np.unique([-self.threat.eps * one, self.threat.eps * one]) for one in scale]
        else:
            raise ConfigError(f"Expected a threat of whole episodes but got {self.threat}.")
        if np.prod([float(len(one)) for one in grid]) <= _MOST:
            return np.array(list(itertools.product(*grid)))
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
            if isinstance(attack, Directed) and self.threat.radial and not _lower(table[-1], clean):
                columns["beyond"] = self._beyond(arena, replace(attack, weights=()), keys)
        columns["returns"] = np.stack(table)
        columns["slopes"] = np.array([counts["climbed"], counts["zero"]])
        return columns

    def _tried(self, arena: Arena, attack: Attack, keys: Tensor) -> Played:
        shares = torch.tensor(self.shares).repeat_interleave(len(keys))
        return arena.play(Attacked(self.threat, attack), keys.repeat(len(self.shares)), start={"share": shares})

    def _beyond(self, arena: Arena, attack: Directed, keys: Tensor) -> Floats:
        """(E,) returns at a radius well beyond, where a search that found nothing at this one must find something."""
        wide = widened(self.threat)
        found = search(arena, wide, attack, replace(self.effort, ascents=0), self.seed)
        return arena.play(Attacked(wide, found.attack), keys).returns


@dataclass(frozen=True)
class Tuned:
    """What came of it.

    Attributes:
        adversary: the one to judge.
        name: how reports call it.
        share: of the radius, that it uses.
        rows: of the table of all that was tried.
        curve: lowest mean return by share of the radius, which never rises; the first of them untouched.
        signs: names of health checks that speak, with what was seen.
    """

    adversary: Attacked
    name: str
    share: float
    rows: list[dict[str, Any]]
    curve: list[dict[str, float]]
    signs: dict[str, str]


def read(tuning: Tuning, columns: Mapping[str, NDArray[Any]]) -> Tuned:
    """The adversary that a tuning chose, of its columns."""
    returns, clean = columns["returns"][0], columns["untouched"][0]
    names, adversaries = _adversaries(tuning, columns)
    worth = returns.mean(2)
    score = (
        worth
        if tuning.level is None
        else (returns >= tuning.level).mean(2)
        + 1e-9 * np.argsort(np.argsort(worth, axis=None), axis=None).reshape(worth.shape)
    )
    best, at = divmod(int(score.argmin()), returns.shape[1])
    rows = [
        {"attack": name, "share of the radius": share, "mean return": float(one.mean()), "lowest": float(one.min())}
        for name, table in zip(names, returns, strict=True)
        for share, one in zip(tuning.shares, table, strict=True)
    ]
    lowest = [float(clean.mean())]
    for place in reversed(range(len(tuning.shares))):
        lowest.append(min(lowest[-1], float(worth[:, place].min())))
    curve = [
        {"share of the radius": s, "mean return": r} for s, r in zip((0.0, *tuning.shares[::-1]), lowest, strict=True)
    ]
    chosen = replace(adversaries[best], share=tuning.shares[at])
    return Tuned(chosen, names[best], tuning.shares[at], rows, curve, _signs(tuning, columns, names, best))


def _adversaries(tuning: Tuning, columns: Mapping[str, NDArray[Any]]) -> tuple[list[str], list[Attacked]]:
    threat = tuning.threat
    if threat.searched == "once":
        word = "values" if isinstance(threat, Dynamics) else "bias"
        kinds: Any = [replace(threat, **{word: tuple(map(float, row))}) for row in tuning.options()]  # type: ignore[type-var]
        return [str(one) for one in kinds], [Attacked(one) for one in kinds]
    if not threat.searched:
        return ["chance"], [Attacked(threat)]
    attacks = [
        replace(one, weights=tuple(map(float, columns["director"][0]))) if isinstance(one, Directed) else one
        for one in tuning.attacks
    ]
    return [one.name for one in attacks], [Attacked(threat, one) for one in attacks]


def _signs(tuning: Tuning, columns: Mapping[str, NDArray[Any]], names: list[str], best: int) -> dict[str, str]:
    """What says that an attack could not do its work, unless a director that did found something lower still."""
    returns, signs = columns["returns"][0], {}
    if tuning.threat.searched != "steps":
        return signs
    climbed, zero = columns["slopes"][0].tolist()
    if zero > 0.1 * climbed:
        signs["zero_gradient"] = f"the policy's gradient was zero in {zero} of {climbed} steps attacked"
    table = dict(zip(names, returns, strict=True))
    carried = names[best] == "director" and not _lower(table["director"][1:], table["director"][0])
    for name in () if carried else ("pgd", "critic"):
        for noise in ("noise", "corner noise"):
            if name in table and noise in table and _lower(table[noise][:1], table[name][0]):
                signs["black_box_beats_white_box"] = (
                    f"{noise} brought returns lower than {name}, which climbs gradients"
                )
    for name, one in table.items():
        if _lower(one[1:], one[0]) and not carried and name not in ("noise", "corner noise"):
            signs["not_monotone"] = f"{name} brought returns lower at a smaller radius than at the whole"
    clean = columns["untouched"][0]
    if "director" in table and not _lower(table["director"], clean):
        if "beyond" not in columns or not _lower(columns["beyond"], clean):
            signs["loss_does_not_rise"] = "no director lowered the return, not even at four times the radius"
    return signs


def _lower(some: Floats, whole: Floats) -> bool:
    """Whether any of some returns (k, E) is lower than others (E,) on the same episodes by more than chance."""
    for one in some:
        fall = whole - one
        if fall.mean() > 3 * fall.std(ddof=1) / len(fall) ** 0.5 + 1e-9 * abs(whole.mean()):
            return True
    return False


def walked(scene: Scene, adversary: Attacked, keys: Tensor) -> Floats:
    """(n, 2) sums of what is shown and given in the first steps of episodes: what tells that they are as they were."""
    arena, sums = scene.arena(cut=_GLANCE), np.zeros((len(keys), 2))

    def record(step: int, moment: Moment, shown: Tensor, actions: Tensor, rewards: Floats, rows: Any) -> None:
        sums[rows, 0] += (
            (step + 1) * shown.double().flatten(1).sum(1).numpy() if shown.ndim > 1 else shown.double().numpy()
        )
        with torch.no_grad():
            sums[rows, 1] += rewards + (step + 1) * actions.double().reshape(len(rows), -1).sum(1).numpy()

    arena.play(adversary, keys, record=record)
    arena.close()
    return sums


def widened(threat: Threat) -> Threat:
    """A threat of four times the radius."""
    if isinstance(threat, Sometimes):
        return replace(threat, threat=widened(threat.threat))
    return replace(threat, eps=_BEYOND * threat.eps) if isinstance(threat, Observation) else threat


def attacks_of(attack: object, threat: Threat, critic: Any) -> tuple[tuple[Attack, ...], Effort]:
    """What an attack's name stands for: a cascade or a single one; an attack, or several, stand for themselves.

    Raises:
        UnknownNameError: there is none of that name.
        ConfigError: it needs a critic, and there is none.
    """
    inner = threat.threat if isinstance(threat, Sometimes) else threat
    scale = inner.scale if isinstance(inner, Observation) and inner.scale else (1.0,)
    known: dict[str, Attack] = {
        "noise": Noise(),
        "corner": Noise(corners=True),
        "pgd": Away(),
        "director": Directed(scale=tuple(one or 1.0 for one in scale)),
    }
    if critic is not None:
        known["critic"] = Lower(critic)
    if isinstance(inner, ActionAttack):
        known.pop("pgd")  # it would move the policy's own choice, which is replaced anyway
    if isinstance(attack, (Noise, Away, Lower, Directed)):
        return (attack,), EFFORTS["agent-fast"]
    if isinstance(attack, tuple) and attack and all(isinstance(one, (Noise, Away, Lower, Directed)) for one in attack):
        return attack, EFFORTS["agent-fast"]
    if attack in EFFORTS:
        return tuple(known.values()), EFFORTS[str(attack)]
    if attack == "critic" and critic is None:
        raise ConfigError("Expected critic= for the attack 'critic' but got none.")
    if not isinstance(attack, str) or attack not in known:
        raise unknown("attack on agents", attack, [*CASCADES, *SINGLE])
    return (known[attack],), EFFORTS["agent-fast"]
