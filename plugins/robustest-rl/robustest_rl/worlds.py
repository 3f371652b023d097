"""Environments: made by an id or a factory, one for each lane, and checked to repeat under their seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from robustest.errors import ConfigError, DataError, expected
from robustest_rl.vectors import OneLane, is_vector

Factory = Callable[[], "gymnasium.Env[Any, Any]"]


@dataclass(frozen=True)
class World:
    """An environment as its maker."""

    source: str | Factory  # a Gymnasium id, or a function without arguments that makes an environment
    version: str  # Gymnasium's, as outcomes may depend on it
    parts: tuple[type, ...]  # classes of the environment and its wrappers, whose code outcomes depend on

    @classmethod
    def of(cls, source: object) -> World:
        """Return the world of an id or a factory.

        Raises:
            ConfigError: the source is neither, makes no environment, or is an environment, which lanes cannot share.
        """
        if isinstance(source, gymnasium.Env) or is_vector(source):
            mend = "Give its id, or a function that makes one: each lane needs its own."
            raise ConfigError(expected("an environment's id or a factory", source, mend))
        if not isinstance(source, str) and not callable(source):
            raise ConfigError(expected("an environment's id or a factory", source))
        env = _make(source)
        parts: list[type] = [type(env)]
        inner = env
        while isinstance(inner, gymnasium.Wrapper):
            inner = inner.env
            parts.append(type(inner))
        parts += inner.layers if isinstance(inner, OneLane) else []
        env.close()
        return cls(source, gymnasium.__version__, tuple(parts))

    def make(self, *, pictures: bool = False) -> gymnasium.Env[Any, Any]:
        """Return a new environment; with `pictures`, one made by an id renders arrays."""
        return _make(self.source, **({"render_mode": "rgb_array"} if pictures else {}))


def _make(source: str | Factory, **words: Any) -> gymnasium.Env[Any, Any]:
    if isinstance(source, str):
        try:
            return gymnasium.make(source, disable_env_checker=True, **words)
        except gymnasium.error.Error as error:
            raise ConfigError(f"Expected an environment that Gymnasium can make but it says: {error}") from error
    env = source()
    if is_vector(env):
        env = OneLane(env)
    if not isinstance(env, gymnasium.Env):
        raise ConfigError(expected("the factory to make a gymnasium.Env, or a vector environment of one lane", env))
    return env


def check_repeats(world: World, seeds: list[int], act: Callable[[Any, int], Any], *, steps: int) -> None:
    """Raise DataError, with the step, for an environment that does not repeat under its seed.

    Args:
        seeds: two or more; the first is played again.
        act: the action for an observation at a step.
        steps: most steps compared.
    """
    used = world.make()
    first = _walk(used, seeds[0], act, steps)
    for seed in seeds[1:]:
        _walk(used, seed, act, steps)
    # A used environment shows state that survives a reset, a new one shows draws that the seed does not reach.
    for again in (_walk(used, seeds[0], act, steps), _walk(world.make(), seeds[0], act, steps)):
        for step, (one, other) in enumerate(zip(first, again, strict=False)):
            if not _same(one, other):
                raise DataError(
                    f"Expected the environment to repeat under its seed but step {step} differs (step 0 is the reset): "
                    "it draws from a generator that reset(seed=...) does not seed, or keeps state from one episode to "
                    "the next, or the policy changes from call to call. Draw from self.np_random, and reset all state."
                )
        if len(first) != len(again):
            raise DataError(
                f"Expected the environment to repeat under its seed but step {min(len(first), len(again)) - 1} ended "
                "an episode once and not again."
            )
    used.close()


def _walk(env: gymnasium.Env[Any, Any], seed: int, act: Callable[[Any, int], Any], steps: int) -> list[tuple[Any, ...]]:
    seen, _ = env.reset(seed=seed)
    walked: list[tuple[Any, ...]] = [(_copied(seen), 0.0, False)]
    for step in range(steps):
        seen, reward, ended, cut, _ = env.step(act(seen, step))
        walked.append((_copied(seen), float(reward), ended or cut))
        if ended or cut:
            break
    return walked


def _copied(seen: Any) -> Any:
    if isinstance(seen, Mapping):
        return np.concatenate([np.ravel(np.asarray(seen[name], dtype=np.float64)) for name in sorted(seen)])
    return np.array(seen, copy=True)


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return np.array_equal(one[0], other[0], equal_nan=True) and one[1:] == other[1:]
