"""Episodes, each a function of its key, the policy, the environment and the adversary, played in batches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import clock, rng
from robustest.errors import DataError, ModelError, expected
from robustest_rl.moments import Adversary, Moment, Record, Stepped
from robustest_rl.policies import BLOCK, Policy
from robustest_rl.races import Race
from robustest_rl.worlds import World


@dataclass(frozen=True, slots=True)
class Played:
    """Outcomes of n played episodes."""

    returns: NDArray[np.float64]  # (n,) float64, sums of rewards, or minus sums of a cost
    lengths: NDArray[np.int64]  # (n,) int64, steps
    ended: NDArray[np.bool_]  # (n,) bool, True if the environment ended the episode, False for a limit of steps
    counts: Counter[str]  # counts of the adversary, for health checks


@dataclass(frozen=True, slots=True)
class _Group:
    """Episodes played side by side; `seen`, `state`, `memory` and `out` are written in place."""

    adversary: Adversary
    rows: Tensor
    keys: Tensor
    seen: Tensor
    state: dict[str, Tensor]
    memory: Tensor | None  # (n, 2, L, H) of a recurrent policy: empty at the start of each episode
    out: Played


@dataclass
class Arena:
    """A policy in a world, ready to play."""

    policy: Policy
    world: World
    lanes: int = BLOCK  # most episodes at once
    block: int = BLOCK  # rows of one call of the policy; another number may change the last bits of outputs
    max_steps: int = 10_000  # steps after which an episode without an end is an error
    cost: str = ""  # a key of `info` whose negated sum is the return; "" for the reward
    cut: int | None = None  # steps after which every episode is broken off; None plays to the end
    _envs: list[gymnasium.Env[Any, Any]] = field(default_factory=list)

    def play(
        self,
        adversary: Adversary,
        keys: Tensor,
        *,
        env_keys: Tensor | None = None,
        start: Mapping[str, Tensor] | None = None,
        record: Record | None = None,
        race: Race | None = None,
    ) -> Played:
        """Play an episode for each key (n,) int64; its key determines all draws, including those of the environment.

        Args:
            env_keys: (n,) int64 keys of the environments' draws; None takes them from `keys`.
            start: overrides of the adversary's first state, tensors (n, ...).
            record: called after each step.
            race: breaks off episodes that no longer matter.

        Raises:
            DataError, ModelError: a malformed value, or an episode without an end.
        """
        env_keys = keys if env_keys is None else env_keys
        parts = [
            self._group(
                adversary,
                rows,
                keys[rows],
                env_keys[rows],
                {name: part[rows] for name, part in (start or {}).items()},
                record=record,
                race=race,
            )
            for rows in torch.split(torch.arange(len(keys)), self.lanes)
        ]
        return Played(
            np.concatenate([part.returns for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.ended for part in parts]),
            sum((part.counts for part in parts), Counter()),
        )

    def adopt(self, env: gymnasium.Env[Any, Any]) -> None:

        self._envs.insert(0, env)

    def close(self) -> None:
        while self._envs:
            self._envs.pop().close()

    def _group(
        self,
        adversary: Adversary,
        rows: Tensor,
        keys: Tensor,
        env_keys: Tensor,
        start: Mapping[str, Tensor],
        *,
        record: Record | None,
        race: Race | None,
    ) -> Played:
        n = len(keys)
        while len(self._envs) < n:
            self._envs.append(self.world.make())
        # Clones: parts of the state may share memory, and are written in place.
        state = {name: part.clone() for name, part in {**adversary.begin(self.policy, keys), **start}.items()}
        seen = []
        for place, env in enumerate(self._envs[:n]):
            # Before the reset, in which some environments use their parameters.
            adversary.prepare(env, {name: part[place] for name, part in state.items()})
            seen.append(env.reset(seed=env_seed(env_keys[place]))[0])
        out = Played(np.zeros(n), np.zeros(n, np.int64), np.zeros(n, bool), Counter())
        group = _Group(adversary, rows, keys, self.policy.seen(seen), state, self.policy.empty_memory(n), out)
        alive = torch.arange(n)
        for step in range(self.max_steps + 1):
            if not len(alive) or step == self.cut:
                return out
            if step == self.max_steps:
                break
            going = [self._step(group, step, alive[k : k + self.block], record) for k in range(0, n, self.block)]
            alive = torch.cat(going)
            if race is not None:
                alive = alive[race.still(rows.numpy(), out.returns, alive.numpy())]
        mend = "Wrap it in gymnasium.wrappers.TimeLimit, or raise max_steps=."
        raise DataError(expected(f"episodes that end within {self.max_steps} steps", "one that does not", mend))

    def _step(self, group: _Group, step: int, block: Tensor, record: Record | None) -> Tensor:
        """Play one step of a block; return the places that go on."""
        if not len(block):
            return block
        moment, shown, actions = self._decide(group, step, block)
        gains, fresh, left = [], [], []
        places = block.tolist()
        for place, action in zip(places, self.policy.given(actions), strict=True):
            seen, reward, ended, cut, info = self._envs[place].step(action)
            gains.append(self._gain(reward, info))
            if ended or cut:
                group.out.ended[place] = bool(ended)
            else:
                fresh.append(seen)
                left.append(place)
        rewards = np.array(gains)
        group.out.returns[places] += rewards
        group.out.lengths[places] += 1
        if record is not None:
            record(Stepped(step, moment, shown, actions, rewards, group.rows[block].numpy()))
        kept = torch.tensor(left, dtype=torch.int64)
        if left:
            group.seen[kept] = self.policy.seen(fresh)
        return kept

    def _decide(self, group: _Group, step: int, block: Tensor) -> tuple[Moment, Tensor, Tensor]:
        clock.check()
        n, state = len(block), group.state
        # Fill the block up to a constant number of rows: the last bits of a network depend on the size of its batch.
        rows = torch.cat([block, block[:1].expand(_filled(n, self.block) - n)])
        key = rng.fold(group.keys[rows], step)
        before = {name: part[rows] for name, part in state.items()}
        policy = self.policy.recalling(None if group.memory is None else group.memory[rows])
        moment = Moment(policy, group.seen[rows].clone(), key, step, dict(before), Counter())
        with self.policy.asked(key):
            shown = group.adversary.observe(moment)
            with torch.no_grad():
                chosen = policy.act(policy.outputs(shown), key)
            actions = group.adversary.act(moment, chosen)
        if group.memory is not None:
            # A policy remembers what it was shown, and not the observations that an attack tried.
            group.memory[block] = policy.remembered(shown)[:n]
        # Only parts that the adversary replaced are copied back.
        for name, part in moment.state.items():
            if part is not before.get(name):
                state[name][block] = part[:n]
        group.out.counts.update(moment.counts)
        moment.seen, moment.key = moment.seen[:n], moment.key[:n]
        return moment, shown[:n], actions[:n]

    def _gain(self, reward: Any, info: Mapping[str, Any]) -> float:
        if not self.cost:
            value = float(reward)
        elif self.cost not in info:
            raise DataError(expected(f"info to have the cost {self.cost!r} at every step", sorted(info)))
        else:
            value = -float(info[self.cost])
        if not math.isfinite(value):
            raise DataError(expected("finite rewards", value))
        return value


def env_seed(key: Tensor) -> int:
    """Return the seed of an episode's environment, 0..2**31 - 1."""
    return int(rng.fold(key.view(1), "environment")) & 0x7FFFFFFF


def search_keys(seed: int, use: str, n: int) -> Tensor:
    """Return (n,) int64 keys of episodes that no verdict uses, different for each use."""
    return rng.fold(rng.keys(seed, torch.arange(n)), f"episodes of {use}")


def steady_block(policy: Policy, seen: Tensor) -> int:
    """Return `BLOCK`, or 1 if the policy's output for a row depends on its place in the batch.

    Args:
        seen: (n, *S) observations to try.

    Raises:
        ModelError: the policy gives two outputs for the same batch: it is random without `stochastic`.
    """
    if policy.stochastic:
        return 1  # a row's random draws would depend on its neighbours
    batch = seen[torch.arange(BLOCK) % len(seen)]
    if not batch.dtype.is_floating_point:
        return BLOCK if _steady(policy, batch) else 1
    # The first observations of episodes are often equal; a little noise shows more of the network's paths.
    spread = rng.normal(rng.keys(0, torch.arange(BLOCK)), batch.shape[1:])
    return BLOCK if _steady(policy, batch + 0.01 * spread * (batch.abs() + 0.1)) else 1


def _steady(policy: Policy, batch: Tensor) -> bool:
    with torch.no_grad():
        first = policy.outputs(batch)
        if not torch.equal(first, policy.outputs(batch)):
            raise ModelError(
                "Expected equal outputs of the policy for equal observations but they differ: it is random. Pass "
                "stochastic=True, so that each episode's key determines its random draws."
            )
        # Rolls move rows between the vectorised part of a kernel and its remainder.
        return all(torch.equal(policy.outputs(batch.roll(k, 0)), first.roll(k, 0)) for k in (1, 7, 16, 29, 45))


def _filled(n: int, block: int) -> int:
    return block if block <= BLOCK else -(-n // BLOCK) * BLOCK
